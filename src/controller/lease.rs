//! The lease of a cluster: one ksail at a time changes it. Others are waited for beside everything else.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::lock::{ClusterLock, Held};

/// Whoever waits this long for another ksail says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether this ksail may change the cluster.
pub(super) struct Lease {
    lock: ClusterLock,
    state: State,
}

enum State {
    /// Nobody is known to hold it.
    Free,
    /// This one has it.
    Held(#[expect(dead_code, reason = "dropped when it is released")] Held),
    /// Another one has it, and is waited for; when that is to be told, unless it was.
    Waiting { lock: BoxFuture<'static, io::Result<Held>>, tell: Option<Instant> },
}

impl Lease {
    pub(super) fn new(lock: ClusterLock) -> Self {
        Self { lock, state: State::Free }
    }

    /// Acquires the lease if it is to be had now; otherwise it is waited for.
    ///
    /// # Errors
    ///
    /// When it cannot be had at all.
    pub(super) fn acquire(&mut self) -> io::Result<bool> {
        match self.state {
            State::Held(_) => return Ok(true),
            State::Waiting { .. } => return Ok(false),
            State::Free => {}
        }
        match self.lock.try_acquire()? {
            Some(held) => self.state = State::Held(held),
            None => {
                let lock = self.lock.clone();
                let lock = Box::pin(async move { lock.acquire().await });
                self.state = State::Waiting { lock, tell: Some(Instant::now() + PATIENCE) };
            }
        }
        Ok(self.is_held())
    }

    /// Completes when the lease that is waited for is acquired; never, when none is.
    pub(super) async fn acquired(&mut self) -> io::Result<()> {
        let State::Waiting { lock, .. } = &mut self.state else { return std::future::pending().await };
        let held = lock.await;
        self.state = State::Free;
        self.state = State::Held(held?);
        Ok(())
    }

    /// Others may have it.
    pub(super) fn release(&mut self) {
        if self.is_held() {
            self.state = State::Free;
        }
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    pub(super) fn is_waited_for(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// When it is to be told that another ksail is waited for.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { tell, .. } => *tell,
            State::Free | State::Held(_) => None,
        }
    }

    /// What is to be told, once.
    pub(super) fn tell(&mut self) -> String {
        if let State::Waiting { tell, .. } = &mut self.state {
            *tell = None;
        }
        let who = self.lock.holder().map(|process| format!(" (process {process})")).unwrap_or_default();
        format!("another ksail{who} works on this cluster; waiting for it")
    }
}
