//! An engine that is reached through ssh. What is run for it stands for ssh: it notes its arguments and runs what comes after
//! the machine's name, on this one.

use std::fs;

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

const ENGINE: &str = "ssh://me@localhost:2222";

fn stand_in(ends: &str) -> String {
    format!(
        "#!/bin/sh\necho \"$*\" >>\"$(dirname \"$0\")/../ssh.log\"\nwhile [ \"$1\" != docker ]; do shift; done\n{ends}\n"
    )
}

#[test]
fn an_engine_behind_ssh_is_worked_over_connections_that_are_kept() {
    let _turn = beside_others();
    let mut scenario = Scenario::new("by-ssh");
    // ssh takes no variables along.
    let engine = std::env::var("DOCKER_HOST").unwrap_or_default();
    scenario.program("ssh", &stand_in(&format!("DOCKER_HOST='{engine}' exec \"$@\"")));
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let applied = scenario.ksail_at(Some(ENGINE), &["apply"]);
    assert_eq!(applied.code, 0, "{applied}");
    assert_eq!(scenario.converged(std::slice::from_ref(&mirror)), Ok(()));
    let log = fs::read_to_string(scenario.home.path().join("ssh.log")).expect("it was run");
    let usual = "-o BatchMode=yes -o ConnectTimeout=8 -T -l me -p 2222 -- localhost docker system dial-stdio";
    assert!(log.lines().all(|line| line == usual), "{log}");
    // As many calls as that are made at once; an apply makes some forty.
    assert!(log.lines().count() <= 16, "{} connections: {log}", log.lines().count());
}

#[test]
fn what_ssh_complains_of_is_told() {
    let _turn = beside_others();
    let mut scenario = Scenario::new("no-ssh");
    scenario.program("ssh", &stand_in("echo 'me@localhost: Permission denied (publickey).' >&2; exit 255"));
    scenario.write(&[Mirror::push(free_port())]);
    let refused = scenario.ksail_at(Some(ENGINE), &["status"]);
    assert_eq!(refused.code, 1, "{refused}");
    let said = "cannot reach the engine at ssh://me@localhost:2222: ssh: me@localhost: Permission denied (publickey).";
    assert!(refused.stderr.contains(said), "{refused}");
}
