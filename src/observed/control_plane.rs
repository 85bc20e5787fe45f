//! What makes a cluster usable: a node with its administrator's configuration, and an API server that says it is ready.

use super::found;
use super::programs::ANSWERS_WITHIN;
use crate::distribution::node_layout;
use crate::engine::{Engine, Exec, Result};
use crate::manifest::Distribution;

/// What is known of the control plane of a cluster that ksail creates and that is to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ControlPlane {
    /// Nobody has asked, or wants to know.
    #[default]
    NotAsked,
    /// No node has one: the cluster is being made, was made half-way, or has lost it.
    Missing,
    /// Its API server does not say that it is ready.
    NotReady {
        /// The node that was asked.
        node: String,
        /// What it says.
        why: String,
    },
    /// It could not be asked: why.
    Unknown(String),
    /// Its API server says that it is ready, or there is nobody to ask that.
    Usable,
}

/// Asks the first of the nodes, by id and name, that has the administrator's configuration.
pub(super) async fn read<E: Engine>(
    engine: &E,
    distribution: Distribution,
    nodes: &[(String, String)],
) -> Result<ControlPlane> {
    for (id, name) in nodes {
        if is_set_up(engine, distribution, id).await? {
            return is_ready(engine, distribution, id, name).await;
        }
    }
    Ok(ControlPlane::Missing)
}

async fn is_set_up<E: Engine>(engine: &E, distribution: Distribution, node: &str) -> Result<bool> {
    for file in node_layout(distribution).admin_configs {
        if found(engine.stat_path(node, file).await)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_ready<E: Engine>(engine: &E, distribution: Distribution, node: &str, name: &str) -> Result<ControlPlane> {
    let kubectl = node_layout(distribution).kubectl.iter().copied();
    let words = kubectl.chain(["--request-timeout=4s", "get", "--raw", "/readyz"]);
    let not_ready = |why: String| ControlPlane::NotReady { node: name.to_owned(), why };
    Ok(match engine.exec(node, &Exec::reading(words).within(ANSWERS_WITHIN)).await {
        Ok(done) if done.succeeded() || done.is_missing_program() => ControlPlane::Usable,
        Ok(done) => not_ready(done.last_words().to_owned()),
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => not_ready(error.to_string()),
    })
}
