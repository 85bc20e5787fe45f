//! What can be changed in a manifest.

use std::net::IpAddr;

use crate::manifest::types::State;
use crate::manifest::values::{Host, Upstream};

/// One change to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets `spec.state`.
    SetState(State),
    /// Adds a mirror at the end of the list. The same one again changes nothing.
    AddMirror(MirrorEntry),
    /// Changes fields of a mirror.
    SetMirror {
        /// Which one.
        host: Host,
        /// What, in this order.
        changes: Vec<MirrorChange>,
    },
    /// Removes a mirror, with the words directly above it.
    RemoveMirror(Host),
}

/// A mirror to add; its fields are written in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorEntry {
    /// `host`.
    pub host: Host,
    /// The rest.
    pub fields: Vec<MirrorField>,
}

impl MirrorEntry {
    /// A pull-through cache.
    pub fn mirror(host: Host, upstream: &Upstream) -> Self {
        Self { host, fields: vec![MirrorField::Upstream(upstream.as_str().to_owned())] }
    }

    /// A registry to push to, when the host is `localhost:PORT`.
    pub fn push(host: Host) -> Self {
        Self { host, fields: Vec::new() }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, field: MirrorField) -> Self {
        self.fields.push(field);
        self
    }
}

/// A field of a mirror and its value as the file is to say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorField {
    /// `upstream`; may hold `${VAR}`.
    Upstream(String),
    /// `port`.
    Port(u16),
    /// `listenAddress`.
    ListenAddress(IpAddr),
    /// `fallback`.
    Fallback(bool),
    /// `ttl`, such as `168h`.
    Ttl(String),
    /// `credentials`, both as `${VAR}`.
    Credentials {
        /// `username`.
        username: String,
        /// `password`.
        password: String,
    },
}

/// A field of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorFieldName {
    /// `upstream`
    Upstream,
    /// `port`
    Port,
    /// `listenAddress`
    ListenAddress,
    /// `fallback`
    Fallback,
    /// `ttl`
    Ttl,
    /// `credentials`
    Credentials,
}

impl MirrorFieldName {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Port => "port",
            Self::ListenAddress => "listenAddress",
            Self::Fallback => "fallback",
            Self::Ttl => "ttl",
            Self::Credentials => "credentials",
        }
    }
}

/// What happens to one field of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorChange {
    /// It gets this value.
    Set(MirrorField),
    /// It is taken out.
    Unset(MirrorFieldName),
}
