//! Runs plans: several subjects at once, each one's steps in order, with rollback and cancellation.
//!
//! No decision about what to do is made here; that is [`crate::plan`]. What is decided here is only whether
//! an engine's refusal means that the goal of an action holds already.

mod cluster;
mod node;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, debug_span};

use crate::desired::SecretFiles;
use crate::engine::{Container, ContainerSpec, ContainerState, Engine, EngineError};
use crate::observed::{Access, NetworkRef, Serving};
use crate::plan::{Action, Milestone, Sequence, Step, Subject, Target};
use crate::probe::Probe;
use crate::provisioner::{ProvisionError, Provisioner};
use crate::report::{ActionReport, ActionResult, Event, Reporter};

/// Changing engine calls at once. dockerd saturates between four and eight: measured with
/// `cargo bench --bench figures`.
pub const DEFAULT_CONCURRENCY: usize = 8;
/// A registry that starts has this long to answer `/v2/`.
pub const SERVE_WITHIN: Duration = Duration::from_secs(15);
/// Between how a creation failed and how the deletion of what it left did.
pub(crate) const LEFT: &str = "; what it left could not be deleted: ";
/// Seconds a registry has to finish its answers when it is stopped.
const STOP_GRACE: u32 = 2;
/// A registry that is restarted does not answer, or must not go on with what it has.
const RESTART_GRACE: u32 = 0;
/// Pause between two looks at a registry that starts: the first and the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(100));

/// What came of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Actions taken that change the engine, those that failed or took others back included.
    pub actions: usize,
}

/// How a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every step was done.
    Done,
    /// A step failed; those that can be taken back were.
    Failed(Failure),
    /// It was told to stop; those that can be taken back were.
    Cancelled,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The engine refused or did not answer.
    #[error("{what}: {error}")]
    Engine {
        /// The action, in words.
        what: String,
        /// Its words.
        #[source]
        error: EngineError,
    },
    /// The name was taken by someone else after the plan was made.
    #[error("container {name} was not made by ksail and is left alone; rename or remove it")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The registry's process ended instead of answering.
    #[error("the registry in {container} exits at once{}; `docker logs {container}` says why", exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default())]
    Exits {
        /// The container.
        container: String,
        /// Its exit code.
        exit_code: Option<i64>,
    },
    /// The registry runs and does not answer.
    #[error("the registry in {container} did not answer /v2/ within {} s; `docker logs {container}` may say why", SERVE_WITHIN.as_secs())]
    DoesNotServe {
        /// The container.
        container: String,
    },
    /// An archive of files could not be made.
    #[error("cannot pack the credentials: {0}")]
    Archive(String),
    /// A program in a node failed.
    #[error("{what}: {said}")]
    InNode {
        /// The action, in words.
        what: String,
        /// Its last words.
        said: String,
    },
    /// The distribution's program failed.
    #[error(transparent)]
    Provisioner(#[from] ProvisionError),
    /// It failed or was stopped, and what it left cannot be deleted either.
    #[error("{created}{}{left}", LEFT)]
    Remains {
        /// How the creation ended.
        created: ProvisionError,
        /// How the deletion did.
        left: Box<Failure>,
    },
}

impl Failure {
    /// Whether it says nothing about the mirror, only that the engine is away.
    pub fn is_engine_away(&self) -> bool {
        matches!(self, Self::Engine { error, .. } if error.is_unavailable())
    }
}

/// Executes sequences on one engine.
#[derive(Clone)]
pub struct Executor<E, P> {
    engine: E,
    probe: P,
    provisioner: Provisioner,
    calls: Arc<Semaphore>,
    pulls: Arc<Mutex<HashMap<String, Arc<Pull>>>>,
    access: Access,
    reporter: Arc<dyn Reporter>,
}

/// One pull that everybody who needs the image waits for.
type Pull = OnceCell<Result<(), EngineError>>;

/// Tells sequences that are started together when a milestone of another is reached.
#[derive(Debug, Clone, Default)]
pub struct Milestones(Arc<BTreeMap<Milestone, Reach>>);

/// Whether a milestone is reached.
#[derive(Debug, Default)]
struct Reach {
    /// Cancelled when it is, or when it never will be.
    settled: CancellationToken,
    missed: AtomicBool,
}

impl Milestones {
    /// Those that these sequences will reach. Nobody waits for one of a sequence that is not among them.
    pub fn of<'a>(sequences: impl Iterator<Item = (&'a Subject, &'a Sequence)>) -> Self {
        let mut all = BTreeMap::new();
        for (subject, sequence) in sequences {
            let reached = sequence.steps.iter().filter_map(|step| reached_by(&step.action));
            for milestone in reached.chain(at_the_end(subject)) {
                all.insert(milestone, Reach::default());
            }
        }
        Self(Arc::new(all))
    }

    /// Whatever becomes of a sequence, nobody waits for it after it has ended.
    fn when_ended(&self, subject: &Subject, sequence: &Sequence) -> Vec<DropGuard> {
        let reached = sequence.steps.iter().filter_map(|step| reached_by(&step.action));
        let mine = reached.chain(at_the_end(subject));
        mine.filter_map(|milestone| self.0.get(&milestone)).map(|reach| reach.settled.clone().drop_guard()).collect()
    }

    fn reach(&self, action: &Action) {
        if let Some(reach) = reached_by(action).and_then(|milestone| self.0.get(&milestone)) {
            reach.settled.cancel();
        }
    }

    /// A sequence has not led to its end.
    fn miss(&self, subject: &Subject) {
        if let Some(reach) = self.0.get(&Milestone::Done(subject.clone())) {
            reach.missed.store(true, Ordering::Release);
        }
    }

    /// Waits until all are reached, or will not be any more; whether they are.
    async fn wait(&self, milestones: &[Milestone]) -> bool {
        let mut all = true;
        for reach in milestones.iter().filter_map(|milestone| self.0.get(milestone)) {
            reach.settled.cancelled().await;
            all &= !reach.missed.load(Ordering::Acquire);
        }
        all
    }
}

/// What a sequence settles when it ends.
fn at_the_end(subject: &Subject) -> [Milestone; 2] {
    [Milestone::Ended(subject.clone()), Milestone::Done(subject.clone())]
}

/// What an action that was tried leaves behind it.
fn reached_by(action: &Action) -> Option<Milestone> {
    match action {
        Action::StopContainer { container } | Action::RemoveContainer { container } => {
            Some(Milestone::Released(container.name.clone()))
        }
        Action::DisconnectNetwork { container, .. } => Some(Milestone::Detached(container.name.clone())),
        _ => None,
    }
}

impl<E: Engine, P: Probe> Executor<E, P> {
    /// An executor that makes at most `concurrency` changing calls at once.
    pub fn new(engine: E, probe: P, provisioner: Provisioner, concurrency: usize, reporter: Arc<dyn Reporter>) -> Self {
        let calls = Arc::new(Semaphore::new(concurrency.max(1)));
        Self { engine, probe, provisioner, calls, pulls: Arc::default(), access: Access::default(), reporter }
    }

    /// One that shares access to the cluster with others, above all with whoever observes it.
    #[must_use]
    pub fn sharing(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Runs one subject's steps in order. A failure or a cancellation takes back, in reverse order, the steps since
    /// the last wait for a registry to serve that can be taken back.
    pub async fn run(
        &self,
        subject: &Subject,
        sequence: &Sequence,
        milestones: &Milestones,
        cancel: &CancellationToken,
    ) -> Outcome {
        let _reached_at_the_end = milestones.when_ended(subject, sequence);
        let mut run = Run {
            executor: self,
            subject,
            milestones,
            cancel,
            created: HashMap::new(),
            undo: Vec::new(),
            serves: false,
            actions: 0,
        };
        let ended = run.all(&sequence.steps).await;
        if ended != Ended::Done {
            milestones.miss(subject);
        }
        Outcome { ended, actions: run.actions }
    }
}

struct Run<'a, E, P> {
    executor: &'a Executor<E, P>,
    subject: &'a Subject,
    milestones: &'a Milestones,
    cancel: &'a CancellationToken,
    /// Ids of the containers this run created, by name.
    created: HashMap<String, String>,
    undo: Vec<Action>,
    /// The registry has been waited for: what is left to do is tidying up, which is quicker than leaving it.
    serves: bool,
    actions: usize,
}

impl<E: Engine, P: Probe> Run<'_, E, P> {
    async fn all(&mut self, steps: &[Step]) -> Ended {
        for step in steps {
            if self.cancel.is_cancelled() && !self.serves {
                self.take_back("stopped half-way").await;
                return Ended::Cancelled;
            }
            if let Err(stopped) = self.step(step).await {
                let why = match &stopped {
                    Ended::Failed(_) => format!("could not {}", step.action),
                    Ended::Done | Ended::Cancelled => "stopped half-way".to_owned(),
                };
                self.take_back(&why).await;
                return stopped;
            }
        }
        Ended::Done
    }

    async fn step(&mut self, step: &Step) -> Result<(), Ended> {
        // What must have been done is not given up half-way, so that its end is near.
        let is_certain = step.after.iter().any(|milestone| milestone.needs().is_some());
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
        let outcome = self.perform_and_report(&step.action, &step.cause, Some(self.cancel)).await;
        self.milestones.reach(&step.action);
        if matches!(step.action, Action::AwaitServing { .. }) && outcome.is_ok() {
            self.undo.clear();
            self.serves = true;
        }
        outcome
    }

    async fn take_back(&mut self, why: &str) {
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
        // One that is being deleted is left alone; what remains to be done then is for another pass.
        let shared = touches_cluster(action).then(|| self.executor.access.share());
        if matches!(shared, Some(None)) {
            return Err(Ended::Cancelled);
        }
        self.actions += usize::from(action.changes());
        let mut report = ActionReport::of(self.subject, action, cause);
        self.executor.reporter.report(&Event::ActionStarted(report.clone()));
        let started = Instant::now();
        let span =
            debug_span!("action", subject = %self.subject, action = action.name(), object = action.object(), cause);
        let work = self.perform(action).instrument(span);
        let may_be_left = matches!(action, Action::PullImage { .. } | Action::AwaitServing { .. });
        let outcome = match cancel.filter(|_| may_be_left) {
            None => work.await.map_err(ended_by),
            Some(cancel) => tokio::select! {
                biased;
                outcome = work => outcome.map_err(ended_by),
                () = cancel.cancelled() => Err(Ended::Cancelled),
            },
        };
        report.duration = started.elapsed();
        report.result = match &outcome {
            Ok(()) | Err(Ended::Done) => ActionResult::Done,
            Err(Ended::Cancelled) => ActionResult::Cancelled,
            Err(Ended::Failed(failure)) => ActionResult::Failed(failure.to_string()),
        };
        self.executor.reporter.report(&Event::Action(report));
        outcome
    }

    async fn perform(&mut self, action: &Action) -> Result<(), Failure> {
        if let Action::AwaitServing { container } = action {
            return match self.id_of(container) {
                Some(id) => self.await_serving(&container.name, &id).await,
                None => Ok(()),
            };
        }
        let executor = self.executor;
        // A pull takes minutes, and others need their turn meanwhile. (The semaphore is never closed.)
        let _permit = match action {
            Action::PullImage { .. } | Action::CreateCluster { .. } | Action::DeleteCluster { .. } => None,
            _ => executor.calls.acquire().await.ok(),
        };
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        match action {
            Action::PullImage { image } => executor.pull(image).await.map_err(refused),
            Action::CreateVolume { name, labels } => executor.engine.create_volume(name, labels).await.map_err(refused),
            Action::RemoveVolume { name } => unless_gone(executor.engine.remove_volume(name).await).map_err(refused),
            Action::CreateContainer { spec } => {
                let id = executor.create(spec).await?;
                self.created.insert(spec.name.clone(), id);
                Ok(())
            }
            Action::PutFiles { container, files } => {
                let archive = files.archive().map_err(|error| Failure::Archive(error.to_string()))?;
                let Some(id) = self.id_of(container) else { return Ok(()) };
                executor.put_files(&id, archive, &files.digest()).await.map_err(refused)
            }
            Action::CreateCluster { cluster } => executor.create_cluster(self.subject, cluster, self.cancel).await,
            Action::DeleteCluster { cluster } => executor.delete_cluster(self.subject, cluster).await,
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
        let refused = |error| Failure::Engine { what: format!("cannot look at {name}"), error };
        let (mut pause, longest) = LOOK_AGAIN;
        let looking = async {
            loop {
                let container = self.executor.engine.inspect_container(id).await.map_err(refused)?;
                if ended(&container) {
                    return Err(Failure::Exits { container: name.to_owned(), exit_code: container.exit_code });
                }
                if container.state == ContainerState::Running {
                    match self.executor.probe.serving(&container).await {
                        Serving::Answers | Serving::Unknown => return Ok(()),
                        Serving::Refused | Serving::Silent => {}
                    }
                }
                sleep(pause).await;
                pause = (pause * 3 / 2).min(longest);
            }
        };
        let too_late = |_| Err(Failure::DoesNotServe { container: name.to_owned() });
        timeout(SERVE_WITHIN, looking).await.unwrap_or_else(too_late)
    }
}

fn action_target(action: &Action) -> Option<&Target> {
    match action {
        Action::ConnectNetwork { container, .. }
        | Action::DisconnectNetwork { container, .. }
        | Action::StartContainer { container }
        | Action::StopContainer { container }
        | Action::RestartContainer { container }
        | Action::UnpauseContainer { container }
        | Action::RenameContainer { container, .. }
        | Action::UpdateRestartPolicy { container, .. }
        | Action::RemoveContainer { container } => Some(container),
        _ => None,
    }
}

/// Whether an action looks into a node or joins the cluster's network.
fn touches_cluster(action: &Action) -> bool {
    matches!(
        action,
        Action::ConnectNetwork { .. }
            | Action::WriteNodeFiles { .. }
            | Action::RemoveNodeFiles { .. }
            | Action::RemoveNodeDirectories { .. }
            | Action::AdvertiseRegistry { .. }
            | Action::WithdrawRegistry { .. }
    )
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

/// What was to be removed and does not exist is removed.
fn unless_gone(outcome: Result<(), EngineError>) -> Result<(), EngineError> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

impl<E: Engine, P: Probe> Executor<E, P> {
    /// An action on an existing container, by its id.
    async fn change(&self, action: &Action, id: &str) -> Result<(), EngineError> {
        let engine = &self.engine;
        match action {
            Action::ConnectNetwork { network, alias, .. } => self.connect(network, id, alias).await,
            Action::DisconnectNetwork { network, .. } => {
                let outcome = engine.disconnect_network(&network.id, id, true).await;
                let detached = |container: &Container| {
                    let mut endpoints = container.endpoints.iter();
                    !endpoints.any(|(name, endpoint)| *name == network.id || endpoint.network_id == network.id)
                };
                self.unless_so(outcome, id, detached).await
            }
            Action::StartContainer { .. } => engine.start_container(id).await,
            Action::StopContainer { .. } => unless_gone(engine.stop_container(id, STOP_GRACE).await),
            Action::RestartContainer { .. } => engine.restart_container(id, RESTART_GRACE).await,
            Action::UnpauseContainer { .. } => {
                let outcome = engine.unpause_container(id).await;
                self.unless_so(outcome, id, |container| container.state != ContainerState::Paused).await
            }
            Action::RenameContainer { to, .. } => {
                let outcome = engine.rename_container(id, to).await;
                self.unless_so(outcome, id, |container| container.name == *to).await
            }
            Action::UpdateRestartPolicy { policy, .. } => engine.update_restart_policy(id, policy).await,
            Action::RemoveContainer { .. } => self.remove(id).await,
            _ => Ok(()),
        }
    }

    /// Already so is success, after a look.
    async fn unless_so(
        &self,
        outcome: Result<(), EngineError>,
        id: &str,
        so: impl Fn(&Container) -> bool,
    ) -> Result<(), EngineError> {
        let Err(error) = outcome else { return Ok(()) };
        if error.is_unavailable() {
            return Err(error);
        }
        match self.engine.inspect_container(id).await {
            Ok(container) if so(&container) => Ok(()),
            _ => Err(error),
        }
    }

    async fn connect(&self, network: &NetworkRef, id: &str, alias: &str) -> Result<(), EngineError> {
        let outcome = self.engine.connect_network(&network.id, id, &[alias.to_owned()]).await;
        let connected =
            |container: &Container| container.endpoints.values().any(|endpoint| endpoint.network_id == network.id);
        self.unless_so(outcome, id, connected).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Failure> {
        let error = match self.engine.create_container(spec).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        if !matches!(error, EngineError::Conflict { .. } | EngineError::Timeout { .. }) {
            return Err(Failure::Engine { what: format!("cannot create container {}", spec.name), error });
        }
        // Ours, when an earlier answer was lost.
        match self.engine.inspect_container(&spec.name).await {
            Ok(container) if has_labels_of(&container, spec) => Ok(container.id),
            Ok(_) => Err(Failure::NameTaken { name: spec.name.clone() }),
            Err(_) => Err(Failure::Engine { what: format!("cannot create container {}", spec.name), error }),
        }
    }

    /// Extracts the files and reads them back: the engine answers an archive it did not understand with success.
    async fn put_files(&self, id: &str, archive: Vec<u8>, digest: &str) -> Result<(), EngineError> {
        self.engine.put_archive(id, "/", archive).await?;
        let back = self.engine.get_archive(id, &SecretFiles::directory()).await?;
        match crate::observed::files_in(&back) {
            Ok(files) if SecretFiles::digest_of(&files) == digest => Ok(()),
            _ => {
                Err(EngineError::Refused { status: 0, message: "the files read back are not those put in".to_owned() })
            }
        }
    }

    /// Removes a container; one that is being removed already is waited for.
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let outcome = unless_gone(self.engine.remove_container(id).await);
        let Err(error @ EngineError::Conflict { .. }) = outcome else { return outcome };
        let gone = async {
            let (mut pause, longest) = LOOK_AGAIN;
            while !self.engine.inspect_container(id).await.is_err_and(|error| error.is_not_found()) {
                sleep(pause).await;
                pause = (pause * 3 / 2).min(longest);
            }
        };
        timeout(SERVE_WITHIN, gone).await.map_err(|_| error)
    }

    /// One pull of an image serves everybody who needs it at the time; a failed one is tried anew by the next who asks.
    async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let pull = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.entry(image.to_owned()).or_default().clone()
        };
        let progress = |progress| self.reporter.report(&Event::Pulling { image: image.to_owned(), progress });
        let outcome = pull.get_or_init(|| self.engine.pull_image(image, progress)).await.clone();
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if pulls.get(image).is_some_and(|current| Arc::ptr_eq(current, &pull)) {
            pulls.remove(image);
        }
        outcome
    }
}

fn has_labels_of(container: &Container, spec: &ContainerSpec) -> bool {
    spec.labels.iter().all(|(key, value)| container.labels.get(key) == Some(value))
}
