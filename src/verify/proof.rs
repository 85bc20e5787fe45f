//! What is found out about a mirror on a node.

use std::collections::BTreeMap;
use std::fmt;

use crate::registry::Role;

/// Where a pull goes through, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// The node's `hosts.toml`, and whether its containerd reads it.
    NodeFile,
    /// The mirror's name, as the node looks it up.
    Dns,
    /// A proxy that the node's containerd asks in place of the mirror.
    Proxy,
    /// The connection from the node to the mirror.
    Connect,
    /// The mirror's registry.
    Mirror,
    /// The registry that the mirror asks.
    Upstream,
    /// What the mirror tells that registry who it is.
    Credentials,
}

impl Hop {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeFile => "node file",
            Self::Dns => "DNS",
            Self::Proxy => "proxy",
            Self::Connect => "connect",
            Self::Mirror => "mirror",
            Self::Upstream => "upstream",
            Self::Credentials => "credentials",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found out about one mirror on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What image references say.
    pub host: String,
    /// Whether it is a mirror, or a registry to push to.
    pub role: Role,
    /// The node.
    pub node: String,
    /// The image that was pulled.
    pub image: Option<String>,
    /// The node's requests for it in the mirror's log, by the status of the answer.
    pub requests: BTreeMap<u16, usize>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pull came through the mirror.
    Proven,
    /// It did not.
    Broken {
        /// The first hop that does not work.
        hop: Hop,
        /// What is wrong there.
        message: String,
    },
    /// There is nothing to pull, or nothing to pull it with.
    NotTried {
        /// Why, and what to do.
        message: String,
    },
    /// Nobody asked for this one, and there is nothing to prove yet.
    PassedOver {
        /// Why, and what to do.
        message: String,
    },
    /// Time was up before it was known.
    TimeIsUp,
}

impl Outcome {
    pub(super) fn broken(hop: Hop, message: impl Into<String>) -> Self {
        Self::Broken { hop, message: message.into() }
    }

    /// With something said before what is wrong.
    pub(super) fn after(self, words: &str) -> Self {
        match self {
            Self::Broken { hop, message } => Self::Broken { hop, message: format!("{words}{message}") },
            other => other,
        }
    }

    /// Whether the pull came through the mirror.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven)
    }
}
