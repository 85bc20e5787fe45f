//! The way to one upstream: through its proxy, trusting whom the registry trusts, over a connection that is kept.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tokio::net::lookup_host;
use url::Url;

use super::super::UpstreamAnswer;
use super::no_proxy::proxy_for;
use super::trouble::{NoAddress, Trouble, is_of_tunnel};
use super::trust::{have_a_provider, tls};
use crate::desired::Route;
use crate::limit::REGISTRY_ANSWER;
use crate::manifest::{Proxy, ProxyUrl};

/// As many as Go's client follows.
const REDIRECTS: usize = 10;
/// A connection that nobody uses is kept for longer than the pause between two questions.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Every kind of manifest there is; without it registries answer with the oldest.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// How an upstream is reached. Clones share the connection.
#[derive(Debug, Clone)]
pub(super) struct Way {
    client: Client,
    proxy: Option<Arc<Proxy>>,
    upstream: Url,
    /// Where the authority was read that it was given.
    ca: Option<PathBuf>,
    /// Nothing that names a host may show.
    is_secret: bool,
}

/// What came back, in the end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Who said it, after all redirects.
    pub(super) url: Url,
}

impl Way {
    pub(super) fn of(route: &Route) -> Result<Self, UpstreamAnswer> {
        let broken = |why: String| UpstreamAnswer::Broken(why);
        let upstream = Url::parse(route.upstream.as_str()).map_err(|error| broken(error.to_string()))?;
        let mut tls = tls(route.ca.as_ref()).map_err(|error| broken(error.to_string()))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let proxy = route.proxy.clone().map(Arc::new);
        let client = plain(proxy.clone()).tls_backend_preconfigured(tls).build();
        Ok(Self {
            client: client.map_err(|error| broken(error.without_url().to_string()))?,
            proxy,
            upstream,
            ca: route.ca.as_ref().map(|ca| ca.path.clone()),
            is_secret: route.upstream.is_secret(),
        })
    }

    pub(super) fn upstream(&self) -> &Url {
        &self.upstream
    }

    /// An address below the upstream's.
    pub(super) fn below(&self, path: &str) -> Url {
        let mut url = self.upstream.clone();
        url.set_path(path);
        url
    }

    /// Asks, and follows where it is sent. Who asks is told to nobody but the host that was asked first.
    pub(super) async fn send(
        &self,
        method: Method,
        first: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, UpstreamAnswer> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let told = authorization.filter(|_| is_safe(first, &url));
            let reply = self.exchange(method.clone(), &url, told).await?;
            let is_redirect = matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return Ok(reply);
            }
            let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let Some(next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
                let whom = self.whom(&url);
                let why = format!("{whom}answers {} without an address that is one; look at the address", reply.status);
                return Err(UpstreamAnswer::Broken(why));
            };
            url = next;
        }
        let why = format!("{}redirects more than {REDIRECTS} times; look at the address", self.whom(first));
        Err(UpstreamAnswer::Broken(why))
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, UpstreamAnswer> {
        let mut request = self.client.request(method, url.clone()).header(ACCEPT, MANIFESTS);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.explain(url, &error).await),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = self.proxy_for(url)
        {
            return Err(Trouble::ProxyPassword.answer(&of_proxy(proxy)));
        }
        let body = REGISTRY_ANSWER.read_body(reqwest::Body::from(response)).await;
        match body {
            Ok(body) => Ok(Reply { status, headers, body: body.to_vec(), url: url.clone() }),
            Err(error) => Err(match Trouble::of(&*error) {
                // It has answered.
                Trouble::Closed => {
                    let why = "closes before its answer ends; look at what is in front of it";
                    UpstreamAnswer::Broken(format!("{}{why}", self.whom(url)))
                }
                trouble => trouble.answer(&self.whom(url)),
            }),
        }
    }

    async fn explain(&self, url: &Url, error: &reqwest::Error) -> UpstreamAnswer {
        let trouble = match Trouble::of(error) {
            // What nobody has thought of may name the host.
            Trouble::Other(_) if self.is_secret => {
                Trouble::Other("no connection, or no answer of a registry".to_owned())
            }
            trouble => trouble,
        };
        let is_plain = url.scheme() == "http";
        let is_of_proxy = is_of_tunnel(error) || trouble == Trouble::ProxyPassword || (is_plain && error.is_connect());
        let whom = match self.proxy_for(url).filter(|_| is_of_proxy) {
            Some(proxy) => of_proxy(proxy),
            None => self.whom(url),
        };
        if trouble != Trouble::NoAuthority {
            return trouble.answer(&whom);
        }
        match &self.ca {
            _ if self.is_trusted_here(url).await => UpstreamAnswer::Untrusted(format!(
                "{whom}only this machine trusts its certificate, not the registry; give the CA: 'ca: FILE.pem'"
            )),
            Some(ca) => UpstreamAnswer::Untrusted(format!(
                "{whom}nobody in 'ca: {}' signed its certificate; put in who did",
                ca.display()
            )),
            None => trouble.answer(&whom),
        }
    }

    /// Whether one of this machine's own authorities has signed its certificate.
    async fn is_trusted_here(&self, url: &Url) -> bool {
        have_a_provider();
        let Ok(client) = plain(self.proxy.clone()).build() else { return false };
        match client.get(url.clone()).send().await {
            Ok(_) => true,
            Err(error) => {
                !matches!(Trouble::of(&error), Trouble::NoAuthority | Trouble::Certificate(_) | Trouble::Tls(_))
            }
        }
    }

    fn proxy_for(&self, url: &Url) -> Option<&ProxyUrl> {
        proxy_for(self.proxy.as_deref()?, url)
    }

    /// Of whom something is told: nothing of the upstream itself, which is known.
    pub(super) fn whom(&self, url: &Url) -> String {
        if url.host_str() == self.upstream.host_str() { String::new() } else { format!("{}: ", self.named(url)) }
    }

    /// A host that is not the upstream's own.
    pub(super) fn named(&self, url: &Url) -> String {
        if self.is_secret { "another host".to_owned() } else { place(url) }
    }
}

/// Whether what the first host is told may be told to the second.
pub(super) fn is_safe(first: &Url, second: &Url) -> bool {
    let is_lowered = first.scheme() == "https" && second.scheme() != "https";
    first.host_str() == second.host_str() && !is_lowered
}

/// Never by the environment's proxies.
fn plain(proxy: Option<Arc<Proxy>>) -> ClientBuilder {
    let builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .http1_only()
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(KEPT_FOR)
        .dns_resolver(Arc::new(BySystem));
    match proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::custom(move |url| {
            proxy_for(&proxy, url).and_then(|through| Url::parse(through.expose()).ok())
        })),
        None => builder,
    }
}

fn of_proxy(proxy: &ProxyUrl) -> String {
    Url::parse(proxy.expose()).map_or_else(|_| "its proxy: ".to_owned(), |url| format!("proxy {}: ", place(&url)))
}

/// `HOST[:PORT]`, and nothing else of a URL.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The system's resolver, with an error that says which name it was.
#[derive(Debug)]
struct BySystem;

impl Resolve for BySystem {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<_> = lookup_host((name.as_str(), 0)).await.into_iter().flatten().collect();
            if found.is_empty() {
                return Err(Box::new(NoAddress(name)) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
