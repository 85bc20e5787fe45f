//! Nodes whose containerd would ignore the files: said with what to do about it, and noticed when it is done.

use std::fs;
use std::time::Duration;

use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::Watch;
use super::turns::beside_others;

const NOTICED: Duration = Duration::from_secs(4);
const OLD_TABLE: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";
const NEW_TABLE: &str = "plugins.'io.containerd.cri.v1.images'.registry";
const KIND: &str = "/etc/containerd/config.toml";
const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";

#[test]
fn a_containerd_of_kind_that_ignores_the_files_is_named_with_the_fix() {
    let scenario = Scenario::new("config-kind");
    is_named_with_the_fix(&scenario, Node::kind, "control-plane", KIND, OLD_TABLE);
}

#[test]
fn a_newer_containerd_that_ignores_the_files_is_named_with_the_fix() {
    let scenario = Scenario::new("config-next");
    is_named_with_the_fix(&scenario, Node::kind_next, "control-plane", KIND, NEW_TABLE);
}

#[test]
fn a_containerd_of_k3s_that_ignores_the_files_is_named_with_the_fix() {
    let scenario = Scenario::of_k3d("config-k3s");
    is_named_with_the_fix(&scenario, Node::k3s, "server", K3S, OLD_TABLE);
}

/// `config` is containerd's configuration on the node, in which `table` holds the registry's settings.
fn is_named_with_the_fix(
    scenario: &Scenario,
    start: fn(&Scenario, &str) -> Node,
    role: &str,
    config: &str,
    table: &str,
) {
    let _turn = beside_others();
    let mirror = Mirror::push(free_port());
    let node = start(scenario, role);
    let healthy = node.read(config).expect("containerd is configured");
    // Where no newer containerd can be had, the older one stands for it.
    let table = if healthy.contains(table) { table } else { OLD_TABLE };
    let line = healthy.lines().find(|line| line.trim_start().starts_with("config_path")).expect("it reads the files");
    let directory = node.hosts_toml_path("x").replace("/x/hosts.toml", "");
    let list = line.replace(&directory, &format!("{directory}:/etc/docker/certs.d"));
    let mirrors = format!("[{table}.mirrors.\"docker.io\"]\n  endpoint = [\"http://x:5000\"]\n");
    assert_ne!(line, list);
    // What comes of a list depends on the version: see `Settings::seen_by`.
    let ignores_lists = healthy.contains(NEW_TABLE);

    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    let mut all = vec![
        (healthy.replace(line, ""), "NodeConfigPathMissing", "has no config_path and ignores hosts.toml files"),
        (healthy.clone() + &mirrors, "NodeRegistryMirrorsSet", "remove that table and"),
    ];
    if ignores_lists {
        let ignored = healthy.replace(line, &list).replace("discard_unpacked_layers = true", "");
        all.push((ignored, "NodeConfigPathList", ":/etc/docker/certs.d\" as config_path"));
    }
    for (broken, reason, words) in all {
        let mark = watch.mark();
        node.write(config, &broken);
        let summed_up = await_wired(&mut watch, mark, &mirror, ("False", reason));
        assert_eq!(summed_up, format!("not wired: {}", node.name()));
        let event = watch.await_event_since(mark, "the node says why", NOTICED, |event| {
            event.is("condition") && event.text("node") == node.name() && event.text("type") == "ReadsHostsFiles"
        });
        let message = event.text("message");
        let restart = format!("docker restart {}", node.name());
        let table = table.replace('\'', "\"");
        let fix = format!("in {config} on the node, say config_path = \"{directory}\" under [{table}]");
        for part in [words, fix.as_str(), restart.as_str()] {
            assert!(message.contains(part), "{part:?} is in {message:?}");
        }
        let status = scenario.status();
        let ready = status.of_mirror(&mirror.host, "Ready");
        assert_eq!((status.code, ready.0.as_str(), ready.1.as_str()), (1, "False", reason), "{}", status.json);

        // In place and from outside, so that no event tells.
        let mark = watch.mark();
        fs::write(node.outside_path(config), &healthy).unwrap();
        await_wired(&mut watch, mark, &mirror, ("True", "Wired"));
    }
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    node.write(config, &healthy.replace(line, &list));
    let status = scenario.status();
    assert_eq!(status.code, 0, "pulls are local there, and such a containerd reads a list: {}", status.json);
}

#[test]
fn a_containerd_that_reads_the_files_without_being_told_is_wired() {
    let _turn = beside_others();
    let scenario = Scenario::new("config-default");
    let node = Node::kind(&scenario, "control-plane");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    assert!(node.hosts_toml(&mirror.host).is_some(), "it is wired");
    // The two answers of containerd 2.3.4 in a kind.yaml without the patch.
    node.write(
        "/usr/local/bin/containerd",
        "#!/bin/sh\n\
         if [ \"$1\" = --version ]; then echo 'containerd github.com/containerd/containerd/v2 v2.3.4 0123abc'; exit; fi\n\
         printf \"version = 4\\n[plugins.'io.containerd.cri.v1.images'.registry]\\nconfig_path = ''\\n\"\n",
    );
    node.exec(&["chmod", "755", "/usr/local/bin/containerd"]);
    let status = scenario.status();
    let wired = status.of_mirror(&mirror.host, "NodesWired");
    assert_eq!((status.code, wired.0.as_str(), wired.1.as_str()), (0, "True", "Wired"), "{}", status.json);
}

/// Waits until `NodesWired` has this status and reason, and returns its message.
fn await_wired(watch: &mut Watch, mark: usize, mirror: &Mirror, (status, reason): (&str, &str)) -> String {
    let event = watch.await_event_since(mark, &format!("NodesWired is {status} {reason}"), NOTICED, |event| {
        event.is_condition(&mirror.host, "NodesWired", status) && event.text("reason") == reason
    });
    event.text("message").to_owned()
}
