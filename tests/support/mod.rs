//! What the real-engine tests and the benchmark stand on: a scenario with a cluster name of its own, real
//! upstream registries, a recording engine socket, a private engine.
//!
//! Everything made here carries the test process's id, in a label or in the cluster's name. A scenario
//! removes what it made when it ends, and the first one of a run sweeps what dead runs left behind.

pub(crate) mod broken;
pub(crate) mod cri;
pub(crate) mod cut_off;
pub(crate) mod deadline;
pub(crate) mod docker;
pub(crate) mod for_nodes;
pub(crate) mod forward_proxy;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod line;
pub(crate) mod manifest;
pub(crate) mod node;
pub(crate) mod pipe;
pub(crate) mod private_engine;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod registry;
pub(crate) mod rule;
pub(crate) mod scenario;
pub(crate) mod secrets;
pub(crate) mod server;
pub(crate) mod stand_in;
pub(crate) mod sweep;
pub(crate) mod tls_front;
pub(crate) mod token_guard;
pub(crate) mod watch;
mod wire;
