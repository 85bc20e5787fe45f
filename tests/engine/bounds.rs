//! `apply --timeout` is for all of it: also for a program that does not let itself be ended.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::deadline::eventually;
use super::support::scenario::{Finished, Scenario, text};
use super::turns::beside_others;

const BOUND: Duration = Duration::from_secs(10);
/// To start, to write the last lines and to end takes this long at most on a machine that is busy.
const AROUND: Duration = Duration::from_secs(3);
/// What stands for kind: it says which process it is, and neither it nor what it starts ends when asked to.
const STUBBORN: &str =
    "#!/bin/sh\ntrap '' TERM\necho $$ >\"$PROCESSES\"\nsleep 300 &\necho $! >>\"$PROCESSES\"\nwait\n";

/// Gone, or ended and not yet taken note of by whoever has inherited it.
fn has_ended(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}

#[test]
fn an_apply_ends_within_its_bound_although_kind_does_not_and_takes_kind_along() {
    let _turn = beside_others();
    let scenario = Scenario::new("bounds");
    scenario.write_text(&scenario.text(&[]).replace("lifecycle: External", "lifecycle: Managed"));
    let programs = tempfile::TempDir::new().expect("a temporary directory");
    let (kind, processes) = (programs.path().join("kind"), programs.path().join("processes"));
    // Not by this process: what another test starts meanwhile would hold the file open, and it could not be executed.
    let write = "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"";
    let written = Command::new("sh").args(["-c", write, "sh", text(&kind), STUBBORN]).status().expect("sh runs");
    assert!(written.success());
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs.path().to_owned()].into_iter().chain(env::split_paths(&path)));
    let timeout = format!("{}s", BOUND.as_secs());
    let mut apply = scenario.command(&["apply", "--timeout", &timeout]);
    apply.env("PATH", path.expect("it can be joined")).env("PROCESSES", &processes);
    let finished = Finished::run(&mut apply);
    assert_eq!(finished.code, 3, "{finished}");
    assert!(finished.took < BOUND + AROUND, "{:?}", finished.took);
    let words = format!("cluster {}", scenario.cluster);
    assert!(finished.stderr.contains(&words) && finished.stderr.contains("ended half-way"), "{finished}");
    assert!(finished.stdout.contains("may be there still"), "{finished}");
    let of_kind = |file: &Path| fs::read_to_string(file).expect("it has said which they are");
    let started: Vec<String> = of_kind(&processes).lines().map(str::to_owned).collect();
    assert_eq!(started.len(), 2);
    eventually("they have ended", AROUND, || {
        started.iter().all(|process| has_ended(process)).then_some(()).ok_or_else(|| format!("{started:?}"))
    });
}
