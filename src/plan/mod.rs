//! What turns observed into desired: per mirror a sequence of actions, each with a cause. Pure.
//!
//! The least disruptive action wins: connect rather than recreate, start rather than recreate.
//! `ksail diff` prints a plan; everything else executes one.

mod action;
mod cluster;
mod difference;
mod milestone;
mod mirror;
mod node;
mod removal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use action::{Action, ClusterSpec, Step, Target};
pub use cluster::deletion;
pub use milestone::Milestone;

use crate::desired::Desired;
use crate::manifest::Host;
use crate::observed::{Foreign, Observed, Shadow};
pub use crate::subject::Subject;

/// The actions that turn observed into desired. Sequences are independent and run concurrently.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By what they are about.
    pub sequences: BTreeMap<Subject, Sequence>,
    /// Somebody else's containers that are reached in the place of a mirror's upstream, by the mirror's host: nothing is
    /// to be done about them but by whoever owns them.
    pub shadows: BTreeMap<String, Shadow>,
}

/// What happens to one subject, in order.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// The steps.
    pub steps: Vec<Step>,
    /// Why no step leads all the way to what is desired.
    pub obstacles: Vec<Obstacle>,
    /// What this version of ksail would do differently, and nobody misses.
    pub postponed: Option<Postponed>,
    /// Whether a cache that is to be stopped would start again is not known yet, and to be asked first.
    pub asks: bool,
    /// Nothing is done but to bring a container into the shape that this version gives it.
    pub renews: bool,
}

/// A change that waits until a cache's upstream answers: its registry would not start again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// What is to be changed.
    pub cause: String,
    /// Why it waits.
    pub why: String,
}

impl fmt::Display for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: waits, because the registry would not start again: {}", self.cause, self.why)
    }
}

impl Sequence {
    /// Whether something waits until the upstream answers.
    pub fn waits_for_upstream(&self) -> bool {
        let is_upstream = |obstacle: &Obstacle| matches!(obstacle, Obstacle::UpstreamAway(_));
        self.postponed.is_some() || self.obstacles.iter().any(is_upstream)
    }

    /// Whether only somebody else can have something done.
    pub fn is_blocked(&self) -> bool {
        self.steps.is_empty() && !self.obstacles.is_empty()
    }

    /// What keeps the registry of a mirror from running, if nothing can be done about it. That one cannot be looked at says
    /// nothing of that.
    pub fn cannot_run(&self) -> Option<&Obstacle> {
        let keeps =
            |obstacle: &&Obstacle| matches!(obstacle, Obstacle::PortInUse { .. } | Obstacle::NameConflict { .. });
        self.obstacles.iter().find(keeps).filter(|_| self.steps.is_empty())
    }

    /// Whether there is nothing to do and nothing in the way.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.obstacles.is_empty() && self.postponed.is_none()
    }
}

/// What only somebody else can remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A host port is held by someone else.
    PortInUse {
        /// The port.
        port: u16,
        /// The container that holds it; `None` when it is another process.
        holder: Option<String>,
        /// Another port, which was tried and is free.
        next_free: Option<u16>,
    },
    /// A container or volume of the mirror's name is not ours.
    NameConflict {
        /// `container` or `volume`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The cluster it belongs to, when it is ksail's.
        cluster: Option<String>,
    },
    /// The engine does not say how a container of the mirror's is.
    Unreadable {
        /// Which, and the engine's words.
        error: String,
    },
    /// A cache would not start again while its upstream is away, so it is not stopped.
    UpstreamAway(Postponed),
    /// A `hosts.toml` on a node is not ours.
    NodeFileForeign {
        /// The node.
        node: String,
        /// Which file.
        file: Foreign,
    },
    /// A node's containerd does not read `hosts.toml` files.
    NodeIgnoresFiles {
        /// Why, and what to do.
        complaint: String,
    },
    /// The cluster is there, and no node of it has a control plane.
    ClusterIncomplete {
        /// Its name.
        cluster: String,
    },
    /// The program that creates and deletes clusters is not on the `PATH`.
    ProvisionerNotFound {
        /// `kind` or `k3d`.
        program: &'static str,
        /// Where people get it.
        install: &'static str,
        /// `create` or `delete`.
        to: &'static str,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortInUse { port, holder, next_free } => {
                match holder {
                    Some(holder) => write!(f, "port {port} is held by container {holder}")?,
                    None => write!(f, "port {port} is held by a process outside the engine")?,
                }
                next_free.map_or(Ok(()), |free| write!(f, "; port {free} is free"))
            }
            Self::NameConflict { kind, name, cluster: Some(cluster) } => {
                write!(f, "{kind} {name} belongs to cluster {cluster}; remove it there, or rename one of the clusters")
            }
            Self::NameConflict { kind, name, cluster: None } => {
                write!(f, "{kind} {name} was not made by ksail and is left alone; rename or remove it")
            }
            Self::Unreadable { error } => f.write_str(error),
            Self::UpstreamAway(postponed) => write!(f, "{postponed}"),
            Self::NodeFileForeign { node, file: Foreign { path, cluster: None } } => {
                write!(f, "{path} on {node} was not written by ksail and is left alone; move it away to have it wired")
            }
            Self::NodeFileForeign { node, file: Foreign { path, cluster: Some(cluster) } } => {
                write!(
                    f,
                    "{path} on {node} is cluster {cluster}'s and is left alone: nodes of both clusters share that directory, and each wants the file to name its own mirror; mount another one into the nodes of one of them"
                )
            }
            Self::NodeIgnoresFiles { complaint } => f.write_str(complaint),
            Self::ClusterIncomplete { cluster } => {
                write!(
                    f,
                    "no node of cluster {cluster} has a control plane: it is being made, was made half-way, or has lost it; if nobody is making it, 'ksail cluster delete' and 'ksail cluster create' make it anew"
                )
            }
            Self::ProvisionerNotFound { program, install, to } => {
                write!(
                    f,
                    "cannot {to} the cluster: {program} is not on the PATH; install it ({install}), or write 'lifecycle: External' to {to} the cluster yourself"
                )
            }
        }
    }
}

/// Compares what is with what should be.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut sequences = mirrors(desired, observed);
    let has_name = |host: &Host| {
        let sequence = sequences.get(&Subject::mirror(host));
        let is_taken = |obstacle: &Obstacle| matches!(obstacle, Obstacle::NameConflict { .. });
        !sequence.is_some_and(|sequence| sequence.obstacles.iter().any(is_taken))
    };
    let nodes: BTreeMap<Subject, Sequence> = observed
        .nodes
        .iter()
        .map(|node| (Subject::Node(node.name.clone()), node::sequence(desired, node, &has_name)))
        .collect();
    let unwired = nodes.iter().filter(|(_, sequence)| sequence.steps.iter().any(Step::unwires));
    let unwired: Vec<Milestone> = unwired.map(|(node, _)| Milestone::Ended(node.clone())).collect();
    sequences.extend(nodes);
    let removals = removal::sequences(desired, observed, &sequences, &unwired);
    sequences.extend(removals);
    let mirrors = sequences.keys().filter(|subject| subject.host().is_some());
    let hosting = desired.hosting.as_ref().filter(|hosting| {
        let sequence = sequences.get(&Subject::mirror(hosting.mirror()));
        sequence.is_none_or(|sequence| sequence.cannot_run().is_none())
    });
    let cluster = cluster::sequence(desired, observed, hosting, mirrors.cloned().collect());
    sequences.insert(Subject::Cluster(desired.cluster.to_string()), cluster);
    sequences.retain(|_, sequence| !sequence.is_empty());
    let shadows = observed.shadows(desired).map(|(host, shadow)| (host.to_owned(), shadow)).collect();
    Plan { sequences, shadows }
}

/// The sequences of the mirrors that should be.
///
/// One that needs a port of another mirror's container waits until that one has given it up. Where that one keeps it, for
/// whatever reason, the port is taken: nobody is stopped for a place that is not to be had.
fn mirrors(desired: &Desired, observed: &Observed) -> BTreeMap<Subject, Sequence> {
    let mut keepers = BTreeSet::new();
    loop {
        let sequence = |mirror| mirror::sequence(desired, mirror, observed, &keepers);
        let sequences: BTreeMap<Subject, Sequence> =
            desired.mirrors.values().map(|mirror| (Subject::mirror(&mirror.host), sequence(mirror))).collect();
        let more: BTreeSet<String> = sequences.values().flat_map(|waiting| unreleased(waiting, &sequences)).collect();
        // What was read at two moments may have two containers on one port: nobody gives it up for that.
        if more.is_subset(&keepers) {
            return sequences;
        }
        keepers.extend(more);
    }
}

/// Containers of desired mirrors whose ports a sequence waits for, and that keep them.
fn unreleased(waiting: &Sequence, sequences: &BTreeMap<Subject, Sequence>) -> Vec<String> {
    let released = waiting.steps.iter().flat_map(|step| &step.after);
    let kept = released.filter_map(|milestone| match milestone {
        Milestone::Released { holder, container } => {
            let releases = |step: &Step| step.action.releases() == Some(container);
            let holder = sequences.get(holder)?;
            (!holder.steps.iter().any(releases)).then(|| container.clone())
        }
        _ => None,
    });
    kept.collect()
}

impl Plan {
    /// Hosts of caches that are to be stopped, and of which it is not known whether they would start again.
    pub fn asking(&self) -> impl Iterator<Item = &str> {
        self.sequences.iter().filter(|(_, sequence)| sequence.asks).filter_map(|(subject, _)| subject.host())
    }

    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Steps that change the engine.
    pub fn changes(&self) -> usize {
        self.sequences.values().flat_map(|sequence| &sequence.steps).filter(|step| step.action.changes()).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, sequence) in &self.sequences {
            writeln!(f, "{subject}")?;
            for step in &sequence.steps {
                writeln!(f, "  {step}")?;
            }
            for obstacle in &sequence.obstacles {
                writeln!(f, "  blocked: {obstacle}")?;
            }
            if let Some(postponed) = &sequence.postponed {
                writeln!(f, "  later: {postponed}")?;
            }
        }
        self.shadows.iter().try_for_each(|(host, shadow)| writeln!(f, "warning: {host}: {shadow}"))
    }
}
