//! bollard's errors in our words.

use std::io::ErrorKind;
use std::path::Path;

use bollard::errors::Error;

use crate::engine::EngineError;
use crate::engine::locate::Address;
use crate::limit::TooLarge;

/// What Docker says of a host port that another container, or another process, has.
const PORT_TAKEN: [&str; 3] = ["port is already allocated", "address already in use", "ports are not available"];

/// There is more than may be read of an answer: its parts say so as bollard's errors, and [`translate`] in our words.
pub(super) fn too_large(error: TooLarge) -> Error {
    Error::IOError { err: error.into() }
}

/// The same of an answer that was cut off.
pub(super) fn too_large_answer(call: &str, error: &TooLarge) -> EngineError {
    EngineError::Refused { status: 0, message: format!("{call}: {error}") }
}

pub(super) fn translate(error: Error, call: &str, address: &Address) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refusal(status_code, message),
        Error::DockerStreamError { error } => EngineError::Refused { status: 0, message: error },
        Error::RequestTimeoutError => EngineError::Timeout { call: call.to_owned(), seconds: super::READ.as_secs() },
        Error::SocketNotFoundError(path) => unavailable(address, why_missing(&path)),
        Error::IOError { err } => match TooLarge::in_error(&err) {
            Some(error) => too_large_answer(call, error),
            None => unavailable(address, io_reason(&err)),
        },
        Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => unavailable(address, innermost(&error)),
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
    // Docker's answer, 500 as well, of a container that is just being removed.
    if message.contains("RWLayer of container") && message.contains("unexpectedly nil") {
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

/// Words for the refusal of a HEAD request, which comes without any.
pub(super) fn of_head(error: EngineError, object: &str) -> EngineError {
    match error {
        EngineError::NotFound { message } if message.is_empty() => {
            EngineError::NotFound { message: format!("Could not find {object}") }
        }
        EngineError::Refused { status, message } if message.is_empty() => {
            EngineError::Refused { status, message: format!("Could not look at {object}") }
        }
        other => other,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(error: Error) -> EngineError {
        translate(error, "start container", &Address::Unix("/var/run/docker.sock".into()))
    }

    fn answered(status_code: u16, message: &str) -> EngineError {
        translated(Error::DockerResponseServerError { status_code, message: message.to_owned() })
    }

    #[test]
    fn a_port_clash_is_known_by_each_of_its_wordings() {
        for message in [
            "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:5001 failed: port is already allocated",
            "driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:5001: bind: address already in use",
            "failed to set up container networking: failed to bind host port 127.0.0.1:5001/tcp: address already in use",
            "Ports are not available: exposing port TCP 127.0.0.1:5001 -> 0.0.0.0:0: ports are not available",
        ] {
            assert_eq!(answered(500, message), EngineError::PortInUse { message: message.to_owned() });
        }
    }

    #[test]
    fn a_refusal_is_sorted_by_its_status() {
        let message = String::new;
        assert_eq!(answered(404, ""), EngineError::NotFound { message: message() });
        assert_eq!(answered(409, ""), EngineError::Conflict { message: message() });
        assert_eq!(answered(403, ""), EngineError::Conflict { message: message() });
        assert_eq!(answered(500, ""), EngineError::Refused { status: 500, message: message() });
        assert!(matches!(answered(500, "Container x is not paused"), EngineError::Conflict { .. }));
        assert!(answered(500, "container x is not connected to network y").is_not_found());
        assert!(answered(500, "RWLayer of container x is unexpectedly nil").is_not_found());
    }

    #[test]
    fn a_socket_one_may_not_open_hints_at_the_group() {
        let denied = translated(Error::IOError { err: ErrorKind::PermissionDenied.into() });
        assert!(denied.is_unavailable());
        assert!(denied.to_string().contains("permission denied; is your user in the `docker` group?"), "{denied}");
    }
}
