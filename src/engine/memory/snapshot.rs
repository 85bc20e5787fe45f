//! The whole engine as plain data.

use std::collections::BTreeMap;

use super::files::StoredFile;
use super::world::World;
use crate::engine::{Container, Image, Network, Volume};

/// Everything in the engine at one moment. Equal snapshots mean that nothing changed, or that files were written again
/// as they were: when a file was modified is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Containers by id.
    pub containers: BTreeMap<String, ContainerSnapshot>,
    /// Networks by id.
    pub networks: BTreeMap<String, Network>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Images by reference.
    pub images: BTreeMap<String, Image>,
}

/// A container and its files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSnapshot {
    /// What an inspect call says.
    pub container: Container,
    /// Files put into it, by absolute path.
    pub files: BTreeMap<String, StoredFile>,
}

impl World {
    pub(super) fn snapshot(&self) -> Snapshot {
        let containers = self.containers.iter().map(|(id, kept)| {
            let files = kept.files.iter().map(|(path, file)| (path.clone(), file.clone()));
            let snapshot = ContainerSnapshot { container: kept.container.clone(), files: files.collect() };
            (id.clone(), snapshot)
        });
        Snapshot {
            containers: containers.collect(),
            networks: self.networks.clone(),
            volumes: self.volumes.clone(),
            images: self.images.clone(),
        }
    }
}
