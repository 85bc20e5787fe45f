//! Conditions: what is true of each mirror, in the form of the Kubernetes API. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::desired::{Desired, Mirror, Role};
use crate::engine::{Container, ContainerState, EngineError};
use crate::execute::Failure;
use crate::observed::{Found, Observed, Serving};
use crate::plan::{Obstacle, Plan, Sequence};
use crate::probe::CacheCounters;

/// The state of a whole cluster's registries.
#[derive(Debug, Clone)]
pub struct Status {
    /// The cluster.
    pub cluster: String,
    /// `Present`, `Absent` or `Purged`.
    pub state: String,
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
        }
    }

    fn of_obstacle(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::PortInUse { .. } => Self::PortInUse,
            Obstacle::NameConflict { .. } => Self::NameConflict,
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
    pub failures: &'a BTreeMap<String, Failure>,
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
        for condition in status.mirrors.iter_mut().flat_map(|mirror| &mut mirror.conditions) {
            if condition.kind != ConditionType::UpstreamReachable {
                let verdict = Verdict::new(condition.kind, Unknown, Reason::EngineUnavailable, message);
                *condition = verdict.at(if condition.status == Unknown { condition.since } else { now });
            }
        }
        status
    }

    /// Takes the mirrors that `keep` names from `before`: while actions of theirs run, what is observed is half-way.
    pub fn keep(&mut self, before: &Status, keep: impl Fn(&str) -> bool) {
        for mirror in self.mirrors.iter_mut().filter(|mirror| keep(&mirror.host)) {
            if let Some(old) = before.mirrors.iter().find(|old| old.host == mirror.host) {
                *mirror = old.clone();
            }
        }
    }

    /// Whether every mirror is `Ready` and nothing is left to remove.
    pub fn is_ready(&self) -> bool {
        self.leftovers.is_empty() && self.mirrors.iter().all(MirrorStatus::is_ready)
    }

    /// Conditions that are not what they were in `before`, apart from their time.
    pub fn changes_since<'a>(&'a self, before: Option<&Status>) -> Vec<(&'a str, &'a Condition)> {
        let mut changes = Vec::new();
        for mirror in &self.mirrors {
            for condition in &mirror.conditions {
                if before.and_then(|before| before.condition(&mirror.host, condition.kind)) != Some(condition) {
                    changes.push((mirror.host.as_str(), condition));
                }
            }
        }
        changes
    }

    fn condition(&self, host: &str, kind: ConditionType) -> Option<&Condition> {
        self.mirrors.iter().find(|mirror| mirror.host == host)?.condition(kind)
    }

    fn keep_times(&mut self, before: &Status) {
        for mirror in &mut self.mirrors {
            for condition in &mut mirror.conditions {
                if let Some(old) =
                    before.condition(&mirror.host, condition.kind).filter(|old| old.status == condition.status)
                {
                    condition.since = old.since;
                }
            }
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
    let undesired = |host: &&String| !evidence.desired.mirrors.keys().any(|desired| desired.as_str() == **host);
    let why = |host: &String, sequence: &Sequence| {
        let failure = evidence.failures.get(host).map(ToString::to_string);
        failure.or_else(|| sequence.steps.first().map(|step| step.cause.clone())).unwrap_or_default()
    };
    let sequences = evidence.plan.sequences.iter().filter(|(host, _)| undesired(host));
    sequences.map(|(host, sequence)| (host.clone(), why(host, sequence))).collect()
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
    let mut ready = ready(&conditions, evidence.plan.sequences.get(&host), evidence.failures.get(&host));
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

/// A network that does not exist yet does not stop a mirror from being ready: it serves this machine,
/// and the network appears only with the cluster.
fn ready(conditions: &[Verdict], sequence: Option<&Sequence>, failure: Option<&Failure>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Ready, status, reason, message);
    if let Some(obstacle) = sequence.and_then(|sequence| sequence.obstacle.as_ref()) {
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
