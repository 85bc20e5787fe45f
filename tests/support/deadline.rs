//! Polling a condition with a deadline, in place of sleeping.

use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Polls until `probe` answers, and returns how long that took along with the answer.
///
/// # Panics
///
/// After `limit`, with `what` and the probe's last words.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        match probe() {
            Ok(found) => return (found, begun.elapsed()),
            Err(seen) if begun.elapsed() > limit => panic!("{what}: not within {limit:?}; last seen: {seen}"),
            Err(_) => sleep(PAUSE),
        }
    }
}

/// Turns a condition into what [`eventually`] polls.
pub(crate) fn holds(condition: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

/// Polls until `probe` answers; `None` when it has not within `limit`.
pub(crate) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        match probe() {
            None if begun.elapsed() <= limit => sleep(PAUSE),
            found => return found,
        }
    }
}
