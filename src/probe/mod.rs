//! What a running registry, an upstream or a port answers from here.

mod answer;
mod prober;
mod refusals;
mod upstream;

use std::error::Error;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

pub use self::answer::UpstreamAnswer;
pub use self::prober::Prober;
use self::refusals::{NOT_SENT, remembered};
pub use self::refusals::{REFUSED_FOR, Refusals, TOLD_AT_MOST};
use self::upstream::Upstreams;
pub use self::upstream::{Ask, Asked, Login, RouteKey};
use crate::desired::Route;
use crate::engine::Container;
use crate::limit::REGISTRY_ANSWER;
use crate::reference::Reference;
use crate::registry;

/// A registry that has not answered `/v2/` after this long is asked again.
const FIRST_LIMIT: Duration = Duration::from_secs(2);
/// One that has not answered the second time either counts as hung.
const SECOND_LIMIT: Duration = Duration::from_secs(8);
/// Longest wait for an upstream where a registry is to start by it, and for a registry's catalog.
const REACH_LIMIT: Duration = Duration::from_secs(2);
/// Whoever holds a port of this machine accepts at once.
const TAKEN_LIMIT: Duration = Duration::from_millis(250);

/// What can be asked of the world besides the engine.
pub trait Probe: Clone + Send + Sync + 'static {
    /// Whether the registry in a running container answers one question. [`Prober`] decides what to make of it.
    fn ask(&self, container: &Container, question: Question) -> impl Future<Output = Serving> + Send;
    /// Whether the port that a container publishes is in use on this machine, by the engine or whoever listens for it.
    fn is_published_here(&self, container: &Container) -> impl Future<Output = bool> + Send {
        let _ = container;
        async { true }
    }
    /// Whether something holds a port of this host.
    fn port_is_taken(&self, address: IpAddr, port: u16) -> impl Future<Output = bool> + Send;
    /// What a mirror's upstream answers, asked as its registry would.
    fn upstream(&self, route: &Route, ask: Ask) -> impl Future<Output = UpstreamAnswer> + Send;
    /// Whether an upstream answers `/v2/` with whatever it be, and soon, as a registry of version 2 asks it when it
    /// starts; the error says why not.
    fn upstream_answers(&self, route: &Route) -> impl Future<Output = Result<(), String>> + Send {
        async {
            match timeout(REACH_LIMIT, self.upstream(route, Ask::Plainly)).await {
                Ok(answer) if answer.is_away() => Err(answer.to_string()),
                Ok(_) => Ok(()),
                Err(_) => Err(format!("no answer within {} s", REACH_LIMIT.as_secs())),
            }
        }
    }
}

/// How long something has been up, told by the engine's clock once and by this machine's from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime {
    was: Duration,
    at: Instant,
}

impl Uptime {
    /// Of what was `started` at a time, when it is `now` by the engine's clock.
    pub fn of(started: Timestamp, now: Timestamp) -> Self {
        Self { was: now.duration_since(started).unsigned_abs(), at: Instant::now() }
    }

    /// As of now.
    pub fn so_far(&self) -> Duration {
        self.was + self.at.elapsed()
    }
}

/// How patiently a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// For two seconds, on a connection that stays open.
    First,
    /// For eight seconds, on a new connection: the machine may have slept, or be busy.
    Again,
}

/// Whether a registry answers `GET /v2/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// 200 or 401 in time.
    Answers,
    /// Nobody listens, or the answer is not a registry's.
    Refused,
    /// The connection is accepted and no answer comes in time: worse than a dead one, since containerd waits for ever.
    Silent,
    /// It was silent once, and has been asked again, with more time: it is not known to hang yet.
    Overdue,
    /// It cannot be told from here (not running, or published where it cannot be reached from here).
    Unknown,
}

/// Asks over the network from the machine ksail runs on.
#[derive(Debug, Clone)]
pub struct FromHere {
    engine: EngineAt,
    /// Keeps one connection to each registry: a new one for each question would cost more than the question.
    client: Client<HttpConnector, Empty<Bytes>>,
    upstreams: Upstreams,
    refusals: Option<Arc<dyn Refusals>>,
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
        Self { engine, client, upstreams: Upstreams::default(), refusals: None }
    }

    /// The same, which remembers what credentials were refused.
    #[must_use]
    pub fn remembering(self, refusals: Arc<dyn Refusals>) -> Self {
        Self { refusals: Some(refusals), ..self }
    }

    async fn ask_as(&self, route: &Route, ask: Ask) -> UpstreamAnswer {
        let login = match Login::of(route) {
            Some(login) if ask == Ask::WithCredentials => login,
            _ => return self.upstreams.ask(route, ask).await,
        };
        // Whoever does not answer is told nothing, so that what is told counts.
        let plain = self.upstreams.ask(route, Ask::Plainly).await;
        if plain.is_bad() {
            return plain;
        }
        if let Some(at) = self.refusals.as_ref().and_then(|refusals| refusals.refused_at(&login)) {
            return remembered(at);
        }
        if !self.begin(&login) {
            return if plain.is_good() { UpstreamAnswer::Unknown(NOT_SENT.to_owned()) } else { plain };
        }
        let answer = self.upstreams.ask(route, ask).await;
        if let Some(refusals) = &self.refusals {
            match answer {
                UpstreamAnswer::Unauthorized(_) => refusals.note(&login),
                // They may have been told.
                UpstreamAnswer::Silent => {}
                _ => refusals.end(&login),
            }
        }
        answer
    }

    /// Whether credentials may be told.
    fn begin(&self, login: &Login) -> bool {
        self.refusals.as_ref().is_none_or(|refusals| refusals.begin(login))
    }

    /// Where a container's registry is reached from here, if it can be.
    fn registry_address(&self, container: &Container) -> Option<(String, u16)> {
        let bound = container.bound_ports.iter().find(|port| port.container_port == registry::PORT)?;
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
        let body = REGISTRY_ANSWER.read_body(response.into_body()).await?;
        Ok((status, body))
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
    pub async fn ask_upstream(&self, route: &Route, image: &Reference) -> Asked {
        let Some(login) = Login::of(route) else { return self.upstreams.ask_image(route, image).await };
        // That credentials are refused is found out, and remembered, where nothing else can be.
        match self.ask_as(route, Ask::WithCredentials).await {
            UpstreamAnswer::Unauthorized(why) => return Asked::Refused(why),
            answer if answer.is_bad() => return Asked::Unreachable(answer.to_string()),
            _ => {}
        }
        if !self.begin(&login) {
            return Asked::Unreachable(NOT_SENT.to_owned());
        }
        let asked = self.upstreams.ask_image(route, image).await;
        if let (Some(refusals), Asked::Has | Asked::HasNot | Asked::Refused(_)) = (&self.refusals, &asked) {
            refusals.end(&login);
        }
        asked
    }

    async fn document(&self, host: &str, port: u16, path: &str) -> Option<serde_json::Value> {
        let (status, body) = timeout(REACH_LIMIT, self.get(host, port, path)).await.ok()?.ok()?;
        serde_json::from_slice(&body).ok().filter(|_| status.is_success())
    }
}

impl Probe for FromHere {
    async fn ask(&self, container: &Container, question: Question) -> Serving {
        let Some((host, port)) = self.registry_address(container) else { return Serving::Unknown };
        let answer = match question {
            Question::First => timeout(FIRST_LIMIT, self.get(&host, port, "/v2/")).await,
            Question::Again => timeout(SECOND_LIMIT, Self::new(self.engine.clone()).get(&host, port, "/v2/")).await,
        };
        match answer {
            Ok(Ok((StatusCode::OK | StatusCode::UNAUTHORIZED, _))) => Serving::Answers,
            Ok(_) => Serving::Refused,
            Err(_) => Serving::Silent,
        }
    }

    /// By binding it and closing it at once.
    async fn is_published_here(&self, container: &Container) -> bool {
        let bound = container.bound_ports.iter().find(|port| port.container_port == registry::PORT);
        let Some(bound) = bound.filter(|_| self.engine == EngineAt::ThisMachine) else { return true };
        match TcpListener::bind(SocketAddr::new(bound.host_address, bound.host_port)).await {
            Ok(_) => false,
            // Not everybody may bind every port; and an address of another machine is none of this one's.
            Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
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

    async fn upstream(&self, route: &Route, ask: Ask) -> UpstreamAnswer {
        match &self.engine {
            EngineAt::ThisMachine => self.ask_as(route, ask).await,
            // Its networks are others.
            EngineAt::Elsewhere(host) => {
                UpstreamAnswer::Unknown(format!("what the engine's machine {host} reaches is not known here"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::manifest::{Credentials, Proxy};

    #[derive(Debug, Default)]
    struct Remembered {
        refused: Mutex<BTreeMap<Login, Timestamp>>,
        told: Mutex<BTreeMap<Login, usize>>,
    }

    impl Refusals for Remembered {
        fn refused_at(&self, login: &Login) -> Option<Timestamp> {
            self.refused.lock().unwrap().get(login).copied()
        }

        fn begin(&self, login: &Login) -> bool {
            let mut told = self.told.lock().unwrap();
            let told = told.entry(login.clone()).or_default();
            *told += 1;
            *told <= TOLD_AT_MOST
        }

        fn end(&self, login: &Login) {
            self.told.lock().unwrap().remove(login);
        }

        fn note(&self, login: &Login) {
            self.refused.lock().unwrap().insert(login.clone(), Timestamp::now());
        }
    }

    #[tokio::test]
    async fn a_password_that_was_refused_is_not_sent_by_the_next_process_and_another_one_is() {
        let registry = upstream::guarded().await;
        let route = |password: &str| Route {
            upstream: registry.url().parse().unwrap(),
            proxy: None,
            ca: None,
            credentials: Some(Credentials { username: "some-user".into(), password: password.into() }),
        };
        let refusals = Arc::<Remembered>::default();
        let process = || FromHere::new(EngineAt::ThisMachine).remembering(refusals.clone());
        for _ in 0..3 {
            let answer = process().upstream(&route("wrong"), Ask::WithCredentials).await;
            assert!(matches!(answer, UpstreamAnswer::Unauthorized(_)), "{answer:?}");
        }
        let image = Reference::read("ghcr.io/a/b:1", &"ghcr.io".parse().unwrap()).unwrap();
        let asked = process().ask_upstream(&route("wrong"), &image).await;
        assert!(matches!(&asked, Asked::Refused(why) if why.contains(", not again before ")), "{asked:?}");
        assert_eq!(registry.told_who(), 1);
        let around = Proxy { no_proxy: vec!["elsewhere.test".to_owned()], ..Proxy::default() };
        let another_way = Route { proxy: Some(around), ..route("wrong") };
        let answer = process().upstream(&another_way, Ask::WithCredentials).await;
        assert!(matches!(answer, UpstreamAnswer::Unauthorized(_)), "{answer:?}");
        assert_eq!(registry.told_who(), 1, "another way leads to the same upstream");
        let answer = process().upstream(&route("hunter2"), Ask::WithCredentials).await;
        assert_eq!(answer, UpstreamAnswer::Answers);
    }

    #[tokio::test]
    async fn a_password_is_told_no_third_time_while_nobody_knows_what_became_of_it() {
        let registry = upstream::guarded().await;
        let credentials = Credentials { username: "some-user".into(), password: "wrong".into() };
        let route =
            Route { upstream: registry.url().parse().unwrap(), proxy: None, ca: None, credentials: Some(credentials) };
        let refusals = Arc::<Remembered>::default();
        // Two that were ended before they were answered.
        (0..TOLD_AT_MOST).for_each(|_| assert!(refusals.begin(&Login::of(&route).unwrap())));
        let process = FromHere::new(EngineAt::ThisMachine).remembering(refusals.clone());
        let answer = process.upstream(&route, Ask::WithCredentials).await;
        assert_eq!(answer, UpstreamAnswer::Unknown(NOT_SENT.to_owned()), "nobody knows what it thinks of them");
        let image = Reference::read("ghcr.io/a/b:1", &"ghcr.io".parse().unwrap()).unwrap();
        assert!(matches!(process.ask_upstream(&route, &image).await, Asked::Unreachable(_)));
        assert_eq!(registry.told_who(), 0);
        refusals.end(&Login::of(&route).unwrap());
        let answer = process.upstream(&route, Ask::WithCredentials).await;
        assert!(matches!(answer, UpstreamAnswer::Unauthorized(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn an_engine_that_is_elsewhere_meets_what_is_not_known_here() {
        let route = Route { upstream: "https://a.test".parse().unwrap(), proxy: None, ca: None, credentials: None };
        let answer = FromHere::new(EngineAt::Elsewhere("b.test".to_owned())).upstream(&route, Ask::Plainly).await;
        let why = "what the engine's machine b.test reaches is not known here";
        assert_eq!(answer, UpstreamAnswer::Unknown(why.to_owned()));
    }
}
