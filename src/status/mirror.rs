//! What is true of one mirror.

use jiff::Timestamp;

use super::ConditionStatus::{False, True, Unknown};
use super::condition::Verdict;
use super::node::trouble;
use super::{ConditionStatus, ConditionType, Evidence, MirrorStatus, Reason};
use crate::desired::Mirror;
use crate::engine::ContainerState;
use crate::observed::{NetworkUse, OwnContainer, Shadow, unwired};
use crate::plan::{Action, Subject};
use crate::probe::{Serving, UpstreamAnswer};
use crate::registry::{LastWords, Role, SecretFiles, Word, is_served_from_cache};

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

    let mut conditions = vec![running(found, evidence.last_words.get(&host)), serving(found)];
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
    let mut ready = ready(&subject, from_cache.is_some(), &conditions, evidence);
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

fn running(found: Option<&OwnContainer>, last_words: Option<&LastWords>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict::new(ConditionType::Running, status, reason, message);
    let Some(found) = found else {
        return verdict(False, Reason::ContainerMissing, "there is no container".to_owned());
    };
    let container = &found.container;
    let code = container.exit_code.map(|code| format!(" with code {code}")).unwrap_or_default();
    let why = match last_words {
        _ if !container.error.is_empty() => format!(": {}", container.error),
        Some(LastWords { text, of_upstream: true }) => format!(": its upstream does not answer it: {text}"),
        Some(LastWords { text, .. }) => format!(": {text}"),
        None => String::new(),
    };
    match container.state {
        ContainerState::Running => verdict(True, Reason::ContainerRunning, "container runs".to_owned()),
        ContainerState::Paused => verdict(False, Reason::ContainerPaused, "container is paused".to_owned()),
        ContainerState::Created => verdict(False, Reason::ContainerCreated, format!("container never started{why}")),
        ContainerState::Restarting => {
            verdict(False, Reason::CrashLooping, format!("container exits again and again{code}{why}"))
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
fn ready(subject: &Subject, from_cache: bool, conditions: &[Verdict], evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Ready, status, reason, message);
    let (sequence, failure) = (evidence.plan.sequences.get(subject), evidence.failures.get(subject));
    if let Some(obstacle) = sequence.and_then(|sequence| sequence.obstacles.first()) {
        return verdict(False, Reason::of_obstacle(obstacle), obstacle.to_string());
    }
    let pending = sequence.and_then(|sequence| sequence.steps.first());
    if let (Some(failure), Some(_)) = (failure, pending) {
        return verdict(False, Reason::of(failure), failure.to_string());
    }
    let is_down = |verdict: &&Verdict| verdict.kind == ConditionType::Running && verdict.status == False;
    let down = conditions.iter().find(is_down).filter(|_| !evidence.is_at_work);
    if let (Some(_), Some(down)) = (pending, down) {
        return match down.reason {
            Reason::ContainerMissing => {
                verdict(False, Reason::NotCreated, "there is no container; 'ksail apply' makes one".to_owned())
            }
            reason => verdict(False, reason, down.message.clone()),
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::desired::{ResolveContext, resolve};
    use crate::engine::{Container, LogDriver};
    use crate::manifest::load_contents;
    use crate::observed::{Observed, StartsAgain};
    use crate::plan::plan;
    use crate::registry::LastWords;
    use crate::status::Status;

    const NAME: &str = "ksail-dev-docker-io";

    /// Its container in this state, as the spec has it.
    fn found(mirror: &Mirror, state: ContainerState, exit_code: Option<i64>) -> OwnContainer {
        let spec = &mirror.container;
        let container = Container {
            id: "id".to_owned(),
            name: NAME.to_owned(),
            labels: spec.labels.clone(),
            image: spec.image.clone(),
            image_id: String::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: spec.env.clone(),
            state,
            exit_code,
            error: String::new(),
            created_at: None,
            started_at: None,
            restart_policy: spec.restart_policy.clone(),
            log: LogDriver::default(),
            ports: Vec::new(),
            extra_hosts: Vec::new(),
            bound_ports: Vec::new(),
            mounts: Vec::new(),
            endpoints: BTreeMap::new(),
        };
        OwnContainer {
            container: Arc::new(container),
            secrets: None,
            major_version: None,
            lacks_shell: false,
            serving: Serving::Refused,
            starting: false,
            starts_again: StartsAgain::NotAsked,
        }
    }

    /// Reason and message of `Ready`, of one whose container is in this state.
    fn ready_of(state: Option<(ContainerState, i64)>, said: Option<LastWords>, is_at_work: bool) -> (Reason, String) {
        let text = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  lifecycle: External\n  \
                    registries:\n    mirrors:\n      - {host: docker.io, upstream: \"https://registry-1.docker.io\"}\n";
        let manifest = load_contents(Path::new("ksail.yaml"), Ok(text.into()), &|_| None).unwrap();
        let desired = resolve(&manifest, &ResolveContext::default());
        let mirror = desired.mirrors.values().next().unwrap();
        let containers = state.map(|(state, code)| found(mirror, state, Some(code))).into_iter().collect();
        let observed = Observed { containers, ..Observed::default() };
        let evidence = Evidence {
            desired: &desired,
            observed: &observed,
            plan: &plan(&desired, &observed),
            failures: &BTreeMap::new(),
            upstreams: &BTreeMap::new(),
            words: &BTreeMap::new(),
            last_words: &said.map(|said| ("docker.io".to_owned(), said)).into_iter().collect(),
            is_at_work,
            done_to_cluster: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let status = Status::assess(&evidence, None);
        let ready = status.mirrors[0].condition(ConditionType::Ready).unwrap();
        assert_eq!(ready.status, False);
        (ready.reason, ready.message.clone())
    }

    fn words(text: &str, of_upstream: bool) -> LastWords {
        LastWords { text: text.to_owned(), of_upstream }
    }

    #[test]
    fn a_crash_loop_is_called_one_with_the_last_words_of_the_registry() {
        let ready =
            ready_of(Some((ContainerState::Restarting, 1)), Some(words("open /certs: no such file", false)), false);
        let message = "container exits again and again with code 1: open /certs: no such file";
        assert_eq!(ready, (Reason::CrashLooping, message.to_owned()));
        let ready = ready_of(Some((ContainerState::Restarting, 2)), Some(words("connection refused", true)), false);
        let message =
            "container exits again and again with code 2: its upstream does not answer it: connection refused";
        assert_eq!(ready, (Reason::CrashLooping, message.to_owned()));
        assert_eq!(ready_of(Some((ContainerState::Restarting, 2)), None, false).0, Reason::CrashLooping);
    }

    #[test]
    fn what_nobody_is_about_to_change_is_not_progressing() {
        assert_eq!(ready_of(None, None, false).0, Reason::NotCreated);
        let exited = ready_of(Some((ContainerState::Exited, 137)), None, false);
        assert_eq!(exited, (Reason::ContainerExited, "container exited with code 137".to_owned()));
        assert_eq!(ready_of(Some((ContainerState::Paused, 0)), None, false).0, Reason::ContainerPaused);
        for state in [None, Some((ContainerState::Exited, 137)), Some((ContainerState::Restarting, 1))] {
            assert_eq!(ready_of(state, None, true).0, Reason::Progressing, "{state:?}");
        }
    }
}
