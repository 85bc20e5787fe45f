//! What a manifest means, once every rule has been checked. Nothing downstream checks again.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use super::values::{ClusterName, Host, Upstream};

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
