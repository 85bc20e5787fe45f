//! Whether a node sends the pulls of a mirror's images to the mirror. Pure.

use crate::desired::Mirror;
use crate::distribution::hosts_toml::{self, FILE_NAME, HostsToml, Owner, preferred_directory};
use crate::observed::Node;

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
    /// Somebody else's file is there instead, or one that containerd prefers: its path.
    Foreign(String),
}

/// What a mirror needs on a node, and what of it there is.
pub fn wires<'a>(node: &'a Node, mirror: &'a Mirror) -> impl Iterator<Item = Wire<'a>> {
    mirror.node_files.iter().map(|(host, wanted)| {
        let path = path(node, host);
        let state = state(node, host, wanted);
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

fn state(node: &Node, host: &str, wanted: &HostsToml) -> WireState {
    if let Some(preferred) = preferred_directory(host).filter(|preferred| node.hosts.contains_key(preferred)) {
        return WireState::Foreign(directory(node, &preferred));
    }
    let Some(text) = node.hosts.get(host).and_then(|directory| directory.hosts_toml.as_deref()) else {
        return WireState::Missing;
    };
    match hosts_toml::owner(text) {
        _ if text == wanted.text() => WireState::AsDesired,
        Owner::Nobody => WireState::Missing,
        Owner::Ksail => WireState::Differs,
        Owner::K3s | Owner::Stranger if hosts_toml::routes_alike(text, wanted) => WireState::AsDesired,
        Owner::K3s | Owner::Stranger => WireState::Foreign(path(node, host)),
    }
}
