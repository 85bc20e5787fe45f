//! The loop: triggers come in, passes go out.
//!
//! A pass observes, plans and starts the sequence of every mirror, node or cluster that needs one. Sequences run beside
//! each other and beside further passes, one at a time per subject, so that one that takes minutes delays no other.
//! [`Controller::watch`] does this until it is told to stop, [`Controller::apply`] until everything is as desired.

mod apply;
mod backoff;
mod engine_events;
mod engine_source;
mod failed;
mod in_force;
mod lock;
mod manifest_source;
mod patrol;
mod private;
mod queue;
mod reconcile;
mod survey;
#[cfg(test)]
mod tests;
mod timer;
mod watch;

use std::sync::Arc;

pub use in_force::{Claim, InForce, NotInForce};
pub use lock::ClusterLock;
pub use private::directory as private_directory;
pub use survey::{Survey, survey};

use crate::desired::Surroundings;
use crate::engine::EngineError;
use crate::event::Reporter;
use crate::provisioner::Provisioner;
use crate::status::Status;

/// Everything a controller needs from outside.
pub struct Controller<E, P> {
    /// The engine.
    pub engine: E,
    /// How registries, ports and upstreams are asked.
    pub probe: P,
    /// What creates and deletes clusters.
    pub provisioner: Provisioner,
    /// Told of everything that happens.
    pub reporter: Arc<dyn Reporter>,
    /// Changing engine calls at once.
    pub concurrency: usize,
    /// Held during passes.
    pub lock: ClusterLock,
    /// What a watch looks at before it changes anything: whether its manifest is still in force.
    pub claim: Option<Claim>,
    /// What besides the manifest decides names.
    pub around: Surroundings,
    /// Environment variables, for `${VAR}` in the manifest.
    pub env: Environment,
}

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How `apply` ended.
#[derive(Debug)]
pub enum Applied {
    /// Everything is as the manifest says.
    Converged(Status),
    /// Some mirrors are not, and trying on does not help or has not helped.
    Failed(Status),
    /// The engine is away.
    EngineAway(EngineError),
    /// Time is up.
    TimedOut(Option<Status>),
    /// Told to stop.
    Stopped,
    /// The lock cannot be had at all.
    NoLock(std::io::Error),
}
