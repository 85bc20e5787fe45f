//! The registry's settings, as environment variables: the names are the same in registry 2 and 3, a variable survives
//! restarts, and there is no file to lose. Only what is secret is a file ([`super::SecretFiles`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{PORT, Role, SecretFiles};
use crate::manifest::Upstream;

/// Where the registry's counters are served, inside its container only: its other pages there (`/debug/pprof/`) are
/// nobody's business on the cluster's network.
const DEBUG_ADDRESS: &str = "127.0.0.1:5001";

/// What the image's own file would otherwise decide, and decides differently from image to image: that of Docker Hub
/// logs at level `debug`, a kilobyte for every question, and opens its debug port to everybody.
pub const SHAPE: [(&str, &str); 6] = [
    // Of a request the access line stays, which is what proves a pull.
    ("REGISTRY_LOG_LEVEL", "warn"),
    ("REGISTRY_HTTP_DEBUG_ADDR", DEBUG_ADDRESS),
    // Without it nothing that expires is ever freed. A registry in proxy mode refuses to delete all the same.
    ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
    ("REGISTRY_HEALTH_STORAGEDRIVER_ENABLED", "true"),
    ("REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL", "10s"),
    ("REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD", "3"),
];

/// Options of the log drivers that take them, so that no registry fills a disk: at most 30 MB.
pub const LOG_CAP: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];

/// How long registry 3 goes on with what the helper answered, where there are credentials: without it, for ever.
pub const LIFETIME: (&str, &str) = ("REGISTRY_PROXY_EXEC_LIFETIME", "1m0s");

/// Refuses everything that would change the volume; its value is read as YAML.
const READ_ONLY: (&str, &str) = ("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#);

/// What makes a registry ask an upstream begins so.
const PROXY: &str = "REGISTRY_PROXY_";

/// Turns the settings of a cache into those of a registry that serves what is in its volume, and asks nobody.
pub fn serve_from_cache(env: &mut BTreeMap<String, String>) {
    env.retain(|name, _| !name.starts_with(PROXY));
    env.insert(READ_ONLY.0.to_owned(), READ_ONLY.1.to_owned());
}

/// Whether settings are such that [`serve_from_cache`] made them.
pub fn is_served_from_cache(env: &BTreeMap<String, String>) -> bool {
    env.get(READ_ONLY.0).map(String::as_str) == Some(READ_ONLY.1)
}

/// Whether settings make a cache of a registry: everything else is one that takes pushes.
pub fn is_proxy(env: &BTreeMap<String, String>, command: &[String]) -> bool {
    env.keys().any(|name| name.starts_with(PROXY)) || command == SecretFiles::command()
}

/// The settings of a registry that is not secret in any part.
pub fn settings(role: Role, upstream: Option<&Upstream>, ttl: Duration) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        SHAPE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut set = |name: &str, value: String| env.insert(format!("REGISTRY_{name}"), value);
    set("HTTP_ADDR", format!(":{PORT}"));
    if let (Role::Mirror, Some(upstream)) = (role, upstream) {
        if !upstream.is_secret() {
            set("PROXY_REMOTEURL", upstream.to_string());
        }
        set("PROXY_TTL", format!("{}s", ttl.as_secs()));
        // With a helper set, registry 3 does not ask the upstream for /v2/ when it starts, so it starts
        // offline; a helper that does not exist means anonymous. Registry 2 ignores it.
        set("PROXY_EXEC_COMMAND", SecretFiles::helper());
    }
    env
}
