//! What failed, and when it is tried again.

use tokio::time::Instant;

use super::backoff::Delays;
use crate::outcome::Failure;

/// `apply` gives a mirror this many tries, and as many to an engine that answers and refuses.
pub(super) const TRIES: u32 = 3;

/// A mirror's last failure.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) tries: u32,
    pub(super) until: Instant,
    pub(super) delays: Delays,
}

impl Failed {
    /// Whether `apply` tries it no more. A program that ran for minutes has said what is wrong; whoever wants it tried
    /// again says so.
    pub(super) fn is_hopeless(&self) -> bool {
        self.tries >= TRIES || matches!(self.failure, Failure::Provisioner(_) | Failure::Remains { .. })
    }
}
