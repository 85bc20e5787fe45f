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
use crate::engine::{EngineError, Result};
use crate::limit::{Limit, Meter};

/// bollard's own limit. Every call has a shorter one of ours.
const LONGEST_CALL: Duration = Duration::from_secs(60 * 60);

/// How many programs of ours are remembered. Their ends are told within moments, and few run at a time.
const REMEMBERED_EXECS: usize = 1024;

/// An established connection: the address answered, and its API is recent enough.
#[derive(Debug)]
pub(super) struct Link {
    client: bollard::Docker,
    /// The driver of containers that name none; asked for once.
    pub(super) log_driver: OnceCell<String>,
}

impl Link {
    /// What makes a call whose answer may be as large as `limit`, and counts it. (Engines reached by TLS, ssh or a pipe of
    /// Windows are bollard's own affair: of those nothing is counted here.)
    pub(super) fn client(&self, limit: Limit) -> (bollard::Docker, Meter) {
        let meter = limit.meter();
        let of_request = meter.clone();
        let client = self.client.clone().with_request_modifier(move |mut request| {
            request.extensions_mut().insert(of_request.clone());
            url_safe_credentials(request)
        });
        (client, meter)
    }
}

/// One address, and the link to it while there is one.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    link: Mutex<Option<Arc<Link>>>,
    /// Held by the one caller that connects; keeps the error of the last attempt for those who waited for it.
    attempt: tokio::sync::Mutex<Option<EngineError>>,
    attempts_ended: AtomicU64,
    /// Ids of the programs we ran last, oldest first: what the engine tells of them is no news.
    own_execs: Mutex<VecDeque<String>>,
}

impl Connection {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            link: Mutex::new(None),
            attempt: tokio::sync::Mutex::new(None),
            attempts_ended: AtomicU64::new(0),
            own_execs: Mutex::default(),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
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
        let greeted = async {
            let client = open(address)?.negotiate_version().await?;
            let version = client.version().await?;
            Ok::<_, Error>((client, version))
        };
        let (client, version) = match tokio::time::timeout(READ, greeted).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return Err(errors::translate(error, "version", address)),
            Err(_) => return Err(EngineError::Timeout { call: "version".to_owned(), seconds: READ.as_secs() }),
        };
        let info = answers::engine_info(version, address)?;
        info!(engine = info.name, version = info.version, api = info.api_version, %address, "connected");
        let link = Arc::new(Link { client, log_driver: OnceCell::new() });
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok(link)
    }
}

fn open(address: &Address) -> Result<bollard::Docker, Error> {
    let seconds = LONGEST_CALL.as_secs();
    match address {
        #[cfg(unix)]
        Address::Unix(path) => Endpoint::Unix(path.clone()).client(seconds),
        Address::Tcp(host) => Endpoint::Tcp(host.clone()).client(seconds),
        Address::Tls { host, certificates } => bollard::Docker::connect_with_ssl(
            host,
            &certificates.join("key.pem"),
            &certificates.join("cert.pem"),
            &certificates.join("ca.pem"),
            seconds,
            API_DEFAULT_VERSION,
        ),
        #[cfg(windows)]
        Address::Pipe(path) => bollard::Docker::connect_with_named_pipe(path, seconds, API_DEFAULT_VERSION),
        #[cfg(feature = "ssh")]
        Address::Ssh(host) => bollard::Docker::connect_with_ssh(host, seconds, API_DEFAULT_VERSION, None),
        #[allow(unreachable_patterns)] // Every address is possible somewhere, not every one everywhere.
        elsewhere => Err(Error::UnsupportedURISchemeError { uri: elsewhere.to_string() }),
    }
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
