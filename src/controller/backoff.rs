//! Delays between tries at a mirror that fails. The only place that knows the `backoff` crate, which is
//! unmaintained (RUSTSEC-2025-0012) and used as a generator of delays alone.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// Longest delay, jitter aside.
const LONGEST: Duration = Duration::from_secs(60);

/// Exponential delays with jitter, from half a second to a minute, without end.
#[derive(Debug)]
pub(super) struct Delays(ExponentialBackoff);

impl Delays {
    pub(super) fn new() -> Self {
        let delays = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(500))
            .with_multiplier(2.0)
            .with_randomization_factor(0.2)
            .with_max_interval(LONGEST)
            // Otherwise it gives up after fifteen minutes.
            .with_max_elapsed_time(None)
            .build();
        Self(delays)
    }

    pub(super) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_half_a_second_to_a_minute_and_never_end() {
        let mut delays = Delays::new();
        let first = delays.next();
        assert!(first >= Duration::from_millis(400) && first <= Duration::from_millis(600), "{first:?}");
        let later: Vec<_> = (0..100).map(|_| delays.next()).collect();
        assert!(later.iter().all(|delay| *delay <= LONGEST.mul_f64(1.2)));
        assert!(later.iter().skip(10).all(|delay| *delay >= LONGEST.mul_f64(0.8)));
    }
}
