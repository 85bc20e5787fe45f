//! The address of an engine, as text and as a type.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::{LocateError, default_address};

const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, without encryption.
    Tcp(String),
    /// `host:port`, with TLS and a client certificate.
    Tls {
        /// `host:port`.
        host: String,
        /// Directory with `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
    /// A named pipe of Windows, `//./pipe/…`.
    Pipe(String),
    /// `[user@]host[:port]`, reached by ssh.
    Ssh(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Tls { host, .. } => write!(f, "https://{host}"),
            Self::Pipe(path) => write!(f, "npipe://{path}"),
            Self::Ssh(host) => write!(f, "ssh://{host}"),
        }
    }
}

impl Address {
    /// Reads the text of an address found at `origin`; with `certificates` a TCP address is reached by TLS.
    pub(super) fn parse(origin: &str, value: &str, certificates: Option<PathBuf>) -> Result<Self, LocateError> {
        let bad = |problem: &str| LocateError::BadAddress {
            origin: origin.to_owned(),
            value: value.to_owned(),
            problem: problem.to_owned(),
        };
        let value = value.trim();
        if value.is_empty() && certificates.is_none() {
            return Ok(default_address());
        }
        // The docker CLI, too, takes a bare `host:port` for TCP, and what is left out for its usual place.
        let (scheme, rest) = value.split_once("://").unwrap_or(("tcp", value));
        match scheme {
            "unix" if cfg!(unix) && rest.is_empty() => Ok(default_address()),
            "unix" if cfg!(unix) => Ok(Self::Unix(rest.into())),
            "unix" => Err(bad("Unix sockets do not exist here; write npipe:////./pipe/docker_engine")),
            "npipe" if cfg!(windows) => Ok(Self::Pipe(rest.to_owned())),
            "npipe" => Err(bad("named pipes exist on Windows only; write unix:///var/run/docker.sock")),
            "ssh" if cfg!(not(feature = "ssh")) => Err(bad(
                "this ksail was built without ssh; build it with `--features ssh`, or forward the socket with \
                 `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST` and write unix:///tmp/docker.sock",
            )),
            "ssh" if rest.is_empty() => Err(bad("write ssh://USER@HOST")),
            "ssh" => Ok(Self::Ssh(rest.trim_end_matches('/').to_owned())),
            "tcp" | "http" | "https" if rest.starts_with('/') => Err(bad("for a socket, write unix:///PATH")),
            "tcp" | "http" | "https" => {
                let tls = scheme == "https" || (scheme == "tcp" && certificates.is_some());
                let host = host_and_port(rest, if tls { TLS_PORT } else { PLAIN_PORT }).map_err(|e| bad(&e))?;
                if !tls {
                    return Ok(Self::Tcp(host));
                }
                let certificates = certificates
                    .ok_or_else(|| bad("set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to reach it by TLS"))?;
                complete(origin, &certificates)?;
                Ok(Self::Tls { host, certificates })
            }
            _ => Err(bad("write unix:///PATH, tcp://HOST:PORT, npipe:////./pipe/NAME or ssh://USER@HOST")),
        }
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<String, String> {
    let hint = "write tcp://HOST:PORT";
    // A scheme that has no default port of its own, so that none is dropped.
    let machine = if text.starts_with(':') { "localhost" } else { "" };
    let url = Url::parse(&format!("tcp://{machine}{text}")).map_err(|error| format!("{error}; {hint}"))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("a path is not possible here; {hint}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("a user name is not possible here; {hint}"));
    }
    match url.host_str() {
        None | Some("") => Ok(format!("localhost:{}", url.port().unwrap_or(default_port))),
        Some(host) => Ok(format!("{host}:{}", url.port().unwrap_or(default_port))),
    }
}

/// Not every engine wants to know who asks; half of an answer to that is none.
fn complete(origin: &str, directory: &Path) -> Result<(), LocateError> {
    let is_there = |file: &str| directory.join(file).is_file();
    let pair = ["cert.pem", "key.pem"];
    let needed = if pair.into_iter().any(is_there) { &["ca.pem", "cert.pem", "key.pem"][..] } else { &["ca.pem"] };
    match needed.iter().find(|file| !is_there(file)) {
        None => Ok(()),
        Some(missing) => Err(LocateError::NoCertificates {
            origin: origin.to_owned(),
            directory: directory.to_owned(),
            missing: (*missing).to_owned(),
        }),
    }
}
