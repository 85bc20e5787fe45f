//! Containers for who looks for a mistake: what may be secret in their environment does not show.

use std::collections::BTreeMap;
use std::fmt;

use super::{Container, ContainerSpec};
use crate::printable::value_without_user_info;

/// The address of a proxy may hold a password.
fn shown(env: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    env.iter().map(|(name, value)| (name.as_str(), value_without_user_info(value))).collect()
}

impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, image, command, env, extra_hosts, labels, ports, volumes, restart_policy, log_options } = self;
        f.debug_struct("ContainerSpec")
            .field("name", name)
            .field("image", image)
            .field("command", command)
            .field("env", &shown(env))
            .field("extra_hosts", extra_hosts)
            .field("labels", labels)
            .field("ports", ports)
            .field("volumes", volumes)
            .field("restart_policy", restart_policy)
            .field("log_options", log_options)
            .finish()
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, labels, image, image_id, entrypoint, command, env, extra_hosts, .. } = self;
        let Self { state, exit_code, error, created_at, started_at, restart_policy, log, .. } = self;
        let Self { ports, bound_ports, mounts, endpoints, .. } = self;
        f.debug_struct("Container")
            .field("id", id)
            .field("name", name)
            .field("labels", labels)
            .field("image", image)
            .field("image_id", image_id)
            .field("entrypoint", entrypoint)
            .field("command", command)
            .field("env", &shown(env))
            .field("extra_hosts", extra_hosts)
            .field("state", state)
            .field("exit_code", exit_code)
            .field("error", error)
            .field("created_at", created_at)
            .field("started_at", started_at)
            .field("restart_policy", restart_policy)
            .field("log", log)
            .field("ports", ports)
            .field("bound_ports", bound_ports)
            .field("mounts", mounts)
            .field("endpoints", endpoints)
            .finish()
    }
}
