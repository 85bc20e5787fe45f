//! Triggers coalesce: a burst of saves or events is one pass.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// A pass starts this long after the last trigger of a burst.
const QUIET: Duration = Duration::from_millis(30);
/// And at most this long after the first.
const LONGEST: Duration = Duration::from_millis(500);

/// What asks for a pass. The reasons are for people; one trigger is as good as many.
#[derive(Debug, Default)]
pub(super) struct Queue {
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Burst {
    first: Instant,
    last: Instant,
    triggers: BTreeSet<String>,
}

impl Queue {
    /// Asks for a pass.
    pub(super) fn push(&mut self, trigger: impl Into<String>) {
        let now = Instant::now();
        let burst = self.burst.get_or_insert_with(|| Burst { first: now, last: now, triggers: BTreeSet::new() });
        burst.last = now;
        burst.triggers.insert(trigger.into());
    }

    /// Asks for a pass at once: nothing more is to be expected.
    pub(super) fn push_now(&mut self, trigger: impl Into<String>) {
        self.push(trigger);
        if let Some(burst) = &mut self.burst {
            burst.first = burst.last.checked_sub(LONGEST).unwrap_or(burst.first);
        }
    }

    /// When the next pass starts, if one was asked for.
    pub(super) fn due(&self) -> Option<Instant> {
        self.burst.as_ref().map(|burst| (burst.last + QUIET).min(burst.first + LONGEST))
    }

    /// The triggers the pass that starts now answers.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.burst.take().map(|burst| burst.triggers.into_iter().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_pass_soon_after_its_last_trigger() {
        let mut queue = Queue::default();
        queue.push("a");
        advance(Duration::from_millis(20)).await;
        queue.push("b");
        assert_eq!(queue.due(), Some(Instant::now() + QUIET));
        assert_eq!(queue.take(), ["a", "b"]);
        assert_eq!(queue.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_that_nothing_follows_is_answered_at_once() {
        let mut queue = Queue::default();
        advance(LONGEST).await;
        queue.push_now("a");
        assert_eq!(queue.due(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_does_not_end_is_not_waited_for_longer_than_half_a_second() {
        let mut queue = Queue::default();
        let start = Instant::now();
        for _ in 0..40 {
            queue.push("again");
            advance(Duration::from_millis(25)).await;
        }
        assert_eq!(queue.due(), Some(start + LONGEST));
    }
}
