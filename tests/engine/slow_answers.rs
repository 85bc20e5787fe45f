//! A registry that is slow once is asked again with more patience, and not restarted.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::support::deadline::{eventually, holds};
use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::{Event, signal};

const ASKED: Duration = Duration::from_secs(20);

#[test]
fn a_registry_that_does_not_answer_the_first_question_in_time_but_the_second_is_left_alone() {
    // In no turn: it waits.
    let scenario = Scenario::new("slow");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    let registry = scenario.running(&mirror);
    let process = u32::try_from(registry.pid()).expect("a process id");
    let answered = || scenario.docker.run(&["logs", &registry.name()]).matches("\"GET /v2/ ").count();
    // The first question is asked on the connection that is kept, the second on a new one.
    let (kept, _) = eventually("ksail keeps a connection", ASKED, || {
        let connections = connections_to(mirror.host_port());
        if connections.is_empty() { Err("none".to_owned()) } else { Ok(connections) }
    });
    let (mark, before) = (watch.mark(), answered());

    signal(process, "STOP");
    eventually("it is asked again on a new connection", ASKED, || {
        let connections = connections_to(mirror.host_port());
        holds(!connections.is_empty() && connections.is_disjoint(&kept), format!("{connections:?}"))
    });
    let events = watch.since(mark);
    signal(process, "CONT");
    assert!(events.is_empty(), "it does not count as hung yet: {events:#?}");
    // The two that it was asked meanwhile, and those of the usual times afterwards.
    eventually("it answers", ASKED, || holds(answered() >= before + 4, format!("{} after {before}", answered())));
    assert_eq!(scenario.running(&mirror).identity(), registry.identity(), "it was not restarted");
    let events = watch.since(mark);
    let is_told = |event: &Event| event.is_action() || event.text("status") == "False";
    assert!(!events.iter().any(is_told), "{events:#?}");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

/// The near ends of connections from this machine to a port of its own.
fn connections_to(port: u16) -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let far = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("the system tells its connections");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.get(2) == Some(&far.as_str()) && fields.get(3) == Some(&ESTABLISHED));
    ours.filter_map(|fields| fields.get(1).map(|near| (*near).to_owned())).collect()
}
