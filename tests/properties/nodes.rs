//! Nodes of the random world's cluster: containers of an outsider's, and what happens to them and in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ksail::desired::Desired;
use ksail::distribution::registry_hosting::Advertised;
use ksail::engine::memory::{ContainerSnapshot, Memory};
use ksail::engine::{ContainerSpec, ContainerState, Engine, EngineError, Exec, Executed, Image};
use ksail::labels::{KIND_CLUSTER, KIND_ROLE};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{HOSTS, World};

const IMAGE: &str = "node:1";
pub(crate) const NAMES: [(&str, &str); 3] =
    [("dev-control-plane", "control-plane"), ("dev-worker", "worker"), ("dev-worker2", "worker")];
const DIRECTORY: &str = "/etc/containerd/certs.d";
const CONFIG: &str =
    "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
/// A host that no manifest of these worlds has.
const NOBODYS: &str = "example.com";
const THEIRS: &str = "server = \"https://theirs.example\"\n";

/// Something done behind ksail's back to the nodes, to one of them, or to the files of one host on it.
#[derive(Debug, Clone)]
pub(crate) enum NodeDrift {
    Add,
    Change { node: Index, host: Index, what: What },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    Remove,
    Stop,
    Start,
    Restart,
    DeleteFile,
    EditFile,
    EmptyFile,
    /// Somebody else's `hosts.toml` in the place of whatever is there.
    ForeignFile,
    /// Somebody else's file beside it.
    OtherFile,
    ForgetHosting,
    ForeignHosting,
}

impl NodeDrift {
    /// Whether somebody puts a file of theirs where ksail may be about to write.
    pub(crate) fn is_foreign_file(&self) -> bool {
        matches!(self, Self::Change { what: What::ForeignFile | What::OtherFile, .. })
    }
}

pub(crate) fn node_drifts() -> impl Strategy<Value = NodeDrift> {
    use What::{
        DeleteFile, EditFile, EmptyFile, ForeignFile, ForeignHosting, ForgetHosting, OtherFile, Remove, Restart, Start,
        Stop,
    };
    let what = prop_oneof![
        1 => prop::sample::select(vec![Remove, Stop, Start, Restart, ForgetHosting, ForeignHosting]),
        1 => prop::sample::select(vec![DeleteFile, EditFile, EmptyFile, ForeignFile, OtherFile]),
    ];
    let change = (any::<Index>(), any::<Index>(), what);
    prop_oneof![
        1 => Just(NodeDrift::Add),
        3 => change.prop_map(|(node, host, what)| NodeDrift::Change { node, host, what }),
    ]
}

/// What is in nodes that is not ksail's, and what their API server keeps.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// By node's id and path.
    foreign: RefCell<BTreeMap<(String, String), String>>,
    pub(crate) hosting: Arc<Mutex<Option<String>>>,
}

impl Nodes {
    /// Gives the nodes-to-be their programs.
    pub(crate) fn of(engine: &Memory) -> Self {
        engine.add_image(IMAGE, Image::default());
        let nodes = Self::default();
        let hosting = Arc::clone(&nodes.hosting);
        engine.on_exec(move |_, exec| program(exec, &mut hosting.lock().unwrap()));
        nodes
    }
}

/// `containerd config dump`, and as much of `kubectl` as there is to one `ConfigMap`.
fn program(exec: &Exec, hosting: &mut Option<String>) -> Option<Executed> {
    let words: Vec<&str> = exec.command.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let stdout = match words.as_slice() {
        ["containerd", "config", "dump"] => CONFIG.to_owned(),
        ["kubectl", "get", "configmap", ..] => hosting.clone().unwrap_or_default(),
        ["kubectl", "apply", ..] => {
            *hosting = Some(String::from_utf8(exec.stdin.clone()).unwrap());
            String::new()
        }
        ["kubectl", "delete", "configmap", ..] => {
            *hosting = None;
            String::new()
        }
        _ => return None,
    };
    Some(Executed { exit_code: 0, stdout, stderr: String::new() })
}

/// Containers that are nodes, in order of their names.
pub(crate) fn nodes_of(engine: &Memory) -> Vec<ContainerSnapshot> {
    let containers = engine.snapshot().containers.into_values();
    let mut nodes: Vec<_> = containers.filter(|node| node.container.labels.contains_key(KIND_CLUSTER)).collect();
    nodes.sort_by(|a, b| a.container.name.cmp(&b.container.name));
    nodes
}

/// One more node, if there is a name left.
pub(crate) async fn add_node(engine: &Memory) -> Result<(), EngineError> {
    let taken: Vec<String> = nodes_of(engine).into_iter().map(|node| node.container.name).collect();
    let free = NAMES.iter().find(|(name, _)| !taken.iter().any(|taken| taken == name));
    let Some((name, role)) = free else { return Ok(()) };
    let labels = [(KIND_CLUSTER, "dev"), (KIND_ROLE, *role)];
    let spec = ContainerSpec {
        name: (*name).to_owned(),
        image: IMAGE.to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ports: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "on-failure:1".to_owned(),
        log_options: BTreeMap::new(),
        extra_hosts: Vec::new(),
    };
    let outsider = engine.outsider();
    let id = outsider.create_container(&spec).await?;
    outsider.connect_network("kind", &id, &[]).await?;
    outsider.start_container(&id).await
}

impl World {
    fn all_nodes(&self) -> Vec<ContainerSnapshot> {
        nodes_of(&self.engine)
    }

    pub(crate) fn has_nodes(&self) -> bool {
        !self.all_nodes().is_empty()
    }

    pub(crate) async fn add_node(&self) {
        add_node(&self.engine).await.unwrap();
    }

    pub(crate) async fn node_drift(&self, drift: &NodeDrift) {
        let NodeDrift::Change { node, host, what } = drift else { return self.add_node().await };
        let outsider = self.engine.outsider();
        match what {
            What::ForgetHosting => return *self.nodes.hosting.lock().unwrap() = None,
            What::ForeignHosting => return *self.nodes.hosting.lock().unwrap() = Some("{}".to_owned()),
            _ => {}
        }
        let nodes = self.all_nodes();
        if nodes.is_empty() {
            return;
        }
        let node = node.get(&nodes);
        let id = &node.container.id;
        let host = host.get(&[HOSTS[0], HOSTS[1], HOSTS[3], "ksail-dev-localhost-5005:5000", NOBODYS]);
        let path = format!("{DIRECTORY}/{host}/hosts.toml");
        let is_ours = !self.nodes.foreign.borrow().contains_key(&(id.clone(), path.clone()));
        // What cannot be done to a node in its state is not done.
        match what {
            What::Remove => {
                drop(outsider.remove_container(id).await);
                self.nodes.foreign.borrow_mut().retain(|(of, _), _| of != id);
            }
            What::Stop => drop(outsider.stop_container(id, 0).await),
            What::Start => drop(outsider.start_container(id).await),
            What::Restart => drop(outsider.restart_container(id, 0).await),
            What::DeleteFile => {
                let removed = outsider.exec(id, &Exec::changing(["rm", "-f", &path])).await;
                self.nodes.foreign.borrow_mut().retain(|key, _| removed.is_err() || *key != (id.clone(), path.clone()));
            }
            What::EditFile if is_ours && node.files.contains_key(&path) => {
                drop(self.put(id, &path, "# Managed by ksail: or so it was\n").await);
            }
            What::EmptyFile if is_ours && node.files.contains_key(&path) => drop(self.put(id, &path, "").await),
            What::ForeignFile => self.put_foreign(id, path).await,
            What::OtherFile => self.put_foreign(id, format!("{DIRECTORY}/{host}/ca.crt")).await,
            _ => {}
        }
    }

    /// What somebody has put into nodes and is not there any more is not looked for.
    pub(crate) fn forget_overwritten(&self) {
        let nodes = self.engine.snapshot().containers;
        let is_there = |(id, path): &(String, String), text: &String| {
            let file = nodes.get(id).and_then(|node| node.files.get(path));
            file.is_some_and(|file| file.content.as_deref() == Some(text.as_bytes()))
        };
        self.nodes.foreign.borrow_mut().retain(|at, text| is_there(at, text));
    }

    async fn put_foreign(&self, id: &str, path: String) {
        if self.put(id, &path, THEIRS).await.is_ok() {
            self.nodes.foreign.borrow_mut().insert((id.to_owned(), path), THEIRS.to_owned());
        }
    }

    async fn put(&self, id: &str, path: &str, text: &str) -> Result<(), EngineError> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path.trim_start_matches('/'), text.as_bytes()).unwrap();
        self.engine.outsider().put_archive(id, "/", archive.into_inner().unwrap()).await
    }

    /// Every node that runs has the files it should have, with what is not ksail's as somebody left it; and the cluster
    /// tells of the registry to push to.
    pub(crate) fn nodes_are_as_desired(&self, desired: &Desired) -> Result<(), TestCaseError> {
        let running: Vec<_> =
            self.all_nodes().into_iter().filter(|node| node.container.state == ContainerState::Running).collect();
        for node in &running {
            self.node_is_as_desired(node, desired)?;
        }
        if running.iter().any(|node| node.container.labels[KIND_ROLE] == "control-plane") {
            let said = Advertised::read(self.nodes.hosting.lock().unwrap().as_deref().unwrap_or_default());
            match &desired.hosting {
                _ if said == Advertised::Foreign => {}
                Some(hosting) => prop_assert!(said.says(hosting), "{:?}", said),
                None => prop_assert_eq!(said, Advertised::Nothing),
            }
        }
        Ok(())
    }

    fn node_is_as_desired(&self, node: &ContainerSnapshot, desired: &Desired) -> Result<(), TestCaseError> {
        let (id, name) = (&node.container.id, &node.container.name);
        let foreign = self.nodes.foreign.borrow();
        let foreign: BTreeMap<&str, &str> = foreign
            .iter()
            .filter(|((of, _), _)| of == id)
            .map(|((_, path), text)| (path.as_str(), text.as_str()))
            .collect();
        let mut expected = foreign.clone();
        let files: Vec<(String, &str)> = desired
            .mirrors
            .values()
            .flat_map(|mirror| &mirror.node_files)
            .map(|(host, file)| (format!("{DIRECTORY}/{host}/hosts.toml"), file.text()))
            .collect();
        for (path, text) in &files {
            expected.entry(path).or_insert(text);
        }
        let found = node.files.iter().filter(|(path, _)| path.starts_with(DIRECTORY));
        let found: BTreeMap<&str, String> = found
            .filter_map(|(path, file)| {
                Some((path.as_str(), String::from_utf8_lossy(file.content.as_ref()?).into_owned()))
            })
            // One that somebody emptied is nobody's, and says nothing to containerd.
            .filter(|(path, text)| !text.is_empty() || expected.contains_key(path))
            .collect();
        let found: BTreeMap<&str, &str> = found.iter().map(|(path, text)| (*path, text.as_str())).collect();
        prop_assert_eq!(found, expected, "on {}", name);
        Ok(())
    }
}
