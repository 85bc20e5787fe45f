//! What others can see or reach because the manifest says so. (Pure.)

use std::fmt;
use std::net::IpAddr;

use crate::desired::{Desired, Mirror};
use crate::labels;
use crate::manifest::{Host, Proxy, State};
use crate::registry::Role;

/// What is told of once, as long as it is so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// Other machines can reach a registry.
    Reachable(Reachable),
    /// The password of the proxy that these mirrors go through shows to whoever may ask the engine: a registry takes it
    /// from its environment alone.
    ProxyPassword(Vec<Host>),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reachable(reachable) => reachable.fmt(f),
            Self::ProxyPassword(hosts) => {
                let first = hosts.first().map(ToString::to_string).unwrap_or_default();
                let more = if hosts.len() > 1 { format!(" and {} more", hosts.len() - 1) } else { String::new() };
                write!(
                    f,
                    "{first}{more}: the proxy's password shows in `docker inspect`; a proxy of this machine that adds it \
                     needs none, as http://host.docker.internal:3128"
                )
            }
        }
    }
}

/// A registry that listens on another address than this machine's loopback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reachable {
    /// The mirror.
    pub host: Host,
    /// Where it listens.
    pub address: IpAddr,
    /// Whether it takes pushes.
    pub takes_pushes: bool,
    /// Whether it has credentials for its upstream: then it serves private images to whoever asks, and asks nobody for
    /// anything.
    pub has_credentials: bool,
}

impl Reachable {
    fn of(mirror: &Mirror) -> Option<Self> {
        let address =
            mirror.container.ports.iter().map(|port| port.host_address).find(|address| !address.is_loopback())?;
        let (takes_pushes, has_credentials) = (mirror.role == Role::Push, mirror.credentials.is_some());
        Some(Self { host: mirror.host.clone(), address, takes_pushes, has_credentials })
    }
}

impl fmt::Display for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, .. } = self;
        write!(f, "{host} listens on {address}: other machines can read from it")?;
        match (self.takes_pushes, self.has_credentials) {
            (true, _) => write!(f, " and push to it"),
            (false, true) => write!(f, ", and whoever does reads private images with its credentials"),
            (false, false) => Ok(()),
        }
    }
}

/// What is to be told once everything is as desired. Of a proxy that the manifest does not name it tells nothing: every
/// container of this user's has that.
pub fn exposures(desired: &Desired) -> Vec<Exposure> {
    let mirrors = || desired.mirrors.values().filter(|_| desired.state == State::Present);
    let reachable = mirrors().filter_map(Reachable::of).map(Exposure::Reachable);
    let shows_password = |mirror: &&Mirror| {
        let proxy = mirror.route.as_ref().and_then(|route| route.proxy.as_ref());
        mirror.container.labels.contains_key(labels::PROXY) && proxy.is_some_and(Proxy::has_user_info)
    };
    let hosts: Vec<Host> = mirrors().filter(shows_password).map(|mirror| mirror.host.clone()).collect();
    reachable.chain((!hosts.is_empty()).then_some(Exposure::ProxyPassword(hosts))).collect()
}
