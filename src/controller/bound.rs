//! How long a command may take, all in all: what is half done when time is up is undone within it.

use std::time::Duration;

use tokio::time::Instant;

/// This part of the bound is kept for undoing.
const KEPT_PART: u32 = 10;
/// And no more than this: kind and k3d delete a cluster in ten seconds, and a stuck program of theirs is ended after ten.
const KEPT_AT_MOST: Duration = Duration::from_secs(60);
/// Of what is kept, this part is for a last look at how everything is.
const LOOK_PART: u32 = 4;
/// And no more than this.
const LOOK_AT_MOST: Duration = Duration::from_secs(10);
/// A bound that nobody lives to see, and that clocks can still count to.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// When a command gives up, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// From then on nothing is begun that is not to undo something.
    pub(super) gives_up: Instant,
    /// From then on nothing is undone any more: only how everything is may be looked at.
    pub(super) has_undone: Instant,
    /// It ends, whatever is under way.
    pub(super) ends: Instant,
}

impl Bound {
    /// A command that may take so long from now on.
    pub(super) fn within(timeout: Duration) -> Self {
        let timeout = timeout.min(FOR_EVER);
        let (now, kept) = (Instant::now(), kept_for_undoing(timeout));
        let ends = now + timeout;
        Self { gives_up: ends - kept, has_undone: ends - (kept / LOOK_PART).min(LOOK_AT_MOST), ends }
    }
}

/// How much of a bound is kept for undoing what is half done when the rest is over: a tenth, and at most a minute.
pub fn kept_for_undoing(timeout: Duration) -> Duration {
    (timeout / KEPT_PART).min(KEPT_AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_kept_and_at_most_a_minute() {
        let kept = |seconds| kept_for_undoing(Duration::from_secs(seconds));
        assert_eq!(kept(300), Duration::from_secs(30));
        assert_eq!(kept(3600), Duration::from_secs(60));
        assert_eq!(kept(0), Duration::ZERO);
    }

    #[test]
    fn the_longest_bound_that_can_be_written_is_one() {
        let bound = Bound::within(Duration::MAX);
        assert!(bound.gives_up < bound.has_undone && bound.has_undone < bound.ends);
    }
}
