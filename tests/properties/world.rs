//! A random world: a manifest, an engine, and what happens to both.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use ksail::desired::{Desired, ResolveContext, Route, resolve};
use ksail::engine::memory::{Call, CallKind, Memory};
use ksail::engine::{Container, ContainerSpec, ContainerState, Engine, EngineError, Image, PublishedPort};
use ksail::labels::is_ours;
use ksail::manifest::{
    Connection, Credentials, Distribution, Lifecycle, Manifest, Mirror, Registries, State, Upstream, VolumePolicy,
};
use ksail::names;
use ksail::probe::{Ask, Probe, Question, Serving, UpstreamAnswer};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::{Instant, sleep};

use crate::nodes::{NodeDrift, Nodes, node_drifts};

pub(crate) const HOSTS: [&str; 4] = ["docker.io", "ghcr.io", "quay.io", "localhost:5005"];
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IMAGES: [&str; 2] = ["registry:3", "registry:other"];

/// What registries and ports answer.
#[derive(Debug, Default)]
struct Answers {
    /// Runs of containers, by id and start, whose registries do not answer.
    hung: BTreeSet<(String, Option<Timestamp>)>,
    /// Names of containers whose registries do not answer until then, however often they are started.
    mute: BTreeMap<String, Instant>,
    /// Ports that processes outside the engine hold.
    held: BTreeSet<u16>,
}

/// What the random manifest says besides its mirrors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub state: State,
    pub lifecycle: Lifecycle,
    pub volume_policy: VolumePolicy,
}

/// One line of the random manifest.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub host: String,
    pub port: Option<u16>,
    pub ttl: u64,
    pub secret: Option<u8>,
}

impl Entry {
    pub(crate) fn plain(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port: Some(port), ttl: 0, secret: None }
    }
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (0..3usize, prop::option::of(5001u16..5005), 0u64..2, prop::option::of(0u8..2))
        .prop_map(|(host, port, ttl, secret)| Entry { host: HOSTS[host].to_owned(), port, ttl, secret })
}

/// Entries with distinct hosts and ports, as a manifest that loads has.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let push = any::<bool>();
    (prop::collection::vec(entry(), 0..4), push).prop_map(|(entries, push)| {
        let (mut hosts, mut ports) = (BTreeSet::new(), BTreeSet::new());
        let mut distinct: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| hosts.insert(entry.host.clone()) && entry.port.is_none_or(|port| ports.insert(port)))
            .collect();
        if push {
            distinct.push(Entry::plain(HOSTS[3], 5005));
        }
        distinct
    })
}

/// Something done behind ksail's back to the container of one mirror, or to what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Drift {
    pub index: Index,
    pub what: What,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    Kill,
    Pause,
    Remove,
    RemoveWithVolume,
    Rename,
    RestartPolicy,
    Disconnect,
    LoseAlias,
    Hang,
    Double,
}

pub(crate) fn drifts() -> impl Strategy<Value = Drift> {
    use What::{Disconnect, Double, Hang, Kill, LoseAlias, Pause, Remove, RemoveWithVolume, Rename, RestartPolicy};
    let whats = prop::sample::select(vec![
        Kill,
        Pause,
        Remove,
        RemoveWithVolume,
        Rename,
        RestartPolicy,
        Disconnect,
        LoseAlias,
        Hang,
        Double,
    ]);
    (any::<Index>(), whats).prop_map(|(index, what)| Drift { index, what })
}

/// Which calls fail and how.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub after: usize,
    pub times: usize,
    pub effect_first: bool,
    pub away: bool,
}

pub(crate) fn faults() -> impl Strategy<Value = Fault> {
    (0usize..20, 1usize..4, any::<bool>(), any::<bool>()).prop_map(|(after, times, effect_first, away)| Fault {
        after,
        times,
        effect_first,
        away,
    })
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Edit(Vec<Entry>),
    Drift(Drift),
    Node(NodeDrift),
    PassWith(Fault),
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => entries().prop_map(Step::Edit),
        3 => drifts().prop_map(Step::Drift),
        3 => node_drifts().prop_map(Step::Node),
        3 => faults().prop_map(Step::PassWith),
    ];
    let nodes = prop::collection::vec(Just(Step::Node(NodeDrift::Add)), 0..3);
    let rest = prop::collection::vec(step, 1..8);
    (entries(), nodes, rest).prop_map(|(first, nodes, rest)| [vec![Step::Edit(first)], nodes, rest].concat())
}

pub(crate) struct World {
    pub engine: Memory,
    entries: RefCell<Vec<Entry>>,
    pub setting: Cell<Setting>,
    /// The host of a mirror that nothing happens to by chance.
    pub spared: Option<String>,
    answers: Arc<Mutex<Answers>>,
    pub nodes: Nodes,
}

impl World {
    pub(crate) fn new() -> Self {
        let engine = Memory::new();
        for image in IMAGES {
            engine.pullable(image);
        }
        engine.add_image("stranger:1", Image::default());
        engine.create_network("kind");
        let nodes = Nodes::of(&engine);
        let setting =
            Setting { state: State::Present, lifecycle: Lifecycle::External, volume_policy: VolumePolicy::Retain };
        let (entries, answers) = (RefCell::default(), Arc::default());
        Self { engine, entries, setting: Cell::new(setting), spared: None, answers, nodes }
    }

    pub(crate) fn edit(&self, entries: &[Entry]) {
        *self.entries.borrow_mut() = entries.to_vec();
    }

    pub(crate) fn desired(&self) -> Desired {
        let mirror = |entry: &Entry| {
            let is_push = entry.host.contains(':');
            let upstream: Option<Upstream> = (!is_push).then(|| format!("https://{}", entry.host).parse().unwrap());
            let secret = entry.secret.filter(|_| !is_push);
            Mirror {
                host: entry.host.parse().unwrap(),
                upstream,
                port: entry.port,
                listen_address: LOCALHOST,
                fallback: true,
                ttl: Duration::from_secs(entry.ttl),
                credentials: secret
                    .map(|n| Credentials { username: "user".into(), password: format!("secret {n}").into() }),
                proxy: None,
                ca: None,
            }
        };
        let mirrors = self.entries.borrow().iter().map(mirror).collect();
        let Setting { state, lifecycle, volume_policy } = self.setting.get();
        let manifest = Manifest {
            path: PathBuf::from("ksail.yaml"),
            name: "dev".parse().unwrap(),
            state,
            distribution: Distribution::Kind,
            distribution_config: None,
            lifecycle,
            connection: Connection::default(),
            registries: Registries { image: IMAGES[0].to_owned(), volume_policy, mirrors },
            not_acted_on: Vec::new(),
        };
        resolve(&manifest, &ResolveContext::default())
    }

    pub(crate) fn probe(&self) -> InMemory {
        InMemory(self.answers.clone())
    }

    /// Registries in containers of this name do not answer until then.
    pub(crate) fn mute(&self, name: &str, until: Instant) {
        self.answers.lock().unwrap().mute.insert(name.to_owned(), until);
    }

    /// A process outside the engine takes a port of this machine.
    pub(crate) fn hold_port(&self, port: u16) {
        self.engine.hold_port(LOCALHOST, port);
        self.answers.lock().unwrap().held.insert(port);
    }

    pub(crate) fn release_port(&self, port: u16) {
        self.engine.release_port(LOCALHOST, port);
        self.answers.lock().unwrap().held.remove(&port);
    }

    /// The name of a mirror's container and volume.
    #[allow(clippy::unused_self)] // The world's, like everything else that is asked of it.
    pub(crate) fn name_of(&self, host: &str) -> String {
        names::of(&"dev".parse().unwrap(), &host.parse().unwrap())
    }

    pub(crate) fn port_of(&self, host: &str) -> Option<u16> {
        self.entries.borrow().iter().find(|entry| entry.host == host)?.port
    }

    /// A host of the manifest.
    pub(crate) fn pick(&self, index: Index) -> Option<String> {
        let entries = self.entries.borrow();
        let hosts = entries.iter().map(|entry| &entry.host);
        let hosts: Vec<&String> = hosts.filter(|host| self.spared.as_ref() != Some(host)).collect();
        (!hosts.is_empty()).then(|| (*index.get(&hosts)).clone())
    }

    fn ours(&self) -> Vec<Container> {
        let containers = self.engine.snapshot().containers.into_values().map(|snapshot| snapshot.container);
        containers.filter(|container| is_ours(&container.labels, "dev")).collect()
    }

    /// Id and start of the containers that run, by host.
    pub(crate) fn runs(&self) -> BTreeMap<String, (String, Option<Timestamp>)> {
        let running = self.ours().into_iter().filter(|container| container.state == ContainerState::Running);
        running
            .map(|container| (container.labels[ksail::labels::HOST].clone(), (container.id, container.started_at)))
            .collect()
    }

    pub(crate) async fn drift(&self, drift: &Drift) {
        if let Some(host) = self.pick(drift.index) {
            self.drift_of(&host, drift.what).await;
        }
    }

    pub(crate) async fn drift_of(&self, host: &str, what: What) {
        let name = self.name_of(host);
        let Some(container) = self.ours().into_iter().find(|container| container.name == name) else { return };
        let outsider = self.engine.outsider();
        let id = container.id.clone();
        let kind = || self.kind_network();
        // What cannot be done to a container in its state is not done.
        match what {
            What::Kill => drop(self.engine.kill(&id, 137)),
            What::Pause => drop(self.engine.pause(&id)),
            What::Remove => drop(outsider.remove_container(&id).await),
            What::RemoveWithVolume => {
                drop(outsider.remove_container(&id).await);
                drop(outsider.remove_volume(&name).await);
            }
            What::Rename => drop(outsider.rename_container(&id, "renamed").await),
            What::RestartPolicy => drop(outsider.update_restart_policy(&id, "no").await),
            What::Disconnect => drop(outsider.disconnect_network(&kind(), &id, true).await),
            What::LoseAlias => {
                drop(outsider.disconnect_network(&kind(), &id, true).await);
                drop(outsider.connect_network(&kind(), &id, &[]).await);
            }
            What::Hang => {
                self.answers.lock().unwrap().hung.insert((id, container.started_at));
            }
            What::Double => {
                let spec = ContainerSpec {
                    name: format!("{name}-double"),
                    image: IMAGES[0].to_owned(),
                    command: Vec::new(),
                    env: BTreeMap::new(),
                    labels: container.labels.clone(),
                    ports: Vec::new(),
                    volumes: vec![(name.clone(), "/var/lib/registry".to_owned())],
                    restart_policy: "no".to_owned(),
                    log_options: BTreeMap::new(),
                    extra_hosts: Vec::new(),
                };
                drop(outsider.create_container(&spec).await);
            }
        }
    }

    pub(crate) fn kind_network(&self) -> String {
        self.engine.snapshot().networks.into_values().find(|network| network.name == "kind").unwrap().id
    }

    pub(crate) fn inject(&self, fault: &Fault) {
        let error = if fault.away {
            EngineError::Unavailable { address: "memory".to_owned(), reason: "refused".to_owned() }
        } else {
            EngineError::Refused { status: 500, message: "injected".to_owned() }
        };
        let mut calls_left = fault.after;
        let matches = move |_: &Call| {
            let strikes = calls_left == 0;
            calls_left = calls_left.saturating_sub(1);
            strikes
        };
        let matches = Mutex::new(matches);
        let matches = move |call: &Call| (*matches.lock().unwrap())(call);
        if fault.effect_first {
            self.engine.fail_after(matches, fault.times, error);
        } else {
            self.engine.fail(matches, fault.times, error);
        }
    }

    /// The process, or the engine, dies after this many changing calls: every later call fails.
    pub(crate) fn cut_off_after(&self, writes: usize, lost: bool) {
        let left = Mutex::new(writes);
        let error = EngineError::Unavailable { address: "memory".to_owned(), reason: "gone".to_owned() };
        let matches = move |call: &Call| {
            let mut left = left.lock().unwrap();
            if *left > 0 && call.kind == CallKind::Write {
                *left -= 1;
                return false;
            }
            *left == 0
        };
        if lost {
            self.engine.fail_after(move |call| call.kind == CallKind::Write && matches(call), usize::MAX, error);
        } else {
            self.engine.fail(matches, usize::MAX, error);
        }
    }

    /// Removes what only people can remove.
    pub(crate) fn nothing_is_in_the_way(&self) {
        (5001..5010).for_each(|port| self.release_port(port));
    }

    /// Everything desired runs as it should, and nothing else of ours is left.
    pub(crate) fn is_as_desired(&self) -> Result<(), TestCaseError> {
        let desired = self.desired();
        let containers = self.ours();
        let names: BTreeSet<&str> = containers.iter().map(|container| container.name.as_str()).collect();
        let wanted: BTreeSet<&str> = desired.mirrors.values().map(|mirror| mirror.name.as_str()).collect();
        prop_assert_eq!(names, wanted);
        for mirror in desired.mirrors.values() {
            let container = containers.iter().find(|container| container.name == mirror.name).unwrap();
            prop_assert_eq!(container.state, ContainerState::Running);
            prop_assert_eq!(&container.ports, &vec![mirror.listen]);
            prop_assert_eq!(&container.restart_policy, "always");
            prop_assert!(mirror.container.labels.iter().all(|(key, value)| container.labels.get(key) == Some(value)));
            prop_assert!(mirror.container.env.iter().all(|(key, value)| container.env.get(key) == Some(value)));
            prop_assert!(
                container.endpoints.get("kind").is_some_and(|endpoint| endpoint.aliases.contains(&mirror.name))
            );
            prop_assert!(container.mounts.iter().any(|mount| mount.volume.as_ref() == Some(&mirror.name)));
            prop_assert!(!self.answers.lock().unwrap().hung.contains(&(container.id.clone(), container.started_at)));
            let files =
                self.engine.snapshot().containers[&container.id].files.keys().any(|path| path.starts_with("/ksail/"));
            prop_assert_eq!(files, mirror.files.is_some());
        }
        if self.setting.get().lifecycle == Lifecycle::Managed {
            prop_assert_eq!(self.has_nodes(), desired.state == State::Present, "whether there is a cluster");
        }
        self.nodes_are_as_desired(&desired)
    }

    /// Containers of others: one of our name, one of another cluster on a port of ours, and one on our network.
    pub(crate) async fn add_strangers(&self) {
        let outsider = self.engine.outsider();
        let spec = |name: &str, labels: &[(&str, &str)], port: Option<u16>| ContainerSpec {
            name: name.to_owned(),
            image: "stranger:1".to_owned(),
            command: Vec::new(),
            env: BTreeMap::new(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ports: port
                .map(|host_port| PublishedPort { container_port: 5000, host_address: LOCALHOST, host_port })
                .into_iter()
                .collect(),
            volumes: Vec::new(),
            restart_policy: "no".to_owned(),
            log_options: BTreeMap::new(),
            extra_hosts: Vec::new(),
        };
        let other = [("ksail.dev/managed-by", "ksail"), ("ksail.dev/cluster", "other"), ("ksail.dev/host", "ghcr.io")];
        let theirs = self.engine.create_network("theirs");
        for spec in [
            spec("ksail-dev-docker-io", &[], None),
            spec("ksail-other-ghcr-io", &other, Some(5002)),
            spec("ksail-dev-quay-io.next", &[("ksail.dev/cluster", "dev")], None),
        ] {
            let id = outsider.create_container(&spec).await.unwrap();
            outsider.connect_network(&theirs, &id, &[]).await.unwrap();
            outsider.start_container(&id).await.unwrap();
        }
        // One without any label would be adopted.
        let labels = BTreeMap::from([("theirs".to_owned(), "yes".to_owned())]);
        outsider.create_volume("ksail-dev-localhost-5005", &labels).await.unwrap();
    }

    /// Everything that is not ours.
    pub(crate) fn foreign(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut snapshot = self.engine.snapshot();
        snapshot.containers.retain(|_, snapshot| !is_ours(&snapshot.container.labels, "dev"));
        snapshot.volumes.retain(|_, volume| !is_ours(&volume.labels, "dev"));
        snapshot.images.remove(IMAGES[0]);
        snapshot
    }
}

/// Registries in memory answer unless they were made to hang; time passes while nothing is answered.
#[derive(Debug, Clone)]
pub(crate) struct InMemory(Arc<Mutex<Answers>>);

impl InMemory {
    fn hangs(&self, container: &Container) -> bool {
        let answers = self.0.lock().unwrap();
        let is_mute = answers.mute.get(&container.name).is_some_and(|until| *until > Instant::now());
        is_mute || answers.hung.contains(&(container.id.clone(), container.started_at))
    }
}

impl Probe for InMemory {
    async fn ask(&self, container: &Container, question: Question) -> Serving {
        match container.state {
            ContainerState::Running if self.hangs(container) => {
                let patience = match question {
                    Question::First => Duration::from_secs(2),
                    Question::Again => Duration::from_secs(8),
                };
                sleep(patience).await;
                Serving::Silent
            }
            ContainerState::Running => Serving::Answers,
            _ => Serving::Refused,
        }
    }

    async fn port_is_taken(&self, _: IpAddr, port: u16) -> bool {
        self.0.lock().unwrap().held.contains(&port)
    }

    async fn upstream(&self, _: &Route, _: Ask) -> UpstreamAnswer {
        UpstreamAnswer::Answers
    }
}
