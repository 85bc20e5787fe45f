//! `kind` as it is played on the engine in memory, in virtual time: what it makes and removes, says, and fails at.

use futures_util::FutureExt;
use tokio::sync::watch;

use super::uncooperative::{asking_in_words, refusal};
use super::*;
use crate::archive;
use crate::engine::Image;
use crate::labels::{KIND_CLUSTER, KIND_ROLE};
use crate::provisioner::{Played, ProvisionError};

pub(super) const NODE: &str = "dev-control-plane";
pub(super) const MIRRORS: [(&str, u16); 2] = [("docker.io", 5001), ("ghcr.io", 5002)];
/// What a play says of the node.
pub(super) const MADE: &str = "the node is made";
pub(super) const REMOVED: &str = "the node is removed";
/// What takes a program a while.
pub(super) const A_WHILE: Duration = Duration::from_millis(300);

/// What a program does, one thing after the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Says(&'static str),
    MakesNode,
    RemovesNode,
    /// Has the engine refuse twice to list containers.
    HasListsRefused,
    /// Goes on when the test says so.
    WaitsFor(&'static str),
    Fails(&'static str),
    /// Fails unless the test has said so.
    FailsWithout(&'static str, &'static str),
    /// Fails the first time.
    FailsOnce(&'static str),
    NeverEnds,
}

use Act::{Fails, FailsOnce, FailsWithout, HasListsRefused, MakesNode, NeverEnds, RemovesNode, Says, WaitsFor};

/// `kind`, played on the engine in memory.
pub(super) struct Kind {
    pub(super) world: World,
    pub(super) stage: Arc<Stage>,
    /// Of which the node is made as soon as it has been reported, besides what the program does.
    pub(super) appears_after: Option<&'static str>,
    pub(super) asked: watch::Sender<Intent>,
}

/// What the program and the test have in common.
pub(super) struct Stage {
    engine: Memory,
    recorder: Arc<Recorder>,
    /// What the program makes.
    node: ContainerSpec,
    /// What the test has said.
    said: Mutex<Vec<&'static str>>,
}

impl Kind {
    pub(super) fn new(create: &[Act], delete: &[Act]) -> Self {
        Self::that_makes(node(NODE, "control-plane"), create, delete)
    }

    pub(super) fn that_makes(node: ContainerSpec, create: &[Act], delete: &[Act]) -> Self {
        let world = World::new();
        let said = Mutex::default();
        let stage = Arc::new(Stage { engine: world.engine.clone(), recorder: world.recorder.clone(), node, said });
        let (create, delete, on) = (create.to_vec(), delete.to_vec(), Arc::clone(&stage));
        let play = move |arguments: Vec<String>| {
            let creates = arguments.iter().any(|word| word == "create");
            let acts = if creates { create.clone() } else { delete.clone() };
            let stage = Arc::clone(&on);
            async move { stage.plays(&acts).await }.boxed()
        };
        let provisioner = Provisioner { played: Some(Played::new(play)), ..Provisioner::default() };
        let world = World { provisioner, ..world };
        world.engine.create_network("kind");
        world.engine.add_image("node:1", Image::default());
        let (asked, _) = watch::channel(Intent::careful(managed(&MIRRORS, "Present")));
        Self { world, stage, appears_after: None, asked }
    }

    /// One that does what it should.
    pub(super) fn that_works() -> Self {
        Self::new(&[MakesNode], &[RemovesNode])
    }

    pub(super) fn asks(&self, desired: Desired) {
        self.asked.send_replace(Intent::careful(desired));
    }

    pub(super) fn asks_for(&self, state: &str) {
        self.asks(managed(&MIRRORS, state));
    }

    pub(super) fn controller(&self) -> Controller<Memory, Answering> {
        let reporter = Arc::new(Reacting { stage: Arc::clone(&self.stage), appears_after: self.appears_after });
        Controller { reporter, reread: None, ..self.world.controller() }
    }

    pub(super) async fn apply(&self) -> Applied {
        let desired = Desired::clone(&self.asked.borrow().desired);
        self.controller().apply(desired, LONG_ENOUGH, &self.world.stop).await
    }

    pub(super) fn watch(&self) -> JoinHandle<()> {
        let (controller, intents, stop) = (self.controller(), self.asked.subscribe(), self.world.stop.clone());
        tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) })
    }

    pub(super) async fn ends(self, watch: JoinHandle<()>) {
        self.world.stop.cancel();
        watch.await.unwrap();
    }

    /// The test says something to the program.
    pub(super) fn says(&self, words: &'static str) {
        self.stage.said.lock().unwrap().push(words);
    }

    /// How often the program has said this.
    pub(super) fn said(&self, words: &str) -> usize {
        let is_so = |event: &&Event| matches!(event, Event::Output { line, .. } if line == words);
        self.world.recorder.0.lock().unwrap().iter().filter(is_so).count()
    }

    /// Places of reports that are so, among all reports.
    pub(super) fn places(&self, is_so: impl Fn(&Event) -> bool) -> Vec<usize> {
        let events = self.world.recorder.0.lock().unwrap();
        (0..events.len()).filter(|place| is_so(&events[*place])).collect()
    }

    pub(super) fn has_node(&self) -> bool {
        self.world.container(NODE).is_some()
    }

    pub(super) fn wired(&self, name: &str) -> bool {
        let containers = self.world.engine.snapshot().containers.into_values();
        let mut nodes = containers.filter(|snapshot| snapshot.container.name == name);
        nodes.any(|node| node.files.keys().any(|path| path.ends_with("/hosts.toml")))
    }

    /// Names and ids of the mirrors that run, those on the cluster's network.
    pub(super) fn mirrors(&self) -> BTreeMap<String, String> {
        let containers = self.world.engine.snapshot().containers.into_values().map(|snapshot| snapshot.container);
        let serving = |container: &Container| {
            container.name != NODE
                && container.state == ContainerState::Running
                && container.endpoints.contains_key("kind")
        };
        containers.filter(serving).map(|container| (container.name, container.id)).collect()
    }

    pub(super) fn is_told_to_be_left_behind(&self) -> bool {
        self.world.recorder.has(|event| matches!(event, Event::LeftBehind { .. }))
    }

    /// What is known by now is all there is.
    pub(super) async fn settles(&self) {
        sleep(Duration::from_millis(800)).await;
    }
}

impl Stage {
    pub(super) async fn plays(&self, acts: &[Act]) -> Result<(), ProvisionError> {
        for act in acts {
            sleep(A_WHILE).await;
            match *act {
                Says(words) => self.says(words),
                MakesNode => {
                    self.make_node();
                    self.says(MADE);
                }
                RemovesNode => {
                    at_once(async { self.engine.outsider().remove_container(NODE).await.expect("there is a node") });
                    self.says(REMOVED);
                }
                HasListsRefused => self.engine.fail(|call| call.name == "list_containers", 2, refusal("busy")),
                WaitsFor(words) => {
                    while !self.has_heard(words) {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
                Fails(words) => return Err(self.fails(words)),
                FailsWithout(needed, words) if !self.has_heard(needed) => return Err(self.fails(words)),
                FailsOnce(words) if !self.has_heard(words) => {
                    self.said.lock().unwrap().push(words);
                    return Err(self.fails(words));
                }
                FailsWithout(..) | FailsOnce(_) => {}
                NeverEnds => std::future::pending().await,
            }
        }
        Ok(())
    }

    pub(super) fn has_heard(&self, words: &str) -> bool {
        self.said.lock().unwrap().contains(&words)
    }

    pub(super) fn says(&self, line: &str) {
        let subject = Subject::Cluster("dev".to_owned());
        self.recorder.report(&Event::Output { subject, line: line.to_owned() });
    }

    pub(super) fn fails(&self, words: &str) -> ProvisionError {
        self.says(words);
        let last_words = vec![words.to_owned()];
        ProvisionError::Failed { command: "kind".to_owned(), how: "exited with 1".to_owned(), last_words }
    }

    pub(super) fn make_node(&self) {
        let outsider = self.engine.outsider();
        at_once(async {
            // One that is there already stays as it is.
            if let Ok(id) = outsider.create_container(&self.node).await {
                sets_up(&outsider, &id).await;
                outsider.start_container(&id).await.expect("it starts");
            }
        });
    }
}

/// Has the node made while something else is at work.
struct Reacting {
    stage: Arc<Stage>,
    appears_after: Option<&'static str>,
}

impl Reporter for Reacting {
    fn report(&self, event: &Event) {
        if matches!(event, Event::Action(report) if self.appears_after == Some(report.action)) {
            self.stage.make_node();
        }
        self.stage.recorder.report(event);
    }
}

/// What a file says that has ksail create and delete the cluster.
pub(super) fn managed(mirrors: &[(&str, u16)], state: &str) -> Desired {
    let text = manifest_text(mirrors).replace("lifecycle: External", "lifecycle: Managed");
    asking_in_words(text.replace("spec:\n", &format!("spec:\n  state: {state}\n")))
}

/// One with a registry to push to and nothing else.
pub(super) fn managed_for_pushes() -> Desired {
    let text = manifest_text(&[]).replace("External", "Managed");
    asking_in_words(text + "      - {host: \"localhost:5009\"}\n")
}

/// What kubeadm writes where it has made a control plane.
pub(super) async fn sets_up(outsider: &Memory, node: &str) {
    let files = [("etc/kubernetes/admin.conf", 0o600, &b"x"[..])];
    let archive = archive::pack(files.into_iter(), 0).expect("it is packed");
    outsider.put_archive(node, "/", archive).await.expect("the node is there");
}

pub(super) fn node(name: &str, role: &str) -> ContainerSpec {
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
        extra_hosts: Vec::new(),
    }
}

/// Does calls of the engine in memory, which yield and wait for nobody.
fn at_once(calls: impl Future<Output = ()>) {
    let mut calls = Box::pin(calls);
    while calls.as_mut().now_or_never().is_none() {}
}

pub(super) fn is_action(event: &Event, name: &str) -> bool {
    matches!(event, Event::Action(report) if report.action == name && report.result == ActionResult::Done)
}

pub(super) fn cluster_ready(status: &Status) -> (ConditionStatus, Reason, String) {
    let condition = status.conditions.iter().find(|condition| condition.kind == ConditionType::ClusterReady).unwrap();
    (condition.status, condition.reason, condition.message.clone())
}
