//! Docker contexts: named addresses that `docker context create` keeps below the CLI's configuration.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{Address, Environment, LocateError, set};
use crate::docker_config::{FILE_NAME, current_context};
use crate::limit::FILE;

/// The context that means "no context".
const DEFAULT: &str = "default";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Deserialize, Default)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    #[serde(default)]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The engine of the current context; `None` when that is the default one or there is none.
pub(super) fn current(env: Environment<'_>, config: Option<&Path>) -> Result<Option<Address>, LocateError> {
    let (origin, name) = match (set(env, "DOCKER_CONTEXT"), config) {
        (Some(name), _) => ("DOCKER_CONTEXT".to_owned(), name),
        (None, None) => return Ok(None),
        (None, Some(config)) => {
            let origin = format!("currentContext in {}", config.join(FILE_NAME).display());
            (origin, current_context(config).unwrap_or_default())
        }
    };
    if name.is_empty() || name == DEFAULT {
        return Ok(None);
    }
    let contexts = config.map(|config| config.join("contexts")).unwrap_or_default();
    address_of(&origin, &name, &contexts).map(Some)
}

fn address_of(origin: &str, name: &str, contexts: &Path) -> Result<Address, LocateError> {
    let directory = format!("{:x}", Sha256::digest(name));
    let path = contexts.join("meta").join(&directory).join("meta.json");
    let Some(meta) = read::<Meta>(&path)? else {
        return Err(LocateError::NoSuchContext { origin: origin.to_owned(), name: name.to_owned(), path });
    };
    let origin = format!("docker context `{name}`");
    let endpoint = meta.endpoints.docker.filter(|endpoint| !endpoint.host.is_empty());
    let Some(endpoint) = endpoint else {
        return Err(LocateError::Unreadable { path, reason: "it has no docker endpoint with a host".to_owned() });
    };
    let certificates = contexts.join("tls").join(&directory).join("docker");
    let certificates: Option<PathBuf> = certificates.is_dir().then_some(certificates);
    if endpoint.skip_tls_verify && certificates.is_some() {
        let problem = "it asks not to verify the certificate, which ksail does not do; update the context with a ca";
        return Err(LocateError::BadAddress { origin, value: endpoint.host, problem: problem.to_owned() });
    }
    Address::parse(&origin, &endpoint.host, certificates)
}

/// The file, or `None` where there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LocateError> {
    let unreadable = |reason: String| LocateError::Unreadable { path: path.to_owned(), reason };
    match FILE.read_file(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error.to_string())),
    }
}
