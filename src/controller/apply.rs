//! Reconciles once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::engine_events::hear;
use super::engine_source::{self, FromEngine};
use super::failed::{Failed, TRIES};
use super::reconcile::{PassError, Reconciler};
use super::timer::at;
use super::{Applied, Controller};
use crate::desired::Desired;
use crate::engine::Engine;
use crate::manifest::Lifecycle;
use crate::probe::{Probe, Prober};

/// After a refusal the engine has this long: what it could not say may be of a container that is just being removed.
const REFUSED: Duration = Duration::from_secs(1);

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Reconciles once, until everything is as desired, or cannot be.
    pub async fn apply(&self, desired: Desired, timeout: Duration, stop: &CancellationToken) -> Applied {
        let mut reconciler = Reconciler::new(self, Prober::new(self.probe.clone()), stop.clone());
        reconciler.gives_up = true;
        let is_managed = desired.lifecycle == Lifecycle::Managed;
        reconciler.set_desired(desired);
        reconciler.queue.push_now("apply");
        let deadline = Instant::now() + timeout;
        // While a cluster is being created its network and its nodes appear, and are not to wait until it is done.
        let (engine_out, mut engine) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        let mut refusals = 0;
        if is_managed {
            tasks.spawn(engine_source::run(self.engine.clone(), engine_out));
        }
        let ended = loop {
            let retry = reconciler.next_retry();
            tokio::select! {
                biased;
                () = stop.cancelled() => break Applied::Stopped,
                () = sleep_until(deadline) => break Applied::TimedOut(reconciler.status.clone()),
                Some(ended) = reconciler.running.join_next() => reconciler.ended(ended),
                Some(message) = engine.recv() => {
                    if let (FromEngine::Happened(_), true) = (&message, reconciler.is_cluster_under_way()) {
                        hear(&mut reconciler, message);
                    }
                }
                Some(()) = at(reconciler.queue.due()) => match timeout_at(deadline, reconciler.pass()).await {
                    Ok(Ok(())) => refusals = 0,
                    // It is there, and what it could not say of one object it can in a moment.
                    Ok(Err(PassError::Engine(error))) if !error.is_unavailable() && refusals + 1 < TRIES => {
                        refusals += 1;
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = sleep_until(deadline.min(Instant::now() + REFUSED)) => {}
                        }
                        reconciler.queue.push("another look");
                    }
                    Ok(Err(PassError::Engine(error))) => break Applied::EngineAway(error),
                    Ok(Err(PassError::Lock(error))) => break Applied::NoLock(error),
                    // Nobody takes over from one pass.
                    Ok(Err(PassError::Stopped | PassError::NotInForce(_))) => break Applied::Stopped,
                    Err(_) => break Applied::TimedOut(reconciler.status.clone()),
                },
                Some(()) = at(retry) => reconciler.queue.push("another try"),
            }
            if let Some(verdict) = verdict(&reconciler) {
                break verdict;
            }
        };
        reconciler.wind_up().await;
        ended
    }
}

/// Whether `apply` is done, one way or the other.
fn verdict<E: Engine, P: Probe>(reconciler: &Reconciler<E, P>) -> Option<Applied> {
    if !reconciler.running.is_empty() || reconciler.queue.due().is_some() {
        return None;
    }
    let status = reconciler.status.clone()?;
    if status.is_ready() {
        return (!reconciler.has_more_to_try()).then_some(Applied::Converged(status));
    }
    let hopeless = reconciler.failures.values().any(Failed::is_hopeless);
    let waits = reconciler.next_retry().is_some() && !hopeless;
    (hopeless || !waits || reconciler.only_blocked()).then_some(Applied::Failed(status))
}
