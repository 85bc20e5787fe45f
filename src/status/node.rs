//! What is true of one node. A mirror sums up what keeps it from being pulled through in one word.

use super::ConditionStatus::{False, True, Unknown};
use super::condition::Verdict;
use super::{Condition, ConditionStatus, ConditionType, Evidence, Reason};
use crate::distribution::containerd::RegistryConfig;
use crate::observed::{Node, Unwired, complaint, misled};
use crate::plan::{Obstacle, Subject};

/// Its conditions: whether its files can be read, whether its containerd reads those of ksail, and whether they are
/// there and lead to the mirrors.
pub(super) fn conditions(node: &Node, evidence: &Evidence<'_>) -> Vec<Condition> {
    let verdicts = [reachable(node), reads_hosts_files(node, evidence), wired(node, evidence)];
    verdicts.into_iter().map(|verdict| verdict.at(evidence.now)).collect()
}

/// Those of one that runs and has not been looked into yet.
pub(super) fn unread(name: &str, evidence: &Evidence<'_>) -> Vec<Condition> {
    let message = format!("{name} has not been looked into yet");
    let kinds = [ConditionType::Reachable, ConditionType::ReadsHostsFiles, ConditionType::Wired];
    kinds.map(|kind| Verdict::new(kind, Unknown, Reason::Progressing, message.clone()).at(evidence.now)).into()
}

fn reachable(node: &Node) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Reachable, status, reason, message);
    match &node.unreadable {
        Some(why) => verdict(False, Reason::NodeUnreachable, unreadable(node, why)),
        None => verdict(True, Reason::AsDesired, "its files can be read".to_owned()),
    }
}

fn unreadable(node: &Node, why: &str) -> String {
    format!("the files of {} cannot be read: {why}", node.name)
}

fn reads_hosts_files(node: &Node, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::ReadsHostsFiles, status, reason, message);
    if let Some(why) = &node.unreadable {
        return verdict(Unknown, Reason::NodeUnreachable, unreadable(node, why));
    }
    if let Some(complaint) = complaint(node, evidence.desired) {
        return verdict(False, Reason::of_config(&node.registry_config), complaint);
    }
    match &node.registry_config {
        RegistryConfig::Unknown(why) => {
            let message = format!("whether containerd on {} reads hosts.toml files: {why}", node.name);
            verdict(Unknown, Reason::NodeConfigUnknown, message)
        }
        _ => verdict(True, Reason::AsDesired, format!("containerd reads those below {}", node.hosts_directory)),
    }
}

/// Everything that is wrong, each of it once.
fn wired(node: &Node, evidence: &Evidence<'_>) -> Verdict {
    let verdict = |status, reason, message| Verdict::new(ConditionType::Wired, status, reason, message);
    if let Some(why) = &node.unreadable {
        return verdict(Unknown, Reason::NodeUnreachable, unreadable(node, why));
    }
    let mirrors = evidence.desired.mirrors.values();
    let wrong = mirrors.filter_map(|mirror| misled(node, mirror, evidence.desired));
    let mut troubles: Vec<(Reason, String)> = Vec::new();
    for (_, reason, message) in wrong.map(|why| trouble(node, &why, evidence)) {
        // What is being written is no news beside what is in the way.
        if !troubles.iter().any(|(_, told)| *told == message) {
            troubles.push((reason, message));
        }
    }
    let Some((reason, _)) = troubles.iter().min_by_key(|(reason, _)| *reason == Reason::Progressing) else {
        return verdict(True, Reason::Wired, "its pulls go to the mirrors".to_owned());
    };
    let reason = *reason;
    troubles.retain(|(told, _)| reason == Reason::Progressing || *told != Reason::Progressing);
    let messages: Vec<String> = troubles.into_iter().map(|(_, message)| message).collect();
    verdict(False, reason, messages.join("; "))
}

/// Why a node does not send a mirror's pulls to it, or may not, in words.
pub(super) fn trouble(node: &Node, why: &Unwired, evidence: &Evidence<'_>) -> (ConditionStatus, Reason, String) {
    let name = &node.name;
    match why {
        Unwired::Unreadable(why) => (False, Reason::NodeUnreachable, unreadable(node, why)),
        Unwired::Ignores(complaint) => (False, Reason::of_config(&node.registry_config), complaint.clone()),
        Unwired::Foreign(file) => {
            let foreign = Obstacle::NodeFileForeign { node: name.clone(), file: file.clone() };
            (False, Reason::NodeFileForeign, foreign.to_string())
        }
        Unwired::Missing(path) | Unwired::Differs(path) => match evidence.failures.get(&Subject::Node(name.clone())) {
            Some(failure) => (False, Reason::NodeUnreachable, failure.to_string()),
            None => (False, Reason::Progressing, format!("{path} is not written on {name} yet")),
        },
        Unwired::Proxied(complaint) => (False, Reason::NodeProxy, complaint.clone()),
        Unwired::Unknown(why) => {
            (Unknown, Reason::NodeConfigUnknown, format!("whether containerd on {name} reads hosts.toml files: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use jiff::Timestamp;

    use super::*;
    use crate::desired::{Desired, ResolveContext, resolve};
    use crate::distribution::proxy::ProxySettings;
    use crate::manifest::load_contents;
    use crate::observed::{HostDirectory, Observed};
    use crate::plan::plan;
    use crate::status::Status;

    const DIRECTORY: &str = "/etc/containerd/certs.d";

    fn desired() -> Desired {
        let text = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  lifecycle: External\n  \
                    registries:\n    mirrors:\n      - {host: docker.io, upstream: \"https://registry-1.docker.io\"}\n      \
                    - {host: ghcr.io, upstream: \"https://ghcr.io\"}\n";
        resolve(
            &load_contents(Path::new("ksail.yaml"), Ok(text.into()), &|_| None).unwrap(),
            &ResolveContext::default(),
        )
    }

    fn wired(name: &str, desired: &Desired) -> Node {
        let files = desired.mirrors.values().flat_map(|mirror| &mirror.node_files);
        let hosts = files.map(|(host, file)| {
            (host.clone(), HostDirectory { hosts_toml: Some(file.text().to_owned()), has_others: false })
        });
        Node {
            id: name.to_owned(),
            name: name.to_owned(),
            addresses: Vec::new(),
            hosts_directory: DIRECTORY.to_owned(),
            hosts: hosts.collect(),
            unreadable: None,
            registry_config: RegistryConfig::Directory(DIRECTORY.to_owned()),
            proxy: ProxySettings::default(),
        }
    }

    fn of(nodes: Vec<Node>, unread: &[&str]) -> Status {
        let desired = desired();
        let unread_nodes = unread.iter().map(|name| (*name).to_owned()).collect();
        let observed = Observed { nodes, unread_nodes, ..Observed::default() };
        let evidence = Evidence {
            desired: &desired,
            observed: &observed,
            plan: &plan(&desired, &observed),
            failures: &BTreeMap::new(),
            upstreams: &BTreeMap::new(),
            words: &BTreeMap::new(),
            last_words: &BTreeMap::new(),
            is_at_work: true,
            done_to_cluster: None,
            now: Timestamp::UNIX_EPOCH,
        };
        Status::assess(&evidence, None)
    }

    /// What is not so of a node, or not known.
    fn lacks(status: &Status, node: &str) -> Vec<(ConditionType, ConditionStatus, Reason)> {
        let lacks = status.node_conditions[node].iter().filter(|condition| condition.status != True);
        lacks.map(|condition| (condition.kind, condition.status, condition.reason)).collect()
    }

    /// Status, reason and message of each mirror's sum.
    fn summed_up(status: &Status) -> Vec<(ConditionStatus, Reason, String)> {
        let sums = status.mirrors.iter().map(|mirror| mirror.condition(ConditionType::NodesWired).unwrap());
        sums.map(|sum| (sum.status, sum.reason, sum.message.clone())).collect()
    }

    #[test]
    fn each_node_tells_of_itself_and_mirrors_name_all_that_are_not_wired_in_one_word() {
        use ConditionType::{Reachable, ReadsHostsFiles, Wired};
        let desired = desired();
        let table = "plugins.\"io.containerd.grpc.v1.cri\".registry".to_owned();
        let deaf = Node { registry_config: RegistryConfig::Unset { table }, ..wired("a-deaf", &desired) };
        let silent = Node { unreadable: Some("no space left".to_owned()), ..wired("b-silent", &desired) };
        let mut foreign = wired("c-foreign", &desired);
        for directory in foreign.hosts.values_mut() {
            directory.hosts_toml = Some("server = \"https://mine\"\n".to_owned());
        }
        let status = of(vec![deaf, silent, foreign, wired("d-whole", &desired)], &[]);
        assert_eq!(lacks(&status, "a-deaf"), [(ReadsHostsFiles, False, Reason::NodeConfigPathMissing)]);
        let unreadable = [
            (Reachable, False, Reason::NodeUnreachable),
            (ReadsHostsFiles, Unknown, Reason::NodeUnreachable),
            (Wired, Unknown, Reason::NodeUnreachable),
        ];
        assert_eq!(lacks(&status, "b-silent"), unreadable);
        assert_eq!(lacks(&status, "c-foreign"), [(Wired, False, Reason::NodeFileForeign)]);
        let said = &status.node_conditions["c-foreign"][2].message;
        assert!(said.contains("docker.io/hosts.toml") && said.contains("ghcr.io/hosts.toml"), "all of it: {said}");
        assert_eq!(lacks(&status, "d-whole"), []);
        let sum = (False, Reason::NodeConfigPathMissing, "not wired: a-deaf, b-silent, c-foreign".to_owned());
        assert_eq!(summed_up(&status), [sum.clone(), sum]);
    }

    #[test]
    fn what_is_not_known_is_no_fault() {
        let desired = desired();
        let asks = RegistryConfig::Unknown("it does not say".to_owned());
        let status = of(vec![Node { registry_config: asks, ..wired("dev-worker", &desired) }], &[]);
        let expected = [(ConditionType::ReadsHostsFiles, Unknown, Reason::NodeConfigUnknown)];
        assert_eq!(lacks(&status, "dev-worker"), expected);
        assert!(summed_up(&status).iter().all(|(status, ..)| *status == Unknown));
        let status = of(Vec::new(), &["dev-worker"]);
        assert_eq!(lacks(&status, "dev-worker").len(), 3);
        assert!(
            summed_up(&status).iter().all(|(status, reason, _)| (*status, *reason) == (Unknown, Reason::Progressing))
        );
    }
}
