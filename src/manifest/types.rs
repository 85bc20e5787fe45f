//! What a manifest means, once every rule has been checked. Nothing downstream checks again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::values::{ClusterName, Host, Upstream};
use crate::printable::without_user_info;

/// What containers call the machine that their engine runs on.
pub const THIS_MACHINE: &str = "host.docker.internal";

/// A manifest that passed every check.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub path: PathBuf,
    /// `metadata.name`.
    pub name: ClusterName,
    /// `spec.state`.
    pub state: State,
    /// `spec.distribution`.
    pub distribution: Distribution,
    /// `spec.distributionConfig`, relative to the manifest's directory.
    pub distribution_config: Option<PathBuf>,
    /// `spec.lifecycle`.
    pub lifecycle: Lifecycle,
    /// `spec.connection`.
    pub connection: Connection,
    /// `spec.registries`.
    pub registries: Registries,
    /// KSail-Go fields that were accepted and are not acted on, as dotted paths (`spec.cni`).
    pub not_acted_on: Vec<String>,
}

/// Whether the cluster's registries should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum State {
    /// They should run.
    #[default]
    Present,
    /// They should not exist; their volumes stay.
    Absent,
    /// They should not exist, and neither should their volumes.
    Purged,
}

/// What made, or will make, the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Distribution {
    /// <https://kind.sigs.k8s.io>
    #[default]
    Kind,
    /// <https://k3d.io>
    K3d,
}

/// Who creates and deletes the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Lifecycle {
    /// ksail does, with `kind` or `k3d`.
    #[default]
    Managed,
    /// Someone else does.
    External,
}

/// How to reach the cluster's API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// Path of the kubeconfig, `~` not expanded.
    pub kubeconfig: Option<String>,
    /// Context in it.
    pub context: Option<String>,
    /// Longest time to wait for the cluster.
    pub timeout: Option<Duration>,
}

/// `spec.registries`.
#[derive(Debug, Clone)]
pub struct Registries {
    /// Image of every registry container.
    pub image: String,
    /// What becomes of the volume of a mirror that leaves the list.
    pub volume_policy: VolumePolicy,
    /// The mirrors, in the file's order; hosts and ports are distinct.
    pub mirrors: Vec<Mirror>,
}

impl Default for Registries {
    fn default() -> Self {
        Self { image: Self::IMAGE.to_owned(), volume_policy: VolumePolicy::default(), mirrors: Vec::new() }
    }
}

impl Registries {
    /// The image used when the manifest names none.
    pub const IMAGE: &'static str = "registry:3";
}

/// What becomes of the volume of a mirror that leaves the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum VolumePolicy {
    /// It stays, and is used again when the mirror comes back.
    #[default]
    Retain,
    /// It is removed with the mirror.
    Delete,
}

/// One entry of `spec.registries.mirrors`.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// What image references say.
    pub host: Host,
    /// Where a pull-through cache gets what it does not have; `None` is a push registry.
    pub upstream: Option<Upstream>,
    /// Host port; `None` is an ephemeral one. Always set for a push registry `localhost:PORT`.
    pub port: Option<u16>,
    /// Host address to listen on.
    pub listen_address: IpAddr,
    /// Whether nodes may go around the mirror when it fails.
    pub fallback: bool,
    /// How long cached content stays; zero is for ever.
    pub ttl: Duration,
    /// For the upstream.
    pub credentials: Option<Credentials>,
    /// What the registry goes through to reach it, where the manifest says so: the mirror's own, or that of all.
    pub proxy: Option<Proxy>,
    /// Certificate authorities that the registry trusts besides those of its image.
    pub ca: Option<Ca>,
}

impl Mirror {
    /// The address listened on unless the manifest says otherwise.
    pub const LISTEN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
}

/// User name and password for an upstream, expanded from the environment.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub username: SecretString,
    /// Password or token.
    pub password: SecretString,
}

/// What a registry goes through to reach its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// For upstreams at `http://`.
    pub http: Option<ProxyUrl>,
    /// For upstreams at `https://`.
    pub https: Option<ProxyUrl>,
    /// Hosts, domains and ranges that are reached without it, as in `NO_PROXY`.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Whether there is a user name or a password in an address of it.
    pub fn has_user_info(&self) -> bool {
        [&self.http, &self.https].into_iter().flatten().any(ProxyUrl::has_user_info)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.http, &self.https) {
            (None, None) => return f.write_str("none"),
            (Some(http), Some(https)) if http == https => write!(f, "{http}")?,
            (Some(http), Some(https)) => write!(f, "http {http}, https {https}")?,
            (Some(http), None) => write!(f, "http {http}")?,
            (None, Some(https)) => write!(f, "https {https}")?,
        }
        if self.no_proxy.is_empty() { Ok(()) } else { write!(f, " except {}", self.no_proxy.join(",")) }
    }
}

/// Address of a proxy. What a user name and a password in it are is never shown, nor what variables hold.
#[derive(Clone)]
pub struct ProxyUrl {
    url: SecretString,
    /// The text in the manifest, where that refers to variables.
    written: Option<String>,
}

impl ProxyUrl {
    /// A proxy's address, which has been checked.
    pub fn new(url: String) -> Self {
        Self { url: url.into(), written: None }
    }

    /// The same, shown as `written`: with `${VAR}` where variables were filled in.
    #[must_use]
    pub fn shown_as(self, written: &str) -> Self {
        let written = (written != self.expose()).then(|| written.to_owned());
        Self { written, ..self }
    }

    /// The whole address, for the container and for who goes through it.
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// Whether there is a user name or a password in it.
    pub fn has_user_info(&self) -> bool {
        without_user_info(self.expose()) != self.expose()
    }
}

impl PartialEq for ProxyUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ProxyUrl {}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_user_info(self.written.as_deref().unwrap_or(self.expose())))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Certificate authorities in a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// As the manifest names it, relative to its directory.
    pub path: PathBuf,
    /// What the file holds.
    pub pem: String,
}
