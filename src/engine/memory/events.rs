//! What the engine tells those who listen, in Docker's words and order.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::world::{World, unavailable};
use crate::engine::{EngineError, Event, EventKind};

impl World {
    pub(super) fn go_away(&mut self) {
        self.away = true;
        self.listeners.close(Some(Err(unavailable())));
    }

    pub(super) fn refuse_events(&mut self, error: Option<EngineError>) {
        if error.is_some() {
            self.listeners.close(None);
        }
        self.faults.refusal = error;
    }

    /// Whether it is heard, how often and when is up to the faults.
    pub(super) fn tell(&mut self, event: Event) {
        let faults = &mut self.faults;
        if faults.lost_events.strike(&event).is_some() {
            return;
        }
        let heard = Instant::now() + faults.late_events.strike(&event).unwrap_or_default();
        if faults.doubled_events.strike(&event).is_some() {
            self.listeners.tell(event.clone(), heard);
        }
        self.listeners.tell(event, heard);
    }

    pub(super) fn flood(&mut self, events: usize) {
        for number in 1..=events {
            let attributes = owned(&[
                ("name", &format!("stranger-{number}")),
                ("image", "stranger"),
                ("execID", &format!("e{number:063x}")),
                ("exitCode", "0"),
            ]);
            let id = format!("f{number:063x}");
            self.tell(Event { kind: EventKind::Container, action: "exec_die".to_owned(), id, attributes });
        }
    }

    pub(super) fn tell_container(&mut self, action: &str, id: &str, more: &[(&str, &str)]) {
        let Some(kept) = self.containers.get(id) else { return };
        let mut attributes = kept.container.labels.clone();
        attributes.insert("name".to_owned(), kept.container.name.clone());
        attributes.insert("image".to_owned(), kept.container.image.clone());
        attributes.extend(owned(more));
        self.tell(Event { kind: EventKind::Container, action: action.to_owned(), id: id.to_owned(), attributes });
    }

    pub(super) fn tell_network(&mut self, action: &str, id: &str, name: &str, container: Option<&str>) {
        let mut attributes = owned(&[("name", name), ("type", "bridge")]);
        attributes.extend(container.map(|container| ("container".to_owned(), container.to_owned())));
        self.tell(Event { kind: EventKind::Network, action: action.to_owned(), id: id.to_owned(), attributes });
    }

    /// One network event for each endpoint of a container.
    pub(super) fn tell_networks(&mut self, action: &str, container: &str) {
        let Some(kept) = self.containers.get(container) else { return };
        let endpoints = kept.container.endpoints.clone();
        for (name, endpoint) in endpoints {
            self.tell_network(action, &endpoint.network_id, &name, Some(container));
        }
    }

    pub(super) fn tell_volume(&mut self, action: &str, name: &str, more: &[(&str, &str)]) {
        let mut attributes = owned(&[("driver", "local")]);
        attributes.extend(owned(more));
        self.tell(Event { kind: EventKind::Volume, action: action.to_owned(), id: name.to_owned(), attributes });
    }

    /// One volume event for each mount of a container.
    pub(super) fn tell_mounts(&mut self, action: &str, container: &str) {
        let Some(kept) = self.containers.get(container) else { return };
        let volumes: Vec<String> = kept.container.mounts.iter().filter_map(|mount| mount.volume.clone()).collect();
        for volume in volumes {
            self.tell_volume(action, &volume, &[("container", container)]);
        }
    }
}

fn owned(attributes: &[(&str, &str)]) -> BTreeMap<String, String> {
    attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
