//! A recorder misbehaves as its rules say and not otherwise, as far as docker's own command can see.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use super::support::docker::Docker;
use super::support::recorder::Recorder;
use super::support::scenario::Scenario;
use super::support::sweep;

/// A scenario for what is made, a recorder, and docker's command behind it.
fn recorded(name: &str) -> (Scenario, Recorder, Docker) {
    let recorder = Recorder::start();
    let docker = Docker::at(recorder.address());
    (Scenario::new(&format!("recorder-{name}")), recorder, docker)
}

fn create_volume(docker: &Docker, name: &str) -> Output {
    docker.output(&["volume", "create", "--label", &sweep::label(), name])
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_call_that_is_cut_off_does_not_reach_the_engine_and_the_one_after_it_does() {
    let (scenario, recorder, docker) = recorded("cut");
    let name = format!("{}-volume", scenario.cluster);
    let exists = || scenario.docker.output(&["volume", "inspect", &name]).status.success();
    let rule = recorder.when("POST", |path| path.starts_with("/volumes/create")).times(1).cut();
    let failed = create_volume(&docker, &name);
    assert!(!failed.status.success() && !exists(), "{failed:?}");
    assert_eq!(rule.count(), 1);
    let made = create_volume(&docker, &name);
    assert!(made.status.success() && exists(), "{made:?}");
    assert_eq!(rule.count(), 1, "once was all that it was to be applied");
    assert_eq!(recorder.count("POST", |path| path == "/volumes/create"), 2, "both were asked for");
}

#[test]
fn a_call_whose_answer_is_dropped_has_been_done() {
    let (scenario, recorder, docker) = recorded("after");
    let name = format!("{}-volume", scenario.cluster);
    let rule = recorder.when("POST", |path| path == "/volumes/create").cut_after();
    let failed = create_volume(&docker, &name);
    assert!(!failed.status.success(), "{failed:?}");
    scenario.docker.run(&["volume", "inspect", &name]);
    assert_eq!(rule.count(), 1);
}

#[test]
fn a_call_that_is_refused_brings_the_words_it_was_refused_with_until_the_rule_is_lifted() {
    let (scenario, recorder, docker) = recorded("refuse");
    let name = format!("{}-volume", scenario.cluster);
    let rule = recorder.when("POST", |path| path == "/volumes/create").refuse(403, "not \"allowed\" here");
    for count in 1..=2 {
        let refused = create_volume(&docker, &name);
        assert!(!refused.status.success() && said(&refused).contains("not \"allowed\" here"), "{refused:?}");
        assert_eq!(rule.count(), count);
    }
    assert!(!scenario.docker.output(&["volume", "inspect", &name]).status.success());
    rule.lift();
    let made = create_volume(&docker, &name);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(rule.count(), 2);
}

#[test]
fn a_call_that_is_late_is_answered_after_that_time() {
    const LATE: Duration = Duration::from_millis(700);
    let (_, recorder, docker) = recorded("late");
    let rule = recorder.when("GET", |path| path == "/version").times(1).late(LATE);
    let begun = Instant::now();
    docker.run(&["version"]);
    assert!(begun.elapsed() >= LATE, "{:?}", begun.elapsed());
    assert_eq!(rule.count(), 1);
}

#[test]
fn an_answer_is_rewritten_whether_its_length_is_said_or_it_comes_in_chunks() {
    let (_, recorder, docker) = recorded("rewrite");
    let version = Docker::default().run(&["version", "--format", "{{.Server.Version}}"]);
    let other = "x".repeat(version.len());
    recorder.when("GET", |path| path == "/version").rewrite(&version, &other);
    assert_eq!(docker.run(&["version", "--format", "{{.Server.Version}}"]), other);
    // So long that an engine does not know the length when it begins.
    assert_eq!(docker.run(&["info", "--format", "{{.ServerVersion}}"]), version);
    recorder.when("GET", |path| path == "/info").rewrite(&version, "longer than it was");
    assert_eq!(docker.run(&["info", "--format", "{{.ServerVersion}}"]), "longer than it was");
}

#[test]
fn of_two_rules_about_one_call_the_older_one_is_applied_and_calls_that_none_is_about_come_through() {
    let (_, recorder, docker) = recorded("two");
    let older = recorder.when("GET", |path| path.starts_with("/volumes")).times(1).refuse(500, "older");
    let newer = recorder.when("GET", |path| path == "/volumes").refuse(500, "newer");
    let words = ["older", "newer", "newer"];
    for word in words {
        let refused = docker.output(&["volume", "ls"]);
        assert!(said(&refused).contains(word), "{word}: {refused:?}");
    }
    assert_eq!((older.count(), newer.count()), (1, 2));
    docker.run(&["network", "ls"]);
}

#[test]
fn a_program_in_a_container_reads_and_writes_through_a_recorder() {
    let (scenario, recorder, docker) = recorded("exec");
    let name = format!("{}-container", scenario.cluster);
    docker.run(&["run", "-d", "--pull", "never", "--name", &name, "--label", &sweep::label(), "registry:3"]);
    // Nothing of it is to be taken for a request.
    let text = "POST /volumes/create HTTP/1.1\r\n\r\n{\n\none word\n\0no end of line";
    let mut cat = docker.command(&["exec", "-i", &name, "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the docker command runs");
    let mut input = cat.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("docker reads it");
    drop(input);
    let output = cat.wait_with_output().expect("it ends with its input");
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
    assert_eq!(recorder.count("POST", |path| path.starts_with("/volumes/")), 0);
    assert_eq!(recorder.count("POST", |path| path.starts_with("/exec/")), 1);
}
