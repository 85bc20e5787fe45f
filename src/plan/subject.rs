//! What a sequence is about, and what sequences wait for.

use std::fmt;

/// What a sequence of actions is about. Two sequences of different subjects run beside each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A mirror: the host in the manifest, or the one on the label of what has to go.
    Mirror(String),
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
            Self::Node(_) | Self::Cluster(_) => None,
        }
    }

    /// `mirror`, `node` or `cluster`, as keys of JSON output have it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mirror(_) => "mirror",
            Self::Node(_) => "node",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Host or name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mirror(name) | Self::Node(name) | Self::Cluster(name) => name,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror(host) => f.write_str(host),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Cluster(name) => write!(f, "cluster {name}"),
        }
    }
}

/// What a step can wait for in another sequence of its plan. Each but [`Milestone::Done`] is reached at the latest when
/// that sequence has ended, however it ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// A container has given up its ports.
    Released(String),
    /// A container has left the cluster's network.
    Detached(String),
    /// Nothing more happens to this subject.
    Ended(Subject),
    /// Everything was done to this subject that was to be done. If that fails, so does what waits for it.
    Done(Subject),
}

impl Milestone {
    /// The subject whose sequence has to succeed.
    pub const fn needs(&self) -> Option<&Subject> {
        match self {
            Self::Done(subject) => Some(subject),
            Self::Released(_) | Self::Detached(_) | Self::Ended(_) => None,
        }
    }
}
