//! What the engine tells those who listen, in Docker's words and order.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::world::{World, unavailable};
use crate::engine::{Event, EventKind, Result};

impl World {
    pub(super) fn subscribe(&mut self) -> BoxStream<'static, Result<Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(sender);
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).fuse().boxed()
    }

    pub(super) fn go_away(&mut self) {
        self.away = true;
        for subscriber in self.subscribers.drain(..) {
            // One that no longer listens has nothing to learn.
            let _ = subscriber.send(Err(unavailable()));
        }
    }

    fn tell(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(Ok(event.clone())).is_ok());
    }

    pub(super) fn tell_container(&mut self, action: &str, id: &str, more: &[(&str, &str)]) {
        let Some(kept) = self.containers.get(id) else { return };
        let mut attributes = kept.container.labels.clone();
        attributes.insert("name".to_owned(), kept.container.name.clone());
        attributes.insert("image".to_owned(), kept.container.image.clone());
        attributes.extend(owned(more));
        let event = Event { kind: EventKind::Container, action: action.to_owned(), id: id.to_owned(), attributes };
        self.tell(&event);
    }

    pub(super) fn tell_network(&mut self, action: &str, id: &str, name: &str, container: Option<&str>) {
        let mut attributes = owned(&[("name", name), ("type", "bridge")]);
        attributes.extend(container.map(|container| ("container".to_owned(), container.to_owned())));
        let event = Event { kind: EventKind::Network, action: action.to_owned(), id: id.to_owned(), attributes };
        self.tell(&event);
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
        let event = Event { kind: EventKind::Volume, action: action.to_owned(), id: name.to_owned(), attributes };
        self.tell(&event);
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
