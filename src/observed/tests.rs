//! What the store makes of lists, events and answers: what is to be read, who is held, and what is known.

mod version;
mod young;

use std::path::Path;
use std::slice;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::contents::{Answer, Inspected};
use super::object::Object;
use super::*;
use crate::archive;
use crate::desired::{ResolveContext, Route, resolve};
use crate::engine::memory::Memory;
use crate::engine::{
    ContainerSpec, ContainerState, Engine, EngineError, EngineInfo, Event, EventKind, Executed, PublishedPort, Volume,
};
use crate::labels::{KIND_CLUSTER, KIND_ROLE};
use crate::manifest::load_contents;
use crate::probe::{Ask, Probe, Prober, Question, UpstreamAnswer};
use crate::provisioner::Provisioner;
use crate::subject::Subject;

const DOCKER: &str = "ksail-dev-docker-io";
const GHCR: &str = "ksail-dev-ghcr-io";
const NODE: &str = "dev-control-plane";
const HOSTS: &str = "/etc/containerd/certs.d";

/// Registries answer, and ports are taken when they are in the list.
#[derive(Clone, Default)]
struct Answering(Arc<Mutex<Vec<u16>>>);

impl Probe for Answering {
    async fn ask(&self, _: &Container, _: Question) -> Serving {
        Serving::Answers
    }

    async fn port_is_taken(&self, _: IpAddr, port: u16) -> bool {
        self.0.lock().unwrap().contains(&port)
    }

    async fn upstream(&self, _: &Route, _: Ask) -> UpstreamAnswer {
        UpstreamAnswer::Answers
    }
}

/// An engine with the mirrors, and a store that a test reads for.
struct Scene {
    engine: Memory,
    desired: Desired,
    probe: Answering,
    observer: Observer<Memory, Answering>,
    store: Store,
}

impl Scene {
    /// Both mirrors run, and nothing has been read.
    async fn new() -> Self {
        let desired = asking("External", &["docker.io", "ghcr.io"]);
        let engine = Memory::new();
        engine.add_image("registry:3", Image { id: "sha256:registry".to_owned(), ..Image::default() });
        engine.add_image("other:1", Image { id: "sha256:other".to_owned(), ..Image::default() });
        engine.create_network("kind");
        // The cluster says nothing of its registry.
        engine.on_exec(|_, exec| {
            let is_asked = exec.command.iter().any(|word| word == "kubectl");
            is_asked.then(|| Executed { exit_code: 0, stdout: String::new(), stderr: String::new() })
        });
        let probe = Answering::default();
        let observer = Observer::new(engine.clone(), Prober::new(probe.clone()), Provisioner::default());
        let scene = Self { engine, desired, probe, store: observer.store().clone(), observer };
        for mirror in scene.desired.mirrors.values() {
            scene.outsider().create_volume(&mirror.name, &mirror.container.labels).await.unwrap();
            scene.starts(&mirror.container).await;
        }
        scene
    }

    /// Everything that is to be read was.
    async fn settled() -> Self {
        let scene = Self::new().await;
        scene.connects();
        scene.settles().await;
        scene
    }

    fn connects(&self) {
        self.store.set_desired(&self.desired);
        self.store.connected(info(), false);
    }

    fn outsider(&self) -> Memory {
        self.engine.outsider()
    }

    async fn starts(&self, spec: &ContainerSpec) -> String {
        let id = self.outsider().create_container(spec).await.unwrap();
        self.outsider().start_container(&id).await.unwrap();
        id
    }

    fn id(&self, name: &str) -> String {
        let containers = self.engine.snapshot().containers.into_values().map(|snapshot| snapshot.container);
        containers.into_iter().find(|container| container.name == name).unwrap().id
    }

    /// What the engine says of an object now.
    async fn answer(&self, object: &Object) -> Answer {
        let engine = self.outsider();
        match object {
            Object::Containers => Answer::Containers(engine.list_containers(&[]).await.unwrap()),
            Object::Mirror(host) => {
                Answer::Containers(engine.list_containers(&[(HOST_LABEL, Some(host))]).await.unwrap())
            }
            Object::Networks => Answer::Networks(engine.list_networks().await.unwrap(), engine.now()),
            Object::Volumes => Answer::Volumes(engine.list_volumes(&[]).await.unwrap()),
            Object::Image => Answer::Image(found(engine.inspect_image(&self.desired.image).await).unwrap(), None),
            Object::Labels(image) => Answer::Labels(found(engine.inspect_image(image).await).unwrap()),
            Object::Container(id) => {
                let container = found(engine.inspect_container(id).await).unwrap();
                let inspected = container.map(|container| Inspected::new(container, None, engine.now()));
                Answer::Container(inspected.map(Box::new))
            }
            Object::Volume(name) => Answer::Volume(found(engine.inspect_volume(name).await).unwrap()),
            Object::Port(_, port) => Answer::Port(self.probe.0.lock().unwrap().contains(port)),
            Object::Node(id) => {
                let container = engine.inspect_container(id).await.unwrap();
                let reading = nodes::read(&engine, &self.desired, &container, None, false).await.unwrap();
                Answer::Node(Box::new(reading))
            }
            Object::ControlPlane => {
                let nodes: Vec<(String, String)> = {
                    let contents = self.store.contents();
                    contents.api_nodes().into_iter().map(|node| (node.id.clone(), node.name.clone())).collect()
                };
                let runs = self.store.contents().api_runs();
                let found = control_plane::read(&engine, self.desired.distribution, &nodes).await.unwrap();
                Answer::ControlPlane(runs, found)
            }
            Object::Hosting => {
                let (id, started) = {
                    let contents = self.store.contents();
                    let (id, started) = contents.api_node().unwrap();
                    (id.to_owned(), started)
                };
                let advertised = advertised(&engine, self.desired.distribution, &id).await.unwrap();
                Answer::Hosting((id.clone(), started), Hosting { node_id: id, node: NODE.to_owned(), advertised })
            }
            Object::StartsAgain(_) | Object::Glance(_) => Answer::Gone,
        }
    }

    /// Reads one object from beginning to end.
    async fn reads(&self, object: &Object) {
        let answer = self.answer(object).await;
        self.store.learn(object, Ok(answer));
    }

    /// Begins to read what may be read now.
    fn takes(&self) -> Vec<Object> {
        std::iter::from_fn(|| self.store.next().ok()).collect()
    }

    /// Reads until nothing is to be read any more.
    async fn settles(&self) {
        loop {
            let taken = self.takes();
            if taken.is_empty() {
                return;
            }
            for object in taken {
                self.reads(&object).await;
            }
        }
    }

    /// What is to be read, or being read.
    fn is_marked(&self, object: &Object) -> bool {
        self.store.contents().marks.contains(object)
    }

    fn held(&self) -> Vec<Subject> {
        let held: BTreeSet<Subject> = self.store.contents().marks.held().cloned().collect();
        held.into_iter().collect()
    }

    fn observed(&self) -> Option<Observed> {
        self.store.look(self.observer.prober()).map(|seen| seen.observed)
    }

    fn state_of(&self, name: &str) -> Option<ContainerState> {
        let observed = self.observed()?;
        let found = observed.containers.iter().find(|found| found.container.name == name)?;
        Some(found.container.state)
    }

    fn version(&self) -> u64 {
        *self.store.changes().borrow()
    }

    /// Reads beside the test, as the loop has it.
    fn is_read(&self, patrols: bool) -> JoinHandle<()> {
        let observer = self.observer.clone();
        let observer = if patrols { observer.that_patrols() } else { observer };
        tokio::spawn(observer.run())
    }

    fn calls(&self, name: &str) -> usize {
        self.engine.calls().iter().filter(|call| call.name == name).count()
    }
}

const HOST_LABEL: &str = crate::labels::HOST;

fn asking(lifecycle: &str, hosts: &[&str]) -> Desired {
    let entry = |(host, port): (&&str, u16)| {
        format!("      - {{host: {host}, upstream: \"https://r.{host}\", port: {port}}}\n")
    };
    let mirrors: String = hosts.iter().zip(5001..).map(entry).collect();
    let text = format!(
        "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: dev}}\nspec:\n  lifecycle: {lifecycle}\n  registries:\n    mirrors:\n{mirrors}"
    );
    let manifest = load_contents(Path::new("ksail.yaml"), Ok(text.into_bytes()), &|_| None).unwrap();
    resolve(&manifest, &ResolveContext::default())
}

fn info() -> EngineInfo {
    EngineInfo {
        name: "Memory Engine".to_owned(),
        version: "20.10.24".to_owned(),
        api_version: "1.41".to_owned(),
        address: "memory://".to_owned(),
    }
}

pub(super) fn container(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: "other:1".to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "no".to_owned(),
        log_options: BTreeMap::new(),
        extra_hosts: Vec::new(),
    }
}

fn on_port(name: &str, port: u16) -> ContainerSpec {
    let ports = vec![PublishedPort { container_port: 80, host_address: [127, 0, 0, 1].into(), host_port: port }];
    ContainerSpec { ports, ..container(name) }
}

fn node(name: &str, role: &str) -> ContainerSpec {
    let labels = [(KIND_CLUSTER, "dev"), (KIND_ROLE, role)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    ContainerSpec { labels, ..container(name) }
}

fn refusal() -> EngineError {
    EngineError::Refused { status: 500, message: "layer does not exist".to_owned() }
}

fn event(kind: EventKind, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Event { kind, action: action.to_owned(), id: id.to_owned(), attributes }
}

/// What the engine would tell of a container.
fn of_container(action: &str, id: &str, spec: &ContainerSpec) -> Event {
    let mut event = event(EventKind::Container, action, id, &[("name", &spec.name)]);
    event.attributes.extend(spec.labels.clone());
    event
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_lists_are_there_and_the_inspects_are_not_waited_for() {
    let scene = Scene::new().await;
    scene.connects();
    let lists = scene.takes();
    assert_eq!(lists, Object::LISTS, "lists come first");
    for list in &lists {
        assert!(scene.observed().is_none(), "{list:?} is missing");
        scene.reads(list).await;
    }
    assert_eq!(scene.observed().unwrap().volumes.len(), 2);
    assert!(scene.is_marked(&Object::Container(scene.id(DOCKER))));
    assert_eq!(scene.held(), [Subject::mirror("docker.io"), Subject::mirror("ghcr.io")]);
    assert!(!scene.store.has_settled());
    scene.settles().await;
    assert!(scene.store.has_settled());
    assert_eq!(scene.observed().unwrap().containers.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_list_names_is_read_when_it_is_ours_or_a_node() {
    let scene = Scene::new().await;
    let node = scene.starts(&node(NODE, "control-plane")).await;
    let balancer = scene.starts(&self::node("dev-lb", "external-load-balancer")).await;
    let web = scene.starts(&on_port("web", 8080)).await;
    scene.connects();
    for list in scene.takes() {
        scene.reads(&list).await;
    }
    let is_read = |id: &str| scene.is_marked(&Object::Container(id.to_owned()));
    assert!(is_read(&scene.id(DOCKER)) && is_read(&scene.id(GHCR)) && is_read(&node));
    assert!(!is_read(&balancer) && !is_read(&web), "of these the list says enough");
    let observed = scene.observed().unwrap();
    assert_eq!(observed.holder_of([127, 0, 0, 1].into(), 8080), Some("web"));
    assert_eq!(observed.unread_nodes, [NODE]);
}

#[tokio::test(start_paused = true)]
async fn what_is_as_the_last_list_had_it_is_not_read_again() {
    let scene = Scene::settled().await;
    scene.store.resync(false);
    let lists = scene.takes();
    for list in &lists {
        scene.reads(list).await;
    }
    assert!(scene.takes().iter().all(|object| matches!(object, Object::Port(..))));
    scene.store.resync(true);
    assert!(scene.is_marked(&Object::Container(scene.id(DOCKER))), "now and then it is");
    scene.settles().await;
    scene.outsider().stop_container(DOCKER, 0).await.unwrap();
    scene.store.resync(false);
    for list in scene.takes() {
        scene.reads(&list).await;
    }
    assert_eq!(scene.held(), [Subject::mirror("docker.io")], "one that differs is, and is held");
}

#[tokio::test(start_paused = true)]
async fn an_event_marks_what_it_is_about_if_that_matters_here() {
    let scene = Scene::new().await;
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let control = node(NODE, "control-plane");
    let control_id = scene.starts(&control).await;
    let balancer = node("dev-lb", "external-load-balancer");
    let other_cluster = ContainerSpec {
        labels: [(KIND_CLUSTER.to_owned(), "test".to_owned())].into(),
        ..node("test-control-plane", "control-plane")
    };
    scene.outsider().stop_container(GHCR, 0).await.unwrap();
    let web = on_port("web", 5002);
    let web_id = scene.starts(&web).await;
    let (docker_id, docker, ghcr) = (scene.id(DOCKER), Subject::mirror("docker.io"), Subject::mirror("ghcr.io"));
    scene.connects();
    scene.settles().await;

    let of_node = Subject::Node(NODE.to_owned());
    let read = |id: &str| Some(Object::Container(id.to_owned()));
    let network = |action: &str, name: &str, container: Option<&str>| {
        let container = container.map(|container| ("container", container));
        let attributes: Vec<_> = [("name", name)].into_iter().chain(container).collect();
        event(EventKind::Network, action, "n1", &attributes)
    };
    let volume = |name: &str| event(EventKind::Volume, "destroy", name, &[]);
    let rows = [
        ("a mirror's container", of_container("die", &docker_id, &mirror), read(&docker_id), Some(&docker)),
        ("one of a mirror's that nobody knows", of_container("create", "new", &mirror), read("new"), Some(&docker)),
        ("a node", of_container("start", &control_id, &control), read(&control_id), Some(&of_node)),
        (
            "a program in a node",
            of_container("exec_die", &control_id, &control),
            Some(Object::Node(control_id.clone())),
            Some(&of_node),
        ),
        (
            "files put into a node",
            of_container("extract-to-dir", &control_id, &control),
            Some(Object::Node(control_id.clone())),
            Some(&of_node),
        ),
        ("the cluster's load balancer", of_container("create", "lb", &balancer), read("lb"), None),
        ("a program in it", of_container("exec_die", "lb", &balancer), None, None),
        ("another cluster's node", of_container("create", "t1", &other_cluster), None, None),
        ("a stranger of a mirror's name", of_container("create", "s1", &container(GHCR)), read("s1"), None),
        (
            "one of the name that a mirror has for a moment",
            of_container("create", "s2", &container("ksail-dev-ghcr-io.next")),
            read("s2"),
            None,
        ),
        ("a stranger on a mirror's port", of_container("die", &web_id, &web), read(&web_id), None),
        ("a program in it", of_container("exec_die", &web_id, &web), None, None),
        ("any other stranger", of_container("create", "s3", &container("db")), None, None),
        ("the cluster's network", network("create", "kind", None), Some(Object::Networks), None),
        ("another network", network("create", "lan", None), None, None),
        (
            "a mirror on another network",
            network("disconnect", "lan", Some(&docker_id)),
            read(&docker_id),
            Some(&docker),
        ),
        ("a stranger on the cluster's network", network("connect", "kind", Some(&web_id)), None, None),
        ("a mirror's volume", volume(GHCR), Some(Object::Volume(GHCR.to_owned())), Some(&ghcr)),
        ("any other volume", volume("data"), None, None),
    ];
    for (row, event, marked, held) in rows {
        scene.settles().await;
        sleep(Duration::from_millis(60)).await;
        let before = scene.version();
        scene.store.on_event(&event);
        assert_eq!(scene.version() != before, marked.is_some(), "{row}: whether anybody is woken");
        let expected: Vec<Object> = marked.into_iter().collect();
        assert_eq!(scene.held(), held.cloned().into_iter().collect::<Vec<_>>(), "{row}");
        assert_eq!(scene.takes(), expected, "{row}");
        for object in expected {
            scene.reads(&object).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_about_strangers_marks_nothing_and_one_about_ours_costs_a_list() {
    let scene = Scene::settled().await;
    let before = scene.version();
    for number in 0..100_000 {
        scene.store.on_event(&of_container("exec_die", &format!("s{number}"), &container("db")));
    }
    assert_eq!((scene.version(), scene.takes().len()), (before, 0));
    let mirror = scene.desired.mirrors.values().next().unwrap().container.clone();
    for number in 0..100_000 {
        scene.store.on_event(&of_container("create", &format!("m{number}"), &mirror));
    }
    let taken = scene.takes();
    assert!(taken.len() <= 1_001, "{}", taken.len());
    assert_eq!(taken[0], Object::Containers);
}

#[tokio::test(start_paused = true)]
async fn one_object_is_read_by_one_at_a_time_and_again_when_something_happens_meanwhile() {
    let scene = Scene::settled().await;
    let object = Object::Container(scene.id(DOCKER));
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let dies = of_container("die", &scene.id(DOCKER), &mirror);
    sleep(Duration::from_secs(1)).await;
    scene.store.on_event(&dies);
    assert_eq!(scene.takes(), slice::from_ref(&object));
    scene.store.on_event(&dies);
    sleep(Duration::from_secs(1)).await;
    assert!(scene.takes().is_empty(), "it is being read");
    assert_eq!(scene.held(), [Subject::mirror("docker.io")]);
    scene.reads(&object).await;
    assert_eq!(scene.held(), [Subject::mirror("docker.io")], "what was read may be outdated");
    assert_eq!(scene.takes(), slice::from_ref(&object));
    scene.reads(&object).await;
    assert!(scene.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_object_of_which_the_engine_talks_without_end_is_read_twenty_times_a_second() {
    let scene = Scene::settled().await;
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let pauses = of_container("pause", &scene.id(DOCKER), &mirror);
    let reading = scene.is_read(false);
    for _ in 0..1_000 {
        scene.store.on_event(&pauses);
        sleep(Duration::from_millis(1)).await;
    }
    let reads = scene.calls("inspect_container");
    assert!((15..=21).contains(&reads), "{reads} in a second");
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn a_list_does_not_bring_back_what_was_found_gone_after_it_was_asked_for() {
    let scene = Scene::settled().await;
    let object = Object::Container(scene.id(DOCKER));
    sleep(Duration::from_secs(1)).await;
    scene.store.resync(false);
    assert!(scene.takes().contains(&Object::Containers));
    let older = scene.answer(&Object::Containers).await;
    sleep(Duration::from_millis(10)).await;
    scene.outsider().remove_container(DOCKER).await.unwrap();
    scene.reads(&object).await;
    assert_eq!(scene.state_of(DOCKER), None);
    scene.store.learn(&Object::Containers, Ok(older));
    assert_eq!(scene.state_of(DOCKER), None);
    assert!(!scene.is_marked(&object));
}

#[tokio::test(start_paused = true)]
async fn a_newer_inspect_beats_an_older_list_and_a_newer_list_has_it_read_again() {
    let scene = Scene::settled().await;
    let object = Object::Container(scene.id(DOCKER));
    sleep(Duration::from_secs(1)).await;
    scene.store.resync(false);
    scene.takes();
    let older = scene.answer(&Object::Containers).await;
    sleep(Duration::from_millis(10)).await;
    scene.outsider().stop_container(DOCKER, 0).await.unwrap();
    scene.reads(&object).await;
    scene.store.learn(&Object::Containers, Ok(older));
    assert_eq!(scene.state_of(DOCKER), Some(ContainerState::Exited));
    assert!(scene.observed().unwrap().strangers.is_empty());

    sleep(Duration::from_millis(10)).await;
    scene.store.resync(false);
    scene.takes();
    scene.outsider().start_container(DOCKER).await.unwrap();
    scene.reads(&Object::Containers).await;
    assert_eq!(scene.held(), [Subject::mirror("docker.io")], "nothing is done about what it was");
    scene.reads(&object).await;
    assert_eq!(scene.state_of(DOCKER), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_made_after_a_list_was_asked_for_is_not_gone_because_it_is_not_in_it() {
    let scene = Scene::settled().await;
    scene.store.resync(false);
    scene.takes();
    let older = scene.answer(&Object::Containers).await;
    sleep(Duration::from_millis(10)).await;
    let spec = ContainerSpec {
        name: format!("{DOCKER}.next"),
        ports: Vec::new(),
        ..scene.desired.mirrors.values().next().unwrap().container.clone()
    };
    let id = scene.outsider().create_container(&spec).await.unwrap();
    scene.reads(&Object::Container(id)).await;
    scene.store.learn(&Object::Containers, Ok(older));
    assert_eq!(scene.state_of(&spec.name), Some(ContainerState::Created));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_known_by_its_host_holds_nobody_and_is_tried_later_and_later() {
    let scene = Scene::settled().await;
    let object = Object::Container(scene.id(DOCKER));
    sleep(Duration::from_secs(1)).await;
    scene.store.ended(&Subject::mirror("docker.io"), true);
    for taken in scene.takes() {
        scene.reads(&taken).await;
    }
    assert_eq!(scene.takes(), slice::from_ref(&object));
    scene.store.learn(&object, Err(refusal()));
    let observed = scene.observed().unwrap();
    let told: Vec<(&str, &str)> = observed.unreadable.iter().map(|(host, why)| (host.as_str(), why.as_str())).collect();
    assert_eq!(told, [("docker.io", "container ksail-dev-docker-io cannot be looked at: layer does not exist")]);
    assert!(scene.held().is_empty(), "{:?}", scene.held());
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let since = Instant::now();
        let due = scene.store.next().unwrap_err().unwrap();
        tokio::time::sleep_until(due).await;
        pauses.push(since.elapsed());
        assert_eq!(scene.takes(), slice::from_ref(&object));
        scene.store.learn(&object, Err(refusal()));
    }
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    assert!(pauses[0] >= Duration::from_millis(500) && pauses[6] >= Duration::from_secs(10), "{pauses:?}");
    assert!(pauses[6] <= Duration::from_secs(30), "{pauses:?}");
    sleep(Duration::from_secs(30)).await;
    scene.settles().await;
    assert!(scene.observed().unwrap().unreadable.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_is_told_and_keeps_a_first_plan_waiting_but_no_later_one() {
    let scene = Scene::new().await;
    scene.connects();
    for object in scene.takes() {
        if object == Object::Volumes {
            scene.store.learn(&object, Err(refusal()));
        } else {
            scene.reads(&object).await;
        }
    }
    assert_eq!(scene.store.unlisted(), Some((refusal(), 1)));
    assert!(scene.observed().is_none());
    sleep(Duration::from_secs(1)).await;
    scene.settles().await;
    assert_eq!(scene.store.unlisted(), None);
    scene.store.resync(false);
    for object in scene.takes() {
        scene.store.learn(&object, Err(refusal()));
    }
    assert!(scene.observed().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_sequence_outdates_what_it_was_about_and_holds_that_subject_alone() {
    let scene = Scene::new().await;
    let id = scene.starts(&node(NODE, "control-plane")).await;
    scene.connects();
    scene.settles().await;
    let volume = Object::Volume(DOCKER.to_owned());
    let rows = [
        (Subject::mirror("docker.io"), vec![Object::Mirror("docker.io".to_owned()), volume.clone()]),
        (Subject::Volume(DOCKER.to_owned()), vec![volume]),
        (Subject::Node(NODE.to_owned()), vec![Object::Container(id.clone()), Object::Node(id)]),
        (Subject::Cluster("dev".to_owned()), vec![Object::Containers, Object::Networks, Object::Hosting]),
    ];
    for (subject, outdated) in rows {
        sleep(Duration::from_secs(1)).await;
        scene.store.began(&subject);
        scene.store.ended(&subject, true);
        assert_eq!(scene.held(), slice::from_ref(&subject));
        assert_eq!(scene.takes(), outdated, "{subject}");
        for object in outdated {
            scene.reads(&object).await;
        }
        scene.settles().await;
        assert!(scene.held().is_empty(), "{subject}: {:?}", scene.held());
    }
    scene.store.ended(&Subject::mirror("docker.io"), false);
    let taken = scene.takes();
    assert!(taken.contains(&Object::Containers) && taken.contains(&Object::Image), "what was in its way is looked for");
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_busy_subject_is_read_when_it_has_ended() {
    let scene = Scene::settled().await;
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let (id, subject) = (scene.id(DOCKER), Subject::mirror("docker.io"));
    sleep(Duration::from_secs(1)).await;
    scene.store.began(&subject);
    scene.store.on_event(&of_container("die", &id, &mirror));
    assert!(scene.takes().is_empty());
    assert_eq!(scene.store.next().unwrap_err(), None, "and nobody is woken for it");
    scene.store.ended(&subject, true);
    assert!(scene.takes().contains(&Object::Container(id)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_about_to_end_is_not_looked_into_nor_are_the_others_for_a_second() {
    let scene = Scene::new().await;
    let (one, two) = (node(NODE, "control-plane"), node("dev-worker", "worker"));
    let (first, second) = (scene.starts(&one).await, scene.starts(&two).await);
    scene.connects();
    scene.settles().await;
    let mut kill = of_container("kill", &first, &one);
    kill.attributes.insert("signal".to_owned(), "15".to_owned());
    scene.store.on_event(&kill);
    assert!(scene.store.ending_nodes().contains(&first) && scene.store.ending_nodes().contains(&second));
    assert!(!scene.store.ending_nodes().contains("a stranger"));
    scene.store.on_event(&of_container("exec_die", &first, &one));
    scene.store.on_event(&of_container("exec_die", &second, &two));
    let in_nodes = |scene: &Scene| -> Vec<Object> { scene.takes().into_iter().filter(Object::is_in_node).collect() };
    assert!(in_nodes(&scene).is_empty());
    assert!(scene.store.next().unwrap_err().is_some(), "somebody looks later");
    sleep(Duration::from_millis(1_001)).await;
    assert_eq!(in_nodes(&scene), [Object::Node(second.clone())]);
    assert!(scene.store.ending_nodes().contains(&first) && !scene.store.ending_nodes().contains(&second));
    sleep(Duration::from_secs(9)).await;
    assert_eq!(in_nodes(&scene), [Object::Node(first.clone())], "it did not end after all");

    kill.attributes.insert("signal".to_owned(), "1".to_owned());
    scene.store.on_event(&kill);
    assert!(!scene.store.ending_nodes().contains(&first), "not by that signal");
    kill.attributes.insert("signal".to_owned(), "9".to_owned());
    scene.store.on_event(&kill);
    scene.store.on_event(&of_container("start", &second, &two));
    assert!(!scene.store.ending_nodes().contains(&first), "one starts: nobody is deleting the cluster");
}

#[tokio::test(start_paused = true)]
async fn nodes_are_not_looked_into_as_long_as_somebody_wants_them_left_alone() {
    let scene = Scene::new().await;
    let spec = node(NODE, "control-plane");
    let id = scene.starts(&spec).await;
    scene.connects();
    scene.settles().await;
    scene.store.on_event(&of_container("exec_die", &id, &spec));
    sleep(Duration::from_secs(1)).await;
    let object = Object::Node(id.clone());
    assert_eq!(scene.store.next(), Ok(object.clone()));
    assert!(scene.store.reads_nodes());
    scene.store.exclude(true);
    assert!(scene.store.reads_nodes(), "who is looking goes on");
    scene.reads(&object).await;
    assert!(!scene.store.reads_nodes());
    scene.store.on_event(&of_container("exec_die", &id, &spec));
    sleep(Duration::from_secs(1)).await;
    assert!(scene.takes().is_empty());
    scene.store.exclude(false);
    assert!(scene.takes().contains(&object));
}

#[tokio::test(start_paused = true)]
async fn a_glance_finds_a_file_that_somebody_has_changed_in_a_node() {
    let scene = Scene::new().await;
    let id = scene.starts(&node(NODE, "control-plane")).await;
    scene.engine.on_exec(|_, exec| {
        let is_asked = exec.command.iter().any(|word| word == "dump");
        let stdout = format!("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{HOSTS}\"\n");
        is_asked.then_some(Executed { exit_code: 0, stdout, stderr: String::new() })
    });
    scene.connects();
    let reading = scene.is_read(true);
    let hosts = |scene: &Scene| {
        let observed = scene.observed().unwrap();
        observed.nodes.first().and_then(|node| node.hosts.get("docker.io")?.hosts_toml.clone())
    };
    sleep(Duration::from_secs(3)).await;
    assert_eq!(hosts(&scene), None);
    let path = format!("{HOSTS}/docker.io/hosts.toml");
    let archive = archive::pack([(path.as_str(), 0o644, &b"server = \"x\"\n"[..])].into_iter(), 0).unwrap();
    // No event tells of what a program in the node does.
    scene.engine.lose_events(|_| true, usize::MAX);
    scene.outsider().put_archive(&id, "/", archive).await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(hosts(&scene).as_deref(), Some("server = \"x\"\n"));
    scene.engine.clear_calls();
    sleep(Duration::from_secs(10)).await;
    assert!((20..=100).contains(&scene.calls("stat_path")), "{} looks in ten seconds", scene.calls("stat_path"));
    assert_eq!(scene.calls("get_archive"), 0, "nothing is read that has not changed");
    reading.abort();
}

/// A drop-in for its service changes neither the node's container nor containerd's own file.
#[tokio::test(start_paused = true)]
async fn what_containerd_itself_is_told_of_proxies_counts_and_is_asked_again_until_none_is_in_the_way() {
    let scene = Scene::new().await;
    let environ = Arc::new(Mutex::new("HTTP_PROXY=http://a:1\0".to_owned()));
    let env = BTreeMap::from([("HTTP_PROXY".to_owned(), "http://a:1".to_owned())]);
    scene.starts(&ContainerSpec { env, ..node(NODE, "control-plane") }).await;
    let now = Arc::clone(&environ);
    scene.engine.on_exec(move |_, exec| {
        let stdout = match exec.command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["containerd", "config", "dump"] => {
                format!("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{HOSTS}\"\n")
            }
            ["find", ..] => now.lock().unwrap().clone(),
            _ => return None,
        };
        Some(Executed { exit_code: 0, stdout, stderr: String::new() })
    });
    scene.connects();
    let reading = scene.is_read(true);
    sleep(Duration::from_secs(3)).await;
    let asked = || scene.observed().unwrap().nodes[0].proxy.asked_for(DOCKER).map(str::to_owned);
    assert_eq!(asked().as_deref(), Some("http://a:1"));

    "HTTP_PROXY=http://a:1\0NO_PROXY=*\0".clone_into(&mut environ.lock().unwrap());
    scene.store.resync(false);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(asked(), None);
    "HTTP_PROXY=http://b:2\0".clone_into(&mut environ.lock().unwrap());
    scene.store.resync(false);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(asked(), None, "what was in nobody's way is asked with the rest that only programs tell");
    scene.store.resync(true);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(asked().as_deref(), Some("http://b:2"));
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_asked_again_and_whether_a_container_holds_it_is_looked_for_first() {
    let scene = Scene::new().await;
    scene.outsider().remove_container(DOCKER).await.unwrap();
    scene.connects();
    scene.settles().await;
    assert!(scene.observed().unwrap().ports_taken.is_empty());
    scene.store.resync(false);
    scene.settles().await;
    // It comes when nobody wants its port.
    scene.probe.0.lock().unwrap().push(5001);
    scene.starts(&on_port("web", 5001)).await;
    let port = Object::Port([127, 0, 0, 1].into(), 5001);
    scene.store.ended(&Subject::mirror("docker.io"), true);
    scene.settles().await;
    scene.reads(&port).await;
    assert_eq!(scene.held(), [Subject::mirror("docker.io")], "it is not said to be nobody's");
    scene.settles().await;
    assert_eq!(scene.observed().unwrap().holder_of([127, 0, 0, 1].into(), 5001), Some("web"));

    scene.outsider().remove_container("web").await.unwrap();
    scene.store.resync(false);
    scene.settles().await;
    assert_eq!(scene.observed().unwrap().ports_taken.len(), 1, "some process has it still");
    scene.probe.0.lock().unwrap().clear();
    sleep(Duration::from_millis(1_900)).await;
    assert!(scene.takes().is_empty());
    sleep(Duration::from_millis(101)).await;
    assert_eq!(scene.takes(), slice::from_ref(&port));
    scene.reads(&port).await;
    assert!(scene.observed().unwrap().ports_taken.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_whose_containers_inherit_our_labels_is_looked_into_and_the_mirror_waits() {
    let scene = Scene::settled().await;
    let spec = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let image = Image { id: "sha256:committed".to_owned(), labels: spec.labels.clone(), ..Image::default() };
    scene.engine.add_image("committed:1", image);
    let copy =
        ContainerSpec { name: format!("{DOCKER}.next"), image: "committed:1".to_owned(), ports: Vec::new(), ..spec };
    let id = scene.starts(&copy).await;
    scene.store.on_event(&of_container("start", &id, &copy));
    assert_eq!(scene.takes(), [Object::Container(id.clone())]);
    scene.reads(&Object::Container(id)).await;
    assert!(scene.is_marked(&Object::Labels("sha256:committed".to_owned())));
    assert_eq!(scene.held(), [Subject::mirror("docker.io")]);
    scene.settles().await;
    let observed = scene.observed().unwrap();
    assert_eq!(observed.containers.len(), 2);
    assert!(observed.strangers.contains_key(&copy.name), "it is somebody else's");
}

#[tokio::test(start_paused = true)]
async fn whether_the_engine_tells_what_happens_is_known_and_one_that_is_away_is_not_asked() {
    let scene = Scene::settled().await;
    assert!(scene.store.is_told());
    scene.store.connected(info(), true);
    assert!(!scene.store.is_told(), "it is looked at now and then");
    scene.settles().await;
    let away = EngineError::Unavailable { address: "memory://".to_owned(), reason: "connection refused".to_owned() };
    scene.store.resync(true);
    scene.store.disconnected(away);
    assert!(!scene.store.is_told());
    assert_eq!(scene.store.next(), Err(None));
    assert!(scene.observed().is_none());
    scene.store.connected(info(), false);
    assert!(scene.observed().is_none(), "not what was known before");
    scene.settles().await;
    assert!(scene.observed().is_some());
}

#[tokio::test(start_paused = true)]
async fn one_that_finds_the_engine_away_says_so_and_reads_the_same_again_without_haste() {
    let scene = Scene::settled().await;
    let reading = scene.is_read(false);
    scene.engine.go_away();
    scene.store.resync(true);
    tokio::time::timeout(Duration::from_secs(1), scene.store.suspected()).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let asked = scene.calls("list_containers");
    assert!((1..=21).contains(&asked), "{asked} times in ten seconds");
    scene.engine.come_back();
    sleep(Duration::from_secs(1)).await;
    assert!(scene.store.has_settled());
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn another_image_or_another_way_to_a_cluster_is_looked_for_before_anything_is_planned() {
    let scene = Scene::settled().await;
    scene.store.set_desired(&scene.desired);
    assert!(scene.observed().is_some(), "nothing that matters is another");
    scene.store.set_desired(&Desired { image: "registry:2".to_owned(), ..scene.desired.clone() });
    assert!(scene.observed().is_none());
    scene.settles().await;
    assert!(scene.observed().is_some());
    scene
        .store
        .set_desired(&Desired { image: "registry:2".to_owned(), ..asking("Managed", &["docker.io", "ghcr.io"]) });
    assert!(scene.observed().is_none());
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_know_of_a_containers_end_hears_of_it_at_once() {
    let scene = Scene::settled().await;
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let id = scene.id(DOCKER);
    let end = scene.store.on_end(&id);
    scene.store.on_event(&of_container("die", &id, &mirror));
    tokio::time::timeout(Duration::from_millis(1), end.notified()).await.unwrap();
    scene.store.forget_end(&id);
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_known_by_the_last_that_was_said_of_it() {
    let scene = Scene::settled().await;
    let volume = Object::Volume(GHCR.to_owned());
    let volumes = |scene: &Scene| scene.observed().unwrap().volumes.into_values().collect::<Vec<Volume>>();
    scene.outsider().remove_container(GHCR).await.unwrap();
    scene.outsider().remove_volume(GHCR).await.unwrap();
    scene.store.on_event(&event(EventKind::Volume, "destroy", GHCR, &[]));
    sleep(Duration::from_secs(1)).await;
    assert!(scene.takes().contains(&volume));
    scene.reads(&volume).await;
    assert_eq!(volumes(&scene).len(), 1);
}
