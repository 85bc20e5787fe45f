//! What an upstream answers when it is asked as the registry would ask it: over the same proxy, trusting the same
//! authorities, following where it is sent.

mod challenge;
mod image;
mod login;
mod no_proxy;
#[cfg(test)]
mod tests;
mod trouble;
mod trust;
mod verdict;
mod way;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use secrecy::ExposeSecret;
use tokio::time::timeout;

pub use self::image::Asked;
use self::login::log_in;
use self::verdict::{Said, judge};
use self::way::Way;
use super::UpstreamAnswer;
use crate::desired::Route;
use crate::digest::of_parts;
use crate::manifest::{Credentials, ProxyUrl};
use crate::reference::Reference;

/// Longest wait for all of an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections that are kept at most. Whoever has more upstreams pays for a new one now and then.
const KEPT: usize = 256;

/// How much of itself the question gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// Nothing: that an upstream wants to know who asks is a good answer.
    Plainly,
    /// What the registry would say of itself, as far as the upstream wants to know it: a wrong password that is repeated
    /// locks accounts.
    WithCredentials,
}

/// What tells two routes apart. It holds nothing that is secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey(String);

impl RouteKey {
    /// Of a route with everything that belongs to it.
    pub fn of(route: &Route) -> Self {
        let way = way(route);
        Self(match &route.credentials {
            None => way,
            Some(Credentials { username, password }) => {
                let parts = [way.as_str(), username.expose_secret(), password.expose_secret()];
                of_parts(parts.map(str::as_bytes))
            }
        })
    }
}

/// What tells apart who logs in where, whichever way that goes: credentials that were refused are refused through another
/// proxy as well. It holds nothing that is secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(String);

impl Login {
    /// Of a route that has credentials.
    pub fn of(route: &Route) -> Option<Self> {
        let Credentials { username, password } = route.credentials.as_ref()?;
        let parts = [route.upstream.as_str(), username.expose_secret(), password.expose_secret()];
        Some(Self(of_parts(parts.map(str::as_bytes))))
    }

    /// In hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells two ways apart, whoever goes there.
fn way(route: &Route) -> String {
    let Route { upstream, proxy, ca, .. } = route;
    let exposed = |url: Option<&'_ ProxyUrl>| url.map_or_else(String::new, |url| url.expose().to_owned());
    let proxy = proxy.iter().flat_map(|proxy| {
        let urls = [exposed(proxy.http.as_ref()), exposed(proxy.https.as_ref())];
        urls.into_iter().chain(proxy.no_proxy.iter().cloned())
    });
    let ca = ca.iter().flat_map(|ca| [ca.path.display().to_string(), ca.pem.clone()]);
    let own = [upstream.as_str().to_owned(), upstream.to_string(), ca.clone().count().to_string()];
    let parts: Vec<String> = own.into_iter().chain(ca).chain(proxy).collect();
    of_parts(parts.iter().map(String::as_bytes))
}

/// Upstreams that were asked, each over a connection that is kept. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Upstreams {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Ways, with when they were last gone.
    ways: BTreeMap<String, (u64, Way)>,
    count: u64,
}

impl Upstreams {
    /// What it answers.
    pub(super) async fn ask(&self, route: &Route, ask: Ask) -> UpstreamAnswer {
        self.ask_for(LIMIT, route, ask).await
    }

    async fn ask_for(&self, limit: Duration, route: &Route, ask: Ask) -> UpstreamAnswer {
        match timeout(limit, self.question(route, ask)).await {
            Ok(Ok(())) => UpstreamAnswer::Answers,
            Ok(Err(answer)) => answer,
            Err(_) => UpstreamAnswer::Silent,
        }
    }

    /// Whether it would give an image.
    pub(super) async fn ask_image(&self, route: &Route, image: &Reference) -> Asked {
        let asking = async { image::ask(&self.way(route)?, route.credentials.as_ref(), image).await };
        match timeout(LIMIT, asking).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(UpstreamAnswer::Unauthorized(why))) => Asked::Refused(why),
            Ok(Err(answer)) => Asked::Unreachable(answer.to_string()),
            Err(_) => Asked::Unreachable(UpstreamAnswer::Silent.to_string()),
        }
    }

    /// Anything but a good answer is an error.
    async fn question(&self, route: &Route, ask: Ask) -> Result<(), UpstreamAnswer> {
        let way = self.way(route)?;
        let reply = way.send(Method::GET, &way.below("/v2/"), None).await?;
        let Said::WhoAsks(challenge) = judge(&way, &reply)? else { return Ok(()) };
        log_in(&way, &reply.url, &challenge, route.credentials.as_ref(), ask).await
    }

    fn way(&self, route: &Route) -> Result<Way, UpstreamAnswer> {
        let name = way(route);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let now = kept.count;
        if let Some((last, way)) = kept.ways.get_mut(&name) {
            *last = now;
            return Ok(way.clone());
        }
        let oldest = || kept.ways.iter().min_by_key(|(_, (last, _))| *last).map(|(name, _)| name.clone());
        if kept.ways.len() >= KEPT
            && let Some(oldest) = oldest()
        {
            kept.ways.remove(&oldest);
        }
        let way = Way::of(route)?;
        kept.ways.insert(name, (now, way.clone()));
        Ok(way)
    }
}

/// A registry that gives tokens to `some-user` with `hunter2`.
#[cfg(test)]
pub(super) async fn guarded() -> tests::Server {
    tests::Server::guarded().await
}
