//! One cluster's reconciliation: passes, the sequences they started, and what is known afterwards.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Controller;
use super::backoff::Delays;
use super::failed::Failed;
use super::in_force::Claim;
use super::lock::{ClusterLock, Held};
use super::queue::Queue;
use super::survey::{Survey, survey};
use crate::desired::{Desired, Mirror};
use crate::engine::{ContainerSpec, Engine, EngineError, EngineInfo};
use crate::event::{Event, Reporter};
use crate::execute::{Executor, Milestones};
use crate::manifest::{Distribution, Lifecycle, State, Upstream, shown};
use crate::names;
use crate::observed::{Cluster, Observed, Observer};
use crate::outcome::{Ended, Failure, Outcome};
use crate::plan::{Action, Milestone, Obstacle, Plan, Sequence, Subject, deletion};
use crate::probe::{Probe, Prober};
use crate::registry::SecretFiles;
use crate::status::{Evidence, Status};

/// A mirror that somebody else blocks is looked at this often: a freed port raises no event unless a container held it.
pub(super) const BLOCKED: Duration = Duration::from_millis(1500);
/// A pass that waits this long for another ksail says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a pass did not come about.
pub(super) enum PassError {
    /// The engine did not answer.
    Engine(EngineError),
    /// The lock cannot be taken.
    Lock(io::Error),
    /// Another manifest has taken over: this one.
    NotInForce(PathBuf),
    /// Told to stop.
    Stopped,
}

pub(super) struct Reconciler<E, P> {
    engine: E,
    pub(super) observer: Observer<E, P>,
    executor: Executor<E, P>,
    reporter: Arc<dyn Reporter>,
    lock: ClusterLock,
    stop: CancellationToken,
    /// Asks for passes.
    pub(super) queue: Queue,
    /// The sequences under way.
    pub(super) running: JoinSet<(Subject, Outcome)>,
    under_way: BTreeMap<Subject, UnderWay>,
    /// Held as long as anything is under way.
    held: Option<Held>,
    /// What failed and has not succeeded since.
    pub(super) failures: BTreeMap<Subject, Failed>,
    /// What has failed often enough is not tried again.
    pub(super) gives_up: bool,
    /// As of the last pass.
    pub(super) status: Option<Status>,
    desired: Option<Desired>,
    last: Option<Survey>,
    /// Names of what exists, as of the last pass.
    names: names::Existing,
    blocked: Option<Instant>,
    /// When nodes are asked again that are left alone now.
    look_again: Option<Instant>,
    upstreams: BTreeMap<String, Result<(), String>>,
    engine_is_lost: Option<bool>,
    /// Looked at before anything is changed.
    pub(super) claim: Option<Claim>,
    /// Why nothing is done was told.
    has_told_why_not: bool,
    tally: Option<Tally>,
}

/// A sequence that runs.
struct UnderWay {
    cancel: CancellationToken,
    aim: Aim,
    /// What is done to the cluster, in words.
    of_cluster: Option<&'static str>,
    /// A container is brought into the shape that this version gives it.
    renews: bool,
}

/// What a sequence leads to. One whose aim is another now is given up.
#[derive(Clone, PartialEq, Eq)]
enum Aim {
    /// That something is gone that is not in the manifest.
    Gone,
    /// A mirror: everything that its container is made from.
    Mirror { container: Box<ContainerSpec>, secrets: Option<String> },
    /// A node has the files it should have: what is half done is gone on with by the next pass.
    Node,
    /// A cluster: that it exists, or does not.
    Cluster { exists: bool, lifecycle: Lifecycle, distribution: Distribution },
}

impl Aim {
    fn of(subject: &Subject, desired: &Desired) -> Self {
        match subject {
            Subject::Mirror(host) => {
                desired.mirrors.values().find(|mirror| mirror.host.as_str() == host).map_or(Self::Gone, Self::of_mirror)
            }
            Subject::Node(_) => Self::Node,
            Subject::Cluster(_) => Self::Cluster {
                exists: desired.state == State::Present,
                lifecycle: desired.lifecycle,
                distribution: desired.distribution,
            },
        }
    }

    fn of_mirror(mirror: &Mirror) -> Self {
        let secrets = mirror.files.as_ref().map(SecretFiles::digest);
        Self::Mirror { container: Box::new(mirror.container.clone()), secrets }
    }
}

/// What has been done since something was found to do.
struct Tally {
    since: Instant,
    actions: usize,
    failed: usize,
}

impl<E: Engine, P: Probe> Reconciler<E, P> {
    pub(super) fn new(controller: &Controller<E, P>, prober: Prober<P>, stop: CancellationToken) -> Self {
        let (engine, reporter) = (controller.engine.clone(), controller.reporter.clone());
        let provisioner = controller.provisioner.clone();
        let observer = Observer::new(engine.clone(), prober.clone(), provisioner.clone());
        let executor = Executor::new(engine.clone(), prober, provisioner, controller.concurrency, reporter.clone())
            .sharing(observer.access().clone());
        Self {
            executor,
            observer,
            engine,
            reporter,
            lock: controller.lock.clone(),
            stop,
            queue: Queue::default(),
            running: JoinSet::new(),
            under_way: BTreeMap::new(),
            held: None,
            failures: BTreeMap::new(),
            gives_up: false,
            status: None,
            desired: None,
            last: None,
            names: names::Existing::new(),
            blocked: None,
            look_again: None,
            upstreams: BTreeMap::new(),
            engine_is_lost: None,
            claim: None,
            has_told_why_not: false,
            tally: None,
        }
    }

    /// What is in force, under the names that exist as far as they are known.
    pub(super) fn desired(&self) -> Option<&Desired> {
        self.last.as_ref().map(|last| &last.desired).or(self.desired.as_ref())
    }

    /// Puts another desired state in force. What changes is tried at once, and what is under way for it is given up.
    pub(super) fn set_desired(&mut self, desired: Desired) {
        let named = desired.clone().with_names(&self.names);
        for (subject, under_way) in &self.under_way {
            if under_way.aim != Aim::of(subject, &named) {
                under_way.cancel.cancel();
            }
        }
        if let Some(before) = &self.desired {
            let provisioning_changed = before.provisioning != desired.provisioning;
            self.failures.retain(|subject, _| match subject {
                // Other mirrors may be what a node could not take.
                Subject::Node(_) => false,
                Subject::Cluster(_) if provisioning_changed => false,
                _ => Aim::of(subject, before) == Aim::of(subject, &desired),
            });
        }
        self.upstreams.retain(|host, _| desired.mirrors.values().any(|mirror| mirror.host.as_str() == host));
        self.desired = Some(desired);
        // It says nothing about another desired state.
        self.last = None;
    }

    /// Whether a desired state is the one in force already, so that a save changed nothing that matters here.
    pub(super) fn is_in_force(&self, other: &Desired) -> bool {
        self.desired.as_ref().is_some_and(|desired| {
            let mirrors = |desired: &Desired| {
                let mirrors = desired.mirrors.values();
                mirrors.map(|mirror| (Aim::of_mirror(mirror), mirror.node_files.clone())).collect::<Vec<_>>()
            };
            desired.state == other.state
                && desired.volume_policy == other.volume_policy
                && desired.network == other.network
                && desired.distribution == other.distribution
                && desired.lifecycle == other.lifecycle
                && desired.provisioning == other.provisioning
                && desired.hosting == other.hosting
                && mirrors(desired) == mirrors(other)
        })
    }

    /// Observes, plans, and starts the sequences of mirrors that need one and are not under way or waiting.
    pub(super) async fn pass(&mut self) -> Result<(), PassError> {
        let trigger = self.queue.take();
        let Some(desired) = self.desired.clone() else { return Ok(()) };
        let stop = self.stop.clone();
        // Before: who is left alone is decided meanwhile.
        self.look_again = self.observer.access().changes_at();
        let Survey { desired, observed, mut plan } = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(PassError::Stopped),
            seen = self.take_lock_and_look(&desired) => seen?,
        };
        if self.engine_is_lost == Some(true)
            && let Ok(info) = self.engine.info().await
        {
            self.engine_found(info);
        }
        self.names = observed.names(desired.cluster.as_str());
        self.go_on_clearing_up(&desired, &observed, &mut plan);
        // What blocks a node or a cluster raises an event when it goes, or is found by the resync.
        let blocks =
            |(subject, sequence): (&Subject, &Sequence)| subject.host().is_some() && !sequence.obstacles.is_empty();
        self.blocked = plan.sequences.iter().any(blocks).then(|| Instant::now() + BLOCKED);
        self.failures.retain(|subject, failed| {
            let is_half = matches!(failed.failure, Failure::Remains { .. });
            is_half || plan.sequences.contains_key(subject) || self.under_way.contains_key(subject)
        });
        self.start_what_is_due(&desired, &observed, &plan, trigger);
        self.last = Some(Survey { desired, observed, plan });
        self.assess();
        self.rest_if_idle();
        Ok(())
    }

    /// Half a cluster must not pass for a whole one: what a creation has left, and could not be deleted, is all there is
    /// to be done about the cluster until it has gone.
    fn go_on_clearing_up(&mut self, desired: &Desired, observed: &Observed, plan: &mut Plan) {
        let subject = Subject::Cluster(desired.cluster.to_string());
        let Some(failed) = self.failures.get_mut(&subject) else { return };
        let Failure::Remains { created, .. } = &failed.failure else { return };
        if observed.cluster == Cluster::Missing {
            failed.failure = created.clone().into();
            return;
        }
        let steps = deletion(desired, observed, "its creation has left it").into_iter().collect();
        plan.sequences.insert(subject, Sequence { steps, ..Sequence::default() });
    }

    async fn take_lock_and_look(&mut self, desired: &Desired) -> Result<Survey, PassError> {
        if self.held.is_none() {
            let held = if let Ok(held) = timeout(PATIENCE, self.lock.take()).await {
                held
            } else {
                let who = self.lock.holder().map(|process| format!(" (process {process})")).unwrap_or_default();
                let message = format!("another ksail{who} works on this cluster; waiting for it");
                self.reporter.report(&Event::Waiting { message });
                self.lock.take().await
            };
            self.held = Some(held.map_err(PassError::Lock)?);
        }
        if let Some(other) = self.claim.as_ref().and_then(Claim::lost_to).filter(|_| self.under_way.is_empty()) {
            self.held = None;
            return Err(PassError::NotInForce(other));
        }
        self.has_told_why_not = false;
        let seen = survey(&self.observer, desired).await;
        if seen.is_err() && self.under_way.is_empty() {
            self.held = None;
        }
        seen.map_err(PassError::Engine)
    }

    fn start_what_is_due(&mut self, desired: &Desired, observed: &Observed, plan: &Plan, trigger: Vec<String>) {
        let now = Instant::now();
        let is_deleted = self.is_cluster_deleted();
        // What an upgrade of ksail changes of every mirror is done to one at a time, so that at most one is down.
        let mut is_renewing = self.under_way.values().any(|under_way| under_way.renews);
        let can_start = |subject: &Subject| {
            !is_deleted
                && !self.is_left_alone(subject, observed)
                && !self.under_way.contains_key(subject)
                && self.failures.get(subject).is_none_or(|failed| failed.until <= now && self.is_tried_again(failed))
        };
        // What another sequence has to lead to first is begun together with that one.
        let is_due = |subject: &Subject, sequence: &Sequence| {
            let mut needs = sequence.steps.iter().flat_map(|step| &step.after).filter_map(Milestone::needs);
            !sequence.steps.is_empty() && can_start(subject) && needs.all(can_start)
        };
        let mut is_in_turn =
            |sequence: &Sequence| !sequence.renews || (!sequence.asks && !std::mem::replace(&mut is_renewing, true));
        let due = plan.sequences.iter().filter(|(subject, sequence)| is_due(subject, sequence));
        let due: Vec<_> = due.filter(|(_, sequence)| is_in_turn(sequence)).collect();
        if due.is_empty() {
            return;
        }
        if self.tally.is_none() {
            self.reporter.report(&Event::PassStarted { trigger });
            self.tally = Some(Tally { since: now, actions: 0, failed: 0 });
        }
        let milestones = Milestones::of(due.iter().copied());
        for (subject, sequence) in due {
            let cancel = self.stop.child_token();
            let aim = Aim::of(subject, desired);
            let of_cluster = sequence.steps.first().and_then(|step| match step.action {
                Action::CreateCluster { .. } => Some("it is being created"),
                Action::DeleteCluster { .. } => Some("it is being deleted"),
                _ => None,
            });
            self.under_way
                .insert(subject.clone(), UnderWay { cancel: cancel.clone(), aim, of_cluster, renews: sequence.renews });
            let (executor, milestones) = (self.executor.clone(), milestones.clone());
            let (subject, sequence) = (subject.clone(), sequence.clone());
            self.running.spawn(async move {
                let outcome = executor.run(&subject, &sequence, &milestones, &cancel).await;
                (subject, outcome)
            });
        }
    }

    /// A sequence has ended; what it left is looked at by the next pass.
    pub(super) fn ended(&mut self, ended: Result<(Subject, Outcome), JoinError>) {
        let (subject, outcome) = match ended {
            Ok(ended) => ended,
            // A panic is a defect of ksail's own and must not look like success.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        self.under_way.remove(&subject);
        if let Some(tally) = &mut self.tally {
            tally.actions += outcome.actions;
            tally.failed += usize::from(matches!(outcome.ended, Ended::Failed(_)));
        }
        match &subject {
            Subject::Mirror(_) => {}
            Subject::Node(name) => self.observer.forget_files_of(name),
            Subject::Cluster(_) => self.observer.forget_hosting(),
        }
        match outcome.ended {
            Ended::Done => {
                // What is gone is what the creation has left; that it failed stands, and when it is tried again.
                if let Some(Failed { failure: Failure::Remains { created, .. }, tries, until, delays }) =
                    self.failures.remove(&subject)
                {
                    self.failures.insert(subject, Failed { failure: created.into(), tries, until, delays });
                }
            }
            Ended::Failed(failure) => self.failed(subject, failure),
            Ended::Cancelled => {}
        }
        if self.under_way.is_empty() {
            self.queue.push_now("actions ended");
        } else {
            self.queue.push("actions ended");
        }
    }

    fn failed(&mut self, subject: Subject, failure: Failure) {
        if failure.is_engine_away() {
            return;
        }
        let (tries, mut delays, failure) = match self.failures.remove(&subject) {
            Some(Failed { failure: Failure::Remains { created, .. }, tries, delays, .. }) => {
                (tries + 1, delays, Failure::Remains { created, left: Box::new(failure) })
            }
            Some(before) => (before.tries + 1, before.delays, failure),
            None => (1, Delays::new(), failure),
        };
        let after = delays.next();
        let failed = Failed { failure, tries, until: Instant::now() + after, delays };
        if self.is_tried_again(&failed) && !self.stop.is_cancelled() {
            self.reporter.report(&Event::Retry { subject: subject.clone(), after });
        }
        self.failures.insert(subject, failed);
    }

    /// When a mirror that failed or is blocked is next looked at.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        if self.queue.due().is_some() {
            return None;
        }
        if self.engine_is_lost == Some(true) {
            return self.blocked;
        }
        let is_deleted = self.is_cluster_deleted();
        let is_left_alone =
            |subject: &Subject| self.last.as_ref().is_some_and(|last| self.is_left_alone(subject, &last.observed));
        let idle = self.failures.iter().filter(|(subject, failed)| {
            let is_idle = !is_deleted && !self.under_way.contains_key(*subject) && !is_left_alone(subject);
            is_idle && self.is_tried_again(failed) && self.has_steps(subject)
        });
        idle.map(|(_, failed)| failed.until).chain(self.blocked).chain(self.look_again).min()
    }

    /// Whether somebody else blocks every mirror that is not as desired.
    pub(super) fn only_blocked(&self) -> bool {
        let plan = self.last.as_ref().map(|last| &last.plan);
        plan.is_some_and(|plan| {
            plan.sequences.values().all(|sequence| !sequence.obstacles.is_empty() && sequence.steps.is_empty())
        })
    }

    /// Whether the cluster is being created or deleted.
    pub(super) fn is_cluster_under_way(&self) -> bool {
        self.done_to_cluster().is_some()
    }

    fn done_to_cluster(&self) -> Option<&'static str> {
        self.under_way.values().find_map(|under_way| under_way.of_cluster)
    }

    fn is_tried_again(&self, failed: &Failed) -> bool {
        !(self.gives_up && failed.is_hopeless())
    }

    /// Whether something failed that no condition of `Ready` is about, and is to be tried again.
    pub(super) fn has_more_to_try(&self) -> bool {
        self.failures.iter().any(|(subject, failed)| !failed.is_hopeless() && self.has_steps(subject))
    }

    /// Whether there is something to do for it, as of the last pass.
    fn has_steps(&self, subject: &Subject) -> bool {
        let plan = self.last.as_ref().map(|last| &last.plan);
        plan.and_then(|plan| plan.sequences.get(subject)).is_some_and(|sequence| !sequence.steps.is_empty())
    }

    /// Whether what is to be done for it is to be done in a node that is about to end, or may be.
    fn is_left_alone(&self, subject: &Subject, observed: &Observed) -> bool {
        let id = match subject {
            Subject::Mirror(_) => None,
            Subject::Node(name) => observed.nodes.iter().find(|node| node.name == *name).map(|node| &node.id),
            Subject::Cluster(_) => observed.hosting.as_ref().map(|hosting| &hosting.node_id),
        };
        id.is_some_and(|id| self.observer.access().is_left_alone(id))
    }

    /// While a cluster is being deleted nothing else begins; its end asks for a pass.
    fn is_cluster_deleted(&self) -> bool {
        self.observer.access().is_taken()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    pub(super) fn is_running(&self, subject: &Subject) -> bool {
        self.under_way.contains_key(subject)
    }

    /// Whether a container is one of the cluster's with nothing under way.
    pub(super) fn owns_idle(&self, id: &str) -> bool {
        let Some(last) = &self.last else { return true };
        let found = last.observed.containers.iter().find(|found| found.container.id == id);
        found.is_some_and(|found| {
            let host = found.container.labels.get(crate::labels::HOST);
            host.is_none_or(|host| !self.is_running(&Subject::mirror(host)))
        })
    }

    pub(super) fn engine_found(&mut self, info: EngineInfo) {
        if self.engine_is_lost != Some(false) {
            self.reporter.report(&Event::EngineFound(info));
        }
        self.engine_is_lost = Some(false);
    }

    /// The engine did not answer; it is asked again soon, whether its events end or not.
    pub(super) fn engine_failed(&mut self, error: &EngineError) {
        self.blocked = Some(Instant::now() + BLOCKED);
        if self.engine_is_lost == Some(true) {
            return;
        }
        self.engine_is_lost = Some(true);
        let message = error.to_string();
        if let Some(status) = &self.status {
            let status = status.without_engine(&message, Timestamp::now());
            self.tell(status);
        }
        self.reporter.report(&Event::EngineLost { message });
    }

    /// The lock cannot be had at all; it is tried again soon, and nothing is done without it.
    pub(super) fn lock_failed(&mut self, error: &io::Error) {
        self.rest(format!("cannot lock the cluster: {error}; nothing is changed until that works"));
    }

    /// Two files that name one cluster would undo each other's work.
    pub(super) fn not_in_force(&mut self, other: &Path) {
        let cluster = self.desired.as_ref().map(|desired| desired.cluster.to_string()).unwrap_or_default();
        let other = shown(other);
        self.rest(format!("{other} has taken over cluster {cluster}; this watch changes nothing any more"));
    }

    /// Nothing is done for a reason that is told once, and looked at again soon.
    fn rest(&mut self, message: String) {
        self.blocked = Some(Instant::now() + BLOCKED);
        if !std::mem::replace(&mut self.has_told_why_not, true) {
            self.reporter.report(&Event::Waiting { message });
        }
    }

    /// Upstreams to be asked whether they are reachable, by the mirror's host.
    pub(super) fn upstreams_to_ask(&self) -> BTreeMap<String, Upstream> {
        let mirrors = self.desired.iter().flat_map(|desired| desired.mirrors.values());
        mirrors.filter_map(|mirror| Some((mirror.host.to_string(), mirror.upstream.clone()?))).collect()
    }

    pub(super) fn upstream_answered(&mut self, host: String, answer: Result<(), String>) {
        let is_waited_for = self.waits_for_upstream(&host);
        if self.upstreams.insert(host, answer.clone()) != Some(answer) && self.engine_is_lost != Some(true) {
            self.assess();
            if is_waited_for {
                self.queue.push("an upstream answers differently");
            }
        }
    }

    /// Whether something is to be done to a mirror when its upstream answers.
    fn waits_for_upstream(&self, host: &str) -> bool {
        let sequence = self.last.as_ref().and_then(|last| last.plan.sequences.get(&Subject::mirror(host)));
        let is_upstream = |obstacle: &Obstacle| matches!(obstacle, Obstacle::UpstreamAway(_));
        sequence.is_some_and(|sequence| sequence.postponed.is_some() || sequence.obstacles.iter().any(is_upstream))
    }

    fn assess(&mut self) {
        let Some(Survey { desired, observed, plan }) = &self.last else { return };
        let failures: BTreeMap<_, _> =
            self.failures.iter().map(|(subject, failed)| (subject.clone(), failed.failure.clone())).collect();
        let evidence = Evidence {
            desired,
            observed,
            plan,
            failures: &failures,
            upstreams: &self.upstreams,
            done_to_cluster: self.done_to_cluster(),
            now: Timestamp::now(),
        };
        let mut status = Status::assess(&evidence, self.status.as_ref());
        if let Some(before) = &self.status {
            let is_under_way = |host: &str| self.under_way.contains_key(&Subject::mirror(host));
            status.keep(before, |host| is_under_way(host) && before_was_progressing(before, host));
        }
        self.tell(status);
    }

    fn tell(&mut self, status: Status) {
        for (subject, condition) in status.changes_since(self.status.as_ref()) {
            self.reporter.report(&Event::Condition { subject, condition: condition.clone() });
        }
        self.status = Some(status);
    }

    /// With nothing under way, the account is closed and others may have the lock.
    fn rest_if_idle(&mut self) {
        if !self.under_way.is_empty() {
            return;
        }
        self.held = None;
        if let Some(Tally { since, actions, failed }) = self.tally.take() {
            self.reporter.report(&Event::PassFinished { actions, failed, duration: since.elapsed() });
        }
    }

    /// Lets what is under way finish or take itself back.
    pub(super) async fn wind_up(&mut self) {
        for under_way in self.under_way.values() {
            under_way.cancel.cancel();
        }
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
        }
        self.rest_if_idle();
    }
}

/// The first assessment after a sequence began says why it runs; later ones would only show it half-way.
fn before_was_progressing(before: &Status, host: &str) -> bool {
    before.mirrors.iter().any(|mirror| mirror.host == host && !mirror.is_ready())
}
