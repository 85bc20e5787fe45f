//! What is true of the cluster itself.

use super::ConditionStatus::{False, True, Unknown};
use super::condition::Verdict;
use super::{Condition, ConditionType, Evidence, Reason};
use crate::distribution::node_layout;
use crate::distribution::registry_hosting::Advertised;
use crate::manifest::{Lifecycle, State};
use crate::observed::{Cluster, ControlPlane};
use crate::outcome::Failure;
use crate::plan::{Sequence, Subject};

/// Those that apply.
pub(super) fn conditions(evidence: &Evidence<'_>) -> Vec<Condition> {
    let verdicts = [cluster_ready(evidence), registry_advertised(evidence)];
    verdicts.into_iter().flatten().map(|verdict| verdict.at(evidence.now)).collect()
}

/// Of a cluster that is ksail's to create and delete; of one to be deleted, only while it is there.
fn cluster_ready(evidence: &Evidence<'_>) -> Option<Verdict> {
    let Evidence { desired, observed, .. } = evidence;
    let verdict = |status, reason, message| Some(Verdict::new(ConditionType::ClusterReady, status, reason, message));
    let is_wanted = desired.state == State::Present;
    if desired.lifecycle == Lifecycle::External || (!is_wanted && observed.cluster == Cluster::Missing) {
        return None;
    }
    if let Some(what) = evidence.done_to_cluster {
        return verdict(False, Reason::Progressing, what.to_owned());
    }
    let subject = Subject::Cluster(desired.cluster.to_string());
    let sequence = evidence.plan.sequences.get(&subject);
    let obstacle = sequence.and_then(|sequence| sequence.obstacles.first());
    let failure = evidence.failures.get(&subject).filter(|failure| is_of_program(failure));
    match (obstacle, failure, observed.cluster) {
        (Some(obstacle), ..) => verdict(False, Reason::of_obstacle(obstacle), obstacle.to_string()),
        (None, Some(failure), _) => verdict(False, Reason::of(failure), failure.in_a_line()),
        (None, None, _) if !is_wanted => {
            verdict(False, Reason::ClusterLeft, format!("cluster {} is still there", desired.cluster))
        }
        (None, None, Cluster::Running | Cluster::Stopped) if observed.is_leaving => {
            verdict(False, Reason::Progressing, "its nodes are being stopped or removed".to_owned())
        }
        (None, None, Cluster::Running) if !observed.stopped_nodes.is_empty() => {
            let names = observed.stopped_nodes.join(" ");
            let message = format!("not all of its nodes run; 'docker start {names}' starts the others");
            verdict(False, Reason::ClusterStopped, message)
        }
        (None, None, Cluster::Running) => match &observed.control_plane {
            ControlPlane::NotReady { node, why } => {
                let message = format!("the API server on {node} does not say that it is ready: {why}");
                verdict(False, Reason::ApiUnreachable, message)
            }
            ControlPlane::Unknown(why) => verdict(Unknown, Reason::ApiUnreachable, why.clone()),
            // Of the first look at all that there is, it comes last.
            ControlPlane::NotAsked => None,
            ControlPlane::Missing | ControlPlane::Usable => {
                verdict(True, Reason::ClusterRunning, "its nodes run".to_owned())
            }
        },
        (None, None, Cluster::Stopped) => {
            let name = desired.cluster.as_str();
            let label = node_layout(desired.distribution).cluster_label;
            let message = format!(
                "no node of cluster {name} runs; 'docker start $(docker ps -aq --filter label={label}={name})' starts them"
            );
            verdict(False, Reason::ClusterStopped, message)
        }
        (None, None, Cluster::Missing) => {
            verdict(False, Reason::ClusterMissing, format!("there is no cluster {} yet", desired.cluster))
        }
    }
}

const fn is_of_program(failure: &Failure) -> bool {
    matches!(failure, Failure::Provisioner(_) | Failure::Remains { .. })
}

fn registry_advertised(evidence: &Evidence<'_>) -> Option<Verdict> {
    let verdict =
        |status, reason, message| Some(Verdict::new(ConditionType::RegistryAdvertised, status, reason, message));
    let (wanted, found) = (evidence.desired.hosting.as_ref()?, evidence.observed.hosting.as_ref()?);
    let failure = evidence.failures.get(&Subject::Cluster(evidence.desired.cluster.to_string()));
    let failure = failure.filter(|failure| !is_of_program(failure));
    let sequence = evidence.plan.sequences.get(&Subject::mirror(wanted.mirror()));
    let obstacle = sequence.and_then(Sequence::cannot_run);
    match (&found.advertised, obstacle, failure) {
        (Advertised::Nothing | Advertised::Ours(_), Some(obstacle), _) => {
            verdict(False, Reason::NotAdvertised, format!("nobody can push to {}: {obstacle}", wanted.host()))
        }
        (advertised, ..) if advertised.says(wanted) => {
            verdict(True, Reason::Advertised, format!("local-registry-hosting says {}", wanted.host()))
        }
        (Advertised::Foreign, ..) => {
            let message = "local-registry-hosting in kube-public was not written by ksail and is left alone";
            verdict(False, Reason::AdvertisedByOthers, message.to_owned())
        }
        (Advertised::Unknown(why), ..) => verdict(Unknown, Reason::ApiUnreachable, format!("{}: {why}", found.node)),
        (_, _, Some(failure)) => verdict(False, Reason::ApiUnreachable, failure.to_string()),
        _ => verdict(False, Reason::NotAdvertised, "local-registry-hosting is not written yet".to_owned()),
    }
}
