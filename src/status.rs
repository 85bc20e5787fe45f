//! Conditions: what is true of each mirror, in the form of the Kubernetes API. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::desired::{Desired, Mirror, Role};
use crate::distribution::containerd::RegistryConfig;
use crate::distribution::node_layout;
use crate::distribution::registry_hosting::Advertised;
use crate::engine::{Container, ContainerState, EngineError};
use crate::execute::Failure;
use crate::manifest::{Lifecycle, State};
use crate::observed::{Cluster, Found, Node, Observed, Serving};
use crate::plan::{Obstacle, Plan, Sequence, Subject};
use crate::probe::CacheCounters;
use crate::provisioner::ProvisionError;
use crate::wiring::{WireState, wires};

/// The state of a whole cluster's registries.
#[derive(Debug, Clone)]
pub struct Status {
    /// The cluster.
    pub cluster: String,
    /// `Present`, `Absent` or `Purged`.
    pub state: String,
    /// Conditions of the cluster itself.
    pub conditions: Vec<Condition>,
    /// Names of its nodes that run.
    pub nodes: Vec<String>,
    /// Mirrors in order of their hosts.
    pub mirrors: Vec<MirrorStatus>,
    /// Hosts of what is still to be removed, and why it is not.
    pub leftovers: BTreeMap<String, String>,
}

/// The state of one mirror.
#[derive(Debug, Clone)]
pub struct MirrorStatus {
    /// What image references say.
    pub host: String,
    /// Cache or push registry.
    pub role: Role,
    /// Name of its container.
    pub name: String,
    /// Where a cache gets what it does not have.
    pub upstream: Option<String>,
    /// Host port, when known.
    pub port: Option<u16>,
    /// `127.0.0.1:5001`, when known.
    pub address: Option<String>,
    /// What nodes dial.
    pub alias: String,
    /// Its container.
    pub container: Option<Container>,
    /// Cache counters, where they were asked for and could be read.
    pub cache: Option<CacheCounters>,
    /// Conditions, `Ready` first.
    pub conditions: Vec<Condition>,
}

/// One thing that is true, false or unknown of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// Since when the status is what it is.
    pub since: Timestamp,
}

/// Text constants of an enum.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// The word in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }
    };
}

words! {
    /// What a condition is about.
    ConditionType {
        /// All that apply hold, except `UpstreamReachable`: a cache serves without its upstream.
        Ready,
        /// Its container runs.
        Running,
        /// `GET /v2/` answered 200 or 401 within two seconds.
        Serving,
        /// Its upstream accepts connections from here.
        UpstreamReachable,
        /// It is on the cluster's network under its alias.
        NetworkAttached,
        /// Every node that runs sends pulls of its images to it.
        NodesWired,
        /// Of a cluster that ksail creates: it exists and its nodes run.
        ClusterReady,
        /// Of a cluster with a registry to push to: tools in it are told of that one (KEP-1755).
        RegistryAdvertised,
    }
}

words! {
    /// Kubernetes' three values.
    ConditionStatus {
        /// It holds.
        True,
        /// It does not.
        False,
        /// It cannot be told.
        Unknown,
    }
}

words! {
    /// Every reason a condition can have.
    Reason {
        /// As desired.
        AsDesired,
        /// The container runs.
        ContainerRunning,
        /// There is no container.
        ContainerMissing,
        /// The container was never started.
        ContainerCreated,
        /// The container exited.
        ContainerExited,
        /// The container is paused.
        ContainerPaused,
        /// The container exits again and again.
        ContainerRestarting,
        /// The engine could not stop or remove the container.
        ContainerDead,
        /// The registry answers.
        Answering,
        /// The registry does not answer.
        NotAnswering,
        /// Nothing runs that could answer.
        NotRunning,
        /// It is published where ksail cannot reach it.
        NotReachableFromHere,
        /// The upstream accepts connections.
        UpstreamAnswers,
        /// The upstream does not.
        UpstreamUnreachable,
        /// The upstream has not been tried yet.
        NotProbed,
        /// On the cluster's network.
        Attached,
        /// Not on the cluster's network yet.
        NotAttached,
        /// The cluster's network does not exist (yet).
        NetworkNotFound,
        /// Every node has what it needs.
        Wired,
        /// There is no node that runs.
        NoNodes,
        /// A `hosts.toml` in the way is not ours.
        NodeFileForeign,
        /// A node's containerd has no `config_path`.
        NodeConfigPathMissing,
        /// A node's containerd has a list as `config_path`.
        NodeConfigPathList,
        /// A node's containerd has `registry.mirrors`.
        NodeRegistryMirrorsSet,
        /// A node's configuration could not be read.
        NodeConfigUnknown,
        /// A node's files could not be read or written.
        NodeUnreachable,
        /// The cluster's nodes run.
        ClusterRunning,
        /// The cluster exists and not all of its nodes run.
        ClusterStopped,
        /// There is no cluster.
        ClusterMissing,
        /// There is a cluster that should not be.
        ClusterLeft,
        /// The distribution's program is not on the `PATH`.
        ProvisionerNotFound,
        /// The distribution's program failed.
        ProvisionerFailed,
        /// The cluster tells of the registry.
        Advertised,
        /// It does not yet.
        NotAdvertised,
        /// What it tells was written by somebody else.
        AdvertisedByOthers,
        /// The cluster's API could not be asked.
        ApiUnreachable,
        /// The image could not be pulled.
        ImagePullFailed,
        /// The host port is taken.
        PortInUse,
        /// A container or volume of its name is not ours.
        NameConflict,
        /// The registry does not run with the settings it was given.
        ConfigRejected,
        /// The engine refused something else.
        EngineRefused,
        /// The engine does not answer.
        EngineUnavailable,
        /// It differs from the manifest and is being changed.
        Progressing,
    }
}

impl Reason {
    /// The reason a failure stands for.
    pub fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Engine { error, .. } => match error {
                EngineError::PullFailed { .. } => Self::ImagePullFailed,
                EngineError::PortInUse { .. } => Self::PortInUse,
                EngineError::Unavailable { .. } | EngineError::Timeout { .. } => Self::EngineUnavailable,
                _ => Self::EngineRefused,
            },
            Failure::NameTaken { .. } => Self::NameConflict,
            Failure::Exits { .. } => Self::ConfigRejected,
            Failure::DoesNotServe { .. } => Self::NotAnswering,
            Failure::Archive(_) => Self::EngineRefused,
            Failure::InNode { .. } => Self::NodeUnreachable,
            Failure::Provisioner(ProvisionError::CannotRun { .. }) => Self::ProvisionerNotFound,
            Failure::Provisioner(_) | Failure::Remains { .. } => Self::ProvisionerFailed,
        }
    }

    fn of_obstacle(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::PortInUse { .. } => Self::PortInUse,
            Obstacle::NameConflict { .. } => Self::NameConflict,
            Obstacle::NodeFileForeign { .. } => Self::NodeFileForeign,
            Obstacle::NodeIgnoresFiles { .. } => Self::NodeConfigPathMissing,
            Obstacle::ProvisionerNotFound { .. } => Self::ProvisionerNotFound,
        }
    }
}

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What should be.
    pub desired: &'a Desired,
    /// What is.
    pub observed: &'a Observed,
    /// What is left to do.
    pub plan: &'a Plan,
    /// The last failure of mirrors that have not succeeded since.
    pub failures: &'a BTreeMap<Subject, Failure>,
    /// Whether upstreams accept connections, by host of the mirror.
    pub upstreams: &'a BTreeMap<String, Result<(), String>>,
    /// The time of a condition that is new.
    pub now: Timestamp,
}

impl Status {
    /// Conditions from evidence; those whose status did not change since `before` keep their time.
    pub fn assess(evidence: &Evidence<'_>, before: Option<&Status>) -> Self {
        let desired = evidence.desired;
        let mut status = Self {
            cluster: desired.cluster.to_string(),
            state: format!("{:?}", desired.state),
            conditions: cluster_conditions(evidence),
            nodes: evidence.observed.nodes.iter().map(|node| node.name.clone()).collect(),
            mirrors: desired.mirrors.values().map(|mirror| assess_mirror(mirror, evidence)).collect(),
            leftovers: leftovers(evidence),
        };
        if let Some(before) = before {
            status.keep_times(before);
        }
        status
    }

    /// The same mirrors when nothing can be known of them because the engine is away.
    #[must_use]
    pub fn without_engine(&self, message: &str, now: Timestamp) -> Self {
        let mut status = self.clone();
        let of_mirrors = status.mirrors.iter_mut().flat_map(|mirror| &mut mirror.conditions);
        for condition in of_mirrors.chain(&mut status.conditions) {
            if condition.kind != ConditionType::UpstreamReachable {
                let verdict = Verdict::new(condition.kind, Unknown, Reason::EngineUnavailable, message);
                *condition = verdict.at(if condition.status == Unknown { condition.since } else { now });
            }
        }
        status
    }

    /// The cluster is being created or deleted: what there is of it is half-way.
    pub fn cluster_is_under_way(&mut self) {
        let ready = self.conditions.iter_mut().find(|condition| condition.kind == ConditionType::ClusterReady);
        if let Some(ready) = ready.filter(|ready| ready.status == True) {
            ready.status = False;
            ready.reason = Reason::Progressing;
            "it is being created".clone_into(&mut ready.message);
        }
    }

    /// Takes the mirrors that `keep` names from `before`: while actions of theirs run, what is observed is half-way.
    pub fn keep(&mut self, before: &Status, keep: impl Fn(&str) -> bool) {
        for mirror in self.mirrors.iter_mut().filter(|mirror| keep(&mirror.host)) {
            if let Some(old) = before.mirrors.iter().find(|old| old.host == mirror.host) {
                *mirror = old.clone();
            }
        }
    }

    /// Whether every mirror is `Ready`, nothing is left to remove, and a cluster that ksail creates is there. What the
    /// cluster tells of its registry is for tools and holds nobody up.
    pub fn is_ready(&self) -> bool {
        let cluster = self.conditions.iter().find(|condition| condition.kind == ConditionType::ClusterReady);
        self.leftovers.is_empty()
            && self.mirrors.iter().all(MirrorStatus::is_ready)
            && cluster.is_none_or(|cluster| cluster.status == True)
    }

    /// Conditions that are not what they were in `before`, apart from their time.
    pub fn changes_since<'a>(&'a self, before: Option<&Status>) -> Vec<(Subject, &'a Condition)> {
        let is_new = |(subject, condition): &(Subject, &Condition)| {
            before.and_then(|before| before.condition(subject, condition.kind)) != Some(condition)
        };
        self.all_conditions().filter(is_new).collect()
    }

    fn all_conditions(&self) -> impl Iterator<Item = (Subject, &Condition)> {
        let of_mirror = |mirror: &MirrorStatus| Subject::mirror(&mirror.host);
        let of_mirrors = self
            .mirrors
            .iter()
            .flat_map(move |mirror| mirror.conditions.iter().map(move |condition| (of_mirror(mirror), condition)));
        let cluster = Subject::Cluster(self.cluster.clone());
        of_mirrors.chain(self.conditions.iter().map(move |condition| (cluster.clone(), condition)))
    }

    fn condition(&self, subject: &Subject, kind: ConditionType) -> Option<&Condition> {
        let conditions = match subject {
            Subject::Mirror(host) => &self.mirrors.iter().find(|mirror| mirror.host == *host)?.conditions,
            Subject::Cluster(_) => &self.conditions,
            Subject::Node(_) => return None,
        };
        conditions.iter().find(|condition| condition.kind == kind)
    }

    fn keep_times(&mut self, before: &Status) {
        let cluster = Subject::Cluster(self.cluster.clone());
        let keep = |subject: &Subject, condition: &mut Condition| {
            let old = before.condition(subject, condition.kind).filter(|old| old.status == condition.status);
            condition.since = old.map_or(condition.since, |old| old.since);
        };
        self.conditions.iter_mut().for_each(|condition| keep(&cluster, condition));
        for mirror in &mut self.mirrors {
            let subject = Subject::mirror(&mirror.host);
            mirror.conditions.iter_mut().for_each(|condition| keep(&subject, condition));
        }
    }
}

impl MirrorStatus {
    /// One of its conditions.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether it is `Ready`.
    pub fn is_ready(&self) -> bool {
        self.condition(ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::True)
    }
}

fn leftovers(evidence: &Evidence<'_>) -> BTreeMap<String, String> {
    let is_desired = |host: &str| evidence.desired.mirrors.keys().any(|desired| desired.as_str() == host);
    let why = |subject: &Subject, sequence: &Sequence| {
        let failure = evidence.failures.get(subject).map(ToString::to_string);
        failure.or_else(|| sequence.steps.first().map(|step| step.cause.clone())).unwrap_or_default()
    };
    let left = evidence.plan.sequences.iter().filter_map(|(subject, sequence)| {
        let host = subject.host().filter(|host| !is_desired(host))?;
        Some((host.to_owned(), why(subject, sequence)))
    });
    left.collect()
}

/// What is true of the cluster itself.
fn cluster_conditions(evidence: &Evidence<'_>) -> Vec<Condition> {
    let verdicts = [cluster_ready(evidence), registry_advertised(evidence)];
    verdicts.into_iter().flatten().map(|verdict| verdict.at(evidence.now)).collect()
}

/// Of a cluster that is ksail's to create and delete; of one to be deleted, only while it is there.
fn cluster_ready(evidence: &Evidence<'_>) -> Option<Verdict> {
    let Evidence { desired, observed, .. } = evidence;
    let verdict = |status, reason, message| Some(Verdict::new(ConditionType::ClusterReady, status, reason, message));
    let is_wanted = desired.state == State::Present;
    if desired.lifecycle == Lifecycle::External || (!is_wanted && observed.cluster == Cluster::Missing) {
        return None;
    }
    let subject = Subject::Cluster(desired.cluster.to_string());
    let sequence = evidence.plan.sequences.get(&subject);
    let obstacle = sequence.and_then(|sequence| sequence.obstacles.first());
    let is_of_program = |failure: &&Failure| matches!(failure, Failure::Provisioner(_) | Failure::Remains { .. });
    let failure = evidence.failures.get(&subject).filter(is_of_program);
    match (obstacle, failure, observed.cluster) {
        (Some(obstacle), ..) => verdict(False, Reason::of_obstacle(obstacle), obstacle.to_string()),
        (None, Some(failure), _) => verdict(False, Reason::of(failure), failure.to_string()),
        (None, None, _) if !is_wanted => {
            verdict(False, Reason::ClusterLeft, format!("cluster {} is still there", desired.cluster))
        }
        (None, None, Cluster::Running) if !observed.stopped_nodes.is_empty() => {
            let names = observed.stopped_nodes.join(" ");
            let message = format!("not all of its nodes run; 'docker start {names}' starts the others");
            verdict(False, Reason::ClusterStopped, message)
        }
        (None, None, Cluster::Running) => verdict(True, Reason::ClusterRunning, "its nodes run".to_owned()),
        (None, None, Cluster::Stopped) => {
            let name = desired.cluster.as_str();
            let label = node_layout(desired.distribution).cluster_label;
            let message = format!(
                "no node of cluster {name} runs; 'docker start $(docker ps -aq --filter label={label}={name})' starts them"
            );
            verdict(False, Reason::ClusterStopped, message)
        }
        (None, None, Cluster::Missing) => {
            verdict(False, Reason::ClusterMissing, format!("there is no cluster {} yet", desired.cluster))
        }
    }
}

fn registry_advertised(evidence: &Evidence<'_>) -> Option<Verdict> {
    let verdict =
        |status, reason, message| Some(Verdict::new(ConditionType::RegistryAdvertised, status, reason, message));
    let (wanted, found) = (evidence.desired.hosting.as_ref()?, evidence.observed.hosting.as_ref()?);
    let failure = evidence.failures.get(&Subject::Cluster(evidence.desired.cluster.to_string()));
    match (&found.advertised, failure) {
        (advertised, _) if advertised.says(wanted) => {
            verdict(True, Reason::Advertised, format!("local-registry-hosting says {}", wanted.host()))
        }
        (Advertised::Foreign, _) => {
            let message = "local-registry-hosting in kube-public was not written by ksail and is left alone";
            verdict(False, Reason::AdvertisedByOthers, message.to_owned())
        }
        (Advertised::Unknown(why), _) => verdict(Unknown, Reason::ApiUnreachable, format!("{}: {why}", found.node)),
        (_, Some(failure)) => verdict(False, Reason::ApiUnreachable, failure.to_string()),
        _ => verdict(False, Reason::NotAdvertised, "local-registry-hosting is not written yet".to_owned()),
    }
}

fn assess_mirror(mirror: &Mirror, evidence: &Evidence<'_>) -> MirrorStatus {
    let host = mirror.host.to_string();
    let named = |name: &str| evidence.observed.containers.iter().find(|found| found.container.name == name);
    let found = named(&mirror.name).or_else(|| named(&mirror.next_name()));
    let bound = found.and_then(|found| {
        found.container.bound_ports.iter().find(|port| port.container_port == mirror.listen.container_port)
    });
    let asked = Some(mirror.listen.host_port).filter(|port| *port != 0);
    let port = bound.map(|port| port.host_port).or(asked);

    let mut conditions = vec![running(found), serving(found)];
    if mirror.role == Role::Mirror {
        conditions.push(upstream_reachable(mirror, evidence.upstreams.get(&host)));
    }
    conditions.push(network_attached(mirror, found, evidence));
    conditions.push(nodes_wired(mirror, evidence));
    let subject = Subject::mirror(&host);
    let mut ready = ready(&conditions, evidence.plan.sequences.get(&subject), evidence.failures.get(&subject));
    if let (Reason::ConfigRejected, Some(Err(error))) = (ready.reason, evidence.upstreams.get(&host)) {
        // Registry 2 asks its upstream when it starts, and exits when nobody answers.
        ready.message = format!("{}; its upstream does not answer from here: {error}", ready.message);
    }
    conditions.insert(0, ready);
    let conditions = conditions.into_iter().map(|verdict| verdict.at(evidence.now)).collect();

    MirrorStatus {
        role: mirror.role,
        name: mirror.name.clone(),
        upstream: mirror.upstream.as_ref().map(ToString::to_string),
        port,
        address: port.map(|port| mirror.address(port)),
        alias: format!("{}:{}", mirror.name, mirror.listen.container_port),
        container: found.map(|found| found.container.clone()),
        cache: None,
        conditions,
        host,
    }
}

/// A condition without its time.
struct Verdict {
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn new(kind: ConditionType, status: ConditionStatus, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    fn at(self, since: Timestamp) -> Condition {
        Condition { kind: self.kind, status: self.status, reason: self.reason, message: self.message, since }
    }
}

use ConditionStatus::{False, True, Unknown};

fn running(found: Option<&Found>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict::new(ConditionType::Running, status, reason, message);
    let Some(found) = found else {
        return verdict(False, Reason::ContainerMissing, "there is no container".to_owned());
    };
    let container = &found.container;
    let code = container.exit_code.map(|code| format!(" with code {code}")).unwrap_or_default();
    match container.state {
        ContainerState::Running => verdict(True, Reason::ContainerRunning, "container runs".to_owned()),
        ContainerState::Paused => verdict(False, Reason::ContainerPaused, "container is paused".to_owned()),
        ContainerState::Created => verdict(False, Reason::ContainerCreated, "container was never started".to_owned()),
        ContainerState::Restarting => {
            verdict(False, Reason::ContainerRestarting, format!("container keeps exiting{code}"))
        }
        ContainerState::Exited => verdict(False, Reason::ContainerExited, format!("container exited{code}")),
        ContainerState::Dead | ContainerState::Removing => {
            verdict(False, Reason::ContainerDead, format!("container is {}", container.state))
        }
    }
}

fn serving(found: Option<&Found>) -> Verdict {
    let verdict = |status, reason, message: &str| Verdict::new(ConditionType::Serving, status, reason, message);
    let up = |found: &&Found| matches!(found.container.state, ContainerState::Running | ContainerState::Paused);
    match found.filter(up).map(|found| found.serving) {
        None => verdict(False, Reason::NotRunning, "container does not run"),
        Some(Serving::Answers) => verdict(True, Reason::Answering, "registry answers /v2/"),
        Some(Serving::Refused) => verdict(False, Reason::NotAnswering, "registry does not answer /v2/"),
        Some(Serving::Silent) => verdict(False, Reason::NotAnswering, "registry did not answer /v2/ within 2 s"),
        Some(Serving::Unknown) => {
            verdict(Unknown, Reason::NotReachableFromHere, "its port cannot be reached from here")
        }
    }
}

fn upstream_reachable(mirror: &Mirror, probed: Option<&Result<(), String>>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::UpstreamReachable, status, reason, message);
    let upstream = mirror.upstream.as_ref().map(ToString::to_string).unwrap_or_default();
    match probed {
        None => verdict(Unknown, Reason::NotProbed, format!("{upstream} has not been tried yet")),
        Some(Ok(())) => verdict(True, Reason::UpstreamAnswers, format!("{upstream} accepts connections")),
        Some(Err(error)) => verdict(False, Reason::UpstreamUnreachable, format!("{upstream}: {error}")),
    }
}

fn network_attached(mirror: &Mirror, found: Option<&Found>, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::NetworkAttached, status, reason, message);
    let Some(network) = &evidence.observed.network else {
        let message =
            format!("network {} does not exist yet; the mirror is attached when it appears", evidence.desired.network);
        return verdict(False, Reason::NetworkNotFound, message);
    };
    let on_it = |(name, endpoint): (&String, &crate::engine::Endpoint)| {
        (endpoint.network_id == network.id || (endpoint.network_id.is_empty() && *name == network.name))
            && endpoint.aliases.contains(&mirror.name)
    };
    if found.is_some_and(|found| found.container.endpoints.iter().any(on_it)) {
        verdict(True, Reason::Attached, format!("on network {} as {}", network.name, mirror.name))
    } else {
        verdict(False, Reason::NotAttached, format!("not on network {}", network.name))
    }
}

/// Of the nodes that run; the first that is not wired says why.
fn nodes_wired(mirror: &Mirror, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::NodesWired, status, reason, message);
    let nodes = &evidence.observed.nodes;
    if nodes.is_empty() {
        return verdict(Unknown, Reason::NoNodes, "no node of the cluster runs".to_owned());
    }
    let layout = node_layout(evidence.desired.distribution);
    let trouble = nodes.iter().find_map(|node| node_trouble(node, mirror, evidence, layout.config));
    if let Some((reason, message)) = trouble {
        return verdict(False, reason, message);
    }
    let unknown = nodes.iter().find_map(|node| match &node.registry_config {
        RegistryConfig::Unknown(why) => {
            Some(format!("whether containerd on {} reads hosts.toml files: {why}", node.name))
        }
        _ => None,
    });
    match (unknown, nodes.len()) {
        (Some(message), _) => verdict(Unknown, Reason::NodeConfigUnknown, message),
        (None, 1) => verdict(True, Reason::Wired, "1 node is wired".to_owned()),
        (None, count) => verdict(True, Reason::Wired, format!("{count} nodes are wired")),
    }
}

/// Why a node does not send a mirror's pulls to it.
fn node_trouble(node: &Node, mirror: &Mirror, evidence: &Evidence<'_>, config: &str) -> Option<(Reason, String)> {
    let name = &node.name;
    if let Some(why) = &node.unreadable {
        return Some((Reason::NodeUnreachable, format!("the files of {name} cannot be read: {why}")));
    }
    if let Some(complaint) = node.registry_config.complaint(name, &node.hosts_directory, config) {
        let reason = match node.registry_config {
            RegistryConfig::List { .. } => Reason::NodeConfigPathList,
            RegistryConfig::MirrorsSet { .. } => Reason::NodeRegistryMirrorsSet,
            _ => Reason::NodeConfigPathMissing,
        };
        return Some((reason, complaint));
    }
    wires(node, mirror).find_map(|wire| match wire.state {
        WireState::AsDesired => None,
        WireState::Foreign(path) => {
            let foreign = Obstacle::NodeFileForeign { node: name.clone(), path };
            Some((Reason::NodeFileForeign, foreign.to_string()))
        }
        WireState::Missing | WireState::Differs => {
            let failure = evidence.failures.get(&Subject::Node(name.clone()));
            Some(match failure {
                Some(failure) => (Reason::NodeUnreachable, failure.to_string()),
                None => (Reason::Progressing, format!("{} is not written on {name} yet", wire.path)),
            })
        }
    })
}

/// A network that does not exist yet does not stop a mirror from being ready: it serves this machine,
/// and the network appears only with the cluster.
fn ready(conditions: &[Verdict], sequence: Option<&Sequence>, failure: Option<&Failure>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Ready, status, reason, message);
    if let Some(obstacle) = sequence.and_then(|sequence| sequence.obstacles.first()) {
        return verdict(False, Reason::of_obstacle(obstacle), obstacle.to_string());
    }
    let pending = sequence.and_then(|sequence| sequence.steps.first());
    if let (Some(failure), Some(_)) = (failure, pending) {
        return verdict(False, Reason::of(failure), failure.to_string());
    }
    if let Some(step) = pending {
        return verdict(False, Reason::Progressing, step.cause.clone());
    }
    let counts = |verdict: &&Verdict| {
        verdict.kind != ConditionType::UpstreamReachable
            && verdict.reason != Reason::NetworkNotFound
            && verdict.status == False
    };
    match conditions.iter().find(counts) {
        Some(first) => verdict(False, first.reason, first.message.clone()),
        None => verdict(True, Reason::AsDesired, "as ksail.yaml says".to_owned()),
    }
}
