//! Whether a node sends the pulls of a mirror's images to the mirror, and why not: the one answer for plan, status and
//! proof. Pure.

use super::nodes::Node;
use crate::desired::{Desired, Mirror};
use crate::distribution::containerd::RegistryConfig;
use crate::distribution::hosts_toml::{self, FILE_NAME, HostsToml, Owner, preferred_directory};
use crate::distribution::node_layout;
use crate::distribution::proxy::ProxySettings;
use crate::manifest::ClusterName;

/// One file that a mirror needs on a node.
#[derive(Debug, Clone)]
pub struct Wire<'a> {
    /// Name of its directory: the host in image references.
    pub host: &'a str,
    /// Where it is, or should be.
    pub path: String,
    /// What it should say.
    pub wanted: &'a HostsToml,
    /// What is there now.
    pub state: WireState,
}

/// What there is of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireState {
    /// It says what it should, or what comes to the same.
    AsDesired,
    /// It is not there, or nothing is in it.
    Missing,
    /// It is ksail's and says something else.
    Differs,
    /// Somebody else's file is there instead, or one that containerd prefers.
    Foreign(Foreign),
}

/// A file in the way that is not this cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its path, or that of the directory that containerd prefers.
    pub path: String,
    /// Another cluster of ksail's that it belongs to.
    pub cluster: Option<String>,
}

/// Why pulls of a mirror's images do not go there from a node, or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwired {
    /// The node's files could not be read: why.
    Unreadable(String),
    /// Its containerd does not read such files: why, and what to do.
    Ignores(String),
    /// Somebody else's file is there instead.
    Foreign(Foreign),
    /// A file is not there: its path.
    Missing(String),
    /// A file says something else: its path.
    Differs(String),
    /// Its containerd asks a proxy instead: which, and what to do.
    Proxied(String),
    /// Whether its containerd reads such files cannot be told: why.
    Unknown(String),
}

/// The first thing that keeps a node's pulls of a mirror's images from the mirror.
pub fn unwired(node: &Node, mirror: &Mirror, desired: &Desired) -> Option<Unwired> {
    if let Some(why) = &node.unreadable {
        return Some(Unwired::Unreadable(why.clone()));
    }
    if let Some(complaint) = complaint(node, desired) {
        return Some(Unwired::Ignores(complaint));
    }
    misled(node, mirror, desired).or_else(|| match &node.registry_config {
        RegistryConfig::Unknown(why) => Some(Unwired::Unknown(why.clone())),
        _ => None,
    })
}

/// The first thing that sends them elsewhere although the node's containerd reads what it is told.
pub fn misled(node: &Node, mirror: &Mirror, desired: &Desired) -> Option<Unwired> {
    let wrong = wires(node, mirror, &desired.cluster).find_map(|wire| match wire.state {
        WireState::AsDesired => None,
        WireState::Foreign(foreign) => Some(Unwired::Foreign(foreign)),
        WireState::Missing => Some(Unwired::Missing(wire.path)),
        WireState::Differs => Some(Unwired::Differs(wire.path)),
    });
    wrong.or_else(|| asked_proxy(&node.proxy, node, mirror, desired))
}

/// That a node's containerd, told this of proxies, asks one in place of a mirror.
pub fn asked_proxy(told: &ProxySettings, node: &Node, mirror: &Mirror, desired: &Desired) -> Option<Unwired> {
    let all = desired.mirrors.values().map(|mirror| mirror.name.as_str());
    told.complaint(desired.distribution, &node.name, &mirror.name, all).map(Unwired::Proxied)
}

/// Why a node's containerd does not read `hosts.toml` files, and what to do.
pub fn complaint(node: &Node, desired: &Desired) -> Option<String> {
    let layout = node_layout(desired.distribution);
    node.registry_config.complaint(&node.name, &node.hosts_directory, layout.config)
}

/// What a mirror needs on a node, and what of it there is.
pub fn wires<'a>(node: &'a Node, mirror: &'a Mirror, cluster: &'a ClusterName) -> impl Iterator<Item = Wire<'a>> {
    mirror.node_files.iter().map(move |(host, wanted)| {
        let path = path(node, host);
        let state = state(node, host, wanted, cluster);
        Wire { host, path, wanted, state }
    })
}

/// Path of a host's file on a node.
pub fn path(node: &Node, host: &str) -> String {
    format!("{}/{FILE_NAME}", directory(node, host))
}

/// Path of a host's directory on a node.
pub fn directory(node: &Node, host: &str) -> String {
    format!("{}/{host}", node.hosts_directory)
}

fn state(node: &Node, host: &str, wanted: &HostsToml, cluster: &ClusterName) -> WireState {
    let foreign = |path, cluster| WireState::Foreign(Foreign { path, cluster });
    if let Some(preferred) = preferred_directory(host).filter(|preferred| node.hosts.contains_key(preferred)) {
        return foreign(directory(node, &preferred), None);
    }
    let Some(text) = node.hosts.get(host).and_then(|directory| directory.hosts_toml.as_deref()) else {
        return WireState::Missing;
    };
    match hosts_toml::owner(text, cluster, host) {
        _ if text == wanted.text() => WireState::AsDesired,
        Owner::Nobody => WireState::Missing,
        Owner::KsailByK3s if hosts_toml::does_the_same(text, wanted) => WireState::AsDesired,
        Owner::Ksail | Owner::KsailByK3s => WireState::Differs,
        _ if hosts_toml::routes_alike(text, wanted) => WireState::AsDesired,
        Owner::OtherCluster(other) => foreign(path(node, host), Some(other)),
        Owner::K3s | Owner::Stranger => foreign(path(node, host), None),
    }
}
