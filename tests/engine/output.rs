//! Nothing waits for whoever reads ksail's output, and signals are heard whatever becomes of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::deadline::{eventually, holds};
use super::support::manifest::Mirror;
use super::support::pipe;
use super::support::process::{Process, signal};
use super::support::scenario::{Scenario, free_port};
use super::turns::{alone, beside_others};

/// A registry that was killed is back.
const REPAIRED: Duration = Duration::from_secs(5);
/// Who is told to stop has ended, when nothing is under way.
const STOPPED: Duration = Duration::from_secs(2);
/// Longest wait for what is no matter of output.
const PATIENCE: Duration = Duration::from_secs(30);

const NO_SPACE: &str = "error: cannot write to standard output: No space left on device (os error 28)\n";

/// A scenario with one push registry, which does not exist yet.
fn one_mirror(name: &str) -> (Scenario, Mirror) {
    let scenario = Scenario::new(&format!("output-{name}"));
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    (scenario, mirror)
}

/// A watch brings the registry up, brings it back, and ends when it is told to, with its output like this.
fn watch_works(name: &str, args: &[&str], output: impl FnOnce(&mut Command) -> &mut Command) -> Process {
    let _turn = alone();
    let (scenario, mirror) = one_mirror(name);
    let mirrors = std::slice::from_ref(&mirror);
    let mut watch = Process::start(output(&mut scenario.command(args)));
    eventually("the registry is up", PATIENCE, || scenario.converged(mirrors));

    let killed = scenario.running(&mirror).pid();
    scenario.docker.run(&["kill", &scenario.container_name(&mirror)]);
    eventually("the registry is back", REPAIRED, || {
        holds(scenario.running(&mirror).pid() != killed, "it is not running yet")?;
        scenario.converged(mirrors)
    });

    let told_at = Instant::now();
    watch.signal("TERM");
    assert_eq!(watch.await_exit(PATIENCE), Some(0));
    assert!(told_at.elapsed() < STOPPED, "ended {:?} after SIGTERM", told_at.elapsed());
    watch
}

#[test]
#[ignore = "long: tests/run --long"]
fn watch_works_and_hears_sigterm_when_nobody_reads_its_standard_output() {
    let (_reader, full) = pipe::full();
    watch_works("stdout", &["watch"], |command| command.stdout(full).stderr(Stdio::null()));
}

#[test]
#[ignore = "long: tests/run --long"]
fn watch_works_and_hears_sigterm_when_nobody_reads_its_standard_error() {
    let (_reader, full) = pipe::full();
    watch_works("stderr", &["watch", "-vv"], |command| command.stdout(Stdio::null()).stderr(full));
}

#[test]
fn watch_works_and_hears_sigterm_when_nobody_reads_the_pipe_that_both_go_to() {
    let (_reader, full) = pipe::full();
    let both = full.try_clone().expect("a pipe's end can be had twice");
    watch_works("both", &["watch", "-vv", "-o", "json"], |command| command.stdout(full).stderr(both));
}

#[test]
fn watch_works_on_a_full_disk_and_says_once_that_its_output_cannot_be_written() {
    let mut watch = watch_works("disk", &["watch"], |command| command.stdout(full_disk()).stderr(Stdio::piped()));
    assert_eq!(complaints(&mut watch), NO_SPACE);
}

#[test]
fn apply_on_a_full_disk_does_its_work_and_fails() {
    let _turn = beside_others();
    let (scenario, mirror) = one_mirror("apply-disk");
    let mut apply = Process::start(scenario.command(&["apply"]).stdout(full_disk()).stderr(Stdio::piped()));
    assert_eq!(apply.await_exit(PATIENCE), Some(1));
    assert_eq!(complaints(&mut apply), NO_SPACE);
    assert_eq!(scenario.converged(&[mirror]), Ok(()));
}

#[test]
fn apply_ends_when_nobody_reads_its_output() {
    let _turn = beside_others();
    let (scenario, mirror) = one_mirror("apply");
    let (_reader, full) = pipe::full();
    let both = full.try_clone().expect("a pipe's end can be had twice");
    let mut apply = Process::start(scenario.command(&["apply", "-vv"]).stdout(full).stderr(both));
    assert_eq!(apply.await_exit(PATIENCE), Some(0));
    assert_eq!(scenario.converged(&[mirror]), Ok(()));
}

#[test]
fn apply_hears_sigterm_when_nobody_reads_its_output() {
    let _turn = alone();
    let (scenario, mirror) = one_mirror("apply-term");
    let silent = scenario.text(&[mirror]).replace("  registries:\n", "  registries:\n    image: ksail-test/silent:1\n");
    scenario.write_text(&silent);
    let (_reader, full) = pipe::full();
    let both = full.try_clone().expect("a pipe's end can be had twice");
    let mut apply = Process::start(scenario.command(&["apply", "-vv"]).stdout(full).stderr(both));
    eventually("it waits for the registry to answer", PATIENCE, || {
        let running = scenario.containers().iter().find_map(|name| scenario.docker.container(name));
        holds(running.is_some_and(|container| container.state() == "running"), "nothing runs yet")
    });
    let told_at = Instant::now();
    apply.signal("TERM");
    assert_eq!(apply.await_exit(PATIENCE), Some(1));
    assert!(told_at.elapsed() < STOPPED, "ended {:?} after SIGTERM", told_at.elapsed());
}

#[test]
fn a_second_signal_ends_watch_at_once_when_nobody_reads_its_output() {
    let _turn = beside_others();
    let (scenario, mirror) = one_mirror("second");
    let (_reader, full) = pipe::full();
    let mut watch = Process::start(scenario.command(&["watch"]).stdout(full).stderr(Stdio::null()));
    begin_a_recreate_that_takes_its_time(&scenario, &mirror);
    watch.signal("TERM");
    watch.signal("INT");
    let told_at = Instant::now();
    assert_eq!(watch.await_exit(PATIENCE), Some(130));
    assert!(told_at.elapsed() < STOPPED, "ended {:?} after the second signal", told_at.elapsed());
    scenario.apply();
}

#[test]
fn watch_ends_quietly_when_its_reader_has_seen_enough() {
    let _turn = beside_others();
    let (scenario, _) = one_mirror("head");
    let mut watch = piped(&scenario, &["watch"]);
    let lines = lines(&mut watch).take(3).count();
    assert_eq!(lines, 3, "the reader is gone after these");
    assert_eq!((watch.await_exit(PATIENCE), complaints(&mut watch)), (Some(0), String::new()));
}

#[test]
fn an_idle_watch_ends_quietly_when_its_reader_is_gone() {
    let _turn = beside_others();
    let (scenario, mirror) = one_mirror("idle");
    let mut watch = piped(&scenario, &["watch"]);
    let mut lines = lines(&mut watch);
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("Ready"))), "there is nothing to tell after that");
    drop(lines);
    assert_eq!((watch.await_exit(STOPPED), complaints(&mut watch)), (Some(0), String::new()));
    assert!(scenario.serves(&mirror), "registries go on");
}

#[test]
fn apply_whose_reader_has_seen_enough_leaves_nothing_half_done_and_ends_quietly() {
    let _turn = beside_others();
    let scenario = Scenario::new("output-apply-head");
    let mirrors: Vec<Mirror> = (0..3).map(|_| Mirror::push(free_port())).collect();
    scenario.write(&mirrors);
    scenario.apply();
    let moved: Vec<Mirror> = mirrors.iter().map(|mirror| mirror.clone().with("listenAddress: 127.0.0.2")).collect();
    scenario.write(&moved);

    let mut apply = piped(&scenario, &["apply"]);
    assert_eq!(lines(&mut apply).take(1).count(), 1, "the reader is gone after the first line");
    let code = apply.await_exit(PATIENCE);
    assert!(matches!(code, Some(0 | 1)), "converged, or stopped before: {code:?}");
    assert_eq!(complaints(&mut apply), "");
    assert_eq!(scenario.containers(), scenario.expected(&mirrors), "nothing temporary is left");
    let running = |mirror: &&Mirror| scenario.running(mirror).state() == "running";
    assert_eq!(mirrors.iter().filter(running).count(), mirrors.len(), "each runs, as it was or as it is to be");
    scenario.apply();
}

#[test]
fn a_ctrl_c_that_ends_the_reader_as_well_counts_once() {
    // In no turn: it waits.
    let (scenario, mirror) = one_mirror("tee");
    let mut watch = piped(&scenario, &["watch"]);
    let lines = lines(&mut watch);
    begin_a_recreate_that_takes_its_time(&scenario, &mirror);
    drop(lines);
    watch.signal("INT");
    assert_eq!(watch.await_exit(PATIENCE), Some(0), "what is in hand is finished");
}

/// The watch that runs recreates the registry, whose old container does not hear that it is to stop.
fn begin_a_recreate_that_takes_its_time(scenario: &Scenario, mirror: &Mirror) {
    eventually("the registry is up", PATIENCE, || scenario.converged(std::slice::from_ref(mirror)));
    signal(u32::try_from(scenario.running(mirror).pid()).expect("a process id"), "STOP");
    scenario.write(&[mirror.clone().with("listenAddress: 127.0.0.2")]);
    eventually("the recreate begins", PATIENCE, || {
        holds(scenario.containers().len() == 2, format!("{:?}", scenario.containers()))
    });
}

/// A file on a disk that is full.
fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// ksail in a pipeline.
fn piped(scenario: &Scenario, args: &[&str]) -> Process {
    Process::start(scenario.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn lines(process: &mut Process) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(process.stdout()).lines()
}

/// What a process that has ended wrote to standard error.
fn complaints(process: &mut Process) -> String {
    let mut text = String::new();
    process.stderr().read_to_string(&mut text).expect("it is text");
    text
}
