//! Several ksails on one cluster, files that name the same cluster, and a lock whose place disappears.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::support::deadline::eventually;
use super::support::manifest::Mirror;
use super::support::scenario::{Finished, Scenario, free_port, text};
use super::support::watch::{Event, Watch};
use super::turns::beside_others;

const REPAIRED: Duration = Duration::from_secs(20);

fn watch_in(scenario: &Scenario, runtime: &TempDir, home: &TempDir) -> Watch {
    let mut command = scenario.command(&["watch", "-o", "json"]);
    command.env("XDG_RUNTIME_DIR", runtime.path()).env("HOME", home.path()).env_remove("XDG_STATE_HOME");
    let watch = Watch::start(command);
    watch.await_ready();
    watch
}

fn directories() -> (TempDir, TempDir) {
    (TempDir::new().expect("a temporary directory"), TempDir::new().expect("a temporary directory"))
}

#[test]
fn a_watch_goes_on_when_the_place_of_its_lock_is_removed_and_when_the_runtime_directory_goes_with_a_logout() {
    let _turn = beside_others();
    let scenario = Scenario::new("lock-gone");
    let mirrors = [Mirror::push(free_port())];
    scenario.write(&mirrors);
    let (runtime, home) = directories();
    let mut watch = watch_in(&scenario, &runtime, &home);
    for removed in [runtime.path().join("ksail"), runtime.path().to_owned()] {
        fs::remove_dir_all(&removed).expect("it is there");
        let mark = watch.mark();
        scenario.docker.run(&["kill", &scenario.container_name(&mirrors[0])]);
        watch.await_event_since(mark, "it is repaired", REPAIRED, |event| event.is("passFinished"));
        eventually("it serves", REPAIRED, || scenario.converged(&mirrors));
        assert!(watch.is_running(), "{}", watch.stderr());
    }
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn another_file_that_names_the_cluster_is_refused_with_both_paths_and_changes_nothing_until_it_is_adopted() {
    let _turn = beside_others();
    let scenario = Scenario::new("lock-other");
    let mirrors = [Mirror::push(free_port())];
    scenario.write(&mirrors);
    scenario.apply();
    let before = scenario.running(&mirrors[0]).identity();
    let other = scenario.home.path().join("other.yaml");
    fs::write(&other, scenario.text(&[])).expect("it can be written");
    let apply = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ksail"));
        command.args(words).arg("-f").arg(&other).env("NO_COLOR", "1");
        command.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &scenario.network);
        Finished::run(&mut command)
    };
    for words in [&["apply"][..], &["watch"], &["cluster", "create"], &["cluster", "delete"]] {
        let text_before = fs::read(&other).expect("it is there");
        let refused = apply(words);
        assert_eq!(refused.code, 2, "{words:?}: {refused}");
        for path in [scenario.file(), other.clone()] {
            let path = fs::canonicalize(path).expect("it is there");
            assert!(refused.stderr.contains(text(&path)), "{words:?}: {refused}");
        }
        assert!(refused.stderr.contains("--adopt"), "{words:?}: {refused}");
        assert_eq!(fs::read(&other).expect("it is there"), text_before, "{words:?} edited nothing");
        assert_eq!(scenario.running(&mirrors[0]).identity(), before, "{words:?}");
    }
    let adopted = apply(&["apply", "--adopt"]);
    assert_eq!(adopted.code, 0, "{adopted}");
    assert_eq!(scenario.containers(), Vec::<String>::new(), "its list is empty");
    assert_eq!(scenario.ksail(&["apply"]).code, 2, "the first one is not in force any more");
    fs::remove_file(&other).expect("it is there");
    scenario.apply();
}

#[test]
fn a_watch_whose_cluster_another_file_takes_over_says_so_and_undoes_nothing() {
    let _turn = beside_others();
    let scenario = Scenario::new("lock-taken");
    let (mine, theirs) = ([Mirror::push(free_port())], [Mirror::push(free_port())]);
    scenario.write(&mine);
    let mut watch = scenario.watch();
    let other = scenario.home.path().join("other.yaml");
    fs::write(&other, scenario.text(&theirs)).expect("it can be written");
    let mark = watch.mark();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksail"));
    command.args(["apply", "--adopt", "-f"]).arg(&other).env("NO_COLOR", "1");
    command.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &scenario.network);
    let adopted = Finished::run(&mut command);
    assert_eq!(adopted.code, 0, "{adopted}");
    // It may wait for the other one's pass before.
    let is_told = |event: &Event| event.is("waiting") && event.text("message").contains("other.yaml");
    watch.await_event_since(mark, "it is told", REPAIRED, is_told);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    assert_eq!(scenario.converged(&theirs), Ok(()), "what the other file says stays");
}

#[test]
fn two_ksails_that_do_not_see_each_others_lock_converge() {
    let _turn = beside_others();
    let scenario = Scenario::new("lock-two");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    let ((runtime, home), (other_runtime, other_home)) = (directories(), directories());
    let mut one = watch_in(&scenario, &runtime, &home);
    let mut two = watch_in(&scenario, &other_runtime, &other_home);
    for _ in 0..4 {
        let name = scenario.container_name(&mirrors[0]);
        scenario.docker.run(&["rm", "-f", &name]);
        eventually("both are up again", REPAIRED, || scenario.converged(&mirrors));
    }
    let moved = [mirrors[0].clone(), Mirror::push(free_port())];
    scenario.write(&moved);
    eventually("both follow the edit", REPAIRED, || scenario.converged(&moved));
    assert_eq!((one.stop(), two.stop()), (Some(0), Some(0)), "{}\n{}", one.stderr(), two.stderr());
    assert_eq!(scenario.converged(&moved), Ok(()));
    assert_eq!(scenario.ksail(&["diff"]).code, 0, "nothing is left to do");
}
