//! How the caches that exist are served.

use std::collections::BTreeSet;

use super::Observed;
use crate::labels::{HOST, ROLE};
use crate::registry::{Role, is_served_from_cache};

impl Observed {
    /// Hosts of caches that are served from their volumes alone. They stay so until their upstreams are known to answer.
    pub fn served_from_cache(&self) -> BTreeSet<String> {
        let containers = self.containers.iter().map(|found| &found.container);
        let caches = containers.filter(|container| {
            container.labels.get(ROLE).map(String::as_str) == Some(Role::Mirror.as_str())
                && is_served_from_cache(&container.env)
        });
        caches.filter_map(|container| container.labels.get(HOST).cloned()).collect()
    }
}
