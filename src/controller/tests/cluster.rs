//! The cluster beside its mirrors: a script stands for kind, and what it says is done to the engine in memory.

use futures_util::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::engine::memory::Call;
use crate::engine::{Executed, Image};
use crate::labels::{KIND_CLUSTER, KIND_ROLE};
use crate::provisioner::tests::with_program;

const NODE: &str = "dev-control-plane";
const MIRRORS: [(&str, u16); 2] = [("docker.io", 5001), ("ghcr.io", 5002)];
/// What the program says to have the node made.
const MAKE: &str = "make the node";
/// What the program says to have the engine refuse twice to list containers.
const REFUSE: &str = "refuse to list";
/// What the program says to have the node removed.
const REMOVE: &str = "remove the node";

/// Lets `kind` be a script for `create` and one for `delete`.
struct Kind {
    world: World,
    /// Of which the node is made as soon as it has been reported, besides what the program says.
    appears_after: Option<&'static str>,
    programs: TempDir,
}

impl Kind {
    fn new(create: &str, delete: &str) -> Self {
        let script = format!("cd $(dirname $0)\ncase $1 in\ncreate) {create} ;;\ndelete) {delete} ;;\nesac");
        let (programs, provisioner) = with_program("kind", &script);
        let world = World { provisioner, ..World::new() };
        world.engine.create_network("kind");
        world.engine.add_image("node:1", Image::default());
        let kind = Self { world, appears_after: None, programs };
        kind.save("Present");
        kind
    }

    /// One that does what it should.
    fn that_works() -> Self {
        Self::new(&format!("echo {MAKE}"), &format!("echo {REMOVE}"))
    }

    fn save(&self, state: &str) {
        let text = manifest_text(&MIRRORS).replace("lifecycle: External", "lifecycle: Managed");
        std::fs::write(self.world.path(), text.replace("spec:\n", &format!("spec:\n  state: {state}\n"))).unwrap();
    }

    fn controller(&self) -> Controller<Memory, Answering> {
        let (engine, recorder) = (self.world.engine.clone(), self.world.recorder.clone());
        let reporter = Arc::new(Reacting { engine, recorder, appears_after: self.appears_after });
        Controller { reporter, ..self.world.controller() }
    }

    async fn apply(&self) -> Applied {
        let manifest = load(&self.world.path(), &|_| None).unwrap();
        let desired = resolve(&manifest, &ResolveContext::default());
        self.controller().apply(desired, LONG_ENOUGH, &self.world.stop).await
    }

    fn watch(&self) -> JoinHandle<()> {
        let (controller, path, stop) = (self.controller(), self.world.path(), self.world.stop.clone());
        let manifest = load(&path, &|_| None).unwrap();
        tokio::spawn(async move { controller.watch(path, manifest, &stop).await })
    }

    /// How often the program has said this.
    fn said(&self, words: &str) -> usize {
        let is_so = |event: &&Event| matches!(event, Event::Output { line, .. } if line == words);
        self.world.recorder.0.lock().unwrap().iter().filter(is_so).count()
    }

    /// Places of reports that are so, among all reports.
    fn places(&self, is_so: impl Fn(&Event) -> bool) -> Vec<usize> {
        let events = self.world.recorder.0.lock().unwrap();
        (0..events.len()).filter(|place| is_so(&events[*place])).collect()
    }

    fn has_node(&self) -> bool {
        self.world.container(NODE).is_some()
    }

    /// Waits until the engine has been asked nothing for a while.
    async fn quiet(&self) {
        let mut since = (self.world.engine.calls().len(), Instant::now());
        while since.1.elapsed() < Duration::from_millis(200) {
            sleep(Duration::from_millis(5)).await;
            let calls = self.world.engine.calls().len();
            if calls != since.0 {
                since = (calls, Instant::now());
            }
        }
    }

    fn wired(&self, name: &str) -> bool {
        let containers = self.world.engine.snapshot().containers.into_values();
        let mut nodes = containers.filter(|snapshot| snapshot.container.name == name);
        nodes.any(|node| node.files.keys().any(|path| path.ends_with("/hosts.toml")))
    }

    /// Names and ids of the mirrors that run, those on the cluster's network.
    fn mirrors(&self) -> BTreeMap<String, String> {
        let containers = self.world.engine.snapshot().containers.into_values().map(|snapshot| snapshot.container);
        let serving = |container: &Container| {
            container.name != NODE
                && container.state == ContainerState::Running
                && container.endpoints.contains_key("kind")
        };
        containers.filter(serving).map(|container| (container.name, container.id)).collect()
    }
}

/// Does to the engine what the program says.
struct Reacting {
    engine: Memory,
    recorder: Arc<Recorder>,
    appears_after: Option<&'static str>,
}

impl Reporter for Reacting {
    fn report(&self, event: &Event) {
        match event {
            Event::Output { line, .. } if line == MAKE => self.make_node(),
            Event::Output { line, .. } if line == REMOVE => {
                at_once(async { self.engine.outsider().remove_container(NODE).await.expect("there is a node") });
            }
            Event::Output { line, .. } if line == REFUSE => {
                let refusal = EngineError::Refused { status: 500, message: "busy".to_owned() };
                self.engine.fail(|call| call.name == "list_containers", 2, refusal);
            }
            Event::Action(report) if self.appears_after == Some(report.action) => self.make_node(),
            _ => {}
        }
        self.recorder.report(event);
    }
}

impl Reacting {
    fn make_node(&self) {
        let outsider = self.engine.outsider();
        at_once(async {
            // One that is there already stays as it is.
            if let Ok(id) = outsider.create_container(&node(NODE, "control-plane")).await {
                outsider.start_container(&id).await.expect("it starts");
            }
        });
    }
}

fn node(name: &str, role: &str) -> ContainerSpec {
    let labels = [(KIND_CLUSTER, "dev"), (KIND_ROLE, role)];
    ContainerSpec {
        name: name.to_owned(),
        image: "node:1".to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ports: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "no".to_owned(),
        log_options: BTreeMap::new(),
    }
}

/// Does calls of the engine in memory, which yield and wait for nobody.
fn at_once(calls: impl Future<Output = ()>) {
    let mut calls = Box::pin(calls);
    while calls.as_mut().now_or_never().is_none() {}
}

fn is_action(event: &Event, name: &str) -> bool {
    matches!(event, Event::Action(report) if report.action == name && report.result == ActionResult::Done)
}

fn cluster_ready(status: &Status) -> (ConditionStatus, Reason, String) {
    let condition = status.conditions.iter().find(|condition| condition.kind == ConditionType::ClusterReady).unwrap();
    (condition.status, condition.reason, condition.message.clone())
}

#[tokio::test]
async fn a_cluster_is_created_once_when_its_mirrors_serve() {
    let kind = Kind::that_works();
    let Applied::Converged(status) = kind.apply().await else { panic!("not converged") };
    let (ready, reason, _) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::True, Reason::ClusterRunning));
    let serving = kind.places(|event| is_action(event, "AwaitServing"));
    let output = kind.places(|event| matches!(event, Event::Output { .. }));
    assert_eq!((serving.len(), output.len()), (MIRRORS.len(), 1));
    assert!(serving.iter().all(|place| *place < output[0]), "{serving:?} before {output:?}");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    assert_eq!(kind.said(MAKE), 1);
}

#[tokio::test]
async fn a_mirror_that_fails_does_not_keep_the_cluster_from_being_created() {
    let kind = Kind::that_works();
    kind.world.engine.crash_on_start("ksail-dev-docker-io", Some(1));
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    assert_eq!(cluster_ready(&status).0, ConditionStatus::True);
    assert!(kind.has_node());
}

#[tokio::test]
async fn a_cluster_that_appears_between_plan_and_creation_is_not_touched() {
    let kind = Kind { appears_after: Some("AwaitServing"), ..Kind::new("echo never; exit 1", "echo never") };
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(kind.has_node());
    assert_eq!(kind.said("never"), 0, "the program was not run, neither to create nor to delete");
    let appeared = |event: &Event| matches!(event, Event::Action(report) if matches!(&report.result, ActionResult::Failed(why) if why.to_string().contains("appeared meanwhile")));
    assert!(kind.world.recorder.has(appeared));
}

#[tokio::test]
async fn apply_wires_the_nodes_while_the_program_is_still_at_work() {
    let kind = Kind::new(&format!("echo {MAKE}; until [ -e wired ]; do sleep 0.02; done"), "echo never");
    let let_it_end = async {
        kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
        std::fs::write(kind.programs.path().join("wired"), "").unwrap();
    };
    let (applied, ()) = tokio::join!(kind.apply(), let_it_end);
    assert!(matches!(applied, Applied::Converged(_)), "{applied:?}");
}

#[tokio::test]
async fn a_cluster_that_somebody_creates_while_the_program_starts_is_not_deleted() {
    let refusal = "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \\\"dev\\\"";
    let kind = Kind::new(&format!("echo {MAKE}; echo \"{refusal}\"; exit 1"), "echo never");
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(kind.has_node(), "it is somebody else's, and as good as one of ours");
    assert_eq!(kind.said("never"), 0, "nothing was deleted");
}

#[tokio::test]
async fn apply_tries_a_creation_that_fails_once_and_deletes_what_it_left() {
    let kind = Kind::new(&format!("echo {MAKE}; echo no space left; exit 1"), &format!("echo {REMOVE}"));
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    assert!(message.contains("no space left"), "{message}");
    assert_eq!((kind.said(MAKE), kind.said(REMOVE), kind.has_node()), (1, 1, false));
    assert_eq!(kind.mirrors().len(), MIRRORS.len(), "they serve all the same");
    assert!(!kind.world.recorder.has(|event| matches!(event, Event::Retry { .. })), "nothing is announced");
    let is_stopped = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::ClusterStopped);
    assert!(!kind.world.recorder.has(is_stopped), "half-way it is not told to be stopped");
}

#[tokio::test]
async fn what_a_failed_creation_left_is_tried_again_when_its_deletion_fails() {
    let delete = format!("[ -e twice ] && echo {REMOVE} || {{ echo directory not empty; touch twice; exit 1; }}");
    let kind = Kind::new(&format!("echo {MAKE}; echo no space left; exit 1"), &delete);
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said("directory not empty"), kind.said(REMOVE), kind.has_node()), (1, 1, false));
}

#[tokio::test]
async fn half_a_cluster_that_cannot_be_deleted_does_not_pass_for_a_whole_one() {
    let create = format!("echo {MAKE}; echo no space left; exit 1");
    let kind = Kind::new(&create, "echo directory not empty; exit 1");
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    let words = ["no space left", "what it left could not be deleted", "directory not empty"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    assert_eq!((kind.said("no space left"), kind.said("directory not empty")), (1, 3));
    assert!(kind.has_node());
}

#[tokio::test]
async fn a_watch_goes_on_deleting_what_a_creation_has_left_and_creates_it_then() {
    let create = format!("echo {MAKE}; [ -e healed ] || {{ echo no space left; exit 1; }}");
    let delete = format!("[ -e healed ] && echo {REMOVE} || {{ echo directory not empty; exit 1; }}");
    let kind = Kind::new(&create, &delete);
    let text = manifest_text(&[]).replace("External", "Managed") + "      - {host: \"localhost:5009\"}\n";
    std::fs::write(kind.world.path(), text).unwrap();
    let watch = kind.watch();
    kind.world.until("another try than the creation's own", |_| kind.said("directory not empty") > 3).await;
    let of_cluster = |world: &World, is_so: &dyn Fn(&Condition) -> bool| {
        world.recorder.has(|event| {
            matches!(event, Event::Condition { condition, .. }
                if condition.kind == ConditionType::ClusterReady && is_so(condition))
        })
    };
    let is_true = |condition: &Condition| condition.status == ConditionStatus::True;
    let says_both = |condition: &Condition| {
        condition.message.contains("no space left") && condition.message.contains("directory not empty")
    };
    assert!(of_cluster(&kind.world, &says_both));
    assert!(!of_cluster(&kind.world, &is_true), "half a cluster does not pass for a whole one");
    assert_eq!(kind.said(MAKE), 1);
    std::fs::write(kind.programs.path().join("healed"), "").unwrap();
    kind.world.until("it is there", |world| of_cluster(world, &is_true)).await;
    assert_eq!((kind.said(MAKE), kind.said(REMOVE)), (2, 1));
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_says_so_and_since_when() {
    let kind = Kind::new(&format!("echo {MAKE}"), &format!("until [ -e go ]; do sleep 0.02; done; echo {REMOVE}"));
    kind.apply().await;
    let watch = kind.watch();
    let ready = |world: &World| {
        let events = world.recorder.0.lock().unwrap();
        let last = events.iter().rev().find_map(|event| match event {
            Event::Condition { condition, .. } if condition.kind == ConditionType::ClusterReady => Some(condition),
            _ => None,
        });
        last.cloned().unwrap()
    };
    let watches = |world: &World| world.recorder.has(|event| matches!(event, Event::Watching { .. }));
    kind.world.until("it is there", |world| watches(world) && ready(world).status == ConditionStatus::True).await;
    kind.quiet().await;
    let asked = kind.world.engine.now();
    kind.save("Absent");
    kind.world.until("it is being deleted", |world| ready(world).message == "it is being deleted").await;
    let told = ready(&kind.world);
    assert_eq!((told.status, told.reason), (ConditionStatus::False, Reason::Progressing));
    assert!(told.since > asked, "{} > {asked}", told.since);
    std::fs::write(kind.programs.path().join("go"), "").unwrap();
    kind.world.until("all is gone", |world| world.engine.snapshot().containers.is_empty()).await;
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_cluster_stays_ready_while_it_is_told_of_its_registry() {
    let kind = Kind::that_works();
    let text = manifest_text(&[]).replace("External", "Managed") + "      - {host: \"localhost:5009\"}\n";
    std::fs::write(kind.world.path(), text).unwrap();
    // The cluster says nothing yet, and cannot be told.
    kind.world.engine.on_exec(|_, exec| {
        let is_asked = exec.command.iter().any(|word| word == "get");
        let stderr = if is_asked { String::new() } else { "connection refused".to_owned() };
        Some(Executed { exit_code: i64::from(!is_asked), stdout: String::new(), stderr })
    });
    let watch = kind.watch();
    let refusals = |world: &World| {
        let is_refused =
            |event: &&Event| matches!(event, Event::Action(report) if report.action == "AdvertiseRegistry");
        world.recorder.0.lock().unwrap().iter().filter(is_refused).count()
    };
    kind.world.until("it was told and refused, twice", |world| refusals(world) > 1).await;
    kind.world.stop.cancel();
    watch.await.unwrap();
    let events = kind.world.recorder.0.lock().unwrap();
    let of_cluster = events.iter().filter_map(|event| match event {
        Event::Condition { condition, .. } if condition.kind == ConditionType::ClusterReady => Some(condition.status),
        _ => None,
    });
    let became: Vec<_> = of_cluster.skip_while(|status| *status != ConditionStatus::True).collect();
    assert_eq!(became, [ConditionStatus::True], "once, and for good");
}

#[tokio::test]
async fn an_engine_that_cannot_be_asked_for_a_moment_does_not_keep_what_is_left() {
    let create = format!("echo {MAKE}; echo {REFUSE}; exit 1");
    let kind = Kind::new(&create, &format!("echo {REMOVE}"));
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said(REFUSE), kind.said(REMOVE), kind.has_node()), (1, 1, false));
}

#[tokio::test]
async fn nobody_touches_a_cluster_while_it_is_being_deleted() {
    let create = format!("echo {MAKE}; until [ -e wired ]; do sleep 0.02; done; exit 1");
    let delete = format!("echo begun; until [ -e go ]; do sleep 0.02; done; echo {REMOVE}");
    let kind = Kind::new(&create, &delete);
    let engine = &kind.world.engine;
    let watch = kind.watch();
    kind.world.until("the node is there", |_| kind.has_node()).await;
    std::fs::write(kind.programs.path().join("wired"), "").unwrap();
    kind.world.until("the deletion has begun", |_| kind.said("begun") == 1).await;
    engine.clear_calls();
    engine.outsider().kill("ksail-dev-ghcr-io", 137).unwrap();
    let passes = |world: &World| world.engine.calls().iter().filter(|call| call.name == "list_containers").count();
    kind.world.until("a pass has seen it", |world| passes(world) > 0).await;
    std::fs::write(kind.world.path(), manifest_text(&MIRRORS[..1]).replace("External", "Managed")).unwrap();
    kind.world.until("another has", |world| passes(world) > 1).await;
    let touching = ["get_archive", "put_archive", "stat_path", "exec", "connect_network"];
    let touched = |call: &Call| touching.contains(&call.name);
    assert!(!engine.calls().iter().any(touched), "{:?}", engine.calls());
    assert!(passes(&kind.world) < 10, "it waits, and does not look again and again");

    std::fs::write(kind.programs.path().join("go"), "").unwrap();
    kind.world.until("the rest follows", |_| !kind.has_node() && kind.mirrors().len() == 1).await;
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn when_a_node_is_told_to_end_the_others_are_left_alone_for_a_moment() {
    let kind = Kind::that_works();
    let engine = &kind.world.engine;
    let id = engine.outsider().create_container(&node("dev-worker", "worker")).await.unwrap();
    engine.outsider().start_container(&id).await.unwrap();
    let watch = kind.watch();
    kind.world.until("the worker is wired", |_| kind.wired("dev-worker")).await;
    let other = engine.outsider().create_container(&node(NODE, "control-plane")).await.unwrap();
    engine.outsider().start_container(&other).await.unwrap();
    kind.world.until("the other is wired", |_| kind.wired(NODE)).await;

    let touching = ["get_archive", "put_archive", "stat_path", "exec"];
    let touched = |world: &World| {
        let calls = world.engine.calls();
        calls.iter().any(|call| touching.contains(&call.name) && call.object == id)
    };
    // The patrol looks once a second: right after it has, with no pass under way, nobody would look for a while.
    kind.quiet().await;
    engine.clear_calls();
    kind.world.until("the patrol has looked", touched).await;
    kind.quiet().await;
    engine.clear_calls();
    let removed = Instant::now();
    engine.outsider().remove_container(&other).await.unwrap();
    kind.world.until("it is looked at again", touched).await;
    assert!(removed.elapsed() > Duration::from_millis(900), "{:?}: {:?}", removed.elapsed(), engine.calls());
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn what_a_failed_creation_did_not_make_is_not_deleted() {
    let kind = Kind::new("echo no such image; exit 1", "echo never");
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said("no such image"), kind.said("never")), (1, 0));
}

#[tokio::test]
async fn a_watch_tries_again_later_and_later_until_the_creation_succeeds() {
    let create = format!("[ -e healed ] && echo {MAKE} || {{ echo no space left; exit 1; }}");
    let kind = Kind::new(&create, "echo never");
    let watch = kind.watch();
    kind.world.until("the third try", |_| kind.said("no space left") == 3).await;
    let before = kind.mirrors();
    let waits: Vec<Duration> = {
        let events = kind.world.recorder.0.lock().unwrap();
        let of_cluster = events.iter().filter_map(|event| match event {
            Event::Retry { subject: Subject::Cluster(_), after } => Some(*after),
            _ => None,
        });
        of_cluster.collect()
    };
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    std::fs::write(kind.programs.path().join("healed"), "").unwrap();
    let is_ready = |event: &Event| {
        matches!(event, Event::Condition { condition, .. }
            if condition.kind == ConditionType::ClusterReady && condition.status == ConditionStatus::True)
    };
    kind.world.until("the cluster is there", |world| world.recorder.has(is_ready)).await;
    assert_eq!(kind.mirrors(), before, "nothing happened to the mirrors meanwhile");
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_creation_is_stopped_and_taken_back_when_ksail_is_or_when_the_file_says_absent() {
    for absent in [false, true] {
        let kind = Kind::new(&format!("echo {MAKE}; sleep 300"), &format!("echo {REMOVE}"));
        let watch = kind.watch();
        kind.world.until("the node is there", |_| kind.has_node()).await;
        if absent {
            kind.save("Absent");
            kind.world.until("the mirrors are gone", |_| kind.mirrors().is_empty()).await;
        }
        kind.world.stop.cancel();
        watch.await.unwrap();
        assert_eq!((kind.said(MAKE), kind.said(REMOVE), kind.has_node()), (1, 1, false));
        assert_eq!(kind.mirrors().len(), if absent { 0 } else { MIRRORS.len() });
    }
}

#[tokio::test]
async fn registries_leave_the_network_before_the_cluster_is_deleted_and_go_after_it() {
    let kind = Kind::that_works();
    kind.apply().await;
    kind.save("Absent");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    let deletion = kind.places(|event| matches!(event, Event::Output { line, .. } if line == REMOVE));
    let left = kind.places(|event| is_action(event, "DisconnectNetwork"));
    let gone = kind.places(|event| is_action(event, "RemoveContainer"));
    assert_eq!((left.len(), deletion.len(), gone.len()), (MIRRORS.len(), 1, MIRRORS.len()));
    assert!(left.iter().all(|place| *place < deletion[0]), "{left:?} before {deletion:?}");
    assert!(gone.iter().all(|place| *place > deletion[0]), "{gone:?} after {deletion:?}");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    assert_eq!(kind.said(REMOVE), 1);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_deleted_keeps_its_registries_until_it_can() {
    let delete = format!("[ -e healed ] && echo {REMOVE} || {{ echo in use; exit 1; }}");
    let kind = Kind::new(&format!("echo {MAKE}"), &delete);
    kind.apply().await;
    let before = kind.mirrors();
    kind.save("Absent");
    let watch = kind.watch();
    kind.world.until("the second try", |_| kind.said("in use") == 2).await;
    kind.world.until("they are back on the network", |_| kind.mirrors() == before).await;
    std::fs::write(kind.programs.path().join("healed"), "").unwrap();
    kind.world.until("all is gone", |world| world.engine.snapshot().containers.is_empty()).await;
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_program_that_makes_nothing_is_run_once_by_apply_and_later_and_later_by_a_watch() {
    let kind = Kind::new("echo tried", "echo never");
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    assert!((1..=3).contains(&kind.said("tried")), "{}", kind.said("tried"));
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    assert!(message.contains("memory://"), "which engine was asked is told: {message}");
    let before = kind.said("tried");
    let watch = kind.watch();
    sleep(Duration::from_secs(5)).await;
    let tried = kind.said("tried") - before;
    assert!((2..=4).contains(&tried), "{tried} times in five seconds");
    assert_eq!(kind.mirrors().len(), MIRRORS.len(), "they serve all the same");
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_removal_that_failed_and_waits_for_a_cluster_in_backoff_is_not_looked_at_without_a_pause() {
    let passes = Passes::default();
    let _counting = tracing::subscriber::set_default(passes.clone());
    let kind = Kind::new(&format!("echo {MAKE}"), "echo in use; exit 1");
    kind.apply().await;
    let refusal = EngineError::Refused { status: 500, message: "busy".to_owned() };
    kind.world.engine.fail(|call| call.name == "disconnect_network", 1, refusal);
    kind.save("Absent");
    let watch = kind.watch();
    kind.world.until("the third try", |_| kind.said("in use") >= 3).await;
    kind.quiet().await;
    let before = passes.so_far();
    kind.world.engine.clear_calls();
    sleep(Duration::from_millis(1500)).await;
    let (passes, calls) = (passes.so_far() - before, kind.world.engine.calls().len());
    assert!(passes < 15 && calls < 60, "{passes} passes and {calls} calls");
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_the_file_hands_over_is_created_at_once() {
    let kind = Kind::that_works();
    std::fs::write(kind.world.path(), manifest_text(&MIRRORS)).unwrap();
    let watch = kind.watch();
    kind.world.until("the mirrors run", |_| kind.mirrors().len() == MIRRORS.len()).await;
    kind.quiet().await;
    kind.save("Present");
    let saved = Instant::now();
    kind.world.until("the node is there", |_| kind.has_node()).await;
    assert!(saved.elapsed() < Duration::from_secs(5), "{:?}", saved.elapsed());
    let is_missing = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::ProvisionerNotFound);
    assert!(!kind.world.recorder.has(is_missing));
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_cluster_is_not_deleted_before_its_registries_have_been_looked_at() {
    let kind = Kind::that_works();
    kind.apply().await;
    kind.world.engine.delay(|call| call.name == "inspect_container", usize::MAX, Duration::from_millis(300));
    kind.save("Absent");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    let deletion = kind.places(|event| matches!(event, Event::Output { line, .. } if line == REMOVE));
    let left = kind.places(|event| is_action(event, "DisconnectNetwork"));
    assert_eq!((left.len(), deletion.len()), (MIRRORS.len(), 1));
    assert!(left.iter().all(|place| *place < deletion[0]), "{left:?} before {deletion:?}");
}
