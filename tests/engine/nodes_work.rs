//! The nodes that the tests use pull as real ones do: by `hosts.toml`, and by nothing else.

use std::process::{Command, Output};

use super::support::image::Image;
use super::support::node::Node;
use super::support::registry::Upstream;
use super::support::scenario::Scenario;
use super::support::stand_in::real_kind;
use super::turns::beside_others;

const REFERENCE: &str = "docker.io/team/app:1";

#[test]
fn a_node_of_kind_pulls_by_its_hosts_toml() {
    pulls_by_its_hosts_toml("node-kind", |scenario| Node::kind(scenario, "control-plane"));
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_node_of_kind_with_a_newer_containerd_pulls_by_its_hosts_toml() {
    pulls_by_its_hosts_toml("node-next", |scenario| Node::kind_next(scenario, "control-plane"));
}

#[test]
fn a_node_of_k3d_pulls_by_its_hosts_toml() {
    pulls_by_its_hosts_toml("node-k3s", |scenario| Node::k3s(scenario, "server"));
}

fn pulls_by_its_hosts_toml(name: &str, start: fn(&Scenario) -> Node) {
    let _turn = beside_others();
    let scenario = Scenario::new(name);
    let upstream = Upstream::start(&scenario.docker, name);
    upstream.push(&Image::containing(name), "team/app", "1");
    let node = start(&scenario);
    let path = node.hosts_toml_path("docker.io");
    assert_eq!(node.hosts_toml("docker.io"), None);

    let text = hosts_toml(upstream.url());
    node.write(&path, &text);
    assert_eq!(node.hosts_toml("docker.io"), Some(text));
    assert_eq!(node.pull(REFERENCE), Ok(()));
    assert!(node.has_image(REFERENCE));
    node.forget_images();
    assert!(!node.has_image(REFERENCE));

    // What is on the node survives it: the file, and the daemon comes back by itself.
    let before = node.containerd_pid();
    node.restart();
    assert_ne!(node.containerd_pid(), before);
    assert_eq!(node.pull(REFERENCE), Ok(()), "it pulls after a restart");
    node.forget_images();

    upstream.stop();
    let refused = node.pull(REFERENCE).unwrap_err();
    assert!(refused.contains("connection refused"), "{refused}");
    node.write(&path, &hosts_toml("http://nobody.of-that-name:5000"));
    let unknown = node.pull(REFERENCE).unwrap_err();
    assert!(unknown.contains("nobody.of-that-name"), "{unknown}");

    node.stop();
    assert_eq!(node.containerd_pid(), 0);
}

fn hosts_toml(server: &str) -> String {
    format!("server = \"{server}\"\n\n[host.\"{server}\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
}

#[test]
fn a_nodes_kubectl_keeps_what_is_applied() {
    let _turn = beside_others();
    let scenario = Scenario::new("node-kubectl");
    let node = Node::kind(&scenario, "control-plane");
    let get = ["get", "configmap", "hosting", "--namespace", "kube-public", "--ignore-not-found", "-o", "json"];
    assert_eq!(said(&node.kubectl(&get)), "");

    let config_map = r#"{"apiVersion":"v1","data":{"v1":"{\"name\": \"no\"}"},"kind":"ConfigMap",
        "metadata":{"labels":{"app.kubernetes.io/managed-by":"ksail"},"name":"hosting","namespace":"kube-public"}}"#;
    node.write("/tmp/applied", config_map);
    let apply = "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=5s apply -f - </tmp/applied";
    assert_eq!(said(&node.exec(&["sh", "-c", apply])), "configmap/hosting created\n");
    assert_eq!(said(&node.kubectl(&get)), config_map);
    assert_eq!(node.read("/run/kubectl/kube-public.hosting").as_deref(), Some(config_map));

    node.write("/run/kubectl/down", "");
    let refused = node.kubectl(&get);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("The connection to the server"));
    node.exec(&["rm", "/run/kubectl/down"]);

    let delete = ["delete", "configmap", "hosting", "--namespace=kube-public", "--ignore-not-found"];
    assert_eq!(said(&node.kubectl(&delete)), "configmap \"hosting\" deleted\n");
    assert_eq!(said(&node.kubectl(&delete)), "");
    let log = node.read("/run/kubectl/log").unwrap_or_default();
    assert_eq!(log.lines().count(), 6, "{log}");

    let worker = Node::kind(&scenario, "worker").kubectl(&get);
    assert!(String::from_utf8_lossy(&worker.stderr).contains("no such file"), "{worker:?}");
}

#[test]
fn the_real_kind_takes_the_nodes_for_its_own() {
    let Some(kind) = real_kind() else { return };
    let _turn = beside_others();
    let scenario = Scenario::new("node-names");
    let nodes =
        [Node::kind(&scenario, "control-plane"), Node::kind(&scenario, "worker"), Node::kind_next(&scenario, "worker")];
    let clusters = said(&Command::new(&kind).args(["get", "clusters"]).output().unwrap());
    assert!(clusters.lines().any(|cluster| cluster == scenario.cluster), "{clusters}");
    let listed = said(&Command::new(&kind).args(["get", "nodes", "--name", &scenario.cluster]).output().unwrap());
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, nodes.each_ref().map(Node::name));
}

/// What a command that has to succeed printed.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
