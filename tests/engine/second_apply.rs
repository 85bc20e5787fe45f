//! Nothing to do is nothing done.

use super::support::manifest::Mirror;
use super::support::recorder::{Call, Recorder};
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_one;

#[test]
fn a_second_apply_only_reads_and_diff_finds_nothing() {
    let _turn = beside_one();
    let scenario = Scenario::new("second");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "second-up");
    let mirrors = [
        Mirror::of("docker.io", upstream.url(), free_port()),
        Mirror::of("ghcr.io", upstream.url(), free_port()).with("ttl: 24h"),
        Mirror::push(free_port()),
    ];
    scenario.write(&mirrors);
    scenario.apply();
    let before: Vec<_> = mirrors.iter().map(|mirror| scenario.running(mirror).identity()).collect();

    let recorder = Recorder::start();
    let again = scenario.ksail_at(Some(&recorder.address()), &["apply"]);
    assert_eq!(again.code, 0, "{again}");
    let calls = recorder.calls();
    assert!(!calls.is_empty(), "the recorder sees what ksail asks");
    let writes: Vec<&Call> = calls.iter().filter(|call| !call.is_read()).collect();
    assert!(writes.is_empty(), "only reads: {writes:?}");

    let diff = scenario.ksail(&["diff"]);
    assert_eq!(diff.code, 0, "{diff}");
    let changes = scenario.ksail(&["diff", "-o", "json"]).json();
    assert_eq!(changes["changes"], serde_json::json!([]));
    let after: Vec<_> = mirrors.iter().map(|mirror| scenario.running(mirror).identity()).collect();
    assert_eq!(after, before, "same containers, started when they were");
}

#[test]
fn diff_prints_what_apply_would_do_and_does_nothing() {
    let _turn = beside_one();
    let scenario = Scenario::new("diff");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));

    let recorder = Recorder::start();
    let diff = scenario.ksail_at(Some(&recorder.address()), &["diff", "-o", "json"]);
    assert_eq!(diff.code, 1, "something to do: {diff}");
    let writes: Vec<Call> = recorder.calls().into_iter().filter(|call| !call.is_read()).collect();
    assert!(writes.is_empty(), "only reads: {writes:?}");
    let changes = diff.json()["changes"].as_array().cloned().unwrap_or_default();
    assert!(changes.iter().any(|change| change["action"] == "CreateContainer"), "{diff}");
    assert!(changes.iter().all(|change| change["host"] == mirror.host.as_str()), "{diff}");
    assert!(scenario.containers().is_empty());
}
