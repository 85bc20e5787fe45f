//! Which containers and volumes are a cluster's own.
//!
//! A container is, when it carries the labels and has a name that ksail gives to the mirror of its host. One that was
//! renamed behind ksail's back is known by the volume it is on. One that inherited the labels, because its image was
//! made from a mirror's container (`docker commit`), is somebody else's.

use super::{Observed, OwnContainer};
use crate::engine::{Container, ContainerSummary, Volume};
use crate::labels::{HOST, Labels, is_ours};
use crate::names;

/// By its labels, and by its name or the volume it is on.
pub(super) fn is_a_mirrors(container: &ContainerSummary, cluster: &str) -> bool {
    let Some(host) = container.labels.get(HOST).filter(|_| is_ours(&container.labels, cluster)) else { return false };
    let mut known_by = container.volumes.iter().chain([&container.name]);
    known_by.any(|name| names::is_of(name, cluster, host))
}

/// Names of the volumes that a container mounts.
pub(super) fn volumes_of(container: &Container) -> impl Iterator<Item = &String> {
    container.mounts.iter().filter_map(|mount| mount.volume.as_ref())
}

impl Observed {
    /// Names by host: that of its container, otherwise that of its volume.
    pub fn names(&self, cluster: &str) -> names::Existing {
        let mut existing = names::Existing::new();
        let mut note = |labels: &Labels, name: &str| {
            if let Some(host) = labels.get(HOST).filter(|host| names::is_of(name, cluster, host)) {
                existing.entry(host.clone()).or_insert_with(|| names::without_next(name).to_owned());
            }
        };
        for OwnContainer { container, .. } in &self.containers {
            note(&container.labels, &container.name);
            volumes_of(container).for_each(|volume| note(&container.labels, volume));
        }
        for volume in self.volumes.values().filter(|volume| is_ours(&volume.labels, cluster)) {
            note(&volume.labels, &volume.name);
        }
        existing
    }

    /// Whether a volume without any label is taken for ours: nobody else's container is on it. The engine makes such a
    /// volume when a container is created for which there is none.
    pub fn is_adopted(&self, volume: &Volume) -> bool {
        let is_on_it = |mounted: &Vec<String>| mounted.contains(&volume.name);
        volume.labels.is_empty() && !self.strangers.values().any(|stranger| is_on_it(&stranger.volumes))
    }

    /// Whether a volume is not older than a container of ours that is on it, so that the engine made it for that one.
    pub fn was_made_for_its_container(&self, volume: &Volume) -> bool {
        self.on_volume(volume).any(|container| is_not_older(volume, container))
    }

    /// The host whose registry a volume is for.
    pub fn host_of_volume(&self, volume: &Volume) -> Option<String> {
        let of_container = || self.on_volume(volume).find_map(|container| container.labels.get(HOST));
        volume.labels.get(HOST).or_else(of_container).cloned()
    }

    fn on_volume<'a>(&'a self, volume: &'a Volume) -> impl Iterator<Item = &'a Container> {
        let containers = self.containers.iter().map(|found| &*found.container);
        containers.filter(|container| volumes_of(container).any(|name| *name == volume.name))
    }
}

/// In whole seconds, which is all that Docker says of a volume.
pub fn is_not_older(volume: &Volume, container: &Container) -> bool {
    let (made, created) = (volume.created_at, container.created_at);
    made.zip(created).is_some_and(|(made, created)| made.as_second() >= created.as_second())
}
