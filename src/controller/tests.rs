//! The loop on the engine in memory, with a real file and a real clock: what is waited for is always a condition.

#[cfg(unix)]
mod advertised;
mod bound;
#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod control_plane;
mod exposure;
#[cfg(unix)]
mod k3ds_network;
mod meanwhile;
#[cfg(unix)]
mod played;
mod restart;
mod serving;
mod uncooperative;
mod upstreams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::*;
use crate::desired::{ResolveContext, Route, resolve};
use crate::engine::memory::{CallKind, Memory};
use crate::engine::{Container, ContainerSpec, ContainerState};
use crate::engine::{Engine, EngineError};
use crate::event::ActionResult;
use crate::event::{Event, Reporter};
use crate::manifest::load;
use crate::outcome::SERVE_WITHIN;
use crate::plan::Subject;
use crate::probe::Probe;
use crate::probe::{Ask, Question, Serving, UpstreamAnswer};
use crate::provisioner::Provisioner;
use crate::status::{Condition, ConditionStatus, ConditionType, Reason};

const LONG_ENOUGH: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    fn has(&self, matches: impl Fn(&Event) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(matches)
    }

    fn actions(&self, host: &str) -> Vec<&'static str> {
        let events = self.0.lock().unwrap();
        let actions = events.iter().filter_map(|event| match event {
            Event::Action(report) if report.subject == Subject::mirror(host) => Some(report.action),
            _ => None,
        });
        actions.collect()
    }
}

/// Counts passes, as long as it is set.
#[derive(Clone, Default)]
struct Passes(Arc<AtomicUsize>);

impl Passes {
    /// Counts those of this thread, until what this returns is dropped.
    fn are_counted(&self) -> DefaultGuard {
        tracing::subscriber::set_default(Registry::default().with(self.clone()))
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Layer<Registry> for Passes {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
        self.0.fetch_add(usize::from(event.metadata().target() == "ksail::pass"), Ordering::Relaxed);
    }
}

/// Registries in memory answer while they run, unless their name is in the list.
#[derive(Clone, Default)]
struct Answering(Arc<Mutex<Vec<String>>>, Arc<Mutex<Upstreams>>);

/// What upstreams answer, and what they were asked.
#[derive(Default)]
struct Upstreams {
    /// Something else than that all is well.
    answer: Option<UpstreamAnswer>,
    /// Nothing ever comes.
    are_mute: bool,
    asked: Vec<Ask>,
}

impl Probe for Answering {
    async fn ask(&self, container: &Container, _: Question) -> Serving {
        match container.state {
            ContainerState::Running if self.0.lock().unwrap().contains(&container.name) => Serving::Refused,
            ContainerState::Running => Serving::Answers,
            _ => Serving::Silent,
        }
    }

    async fn port_is_taken(&self, _: std::net::IpAddr, _: u16) -> bool {
        false
    }

    async fn upstream(&self, _: &Route, ask: Ask) -> UpstreamAnswer {
        let answer = {
            let mut upstreams = self.1.lock().unwrap();
            upstreams.asked.push(ask);
            (!upstreams.are_mute).then(|| upstreams.answer.clone().unwrap_or(UpstreamAnswer::Answers))
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

struct World {
    engine: Memory,
    probe: Answering,
    provisioner: Provisioner,
    recorder: Arc<Recorder>,
    directory: tempfile::TempDir,
    stop: CancellationToken,
}

fn manifest_text(mirrors: &[(&str, u16)]) -> String {
    let entry = |(host, port): &(&str, u16)| {
        format!("      - {{host: {host}, upstream: \"https://r.{host}\", port: {port}}}\n")
    };
    let mirrors: String = mirrors.iter().map(entry).collect();
    format!(
        "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: dev}}\nspec:\n  lifecycle: External\n  registries:\n    mirrors:\n{mirrors}"
    )
}

impl World {
    fn new() -> Self {
        let engine = Memory::new();
        engine.pullable("registry:3");
        Self {
            engine,
            probe: Answering::default(),
            provisioner: Provisioner::default(),
            recorder: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ksail.yaml")
    }

    fn save(&self, mirrors: &[(&str, u16)]) {
        std::fs::write(self.path(), manifest_text(mirrors)).unwrap();
    }

    fn controller(&self) -> Controller<Memory, Answering> {
        let cluster = "dev".parse().unwrap();
        Controller {
            engine: self.engine.clone(),
            probe: self.probe.clone(),
            provisioner: self.provisioner.clone(),
            reporter: self.recorder.clone(),
            concurrency: 8,
            lock: ClusterLock::new(self.directory.path(), &cluster, "memory"),
            claim: None,
            reread: Some(self.reread()),
            context: ResolveContext::default(),
            env: Arc::new(|_| None),
        }
    }

    async fn apply(&self) -> Applied {
        let manifest = load(&self.path(), &|_| None).unwrap();
        let desired = resolve(&manifest, &ResolveContext::default());
        self.controller().apply(desired, LONG_ENOUGH, &self.stop).await
    }

    async fn restart(&self, host: &str) -> Restarted {
        let manifest = load(&self.path(), &|_| None).unwrap();
        let desired = resolve(&manifest, &ResolveContext::default());
        self.controller().restart(&desired, &host.parse().unwrap(), &self.stop).await
    }

    fn reread(&self) -> Reread {
        let path = self.path();
        Arc::new(move || {
            let manifest = load(&path, &|_| None).map_err(|problems| problems.render(false))?;
            Ok(resolve(&manifest, &ResolveContext::default()))
        })
    }

    fn watch(&self) -> JoinHandle<()> {
        let (controller, path, stop) = (self.controller(), self.path(), self.stop.clone());
        let manifest = load(&path, &|_| None).unwrap();
        tokio::spawn(async move { drop(controller.watch(path, manifest, &stop).await) })
    }

    fn container(&self, name: &str) -> Option<Container> {
        let containers = self.engine.snapshot().containers.into_values().map(|snapshot| snapshot.container);
        containers.into_iter().find(|container| container.name == name)
    }

    fn runs(&self, name: &str) -> bool {
        self.container(name).is_some_and(|container| container.state == ContainerState::Running)
    }

    /// For a second and a half the engine is asked next to nothing.
    async fn is_left_in_peace(&self) {
        self.engine.clear_calls();
        sleep(Duration::from_millis(1500)).await;
        assert!(self.engine.calls().len() < 8, "{:#?}", self.engine.calls());
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(LONG_ENOUGH, async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let told =
            || self.recorder.0.lock().unwrap().iter().fold(String::new(), |text, event| format!("{text}{event:?}\n"));
        assert!(waited.await.is_ok(), "not within {LONG_ENOUGH:?}: {what}; told:\n{}", told());
    }
}

#[tokio::test]
async fn apply_converges_and_a_second_one_only_reads() {
    let world = World::new();
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    assert!(matches!(world.apply().await, Applied::Converged(status) if status.mirrors.len() == 2));
    world.engine.clear_calls();
    assert!(matches!(world.apply().await, Applied::Converged(_)));
    let calls = world.engine.calls();
    assert!(calls.iter().all(|call| call.kind == CallKind::Read), "{calls:#?}");
}

#[tokio::test]
async fn one_pull_serves_every_mirror_that_needs_the_image() {
    let world = World::new();
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002), ("quay.io", 5003)]);
    world.apply().await;
    assert_eq!(world.engine.calls().iter().filter(|call| call.name == "pull_image").count(), 1);
}

#[tokio::test]
async fn apply_gives_up_on_an_image_that_cannot_be_pulled_and_says_why() {
    let world = World::new();
    world.engine.unpullable("registry:3", "toomanyrequests: slow down");
    world.save(&[("docker.io", 5001)]);
    let Applied::Failed(status) = world.apply().await else { panic!("not failed") };
    let ready = status.mirrors[0].condition(ConditionType::Ready).unwrap();
    assert_eq!((ready.status, ready.reason), (ConditionStatus::False, Reason::ImagePullFailed));
    assert!(ready.message.contains("slow down"), "{}", ready.message);
}

#[tokio::test]
async fn apply_says_at_once_that_the_engine_is_away() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    world.engine.go_away();
    assert!(matches!(world.apply().await, Applied::EngineAway(_)));
}

#[tokio::test]
async fn apply_looks_again_when_the_engine_could_not_say_what_there_is() {
    let refusal = || EngineError::Refused { status: 500, message: "unexpectedly nil".to_owned() };
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    world.engine.fail(|call| call.name == "list_volumes", 2, refusal());
    assert!(matches!(world.apply().await, Applied::Converged(_)));
    world.engine.fail(|call| call.name == "list_volumes", usize::MAX, refusal());
    let Applied::EngineAway(error) = world.apply().await else { panic!("not given up") };
    assert_eq!(error, refusal());
}

#[tokio::test]
async fn watch_follows_the_file_and_repairs_what_breaks() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("the first mirror runs", |world| world.runs("ksail-dev-docker-io")).await;
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    world.until("the second mirror runs", |world| world.runs("ksail-dev-ghcr-io")).await;
    world.engine.kill("ksail-dev-docker-io", 137).unwrap();
    world.until("the first mirror runs again", |world| world.runs("ksail-dev-docker-io")).await;
    world.save(&[("ghcr.io", 5002)]);
    world.until("the first mirror is gone", |world| world.container("ksail-dev-docker-io").is_none()).await;
    world.stop.cancel();
    watch.await.unwrap();
    assert!(world.runs("ksail-dev-ghcr-io"), "registries are left running");
}

#[tokio::test]
async fn a_file_that_does_not_load_or_is_gone_removes_nothing() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("the mirror runs", |world| world.runs("ksail-dev-docker-io")).await;
    let before = world.container("ksail-dev-docker-io");
    let rejections = |recorder: &Recorder| {
        recorder.0.lock().unwrap().iter().filter(|event| matches!(event, Event::ManifestRejected { .. })).count()
    };
    for (broken, text) in ["", "spec: [", "kind: Cluster\n"].into_iter().enumerate() {
        std::fs::write(world.path(), text).unwrap();
        world.until("the file is refused", |world| rejections(&world.recorder) > broken).await;
    }
    std::fs::remove_file(world.path()).unwrap();
    world.until("the missing file is noticed", |world| rejections(&world.recorder) == 4).await;
    assert_eq!(before, world.container("ksail-dev-docker-io"));
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    world.until("the next good save converges", |world| world.runs("ksail-dev-ghcr-io")).await;
    assert_eq!(before, world.container("ksail-dev-docker-io"));
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_mended_is_told_of_though_it_says_what_it_said_before() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("the mirror runs", |world| world.runs("ksail-dev-docker-io")).await;
    let (rejected, loaded) = (
        |event: &Event| matches!(event, Event::ManifestRejected { .. }),
        |event: &Event| matches!(event, Event::ManifestLoaded { .. }),
    );
    let count = |is_meant: fn(&Event) -> bool| world.recorder.0.lock().unwrap().iter().filter(|e| is_meant(e)).count();
    for times in 1..=2 {
        std::fs::write(world.path(), "spec: [").unwrap();
        world.until("the file is refused", |_| count(rejected) == times).await;
        world.save(&[("docker.io", 5001)]);
        world.until("it is told that it loads again", |_| count(loaded) == 1 + times).await;
    }
    world.stop.cancel();
    watch.await.unwrap();
    assert_eq!((count(rejected), count(loaded)), (2, 3));
}

#[tokio::test]
async fn an_engine_that_comes_back_is_resynchronised() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("the mirror runs", |world| world.runs("ksail-dev-docker-io")).await;
    world.engine.go_away();
    world
        .until("the loss is told", |world| world.recorder.has(|event| matches!(event, Event::EngineLost { .. })))
        .await;
    let is_unavailable = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::EngineUnavailable);
    world.until("conditions are unknown", |world| world.recorder.has(is_unavailable)).await;
    world.engine.come_back();
    // No event tells of this one: it happened while nobody listened.
    world.engine.outsider().kill("ksail-dev-docker-io", 137).unwrap();
    world.until("the mirror runs again", |world| world.runs("ksail-dev-docker-io")).await;
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_failed_and_is_blocked_now_is_not_looked_at_without_a_pause() {
    const NAME: &str = "ksail-dev-docker-io";
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let full = EngineError::Refused { status: 500, message: "no space left".to_owned() };
    world.engine.fail(|call| call.name == "create_container", 1, full);
    let watch = world.watch();
    world.until("it failed", |world| world.recorder.has(|event| matches!(event, Event::Retry { .. }))).await;
    let spec = ContainerSpec {
        name: NAME.to_owned(),
        image: "registry:3".to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "no".to_owned(),
        log_options: BTreeMap::new(),
        extra_hosts: Vec::new(),
    };
    world.engine.outsider().create_container(&spec).await.unwrap();
    let is_blocked =
        |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::NameConflict);
    world.until("it is blocked", |world| world.recorder.has(is_blocked)).await;
    world.is_left_in_peace().await;
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_away_is_not_asked_without_a_pause() {
    let world = World::new();
    world.engine.unpullable("registry:3", "toomanyrequests: slow down");
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("it failed", |world| world.recorder.has(|event| matches!(event, Event::Retry { .. }))).await;
    world.engine.go_away();
    let is_lost = |event: &Event| matches!(event, Event::EngineLost { .. });
    world.until("the loss is told", |world| world.recorder.has(is_lost)).await;
    world.is_left_in_peace().await;
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_does_not_come_up_delays_no_other() {
    let world = World::new();
    world.probe.0.lock().unwrap().push("ksail-dev-docker-io".to_owned());
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    let watch = world.watch();
    world.until("the healthy one runs", |world| world.runs("ksail-dev-ghcr-io")).await;
    world.until("the other is waited for", |world| world.runs("ksail-dev-docker-io")).await;
    world.engine.kill("ksail-dev-ghcr-io", 137).unwrap();
    let killed = Instant::now();
    world.until("the healthy one runs again", |world| world.runs("ksail-dev-ghcr-io")).await;
    assert!(killed.elapsed() < SERVE_WITHIN / 3, "it waited for the other: {:?}", killed.elapsed());
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_save_that_changes_the_mind_about_a_mirror_under_way_wins() {
    let world = World::new();
    world.probe.0.lock().unwrap().push("ksail-dev-docker-io".to_owned());
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    let watch = world.watch();
    world.until("it is waited for", |world| world.runs("ksail-dev-docker-io")).await;
    world.save(&[("ghcr.io", 5002)]);
    let saved = Instant::now();
    world.until("it is gone", |world| world.container("ksail-dev-docker-io").is_none()).await;
    assert!(saved.elapsed() < SERVE_WITHIN / 2, "{:?}", saved.elapsed());
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn two_controllers_of_one_cluster_take_turns() {
    let world = World::new();
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    let (first, second) = tokio::join!(world.apply(), world.apply());
    assert!(matches!((first, second), (Applied::Converged(_), Applied::Converged(_))));
    assert_eq!(world.recorder.actions("docker.io").iter().filter(|action| **action == "CreateContainer").count(), 1);
    let failed = |event: &Event| matches!(event, Event::Action(report) if report.result != ActionResult::Done);
    assert!(!world.recorder.has(failed));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_behind_a_swapped_link_is_followed() {
    let world = World::new();
    let at = |name: &str| world.directory.path().join(name);
    let write = |directory: &Path, mirrors: &[(&str, u16)]| {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("ksail.yaml"), manifest_text(mirrors)).unwrap();
    };
    write(&at("v1"), &[("docker.io", 5001)]);
    std::os::unix::fs::symlink("v1", at("data")).unwrap();
    std::os::unix::fs::symlink("data/ksail.yaml", world.path()).unwrap();
    let watch = world.watch();
    world.until("the mirror runs", |world| world.runs("ksail-dev-docker-io")).await;
    write(&at("v2"), &[("ghcr.io", 5002)]);
    std::os::unix::fs::symlink("v2", at("data.new")).unwrap();
    std::fs::rename(at("data.new"), at("data")).unwrap();
    world.until("the other file is in force", |world| world.runs("ksail-dev-ghcr-io")).await;
    world.stop.cancel();
    watch.await.unwrap();
}
