//! Which network is the cluster's, and who is on it.

use crate::desired::Desired;
use crate::engine::{Container, Endpoint, Network};
use crate::labels;
use crate::manifest::{ClusterName, Distribution};
use crate::names;

/// The network that Docker makes for containers that nobody has a network for, and makes anew at each of its starts.
pub const DEFAULT_BRIDGE: &str = "bridge";

/// A network by id, with the name for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRef {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
}

/// What a network is to the cluster it was made for. k3d makes one for each, and removes it with the last container of the
/// cluster, unless somebody else is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum NetworkUse {
    /// Its containers are on it, or it is not one that goes with them.
    #[default]
    Used,
    /// No container of the cluster is there, and somebody may be about to make it anew.
    Left,
    /// Nobody seems to be about to.
    Deserted,
    /// And it is older than any creation that has made nothing but a network takes.
    Forgotten,
}

impl NetworkRef {
    /// One of which only the name is known, because it was removed.
    pub fn named(name: &str) -> Self {
        Self { id: name.to_owned(), name: name.to_owned() }
    }

    /// A container's place on it. Until a container first runs, the engine knows its networks by name alone.
    pub fn endpoint_of<'a>(&self, container: &'a Container) -> Option<&'a Endpoint> {
        let is_on_it = |(name, endpoint): &(&String, &Endpoint)| match endpoint.network_id.as_str() {
            "" => **name == self.name,
            id => id == self.id || self.id == self.name && **name == self.name,
        };
        container.endpoints.iter().find(is_on_it).map(|(_, endpoint)| endpoint)
    }
}

/// The nodes' own network if there are nodes, otherwise the one with the name the distribution gives it.
pub(super) fn cluster_network(desired: &Desired, networks: &[Network], nodes: &[&Container]) -> Option<NetworkRef> {
    let of_node = |node: &Container| {
        let name = node.labels.get(labels::K3D_NETWORK).unwrap_or(&desired.network);
        let endpoint = node
            .endpoints
            .get_key_value(name)
            .or_else(|| node.endpoints.iter().find(|(name, _)| *name != DEFAULT_BRIDGE));
        let is_its = |network: &&Network, name: &str, endpoint: &Endpoint| match endpoint.network_id.as_str() {
            "" => network.name == name,
            id => network.id == id,
        };
        endpoint.and_then(|(name, endpoint)| networks.iter().find(|network| is_its(network, name, endpoint)))
    };
    let named = || networks.iter().filter(|network| network.name == desired.network).min_by(|a, b| a.id.cmp(&b.id));
    nodes.iter().copied().find_map(of_node).or_else(named).map(to_ref)
}

/// Whether k3d makes a network for a cluster, and removes it with that.
pub fn is_k3ds(network: &Network, distribution: Distribution, cluster: &ClusterName) -> bool {
    let (key, value) = labels::OF_K3D;
    distribution == Distribution::K3d
        && network.name == names::k3d_network(cluster)
        && network.labels.get(key).is_some_and(|found| found == value)
}

fn to_ref(network: &Network) -> NetworkRef {
    NetworkRef { id: network.id.clone(), name: network.name.clone() }
}
