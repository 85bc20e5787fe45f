//! The sequence of one node: its `hosts.toml` files.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{Action, Step, Target};
use super::removal::cause_of_removal;
use super::{Obstacle, Sequence};
use crate::desired::Desired;
use crate::distribution::hosts_toml::{HostsToml, Owner, owner};
use crate::manifest::Host;
use crate::observed::{Node, WireState, complaint, directory, path, wires};

/// What leads from the files a node has to those it should have: one call for all that are written.
///
/// They do not wait for the registries. While one is not there yet, containerd goes where the file says next, or
/// tries again. Only a name that somebody else's container has (not `has_name`) is no place to send anybody to.
pub(super) fn sequence(desired: &Desired, node: &Node, has_name: &dyn Fn(&Host) -> bool) -> Sequence {
    let mut sequence = Sequence::default();
    if node.unreadable.is_some() {
        return sequence;
    }
    let target = Target { name: node.name.clone(), id: Some(node.id.clone()) };
    let mut files: BTreeMap<String, (String, HostsToml)> = BTreeMap::new();
    let mut causes = BTreeSet::new();
    for mirror in desired.mirrors.values() {
        for wire in wires(node, mirror, &desired.cluster) {
            let cause = match wire.state {
                WireState::AsDesired => continue,
                WireState::Foreign(file) => {
                    sequence.obstacles.push(Obstacle::NodeFileForeign { node: node.name.clone(), file });
                    continue;
                }
                WireState::Missing => "missing",
                WireState::Differs => "not as ksail.yaml says",
            };
            if has_name(&mirror.host) {
                causes.insert(cause);
                files.insert(wire.host.to_owned(), (wire.path, wire.wanted.clone()));
            }
        }
    }
    if !files.is_empty() {
        let cause = format!("hosts.toml {}", causes.into_iter().collect::<Vec<_>>().join(" or "));
        sequence.steps.push(Step::new(
            Action::WriteNodeFiles { node: target.clone(), cluster: desired.cluster.clone(), files },
            cause,
        ));
    }
    sequence.steps.extend(removals(desired, node, &target));
    if !desired.mirrors.is_empty() {
        let complaint = complaint(node, desired);
        sequence.obstacles.extend(complaint.map(|complaint| Obstacle::NodeIgnoresFiles { complaint }));
    }
    sequence
}

/// Files of ksail's that no mirror of the manifest accounts for, and their directories where nothing else is in them: an
/// empty one would hide containerd's `_default`.
fn removals(desired: &Desired, node: &Node, target: &Target) -> Vec<Step> {
    let wanted: BTreeSet<&String> = desired.mirrors.values().flat_map(|mirror| mirror.node_files.keys()).collect();
    let is_ours =
        |host: &str, text: &str| matches!(owner(text, &desired.cluster, host), Owner::Ksail | Owner::KsailByK3s);
    let leftover = node.hosts.iter().filter(|(host, found)| {
        !wanted.contains(host) && found.hosts_toml.as_ref().is_some_and(|text| is_ours(host, text))
    });
    let (mut hosts, mut paths, mut directories) = (Vec::new(), Vec::new(), Vec::new());
    for (host, found) in leftover {
        hosts.push(host.clone());
        paths.push(path(node, host));
        if !found.has_others {
            directories.push(directory(node, host));
        }
    }
    let mut steps = Vec::new();
    if !paths.is_empty() {
        let action = Action::RemoveNodeFiles { node: target.clone(), cluster: desired.cluster.clone(), hosts, paths };
        steps.push(Step::new(action, cause_of_removal(desired)));
    }
    if !directories.is_empty() {
        let action = Action::RemoveNodeDirectories { node: target.clone(), paths: directories };
        steps.push(Step::new(action, "empty"));
    }
    steps
}
