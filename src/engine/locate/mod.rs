//! Where the engine is, found as the docker CLI finds it.
//!
//! In this order: `--host`, `DOCKER_HOST`, `DOCKER_CONTEXT`, `currentContext` of the CLI's `config.json`,
//! the default socket. Where that socket does not exist, the ones of rootless Docker and of Podman are tried.

mod address;
mod context;

use std::path::{Path, PathBuf};

pub use self::address::{Address, SshTarget};
pub use crate::docker_config::directory as docker_config_directory;

/// The socket the docker CLI uses when nobody tells it otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Podman's socket when it runs as root.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Docker Desktop's pipe on Windows.
const DEFAULT_PIPE: &str = "//./pipe/docker_engine";

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why the address of the engine could not be made out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// `--host`, `DOCKER_HOST` or a context holds something that is no address.
    #[error("{origin}: `{value}` is not an address of an engine: {problem}")]
    BadAddress {
        /// Where the value was found.
        origin: String,
        /// The value.
        value: String,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
    /// The current context is not among the contexts of the docker CLI.
    #[error(
        "{origin}: there is no docker context `{name}` ({path} does not exist); `docker context ls` lists those there are"
    )]
    NoSuchContext {
        /// Where the name was found.
        origin: String,
        /// Name of the context.
        name: String,
        /// Where its file was looked for.
        path: PathBuf,
    },
    /// A file of the docker CLI cannot be read or understood.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS was asked for, but there are no certificates.
    #[error(
        "{origin}: TLS needs ca.pem in {directory}, and cert.pem with key.pem where the engine wants to know who asks; {missing} is not there"
    )]
    NoCertificates {
        /// What asked for TLS.
        origin: String,
        /// Where they were looked for.
        directory: PathBuf,
        /// The first that is missing.
        missing: String,
    },
}

/// Finds the engine. `host` is the value of `--host`; an empty variable counts as unset.
pub fn locate(host: Option<&str>, env: Environment<'_>, home: Option<&Path>) -> Result<Address, LocateError> {
    locate_among(host, env, home, &|path| path.exists())
}

fn locate_among(
    host: Option<&str>,
    env: Environment<'_>,
    home: Option<&Path>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Address, LocateError> {
    let config = docker_config_directory(env, home);
    let certificates = certificates(env, config.as_deref());
    if let Some(host) = host {
        return Address::parse("--host", host, certificates);
    }
    if let Some(host) = set(env, "DOCKER_HOST") {
        return Address::parse("DOCKER_HOST", &host, certificates);
    }
    if let Some(address) = context::current(env, config.as_deref())? {
        return Ok(address);
    }
    // Whoever wants TLS and names no engine means the one of this machine, as for the docker CLI.
    if certificates.is_some() {
        return Address::parse("DOCKER_TLS_VERIFY", "tcp://", certificates);
    }
    Ok(usual_places(env).into_iter().find(|address| is_there(address, exists)).unwrap_or_else(default_address))
}

/// The value of a variable, unless it is empty.
fn set(env: Environment<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// Where the certificates are, if the environment asks for TLS.
fn certificates(env: Environment<'_>, config: Option<&Path>) -> Option<PathBuf> {
    set(env, "DOCKER_TLS_VERIFY")?;
    set(env, "DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config.map(Path::to_path_buf))
}

/// What the docker CLI uses when nobody tells it otherwise.
fn default_address() -> Address {
    if cfg!(windows) { Address::Pipe(DEFAULT_PIPE.to_owned()) } else { Address::Unix(DEFAULT_SOCKET.into()) }
}

fn usual_places(env: Environment<'_>) -> Vec<Address> {
    let mut places = vec![default_address()];
    if let Some(runtime) = set(env, "XDG_RUNTIME_DIR").map(PathBuf::from) {
        places.push(Address::Unix(runtime.join("docker.sock")));
        places.push(Address::Unix(runtime.join("podman/podman.sock")));
    }
    places.push(Address::Unix(PODMAN_SOCKET.into()));
    places
}

fn is_there(address: &Address, exists: &dyn Fn(&Path) -> bool) -> bool {
    match address {
        Address::Unix(path) => exists(path),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
