//! What has to go: everything of the cluster that no mirror of the manifest accounts for.

use std::collections::BTreeMap;

use super::Sequence;
use super::action::{Action, Step, Target};
use crate::desired::Desired;
use crate::engine::Volume;
use crate::labels;
use crate::manifest::{State, VolumePolicy};
use crate::observed::{Observed, is_ours};

/// Per host that is not desired: its containers, then its volume if that goes too.
pub(super) fn sequences(desired: &Desired, observed: &Observed) -> BTreeMap<String, Sequence> {
    let mut sequences: BTreeMap<String, Sequence> = BTreeMap::new();
    for found in &observed.containers {
        let container = &found.container;
        let host = host_of(&container.labels, &container.name);
        if !is_desired(desired, &host) {
            let target = Target { name: container.name.clone(), id: Some(container.id.clone()) };
            sequences.entry(host).or_default().steps.push(step(desired, Action::RemoveContainer { container: target }));
        }
    }
    for volume in observed.volumes.values().filter(|volume| goes(desired, volume)) {
        let host = host_of(&volume.labels, &volume.name);
        let action = Action::RemoveVolume { name: volume.name.clone() };
        sequences.entry(host).or_default().steps.push(step(desired, action));
    }
    sequences
}

fn goes(desired: &Desired, volume: &Volume) -> bool {
    let wanted = desired.state == State::Purged
        || (desired.state == State::Present && desired.volume_policy == VolumePolicy::Delete);
    wanted && is_ours(&volume.labels, &desired.cluster) && !is_desired(desired, &host_of(&volume.labels, &volume.name))
}

fn step(desired: &Desired, action: Action) -> Step {
    let cause = match desired.state {
        State::Present => "not in ksail.yaml",
        State::Absent => "state is Absent",
        State::Purged => "state is Purged",
    };
    Step { action, cause: cause.to_owned(), undo: Vec::new() }
}

fn host_of(labels: &BTreeMap<String, String>, name: &str) -> String {
    labels.get(labels::HOST).map_or(name, String::as_str).to_owned()
}

fn is_desired(desired: &Desired, host: &str) -> bool {
    desired.mirrors.keys().any(|desired| desired.as_str() == host)
}
