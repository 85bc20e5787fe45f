//! What `docker login` left in the CLI's `config.json`, for pulls of private images.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tracing::debug;

use crate::limit::FILE;

/// The name docker.io goes by in `config.json`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize, Default)]
#[serde(default)]
struct CliConfig {
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: Option<String>,
}

/// Credentials for the registry of `reference`. A pull without them may still work, so nothing here is an error.
pub(super) fn of_registry(directory: &Path, reference: &str) -> Option<DockerCredentials> {
    let path = directory.join("config.json");
    let ignored = |error: &dyn Error| debug!(path = %path.display(), %error, "ignoring the docker CLI's configuration");
    let bytes = FILE.read_file(&path).inspect_err(|error| ignored(error)).ok()?;
    let config: CliConfig = serde_json::from_slice(&bytes).inspect_err(|error| ignored(error)).ok()?;
    let registry = registry_of(reference);
    let (server, entry) = config.auths.into_iter().find(|(server, _)| host_of(server) == host_of(registry))?;
    let (username, password) = decode(&entry.auth)?;
    Some(DockerCredentials {
        username: Some(username),
        password: Some(password).filter(|_| entry.identitytoken.is_none()),
        identitytoken: entry.identitytoken,
        serveraddress: Some(server),
        ..DockerCredentials::default()
    })
}

/// The registry an image reference names: its first part, if that can be a host.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => match first {
            "docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            host => host,
        },
        _ => DOCKER_HUB,
    }
}

/// Entries are host names, or URLs in files of older versions.
fn host_of(server: &str) -> &str {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    server.split('/').next().unwrap_or(server)
}

fn decode(auth: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, reference: &str) -> Option<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), config).unwrap();
        let found = of_registry(directory.path(), reference)?;
        Some((found.username?, found.password?))
    }

    const CONFIG: &str = r#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
        "ghcr.io": {"auth": "Z2g6YTpi"},
        "localhost:5000": {}
    }}"#;

    #[test]
    fn an_image_of_docker_hub_uses_the_entry_of_its_index() {
        let expected = Some(("hub".to_owned(), "pw".to_owned()));
        assert_eq!(found(CONFIG, "registry:3"), expected);
        assert_eq!(found(CONFIG, "docker.io/library/registry:3"), expected);
        assert_eq!(found(CONFIG, "someone/registry:3"), expected);
    }

    #[test]
    fn a_password_may_contain_a_colon() {
        assert_eq!(found(CONFIG, "ghcr.io/x/y"), Some(("gh".to_owned(), "a:b".to_owned())));
    }

    #[test]
    fn a_registry_without_usable_credentials_is_asked_without() {
        assert_eq!(found(CONFIG, "localhost:5000/x"), None);
        assert_eq!(found(CONFIG, "quay.io/x"), None);
        assert_eq!(found("not json", "ghcr.io/x"), None);
    }
}
