//! What stands for kind and k3d does what the real ones do, as far as ksail can see.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::support::deadline::{eventually, holds};
use super::support::scenario::Scenario;
use super::support::stand_in::{StandIn, real_kind};
use super::support::sweep;
use super::support::watch::signal;
use super::turns::beside_others;

const ENDS: Duration = Duration::from_secs(10);

#[test]
fn kinds_clusters_come_and_go() {
    let _turn = beside_others();
    let scenario = Scenario::new("stand-kind");
    let kind = StandIn::new(&scenario);
    let cluster = scenario.cluster.as_str();
    let create = ["create", "cluster", "--name", cluster];
    assert_eq!(run(&mut kind.command("kind", &create, "")).status.code(), Some(0));
    let nodes = [format!("{cluster}-control-plane"), format!("{cluster}-worker")];
    let mut programs = vec![kind.command("kind", &["get", "nodes", "--name", cluster], "")];
    if let Some(real) = real_kind() {
        let mut real = Command::new(real);
        real.args(["get", "nodes", "--name", cluster]);
        programs.push(real);
    }
    for program in &mut programs {
        let listed = run(program);
        let listed = String::from_utf8_lossy(&listed.stdout);
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, nodes, "{program:?}");
    }

    let again = run(&mut kind.command("kind", &create, ""));
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exist"), "{again:?}");

    let delete = ["delete", "cluster", "--name", cluster];
    assert_eq!(run(&mut kind.command("kind", &delete, "fail-delete")).status.code(), Some(1));
    for _ in 0..2 {
        assert_eq!(run(&mut kind.command("kind", &delete, "")).status.code(), Some(0));
    }
    assert_eq!(containers(&scenario), Vec::<String>::new());
    let calls = kind.calls();
    assert_eq!(calls[0], format!("kind create cluster --name {cluster}"));
    assert_eq!(calls.len(), 6, "{calls:?}");
}

#[test]
fn k3ds_network_stays_while_a_stranger_is_on_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("stand-k3d");
    let k3d = StandIn::new(&scenario);
    let cluster = scenario.cluster.as_str();
    let network = format!("k3d-{cluster}");
    let exists = || scenario.docker.output(&["network", "inspect", &network]).status.success();
    for stranger in [true, false] {
        assert_eq!(run(&mut k3d.command("k3d", &["cluster", "create", cluster], "")).status.code(), Some(0));
        let made = ["agent-0", "server-0", "serverlb"].map(|node| format!("k3d-{cluster}-{node}"));
        assert_eq!(containers(&scenario), made);
        let label = sweep::label();
        let name = format!("{cluster}-stranger");
        if stranger {
            scenario.docker.line(&format!(
                "run -d --pull never --name {name} --label {label} --network {network} ksail-test/silent:1"
            ));
        }
        assert_eq!(run(&mut k3d.command("k3d", &["cluster", "delete", cluster], "")).status.code(), Some(0));
        assert_eq!(exists(), stranger);
        scenario.docker.output(&["rm", "-f", &name]);
        assert_eq!(containers(&scenario), Vec::<String>::new());
    }
}

#[test]
fn a_creation_that_fails_or_is_stopped_leaves_a_node() {
    let _turn = beside_others();
    let scenario = Scenario::new("stand-half");
    let kind = StandIn::new(&scenario);
    let cluster = scenario.cluster.as_str();
    let create = ["create", "cluster", "--name", cluster];
    let delete = ["delete", "cluster", "--name", cluster];
    let left = vec![format!("{cluster}-control-plane")];

    let failed = run(&mut kind.command("kind", &create, "fail"));
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("ERROR: failed to create cluster:"), "{failed:?}");
    assert_eq!(containers(&scenario), left);
    run(&mut kind.command("kind", &delete, ""));

    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut hanging = kind.command("kind", &create, "hang").stderr(Stdio::null()).spawn().unwrap();
        eventually("a node is there", ENDS, || holds(containers(&scenario) == left, "none"));
        signal(hanging.id(), name);
        let (status, _) =
            eventually("it ends", ENDS, || hanging.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
        assert_eq!(status.code(), Some(code));
        assert_eq!(containers(&scenario), left);
        run(&mut kind.command("kind", &delete, ""));
    }
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it runs")
}

/// Names of the containers made with the cluster's name, sorted.
fn containers(scenario: &Scenario) -> Vec<String> {
    let mut names = scenario.docker.containers_labelled(&sweep::label());
    names.retain(|name| name.contains(&scenario.cluster));
    names.sort();
    names
}
