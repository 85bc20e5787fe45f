//! A port that is offered as free was tried, and is offered to one mirror only.

use std::collections::BTreeSet;
use std::net::TcpListener;

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// Ports in a row that nobody else holds.
fn in_a_row(count: u16) -> Vec<TcpListener> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    let mut rows =
        (0..100).map(|_| free_port()).map(|first| (first..first + count).map_while(bind).collect::<Vec<_>>());
    rows.find(|row| row.len() == usize::from(count)).expect("a row of free ports")
}

#[test]
fn a_port_that_is_offered_as_free_is_held_by_nobody_and_offered_once() {
    let _turn = beside_others();
    let scenario = Scenario::new("offered");
    let held = in_a_row(6);
    let ports: Vec<u16> = held.iter().map(|held| held.local_addr().expect("it is bound").port()).collect();
    let hosts = ["ghcr.io", "quay.io"];
    let mirrors: Vec<Mirror> =
        hosts.iter().zip(&ports).map(|(host, port)| Mirror::of(host, "https://nobody.invalid", *port)).collect();
    scenario.write(&mirrors);
    let applied = scenario.ksail(&["apply", "--timeout", "5s"]);
    let offered = |host: &str| {
        let (_, reason, message) = scenario.status().of_mirror(host, "Ready");
        assert_eq!(reason, "PortInUse", "{message}");
        let words = message.rsplit_once("; port ").and_then(|(_, rest)| rest.strip_suffix(" is free"));
        words.unwrap_or_else(|| panic!("{message}: {applied}")).parse::<u16>().expect("a port")
    };
    let offers: BTreeSet<u16> = hosts.into_iter().map(offered).collect();
    assert_eq!(offers.len(), hosts.len(), "{offers:?}");
    assert!(offers.iter().all(|port| !ports.contains(port)), "{offers:?} of {ports:?}");
    assert!(offers.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()), "{offers:?}");
}
