//! The sequence of the cluster itself: whether it exists, and what it says of its registry.

use std::path::PathBuf;

use super::action::{Action, ClusterSpec, Step, Target};
use super::removal::{attached, cause_of_removal, host_of};
use super::{Milestone, Obstacle, Sequence, Subject};
use crate::desired::Desired;
use crate::distribution::provisioner;
use crate::distribution::registry_hosting::{Advertised, RegistryHosting};
use crate::manifest::{Lifecycle, State};
use crate::observed::{Cluster, ControlPlane, NetworkRef, NetworkUse, Observed, OwnContainer};

/// Why its network has to go.
pub(super) const CLUSTER_IS_GONE: &str = "its cluster is gone";

/// A cluster that exists is never changed: only created where there is none, and deleted when the manifest says so.
///
/// A cluster is created when the `mirrors` that are about to be brought up serve, so that its own images come through
/// them. It is deleted when all have left its network: k3d leaves a network behind that somebody is on.
///
/// It is told of `hosting`, a registry that people can push to.
pub(super) fn sequence(
    desired: &Desired,
    observed: &Observed,
    hosting: Option<&RegistryHosting>,
    mirrors: Vec<Subject>,
) -> Sequence {
    let is_managed = desired.lifecycle == Lifecycle::Managed;
    let (wanted, found) = (desired.state == State::Present, observed.cluster);
    if is_managed && wanted == (found == Cluster::Missing) {
        let Some(program) = observed.provisioner.clone() else {
            return Sequence {
                obstacles: vec![provisioner_not_found(desired, observed)],
                ..beside_creation(desired, observed, hosting)
            };
        };
        let cluster = Box::new(spec(desired, observed, program));
        let step = if wanted {
            let after = mirrors.into_iter().map(Milestone::Ended).collect();
            Step { after, ..Step::new(Action::CreateCluster { cluster }, "no cluster of this name yet") }
        } else {
            let after = detached(observed).collect();
            Step { after, ..Step::new(Action::DeleteCluster { cluster }, cause_of_removal(desired)) }
        };
        return Sequence { steps: vec![step], ..Sequence::default() };
    }
    let obstacles = incomplete(desired, observed).into_iter().collect();
    Sequence { obstacles, ..beside_creation(desired, observed, hosting) }
}

/// What is to be done about a cluster that is not to be created or deleted.
fn beside_creation(desired: &Desired, observed: &Observed, hosting: Option<&RegistryHosting>) -> Sequence {
    let mut sequence = advertising(desired, observed, hosting);
    if let Some(network) = network_to_remove(desired, observed) {
        let is_on_it = |found: &OwnContainer| network.endpoint_of(&found.container).is_some();
        // One that none of ours has been on may be somebody's who is just creating the cluster.
        let is_left_to_us = desired.state != State::Present
            || observed.network_use == NetworkUse::Forgotten
            || observed.containers.iter().any(is_on_it);
        let is_in_use = observed.strangers.values().any(|stranger| stranger.networks.contains(&network.name));
        if is_left_to_us && !is_in_use {
            let action = Action::RemoveNetwork { network: network.clone() };
            let after = detached(observed).collect();
            sequence.steps.push(Step { after, ..Step::new(action, CLUSTER_IS_GONE) });
        }
    }
    sequence
}

/// The network that k3d leaves behind because registries are on it, when its cluster is deleted by hand: it goes as it would
/// have gone, unless the next cluster is about to take it.
pub(super) fn network_to_remove<'a>(desired: &Desired, observed: &'a Observed) -> Option<&'a NetworkRef> {
    let is_wanted = desired.lifecycle == Lifecycle::Managed && desired.state == State::Present;
    let creates = is_wanted && observed.provisioner.is_some();
    observed.network.as_ref().filter(|_| observed.network_use >= NetworkUse::Deserted && !creates)
}

/// Half a cluster must not pass for a whole one, and is somebody's work all the same.
fn incomplete(desired: &Desired, observed: &Observed) -> Option<Obstacle> {
    let is_there = observed.cluster == Cluster::Running && !observed.is_leaving;
    let is_half = is_there && observed.control_plane == ControlPlane::Missing;
    is_half.then(|| Obstacle::ClusterIncomplete { cluster: desired.cluster.to_string() })
}

/// The deletion of a cluster that is there, if there is a program to do it.
pub fn deletion(desired: &Desired, observed: &Observed, cause: &str) -> Option<Step> {
    let cluster = Box::new(spec(desired, observed, observed.provisioner.clone()?));
    Some(Step::new(Action::DeleteCluster { cluster }, cause))
}

fn detached(observed: &Observed) -> impl Iterator<Item = Milestone> {
    attached(observed).map(|found| {
        let container = found.container.name.clone();
        Milestone::Detached { holder: Subject::Mirror(host_of(&found.container.labels, &container)), container }
    })
}

fn spec(desired: &Desired, observed: &Observed, program: PathBuf) -> ClusterSpec {
    let mirrors = desired.mirrors.values().flat_map(|mirror| &mirror.aliases);
    ClusterSpec {
        name: desired.cluster.clone(),
        distribution: desired.distribution,
        program,
        provisioning: desired.provisioning.clone(),
        direct: mirrors.chain(&observed.subnets).cloned().collect(),
    }
}

fn provisioner_not_found(desired: &Desired, observed: &Observed) -> Obstacle {
    let program = provisioner(desired.distribution);
    Obstacle::ProvisionerNotFound {
        program: program.name,
        install: program.install,
        to: if observed.cluster == Cluster::Missing { "create" } else { "delete" },
    }
}

/// The `ConfigMap` of KEP-1755, for the first registry to push to.
fn advertising(desired: &Desired, observed: &Observed, hosting: Option<&RegistryHosting>) -> Sequence {
    let Some(found) = &observed.hosting else { return Sequence::default() };
    let node = Target { name: found.node.clone(), id: Some(found.node_id.clone()) };
    let distribution = desired.distribution;
    let step = match (hosting, &found.advertised) {
        (Some(hosting), Advertised::Nothing) => {
            let action = Action::AdvertiseRegistry { node, distribution, hosting: hosting.clone() };
            Step::new(action, "the cluster was not told yet")
        }
        (Some(hosting), ours @ Advertised::Ours(_)) if !ours.says(hosting) => {
            let action = Action::AdvertiseRegistry { node, distribution, hosting: hosting.clone() };
            Step::new(action, "the cluster was told something else")
        }
        (None, Advertised::Ours(_)) => {
            let cause = match desired.state {
                State::Present if desired.hosting.is_some() => "the registry to push to cannot run",
                State::Present => "no registry to push to is in ksail.yaml",
                State::Absent | State::Purged => cause_of_removal(desired),
            };
            Step::new(Action::WithdrawRegistry { node, distribution }, cause)
        }
        _ => return Sequence::default(),
    };
    Sequence { steps: vec![step], ..Sequence::default() }
}
