//! Runs plans: several subjects at once, each one's steps in order, with rollback and cancellation.
//!
//! No decision about what to do is made here; that is [`crate::plan`]. What is decided here is only whether
//! an engine's refusal means that the goal of an action holds already.

mod cluster;
mod containers;
mod executor;
mod milestones;
mod node;
mod pull;
mod run;

pub use self::executor::{DEFAULT_CONCURRENCY, Executor};
pub use self::milestones::Milestones;
