//! One host directory mounted as `certs.d` into the nodes of two clusters.

use super::nodes::{bare, wired};
use super::*;
use crate::observed::HostDirectory;

/// What another cluster's ksail has written for the same mirror.
fn theirs() -> String {
    let other = Manifest { name: "prod".parse().unwrap(), ..manifest(vec![mirror("ghcr.io", 5001)]) };
    let other = resolve(&other, &ResolveContext::default());
    other.mirrors.values().next().unwrap().node_files["ghcr.io"].text().to_owned()
}

fn planned(desired: &Desired, host: &str, text: String) -> Plan {
    let mut node = wired("dev-worker", desired);
    let file = HostDirectory { hosts_toml: Some(text), has_others: false };
    node.hosts.insert(host.to_owned(), file);
    plan(desired, &Observed { nodes: vec![node], ..converged(desired) })
}

#[test]
fn a_file_of_another_cluster_is_told_with_its_name_and_not_written_over() {
    assert_snapshot!(planned(&one(), "ghcr.io", theirs()), @"
    node dev-worker
      blocked: /etc/containerd/certs.d/ghcr.io/hosts.toml on dev-worker is cluster prod's and is left alone: nodes of both clusters share that directory, and each wants the file to name its own mirror; mount another one into the nodes of one of them
    ");
}

#[test]
fn a_file_of_another_cluster_is_not_removed_where_this_one_has_no_such_mirror() {
    assert_snapshot!(planned(&one(), "quay.io", theirs()), @"");
    let none = wanted(Vec::new());
    assert_snapshot!(planned(&none, "ghcr.io", theirs()), @"");
}

#[test]
fn a_file_of_an_earlier_ksail_which_named_no_cluster_is_replaced_or_removed() {
    let earlier = |desired: &Desired, host: &str| {
        let text = theirs().replace(" for cluster prod", "");
        planned(desired, host, text).to_string()
    };
    assert_snapshot!(earlier(&one(), "ghcr.io"), @"
    node dev-worker
      write hosts.toml for ghcr.io on dev-worker: hosts.toml not as ksail.yaml says
    ");
    assert_snapshot!(earlier(&one(), "quay.io"), @"
    node dev-worker
      remove hosts.toml for quay.io from dev-worker: not in ksail.yaml
      remove /etc/containerd/certs.d/quay.io from dev-worker: empty
    ");
}

#[test]
fn a_push_registry_is_wired_by_both_names_of_this_machine_unless_one_is_another_mirrors_own() {
    let push = |host: &str, port| manifest::Mirror { upstream: None, ..mirror(host, port) };
    let files = |mirrors| {
        let desired = wanted(mirrors);
        let observed = Observed { nodes: vec![bare("dev-worker")], ..converged(&desired) };
        let written = plan(&desired, &observed).to_string();
        written.lines().nth(1).unwrap_or_default().trim().to_owned()
    };
    assert_snapshot!(files(vec![push("localhost:5005", 5005)]), @"write hosts.toml for 127.0.0.1:5005, ksail-dev-localhost-5005:5000, localhost:5005 on dev-worker: hosts.toml missing");
    assert_snapshot!(files(vec![push("kind-registry:5000", 5001)]), @"write hosts.toml for 127.0.0.1:5001, kind-registry:5000, ksail-dev-kind-registry-5000-8bfaa79f:5000, localhost:5001 on dev-worker: hosts.toml missing");
    let both = wanted(vec![push("kind-registry:5000", 5001), mirror("localhost:5001", 5002)]);
    let files = |host: &str| both.mirrors[&host.parse().unwrap()].node_files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(files("localhost:5001"), ["localhost:5001"]);
    assert!(!files("kind-registry:5000").contains(&"localhost:5001".to_owned()), "{:?}", files("kind-registry:5000"));
    let renamed =
        both.clone().with_names(&names::Existing::named("kind-registry:5000", "ksail-dev-kind-registry-5000"));
    let of_renamed = &renamed.mirrors[&"kind-registry:5000".parse().unwrap()].node_files;
    assert!(of_renamed.contains_key("ksail-dev-kind-registry-5000:5000"), "{of_renamed:?}");
    assert!(!of_renamed.contains_key("localhost:5001"), "{of_renamed:?}");
}
