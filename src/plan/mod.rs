//! What turns observed into desired: per mirror a sequence of actions, each with a cause. Pure.
//!
//! The least disruptive action wins: connect rather than recreate, start rather than recreate.
//! `ksail diff` prints a plan; everything else executes one.

mod action;
mod difference;
mod mirror;
mod removal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

pub use action::{Action, Step, Target};

use crate::desired::Desired;
use crate::observed::Observed;

/// The actions that turn observed into desired. Sequences are independent and run concurrently.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By mirror: the host in the manifest, or the one on the label of what has to go.
    pub sequences: BTreeMap<String, Sequence>,
}

/// What happens to one mirror, in order.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// The steps.
    pub steps: Vec<Step>,
    /// Why no step leads all the way to what is desired.
    pub obstacle: Option<Obstacle>,
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
        }
    }
}

/// Compares what is with what should be.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut sequences = removal::sequences(desired, observed);
    for mirror in desired.mirrors.values() {
        sequences.insert(mirror.host.to_string(), mirror::sequence(desired, mirror, observed));
    }
    sequences.retain(|_, sequence| !sequence.steps.is_empty() || sequence.obstacle.is_some());
    Plan { sequences }
}

impl Plan {
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
        for (host, sequence) in &self.sequences {
            writeln!(f, "{host}")?;
            for step in &sequence.steps {
                writeln!(f, "  {step}")?;
            }
            if let Some(obstacle) = &sequence.obstacle {
                writeln!(f, "  blocked: {obstacle}")?;
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
