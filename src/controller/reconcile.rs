//! One cluster's reconciliation: passes, the sequences they started, and what is known afterwards.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Delays;
use super::lock::{ClusterLock, Held};
use super::queue::Queue;
use super::{BLOCKED, Controller, Failed};
use crate::desired::{Desired, Mirror, SecretFiles};
use crate::engine::{Container, ContainerState, Engine, EngineError, EngineInfo};
use crate::execute::{Ended, Executor, Failure, Outcome, Releases};
use crate::manifest::Upstream;
use crate::observed::{Observed, observe};
use crate::plan::{Plan, Sequence, plan};
use crate::probe::Probe;
use crate::report::{Event, Reporter};
use crate::status::{Evidence, Status};

/// A pass that waits this long for another ksail says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a pass did not come about.
pub(super) enum PassError {
    /// The engine did not answer.
    Engine(EngineError),
    /// The lock cannot be taken.
    Lock(io::Error),
    /// Told to stop.
    Stopped,
}

pub(super) struct Reconciler<E, P> {
    engine: E,
    probe: P,
    executor: Executor<E, P>,
    reporter: Arc<dyn Reporter>,
    lock: ClusterLock,
    stop: CancellationToken,
    /// Asks for passes.
    pub(super) queue: Queue,
    /// The sequences under way, by host.
    pub(super) running: JoinSet<(String, Outcome)>,
    under_way: BTreeMap<String, UnderWay>,
    /// Held as long as anything is under way.
    held: Option<Held>,
    /// What failed and has not succeeded since, by host.
    pub(super) failures: BTreeMap<String, Failed>,
    /// As of the last pass.
    pub(super) status: Option<Status>,
    desired: Option<Desired>,
    last: Option<(Observed, Plan)>,
    blocked: Option<Instant>,
    upstreams: BTreeMap<String, Result<(), String>>,
    engine_is_lost: Option<bool>,
    tally: Option<Tally>,
}

/// A sequence that runs.
struct UnderWay {
    cancel: CancellationToken,
    /// What the mirror should be when it was started; `None` when it was to go.
    aim: Option<Aim>,
}

/// Everything of a mirror that its container is made from.
#[derive(Clone, PartialEq, Eq)]
struct Aim {
    container: crate::engine::ContainerSpec,
    secrets: Option<String>,
}

impl Aim {
    fn of(mirror: &Mirror) -> Self {
        Self { container: mirror.container.clone(), secrets: mirror.files.as_ref().map(SecretFiles::digest) }
    }
}

/// What has been done since something was found to do.
struct Tally {
    since: Instant,
    actions: usize,
    failed: usize,
}

impl<E: Engine, P: Probe> Reconciler<E, P> {
    pub(super) fn new<Q>(controller: &Controller<E, Q>, probe: P, stop: CancellationToken) -> Self {
        let (engine, reporter) = (controller.engine.clone(), controller.reporter.clone());
        Self {
            executor: Executor::new(engine.clone(), probe.clone(), controller.concurrency, reporter.clone()),
            engine,
            probe,
            reporter,
            lock: controller.lock.clone(),
            stop,
            queue: Queue::default(),
            running: JoinSet::new(),
            under_way: BTreeMap::new(),
            held: None,
            failures: BTreeMap::new(),
            status: None,
            desired: None,
            last: None,
            blocked: None,
            upstreams: BTreeMap::new(),
            engine_is_lost: None,
            tally: None,
        }
    }

    pub(super) fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// Puts another desired state in force. A mirror that changes is tried at once, and what is under way for it is given up.
    pub(super) fn set_desired(&mut self, desired: Desired) {
        let aim = |desired: &Desired, host: &str| {
            desired.mirrors.values().find(|mirror| mirror.host.as_str() == host).map(Aim::of)
        };
        for (host, under_way) in &self.under_way {
            if under_way.aim != aim(&desired, host) {
                under_way.cancel.cancel();
            }
        }
        if let Some(before) = &self.desired {
            self.failures.retain(|host, _| aim(before, host) == aim(&desired, host));
        }
        self.upstreams.retain(|host, _| desired.mirrors.values().any(|mirror| mirror.host.as_str() == host));
        self.desired = Some(desired);
        // It says nothing about another desired state.
        self.last = None;
    }

    /// Whether a desired state is the one in force already, so that a save changed nothing that matters here.
    pub(super) fn is_in_force(&self, other: &Desired) -> bool {
        self.desired.as_ref().is_some_and(|desired| {
            let aims = |desired: &Desired| desired.mirrors.values().map(Aim::of).collect::<Vec<_>>();
            desired.state == other.state
                && desired.volume_policy == other.volume_policy
                && desired.network == other.network
                && desired.distribution == other.distribution
                && aims(desired) == aims(other)
        })
    }

    /// Observes, plans, and starts the sequences of mirrors that need one and are not under way or waiting.
    pub(super) async fn pass(&mut self) -> Result<(), PassError> {
        let trigger = self.queue.take();
        let Some(desired) = self.desired.clone() else { return Ok(()) };
        let stop = self.stop.clone();
        let observed = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(PassError::Stopped),
            observed = self.take_lock_and_observe(&desired) => observed?,
        };
        if let (Some(true), Ok(info)) = (self.engine_is_lost, self.engine.info().await) {
            self.engine_found(info);
        }
        let plan = plan(&desired, &observed);
        self.blocked =
            plan.sequences.values().any(|sequence| sequence.obstacle.is_some()).then(|| Instant::now() + BLOCKED);
        self.failures.retain(|host, _| plan.sequences.contains_key(host) || self.under_way.contains_key(host));
        self.start_what_is_due(&desired, &plan, trigger);
        self.last = Some((observed, plan));
        self.assess();
        self.rest_if_idle();
        Ok(())
    }

    async fn take_lock_and_observe(&mut self, desired: &Desired) -> Result<Observed, PassError> {
        if self.held.is_none() {
            let held = if let Ok(held) = timeout(PATIENCE, self.lock.take()).await {
                held
            } else {
                let message = "another ksail works on this cluster; waiting for it".to_owned();
                self.reporter.report(&Event::Waiting { message });
                self.lock.take().await
            };
            self.held = Some(held.map_err(PassError::Lock)?);
        }
        let observed = observe(&self.engine, desired, &self.probe).await;
        if observed.is_err() && self.under_way.is_empty() {
            self.held = None;
        }
        observed.map_err(PassError::Engine)
    }

    fn start_what_is_due(&mut self, desired: &Desired, plan: &Plan, trigger: Vec<String>) {
        let now = Instant::now();
        let due = |host: &String, sequence: &Sequence| {
            !sequence.steps.is_empty()
                && !self.under_way.contains_key(host)
                && self.failures.get(host).is_none_or(|failed| failed.until <= now)
        };
        let due: Vec<_> = plan.sequences.iter().filter(|(host, sequence)| due(host, sequence)).collect();
        if due.is_empty() {
            return;
        }
        if self.tally.is_none() {
            self.reporter.report(&Event::PassStarted { trigger });
            self.tally = Some(Tally { since: now, actions: 0, failed: 0 });
        }
        let releases = Releases::of(plan);
        for (host, sequence) in due {
            let cancel = self.stop.child_token();
            let aim = desired.mirrors.values().find(|mirror| mirror.host.as_str() == host).map(Aim::of);
            self.under_way.insert(host.clone(), UnderWay { cancel: cancel.clone(), aim });
            let (executor, releases) = (self.executor.clone(), releases.clone());
            let (host, sequence) = (host.clone(), sequence.clone());
            self.running.spawn(async move {
                let outcome = executor.run(&host, &sequence, &releases, &cancel).await;
                (host, outcome)
            });
        }
    }

    /// A sequence has ended; what it left is looked at by the next pass.
    pub(super) fn ended(&mut self, ended: Result<(String, Outcome), JoinError>) {
        let (host, outcome) = match ended {
            Ok(ended) => ended,
            // A panic is a defect of ksail's own and must not look like success.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        self.under_way.remove(&host);
        if let Some(tally) = &mut self.tally {
            tally.actions += outcome.actions;
            tally.failed += usize::from(matches!(outcome.ended, Ended::Failed(_)));
        }
        match outcome.ended {
            Ended::Done => {
                self.failures.remove(&host);
            }
            Ended::Failed(failure) => self.failed(host, failure),
            Ended::Cancelled => {}
        }
        if self.under_way.is_empty() {
            self.queue.push_now("actions ended");
        } else {
            self.queue.push("actions ended");
        }
    }

    fn failed(&mut self, host: String, failure: Failure) {
        if failure.is_engine_away() {
            return;
        }
        let (tries, mut delays) = match self.failures.remove(&host) {
            Some(before) => (before.tries + 1, before.delays),
            None => (1, Delays::new()),
        };
        let after = delays.next();
        self.reporter.report(&Event::Retry { mirror: host.clone(), after });
        self.failures.insert(host, Failed { failure, tries, until: Instant::now() + after, delays });
    }

    /// When a mirror that failed or is blocked is next looked at.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        if self.queue.due().is_some() {
            return None;
        }
        let idle = self.failures.iter().filter(|(host, _)| !self.under_way.contains_key(*host));
        idle.map(|(_, failed)| failed.until).chain(self.blocked).min()
    }

    /// Whether somebody else blocks every mirror that is not as desired.
    pub(super) fn only_blocked(&self) -> bool {
        let plan = self.last.as_ref().map(|(_, plan)| plan);
        plan.is_some_and(|plan| {
            plan.sequences.values().all(|sequence| sequence.obstacle.is_some() && sequence.steps.is_empty())
        })
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    pub(super) fn is_running(&self, host: &str) -> bool {
        self.under_way.contains_key(host)
    }

    /// Whether a container is one of the cluster's with nothing under way.
    pub(super) fn owns_idle(&self, id: &str) -> bool {
        let Some((observed, _)) = &self.last else { return true };
        let found = observed.containers.iter().find(|found| found.container.id == id);
        found.is_some_and(|found| {
            found.container.labels.get(crate::labels::HOST).is_none_or(|host| !self.is_running(host))
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

    /// Upstreams to be asked whether they are reachable, by the mirror's host.
    pub(super) fn upstreams_to_ask(&self) -> BTreeMap<String, Upstream> {
        let mirrors = self.desired.iter().flat_map(|desired| desired.mirrors.values());
        mirrors.filter_map(|mirror| Some((mirror.host.to_string(), mirror.upstream.clone()?))).collect()
    }

    pub(super) fn upstream_answered(&mut self, host: String, answer: Result<(), String>) {
        if self.upstreams.insert(host, answer.clone()) != Some(answer) && self.engine_is_lost != Some(true) {
            self.assess();
        }
    }

    /// Containers whose registries should answer.
    pub(super) fn running_containers(&self) -> Vec<Container> {
        let containers = self.last.iter().flat_map(|(observed, _)| &observed.containers).map(|found| &found.container);
        containers.filter(|container| container.state == ContainerState::Running).cloned().collect()
    }

    fn assess(&mut self) {
        let (Some(desired), Some((observed, plan))) = (&self.desired, &self.last) else { return };
        let failures: BTreeMap<_, _> =
            self.failures.iter().map(|(host, failed)| (host.clone(), failed.failure.clone())).collect();
        let evidence = Evidence {
            desired,
            observed,
            plan,
            failures: &failures,
            upstreams: &self.upstreams,
            now: Timestamp::now(),
        };
        let mut status = Status::assess(&evidence, self.status.as_ref());
        if let Some(before) = &self.status {
            status.keep(before, |host| self.under_way.contains_key(host) && before_was_progressing(before, host));
        }
        self.tell(status);
    }

    fn tell(&mut self, status: Status) {
        for (mirror, condition) in status.changes_since(self.status.as_ref()) {
            self.reporter.report(&Event::Condition { mirror: mirror.to_owned(), condition: condition.clone() });
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
