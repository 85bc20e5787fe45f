//! What `docker login` stored, for pulls of private images.

use std::path::Path;

use bollard::auth::DockerCredentials;
use secrecy::ExposeSecret;
use tokio::task::spawn_blocking;
use tracing::debug;

use crate::docker_config::{DOCKER_HUB, NotStored, Stored, stored};

/// Docker Hub's registry, as the rest of the world knows it.
const HUBS_REGISTRY: &str = "registry-1.docker.io";

/// Credentials for the registry of `reference`. A pull without them may still work, so nothing here is an error.
pub(super) async fn of_registry(directory: &Path, reference: &str) -> Option<DockerCredentials> {
    let registry = registry_of(reference).to_owned();
    let server = if registry == HUBS_REGISTRY { DOCKER_HUB.to_owned() } else { registry.clone() };
    let directory = directory.to_owned();
    let found = spawn_blocking(move || stored(&directory, &registry)).await.ok()?;
    let serveraddress = Some(server);
    match found {
        Ok(Stored::Password(username, password)) => Some(DockerCredentials {
            username: Some(username.expose_secret().to_owned()),
            password: Some(password.expose_secret().to_owned()),
            serveraddress,
            ..DockerCredentials::default()
        }),
        Ok(Stored::IdentityToken(token)) => Some(DockerCredentials {
            identitytoken: Some(token.expose_secret().to_owned()),
            serveraddress,
            ..DockerCredentials::default()
        }),
        Err(NotStored::Nothing(_)) => None,
        Err(error) => {
            debug!(%error, "asked without credentials");
            None
        }
    }
}

/// The registry an image reference names: its first part, if that can be a host.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) => HUBS_REGISTRY,
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => HUBS_REGISTRY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(config: &str, reference: &str) -> Option<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), config).unwrap();
        let found = of_registry(directory.path(), reference).await?;
        Some((found.username?, found.password?))
    }

    const CONFIG: &str = r#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
        "ghcr.io": {"auth": "Z2g6YTpi"},
        "localhost:5000": {}
    }}"#;

    #[tokio::test]
    async fn an_image_of_docker_hub_uses_the_entry_of_its_index() {
        let expected = Some(("hub".to_owned(), "pw".to_owned()));
        assert_eq!(found(CONFIG, "registry:3").await, expected);
        assert_eq!(found(CONFIG, "docker.io/library/registry:3").await, expected);
        assert_eq!(found(CONFIG, "someone/registry:3").await, expected);
    }

    #[tokio::test]
    async fn a_password_may_contain_a_colon() {
        assert_eq!(found(CONFIG, "ghcr.io/x/y").await, Some(("gh".to_owned(), "a:b".to_owned())));
    }

    #[tokio::test]
    async fn a_registry_without_usable_credentials_is_asked_without() {
        assert_eq!(found(CONFIG, "localhost:5000/x").await, None);
        assert_eq!(found(CONFIG, "quay.io/x").await, None);
        assert_eq!(found("not json", "ghcr.io/x").await, None);
    }
}
