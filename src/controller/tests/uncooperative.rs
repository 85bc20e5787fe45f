//! A world that does not cooperate: what may cost is counted, in virtual time.

use tokio::sync::watch;

use super::*;
use crate::desired::Desired;
use crate::engine::{ContainerSpec, PublishedPort};
use crate::manifest::load_contents;

const DOCKER: &str = "ksail-dev-docker-io";
const GHCR: &str = "ksail-dev-ghcr-io";
const BOTH: [(&str, u16); 2] = [("docker.io", 5001), ("ghcr.io", 5002)];

/// A watch that is told directly what to make true.
struct Watch {
    world: World,
    asked: watch::Sender<Intent>,
    task: JoinHandle<()>,
}

impl Watch {
    fn begins(world: World, mirrors: &[(&str, u16)]) -> Self {
        let (asked, intents) = watch::channel(Intent::careful(asking(mirrors)));
        let (controller, stop) = (world.controller(), world.stop.clone());
        let task = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
        Self { world, asked, task }
    }

    /// Begins, and waits until everything is as it should be and nothing is being looked at any more.
    async fn has_converged(world: World, mirrors: &[(&str, u16)]) -> Self {
        let watch = Self::begins(world, mirrors);
        watch.world.until("every mirror runs", |world| mirrors.iter().all(|(host, _)| world.runs(&name(host)))).await;
        sleep(Duration::from_secs(1)).await;
        watch.world.engine.clear_calls();
        watch
    }

    fn asks(&self, desired: Desired) {
        self.asked.send_replace(Intent::careful(desired));
    }

    async fn is_repaired_within(&self, container: &str, time: Duration) {
        self.world.engine.kill(container, 137).unwrap();
        let killed = Instant::now();
        self.world.until(&format!("{container} runs again"), |world| world.runs(container)).await;
        assert!(killed.elapsed() <= time, "{:?}", killed.elapsed());
    }

    async fn ends(self) -> World {
        self.world.stop.cancel();
        self.task.await.unwrap();
        self.world
    }
}

fn name(host: &str) -> String {
    format!("ksail-dev-{}", host.replace('.', "-"))
}

fn asking(mirrors: &[(&str, u16)]) -> Desired {
    asking_in_words(manifest_text(mirrors))
}

/// The same, and volumes go with their mirrors.
fn asking_and_cleaning_up(mirrors: &[(&str, u16)]) -> Desired {
    asking_in_words(manifest_text(mirrors).replace("  registries:\n", "  registries:\n    volumePolicy: Delete\n"))
}

pub(super) fn asking_in_words(text: String) -> Desired {
    let manifest = load_contents(Path::new("ksail.yaml"), Ok(text.into_bytes()), &|_| None).unwrap();
    resolve(&manifest, &ResolveContext::default())
}

pub(super) fn refusal(message: &str) -> EngineError {
    EngineError::Refused { status: 500, message: message.to_owned() }
}

pub(super) fn cut_off() -> EngineError {
    EngineError::Unavailable { address: "memory".to_owned(), reason: "connection reset".to_owned() }
}

/// A container of somebody else's that publishes a port.
fn stranger(name: &str, port: u16) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: "registry:3".to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: vec![PublishedPort { container_port: 80, host_address: [127, 0, 0, 1].into(), host_port: port }],
        volumes: Vec::new(),
        restart_policy: "no".to_owned(),
        log_options: BTreeMap::new(),
        extra_hosts: Vec::new(),
    }
}

impl World {
    fn calls(&self, name: &str) -> usize {
        self.engine.calls().iter().filter(|call| call.name == name).count()
    }

    fn did(&self, action: &str) -> usize {
        let is_it = |event: &&Event| matches!(event, Event::Action(report) if report.action == action);
        self.recorder.0.lock().unwrap().iter().filter(is_it).count()
    }

    fn has_lost_the_engine(&self) -> bool {
        self.recorder.has(|event| matches!(event, Event::EngineLost { .. }))
    }

    /// What it was told to wait for.
    fn waiting(&self) -> Vec<String> {
        let events = self.recorder.0.lock().unwrap();
        let messages = events.iter().filter_map(|event| match event {
            Event::Waiting { message } => Some(message.clone()),
            _ => None,
        });
        messages.collect()
    }

    /// What was said last of a mirror.
    pub(super) fn ready(&self, host: &str) -> Option<Condition> {
        let events = self.recorder.0.lock().unwrap();
        events.iter().rev().find_map(|event| match event {
            Event::Condition { subject, condition }
                if *subject == Subject::mirror(host) && condition.kind == ConditionType::Ready =>
            {
                Some(condition.clone())
            }
            _ => None,
        })
    }

    fn port_of(&self, container: &str) -> Option<u16> {
        Some(self.container(container)?.bound_ports.first()?.host_port)
    }

    pub(super) fn has_volume(&self, name: &str) -> bool {
        self.engine.snapshot().volumes.contains_key(name)
    }

    async fn applies(&self, mirrors: &[(&str, u16)]) -> Applied {
        let controller = Controller { reread: None, ..self.controller() };
        controller.apply(asking(mirrors), LONG_ENOUGH, &self.stop).await
    }

    /// Another ksail is at work.
    fn is_locked(&self) -> crate::controller::lock::Held {
        let cluster = "dev".parse().unwrap();
        ClusterLock::new(self.directory.path(), &cluster, "memory").try_acquire().unwrap().unwrap()
    }

    /// A node that runs.
    pub(super) async fn has_node(&self) {
        let outsider = self.engine.outsider();
        self.engine.create_network("kind");
        self.engine.add_image("node:1", crate::engine::Image::default());
        let labels = [(crate::labels::KIND_CLUSTER, "dev"), (crate::labels::KIND_ROLE, "control-plane")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let spec =
            ContainerSpec { image: "node:1".to_owned(), ports: Vec::new(), labels, ..stranger("dev-control-plane", 0) };
        let id = outsider.create_container(&spec).await.unwrap();
        outsider.start_container(&id).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_that_is_cut_off_every_time_is_its_subjects_affair() {
    let world = World::new();
    let is_it = |call: &crate::engine::memory::Call| call.name == "create_container" && call.object == DOCKER;
    world.engine.fail(is_it, usize::MAX, cut_off());
    let watch = Watch::begins(world, &BOTH);
    sleep(Duration::from_secs(60)).await;
    let world = watch.ends().await;
    let creates = world.engine.calls().iter().filter(|call| is_it(call)).count();
    assert!((4..=9).contains(&creates), "{creates}");
    assert!(!world.has_lost_the_engine());
    assert!(world.runs(GHCR), "the other is none the worse for it");
    let ready = world.ready("docker.io").unwrap();
    assert_eq!(ready.status, ConditionStatus::False);
    assert!(ready.message.contains("connection reset"), "{}", ready.message);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_tell_its_events_says_so_once_and_is_looked_at_instead() {
    let world = World::new();
    world.engine.refuse_events(Some(refusal("events are not for you")));
    let watch = Watch::has_converged(world, &BOTH).await;
    for _ in 0..4 {
        sleep(Duration::from_secs(30)).await;
        watch.is_repaired_within(DOCKER, Duration::from_secs(4)).await;
    }
    let world = watch.ends().await;
    assert!(!world.has_lost_the_engine());
    let waiting = world.waiting();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].contains("events are not for you"), "{waiting:?}");
    assert!(world.calls("events") <= 3, "{} in two minutes", world.calls("events"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_tells_its_events_again_is_listened_to_again() {
    let world = World::new();
    world.engine.refuse_events(Some(refusal("events are not for you")));
    let watch = Watch::has_converged(world, &BOTH).await;
    watch.world.engine.refuse_events(None);
    sleep(Duration::from_secs(65)).await;
    watch.is_repaired_within(DOCKER, Duration::from_secs(1)).await;
    watch.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_of_strangers_holds_nothing_up_and_has_nobody_looked_at() {
    let passes = Passes::default();
    let _counting = passes.are_counted();
    let watch = Watch::has_converged(World::new(), &BOTH).await;
    watch.world.engine.flood(50_000);
    watch.world.engine.kill(DOCKER, 137).unwrap();
    watch.world.engine.flood(50_000);
    let killed = Instant::now();
    watch.world.until("it runs again", |world| world.runs(DOCKER)).await;
    assert!(killed.elapsed() <= Duration::from_secs(1), "{:?}", killed.elapsed());
    sleep(Duration::from_secs(5)).await;
    let world = watch.ends().await;
    let of_strangers = |call: &&crate::engine::memory::Call| call.object.starts_with('f');
    assert_eq!(world.engine.calls().iter().filter(of_strangers).count(), 0);
    assert!(world.engine.calls().len() < 40, "{:#?}", world.engine.calls());
    assert!(passes.so_far() < 40, "{}", passes.so_far());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_looked_at_is_its_mirrors_affair_and_is_tried_later_and_later() {
    let world = World::new();
    world.applies(&BOTH).await;
    let id = world.container(DOCKER).unwrap().id;
    let is_it = move |call: &crate::engine::memory::Call| call.name == "inspect_container" && call.object == id;
    world.engine.fail(is_it.clone(), usize::MAX, refusal("layer does not exist"));
    world.engine.clear_calls();
    let watch = Watch::begins(world, &BOTH);
    sleep(Duration::from_secs(1)).await;
    watch.is_repaired_within(GHCR, Duration::from_secs(1)).await;
    let ready = watch.world.ready("docker.io").unwrap();
    assert_eq!(ready.status, ConditionStatus::False, "{ready:?}");
    assert!(ready.message.contains("layer does not exist"), "{}", ready.message);
    sleep(Duration::from_secs(60)).await;
    assert!(!watch.world.has_lost_the_engine());
    let looks = watch.world.engine.calls().iter().filter(|call| is_it(call)).count();
    assert!((5..=14).contains(&looks), "{looks} in a minute");
    watch.world.engine.clear_faults();
    let is_ready = |world: &World| world.ready("docker.io").is_some_and(|ready| ready.status == ConditionStatus::True);
    watch.world.until("it is seen to be well", is_ready).await;
    assert_eq!(watch.ends().await.did("RestartContainer"), 0, "nothing was done to it");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_serves_and_dies_again_and_again_is_started_ten_times_a_minute_and_nineteen_times_in_ten() {
    let watch = Watch::has_converged(World::new(), &BOTH).await;
    let (begun, mut starts) = (Instant::now(), Vec::new());
    let mut started = watch.world.container(DOCKER).unwrap().started_at;
    while begun.elapsed() < Duration::from_secs(20 * 60) {
        if watch.world.runs(DOCKER) {
            let now = watch.world.container(DOCKER).unwrap().started_at;
            if now != started {
                starts.push(Instant::now());
                started = now;
            }
            watch.world.engine.kill(DOCKER, 2).unwrap();
        }
        sleep(Duration::from_millis(20)).await;
    }
    let most_in = |window: Duration| {
        let within = |first: &Instant| starts.iter().filter(|at| *at >= first && **at - *first < window).count();
        starts.iter().map(within).max().unwrap_or_default()
    };
    let minute = Duration::from_secs(60);
    assert!(most_in(minute) <= 10 && most_in(minute * 10) <= 19, "{} and {}", most_in(minute), most_in(minute * 10));
    assert!(starts.len() >= 15, "{}: it is tried for ever", starts.len());
    let ready = watch.world.ready("docker.io").unwrap();
    assert_eq!(ready.status, ConditionStatus::False, "{ready:?}");
    let world = watch.ends().await;
    assert!(world.runs(GHCR));
    assert_eq!(world.did("RecreateContainer") + world.did("RemoveContainer"), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_stopped_for_a_port_that_is_not_to_be_had() {
    let world = World::new();
    world.engine.add_image("registry:3", crate::engine::Image::default());
    let outsider = world.engine.outsider();
    let web = outsider.create_container(&stranger("web", 5003)).await.unwrap();
    outsider.start_container(&web).await.unwrap();
    let watch = Watch::has_converged(world, &BOTH).await;
    watch.asks(asking(&[("docker.io", 5003), ("ghcr.io", 5001)]));
    sleep(Duration::from_secs(120)).await;
    assert_eq!((watch.world.did("StopContainer"), watch.world.did("RemoveContainer")), (0, 0));
    assert!(watch.world.runs(DOCKER) && watch.world.runs(GHCR));
    let ready = watch.world.ready("docker.io").unwrap();
    assert_eq!(ready.reason, Reason::PortInUse);
    assert!(ready.message.contains("web"), "{}", ready.message);
    outsider.stop_container(&web, 0).await.unwrap();
    let freed = Instant::now();
    let moved = |world: &World| world.port_of(DOCKER) == Some(5003) && world.port_of(GHCR) == Some(5001);
    watch.world.until("both have moved", moved).await;
    assert!(freed.elapsed() < Duration::from_secs(2), "{:?}", freed.elapsed());
    watch.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_its_turn_does_what_is_asked_for_when_it_comes() {
    let world = World::new();
    world.applies(&BOTH).await;
    let held = world.is_locked();
    let watch = Watch::begins(world, &[]);
    watch.asks(asking_and_cleaning_up(&[]));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(watch.world.waiting().len(), 1, "{:?}", watch.world.waiting());
    watch.asks(asking_and_cleaning_up(&BOTH));
    drop(held);
    sleep(Duration::from_secs(60)).await;
    let world = watch.ends().await;
    assert_eq!((world.did("RemoveContainer"), world.did("RemoveVolume")), (0, 0));
    assert!(world.runs(DOCKER) && world.runs(GHCR));
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_waits_for_its_turn_reads_again_what_is_asked_for() {
    let world = World::new();
    world.save(&BOTH);
    world.applies(&BOTH).await;
    for loads in [true, false] {
        let held = world.is_locked();
        let controller = world.controller();
        let apply = controller.apply(asking_and_cleaning_up(&[]), LONG_ENOUGH, &world.stop);
        let put_right = async {
            sleep(Duration::from_secs(5)).await;
            if !loads {
                std::fs::write(world.path(), "spec: [").unwrap();
            }
            drop(held);
        };
        let (applied, ()) = tokio::join!(apply, put_right);
        match applied {
            Applied::Converged(status) => assert!(loads && status.mirrors.len() == 2, "{status:?}"),
            Applied::Rejected(_) => assert!(!loads),
            other => panic!("{other:?}"),
        }
        assert_eq!((world.did("RemoveContainer"), world.did("RemoveVolume")), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_in_two_writes_takes_nothing_away() {
    let watch = Watch::begins(World::new(), &[]);
    watch.asks(asking_and_cleaning_up(&BOTH));
    watch.world.until("both run", |world| world.runs(DOCKER) && world.runs(GHCR)).await;
    sleep(Duration::from_secs(20)).await;
    let before = watch.world.container(GHCR);
    for between in [10, 150, 900].map(Duration::from_millis) {
        watch.asks(asking_and_cleaning_up(&BOTH[..1]));
        sleep(between).await;
        watch.asks(asking_and_cleaning_up(&BOTH));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(watch.world.container(GHCR), before, "{between:?}");
    }
    watch.asks(asking_and_cleaning_up(&BOTH[..1]));
    sleep(Duration::from_secs(5)).await;
    assert!(watch.world.container(GHCR).is_none(), "a mirror goes after a second");
    assert!(watch.world.has_volume(GHCR), "its content does not");
    watch.asks(asking_and_cleaning_up(&BOTH));
    watch.world.until("it is back", |world| world.runs(GHCR)).await;
    sleep(Duration::from_secs(30)).await;
    assert!(watch.world.has_volume(GHCR));
    let world = watch.ends().await;
    assert_eq!(world.did("RemoveVolume"), 0);
    let announced = |event: &Event| matches!(event, Event::Removing { what, .. } if what.contains(&Subject::Volume(GHCR.to_owned())));
    assert!(world.recorder.has(announced));
}

#[tokio::test(start_paused = true)]
async fn after_its_time_is_up_apply_says_what_is_and_what_it_waited_for() {
    let world = World::new();
    world.probe.0.lock().unwrap().push(DOCKER.to_owned());
    let time = Duration::from_secs(5);
    let controller = Controller { reread: None, ..world.controller() };
    let apply = controller.apply(asking(&BOTH), time, &world.stop);
    let kill = async {
        sleep(time * 9 / 10).await;
        // Nobody is told.
        world.engine.lose_events(|_| true, usize::MAX);
        world.engine.kill(GHCR, 137).unwrap();
    };
    let (applied, ()) = tokio::join!(apply, kill);
    let Applied::TimedOut { status: Some(status), waited_for } = applied else { panic!("{applied:?}") };
    assert!(waited_for.iter().any(|waited| waited.starts_with("docker.io: ")), "{waited_for:?}");
    let condition = |host: &str, kind: ConditionType| {
        let mirror = status.mirrors.iter().find(|mirror| mirror.host == host).unwrap();
        mirror.condition(kind).unwrap().status
    };
    assert_eq!(condition("docker.io", ConditionType::Ready), ConditionStatus::False);
    assert_eq!(condition("ghcr.io", ConditionType::Running), ConditionStatus::False, "it was killed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn one_kill_costs_as_little_among_two_hundred_mirrors_as_among_two() {
    let mut costs = Vec::new();
    for count in [2, 200] {
        let hosts: Vec<String> = (0..count).map(|number| format!("r{number}.example.com")).collect();
        let mirrors: Vec<(&str, u16)> = hosts.iter().map(String::as_str).zip(6000..).collect();
        let watch = Watch::has_converged(World::new(), &mirrors).await;
        watch.is_repaired_within("ksail-dev-r1-example-com", Duration::from_secs(1)).await;
        sleep(Duration::from_secs(2)).await;
        let mut calls: Vec<&str> = watch.world.engine.calls().iter().map(|call| call.name).collect();
        calls.sort_unstable();
        costs.push(calls);
        watch.ends().await;
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].len() <= 10, "{:?}", costs[0]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_that_ends_again_and_again_is_taken_up_again_without_haste() {
    let watch = Watch::has_converged(World::new(), &BOTH).await;
    let engine = watch.world.engine.clone();
    let ending = tokio::spawn(async move {
        loop {
            engine.end_events();
            sleep(Duration::from_millis(10)).await;
        }
    });
    sleep(Duration::from_secs(60)).await;
    assert!(watch.world.calls("events") <= 24, "{} in a minute", watch.world.calls("events"));
    watch.is_repaired_within(DOCKER, Duration::from_secs(7)).await;
    ending.abort();
    assert!(!watch.ends().await.has_lost_the_engine());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_away_for_long_is_listened_to_as_soon_as_it_is_back() {
    let watch = Watch::has_converged(World::new(), &BOTH).await;
    let is_found = |event: &&Event| matches!(event, Event::EngineFound(_));
    for round in 2..5 {
        // Something is being read when it goes.
        let _ = watch.world.engine.kill(GHCR, 137);
        watch.world.engine.go_away();
        sleep(Duration::from_secs(90)).await;
        watch.world.engine.clear_calls();
        sleep(Duration::from_secs(60)).await;
        assert!(watch.world.engine.calls().len() < 20, "{:?}", watch.world.engine.calls());
        watch.world.engine.come_back();
        let found = |world: &World| world.recorder.0.lock().unwrap().iter().filter(is_found).count() == round;
        watch.world.until("it is found", found).await;
        watch.world.until("what was broken is repaired", |world| world.runs(GHCR)).await;
        sleep(Duration::from_millis(500)).await;
        watch.is_repaired_within(DOCKER, Duration::from_secs(1)).await;
    }
    watch.ends().await;
}

#[tokio::test(start_paused = true)]
async fn ports_that_go_round_in_a_ring_are_changed_as_one() {
    let ring = [("a.io", 5001), ("b.io", 5002), ("c.io", 5003)];
    let turned = [("a.io", 5002), ("b.io", 5003), ("c.io", 5001)];
    let has_turned = |world: &World| turned.iter().all(|(host, port)| world.port_of(&name(host)) == Some(*port));
    let watch = Watch::has_converged(World::new(), &ring).await;
    watch.asks(asking(&turned));
    let asked = Instant::now();
    watch.world.until("they have changed", has_turned).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    sleep(Duration::from_secs(30)).await;
    let world = watch.ends().await;
    let failed = |event: &Event| matches!(event, Event::Action(report) if report.result != ActionResult::Done);
    assert!(!world.recorder.has(failed));
    assert!(turned.iter().all(|(host, _)| world.runs(&name(host))));
}

#[tokio::test(start_paused = true)]
async fn two_that_do_not_see_each_others_lock_converge_all_the_same() {
    let ring = [("a.io", 5001), ("b.io", 5002), ("c.io", 5003)];
    let turned = [("a.io", 5002), ("b.io", 5003), ("c.io", 5001)];
    for apart_by in (0..40).map(|step| Duration::from_millis(step * 7)) {
        let world = World::new();
        world.applies(&ring).await;
        let elsewhere = tempfile::tempdir().unwrap();
        let lock = ClusterLock::new(elsewhere.path(), &"dev".parse().unwrap(), "memory");
        let other = Controller { lock, reread: None, ..world.controller() };
        let stop = world.stop.clone();
        let (_asked, intents) = watch::channel(Intent::careful(asking(&turned)));
        let task = tokio::spawn(async move { drop(other.reconcile(intents, &stop).await) });
        sleep(apart_by).await;
        let watch = Watch::begins(world, &turned);
        let has_turned = |world: &World| {
            turned.iter().all(|(host, port)| world.port_of(&name(host)) == Some(*port) && world.runs(&name(host)))
        };
        watch.world.until(&format!("they agree, {apart_by:?} apart"), has_turned).await;
        sleep(Duration::from_secs(60)).await;
        assert!(has_turned(&watch.world), "{apart_by:?}");
        watch.world.engine.clear_calls();
        sleep(Duration::from_secs(60)).await;
        let calls = watch.world.engine.calls();
        assert!(calls.iter().all(|call| call.kind == CallKind::Read), "{apart_by:?}: {calls:#?}");
        assert_eq!(watch.world.engine.snapshot().containers.len(), 3, "{apart_by:?}");
        watch.ends().await;
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_mended_name_gets_the_port_of_the_mistyped_one_in_one_wait() {
    let watch = Watch::has_converged(World::new(), &[("dokcer.io", 5001), ("ghcr.io", 5002)]).await;
    watch.asks(asking(&BOTH));
    let asked = Instant::now();
    watch.world.until("it has the port", |world| world.port_of(DOCKER) == Some(5001) && world.runs(DOCKER)).await;
    assert!((1_000..1_500).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    assert!(watch.world.container("ksail-dev-dokcer-io").is_none());
    let world = watch.ends().await;
    let failed = |event: &Event| matches!(event, Event::Action(report) if report.result != ActionResult::Done);
    assert!(!world.recorder.has(failed));
    assert!(!world.recorder.has(|event| matches!(event, Event::Retry { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_apply_beside_a_watch_converges_and_the_watch_leaves_it_so() {
    let world = World::new();
    world.save(&[("docker.io", 5003), ("ghcr.io", 5002)]);
    let watch = Watch::has_converged(world, &BOTH).await;
    let beside = watch.world.controller();
    let desired = asking(&[("docker.io", 5003), ("ghcr.io", 5002)]);
    let stop = CancellationToken::new();
    watch.asks(desired.clone());
    let applied = beside.apply(desired, LONG_ENOUGH, &stop).await;
    assert!(matches!(applied, Applied::Converged(_)), "{applied:?}");
    assert_eq!(watch.world.port_of(DOCKER), Some(5003));
    sleep(Duration::from_secs(5)).await;
    watch.world.engine.clear_calls();
    sleep(Duration::from_secs(60)).await;
    let world = watch.ends().await;
    assert!(world.engine.calls().iter().all(|call| call.kind == CallKind::Read), "{:#?}", world.engine.calls());
    let failed = |event: &Event| matches!(event, Event::Action(report) if report.result != ActionResult::Done);
    assert!(!world.recorder.has(failed));
}

#[tokio::test(start_paused = true)]
async fn what_can_only_be_waited_for_is_waited_for_in_peace() {
    let passes = Passes::default();
    let _counting = passes.are_counted();
    let hosts = [("blocked.io", 5001), ("failing.io", 5002), ("unreadable.io", 5003), ("well.io", 5004)];
    let world = World::new();
    world.applies(&hosts[2..3]).await;
    let id = world.container("ksail-dev-unreadable-io").unwrap().id;
    let is_it = move |call: &crate::engine::memory::Call| call.name == "inspect_container" && call.object == id;
    world.engine.fail(is_it, usize::MAX, refusal("layer does not exist"));
    let fails =
        |call: &crate::engine::memory::Call| call.name == "create_container" && call.object == name("failing.io");
    world.engine.fail(fails, usize::MAX, refusal("no space left"));
    let outsider = world.engine.outsider();
    let web = outsider.create_container(&stranger("web", 5001)).await.unwrap();
    outsider.start_container(&web).await.unwrap();
    let watch = Watch::begins(world, &hosts);
    sleep(Duration::from_secs(120)).await;
    assert!(watch.world.runs("ksail-dev-well-io"));
    let before = passes.so_far();
    watch.world.engine.clear_calls();
    sleep(Duration::from_secs(120)).await;
    let (passes, calls) = (passes.so_far() - before, watch.world.engine.calls().len());
    assert!(passes <= 60 && calls <= 120, "{passes} passes and {calls} calls in two minutes");
    watch.ends().await;
}

/// What a cluster says of its registry: `kubectl` in its nodes reads and writes this.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Mutex<String>>);

impl Said {
    pub(super) fn in_nodes_of(world: &World) -> Self {
        let said = Self::default();
        let here = said.clone();
        world.engine.on_exec(move |_, exec| {
            let has = |word: &str| exec.command.iter().any(|other| other == word);
            let mut said = here.0.lock().unwrap();
            let stdout = match () {
                () if !has("kubectl") => return None,
                () if has("get") => said.clone(),
                () if has("delete") => {
                    said.clear();
                    String::new()
                }
                () => {
                    *said = String::from_utf8(exec.stdin.clone()).unwrap();
                    String::new()
                }
            };
            Some(crate::engine::Executed { exit_code: 0, stdout, stderr: String::new() })
        });
        said
    }

    fn is_taken_over(&self) -> String {
        let mut said = self.0.lock().unwrap();
        *said = r#"{"metadata": {"labels": {"app.kubernetes.io/managed-by": "ctlptl"}}}"#.to_owned();
        said.clone()
    }

    pub(super) fn now(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// With a registry to push to.
fn asking_for_pushes() -> Desired {
    asking_in_words(manifest_text(&BOTH[..1]) + "      - {host: \"localhost:5009\"}\n")
}

#[tokio::test(start_paused = true)]
async fn what_another_tool_says_of_the_registry_by_then_is_left_alone() {
    let world = World::new();
    world.has_node().await;
    let said = Said::in_nodes_of(&world);
    let watch = Watch::has_converged(world, &BOTH[..1]).await;
    watch.asks(asking_for_pushes());
    watch.world.until("the cluster says so", |_| said.now().contains("localhost:5009")).await;
    watch.asks(asking(&BOTH[..1]));
    watch.world.until("the cluster does not say so any more", |_| said.now().is_empty()).await;
    sleep(Duration::from_secs(1)).await;

    let theirs = said.is_taken_over();
    watch.asks(asking_for_pushes());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(said.now(), theirs, "not overwritten");
    said.0.lock().unwrap().clear();
    // Nothing tells of it: it is found by the next resync.
    sleep(Duration::from_secs(20)).await;
    watch.world.until("the cluster says so again", |_| said.now().contains("localhost:5009")).await;
    sleep(Duration::from_secs(1)).await;

    said.is_taken_over();
    watch.asks(asking(&BOTH[..1]));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(said.now(), theirs, "not deleted");
    let world = watch.ends().await;
    let refused = |event: &Event| matches!(event, Event::Action(report) if matches!(&report.result, ActionResult::Failed(why) if why.to_string().contains("another tool")));
    assert!(world.recorder.has(refused));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_somebody_has_made_anew_by_then_stays() {
    let labels = || BTreeMap::from([("mine".to_owned(), "yes".to_owned())]);
    for (is_adopted, made_anew_with) in
        [(false, None), (true, None), (false, Some(labels())), (false, Some(BTreeMap::new())), (true, Some(labels()))]
    {
        let row = format!("adopted: {is_adopted}, made anew with {made_anew_with:?}");
        let world = World::new();
        let outsider = world.engine.outsider();
        if is_adopted {
            world.engine.add_image("registry:3", crate::engine::Image::default());
            let desired = asking(&BOTH);
            let mirror = desired.mirrors.values().find(|mirror| mirror.name == GHCR).unwrap();
            let id = outsider.create_container(&mirror.container).await.unwrap();
            outsider.start_container(&id).await.unwrap();
            assert!(outsider.inspect_volume(GHCR).await.unwrap().labels.is_empty());
        }
        let watch = Watch::has_converged(world, &BOTH).await;
        watch.asks(asking_and_cleaning_up(&BOTH[..1]));
        // Time enough to be quicker.
        watch.world.engine.delay(|call| call.name == "inspect_volume", usize::MAX, Duration::from_secs(3));
        watch.world.until("its mirror is gone", |world| world.container(GHCR).is_none()).await;
        sleep(Duration::from_secs(1)).await;
        if let Some(labels) = &made_anew_with {
            // Nobody is told.
            watch.world.engine.lose_events(|_| true, usize::MAX);
            outsider.remove_volume(GHCR).await.unwrap();
            outsider.create_volume(GHCR, labels).await.unwrap();
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(watch.world.has_volume(GHCR), made_anew_with.is_some(), "{row}");
        watch.ends().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_the_file_wants_back_while_it_is_looked_at_stays() {
    let watch = Watch::has_converged(World::new(), &BOTH).await;
    watch.asks(asking_and_cleaning_up(&BOTH));
    watch.world.engine.delay(|call| call.name == "inspect_volume", usize::MAX, Duration::from_secs(2));
    watch.asks(asking_and_cleaning_up(&BOTH[..1]));
    let begins = |event: &Event| matches!(event, Event::ActionStarted(report) if report.action == "RemoveVolume");
    watch.world.until("it begins", |world| world.recorder.has(begins)).await;
    watch.asks(asking_and_cleaning_up(&BOTH));
    watch.world.until("it is back", |world| world.runs(GHCR)).await;
    sleep(Duration::from_secs(30)).await;
    let calls = watch.world.engine.calls();
    assert!(!calls.iter().any(|call| call.name == "remove_volume"), "{calls:#?}");
    watch.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_to_be_removed_stays_when_the_file_wants_it_back() {
    let three = [BOTH[0], BOTH[1], ("quay.io", 5003)];
    let world = World::new();
    world.applies(&three).await;
    let (asked, intents) = watch::channel(Intent::careful(asking(&three)));
    let (controller, stop) = (Controller { concurrency: 1, ..world.controller() }, world.stop.clone());
    let task = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
    sleep(Duration::from_secs(1)).await;
    world.engine.delay(|call| call.name == "remove_container", usize::MAX, Duration::from_secs(2));
    asked.send_replace(Intent::careful(asking(&three[..1])));
    let removals = |world: &World| world.engine.calls().iter().filter(|call| call.name == "remove_container").count();
    world.until("one is being removed, and the other waits", |world| removals(world) == 1).await;
    asked.send_replace(Intent::careful(asking(&three)));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(removals(&world), 1);
    assert!(three.iter().all(|(host, _)| world.runs(&name(host))));
    world.stop.cancel();
    task.await.unwrap();
}
