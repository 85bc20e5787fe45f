//! Restarts one registry because somebody asks for it.

use std::io;

use tokio_util::sync::CancellationToken;

use super::{Controller, survey};
use crate::desired::Desired;
use crate::engine::{ContainerState, Engine, EngineError};
use crate::execute::{Executor, Milestones};
use crate::manifest::Host;
use crate::observed::Observer;
use crate::outcome::{Cancel, Ended, Failure, GivenUp};
use crate::plan::{Action, Sequence, Step, Subject, Target};
use crate::probe::{Probe, Prober};

/// Why it is done.
const ASKED_FOR: &str = "asked for";

/// How it ended.
#[derive(Debug)]
pub enum Restarted {
    /// It serves again.
    Done,
    /// There is no container to restart.
    NotThere,
    /// It does not serve; what failed was reported.
    Failed(Failure),
    /// Told to stop.
    Stopped,
    /// The engine is away.
    EngineAway(EngineError),
    /// The lock cannot be had at all.
    NoLock(io::Error),
}

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Restarts the registry of a mirror under the lock, like everything that is done to the cluster, and waits until it
    /// serves. A `watch` sees what it sees, and finds nothing to do afterwards.
    pub async fn restart(&self, desired: &Desired, host: &Host, stop: &CancellationToken) -> Restarted {
        let lease = tokio::select! {
            biased;
            () = stop.cancelled() => return Restarted::Stopped,
            lease = self.lock.acquire() => lease,
        };
        let _lease = match lease {
            Ok(lease) => lease,
            Err(error) => return Restarted::NoLock(error),
        };
        let prober = Prober::new(self.probe.clone());
        let observer = Observer::new(self.engine.clone(), prober.clone(), self.provisioner.clone());
        let surveyed = match survey(&observer, desired).await {
            Ok(surveyed) => surveyed,
            Err(error) => return Restarted::EngineAway(error),
        };
        let name = surveyed.desired.mirrors.get(host).map(|mirror| mirror.name.as_str());
        let found = surveyed.observed.containers.iter().find(|found| Some(found.container.name.as_str()) == name);
        let Some(container) = found.map(|found| &found.container) else { return Restarted::NotThere };
        let target = Target { name: container.name.clone(), id: Some(container.id.clone()) };
        let restart = Action::RestartContainer { container: target.clone(), only_if_silent: false };
        let resume =
            (container.state == ContainerState::Paused).then(|| Action::UnpauseContainer { container: target.clone() });
        let actions = resume.into_iter().chain([restart, Action::AwaitServing { container: target }]);
        let steps = actions.map(|action| Step::new(action, ASKED_FOR)).collect();
        let (subject, sequence) = (Subject::mirror(host), Sequence { steps, ..Sequence::default() });
        let executor = Executor::new(
            self.engine.clone(),
            prober,
            self.provisioner.clone(),
            self.concurrency,
            self.reporter.clone(),
        );
        let (milestones, cancel) = (Milestones::of([(&subject, &sequence)].into_iter()), Cancel::default());
        let running = executor.run(&subject, &sequence, &milestones, &cancel);
        let stopping = async {
            stop.cancelled().await;
            cancel.cancel(GivenUp::Stopped);
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = running => outcome,
            () = stopping => return Restarted::Stopped,
        };
        match outcome.ended {
            Ended::Done => Restarted::Done,
            Ended::Cancelled => Restarted::Stopped,
            Ended::Failed(failure) => Restarted::Failed(failure),
        }
    }
}
