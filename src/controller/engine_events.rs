//! What the engine says, and whether it matters.

use super::engine_source::FromEngine;
use super::reconcile::Reconciler;
use crate::distribution::is_of_cluster;
use crate::engine::{Engine, Event, EventKind};
use crate::labels::{HOST, is_ours};
use crate::observed::is_node;
use crate::plan::Subject;
use crate::probe::Probe;

/// Docker's word for an archive that was extracted into a container.
const PUT_INTO: &str = "extract-to-dir";

/// Takes in what the engine says.
pub(super) fn hear<E: Engine, P: Probe>(reconciler: &mut Reconciler<E, P>, message: FromEngine) {
    match message {
        FromEngine::Found(info) => {
            reconciler.engine_found(info);
            reconciler.queue.push("the engine answers");
        }
        FromEngine::Lost(error) => reconciler.engine_failed(&error),
        FromEngine::Happened(event) if concerns(&event, reconciler) => {
            let is_node = reconciler.desired().is_some_and(|desired| is_node(&event.attributes, desired));
            match event.action.as_str() {
                "kill" if is_node && ends(&event) => reconciler.observer.access().leave_alone(&event.id),
                "start" if is_node => reconciler.observer.access().welcome(),
                _ => {}
            }
            let name = event.attributes.get("name").unwrap_or(&event.id);
            reconciler.queue.push(format!("{name}: {}", event.action));
        }
        FromEngine::Happened(_) => {}
    }
}

/// Whether a signal is one that containers are stopped with: `SIGTERM`, `SIGKILL` and what systemd takes, which
/// kind's nodes ask for (`SIGRTMIN+3`). Podman does not say which it was.
fn ends(kill: &Event) -> bool {
    matches!(kill.attributes.get("signal").map(String::as_str), None | Some("9" | "15" | "37"))
}

/// Whether something that happened in the engine can make a difference to this cluster's mirrors.
fn concerns<E: Engine, P: Probe>(event: &Event, reconciler: &Reconciler<E, P>) -> bool {
    let Some(desired) = reconciler.desired() else { return false };
    match event.kind {
        EventKind::Container if is_ours(&event.attributes, desired.cluster.as_str()) => {
            // What an action of ours causes is looked at when its sequence ends.
            let host = event.attributes.get(HOST);
            host.is_none_or(|host| !reconciler.is_running(&Subject::mirror(host)))
        }
        EventKind::Container if is_node(&event.attributes, desired) => {
            // The files that ksail itself puts into a node are told of as well.
            let name = event.attributes.get("name").cloned().unwrap_or_default();
            event.action != PUT_INTO || !reconciler.is_running(&Subject::Node(name))
        }
        EventKind::Container if is_of_cluster(&event.attributes, desired.distribution, &desired.cluster) => true,
        // A stranger may have taken a name or given up a port.
        EventKind::Container => {
            let names_one = event
                .attributes
                .get("name")
                .is_some_and(|name| desired.mirrors.values().any(|mirror| mirror.name == *name));
            names_one || (reconciler.is_blocked() && matches!(event.action.as_str(), "die" | "destroy" | "rename"))
        }
        EventKind::Network => match event.action.as_str() {
            "create" | "destroy" | "remove" => true,
            _ => event.attributes.get("container").is_some_and(|id| reconciler.owns_idle(id)),
        },
        EventKind::Volume => {
            matches!(event.action.as_str(), "destroy") && desired.mirrors.values().any(|mirror| mirror.name == event.id)
        }
    }
}
