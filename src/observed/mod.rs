//! What the engine says exists now.
//!
//! The [`Store`] keeps it, the [`Observer`] reads what the store has marked, and [`Observed`] is a snapshot: pure data.

mod answers;
mod contents;
mod control_plane;
mod events;
mod follow_up;
mod marks;
mod modes;
mod network;
mod nodes;
mod object;
mod observer;
mod ownership;
mod programs;
mod shadow;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod wiring;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::control_plane::ControlPlane;
pub use self::network::{DEFAULT_BRIDGE, NetworkRef, NetworkUse, is_k3ds};
pub(crate) use self::nodes::read_hosts;
pub use self::nodes::{HostDirectory, Hosting, Node};
pub use self::observer::Observer;
pub use self::ownership::{is_a_mirrors, is_not_older};
pub(crate) use self::programs::{advertised, containerds_proxy};
pub use self::shadow::Shadow;
pub use self::snapshot::Seen;
pub use self::store::{Link, Store};
pub use self::wiring::{
    Foreign, Unwired, Wire, WireState, asked_proxy, complaint, directory, misled, path, unwired, wires,
};
pub use self::word::{Spoken, counters, listen};
use crate::desired::Desired;
use crate::distribution::{is_of_cluster, node_layout};
use crate::engine::{self, Container, ContainerState, Image, Volume};
use crate::labels::HOST;
use crate::manifest::{Lifecycle, State};
use crate::probe::Serving;
use crate::registry::FilesDigest;

/// Whoever deletes a cluster by hand may be about to make it anew, and has begun to by then: two programs that make one at
/// the same time undo each other's work.
pub const MADE_ANEW_WITHIN: Duration = Duration::from_secs(2);
/// A registry that does not listen yet is given this long before that counts as drift.
const STARTING: Duration = Duration::from_secs(10);

/// One snapshot of everything a plan for one cluster needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The cluster's own containers (by label), in order of their names.
    pub containers: Vec<OwnContainer>,
    /// Why a container of a mirror's cannot be read, by host.
    pub unreadable: BTreeMap<String, String>,
    /// Everyone else's containers, by name.
    pub strangers: BTreeMap<String, Stranger>,
    /// Ports the manifest asks for that a process outside the engine holds.
    pub ports_taken: BTreeSet<(IpAddr, u16)>,
    /// By host of a mirror whose port somebody else holds, another one that could be bound on this machine just now.
    pub free_ports: BTreeMap<String, u16>,
    /// The cluster's network, if it exists.
    pub network: Option<NetworkRef>,
    /// What it is to the cluster.
    pub network_use: NetworkUse,
    /// Ranges that it gives addresses of.
    pub subnets: Vec<String>,
    /// Names of all networks by id; several can share one.
    pub networks: BTreeMap<String, String>,
    /// Volumes by name: the cluster's own, and any that has a name the manifest needs.
    pub volumes: BTreeMap<String, Volume>,
    /// The image the manifest names, if the engine has it.
    pub image: Option<Image>,
    /// The cluster itself.
    pub cluster: Cluster,
    /// Its nodes that run, in order of their names; none are read of a cluster that is being deleted or about to be.
    pub nodes: Vec<Node>,
    /// Names of its nodes that run and have not been read yet.
    pub unread_nodes: Vec<String>,
    /// Names of its nodes that do not run.
    pub stopped_nodes: Vec<String>,
    /// Nodes of it were killed a moment ago, by whoever stops or removes them.
    pub is_leaving: bool,
    /// Whether the cluster can be used, of one that ksail creates.
    pub control_plane: ControlPlane,
    /// What the cluster says of its registry, if there is a node to ask.
    pub hosting: Option<Hosting>,
    /// Path of the program that creates and deletes clusters, where ksail is to do that and it is there.
    pub provisioner: Option<PathBuf>,
}

/// What there is of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cluster {
    /// No container carries its label.
    #[default]
    Missing,
    /// It has containers, and no node of it runs.
    Stopped,
    /// A node runs.
    Running,
}

impl Observed {
    /// Whether the cluster is to be deleted with the distribution's program.
    pub fn is_cluster_to_go(&self, desired: &Desired) -> bool {
        let goes = desired.lifecycle == Lifecycle::Managed && desired.state != State::Present;
        goes && self.cluster != Cluster::Missing && self.provisioner.is_some()
    }
}

/// One container of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnContainer {
    /// What inspect says.
    pub container: Arc<Container>,
    /// Digest of the files of ours in it, `None` where it has none.
    pub secrets: Option<FilesDigest>,
    /// Which version of the registry runs in it, of one that has credentials or is served from its cache, and has said so.
    pub major_version: Option<u32>,
    /// It is to read its credentials with the help of a shell, and there is none in its image.
    pub lacks_shell: bool,
    /// Whether it answers.
    pub serving: Serving,
    /// It was started moments ago.
    pub starting: bool,
    /// Whether its registry would start again, of a cache that was asked.
    pub starts_again: StartsAgain,
}

/// Whether a cache that is stopped would start again. Registry 2 asks its upstream for `/v2/` when it starts, and exits
/// when nobody answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartsAgain {
    /// Nobody wants to stop it.
    #[default]
    NotAsked,
    /// It would.
    Yes,
    /// It would not: why.
    No(String),
}

/// A container that is not this cluster's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stranger {
    /// Address and port pairs it holds on the host.
    pub ports: Vec<(IpAddr, u16)>,
    /// Names of volumes it mounts.
    pub volumes: Vec<String>,
    /// Names of networks it is on.
    pub networks: Vec<String>,
    /// The cluster it belongs to, when it is another one of ksail's.
    pub cluster: Option<String>,
}

/// Whether a container is a node of the cluster that runs containerd; load balancers do not.
pub fn is_node(labels: &BTreeMap<String, String>, desired: &Desired) -> bool {
    let layout = node_layout(desired.distribution);
    is_of_cluster(labels, desired.distribution, &desired.cluster)
        && labels.get(layout.role_label).is_some_and(|role| layout.roles.contains(&role.as_str()))
}

/// "No such object" is an answer to a read, not a failure.
fn found<T>(answer: engine::Result<T>) -> engine::Result<Option<T>> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Observed {
    /// The container in which the registry of a mirror runs.
    pub fn container_of(&self, host: &str) -> Option<Arc<Container>> {
        let containers = self.containers.iter().map(|found| &found.container);
        let runs = |container: &&Arc<Container>| container.state == ContainerState::Running;
        containers.filter(runs).find(|container| container.labels.get(HOST).is_some_and(|of| of == host)).cloned()
    }

    /// The container that holds a host port, by name.
    pub fn holder_of(&self, address: IpAddr, port: u16) -> Option<&str> {
        let clash = |(held, at): &(IpAddr, u16)| *at == port && addresses_clash(*held, address);
        self.strangers.iter().find(|(_, stranger)| stranger.ports.iter().any(clash)).map(|(name, _)| name.as_str())
    }
}

/// Whether two sockets on one port exclude each other: the same address, or one of them on all addresses.
pub fn addresses_clash(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}
