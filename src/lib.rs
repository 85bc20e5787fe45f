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
//! | module | turns |
//! |---|---|
//! | [`manifest`] | the bytes of `ksail.yaml` into a [`manifest::Manifest`], or into problems that point at the text |
//! | [`mod@desired`] | a manifest into what should exist, fully resolved (pure) |
//! | [`distribution`] | all that differs between kind and k3d: files, labels, programs (pure) |
//! | [`observed`] | the engine's answers into one snapshot |
//! | [`plan`] | desired and observed into actions, each with a cause (pure) |
//! | [`execute`] | a plan into engine calls, several subjects at once |
//! | [`provisioner`] | arguments into runs of `kind` and `k3d` |
//! | [`probe`] | a running registry into what it answers |
//! | [`verify`] | a mirror and a node into the proof that pulls go through, or the hop where they do not |
//! | [`status`] | all of that into conditions |
//! | [`controller`] | triggers (file, engine, timer, signals) into passes |
//! | [`report`] | what happened into text, tables and JSON |
//! | [`engine`] | the Docker-compatible daemon, and one in memory for tests |
//! | [`cli`] | arguments into one of the above |
//!
//! [`labels`] and [`status::Reason`] hold the names that other programs may rely on.

mod archive;
pub mod cli;
pub mod controller;
pub mod desired;
mod digest;
pub mod distribution;
pub mod engine;
pub mod event;
pub mod execute;
pub mod labels;
pub mod manifest;
pub mod names;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod provisioner;
pub mod reference;
pub mod registry;
pub mod report;
pub mod status;
pub mod verify;
