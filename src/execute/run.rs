//! One subject's steps, in order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span};

use super::executor::Executor;
use super::milestones::Milestones;
use crate::engine::{Container, ContainerState, Engine, LogPart};
use crate::event::{ActionReport, ActionResult, Event};
use crate::outcome::{Cancel, Ended, Failure, GivenUp, Outcome, SERVE_WITHIN};
use crate::plan::{Action, Sequence, Step, Subject, Target};
use crate::probe::{Probe, Uptime};
use crate::provisioner::ProvisionError;
use crate::registry::{self, SecretFiles};

/// Pause between two looks at whether a container that was started still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Lines of a log that hold the last words of a registry: a page on where it was follows them.
const LAST_LINES: u32 = 100;

impl<E: Engine, P: Probe> Executor<E, P> {
    /// Runs one subject's steps in order. A failure or a cancellation takes back, in reverse order, the steps since
    /// the last wait for a registry to serve that can be taken back.
    pub async fn run(
        &self,
        subject: &Subject,
        sequence: &Sequence,
        milestones: &Milestones,
        cancel: &Cancel,
    ) -> Outcome {
        let _reached_at_the_end = milestones.when_ended(subject, sequence);
        let mut run = Run {
            executor: self,
            subject,
            milestones,
            given_up: cancel,
            cancel: cancel.token(),
            created: HashMap::new(),
            undo: Vec::new(),
            serves: false,
            actions: 0,
            left: None,
        };
        let ended = run.all(&sequence.steps).await;
        if ended != Ended::Done {
            milestones.miss(subject);
        }
        Outcome { ended, actions: run.actions, left: run.left }
    }
}

struct Run<'a, E, P> {
    executor: &'a Executor<E, P>,
    subject: &'a Subject,
    milestones: &'a Milestones,
    given_up: &'a Cancel,
    cancel: &'a CancellationToken,
    /// Ids of the containers this run created, by name.
    created: HashMap<String, String>,
    undo: Vec<Action>,
    /// The registry has been waited for: what is left to do is tidying up, which is quicker than leaving it.
    serves: bool,
    actions: usize,
    /// How a creation ended that may have left half a cluster.
    left: Option<ProvisionError>,
}

impl<E: Engine, P: Probe> Run<'_, E, P> {
    async fn all(&mut self, steps: &[Step]) -> Ended {
        for step in steps {
            if self.cancel.is_cancelled() && !self.serves {
                self.roll_back("stopped half-way").await;
                return Ended::Cancelled;
            }
            if let Err(stopped) = self.step(step).await {
                let why = match &stopped {
                    Ended::Failed(_) => format!("could not {}", step.action),
                    Ended::Done | Ended::Cancelled => "stopped half-way".to_owned(),
                };
                self.roll_back(&why).await;
                return stopped;
            }
        }
        Ended::Done
    }

    async fn step(&mut self, step: &Step) -> Result<(), Ended> {
        // What must have been done is not given up half-way, so that its end is near.
        let is_certain = step.after.iter().any(|milestone| milestone.must_succeed().is_some());
        let may_go_on = tokio::select! {
            biased;
            all_reached = self.milestones.wait(&step.after) => all_reached,
            () = self.cancel.cancelled(), if !is_certain => false,
        };
        if may_go_on && is_certain {
            // There is nothing left to go back to.
            self.undo.clear();
        }
        if !may_go_on || self.cancel.is_cancelled() && is_certain {
            return Err(Ended::Cancelled);
        }
        // Taken back even when it fails: an answer that was lost does not say that nothing was done.
        self.undo.extend(step.undo.iter().rev().cloned());
        let cancel = Some(self.cancel).filter(|_| !self.serves);
        let outcome = self.perform_and_report(&step.action, &step.cause, cancel).await;
        self.milestones.reach(self.subject, &step.action);
        if matches!(step.action, Action::AwaitServing { .. }) && outcome.is_ok() {
            self.undo.clear();
            self.serves = true;
        }
        outcome
    }

    async fn roll_back(&mut self, why: &str) {
        while let Some(action) = self.undo.pop() {
            // The next pass finds whatever this leaves.
            let _ = self.perform_and_report(&action, why, None).await;
        }
    }

    async fn perform_and_report(
        &mut self,
        action: &Action,
        cause: &str,
        cancel: Option<&CancellationToken>,
    ) -> Result<(), Ended> {
        self.actions += usize::from(action.changes());
        let mut report = ActionReport::of(self.subject, action, cause);
        self.executor.reporter.report(&Event::ActionStarted(report.clone()));
        let started = Instant::now();
        let span =
            debug_span!("action", subject = %self.subject, action = action.name(), object = action.object(), cause);
        let work = self.perform(action, cancel).instrument(span);
        let may_be_left = matches!(action, Action::PullImage { .. } | Action::AwaitServing { .. });
        let outcome = match cancel.filter(|_| may_be_left) {
            None => work.await,
            Some(cancel) => tokio::select! {
                biased;
                outcome = work => outcome,
                () = cancel.cancelled() => Err(Ended::Cancelled),
            },
        };
        report.duration = started.elapsed();
        report.result = match &outcome {
            Ok(()) | Err(Ended::Done) => ActionResult::Done,
            Err(Ended::Cancelled) => ActionResult::Cancelled(self.given_up.why().unwrap_or(GivenUp::Stopped)),
            Err(Ended::Failed(failure)) => ActionResult::Failed(failure.clone()),
        };
        self.executor.reporter.report(&Event::Action(report));
        outcome
    }

    async fn perform(&mut self, action: &Action, cancel: Option<&CancellationToken>) -> Result<(), Ended> {
        if let Action::AwaitServing { container } = action {
            return match self.id_of(container) {
                Some(id) => self.await_serving(&container.name, &id).await.map_err(ended_by),
                None => Ok(()),
            };
        }
        let executor = self.executor;
        // A pull takes minutes, and others need their turn meanwhile. (The semaphore is never closed.)
        let _permit = match action {
            Action::PullImage { .. } | Action::CreateCluster { .. } | Action::DeleteCluster { .. } => None,
            _ => executor.calls.acquire().await.ok(),
        };
        if !executor.is_still_needed(action).await.map_err(ended_by)? {
            return Ok(());
        }
        // However long others and the look took: what is not asked for any more is not begun.
        if cancel.is_some_and(CancellationToken::is_cancelled) {
            return Err(Ended::Cancelled);
        }
        self.change(action).await.map_err(ended_by)
    }

    async fn change(&mut self, action: &Action) -> Result<(), Failure> {
        let executor = self.executor;
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        match action {
            Action::PullImage { image } => executor.pull(image).await.map_err(refused),
            Action::CreateVolume { name, labels } => executor.engine.create_volume(name, labels).await.map_err(refused),
            Action::RemoveVolume { volume } => executor.remove_volume(&volume.name).await.map_err(refused),
            Action::CreateContainer { spec } => {
                let id = executor.create(spec).await?;
                self.created.insert(spec.name.clone(), id);
                Ok(())
            }
            Action::PutFiles { container, files } => {
                let archive = files.archive().map_err(|error| Failure::Archive(error.to_string()))?;
                let Some(id) = self.id_of(container) else { return Ok(()) };
                executor.put_files(&id, archive, files).await.map_err(refused)
            }
            Action::CreateCluster { cluster } => {
                let created = executor.create_cluster(self.subject, cluster, self.cancel).await;
                if let Err(Failure::Provisioner(failure)) = &created
                    && failure.may_leave_something()
                {
                    self.left = Some(failure.clone());
                }
                created
            }
            Action::RemoveNetwork { network } => executor.remove_network(network).await,
            Action::DeleteCluster { cluster } => executor.delete_cluster(self.subject, cluster, self.cancel).await,
            Action::WriteNodeFiles { .. }
            | Action::RemoveNodeFiles { .. }
            | Action::RemoveNodeDirectories { .. }
            | Action::AdvertiseRegistry { .. }
            | Action::WithdrawRegistry { .. } => executor.change_node(action).await,
            _ => {
                let Some(id) = action_target(action).and_then(|target| self.id_of(target)) else { return Ok(()) };
                executor.change(action, &id).await.map_err(refused)
            }
        }
    }

    fn id_of(&self, target: &Target) -> Option<String> {
        target.id.clone().or_else(|| self.created.get(&target.name).cloned())
    }

    async fn await_serving(&self, name: &str, id: &str) -> Result<(), Failure> {
        let Executor { engine, prober, store, .. } = self.executor;
        let refused = |error| Failure::Engine { what: format!("cannot look at {name}"), error };
        // From before it is looked at: none goes unnoticed in between.
        let end = store.on_end(id);
        let looking = async {
            let container = loop {
                let container = engine.inspect_container(id).await.map_err(refused)?;
                if ended(&container) {
                    return Err(self.exits(Some(&container), name, id).await);
                }
                if container.state == ContainerState::Running {
                    break container;
                }
                sleep(LOOK_AGAIN).await;
            };
            let up = container.started_at.map(|started| Uptime::of(started, engine.now()));
            tokio::select! {
                biased;
                _ = prober.until_it_serves(&container, up) => Ok(()),
                container = self.until_it_ends(id, &end) => Err(self.exits(container.as_ref(), name, id).await),
            }
        };
        let too_late = |_| Err(Failure::DoesNotServe { container: name.to_owned() });
        let outcome = timeout(SERVE_WITHIN, looking).await.unwrap_or_else(too_late);
        store.forget_end(id);
        outcome
    }

    /// A registry that has ended instead of answering, and what it said before. Where the upstream's address is secret,
    /// its words may be.
    async fn exits(&self, container: Option<&Container>, name: &str, id: &str) -> Failure {
        let log = self.executor.engine.logs(id, LogPart::Last(LAST_LINES)).await;
        let said = log.ok().and_then(|log| registry::last_words(&log));
        let is_secret = container.is_some_and(|container| container.command == SecretFiles::command());
        let said = said.and_then(|said| if is_secret { said.untold() } else { Some(said) });
        let exit_code = container.and_then(|container| container.exit_code);
        Failure::Exits { container: name.to_owned(), exit_code, said }
    }

    /// Waits until a container does not run any more, as the engine tells; where it does not, it is looked at. One that
    /// cannot be looked at may be running.
    async fn until_it_ends(&self, id: &str, end: &Notify) -> Option<Container> {
        loop {
            if self.executor.store.is_told() {
                end.notified().await;
            } else {
                sleep(LOOK_AGAIN).await;
            }
            match self.executor.engine.inspect_container(id).await {
                Ok(container) if ended(&container) => return Some(container),
                Err(error) if error.is_not_found() => return None,
                _ => {}
            }
        }
    }
}

impl<E: Engine, P: Probe> Executor<E, P> {
    /// Looks right before something is changed, since what was observed is a moment old: whether that is needed still.
    ///
    /// # Errors
    ///
    /// When it is somebody else's by now, or cannot be looked at.
    async fn is_still_needed(&self, action: &Action) -> Result<bool, Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        match action {
            Action::RemoveVolume { volume } => self.is_still_that_volume(volume).await.map_err(refused),
            Action::RestartContainer { container: Target { id: Some(id), .. }, only_if_silent: true } => {
                Ok(!self.answers_by_now(id).await)
            }
            Action::CreateCluster { cluster } => self.is_still_missing(cluster).await,
            Action::WriteNodeFiles { .. }
            | Action::RemoveNodeFiles { .. }
            | Action::AdvertiseRegistry { .. }
            | Action::WithdrawRegistry { .. } => self.is_still_ours_in_node(action).await,
            _ => Ok(true),
        }
    }
}

fn action_target(action: &Action) -> Option<&Target> {
    match action {
        Action::ConnectNetwork { container, .. }
        | Action::DisconnectNetwork { container, .. }
        | Action::StartContainer { container }
        | Action::StopContainer { container }
        | Action::RestartContainer { container, .. }
        | Action::UnpauseContainer { container }
        | Action::RenameContainer { container, .. }
        | Action::UpdateRestartPolicy { container, .. }
        | Action::RemoveContainer { container } => Some(container),
        _ => None,
    }
}

/// A program that was stopped did not fail.
fn ended_by(failure: Failure) -> Ended {
    match failure {
        Failure::Provisioner(ProvisionError::Stopped { .. }) => Ended::Cancelled,
        failure => Ended::Failed(failure),
    }
}

fn ended(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting)
}
