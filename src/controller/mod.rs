//! The loop: what is asked for and what there is come in, sequences of actions go out.
//!
//! Inputs are levels, each with a newest value: [`Intent`] from the file, the [`Store`](crate::observed::Store) of what the
//! engine said, the answers of registries, and time. A pass (`pass`) takes the newest of all, compares, and starts the
//! sequence of every [subject](crate::subject::Subject) that is ready; nothing in it waits. Sequences run beside passes, at most one
//! for each subject. Each subject has one state (`subject`), and when it may start is said in one place (`readiness`).
//!
//! # One kill
//!
//! 1. The engine tells that a container died: `reflector` hears it, and [`Store::on_event`](crate::observed::Store::on_event) marks the
//!    container.
//! 2. [`Observer::run`](crate::observed::Observer::run) reads the one container that is marked; the store has changed.
//! 3. That wakes `Reconciler::run`, which makes a pass:
//!    [`Store::look`](crate::observed::Store::look), [`plan()`](crate::plan::plan), `Readiness::ready_at`.
//! 4. The mirror is ready, so that [`Executor::run`](crate::execute::Executor::run) starts its container and waits until it serves.
//! 5. Its end marks the mirror ([`Store::ended`](crate::observed::Store::ended)); it is read again, and the next pass finds nothing to do:
//!    `Tracked::is_cured`. [`Status::assess`](crate::status::Status::assess) says that it is Ready.
//!
//! # One edit
//!
//! 1. `manifest_source` sees that the file was saved, and reads it when it is quiet.
//! 2. `intent::Reader` makes it an [`Intent`], the newest; a file that does not load only holds removals back.
//! 3. Each subject aims at its new spec (`Tracked::set_spec`): its history is forgotten, and it has a run of its own.
//! 4. The pass cancels what is under way for another spec, and starts what is ready, as above.
//! 5. What left the file is ready when the file has been stable for a while (`Readiness::not_before`).
//!
//! # One failure
//!
//! 1. An action fails; the executor takes back what can be, and the sequence ends with a [`Failure`](crate::outcome::Failure).
//! 2. `Tracked::end` notes it, and the store has everything read again that may have been in the way.
//! 3. The pass plans the same again; `Tracked::decide` says until when it is left alone (`backoff`).
//! 4. The timer is set to the least `Readiness::ready_at` of all subjects, and wakes the pass that tries again.
//! 5. `watch` goes on like that; `apply` gives a subject three tries.

mod apply;
mod backoff;
mod bound;
mod cache_mode;
mod ending;
mod in_force;
mod intent;
mod lease;
mod lock;
mod manifest_source;
mod modes;
mod pass;
mod private;
mod readiness;
mod reconciler;
mod reflector;
mod refused;
mod restart;
mod serving;
mod subject;
mod survey;
#[cfg(test)]
mod tests;
mod timer;
mod upstreams;
mod watch;

use std::sync::Arc;

pub use bound::kept_for_undoing;
pub use in_force::{Claim, InForce, NotInForce};
pub use intent::{Intent, Removals};
pub use lock::ClusterLock;
pub use private::directory as private_directory;
pub use refused::Refused;
pub use restart::Restarted;
pub use survey::{Survey, survey};

use crate::desired::{Desired, ResolveContext};
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
    /// What `apply` reads again after another ksail was at work: what is desired by now.
    pub reread: Option<Reread>,
    /// What besides the manifest decides names.
    pub context: ResolveContext,
    /// Environment variables, for `${VAR}` in the manifest.
    pub env: Environment,
}

/// Says what is desired by now; otherwise why that cannot be told.
pub type Reread = Arc<dyn Fn() -> Result<Desired, String> + Send + Sync>;

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
    TimedOut {
        /// How everything is now, as far as the engine has said so.
        status: Option<Status>,
        /// What was not done in time.
        waited_for: Vec<String>,
    },
    /// What is desired was changed meanwhile, and cannot be read any more: why.
    Rejected(String),
    /// Told to stop.
    Stopped,
    /// The lock cannot be had at all.
    NoLock(std::io::Error),
}
