//! What happens on nodes, and what waits for it.

use super::*;
use crate::distribution::containerd::RegistryConfig;
use crate::distribution::proxy::ProxySettings;
use crate::observed::{HostDirectory, Node};

const DIRECTORY: &str = "/etc/containerd/certs.d";

/// A node without any file.
pub(super) fn bare(name: &str) -> Node {
    Node {
        id: format!("id-{name}"),
        name: name.to_owned(),
        addresses: Vec::new(),
        hosts_directory: DIRECTORY.to_owned(),
        hosts: BTreeMap::new(),
        unreadable: None,
        registry_config: RegistryConfig::Directory(DIRECTORY.to_owned()),
        proxy: ProxySettings::default(),
    }
}

/// A node on which everything is as desired.
pub(super) fn wired(name: &str, desired: &Desired) -> Node {
    let files = desired.mirrors.values().flat_map(|mirror| &mirror.node_files);
    let directory = |(host, file): (&String, &crate::distribution::hosts_toml::HostsToml)| {
        (host.clone(), HostDirectory { hosts_toml: Some(file.text().to_owned()), has_others: false })
    };
    Node { hosts: files.map(directory).collect(), ..bare(name) }
}

fn with_nodes(desired: &Desired, nodes: Vec<Node>) -> Observed {
    Observed { nodes, ..converged(desired) }
}

/// The plan for one mirror and one node, after something happened to the node.
fn after(change: impl FnOnce(&mut Node)) -> String {
    let desired = one();
    let mut node = wired("dev-worker", &desired);
    change(&mut node);
    plan(&desired, &with_nodes(&desired, vec![node])).to_string()
}

fn file(node: &mut Node) -> &mut Option<String> {
    &mut node.hosts.entry("ghcr.io".to_owned()).or_default().hosts_toml
}

#[test]
fn a_node_as_desired_needs_nothing() {
    assert_eq!(after(|_| ()), "");
}

#[test]
fn missing_files_are_written_in_one_call_per_node() {
    let mut push = mirror("localhost:5005", 5005);
    push.upstream = None;
    let desired = wanted(vec![mirror("ghcr.io", 5001), push]);
    let observed = with_nodes(&desired, vec![bare("dev-control-plane"), bare("dev-worker")]);
    assert_snapshot!(plan(&desired, &observed), @r"
    node dev-control-plane
      write hosts.toml for 127.0.0.1:5005, ghcr.io, ksail-dev-localhost-5005:5000, localhost:5005 on dev-control-plane: hosts.toml missing
    node dev-worker
      write hosts.toml for 127.0.0.1:5005, ghcr.io, ksail-dev-localhost-5005:5000, localhost:5005 on dev-worker: hosts.toml missing
    ");
}

#[test]
fn a_file_of_ours_that_says_something_else_is_written_again() {
    assert_snapshot!(after(|node| *file(node) = Some("# Managed by ksail: …\nserver = \"http://other\"\n".to_owned())), @r"
    node dev-worker
      write hosts.toml for ghcr.io on dev-worker: hosts.toml not as ksail.yaml says
    ");
}

#[test]
fn a_file_that_was_emptied_or_cut_off_is_written_again() {
    assert_snapshot!(after(|node| *file(node) = Some(String::new())), @r"
    node dev-worker
      write hosts.toml for ghcr.io on dev-worker: hosts.toml missing
    ");
    assert_snapshot!(after(|node| *file(node) = Some("# Managed by".to_owned())), @r"
    node dev-worker
      write hosts.toml for ghcr.io on dev-worker: hosts.toml not as ksail.yaml says
    ");
}

#[test]
fn somebody_elses_file_blocks_its_host_and_no_other() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let mut node = bare("dev-worker");
    *file(&mut node) = Some("server = \"https://ghcr.io\"\n".to_owned());
    assert_snapshot!(plan(&desired, &with_nodes(&desired, vec![node])), @r"
    node dev-worker
      write hosts.toml for quay.io on dev-worker: hosts.toml missing
      blocked: /etc/containerd/certs.d/ghcr.io/hosts.toml on dev-worker was not written by ksail and is left alone; move it away to have it wired
    ");
}

#[test]
fn somebody_elses_file_that_leads_to_the_mirror_is_good_enough() {
    let text = "server = \"https://ghcr.io\"\n[host.\"http://ksail-dev-ghcr-io:5000/v2\"]\n";
    assert_eq!(after(|node| *file(node) = Some(text.to_owned())), "");
}

#[test]
fn a_directory_that_containerd_prefers_blocks() {
    let mut push = mirror("localhost:5005", 5005);
    push.upstream = None;
    let desired = wanted(vec![push]);
    let mut node = wired("dev-worker", &desired);
    node.hosts.insert("localhost_5005_".to_owned(), HostDirectory::default());
    assert_snapshot!(plan(&desired, &with_nodes(&desired, vec![node])), @r"
    node dev-worker
      blocked: /etc/containerd/certs.d/localhost_5005_ on dev-worker was not written by ksail and is left alone; move it away to have it wired
    ");
}

#[test]
fn what_is_left_of_a_mirror_goes_with_its_directory_unless_something_else_is_in_it() {
    let before = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002), mirror("registry.k8s.io", 5003)]);
    let mut node = wired("dev-worker", &before);
    node.hosts.get_mut("quay.io").unwrap().has_others = true;
    node.hosts.insert("gcr.io".to_owned(), HostDirectory { hosts_toml: Some("theirs".to_owned()), has_others: false });
    node.hosts.insert("docker.io".to_owned(), HostDirectory { hosts_toml: None, has_others: true });
    assert_snapshot!(plan(&one(), &with_nodes(&one(), vec![node])), @r"
    node dev-worker
      remove hosts.toml for quay.io, registry.k8s.io from dev-worker: not in ksail.yaml
      remove /etc/containerd/certs.d/registry.k8s.io from dev-worker: empty
    ");
}

#[test]
fn a_mirror_whose_name_somebody_else_has_is_no_place_to_send_a_node_to() {
    let desired = one();
    let mut observed = Observed { nodes: vec![bare("dev-worker")], ..nothing() };
    let stranger = Stranger { ports: Vec::new(), volumes: Vec::new(), networks: Vec::new(), cluster: None };
    observed.strangers.insert("ksail-dev-ghcr-io".to_owned(), stranger);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      blocked: container ksail-dev-ghcr-io was not made by ksail and is left alone; rename or remove it
    ");
}

#[test]
fn a_node_that_ignores_files_gets_them_and_the_complaint_says_what_to_do() {
    let desired = one();
    let table = "plugins.\"io.containerd.grpc.v1.cri\".registry".to_owned();
    let node = Node { registry_config: RegistryConfig::Unset { table }, ..bare("dev-worker") };
    assert_snapshot!(plan(&desired, &with_nodes(&desired, vec![node.clone()])), @r#"
    node dev-worker
      write hosts.toml for ghcr.io on dev-worker: hosts.toml missing
      blocked: containerd on dev-worker has no config_path and ignores hosts.toml files: in /etc/containerd/config.toml on the node, say config_path = "/etc/containerd/certs.d" under [plugins."io.containerd.grpc.v1.cri".registry], then restart containerd there ('docker exec dev-worker systemctl restart containerd', or 'docker restart dev-worker'); new clusters get it by the lines that 'ksail cluster init' writes into the distribution's configuration
    "#);
    let none = wanted(Vec::new());
    assert!(plan(&none, &with_nodes(&none, vec![node])).is_empty(), "nobody needs it to listen");
}

#[test]
fn a_node_that_cannot_be_read_is_left_alone() {
    assert_eq!(
        after(|node| {
            node.hosts.clear();
            node.unreadable = Some("it is paused".to_owned());
        }),
        ""
    );
}

#[test]
fn a_registry_goes_when_no_node_sends_anybody_to_it_any_more() {
    let before = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let nodes = vec![wired("dev-control-plane", &before), wired("dev-worker", &one())];
    let observed = with_nodes(&before, nodes);
    let plan = plan(&one(), &observed);
    assert_snapshot!(plan, @r"
    quay.io
      remove container ksail-dev-quay-io: not in ksail.yaml; its volume stays
    node dev-control-plane
      remove hosts.toml for quay.io from dev-control-plane: not in ksail.yaml
      remove /etc/containerd/certs.d/quay.io from dev-control-plane: empty
    ");
    let removal = &plan.sequences[&Subject::mirror("quay.io")].steps[0];
    assert_eq!(removal.after, [Milestone::Ended(Subject::Node("dev-control-plane".to_owned()))]);
}
