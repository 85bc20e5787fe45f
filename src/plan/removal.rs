//! What has to go: everything of the cluster that no mirror of the manifest accounts for.

use std::collections::BTreeMap;

use super::action::{Action, Step, Target};
use super::{Milestone, Obstacle, Sequence, Subject};
use crate::desired::{Desired, Mirror};
use crate::engine::{Container, Volume};
use crate::labels::{self, Labels, is_ours};
use crate::manifest::{State, VolumePolicy};
use crate::names;
use crate::observed::{NetworkRef, Observed, OwnContainer};
use crate::registry::Role;

/// Per host that is not desired its containers, and its volume, if that goes too, after them.
///
/// A container goes when no node sends pulls to it any more (`unwired`); where the cluster goes as well, it leaves
/// the cluster's network first and goes after the cluster. A cluster that cannot be deleted goes on using it.
///
/// And per volume that the other role of a mirror has left the same, after the mirror's own sequence (of `mirrors`).
pub(super) fn sequences(
    desired: &Desired,
    observed: &Observed,
    mirrors: &BTreeMap<Subject, Sequence>,
    unwired: &[Milestone],
) -> BTreeMap<Subject, Sequence> {
    let cluster_goes = observed.is_cluster_to_go(desired);
    let cluster_is_gone = || vec![Milestone::Done(Subject::Cluster(desired.cluster.to_string()))];
    let after = if cluster_goes { cluster_is_gone() } else { unwired.to_vec() };
    let mut sequences: BTreeMap<Subject, Sequence> = BTreeMap::new();
    let mut add = |found: &OwnContainer, step: Step| {
        let host = host_of(&found.container.labels, &found.container.name);
        sequences.entry(Subject::Mirror(host)).or_default().steps.push(step);
    };
    let undesired =
        |found: &&OwnContainer| !is_desired(desired, &host_of(&found.container.labels, &found.container.name));
    // All of a mirror's containers leave before one of them waits for the cluster, which waits for all of them to leave.
    for found in attached(observed).filter(undesired).filter(|_| cluster_goes) {
        let Some(network) = &observed.network else { continue };
        add(found, leave(found, network));
    }
    for found in observed.containers.iter().filter(undesired) {
        let action = Action::RemoveContainer { container: target(found) };
        let host = host_of(&found.container.labels, &found.container.name);
        let is_its = |volume: &Volume| observed.host_of_volume(volume).as_deref() == Some(host.as_str());
        let stays = |volume: &Volume| is_its(volume) && !goes(desired, observed, volume);
        let kept = if observed.volumes.values().any(stays) { "; its volume stays" } else { "" };
        let cause = format!("{}{kept}", cause_of_removal(desired));
        add(found, Step { after: after.clone(), ..Step::new(action, cause) });
    }
    for (host, error) in observed.unreadable.iter().filter(|(host, _)| !is_desired(desired, host)) {
        let obstacle = Obstacle::Unreadable { error: error.clone() };
        sequences.insert(Subject::mirror(host), Sequence { obstacles: vec![obstacle], ..Sequence::default() });
    }
    for volume in observed.volumes.values().filter(|volume| goes(desired, observed, volume)) {
        let mirror = Subject::Mirror(observed.host_of_volume(volume).unwrap_or_else(|| volume.name.clone()));
        if observed.unreadable.contains_key(mirror.name()) {
            continue;
        }
        let action = Action::RemoveVolume { volume: volume.clone() };
        let (its, cause) = match desired_mirror(desired, mirror.name()) {
            None => (sequences.get(&mirror), cause_of_removal(desired).to_owned()),
            Some(desired) => {
                let its = mirrors.get(&mirror);
                if is_kept(observed, volume, its) {
                    continue;
                }
                (its, format!("{} is a {} now", desired.host, of_what_kind(desired)))
            }
        };
        let has_steps = its.is_some_and(|sequence| !sequence.steps.is_empty());
        let after = has_steps.then_some(Milestone::Done(mirror)).into_iter().collect();
        let steps = vec![Step { after, ..Step::new(action, cause) }];
        sequences.insert(Subject::Volume(volume.name.clone()), Sequence { steps, ..Sequence::default() });
    }
    sequences
}

/// It is back under the names it had when the cluster cannot be deleted after all.
fn leave(found: &OwnContainer, network: &NetworkRef) -> Step {
    let aliases = network.endpoint_of(&found.container).map(|endpoint| endpoint.aliases.clone()).unwrap_or_default();
    let back = Action::ConnectNetwork { container: target(found), network: network.clone(), aliases };
    let action = Action::DisconnectNetwork { container: target(found), network: network.clone() };
    Step { undo: vec![back], ..Step::new(action, "before the cluster is deleted") }
}

fn target(found: &OwnContainer) -> Target {
    Target { name: found.container.name.clone(), id: Some(found.container.id.clone()) }
}

/// The cluster's containers that are on its network.
pub(super) fn attached(observed: &Observed) -> impl Iterator<Item = &OwnContainer> {
    let is_on_it = |network: &NetworkRef, found: &OwnContainer| network.endpoint_of(&found.container).is_some();
    let is_attached =
        move |found: &&OwnContainer| observed.network.as_ref().is_some_and(|network| is_on_it(network, found));
    observed.containers.iter().filter(is_attached)
}

/// Ours by its labels; or without any, where the engine made it for a container of ours.
fn goes(desired: &Desired, observed: &Observed, volume: &Volume) -> bool {
    let wanted = desired.state == State::Purged
        || (desired.state == State::Present && desired.volume_policy == VolumePolicy::Delete);
    let is_ours = is_ours(&volume.labels, desired.cluster.as_str())
        || (observed.is_adopted(volume) && observed.was_made_for_ours(volume));
    let Some(host) = observed.host_of_volume(volume) else { return false };
    let has_its_name = names::is_of(&volume.name, desired.cluster.as_str(), &host);
    let mirror = desired_mirror(desired, &host);
    wanted && is_ours && has_its_name && mirror.is_none_or(|mirror| is_of_other_role(observed, volume, mirror))
}

/// Whether a volume holds what came of a mirror's other role. Another one of the mirror's own role is somebody's
/// business: an earlier version may have had another name for it.
fn is_of_other_role(observed: &Observed, volume: &Volume, mirror: &Mirror) -> bool {
    let of_container = || {
        let labels = observed.on_volume(volume).map(|container| &container.labels).next();
        // One without labels that nobody is on any more is known by the container that went on without it.
        labels.map_or(volume.labels.is_empty(), |labels| is_other(labels, mirror))
    };
    let is_other_by_label = is_other(&volume.labels, mirror);
    volume.name != mirror.volume && (is_other_by_label || of_container())
}

fn is_other(labels: &Labels, mirror: &Mirror) -> bool {
    labels.get(labels::ROLE).is_some_and(|role| role != mirror.role.as_str())
}

/// Whether a container of ours stays on a volume.
fn is_kept(observed: &Observed, volume: &Volume, sequence: Option<&Sequence>) -> bool {
    let steps = || sequence.iter().flat_map(|sequence| &sequence.steps);
    let goes = |container: &Container| {
        steps().any(|step| {
            matches!(&step.action, Action::RemoveContainer { container: target } if target.id.as_ref() == Some(&container.id))
        })
    };
    observed.on_volume(volume).any(|container| !goes(container))
}

const fn of_what_kind(mirror: &Mirror) -> &'static str {
    match mirror.role {
        Role::Mirror => "pull-through mirror",
        Role::Push => "push registry",
    }
}

/// Why something goes that is not desired.
pub(super) const fn cause_of_removal(desired: &Desired) -> &'static str {
    match desired.state {
        State::Present => "not in ksail.yaml",
        State::Absent => "state is Absent",
        State::Purged => "state is Purged",
    }
}

pub(super) fn host_of(labels: &BTreeMap<String, String>, name: &str) -> String {
    labels.get(labels::HOST).map_or(name, String::as_str).to_owned()
}

fn is_desired(desired: &Desired, host: &str) -> bool {
    desired_mirror(desired, host).is_some()
}

fn desired_mirror<'a>(desired: &'a Desired, host: &str) -> Option<&'a Mirror> {
    desired.mirrors.values().find(|mirror| mirror.host.as_str() == host)
}
