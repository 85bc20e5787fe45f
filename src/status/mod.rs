//! Conditions: what is true of each mirror, in the form of the Kubernetes API. Pure.

mod cluster;
mod condition;
mod mirror;
mod node;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::ConditionStatus::{True, Unknown};
use self::condition::Verdict;
pub use self::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::desired::Desired;
use crate::engine::Container;
use crate::engine::EngineError;
use crate::observed::Observed;
use crate::outcome::Failure;
use crate::plan::{Plan, Sequence, Subject};
use crate::probe::UpstreamAnswer;
use crate::registry::{CacheCounters, LastWords, Role, Word};

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
    /// Conditions of each of them: what keeps mirrors from being pulled through is told there, once.
    pub node_conditions: BTreeMap<String, Vec<Condition>>,
    /// Mirrors in order of their hosts.
    pub mirrors: Vec<MirrorStatus>,
    /// What is still to be removed, hosts and volumes, and why it is not.
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
    pub container: Option<std::sync::Arc<Container>>,
    /// Since when it is served from its volume alone, where it is.
    pub from_cache_since: Option<Timestamp>,
    /// Cache counters, where they were asked for and could be read.
    pub cache: Option<CacheCounters>,
    /// Conditions, `Ready` first.
    pub conditions: Vec<Condition>,
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
    /// What upstreams answer, by host of the mirror.
    pub upstreams: &'a BTreeMap<String, UpstreamAnswer>,
    /// What registries have said last of upstreams that cannot be asked from here, by host.
    pub words: &'a BTreeMap<String, Word>,
    /// What registries have said last before they ended, by host.
    pub last_words: &'a BTreeMap<String, LastWords>,
    /// Whoever asks does what is left to do: what is not there yet is about to be.
    pub is_at_work: bool,
    /// What is being done to the cluster, in words: what there is of it is half-way.
    pub done_to_cluster: Option<&'a str>,
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
            conditions: cluster::conditions(evidence),
            nodes: evidence.observed.nodes.iter().map(|node| node.name.clone()).collect(),
            node_conditions: node_conditions(evidence),
            mirrors: desired.mirrors.values().map(|mirror| mirror::assess(mirror, evidence)).collect(),
            leftovers: leftovers(evidence),
        };
        if let Some(before) = before {
            status.keep_times(before);
        }
        status
    }

    /// The same mirrors when nothing can be known of them, because the engine is away or refuses.
    #[must_use]
    pub fn without_engine(&self, error: &EngineError, now: Timestamp) -> Self {
        let reason = if error.is_refusal() { Reason::EngineRefused } else { Reason::EngineUnavailable };
        let message = error.to_string();
        let mut status = self.clone();
        let of_mirrors = status.mirrors.iter_mut().flat_map(|mirror| &mut mirror.conditions);
        let of_nodes = status.node_conditions.values_mut().flatten();
        for condition in of_mirrors.chain(of_nodes).chain(&mut status.conditions) {
            if condition.kind != ConditionType::UpstreamReachable {
                let verdict = Verdict::new(condition.kind, Unknown, reason, message.clone());
                *condition = verdict.at(if condition.status == Unknown { condition.since } else { now });
            }
        }
        status
    }

    /// Takes the mirrors that `keep` names from `before`: while actions of theirs run, what is observed is half-way. What
    /// their upstreams answer is not: it may be what the actions wait for.
    pub fn keep(&mut self, before: &Status, keep: impl Fn(&str) -> bool) {
        for mirror in self.mirrors.iter_mut().filter(|mirror| keep(&mirror.host)) {
            if let Some(old) = before.mirrors.iter().find(|old| old.host == mirror.host) {
                let new = std::mem::replace(mirror, old.clone());
                let is_of_upstream = |condition: &Condition| condition.kind == ConditionType::UpstreamReachable;
                let answered = new.conditions.into_iter().find(is_of_upstream);
                let told = mirror.conditions.iter_mut().find(|condition| is_of_upstream(condition));
                if let (Some(told), Some(answered)) = (told, answered) {
                    *told = answered;
                }
            }
        }
    }

    /// Takes the nodes that `keep` names from `before`: what is observed of them is half-way, or outdated.
    pub fn keep_nodes(&mut self, before: &Status, keep: impl Fn(&str) -> bool) {
        for (name, conditions) in self.node_conditions.iter_mut().filter(|(name, _)| keep(name)) {
            if let Some(old) = before.node_conditions.get(name) {
                conditions.clone_from(old);
            }
        }
    }

    /// Whether there is a mirror of this host.
    pub fn has(&self, host: &str) -> bool {
        self.mirrors.iter().any(|mirror| mirror.host == host)
    }

    /// Whether there is one, and it is not `Ready`.
    pub fn is_progressing(&self, host: &str) -> bool {
        self.mirrors.iter().any(|mirror| mirror.host == host && !mirror.is_ready())
    }

    /// Whether every mirror is `Ready`, nothing is left to remove, and a cluster that ksail creates is there. What the
    /// cluster tells of its registry is for tools and holds nobody up.
    pub fn is_ready(&self) -> bool {
        let cluster = self.conditions.iter().find(|condition| condition.kind == ConditionType::ClusterReady);
        self.leftovers.is_empty()
            && self.mirrors.iter().all(MirrorStatus::is_ready)
            && cluster.is_none_or(|cluster| cluster.status == True)
    }

    /// What keeps it from being [ready](Self::is_ready), a line each.
    pub fn shortfalls(&self) -> Vec<String> {
        let named = |mirror: &MirrorStatus| {
            let reason = mirror.condition(ConditionType::Ready).map_or("Unknown", |ready| ready.reason.as_str());
            format!("{} ({reason})", mirror.host)
        };
        let not_ready: Vec<_> = self.mirrors.iter().filter(|mirror| !mirror.is_ready()).map(named).collect();
        let mut lines = Vec::new();
        if !not_ready.is_empty() {
            let verb = if not_ready.len() == 1 { "is" } else { "are" };
            let (count, all) = (not_ready.len(), self.mirrors.len());
            lines.push(format!("{count} of {all} mirrors {verb} not Ready: {}", not_ready.join(", ")));
        }
        let is_about_cluster =
            |condition: &&Condition| condition.kind == ConditionType::ClusterReady && condition.status != True;
        let cluster = self.conditions.iter().find(is_about_cluster);
        lines.extend(
            cluster.map(|cluster| format!("cluster {} is not ready ({})", self.cluster, cluster.reason.as_str())),
        );
        lines.extend(self.leftovers.keys().map(|what| format!("{what} is still to be removed")));
        lines
    }

    /// Conditions that are not what they were in `before`, apart from their time.
    pub fn changes_since<'a>(&'a self, before: Option<&Status>) -> Vec<(Subject, &'a Condition)> {
        let of_mirrors = before.map(Self::by_host).unwrap_or_default();
        let mirrors = self.mirrors.iter().flat_map(|mirror| {
            let before = of_mirrors.get(mirror.host.as_str()).map_or(&[][..], |before| &before.conditions);
            let changed = mirror.conditions.iter().filter(|condition| !before.contains(condition));
            changed.map(|condition| (Subject::mirror(&mirror.host), condition))
        });
        let nodes = self.node_conditions.iter().flat_map(|(name, conditions)| {
            let before = before.and_then(|before| before.node_conditions.get(name)).map_or(&[][..], Vec::as_slice);
            let changed = conditions.iter().filter(|condition| !before.contains(condition));
            changed.map(|condition| (Subject::Node(name.clone()), condition))
        });
        let before = before.map_or(&[][..], |before| &before.conditions);
        let changed = self.conditions.iter().filter(|condition| !before.contains(condition));
        nodes
            .chain(mirrors)
            .chain(changed.map(|condition| (Subject::Cluster(self.cluster.clone()), condition)))
            .collect()
    }

    fn by_host(&self) -> BTreeMap<&str, &MirrorStatus> {
        self.mirrors.iter().map(|mirror| (mirror.host.as_str(), mirror)).collect()
    }

    fn keep_times(&mut self, before: &Status) {
        let keep = |conditions: &mut [Condition], before: &[Condition]| {
            for condition in conditions {
                let is_same = |old: &&Condition| old.kind == condition.kind && old.status == condition.status;
                condition.since = before.iter().find(is_same).map_or(condition.since, |old| old.since);
            }
        };
        keep(&mut self.conditions, &before.conditions);
        for (name, conditions) in &mut self.node_conditions {
            keep(conditions, before.node_conditions.get(name).map_or(&[][..], Vec::as_slice));
        }
        let of_mirrors = before.by_host();
        for mirror in &mut self.mirrors {
            let before = of_mirrors.get(mirror.host.as_str()).map_or(&[][..], |before| &before.conditions);
            keep(&mut mirror.conditions, before);
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

fn node_conditions(evidence: &Evidence<'_>) -> BTreeMap<String, Vec<Condition>> {
    let observed = evidence.observed;
    let read = observed.nodes.iter().map(|node| (node.name.clone(), node::conditions(node, evidence)));
    let unread = observed.unread_nodes.iter().map(|name| (name.clone(), node::unread(name, evidence)));
    read.chain(unread).collect()
}

fn leftovers(evidence: &Evidence<'_>) -> BTreeMap<String, String> {
    let is_desired = |host: &str| evidence.desired.mirrors.keys().any(|desired| desired.as_str() == host);
    let why = |subject: &Subject, sequence: &Sequence| {
        let failure = evidence.failures.get(subject).map(ToString::to_string);
        let obstacle = sequence.obstacles.first().map(ToString::to_string);
        let step = || sequence.steps.first().map(|step| step.cause.clone());
        failure.or(obstacle).or_else(step).unwrap_or_default()
    };
    let left = evidence.plan.sequences.iter().filter_map(|(subject, sequence)| {
        let goes = match subject {
            Subject::Mirror(host) => !is_desired(host),
            Subject::Volume(_) => true,
            Subject::Node(_) | Subject::Cluster(_) => false,
        };
        goes.then(|| (subject.to_string(), why(subject, sequence)))
    });
    left.collect()
}
