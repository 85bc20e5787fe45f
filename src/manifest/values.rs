//! Values that are checked once, when the manifest is read.

use std::fmt;
use std::str::FromStr;

/// Why a value was refused, in words that say what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidValue {
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// A cluster's name: a DNS label of at most 40 characters.
///
/// Kubernetes limits labels to 63 characters; 40 leave room for `ksail-` and a mirror's slug.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

/// The registry part of image references: `docker.io`, `ghcr.io`, `localhost:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// Root of an upstream registry: `scheme://host[:port]`, no path, no trailing slash
/// (the registry's `proxy.remoteurl` takes nothing else).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream(String);

macro_rules! text_value {
    ($($name:ident)*) => {$(
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_value!(ClusterName Host Upstream);

// placeholders until the manifest loader lands
impl FromStr for ClusterName {
    type Err = InvalidValue;
    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        Ok(Self(s.to_owned()))
    }
}
impl FromStr for Host {
    type Err = InvalidValue;
    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        Ok(Self(s.to_owned()))
    }
}
impl FromStr for Upstream {
    type Err = InvalidValue;
    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        Ok(Self(s.to_owned()))
    }
}
