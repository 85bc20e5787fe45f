//! Proof that a node's pulls go through a mirror: one is made on the node, and the mirror's own log has to show that it
//! gave what was asked for.
//!
//! ```text
//! node file ──▶ DNS ──▶ proxy ──▶ connect ──▶ mirror ──▶ upstream (credentials)
//! ```
//!
//! A pull that succeeds proves nothing, since containerd goes around a mirror that does not work; and one that fails
//! does not say where. So what fails is looked into, hop by hop.

mod proof;
mod pull;
mod verifier;

pub use self::proof::{Hop, Outcome, Proof};
pub use self::verifier::Verifier;
