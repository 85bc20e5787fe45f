//! bollard's errors in our words.

use std::io::ErrorKind;
use std::path::Path;

use bollard::errors::Error;

use crate::engine::EngineError;
use crate::engine::locate::Address;

/// What Docker says of a host port that another container, or another process, has.
const PORT_TAKEN: [&str; 3] = ["port is already allocated", "address already in use", "ports are not available"];

pub(super) fn translate(error: Error, call: &str, address: &Address) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refusal(status_code, message),
        Error::DockerStreamError { error } => EngineError::Refused { status: 0, message: error },
        Error::RequestTimeoutError => EngineError::Timeout { call: call.to_owned(), seconds: super::READ.as_secs() },
        Error::SocketNotFoundError(path) => unavailable(address, why_missing(&path)),
        Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
            unavailable(address, innermost(&error))
        }
        Error::UnsupportedURISchemeError { .. } => {
            unavailable(address, "this ksail cannot use addresses of that kind here".to_owned())
        }
        other => EngineError::Refused { status: 0, message: format!("{call}: {}", innermost(&other)) },
    }
}

fn refusal(status: u16, message: String) -> EngineError {
    if PORT_TAKEN.iter().any(|words| message.contains(words)) {
        return EngineError::PortInUse { message };
    }
    // Docker 20.10 answers 500 to these two, newer engines and Podman 404 and 409.
    if message.contains("is not connected to") {
        return EngineError::NotFound { message };
    }
    if message.contains("is not paused") {
        return EngineError::Conflict { message };
    }
    match status {
        404 => EngineError::NotFound { message },
        403 | 409 => EngineError::Conflict { message },
        status => EngineError::Refused { status, message },
    }
}

fn unavailable(address: &Address, reason: String) -> EngineError {
    EngineError::Unavailable { address: address.to_string(), reason }
}

/// bollard asks only whether the socket exists, which is also "no" where we may not look.
fn why_missing(path: &str) -> String {
    match Path::new(path).metadata() {
        Err(error) => io_reason(&error),
        Ok(_) => "the socket has only just appeared".to_owned(),
    }
}

/// The last error of the chain: bollard and hyper say "client error (Connect)", it says "connection refused".
fn innermost(error: &Error) -> String {
    let mut last: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match last.downcast_ref::<std::io::Error>() {
        Some(io) => io_reason(io),
        None => last.to_string(),
    }
}

fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{error}; is your user in the `docker` group? (`sudo usermod -aG docker $USER`, then log in again)")
        }
        _ => error.to_string(),
    }
}
