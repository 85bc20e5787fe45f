//! What is reconciled by itself: a mirror, a volume that goes, a node, the cluster.

use std::fmt;

/// What is reconciled by itself: it has one state, at most one sequence of actions at a time, and a pace of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A mirror: the host in the manifest, or the one on the label of what has to go.
    Mirror(String),
    /// A volume that goes: its name. One that a mirror needs is the mirror's affair.
    Volume(String),
    /// A node: the name of its container.
    Node(String),
    /// The cluster itself.
    Cluster(String),
}

impl Subject {
    /// A mirror's.
    pub fn mirror(host: impl fmt::Display) -> Self {
        Self::Mirror(host.to_string())
    }

    /// The host, if it is a mirror.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Mirror(host) => Some(host),
            Self::Volume(_) | Self::Node(_) | Self::Cluster(_) => None,
        }
    }

    /// `mirror`, `volume`, `node` or `cluster`, as keys of JSON output have it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mirror(_) => "mirror",
            Self::Volume(_) => "volume",
            Self::Node(_) => "node",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Host or name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mirror(name) | Self::Volume(name) | Self::Node(name) | Self::Cluster(name) => name,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror(host) => f.write_str(host),
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Cluster(name) => write!(f, "cluster {name}"),
        }
    }
}
