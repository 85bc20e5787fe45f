//! The connection: made when first needed, made again after the engine was away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;
use tokio::sync::OnceCell;
use tracing::info;

use super::transport::Endpoint;
use super::{READ, answers, errors};
use crate::engine::locate::Address;
use crate::engine::{EngineError, EngineInfo, Result};
use crate::limit::{Limit, Meter};

/// bollard's own limit. Every call has a shorter one of ours.
const LONGEST_CALL: Duration = Duration::from_secs(60 * 60);

/// What the first call is called.
const GREETING: &str = "ping";

/// How many programs of ours are remembered. Their ends are told within moments, and few run at a time.
const REMEMBERED_EXECS: usize = 1024;

/// An established connection: the address answered, and its API is recent enough.
#[derive(Debug)]
pub(super) struct Link {
    way: Way,
    info: EngineInfo,
    /// Of the API that is spoken.
    version: String,
    /// The driver of containers that name none; asked for once.
    pub(super) log_driver: OnceCell<String>,
}

impl Link {
    /// What makes a call whose answer may be as large as `limit`, and counts it. (An engine behind a pipe of Windows is
    /// bollard's own affair: of that one nothing is counted here.)
    pub(super) fn client(&self, limit: Limit) -> (bollard::Docker, Meter) {
        let meter = limit.meter();
        let (of_request, version) = (meter.clone(), self.version.clone());
        let client = self.way.client.clone().with_request_modifier(move |mut request| {
            request.extensions_mut().insert(of_request.clone());
            versioned(url_safe_credentials(request), &version)
        });
        (client, meter)
    }
}

/// One address, and the link to it while there is one.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    /// The version of the API that is spoken, where somebody has set it.
    api_version: Option<String>,
    link: Mutex<Option<Arc<Link>>>,
    /// Held by the one caller that connects; keeps the error of the last attempt for those who waited for it.
    attempt: tokio::sync::Mutex<Option<EngineError>>,
    attempts_ended: AtomicU64,
    /// Ids of the programs we ran last, oldest first: what the engine tells of them is no news.
    own_execs: Mutex<VecDeque<String>>,
}

impl Connection {
    pub(super) fn new(address: Address, api_version: Option<String>) -> Self {
        Self {
            address,
            api_version,
            link: Mutex::new(None),
            attempt: tokio::sync::Mutex::new(None),
            attempts_ended: AtomicU64::new(0),
            own_execs: Mutex::default(),
        }
    }

    /// Who answers now; whoever asks first has it from the greeting.
    pub(super) async fn info(&self) -> Result<EngineInfo> {
        let Some(link) = self.current() else { return Ok(self.link().await?.info.clone()) };
        let info = self.greet(&link.way).await;
        if info.as_ref().is_err_and(EngineError::is_unavailable) {
            self.lost(&link);
        }
        info
    }

    /// The link, made now if there is none. Callers that arrive together share one attempt and its outcome.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let ended_before = self.attempts_ended.load(Ordering::SeqCst);
        let mut last_error = self.attempt.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if let (true, Some(error)) = (self.attempts_ended.load(Ordering::SeqCst) > ended_before, &*last_error) {
            return Err(error.clone());
        }
        let outcome = self.connect().await;
        *last_error = outcome.as_ref().err().cloned();
        self.attempts_ended.fetch_add(1, Ordering::SeqCst);
        outcome
    }

    /// Translates the error of a call, whose answer was counted by `meter`, and drops the link it was made on if the engine is gone.
    pub(super) fn failed(&self, link: &Arc<Link>, call: &str, error: Error, meter: &Meter) -> EngineError {
        // Of an answer that was cut off, bollard says only that it was.
        let error = match meter.exceeded() {
            Some(error) => errors::too_large_answer(call, &error),
            None => errors::translate(error, call, &self.address),
        };
        if error.is_unavailable() {
            self.lost(link);
        }
        error
    }

    /// The engine behind `link` is gone: what answers next may be another version.
    pub(super) fn lost(&self, link: &Arc<Link>) {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *current = None;
        }
    }

    /// Notes a program of ours, before it is started. It is not forgotten when its end was told: several may listen.
    pub(super) fn remember_exec(&self, id: &str) {
        let mut own = self.own_execs.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() == REMEMBERED_EXECS {
            own.pop_front();
        }
        own.push_back(id.to_owned());
    }

    pub(super) fn ran(&self, exec: &str) -> bool {
        self.own_execs.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|own| own == exec)
    }

    fn current(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self) -> Result<Arc<Link>> {
        let address = &self.address;
        let way = Way::open(address).map_err(|error| errors::translate(error, GREETING, address))?;
        let info = self.greet(&way).await?;
        info!(engine = info.name, version = info.version, api = info.api_version, %address, "connected");
        let version = self.api_version.clone().unwrap_or_else(|| spoken_with(&info));
        let link = Arc::new(Link { way, info, version, log_driver: OnceCell::new() });
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Who answers now. A greeting is the cheapest of calls, and says all of it.
    async fn greet(&self, way: &Way) -> Result<EngineInfo> {
        let address = &self.address;
        match tokio::time::timeout(READ, way.greet(address)).await {
            Ok(Ok(info)) => info,
            Ok(Err(error)) => Err(errors::translate(error, GREETING, address)),
            Err(_) => Err(EngineError::Timeout { call: GREETING.to_owned(), seconds: READ.as_secs() }),
        }
    }
}

/// What is spoken with an engine that nobody has set it for: its own newest version, unless that is too new for bollard.
fn spoken_with(info: &EngineInfo) -> String {
    let newest = API_DEFAULT_VERSION.to_string();
    let is_known = answers::api(&info.api_version) <= answers::api(&newest);
    if is_known { info.api_version.clone() } else { newest }
}

/// How an engine is reached.
#[derive(Debug)]
struct Way {
    client: bollard::Docker,
    /// Where it goes over our own transport.
    endpoint: Option<Endpoint>,
}

impl Way {
    fn open(address: &Address) -> Result<Self, Error> {
        let endpoint = Endpoint::at(address);
        let client = match &endpoint {
            Some(endpoint) => endpoint.client(LONGEST_CALL.as_secs())?,
            None => open(address)?,
        };
        Ok(Self { client, endpoint })
    }

    async fn greet(&self, address: &Address) -> Result<Result<EngineInfo>, Error> {
        let said = match &self.endpoint {
            Some(endpoint) => endpoint.ping().await?,
            None => None,
        };
        match said.as_ref().and_then(answers::engine_in) {
            Some((name, version, api)) => Ok(answers::recent_enough(name, version, api, address)),
            // It is not well, or something is in between that lets no greeting through.
            None => Ok(answers::engine_info(self.client.version().await?, address)),
        }
    }
}

/// What only bollard's own transports reach.
fn open(address: &Address) -> Result<bollard::Docker, Error> {
    match address {
        #[cfg(windows)]
        Address::Pipe(path) => {
            bollard::Docker::connect_with_named_pipe(path, LONGEST_CALL.as_secs(), API_DEFAULT_VERSION)
        }
        elsewhere => Err(Error::UnsupportedURISchemeError { uri: elsewhere.to_string() }),
    }
}

/// bollard 0.21 leaves the version out of its paths: a newer engine would answer in a way of its own.
fn versioned(mut request: bollard::BollardRequest, version: &str) -> bollard::BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
    parts.path_and_query = format!("/v{version}{path}").parse().ok().or(parts.path_and_query);
    if let Ok(uri) = hyper::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Docker reads `X-Registry-Auth` as base64 in its URL alphabet and ignores what it cannot read,
/// bollard 0.21 writes the standard alphabet.
fn url_safe_credentials(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
        let url_safe: Vec<u8> = value
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        if let Ok(mut safe) = hyper::header::HeaderValue::from_bytes(&url_safe) {
            safe.set_sensitive(true);
            *value = safe;
        }
    }
    request
}
