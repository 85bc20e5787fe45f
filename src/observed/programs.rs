//! What only a program in a node can tell.

use std::time::Duration;

use crate::distribution::node_layout;
use crate::distribution::proxy::ProxySettings;
use crate::distribution::registry_hosting::{Advertised, NAME, NAMESPACE};
use crate::engine::{Engine, Exec, Result};
use crate::manifest::Distribution;

/// A program that only says what a node is like answers at once, or something is wrong with the node.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Why a node without that program says nothing. It will not come.
pub(super) const NO_KUBECTL: &str = "there is no kubectl on the node";

/// What containerd itself is told of proxies, if that can be read: its service may have another environment than the
/// node's container. By argv and in one run: whose name it is, and then what it was started with.
pub(crate) async fn containerds_proxy<E: Engine>(engine: &E, node: &str) -> Result<Option<ProxySettings>> {
    let processes = ["find", "/proc", "-maxdepth", "1", "-name", "[0-9]*"];
    let is_containerd = ["-exec", "grep", "-qsx", "containerd", "{}/comm", ";"];
    let environment = ["-exec", "cat", "{}/environ", ";", "-quit"];
    let words = processes.into_iter().chain(is_containerd).chain(environment);
    Ok(match engine.exec(node, &Exec::reading(words).within(ANSWERS_WITHIN)).await {
        Ok(done) if !done.stdout.is_empty() => Some(ProxySettings::of_process(&done.stdout)),
        Err(error) if error.is_unavailable() => return Err(error),
        _ => None,
    })
}

/// What a cluster says of its registry, asked on a node with an API server.
pub(crate) async fn advertised<E: Engine>(engine: &E, distribution: Distribution, node: &str) -> Result<Advertised> {
    let get = ["get", "configmap", NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--output", "json"];
    let layout = node_layout(distribution);
    let words = layout.kubectl.iter().copied().chain(["--request-timeout=4s"]).chain(get);
    Ok(match engine.exec(node, &Exec::reading(words).within(ANSWERS_WITHIN)).await {
        Ok(done) if done.succeeded() => Advertised::read(&done.stdout),
        Ok(done) if done.is_missing_program() => Advertised::Unknown(NO_KUBECTL.to_owned()),
        Ok(done) => Advertised::Unknown(done.last_words().to_owned()),
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => Advertised::Unknown(error.to_string()),
    })
}
