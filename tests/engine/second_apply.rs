//! Nothing to do is nothing done.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::recorder::{Call, Recorder};
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

#[test]
fn a_second_apply_only_reads_and_diff_finds_nothing() {
    let _turn = beside_others();
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
    assert_eq!(diff.stderr, "");
    let told = scenario.ksail(&["-vv", "diff"]);
    for call in ["list containers", "list networks", "list volumes", "inspect container", "inspect image"] {
        assert!(told.stderr.contains(&format!("call=\"{call}\"")), "{call}: {told}");
    }
    let changes = scenario.ksail(&["diff", "-o", "json"]).json();
    assert_eq!(changes["changes"], serde_json::json!([]));
    let after: Vec<_> = mirrors.iter().map(|mirror| scenario.running(mirror).identity()).collect();
    assert_eq!(after, before, "same containers, started when they were");
}

#[test]
fn a_second_apply_changes_nothing_on_nodes_that_are_wired() {
    let _turn = beside_others();
    let scenario = Scenario::new("again-nodes");
    let upstream = Upstream::start(&scenario.docker, "again-nodes-up");
    let nodes = [Node::kind(&scenario, "control-plane"), Node::kind_next(&scenario, "worker")];
    let mirrors = [
        Mirror::of("docker.io", upstream.url(), free_port()),
        Mirror::of("ghcr.io", upstream.url(), free_port()).with("fallback: false"),
        Mirror::push(free_port()),
    ];
    scenario.write(&mirrors);
    scenario.apply();
    let on_nodes = || nodes.each_ref().map(|node| everything_below(&node.outside_path("/etc/containerd")));
    let before = on_nodes();
    let files = before[0].iter().filter(|entry| entry.path.ends_with("hosts.toml"));
    assert_eq!(files.count(), 5, "one for each mirror, and three for the registry to push to");
    let asked = |node: &Node| node.read("/run/kubectl/log").unwrap_or_default();
    let asked_before = asked(&nodes[0]);

    let recorder = Recorder::start();
    let again = scenario.ksail_at(Some(&recorder.address()), &["apply"]);
    assert_eq!(again.code, 0, "{again}");
    // To the engine all programs are alike; what they left alone shows below.
    let is_program = |call: &Call| {
        let path = call.path.split('?').next().unwrap_or_default();
        call.method == "POST" && (path.ends_with("/exec") || (path.contains("/exec/") && path.ends_with("/start")))
    };
    let calls = recorder.calls();
    let writes: Vec<&Call> = calls.iter().filter(|call| !call.is_read() && !is_program(call)).collect();
    assert!(writes.is_empty(), "only reads: {writes:?}");
    assert_eq!(on_nodes(), before, "same files, written when they were");
    let asked_now = asked(&nodes[0]);
    let new = asked_now.strip_prefix(&asked_before).expect("the log grows");
    assert!(new.lines().all(|line| line.contains(" get configmap ")), "{new}");
    assert!(!new.is_empty());
    assert_eq!(scenario.ksail(&["diff"]).code, 0);
}

/// One file or directory, and what changes when somebody writes it, even with the same bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    path: PathBuf,
    inode: u64,
    changed: (i64, i64),
}

/// Everything in a directory, in order of the paths.
fn everything_below(directory: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("it is there").map_while(Result::ok) {
            let (path, about) = (entry.path(), entry.metadata().expect("it stays"));
            if about.is_dir() {
                directories.push(path.clone());
            }
            found.push(Entry { path, inode: about.ino(), changed: (about.ctime(), about.ctime_nsec()) });
        }
    }
    found.sort();
    found
}

#[test]
fn diff_prints_what_apply_would_do_and_does_nothing() {
    let _turn = beside_others();
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
