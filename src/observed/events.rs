//! What an event is about, if it matters here: that is marked, and nothing of what the event says is believed.

use tokio::time::Instant;

use super::contents::{Contents, ENDS_WITHIN, Record};
use super::is_node;
use super::object::Object;
use super::shadow::can_be_shadowed;
use crate::desired::Desired;
use crate::distribution::is_of_cluster;
use crate::engine::{Event, EventKind};
use crate::labels::{self, HOST, is_ours};
use crate::names;
use crate::subject::Subject;

/// Docker's word for an archive that was extracted into a container.
const PUT_INTO: &str = "extract-to-dir";
/// Triggers that are kept to be told.
const TRIGGERS: usize = 16;

impl Contents {
    /// Marks what an event is about, if it matters here; whether it does.
    pub(super) fn on_event(&mut self, event: &Event) -> bool {
        let Some(desired) = self.desired.clone() else { return false };
        let labels = &event.attributes;
        let name = event.attributes.get("name").unwrap_or(&event.id).clone();
        let is_heard = match event.kind {
            EventKind::Container if is_ours(labels, desired.cluster.as_str()) => {
                if event.action == "die"
                    && let Some(waiting) = self.on_end.get(&event.id)
                {
                    waiting.notify_one();
                }
                let owner = Subject::mirror(labels.get(HOST).unwrap_or(&name));
                self.marks.soon(Object::Container(event.id.clone()), Some(owner));
                true
            }
            EventKind::Container if is_node(labels, &desired) => {
                self.on_node_event(event, &name);
                true
            }
            EventKind::Container => {
                let is_of_cluster = is_of_cluster(labels, desired.distribution, &desired.cluster);
                let matters = is_of_cluster || self.matters(&event.id, &name, &desired);
                // A program that somebody runs in it changes nothing here.
                let is_inside = matches!(event.action.as_str(), "exec_die" | PUT_INTO);
                if matters && !is_inside {
                    self.marks.soon(Object::Container(event.id.clone()), None);
                }
                matters && !is_inside
            }
            EventKind::Network => self.on_network_event(event, &name, &desired),
            EventKind::Volume => self.on_volume_event(&event.id, &desired),
        };
        if is_heard && self.triggers.len() < TRIGGERS {
            self.triggers.insert(format!("{name}: {}", event.action));
        }
        is_heard
    }

    pub(super) fn on_node_event(&mut self, event: &Event, name: &str) {
        let owner = Some(Subject::Node(name.to_owned()));
        match event.action.as_str() {
            "kill" if ends(event) => {
                self.ending.retain(|_, since| since.elapsed() < ENDS_WITHIN);
                self.ending.insert(event.id.clone(), Instant::now());
                self.leaving.retain(|_, since| since.elapsed() < ENDS_WITHIN);
                self.leaving.insert(event.id.clone(), Instant::now());
            }
            "stop" => drop(self.leaving.remove(&event.id)),
            // Nobody is deleting the cluster.
            "start" => {
                self.ending.clear();
                self.leaving.clear();
            }
            // Who sets it up may have done so. Once that is so, those programs are ksail's own for the most part.
            "exec_die" if self.awaits_control_plane() => {
                self.marks.soon(Object::ControlPlane, None);
                return self.marks.soon(Object::Node(event.id.clone()), owner);
            }
            "exec_die" | PUT_INTO => return self.marks.soon(Object::Node(event.id.clone()), owner),
            _ => {}
        }
        self.marks.soon(Object::Container(event.id.clone()), owner);
    }

    pub(super) fn on_network_event(&mut self, event: &Event, name: &str, desired: &Desired) -> bool {
        if let Some(container) = event.attributes.get("container") {
            let is_known = self.is_inspected(container);
            if is_known {
                self.marks.soon(Object::Container(container.clone()), self.owner(container));
            }
            return is_known;
        }
        let is_on_it = |record: &Record| {
            let found = record.inspected.as_ref();
            found.is_some_and(|found| found.container.endpoints.contains_key(name))
                || record.summary.labels.get(labels::K3D_NETWORK).is_some_and(|network| network == name)
        };
        let matters = *name == desired.network || self.containers.values().any(is_on_it);
        if matters {
            self.marks.soon(Object::Networks, None);
        }
        matters
    }

    pub(super) fn on_volume_event(&mut self, volume: &str, desired: &Desired) -> bool {
        let known = self.volumes.get(volume);
        let is_known = known.is_some_and(|volume| is_ours(&volume.labels, desired.cluster.as_str()));
        let goes = || is_known.then(|| Subject::Volume(volume.to_owned()));
        let owner = self.mirror_of_volume(volume, desired).or_else(goes);
        let matters = owner.is_some();
        if matters {
            self.marks.soon(Object::Volume(volume.to_owned()), owner);
        }
        matters
    }

    /// Whether a stranger's container can be in a mirror's way.
    pub(super) fn matters(&self, id: &str, name: &str, desired: &Desired) -> bool {
        let is_a_mirrors_name = |name: &str| desired.mirrors.values().any(|mirror| names::base(name) == mirror.name);
        let known = self.containers.get(id);
        let holds_port = known.is_some_and(|record| {
            record.held_ports().any(|port| desired.mirrors.values().any(|mirror| mirror.listen.host_port == port))
        });
        let mounts = |record: &Record| record.summary.volumes.iter().any(|volume| is_a_mirrors_name(volume));
        let is_an_upstreams_name = |name: &str| {
            let mut upstreams = desired.mirrors.values().filter_map(|mirror| mirror.upstream.as_ref());
            upstreams.any(|upstream| upstream.host() == name && can_be_shadowed(upstream))
        };
        is_a_mirrors_name(name)
            || is_an_upstreams_name(name)
            || holds_port
            || known.is_some_and(|record| is_a_mirrors_name(&record.summary.name) || mounts(record))
    }

    pub(super) fn mirror_of_volume(&self, volume: &str, desired: &Desired) -> Option<Subject> {
        let mounts =
            |record: &&Record| self.is_ours(record) && record.summary.volumes.iter().any(|name| name == volume);
        let desired = desired
            .mirrors
            .values()
            .find(|mirror| mirror.name == names::base(volume))
            .map(|mirror| mirror.host.to_string());
        let mounted =
            || self.containers.values().find(mounts).and_then(|record| record.summary.labels.get(HOST).cloned());
        desired.or_else(mounted).map(Subject::Mirror)
    }
}

/// Whether a signal is one that containers are stopped with: `SIGTERM`, `SIGKILL` and what systemd takes, which
/// kind's nodes ask for (`SIGRTMIN+3`). Podman does not say which it was.
fn ends(kill: &Event) -> bool {
    matches!(kill.attributes.get("signal").map(String::as_str), None | Some("9" | "15" | "37"))
}
