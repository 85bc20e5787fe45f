//! What an upstream answers to whoever asks it as the registry would.

use std::fmt;

/// What an upstream's answer to `GET /v2/` means for a registry that gets from it what it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAnswer {
    /// As a registry does: 401 is such an answer.
    Answers,
    /// It refuses the credentials; the message says how, and since when they are not sent any more.
    Unauthorized(String),
    /// Its certificate is not one that the registry trusts.
    Untrusted(String),
    /// 429; the message says until when, where it names a time.
    RateLimited(String),
    /// An error of its own, or an answer that is not a registry's, as a login page is.
    Broken(String),
    /// It has no address, refuses connections, or there is no way to it.
    Unreachable(String),
    /// Nothing came within ten seconds.
    Silent,
    /// It cannot be told from here: only the cluster's network knows its name, or the engine is elsewhere.
    Unknown(String),
}

impl UpstreamAnswer {
    /// Nobody is there, so that what is cached is better served without asking.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Silent)
    }

    /// Pulls of what is not cached can be expected to work.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Answers)
    }
}

impl fmt::Display for UpstreamAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("answers as a registry"),
            Self::Silent => f.write_str("no answer within 10 s"),
            Self::Unauthorized(why)
            | Self::Untrusted(why)
            | Self::RateLimited(why)
            | Self::Broken(why)
            | Self::Unreachable(why)
            | Self::Unknown(why) => f.write_str(why),
        }
    }
}
