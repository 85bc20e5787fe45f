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
    /// Another machine, reached by ssh.
    Ssh(SshTarget),
}

/// What follows `ssh://`: `[user@]host[:port][/socket]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// Who logs in; otherwise whom ssh's own configuration names.
    pub user: Option<String>,
    /// A name or address, or what ssh's configuration calls a machine.
    pub host: String,
    /// Otherwise ssh's own.
    pub port: Option<u16>,
    /// Path of the engine's socket over there; otherwise the docker CLI over there finds it.
    pub socket: Option<String>,
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Tls { host, .. } => write!(f, "https://{host}"),
            Self::Pipe(path) => write!(f, "npipe://{path}"),
            Self::Ssh(target) => write!(f, "ssh://{target}"),
        }
    }
}

impl Address {
    /// What tells it to programs of Docker's: variables and their values.
    pub fn for_programs(&self) -> Vec<(&'static str, String)> {
        let tls = match self {
            Self::Tls { certificates, .. } => {
                vec![("DOCKER_TLS_VERIFY", "1".to_owned()), ("DOCKER_CERT_PATH", certificates.display().to_string())]
            }
            // An empty one is as good as none.
            Self::Tcp(_) => vec![("DOCKER_TLS_VERIFY", String::new())],
            Self::Unix(_) | Self::Pipe(_) | Self::Ssh(_) => Vec::new(),
        };
        let host = match self {
            Self::Tls { host, .. } => format!("tcp://{host}"),
            other => other.to_string(),
        };
        [("DOCKER_HOST", host)].into_iter().chain(tls).collect()
    }

    /// Whether it is a socket that Podman makes, by its name.
    pub fn is_podmans(&self) -> bool {
        matches!(self, Self::Unix(path) if path.file_name().is_some_and(|name| name == "podman.sock"))
    }

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
            "ssh" => ssh_target(rest).map(Self::Ssh).map_err(|problem| bad(&problem)),
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

fn ssh_target(text: &str) -> Result<SshTarget, String> {
    let hint = "write ssh://[USER@]HOST[:PORT]";
    let url = Url::parse(&format!("ssh://{text}")).map_err(|error| format!("{error}; {hint}"))?;
    if url.password().is_some() {
        return Err(format!("a password is not possible here, ssh needs a key; {hint}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(hint.to_owned());
    }
    // It would be an option of ssh's.
    let host = url.host_str().filter(|host| !host.is_empty() && !host.starts_with('-')).ok_or(hint)?;
    let socket = Some(url.path()).filter(|path| !matches!(*path, "" | "/"));
    // A shell over there reads it.
    let is_plain = |path: &str| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if let Some(path) = socket.filter(|path| !is_plain(path)) {
        return Err(format!("`{path}` is no path of a socket; {hint}[/SOCKET]"));
    }
    Ok(SshTarget {
        user: Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned),
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port(),
        socket: socket.map(str::to_owned),
    })
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
