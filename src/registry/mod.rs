//! All that is known of the registry image: the CNCF distribution registry, versions 2 and 3.
//!
//! <https://distribution.github.io/distribution/about/configuration/>

mod access_log;
mod counters;
mod last_words;
mod log_line;
mod proxy;
mod secrets;
mod settings;
mod version;
mod word;

use std::fmt;

pub use self::access_log::Answers;
pub use self::counters::{CacheCounters, READ_COUNTERS};
pub use self::last_words::{LastWords, last_words};
pub use self::log_line::{is_of_probe, is_request};
pub use self::proxy::{HOST_GATEWAY, is_proxy_setting, needs_host_gateway, proxy_settings};
pub use self::secrets::{FilesDigest, SecretFiles};
pub use self::settings::{LIFETIME, LOG_CAP, SHAPE, is_proxy, is_served_from_cache, serve_from_cache, settings};
pub use self::version::{asks_for_credentials_again, major_version, starts_without_upstream};
pub use self::word::{Heard, Said, Word};

/// Port every registry listens on inside its container.
pub const PORT: u16 = 5000;
/// Where a registry keeps its content.
pub const STORAGE: &str = "/var/lib/registry";

/// What a registry is for. A registry in proxy mode refuses pushes, so it is one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A pull-through cache of an upstream.
    Mirror,
    /// A registry people push to.
    Push,
}

impl Role {
    /// The value of the label [`ROLE`](crate::labels::ROLE).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::Push => "push",
        }
    }

    /// The role that a label's value stands for.
    pub fn of(label: &str) -> Option<Self> {
        [Self::Mirror, Self::Push].into_iter().find(|role| role.as_str() == label)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a pull-through cache is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mode {
    /// It gets from its upstream what it does not have, and asks there whether a tag is still what it was.
    #[default]
    Proxy,
    /// From its volume alone, read-only: nobody is there to be asked, and to ask makes every pull wait.
    Cache,
}

/// Directory of a repository's tags in a registry's volume: `<tag>/current/link` names the manifest of a tag.
pub fn tags_directory(repository: &str) -> String {
    format!("{STORAGE}/docker/registry/v2/repositories/{repository}/_manifests/tags")
}
