//! `ksail` keeps local OCI registries running the way `ksail.yaml` says.
//!
//! It is a Kubernetes-style reconciler. Data flows in one direction:
//!
//! ```text
//! ksail.yaml ──load──▶ manifest ──resolve──▶ desired ─┐
//!                                                     ├─plan()─▶ plan ──execute──▶ engine
//! Docker ──────────────observe────────▶ observed ─────┘             │
//!    ▲                                                              ▼
//!    └── events, file changes, timer ──▶ queue ◀──backoff── status (conditions) ──▶ text | table | json
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | arguments; one file per verb |
//! | [`report`] | what happened as text, tables and JSON |
//! | [`controller`] | the loop: file, engine, registries and timer in, passes out |
//! | [`execute`] | a plan made true, several subjects at once |
//! | [`verify`] | the proof that a node's pulls go through a mirror, or the hop where they do not |
//! | [`event`] | what can be reported, and the trait that takes it |
//! | [`status`] | all that is known as conditions (pure) |
//! | [`plan`] | desired and observed as actions, each with a cause (pure) |
//! | [`observed`] | the engine's answers as one snapshot: what is ours, which network, what nodes are told |
//! | [`outcome`] | how a sequence of actions ended, and why it failed |
//! | [`probe`] | what a registry, an upstream or a port answers from here |
//! | [`provisioner`] | runs of `kind` and `k3d` |
//! | [`exposure`] | what others can see or reach because the manifest says so (pure) |
//! | [`mod@desired`] | a manifest fully resolved (pure) |
//! | [`distribution`] | all that differs between kind and k3d: files, labels, programs (pure) |
//! | [`names`] | what is called what (pure) |
//! | [`registry`] | all that is known of the registry image: settings, secret files, counters, log (pure) |
//! | [`subject`] | what is reconciled by itself |
//! | [`engine`] | the Docker-compatible daemon, and one in memory for tests |
//! | [`manifest`] | the bytes of `ksail.yaml`: strict load with positions, edits in place |
//! | [`docker_config`] | what the docker CLI keeps: credentials of `docker login`, proxies of containers |
//! | [`no_proxy`] | what is reached without a proxy (pure) |
//! | [`printable`] | what may leave the program as text |
//! | [`limit`] | how much is read of what others say |
//! | [`labels`] | names other programs may rely on, and what makes an object ours |
//!
//! One imports only what stands below it; `tests/rooms.rs` holds that. To follow one mirror from the file to the engine: [`manifest::load`],
//! [`fn@desired::resolve`], [`controller::survey`] (which observes and plans), [`execute::Executor::run`].

mod archive;
pub mod cli;
pub mod controller;
pub mod desired;
mod digest;
pub mod distribution;
pub mod docker_config;
pub mod engine;
pub mod event;
pub mod execute;
pub mod exposure;
pub mod labels;
pub mod limit;
pub mod manifest;
pub mod names;
pub mod no_proxy;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod printable;
pub mod probe;
pub mod provisioner;
pub mod reference;
pub mod registry;
pub mod report;
pub mod status;
pub mod subject;
pub mod verify;
