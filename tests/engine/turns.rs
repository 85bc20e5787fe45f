//! Who may work the engine at the same time: three tests, or one that measures closely. First come, first served.
//!
//! More at once would not be quicker (dockerd is the limit) and would make deadlines a matter of luck.

use std::sync::{Condvar, Mutex, PoisonError};

const PLACES: usize = 3;

/// Held by a test while it works the engine.
pub(crate) struct Turn {
    places: usize,
}

/// For most tests: beside others.
pub(crate) fn beside_others() -> Turn {
    take(1)
}

/// For a test whose deadline is close to what the engine itself takes.
pub(crate) fn alone() -> Turn {
    take(PLACES)
}

struct Queue {
    free: usize,
    /// Tickets given out, and those whose turn has come.
    tickets: u64,
    called: u64,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { free: PLACES, tickets: 0, called: 0 });
static CHANGED: Condvar = Condvar::new();

fn take(places: usize) -> Turn {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let ticket = queue.tickets;
    queue.tickets += 1;
    let mut queue = CHANGED
        .wait_while(queue, |queue| queue.called != ticket || queue.free < places)
        .unwrap_or_else(PoisonError::into_inner);
    queue.free -= places;
    queue.called += 1;
    CHANGED.notify_all();
    Turn { places }
}

impl Drop for Turn {
    fn drop(&mut self) {
        QUEUE.lock().unwrap_or_else(PoisonError::into_inner).free += self.places;
        CHANGED.notify_all();
    }
}
