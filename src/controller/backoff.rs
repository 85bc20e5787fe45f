//! How long what failed is left alone. The only place that knows the `backoff` crate, which is unmaintained
//! (RUSTSEC-2025-0012) and used as a generator of delays alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// The first delay.
const FIRST: Duration = Duration::from_millis(500);
/// Longest delay, jitter aside.
const LONGEST: Duration = Duration::from_secs(60);
/// Delays differ by this part, up or down.
const JITTER: f64 = 0.2;

/// Half a second after the first of several tries, and twice as long after each further one, up to a minute: give or
/// take a fifth, so that several of whom the same is wrong do not fall into step.
pub(super) fn delay(who: &impl Hash, tries: u32) -> Duration {
    let mut delays = ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_interval(LONGEST)
        // Otherwise it gives up after fifteen minutes.
        .with_max_elapsed_time(None)
        .build();
    // From the tenth on they are all the longest.
    let delay = (0..tries.min(10)).filter_map(|_| delays.next_backoff()).last().unwrap_or(FIRST);
    let mut hasher = DefaultHasher::new();
    (who, tries).hash(&mut hasher);
    let part = f64::from(u32::try_from(hasher.finish() % 1_000).unwrap_or(0)) / 1_000.0;
    delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_half_a_second_to_a_minute_and_never_end() {
        for (tries, delay_in_ms) in [(1, 500), (2, 1_000), (3, 2_000), (7, 32_000), (8, 60_000), (1_000_000, 60_000)] {
            let expected = Duration::from_millis(delay_in_ms);
            let (least, most) = (expected.mul_f64(1.0 - JITTER), expected.mul_f64(1.0 + JITTER));
            for who in 0..100 {
                let delay = delay(&who, tries);
                assert!(least <= delay && delay <= most, "{tries}: {delay:?}");
            }
        }
    }

    #[test]
    fn several_of_whom_the_same_is_wrong_do_not_fall_into_step() {
        let delays: std::collections::BTreeSet<Duration> = (0..100).map(|who| delay(&who, 1)).collect();
        assert!(delays.len() > 50, "{delays:?}");
    }
}
