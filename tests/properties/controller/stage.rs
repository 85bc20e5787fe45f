//! Plays a script to the controller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ksail::controller::{ClusterLock, Controller, Intent, Removals};
use ksail::desired::ResolveContext;
use ksail::engine::memory::{Call, ContainerSnapshot};
use ksail::engine::{Container, ContainerSpec, ContainerState, Engine, EngineError, Event, EventKind, PublishedPort};
use ksail::execute::DEFAULT_CONCURRENCY;
use ksail::labels::{HOST, is_ours};
use ksail::manifest::{Lifecycle, State, VolumePolicy};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::programs::{Behaviour, Program};
use super::script::{Asked, FAVOURITE, Happening, Lie, Refusal, Script, Struck, Trouble, Whose};
use super::witness::Witness;
use crate::nodes::NAMES;
use crate::world::{LOCALHOST, Setting, What, World};

/// When everything works again, the longest wait for the next try is one minute, jitter aside, and a bucket that is
/// empty regains a run each minute.
const CONVERGES_WITHIN: Duration = Duration::from_secs(11 * 60);
/// It has converged when nothing was changed for this long.
const QUIET: Duration = Duration::from_secs(2 * 60);
/// What may start has started within 100 ms; it is heard of, read and planned within the rest.
const STARTS_WITHIN: Duration = Duration::from_millis(150);
/// A mirror beside others is as fast as alone, but for this.
const BESIDE_OTHERS: Duration = Duration::from_millis(100);
/// What concerned everybody is over and done with after this long.
const RECOVERED_WITHIN: Duration = Duration::from_secs(15);
/// An engine that does not tell its events is looked at every few seconds, and asked for them again this often.
const EVENTS_ASKED_FOR: Duration = Duration::from_secs(60);
/// What has run for this long has long been seen to.
const HAS_RUN: Duration = Duration::from_secs(1);
/// What has nothing in its way is brought up within this.
pub(super) const AT_FIRST: Duration = Duration::from_secs(2);
/// Kills of the favourite that leave its bucket with runs in it.
const KILLS: usize = 7;

pub(super) struct Stage {
    world: World,
    program: Program,
    pub(super) witness: Witness,
    intents: watch::Sender<Intent>,
    stop: CancellationToken,
    controller: JoinHandle<()>,
    _directory: tempfile::TempDir,
    /// Containers of others, as they are to stay.
    strangers: BTreeMap<String, ContainerSnapshot>,
    /// What goes on for a while, and when it is over.
    acts: Vec<(Instant, Ending)>,
    /// Until when something concerns everybody.
    everybody: Option<Instant>,
    /// Until when calls that take long may be under way.
    late: Instant,
    edits: usize,
    kills: Vec<Instant>,
}

/// What is done when a trouble is over.
enum Ending {
    Nothing,
    ComeBack,
    EventsAllowed,
    PortReleased(u16),
    StrangerLeaves(String),
    StartsWell(String),
    ProgramWorks,
    Aborted(JoinHandle<()>),
}

impl Stage {
    pub(super) async fn new(script: &Script) -> Self {
        let mut world = World::new();
        world.spared = script.has_favourite.then(|| FAVOURITE.to_owned());
        let lifecycle = if script.is_managed { Lifecycle::Managed } else { Lifecycle::External };
        world.setting.set(Setting { lifecycle, ..world.setting.get() });
        for _ in 0..script.nodes {
            world.add_node().await;
        }
        let (program, witness, stop) = (Program::default(), Witness::new(), CancellationToken::new());
        witness.watch(&world.engine);
        put(&world, &witness, &script.first);
        let directory = tempfile::tempdir().unwrap();
        let controller = Controller {
            engine: world.engine.clone(),
            probe: world.probe(),
            provisioner: program.played_in(&world, &witness),
            reporter: Arc::new(witness.clone()),
            concurrency: DEFAULT_CONCURRENCY,
            lock: ClusterLock::new(directory.path(), &"dev".parse().unwrap(), "memory"),
            claim: None,
            reread: None,
            context: ResolveContext::default(),
            env: Arc::new(|_| None),
        };
        let (intents, intent) = watch::channel(Intent::careful(world.desired()));
        let told = stop.clone();
        let controller = tokio::spawn(async move { drop(controller.reconcile(intent, &told).await) });
        Self {
            world,
            program,
            witness,
            intents,
            stop,
            controller,
            _directory: directory,
            strangers: BTreeMap::new(),
            acts: Vec::new(),
            everybody: None,
            late: Instant::now(),
            edits: 0,
            kills: Vec::new(),
        }
    }

    /// When the favourite was started first, if it is while nothing else happens.
    pub(super) async fn first_start(&self, within: Duration) -> Option<Duration> {
        let begun = Instant::now();
        sleep(within).await;
        self.witness.started(&self.favourite(), begun).map(|at| at - begun)
    }

    pub(super) async fn play(&mut self, script: &Script, alone: Option<Duration>) -> Result<(), TestCaseError> {
        let begun = Instant::now();
        for (pause, happening) in &script.steps {
            self.wait_until(Instant::now() + Duration::from_millis(*pause)).await?;
            self.witness.note(&format!("=== {happening:?}"));
            self.happen(happening).await;
        }
        let over = self.acts.iter().map(|(until, _)| *until).max();
        self.wait_until(over.unwrap_or(begun).max(begun + AT_FIRST)).await?;
        self.witness.note("=== nothing goes wrong any more");
        self.world.engine.clear_faults();
        self.witness.watch(&self.world.engine);
        self.edit(&script.last, Intent::careful);
        self.converge().await?;
        self.check_favourite(begun, alone)?;
        self.end().await
    }

    /// Lets time pass, and ends what is to end meanwhile.
    async fn wait_until(&mut self, until: Instant) -> Result<(), TestCaseError> {
        loop {
            let next = self.acts.iter().map(|(until, _)| *until).min().filter(|next| *next <= until);
            sleep_until(next.unwrap_or(until)).await;
            let why = || self.witness.complaint(usize::MAX).unwrap_or_default();
            prop_assert!(!self.controller.is_finished(), "the controller has ended; {}", why());
            if next.is_none() {
                return Ok(());
            }
            let now = Instant::now();
            let (over, acts) = std::mem::take(&mut self.acts).into_iter().partition(|(until, _)| *until <= now);
            self.acts = acts;
            for (_, ending) in over {
                self.end_of(ending).await?;
            }
        }
    }

    async fn end_of(&mut self, ending: Ending) -> Result<(), TestCaseError> {
        match ending {
            Ending::Nothing => {}
            Ending::ComeBack => self.world.engine.come_back(),
            Ending::EventsAllowed => self.world.engine.refuse_events(None),
            Ending::PortReleased(port) => self.world.release_port(port),
            Ending::StartsWell(name) => self.world.engine.crash_on_start(&name, None),
            Ending::ProgramWorks => self.program.behaves(Behaviour::Works),
            Ending::Aborted(task) => task.abort(),
            Ending::StrangerLeaves(id) => {
                self.strangers_are_untouched()?;
                let removed = self.world.engine.outsider().remove_container(&id).await;
                match removed {
                    Ok(()) => drop(self.strangers.remove(&id)),
                    Err(_) => self.acts.push((Instant::now() + Duration::from_secs(1), Ending::StrangerLeaves(id))),
                }
            }
        }
        Ok(())
    }

    fn strangers_are_untouched(&self) -> Result<(), TestCaseError> {
        let found = self.world.engine.snapshot().containers;
        for (id, stranger) in &self.strangers {
            prop_assert_eq!(Some(stranger), found.get(id), "a stranger was touched");
        }
        Ok(())
    }

    async fn happen(&mut self, happening: &Happening) {
        let is_away = self.world.engine.outsider().info().await.is_err();
        match happening {
            Happening::Edit(asked) => self.edit(asked, Intent::careful),
            Happening::Say(asked) => self.edit(asked, Intent::at_once),
            Happening::Spoil => self.intents.send_modify(|intent| intent.removals = Removals::Never),
            Happening::Drift(drift) if !is_away => {
                self.world.drift(drift).await;
                let volumes = self.world.engine.snapshot().volumes;
                if let (What::RemoveWithVolume, Some(name)) = (drift.what, self.name_of(drift.index))
                    && !volumes.contains_key(&name)
                {
                    self.witness.loses(name);
                }
            }
            // What is under way to a node for seconds cannot know of it.
            Happening::Node(drift) if drift.is_foreign_file() && Instant::now() < self.late => {}
            Happening::Node(drift) if !is_away => {
                let at = Instant::now();
                self.world.node_drift(drift).await;
                sleep(Duration::from_millis(1)).await;
                // Two who write one file at one moment cannot know of each other.
                if drift.is_foreign_file() && self.witness.last_write().is_some_and(|(written, _)| written == at) {
                    self.world.forget_overwritten();
                }
            }
            Happening::KillFavourite if !is_away => self.kill_favourite(),
            Happening::Trouble(trouble, seconds) => {
                let until = Instant::now() + Duration::from_secs(*seconds);
                if trouble.is_global() {
                    self.forget_kill();
                    let asked_again = if trouble.refuses_events() { EVENTS_ASKED_FOR } else { Duration::ZERO };
                    self.concerns_everybody(until + asked_again);
                }
                if let Trouble::Late(_, by) = trouble {
                    self.late = self.late.max(until + Duration::from_millis(*by));
                }
                let ending = self.begin(trouble, until).await;
                self.acts.extend(ending.map(|ending| (until, ending)));
            }
            Happening::Drift(_) | Happening::Node(_) | Happening::KillFavourite => {}
        }
    }

    fn edit(&mut self, asked: &Asked, intent: impl FnOnce(ksail::desired::Desired) -> Intent) {
        self.edits += 1;
        if asked.state != State::Present {
            self.forget_kill();
        } else if self.world.setting.get().state != State::Present {
            // A deletion that has begun is gone through with, and who is to join the cluster's network waits for its end.
            self.concerns_everybody(Instant::now());
        }
        put(&self.world, &self.witness, asked);
        self.intents.send_replace(intent(self.world.desired()));
    }

    fn concerns_everybody(&mut self, until: Instant) {
        self.everybody = self.everybody.max(Some(until + RECOVERED_WITHIN));
    }

    fn favourite(&self) -> String {
        self.world.name_of(FAVOURITE)
    }

    /// What was killed a moment ago is not to be started any more, or cannot be.
    fn forget_kill(&mut self) {
        self.kills.retain(|killed| killed.elapsed() > STARTS_WITHIN);
    }

    /// Not while something concerns everybody or it is to go, nor when it has just been started.
    fn kill_favourite(&mut self) {
        let now = Instant::now();
        let name = self.favourite();
        let has_run = self.witness.started(&name, now - HAS_RUN).is_none();
        let is_quiet = self.everybody.is_none_or(|until| until <= now);
        let is_wanted = self.world.setting.get().state == State::Present;
        if is_wanted && self.kills.len() < KILLS && is_quiet && has_run && self.world.engine.kill(&name, 137).is_ok() {
            self.witness.note("    killed");
            self.kills.push(now);
        }
    }

    async fn begin(&mut self, trouble: &Trouble, until: Instant) -> Option<Ending> {
        match trouble {
            Trouble::Refused(..) | Trouble::Lost(..) | Trouble::Late(..) | Trouble::Lies(..) => {
                self.begin_with_calls(trouble, until)
            }
            Trouble::EventsLost
            | Trouble::EventsDoubled
            | Trouble::EventsLate(_)
            | Trouble::EventsRefused
            | Trouble::EventsEnd(_)
            | Trouble::Flood(_)
            | Trouble::Chatter(_) => self.begin_with_events(trouble, until),
            Trouble::Mute(_) | Trouble::Crashes(_) | Trouble::Dies(..) => self.begin_with_registries(trouble, until),
            Trouble::Away => {
                self.world.engine.go_away();
                Some(Ending::ComeBack)
            }
            Trouble::PortHeld(index) => {
                let port = self.world.port_of(&self.world.pick(*index)?)?;
                self.world.hold_port(port);
                Some(Ending::PortReleased(port))
            }
            Trouble::PortPublished(index) => {
                let port = self.world.port_of(&self.world.pick(*index)?)?;
                self.stranger("somebodys", Some(port)).await
            }
            Trouble::NameTaken(index) => {
                let name = self.name_of(*index)?;
                self.stranger(&name, None).await
            }
            Trouble::Program(behaviour) => {
                self.program.behaves(*behaviour);
                Some(Ending::ProgramWorks)
            }
        }
    }

    fn name_of(&self, index: Index) -> Option<String> {
        self.world.pick(index).map(|host| self.world.name_of(&host))
    }

    fn begin_with_calls(&self, trouble: &Trouble, until: Instant) -> Option<Ending> {
        let engine = &self.world.engine;
        let is_on = move || Instant::now() < until;
        match trouble {
            Trouble::Refused(struck, refusal) => {
                let strikes = self.strikes(struck)?;
                let may_be = refusal.may_be_of();
                engine.fail(move |call| is_on() && may_be(call) && strikes(call), usize::MAX, refusal.error());
            }
            Trouble::Lost(struck, refusal) => {
                let strikes = self.strikes(struck)?;
                let may_be = refusal.may_be_of();
                engine.fail_after(move |call| is_on() && may_be(call) && strikes(call), usize::MAX, refusal.error());
            }
            Trouble::Late(struck, by) => {
                let strikes = self.strikes(struck)?;
                engine.delay(move |call| is_on() && strikes(call), usize::MAX, Duration::from_millis(*by));
            }
            Trouble::Lies(index, lie) => {
                let (name, lie) = (self.name_of(*index)?, *lie);
                let is_its = move |container: &Container| is_on() && is_of(&container.name, &name);
                engine.falsify(is_its, usize::MAX, move |container| lie.tell(container));
            }
            _ => {}
        }
        Some(Ending::Nothing)
    }

    fn begin_with_registries(&self, trouble: &Trouble, until: Instant) -> Option<Ending> {
        let engine = self.world.engine.clone();
        Some(match trouble {
            Trouble::Crashes(index) => {
                let name = self.name_of(*index)?;
                engine.crash_on_start(&name, Some(2));
                Ending::StartsWell(name)
            }
            Trouble::Dies(index, after) => {
                let name = self.name_of(*index)?;
                again_and_again(*after, move || {
                    let ours = |found: &ContainerSnapshot| {
                        found.container.name == name && is_ours(&found.container.labels, "dev")
                    };
                    if engine.snapshot().containers.values().any(ours) {
                        // It may not run at this moment.
                        let _ = engine.kill(&name, 2);
                    }
                })
            }
            Trouble::Mute(index) => {
                self.world.mute(&self.name_of(*index)?, until);
                Ending::Nothing
            }
            _ => Ending::Nothing,
        })
    }

    fn begin_with_events(&self, trouble: &Trouble, until: Instant) -> Option<Ending> {
        let engine = self.world.engine.clone();
        let is_on = move || Instant::now() < until;
        let spared = self.world.spared.clone();
        let spares = move |event: &Event| event.attributes.get(HOST) != spared.as_ref();
        match trouble {
            Trouble::EventsLost => engine.lose_events(move |event| is_on() && spares(event), usize::MAX),
            Trouble::EventsDoubled => engine.double_events(move |_| is_on(), usize::MAX),
            Trouble::EventsLate(by) => {
                engine.delay_events(move |event| is_on() && spares(event), usize::MAX, Duration::from_millis(*by));
            }
            Trouble::EventsRefused => {
                let message = "events are not for you".to_owned();
                engine.refuse_events(Some(EngineError::Refused { status: 403, message }));
                return Some(Ending::EventsAllowed);
            }
            Trouble::EventsEnd(after) => return Some(again_and_again(*after, move || engine.end_events())),
            Trouble::Flood(events) => {
                let events = *events;
                return Some(again_and_again(10, move || engine.flood(events)));
            }
            Trouble::Chatter(index) => {
                let talked_of = engine.snapshot().containers.into_values().map(|found| found.container);
                let spared = self.world.spared.as_ref();
                let of_somebody = |found: &Container| !found.labels.is_empty() && found.labels.get(HOST) != spared;
                let talked_of: Vec<Container> = talked_of.filter(of_somebody).collect();
                let container = talked_of.get(index.index(talked_of.len().max(1)))?.clone();
                let mut attributes = container.labels;
                attributes.insert("name".to_owned(), container.name);
                let (kind, action, id) = (EventKind::Container, "exec_die".to_owned(), container.id);
                let event = Event { kind, action, id, attributes };
                return Some(again_and_again(5, move || engine.tell(event.clone())));
            }
            _ => {}
        }
        Some(Ending::Nothing)
    }

    /// Which calls are struck: those of one subject, or of everybody.
    fn strikes(&self, struck: &Struck) -> Option<impl Fn(&Call) -> bool + Send + 'static + use<>> {
        let name = match &struck.whose {
            Whose::Mirror(index) => Some(self.world.name_of(&self.world.pick(*index)?)),
            Whose::Node(index) => Some(index.get(&NAMES).0.to_owned()),
            Whose::Everybody => None,
        };
        let name_of_call = struck.call;
        Some(move |call: &Call| {
            let is_about =
                |name: &String| is_of(&call.object, name) || call.container.as_ref().is_some_and(|of| is_of(of, name));
            name_of_call.is_none_or(|name| name == call.name) && name.as_ref().is_none_or(is_about)
        })
    }

    /// Somebody's container, if it is to be had.
    async fn stranger(&mut self, name: &str, port: Option<u16>) -> Option<Ending> {
        let outsider = self.world.engine.outsider();
        let port = port.map(|host_port| PublishedPort { container_port: 80, host_address: LOCALHOST, host_port });
        let spec = ContainerSpec {
            name: name.to_owned(),
            image: "stranger:1".to_owned(),
            command: Vec::new(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            ports: port.into_iter().collect(),
            volumes: Vec::new(),
            restart_policy: "no".to_owned(),
            log_options: BTreeMap::new(),
            extra_hosts: Vec::new(),
        };
        let id = outsider.create_container(&spec).await.ok()?;
        if outsider.start_container(&id).await.is_err() {
            outsider.remove_container(&id).await.ok()?;
            return None;
        }
        let found = self.world.engine.snapshot().containers.remove(&id)?;
        self.strangers.insert(id.clone(), found);
        Some(Ending::StrangerLeaves(id))
    }

    /// Until everything is as desired and nothing is changed any more.
    async fn converge(&mut self) -> Result<(), TestCaseError> {
        let since = Instant::now();
        loop {
            self.wait_until(Instant::now() + Duration::from_secs(1)).await?;
            let now = Instant::now();
            let (wrote, what) = self.witness.last_write().unwrap_or_else(|| (since, String::new()));
            let is_late = |at: Instant| at > since + CONVERGES_WITHIN;
            let is_as_desired = self.world.is_as_desired();
            if is_late(now) {
                is_as_desired.clone().map_err(|error| {
                    TestCaseError::fail(format!("not as desired {CONVERGES_WITHIN:?} after the faults: {error}"))
                })?;
            }
            prop_assert!(!is_late(wrote), "{} although everything has long been as desired", what);
            if is_as_desired.is_ok() && now >= wrote.max(since) + QUIET {
                return Ok(());
            }
        }
    }

    fn check_favourite(&self, begun: Instant, alone: Option<Duration>) -> Result<(), TestCaseError> {
        let name = self.favourite();
        for killed in &self.kills {
            let started = self.witness.started(&name, *killed);
            let is_soon = started.is_some_and(|started| started - *killed <= STARTS_WITHIN);
            prop_assert!(
                is_soon,
                "{} was killed at {:?} and started after {:?}",
                name,
                *killed - begun,
                started.map(|at| at - *killed)
            );
        }
        if let Some(alone) = alone {
            let beside = self.witness.started(&name, begun).map(|at| at - begun);
            let is_soon = beside.is_some_and(|beside| beside <= alone + BESIDE_OTHERS);
            prop_assert!(is_soon, "{} is started after {:?} alone, after {:?} beside others", name, alone, beside);
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), TestCaseError> {
        self.strangers_are_untouched()?;
        if let Some(complaint) = self.witness.complaint(self.edits) {
            return Err(TestCaseError::fail(complaint));
        }
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), &mut self.controller).await;
        prop_assert!(ended.is_ok_and(|ended| ended.is_ok()), "the controller does not end");
        Ok(())
    }
}

/// Does something every so many milliseconds.
fn again_and_again(pause: u64, act: impl Fn() + Send + 'static) -> Ending {
    Ending::Aborted(tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(pause)).await;
            act();
        }
    }))
}

/// The name of a mirror's container, or of the one that is to take its place.
fn is_of(name: &str, mirror: &str) -> bool {
    name.strip_suffix(".next").unwrap_or(name) == mirror
}

/// Makes a manifest what is asked for, and says which volumes it wants.
fn put(world: &World, witness: &Witness, asked: &Asked) {
    let Asked { state, volume_policy, .. } = *asked;
    world.edit(&asked.entries);
    world.setting.set(Setting { state, volume_policy, ..world.setting.get() });
    let goes = state == State::Purged || (state == State::Present && volume_policy == VolumePolicy::Delete);
    let names = || world.desired().mirrors.values().map(|mirror| mirror.name.clone()).collect::<BTreeSet<_>>();
    witness.wants(goes.then(names), state == State::Present);
}

impl Refusal {
    /// Whether a call may be refused like this: where the engine says that somebody's file is not there, nobody can tell
    /// that it is.
    fn may_be_of(self) -> impl Fn(&Call) -> bool + Send + use<> {
        move |call| !matches!(self, Self::NotFound) || !matches!(call.name, "get_archive" | "stat_path")
    }

    fn error(self) -> EngineError {
        let message = "so says the script".to_owned();
        match self {
            Self::Error => EngineError::Refused { status: 500, message },
            Self::CutOff => EngineError::Unavailable { address: "memory".to_owned(), reason: "cut off".to_owned() },
            Self::Timeout => EngineError::Timeout { call: message, seconds: 60 },
            Self::NotFound => EngineError::NotFound { message },
            Self::Conflict => EngineError::Conflict { message },
        }
    }
}

impl Lie {
    fn tell(self, container: &mut Container) {
        match self {
            Self::Image => "sha256:another".clone_into(&mut container.image_id),
            Self::RestartPolicy => "no".clone_into(&mut container.restart_policy),
            Self::Environment => container.env.clear(),
            Self::Alone => container.endpoints.clear(),
            Self::Stopped => container.state = ContainerState::Exited,
            Self::NoMounts => container.mounts.clear(),
        }
    }
}
