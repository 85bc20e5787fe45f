//! Tools in a cluster are told of the registry to push to, by the `ConfigMap` of KEP-1755.

use serde_json::Value;

use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// Where the stand-in for `kubectl` keeps it.
const CONFIG_MAP: &str = "/run/kubectl/kube-public.local-registry-hosting";
const DOWN: &str = "/run/kubectl/down";

/// What is to be known of a push registry.
fn document(scenario: &Scenario, push: &Mirror, help: &str) -> String {
    let inside = format!("{}:5000", scenario.container_name(push));
    format!(
        "host: \"{}\"\nhostFromContainerRuntime: \"{inside}\"\nhostFromClusterNetwork: \"{inside}\"\nhelp: \"{help}\"\n",
        push.host
    )
}

fn config_map(node: &Node) -> Value {
    node.read(CONFIG_MAP).map(|text| serde_json::from_str(&text).expect("what is applied is JSON")).unwrap_or_default()
}

fn says(node: &Node) -> Option<String> {
    config_map(node)["data"]["localRegistryHosting.v1"].as_str().map(str::to_owned)
}

#[test]
fn the_first_registry_to_push_to_is_advertised_followed_and_withdrawn() {
    let _turn = beside_others();
    let scenario = Scenario::new("hosting-followed");
    let help = "https://kind.sigs.k8s.io/docs/user/local-registry/";
    let mut ports = [free_port(), free_port(), free_port()];
    ports.sort_unstable();
    let [first, second, other] = ports.map(Mirror::push);
    let node = Node::kind(&scenario, "control-plane");
    let _worker = Node::kind(&scenario, "worker");

    scenario.write(&[first.clone(), other.clone()]);
    scenario.apply();
    let found = config_map(&node);
    assert_eq!(found["kind"], "ConfigMap");
    assert_eq!(found["metadata"]["name"], "local-registry-hosting");
    assert_eq!(found["metadata"]["namespace"], "kube-public");
    assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "ksail");
    let said = says(&node).unwrap_or_default();
    assert_eq!(said, document(&scenario, &first, help));
    let fields: serde_yaml::Mapping = serde_yaml::from_str(&said).expect("it is YAML");
    assert_eq!(fields.len(), 4);
    assert_eq!(scenario.status().of_cluster("RegistryAdvertised").1, "Advertised");

    scenario.write(&[second.clone(), other]);
    scenario.apply();
    assert_eq!(says(&node), Some(document(&scenario, &second, help)), "on another port");

    scenario.write(&[]);
    scenario.apply();
    assert_eq!(node.read(CONFIG_MAP), None, "withdrawn");
}

/// A pod's resolver is the cluster's, which asks that of the node: a process in the node that asks by it stands for one. No
/// `hosts.toml` applies there.
#[test]
fn what_pulls_in_a_pod_reaches_the_registry_by_the_name_that_the_config_map_gives() {
    let _turn = beside_others();
    let scenario = Scenario::new("hosting-pod");
    let push = Mirror::push(free_port());
    let node = Node::kind(&scenario, "control-plane");
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    Image::containing(&scenario.cluster).push(push.host_port(), "team/app", "1.0").expect("it takes a push");
    let said: Value = serde_yaml::from_str(&says(&node).unwrap_or_default()).expect("it is YAML");
    let name = said["hostFromClusterNetwork"].as_str().expect("it is in it");
    let asked = node.exec(&["wget", "-q", "-O", "-", &format!("http://{name}/v2/team/app/tags/list")]);
    let answered = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success() && answered.contains("1.0"), "{asked:?}");
}

#[test]
fn what_others_advertise_is_left_and_reported_and_stops_nothing() {
    let _turn = beside_others();
    let scenario = Scenario::of_k3d("hosting-others");
    let push = Mirror::push(free_port());
    let node = Node::k3s(&scenario, "server");
    let theirs = r#"{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
        "data": {"localRegistryHosting.v1": "host: \"localhost:1\"\n"}}"#;
    node.write(CONFIG_MAP, theirs);
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    assert_eq!(node.read(CONFIG_MAP).as_deref(), Some(theirs), "byte for byte");
    let (status, reason, message) = scenario.status().of_cluster("RegistryAdvertised");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AdvertisedByOthers"), "{message}");
    scenario.write(&[]);
    scenario.apply();
    assert_eq!(node.read(CONFIG_MAP).as_deref(), Some(theirs), "byte for byte when there is nothing to advertise");

    assert!(node.exec(&["rm", CONFIG_MAP]).status.success());
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    assert_eq!(says(&node), Some(document(&scenario, &push, "https://k3d.io/stable/usage/registries/")));
}

#[test]
fn an_api_server_that_is_away_fails_nothing_and_is_told_later() {
    let _turn = beside_others();
    let scenario = Scenario::new("hosting-away");
    let push = Mirror::push(free_port());
    let node = Node::kind_next(&scenario, "control-plane");
    scenario.write(std::slice::from_ref(&push));
    node.write(DOWN, "");
    scenario.apply();
    assert_eq!(node.read(CONFIG_MAP), None);
    let (status, reason, message) = scenario.status().of_cluster("RegistryAdvertised");
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "ApiUnreachable"), "{message}");
    assert!(node.hosts_toml(&push.host).is_some(), "the node is wired all the same");

    assert!(node.exec(&["rm", DOWN]).status.success());
    scenario.apply();
    assert!(says(&node).is_some_and(|said| said.starts_with(&format!("host: \"{}\"\n", push.host))));
    assert_eq!(scenario.status().of_cluster("RegistryAdvertised").0, "True");
}
