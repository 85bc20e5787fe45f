//! What turns observed into desired: per mirror a sequence of actions, each with a cause. Pure.
//!
//! The least disruptive action wins: connect rather than recreate, start rather than recreate.
//! `ksail diff` prints a plan; everything else executes one.

mod action;
mod cluster;
mod difference;
mod mirror;
mod node;
mod removal;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

pub use action::{Action, ClusterSpec, Step, Target};
pub use cluster::deletion;
pub use subject::{Milestone, Subject};

use crate::desired::Desired;
use crate::manifest::Host;
use crate::observed::Observed;

/// The actions that turn observed into desired. Sequences are independent and run concurrently.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By what they are about.
    pub sequences: BTreeMap<Subject, Sequence>,
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
    /// Whether it brings a container into shape, and it is known that this may be done.
    fn may_be_renewed(&self) -> bool {
        self.renews && !self.asks
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
        /// The next port that nobody is known to hold.
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
    /// A cache would not start again while its upstream is away, so it is not stopped.
    UpstreamAway(Postponed),
    /// A `hosts.toml` on a node is not ours.
    NodeFileForeign {
        /// The node.
        node: String,
        /// The file, or the directory that containerd prefers.
        path: String,
    },
    /// A node's containerd does not read `hosts.toml` files.
    NodeIgnoresFiles {
        /// Why, and what to do.
        complaint: String,
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
            Self::UpstreamAway(postponed) => write!(f, "{postponed}"),
            Self::NodeFileForeign { node, path } => {
                write!(f, "{path} on {node} was not written by ksail and is left alone; move it away to have it wired")
            }
            Self::NodeIgnoresFiles { complaint } => f.write_str(complaint),
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
    let mut sequences: BTreeMap<Subject, Sequence> = desired
        .mirrors
        .values()
        .map(|mirror| (Subject::mirror(&mirror.host), mirror::sequence(desired, mirror, observed)))
        .collect();
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
    sequences.extend(removal::sequences(desired, observed, &unwired));
    let mirrors = sequences.iter().filter(|(subject, sequence)| subject.host().is_some() && !sequence.steps.is_empty());
    let under_change: Vec<Subject> = mirrors.map(|(subject, _)| subject.clone()).collect();
    let attached = removal::attached(observed).map(|found| found.container.name.clone());
    let cluster = cluster::sequence(desired, observed, under_change.into_iter(), attached);
    sequences.insert(Subject::Cluster(desired.cluster.to_string()), cluster);
    sequences.retain(|_, sequence| !sequence.is_empty());
    Plan { sequences }
}

impl Plan {
    /// Hosts of caches that are to be stopped, and of which it is not known whether they would start again.
    pub fn to_ask(&self) -> Vec<String> {
        self.asking().map(|(host, _)| host.to_owned()).collect()
    }

    /// Of those that are only renewed, which is done to one at a time, the first; none when one may be already.
    pub fn to_ask_first(&self) -> Vec<String> {
        let may_be_renewed = self.sequences.values().any(Sequence::may_be_renewed);
        let (renewed, others): (Vec<_>, Vec<_>) = self.asking().partition(|(_, sequence)| sequence.renews);
        let first = renewed.into_iter().take(usize::from(!may_be_renewed));
        others.into_iter().chain(first).map(|(host, _)| host.to_owned()).collect()
    }

    /// Whether one may be renewed, or none is to be.
    pub fn has_asked_enough(&self) -> bool {
        self.asking().all(|(_, sequence)| sequence.renews) && self.sequences.values().any(Sequence::may_be_renewed)
    }

    fn asking(&self) -> impl Iterator<Item = (&str, &Sequence)> {
        let asking = self.sequences.iter().filter(|(_, sequence)| sequence.asks);
        asking.filter_map(|(subject, sequence)| Some((subject.host()?, sequence)))
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
        Ok(())
    }
}

/// The first port above `port` that neither the manifest nor any container uses.
fn next_free_port(desired: &Desired, observed: &Observed, address: IpAddr, port: u16) -> Option<u16> {
    let wanted = |port: u16| desired.mirrors.values().any(|mirror| mirror.listen.host_port == port);
    let ours = |port: u16| {
        let bound = observed.containers.iter().flat_map(|found| &found.container.bound_ports);
        bound.into_iter().any(|bound| bound.host_port == port)
    };
    (port..u16::MAX)
        .map(|port| port + 1)
        .find(|port| !wanted(*port) && !ours(*port) && observed.holder_of(address, *port).is_none())
}
