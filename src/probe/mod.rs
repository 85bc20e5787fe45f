//! What a running registry, an upstream or a port answers from here.

mod upstream;

use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

pub use self::upstream::Asked;
use crate::desired::{DEBUG_PORT, REGISTRY_PORT};
use crate::engine::{Container, ContainerState};
use crate::manifest::{Credentials, Upstream};
use crate::observed::Serving;
use crate::reference::Reference;

/// A registry that has not answered `/v2/` after this long counts as hung.
pub const SERVING_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for an upstream to accept a connection, and for a registry's counters.
const REACH_LIMIT: Duration = Duration::from_secs(2);
/// Whoever holds a port of this machine accepts at once.
const TAKEN_LIMIT: Duration = Duration::from_millis(250);
/// Registries answer with a few kilobytes; anything longer is not theirs.
const BODY_LIMIT: usize = 1 << 20;

/// What can be asked of the world besides the engine.
pub trait Probe: Clone + Send + Sync + 'static {
    /// Whether the registry in a running container answers.
    fn serving(&self, container: &Container) -> impl Future<Output = Serving> + Send;
    /// Whether something holds a port of this host.
    fn port_is_taken(&self, address: IpAddr, port: u16) -> impl Future<Output = bool> + Send;
    /// Whether an upstream accepts connections; the error says why not.
    fn upstream(&self, upstream: &Upstream) -> impl Future<Output = Result<(), String>> + Send;
}

/// Asks over the network from the machine ksail runs on.
#[derive(Debug, Clone)]
pub struct FromHere {
    engine: EngineAt,
    /// Keeps one connection to each registry: a new one for each question would cost more than the question.
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Where published ports are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAt {
    /// On this machine's addresses.
    ThisMachine,
    /// On another machine, unless they are published on its loopback address.
    Elsewhere(String),
}

impl FromHere {
    /// A probe for an engine's containers.
    pub fn new(engine: EngineAt) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http();
        Self { engine, client }
    }

    /// Where a container's registry is reached from here, if it can be.
    fn registry_address(&self, container: &Container) -> Option<(String, u16)> {
        let bound = container.bound_ports.iter().find(|port| port.container_port == REGISTRY_PORT)?;
        let host = match (&self.engine, bound.host_address) {
            (EngineAt::ThisMachine, IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            (EngineAt::ThisMachine, IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
            (EngineAt::ThisMachine, address) => address.to_string(),
            (EngineAt::Elsewhere(_), address) if address.is_loopback() => return None,
            (EngineAt::Elsewhere(host), _) => host.clone(),
        };
        Some((host, bound.host_port))
    }

    /// The answer to a GET over plain HTTP.
    async fn get(
        &self,
        host: &str,
        port: u16,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let uri: Uri = format!("http://{host}:{port}{path}").parse()?;
        let response = self.client.get(uri).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await?.to_bytes();
        Ok((status, body))
    }

    /// Hits and misses of a running pull-through cache since it started; `None` when they cannot be read from here.
    pub async fn cache_counters(&self, container: &Container) -> Option<CacheCounters> {
        if self.engine != EngineAt::ThisMachine || container.state != ContainerState::Running {
            return None;
        }
        let address = container.endpoints.values().find_map(|endpoint| endpoint.address)?;
        let body = timeout(REACH_LIMIT, self.get(&address.to_string(), DEBUG_PORT, "/debug/vars")).await.ok()?.ok()?.1;
        CacheCounters::from_expvar(&body)
    }
}

impl FromHere {
    /// Repositories that a running registry has something of, if it can be asked from here.
    pub async fn cached_repositories(&self, container: &Container) -> Vec<String> {
        let Some((host, port)) = self.registry_address(container) else { return Vec::new() };
        let catalog = self.document(&host, port, "/v2/_catalog?n=20").await.unwrap_or_default();
        let names = catalog["repositories"].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Whether an upstream would give an image to whom ksail.yaml says the mirror is.
    pub async fn ask_upstream(
        &self,
        upstream: &Upstream,
        credentials: Option<&Credentials>,
        image: &Reference,
    ) -> Asked {
        upstream::ask(upstream, credentials, image).await
    }

    async fn document(&self, host: &str, port: u16, path: &str) -> Option<serde_json::Value> {
        let (status, body) = timeout(REACH_LIMIT, self.get(host, port, path)).await.ok()?.ok()?;
        serde_json::from_slice(&body).ok().filter(|_| status.is_success())
    }
}

impl Probe for FromHere {
    async fn serving(&self, container: &Container) -> Serving {
        let Some((host, port)) = self.registry_address(container) else { return Serving::Unknown };
        match timeout(SERVING_LIMIT, self.get(&host, port, "/v2/")).await {
            Ok(Ok((StatusCode::OK | StatusCode::UNAUTHORIZED, _))) => Serving::Answers,
            Ok(_) => Serving::Refused,
            Err(_) => Serving::Silent,
        }
    }

    async fn port_is_taken(&self, address: IpAddr, port: u16) -> bool {
        if self.engine != EngineAt::ThisMachine {
            return false;
        }
        let address = match address {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        // To bind it would be surer, and could take it from a container that starts at this moment.
        matches!(timeout(TAKEN_LIMIT, TcpStream::connect(SocketAddr::new(address, port))).await, Ok(Ok(_)))
    }

    async fn upstream(&self, upstream: &Upstream) -> Result<(), String> {
        let url = Url::parse(upstream.as_str()).map_err(|error| error.to_string())?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        match timeout(REACH_LIMIT, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {} s", REACH_LIMIT.as_secs())),
        }
    }
}

/// Requests a pull-through cache answered from its volume, and those it asked its upstream for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CacheCounters {
    /// Answered from the volume.
    pub hits: u64,
    /// Asked of the upstream.
    pub misses: u64,
}

impl CacheCounters {
    /// `.registry.proxy.{blobs,manifests}` of the registry's expvar page, which versions 2 and 3 have alike.
    fn from_expvar(body: &[u8]) -> Option<Self> {
        let page: serde_json::Value = serde_json::from_slice(body).ok()?;
        let proxy = page.pointer("/registry/proxy")?;
        let sum = |field: &str| -> u64 {
            ["blobs", "manifests"].iter().filter_map(|kind| proxy.get(kind)?.get(field)?.as_u64()).sum()
        };
        Some(Self { hits: sum("Hits"), misses: sum("Misses") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_blobs_and_manifests() {
        let page = br#"{"registry":{"proxy":{"blobs":{"Hits":3,"Misses":2},"manifests":{"Hits":1,"Misses":4}}}}"#;
        assert_eq!(CacheCounters::from_expvar(page), Some(CacheCounters { hits: 4, misses: 6 }));
    }

    #[test]
    fn a_page_without_counters_is_no_counters() {
        assert_eq!(CacheCounters::from_expvar(b"{}"), None);
        assert_eq!(CacheCounters::from_expvar(b"not json"), None);
    }
}
