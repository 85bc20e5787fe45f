//! Which containers and volumes are a cluster's own.
//!
//! A container is, when it carries the labels and has a name that ksail gives to the mirror of its host. One that was
//! renamed behind ksail's back is known by the volume it is on. One that inherited the labels, because its image was
//! made from a mirror's container (`docker commit`), is somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observed, OwnContainer};
use crate::engine::{Container, ContainerSummary, Volume};
use crate::labels::{HOST, Labels, MADE_VOLUME, ROLE, is_ours};
use crate::names;
use crate::registry::{Role, is_proxy};

/// By its labels, and by its name or the volume it is on.
pub fn is_a_mirrors(container: &ContainerSummary, cluster: &str) -> bool {
    let Some(host) = container.labels.get(HOST).filter(|_| is_ours(&container.labels, cluster)) else { return false };
    let mut known_by = container.volumes.iter().chain([&container.name]);
    known_by.any(|name| names::is_of(name, cluster, host))
}

/// Names of the volumes that a container mounts.
pub(super) fn volumes_of(container: &Container) -> impl Iterator<Item = &String> {
    container.mounts.iter().filter_map(|mount| mount.volume.as_ref())
}

impl Observed {
    /// Names by host: that of its container, otherwise that of its volume. And its volumes, by what is in them.
    pub fn names(&self, cluster: &str) -> names::Existing {
        names::Existing { names: self.names_by_host(cluster), volumes: self.volumes_by_role(cluster) }
    }

    /// What a container of ours is on is of that container's role: an earlier version went on with the same volume when
    /// the role changed, and labels of volumes cannot be changed. One that is a cache by its settings is one, whatever
    /// somebody has written on its label.
    fn volumes_by_role(&self, cluster: &str) -> BTreeMap<String, BTreeMap<Role, String>> {
        let mut by_host: BTreeMap<String, BTreeMap<Role, String>> = BTreeMap::new();
        let mut mounted = BTreeSet::new();
        let by_label = |labels: &Labels| labels.get(ROLE).and_then(|role| Role::of(role));
        let mut note = |labels: &Labels, role: Option<Role>, name: &String| {
            let host = labels.get(HOST).filter(|host| names::is_of(name, cluster, host));
            if let (Some(host), Some(role)) = (host, role) {
                by_host.entry(host.clone()).or_default().entry(role).or_insert_with(|| name.clone());
            }
        };
        for OwnContainer { container, .. } in &self.containers {
            for volume in volumes_of(container) {
                let by_settings = is_proxy(&container.env, &container.command).then_some(Role::Mirror);
                note(&container.labels, by_settings.or_else(|| by_label(&container.labels)), volume);
                mounted.insert(volume);
            }
        }
        let ours = self.volumes.values().filter(|volume| is_ours(&volume.labels, cluster));
        ours.filter(|volume| !mounted.contains(&volume.name)).for_each(|volume| {
            note(&volume.labels, by_label(&volume.labels), &volume.name);
        });
        by_host
    }

    fn names_by_host(&self, cluster: &str) -> BTreeMap<String, String> {
        let mut existing = BTreeMap::new();
        let mut note = |labels: &Labels, name: &str| {
            if let Some(host) = labels.get(HOST).filter(|host| names::is_of(name, cluster, host)) {
                existing.entry(host.clone()).or_insert_with(|| names::base(name).to_owned());
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

    /// Whether the engine made a volume for a container of ours, or for the predecessor of one.
    pub fn was_made_for_ours(&self, volume: &Volume) -> bool {
        self.of_volume(volume).any(|container| was_made_for(volume, container))
    }

    /// The host whose registry a volume is for.
    pub fn host_of_volume(&self, volume: &Volume) -> Option<String> {
        let of_container = || self.of_volume(volume).find_map(|container| container.labels.get(HOST));
        volume.labels.get(HOST).or_else(of_container).cloned()
    }

    /// Our containers that know of a volume.
    fn of_volume<'a>(&'a self, volume: &'a Volume) -> impl Iterator<Item = &'a Container> {
        let containers = self.containers.iter().map(|found| &*found.container);
        containers.filter(|container| volumes_known_by(container).any(|name| *name == volume.name))
    }

    /// Our containers that mount a volume.
    pub fn on_volume<'a>(&'a self, volume: &'a Volume) -> impl Iterator<Item = &'a Container> {
        self.of_volume(volume).filter(|container| volumes_of(container).any(|name| *name == volume.name))
    }

    /// What the successor of a container has to say of the volume that the engine made for that one: the successor is
    /// younger than the volume, and may be on another one.
    pub fn made_volume(&self, container: &Container) -> Option<(&'static str, String)> {
        let volume = self.volumes.values().find(|volume| was_made_for(volume, container))?;
        Some((MADE_VOLUME, identity(volume)?))
    }
}

/// Whether the engine made a volume, one without labels, for a container, or for a predecessor that it follows. What a
/// container is on cannot be another one by now; what it is not on is known by its time.
fn was_made_for(volume: &Volume, container: &Container) -> bool {
    let is_on_it = volumes_of(container).any(|name| *name == volume.name);
    let said = container.labels.get(MADE_VOLUME);
    let says_so = || match said.and_then(|made| made.rsplit_once('@')) {
        Some((name, _)) if is_on_it => name == volume.name,
        _ => said.is_some() && said == identity(volume).as_ref(),
    };
    volume.labels.is_empty() && (is_on_it && is_not_older(volume, container) || says_so())
}

/// Of several volumes that had a name one after the other the time says which one is meant. (Docker 20.10 says when its
/// directory changed last, which it does not while nobody is on it.)
fn identity(volume: &Volume) -> Option<String> {
    Some(format!("{}@{}", volume.name, volume.created_at?))
}

/// Names of volumes that a container mounts, and of the one that was made for its predecessor.
pub(super) fn volumes_known_by(container: &Container) -> impl Iterator<Item = &str> {
    let made = container.labels.get(MADE_VOLUME).and_then(|made| made.rsplit_once('@')).map(|(name, _)| name);
    volumes_of(container).map(String::as_str).chain(made)
}

/// In whole seconds, which is all that Docker says of a volume.
pub fn is_not_older(volume: &Volume, container: &Container) -> bool {
    let (made, created) = (volume.created_at, container.created_at);
    made.zip(created).is_some_and(|(made, created)| made.as_second() >= created.as_second())
}
