//! What can be read of the engine and of what runs in it, one at a time.

use std::net::IpAddr;

/// Something that is read by itself. The order is the one in which marked objects are read: lists come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// The list of all containers.
    Containers,
    /// The list of all networks.
    Networks,
    /// The list of all volumes.
    Volumes,
    /// The image that registries are made from, and the program that makes clusters.
    Image,
    /// The list of one mirror's containers, by their label.
    Mirror(String),
    /// One container, by its id, and the secret files in it.
    Container(String),
    /// One volume, by its name.
    Volume(String),
    /// The labels of an image, by its id: what a container inherits from it.
    Labels(String),
    /// Whether a port of this machine is taken.
    Port(IpAddr, u16),
    /// Whether the registry in a container, by its id, would start again.
    StartsAgain(String),
    /// The files of a node, by its id, and what its containerd is told.
    Node(String),
    /// Whether the cluster can be used.
    ControlPlane,
    /// What the cluster says of its registry.
    Hosting,
    /// Whether the files of a node, by its id, are what they were.
    Glance(String),
}

impl Object {
    /// Whether it is read inside a node, which cannot be removed at that moment: the engine mounts its files.
    pub(super) const fn is_in_node(&self) -> bool {
        matches!(self, Self::Node(_) | Self::ControlPlane | Self::Hosting | Self::Glance(_))
    }

    /// The lists without which nothing is known.
    pub(super) const LISTS: [Self; 4] = [Self::Containers, Self::Networks, Self::Volumes, Self::Image];
}
