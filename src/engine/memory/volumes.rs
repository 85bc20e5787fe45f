//! Named volumes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::world::{Kept, World, carries};
use crate::engine::{EngineError, Label, Result, Volume};

impl World {
    pub(super) fn list_volumes(&self, labels: &[Label<'_>]) -> Vec<Volume> {
        self.in_order(self.volumes.values().filter(|volume| carries(&volume.labels, labels)).cloned())
    }

    pub(super) fn inspect_volume(&self, name: &str) -> Result<Volume> {
        self.volumes.get(name).cloned().ok_or_else(|| no_such_volume(name))
    }

    /// One that exists keeps its labels.
    pub(super) fn create_volume(&mut self, name: &str, labels: &BTreeMap<String, String>) {
        if self.volumes.contains_key(name) {
            return;
        }
        // In whole seconds, as Docker says it.
        let created_at = Timestamp::from_second(self.now().as_second()).ok();
        self.volumes.insert(name.to_owned(), Volume { name: name.to_owned(), labels: labels.clone(), created_at });
        self.tell_volume("create", name, &[]);
    }

    pub(super) fn remove_volume(&mut self, name: &str) -> Result<()> {
        self.inspect_volume(name)?;
        let mounts_it = |kept: &Kept| kept.container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name));
        let users: Vec<&str> =
            self.containers.iter().filter(|(_, kept)| mounts_it(kept)).map(|(id, _)| id.as_str()).collect();
        if !users.is_empty() {
            let message = format!("remove {name}: volume is in use - [{}]", users.join(", "));
            return Err(EngineError::Conflict { message });
        }
        self.volumes.remove(name);
        self.tell_volume("destroy", name, &[]);
        Ok(())
    }
}

fn no_such_volume(name: &str) -> EngineError {
    EngineError::NotFound { message: format!("get {name}: no such volume") }
}
