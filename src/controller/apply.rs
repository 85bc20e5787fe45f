//! Reconciles once.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bound::Bound;
use super::intent::Intent;
use super::reconciler::{Reconciler, Until, Verdict};
use super::{Applied, Controller};
use crate::desired::Desired;
use crate::engine::Engine;
use crate::probe::Probe;

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Reconciles once, until everything is as desired, or cannot be. `timeout` bounds all of it: what is half done when
    /// [most of it](super::kept_for_undoing) is over is undone in the rest.
    pub async fn apply(&self, desired: Desired, timeout: Duration, stop: &CancellationToken) -> Applied {
        let (_asked, intent) = watch::channel(Intent::at_once(desired));
        let until = Until::Settled { bound: Bound::within(timeout) };
        let mut reconciler = Reconciler::new(self, intent, until);
        reconciler.because("apply");
        let verdict = reconciler.run(stop).await;
        match (verdict, reconciler.status.take()) {
            (Verdict::Converged, Some(status)) => Applied::Converged(status),
            (Verdict::Failed, Some(status)) => Applied::Failed(status),
            (Verdict::TimedOut(waited_for), status) => Applied::TimedOut { status, waited_for },
            (Verdict::EngineAway(error), _) => Applied::EngineAway(error),
            (Verdict::NoLock(error), _) => Applied::NoLock(error),
            (Verdict::Rejected(why), _) => Applied::Rejected(why),
            // Nothing converges or fails without a status.
            (Verdict::Stopped | Verdict::Converged | Verdict::Failed, _) => Applied::Stopped,
        }
    }
}
