//! One host directory mounted as `certs.d` into the nodes of two clusters: each keeps its own files, and no other.

use tempfile::TempDir;

use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

#[test]
fn two_clusters_whose_nodes_share_a_directory_leave_each_others_files_alone_and_say_so() {
    let _turn = beside_others();
    let shared = TempDir::with_prefix("ksail-test-").expect("a temporary directory");
    let [first, second] = ["shared-a", "shared-b"].map(Scenario::new);
    let upstream = Upstream::start(&first.docker, "shared-up");
    let mirror = |host: &str| Mirror::of(host, upstream.url(), free_port());
    let nodes = [&first, &second].map(|scenario| Node::kind_on(scenario, "worker", shared.path()));
    let file = || nodes[0].hosts_toml("docker.io");

    first.write(&[mirror("docker.io")]);
    first.apply();
    let written = file().expect("it is written");
    assert!(written.starts_with(&format!("# Managed by ksail for cluster {}:", first.cluster)), "{written}");

    second.write(&[mirror("docker.io"), mirror("ghcr.io")]);
    let applied = second.ksail(&["apply", "--timeout", "30s"]);
    assert_eq!(applied.code, 1, "{applied}");
    assert_eq!(file().as_ref(), Some(&written), "not written over: {applied}");
    let (status, reason, message) = second.status().of_mirror("docker.io", "NodesWired");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NodeFileForeign"), "{message}");
    assert_eq!(message, format!("not wired: {}", nodes[1].name()));
    let (_, _, message) = second.status().of_node(nodes[1].name(), "Wired");
    assert!(message.contains(&format!("is cluster {}'s", first.cluster)), "{message}");
    assert_eq!(second.status().of_mirror("ghcr.io", "NodesWired").1, "Wired");

    // What the other one has and this one does not is no leftover.
    first.apply();
    assert!(nodes[0].hosts_toml("ghcr.io").is_some_and(|text| text.contains(&second.cluster)));
    let deleted = second.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(deleted.code, 0, "{deleted}");
    assert_eq!((file(), nodes[0].hosts_toml("ghcr.io")), (Some(written), None), "its own is removed, the other is not");
    first.apply();
}
