//! What is true of one mirror.

use jiff::Timestamp;

use super::ConditionStatus::{False, True, Unknown};
use super::condition::Verdict;
use super::node::trouble;
use super::{ConditionStatus, ConditionType, Evidence, MirrorStatus, Reason};
use crate::desired::Mirror;
use crate::engine::ContainerState;
use crate::observed::{NetworkUse, OwnContainer, Shadow, unwired};
use crate::outcome::Failure;
use crate::plan::{Action, Sequence, Subject};
use crate::probe::{Serving, UpstreamAnswer};
use crate::registry::{Role, SecretFiles, Word, is_served_from_cache};

/// Its conditions, `Ready` first, and what else there is to say of it.
pub(super) fn assess(mirror: &Mirror, evidence: &Evidence<'_>) -> MirrorStatus {
    let host = mirror.host.to_string();
    let named = |name: &str| evidence.observed.containers.iter().find(|found| found.container.name == name);
    let found = named(&mirror.name).or_else(|| named(&mirror.next_name()));
    let bound = found.and_then(|found| {
        found.container.bound_ports.iter().find(|port| port.container_port == mirror.listen.container_port)
    });
    let asked = Some(mirror.listen.host_port).filter(|port| *port != 0);
    let port = bound.map(|port| port.host_port).or(asked);

    let mut conditions = vec![running(found), serving(found)];
    if mirror.role == Role::Mirror {
        let shadow = evidence.observed.shadow_of(mirror);
        let lacks_shell = found.is_some_and(|found| found.lacks_shell);
        let (probed, word) = (evidence.upstreams.get(&host), evidence.words.get(&host));
        conditions.push(match shadow {
            None if lacks_shell => without_shell(mirror),
            shadow => upstream_reachable(mirror, probed, word, shadow.as_ref()),
        });
    }
    conditions.push(network_attached(mirror, found, evidence));
    if let Some(error) = evidence.observed.unreadable.get(&host) {
        for condition in conditions.iter_mut().filter(|condition| condition.kind != ConditionType::UpstreamReachable) {
            *condition = Verdict::new(condition.kind, Unknown, Reason::EngineRefused, error.clone());
        }
    }
    conditions.push(nodes_wired(mirror, evidence));
    let subject = Subject::mirror(&host);
    let from_cache = found.filter(|found| mirror.role == Role::Mirror && is_served_from_cache(&found.container.env));
    let mut ready = ready(
        from_cache.is_some(),
        &conditions,
        evidence.plan.sequences.get(&subject),
        evidence.failures.get(&subject),
    );
    if let (Reason::ConfigRejected, Some(shadow)) = (ready.reason, evidence.observed.shadow_of(mirror)) {
        ready.message = format!("{}; {shadow}", ready.message);
    } else if let (Reason::ConfigRejected, Some(answer)) =
        (ready.reason, evidence.upstreams.get(&host).filter(|answer| answer.is_bad()))
    {
        // Registry 2 asks its upstream when it starts, and exits when nobody answers.
        ready.message = format!("{}; its upstream, asked from here: {answer}", ready.message);
    }
    conditions.insert(0, ready);
    let conditions = conditions.into_iter().map(|verdict| verdict.at(evidence.now)).collect();

    MirrorStatus {
        role: mirror.role,
        name: mirror.name.clone(),
        upstream: mirror.upstream.as_ref().map(ToString::to_string),
        port,
        address: port.map(|port| mirror.address(port)),
        alias: format!("{}:{}", mirror.name, mirror.listen.container_port),
        container: found.map(|found| found.container.clone()),
        from_cache_since: from_cache.and_then(|found| found.container.created_at),
        cache: None,
        conditions,
        host,
    }
}

fn running(found: Option<&OwnContainer>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict::new(ConditionType::Running, status, reason, message);
    let Some(found) = found else {
        return verdict(False, Reason::ContainerMissing, "there is no container".to_owned());
    };
    let container = &found.container;
    let code = container.exit_code.map(|code| format!(" with code {code}")).unwrap_or_default();
    let why = if container.error.is_empty() { String::new() } else { format!(": {}", container.error) };
    match container.state {
        ContainerState::Running => verdict(True, Reason::ContainerRunning, "container runs".to_owned()),
        ContainerState::Paused => verdict(False, Reason::ContainerPaused, "container is paused".to_owned()),
        ContainerState::Created => verdict(False, Reason::ContainerCreated, format!("container never started{why}")),
        ContainerState::Restarting => {
            verdict(False, Reason::ContainerRestarting, format!("container keeps exiting{code}"))
        }
        ContainerState::Exited => verdict(False, Reason::ContainerExited, format!("container exited{code}{why}")),
        ContainerState::Dead | ContainerState::Removing => {
            verdict(False, Reason::ContainerDead, format!("container is {}", container.state))
        }
    }
}

fn serving(found: Option<&OwnContainer>) -> Verdict {
    let verdict = |status, reason, message: &str| Verdict::new(ConditionType::Serving, status, reason, message);
    let up = |found: &&OwnContainer| matches!(found.container.state, ContainerState::Running | ContainerState::Paused);
    match found.filter(up).map(|found| found.serving) {
        None => verdict(False, Reason::NotRunning, "container does not run"),
        Some(Serving::Answers) => verdict(True, Reason::Answering, "registry answers /v2/"),
        Some(Serving::Refused) => verdict(False, Reason::NotAnswering, "registry does not answer /v2/"),
        Some(Serving::Silent) => verdict(False, Reason::NotAnswering, "registry hangs: it does not answer /v2/"),
        Some(Serving::Overdue) => {
            verdict(Unknown, Reason::NotAnswering, "registry did not answer /v2/ within 2 s and is asked again")
        }
        Some(Serving::Unknown) => {
            verdict(Unknown, Reason::NotReachableFromHere, "its port cannot be reached from here")
        }
    }
}

/// What the registry itself meets: from here a container in the way is not to be seen.
fn upstream_reachable(
    mirror: &Mirror,
    probed: Option<&UpstreamAnswer>,
    word: Option<&Word>,
    shadow: Option<&Shadow>,
) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::UpstreamReachable, status, reason, message);
    let upstream = mirror.upstream.as_ref().map(ToString::to_string).unwrap_or_default();
    if let Some(shadow) = shadow {
        return verdict(False, Reason::UpstreamShadowed, shadow.to_string());
    }
    let Some(answer) = probed else {
        return verdict(Unknown, Reason::NotProbed, format!("{upstream} has not been asked yet"));
    };
    let (reason, said) = (Reason::of_upstream(answer), format!("{upstream}: {answer}"));
    match answer {
        UpstreamAnswer::Answers => verdict(True, reason, format!("{upstream} {answer}")),
        UpstreamAnswer::Unknown(_) => {
            let (status, reason, said) = word.map_or((Unknown, reason, said), |word| by_word(&upstream, word));
            verdict(status, reason, said)
        }
        _ => verdict(False, reason, said),
    }
}

/// A registry of version 3 that cannot run its helper for credentials asks without any, and says nothing of that.
fn without_shell(mirror: &Mirror) -> Verdict {
    let upstream = mirror.upstream.as_ref().map(ToString::to_string).unwrap_or_default();
    let message = format!(
        "{upstream} is asked without credentials: {} is not in the registry's image, and is needed to read them; take an \
         image that has it, as registry:3 does",
        SecretFiles::SHELL
    );
    Verdict::new(ConditionType::UpstreamReachable, False, Reason::ImageWithoutShell, message)
}

/// What cannot be known from here is as the registry has met it. An answer that is a good one is not told anew with
/// every pull.
fn by_word(upstream: &str, word: &Word) -> (ConditionStatus, Reason, String) {
    let reason = Reason::of_word(word.said);
    match word.said.trouble() {
        None => (True, reason, format!("{upstream} answers as a registry, by the log of its mirror")),
        Some(trouble) => {
            // To the second: more is not said to people.
            let at = Timestamp::from_second(word.at.as_second()).unwrap_or(word.at);
            (False, reason, format!("{upstream}: by the log of its mirror at {at}: {trouble}"))
        }
    }
}

fn network_attached(mirror: &Mirror, found: Option<&OwnContainer>, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::NetworkAttached, status, reason, message);
    let Some(network) = &evidence.observed.network else {
        let message = format!("network {} does not exist yet; attached when it appears", evidence.desired.network);
        return verdict(False, Reason::NetworkNotFound, message);
    };
    let endpoint = found.and_then(|found| network.endpoint_of(&found.container));
    if endpoint.is_none() && evidence.observed.network_use != NetworkUse::Used {
        let message = format!("no node of the cluster is on network {} yet; attached when one is", network.name);
        return verdict(False, Reason::NetworkNotFound, message);
    }
    if endpoint.is_some_and(|endpoint| endpoint.aliases.contains(&mirror.name)) {
        verdict(True, Reason::Attached, format!("on network {} as {}", network.name, mirror.name))
    } else {
        verdict(False, Reason::NotAttached, format!("not on network {}", network.name))
    }
}

/// Of the nodes that run: the first that is not wired gives the word. The whole is told by [their own](super::node)
/// conditions.
fn nodes_wired(mirror: &Mirror, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::NodesWired, status, reason, message);
    let nodes = &evidence.observed.nodes;
    let unread = evidence.observed.unread_nodes.first();
    if nodes.is_empty() && unread.is_none() {
        return verdict(Unknown, Reason::NoNodes, "no node of the cluster runs".to_owned());
    }
    let found = nodes.iter().filter_map(|node| {
        let (status, reason, _) = trouble(node, &unwired(node, mirror, evidence.desired)?, evidence);
        Some((node.name.as_str(), status, reason))
    });
    let (known, unknown): (Vec<_>, Vec<_>) = found.partition(|(_, status, _)| *status == False);
    let names =
        |nodes: &[(&str, ConditionStatus, Reason)]| nodes.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    match (known.first(), unread, unknown.first(), nodes.len()) {
        (Some((.., reason)), ..) => verdict(False, *reason, format!("not wired: {}", names(&known))),
        (None, Some(name), ..) => verdict(Unknown, Reason::Progressing, format!("{name} has not been looked into yet")),
        (None, None, Some((.., reason)), _) => {
            verdict(Unknown, *reason, format!("not known of {}; a pull shows it", names(&unknown)))
        }
        (None, None, None, 1) => verdict(True, Reason::Wired, "1 node is wired".to_owned()),
        (None, None, None, count) => verdict(True, Reason::Wired, format!("{count} nodes are wired")),
    }
}

/// A network that does not exist yet does not stop a mirror from being ready: it serves this machine,
/// and the network appears only with the cluster.
fn ready(from_cache: bool, conditions: &[Verdict], sequence: Option<&Sequence>, failure: Option<&Failure>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Ready, status, reason, message);
    if let Some(obstacle) = sequence.and_then(|sequence| sequence.obstacles.first()) {
        return verdict(False, Reason::of_obstacle(obstacle), obstacle.to_string());
    }
    let pending = sequence.and_then(|sequence| sequence.steps.first());
    if let (Some(failure), Some(_)) = (failure, pending) {
        return verdict(False, Reason::of(failure), failure.to_string());
    }
    if let Some(step) = pending {
        let message = match &step.action {
            Action::PullImage { image } => format!("image {image} is {}", step.cause),
            _ => step.cause.clone(),
        };
        return verdict(False, Reason::Progressing, message);
    }
    let counts = |verdict: &&Verdict| {
        verdict.kind != ConditionType::UpstreamReachable
            && verdict.reason != Reason::NetworkNotFound
            && verdict.status == False
    };
    let postponed = sequence.and_then(|sequence| sequence.postponed.as_ref());
    match (conditions.iter().find(counts), postponed) {
        (Some(first), _) => verdict(False, first.reason, first.message.clone()),
        (None, Some(postponed)) => verdict(True, Reason::AsDesired, format!("as ksail.yaml says; later: {postponed}")),
        (None, None) if from_cache => verdict(
            True,
            Reason::ServingFromCache,
            "serves what is cached, read-only, until 'ksail watch' or the next 'ksail apply' finds its upstream back"
                .to_owned(),
        ),
        (None, None) => verdict(True, Reason::AsDesired, "as ksail.yaml says".to_owned()),
    }
}
