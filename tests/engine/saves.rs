//! `watch` follows every way in which editors and tools save a file: each within two seconds, once.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::Event;
use super::turns::alone;

const FOLLOWED: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(700);

/// Adds a mirror by saving in this way, then takes it away again by saving in this way.
fn is_followed(name: &str, save: impl Fn(&Scenario, &str)) {
    is_followed_from(name, |_| (), save);
}

fn is_followed_from(name: &str, lay_out: impl Fn(&Scenario), save: impl Fn(&Scenario, &str)) {
    let _turn = alone();
    let scenario = Scenario::new(&format!("save-{name}"));
    let (stays, comes) = (Mirror::push(free_port()), Mirror::push(free_port()));
    let (one, two) = ([stays.clone()], [stays.clone(), comes]);
    scenario.write(&one);
    lay_out(&scenario);
    let begun = Instant::now();
    let mut watch = scenario.watch();
    // Coming up takes less than a second; when it took longer, it is the engine that is slow.
    let limit = FOLLOWED.max(begun.elapsed() * 2);
    let untouched = scenario.running(&stays).identity();
    let mark = watch.mark();

    for (what, mirrors) in [("added", &two[..]), ("removed", &one[..])] {
        let round = watch.mark();
        save(&scenario, &scenario.text(mirrors));
        let saved = Instant::now();
        let passed = watch.await_event_since(round, what, limit * 4, acted);
        let took = passed.at.saturating_duration_since(saved);
        assert!(took <= limit, "{what} after {took:?}");
        assert_eq!(scenario.converged(mirrors), Ok(()), "{what}");
    }

    let events = watch.settled_since(mark, QUIET);
    let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(&acted), 2, "one pass that acts for each save, no duplicate: {events:#?}");
    assert_eq!(count(&|event| event.is("manifestLoaded")), 2, "each save is read once: {events:#?}");
    assert_eq!(scenario.running(&stays).identity(), untouched, "the mirror that stayed was left alone");
    assert_eq!(watch.stop(), Some(0));
}

/// Whether a pass ended that did something.
fn acted(event: &Event) -> bool {
    event.is("passFinished") && event.json["actions"].as_u64().is_some_and(|actions| actions > 0)
}

#[test]
fn written_in_place() {
    is_followed("in-place", |scenario, text| fs::write(scenario.file(), text).expect("it can be written"));
}

#[test]
fn truncated_and_written_in_two_halves_200_ms_apart() {
    is_followed("halves", |scenario, text| {
        // Cut inside the first key of the list, so that neither half is a manifest.
        let half = text.find("host:").expect("there is a mirror") + 2;
        let mut file = fs::File::create(scenario.file()).expect("it can be truncated");
        sleep(Duration::from_millis(200));
        file.write_all(&text.as_bytes()[..half]).expect("it can be written");
        sleep(Duration::from_millis(200));
        file.write_all(&text.as_bytes()[half..]).expect("it can be written");
    });
}

#[test]
fn another_file_renamed_over_it() {
    is_followed("rename-over", |scenario, text| {
        let new = scenario.directory().join(".ksail.yaml.tmp");
        fs::write(&new, text).expect("it can be written");
        fs::rename(new, scenario.file()).expect("it can be renamed");
    });
}

#[test]
fn as_vim_does_it() {
    is_followed("vim", |scenario, text| {
        let backup = scenario.directory().join("ksail.yaml~");
        fs::rename(scenario.file(), &backup).expect("it can be renamed");
        fs::write(scenario.file(), text).expect("it can be written");
        fs::remove_file(backup).expect("it can be removed");
    });
}

#[test]
fn edited_by_sed_in_place() {
    is_followed("sed", |scenario, text| {
        // sed edits lines: replace everything from the list on.
        let list = text.split_once("mirrors:").expect("there is a list").1.trim_end();
        let script = format!("/mirrors:/,$c\\    mirrors:{}", list.replace('\n', "\\\n"));
        let done = Command::new("sed").args(["-i", &script]).arg(scenario.file()).status();
        assert!(done.is_ok_and(|status| status.success()), "sed");
        assert_eq!(fs::read_to_string(scenario.file()).expect("it is there").trim_end(), text.trim_end());
    });
}

#[test]
fn a_symlink_swapped_to_another_directory() {
    // As Kubernetes mounts a ConfigMap: ksail.yaml -> ..data/ksail.yaml, ..data -> ..<version>
    let publish = |scenario: &Scenario, text: &str| {
        let directory = scenario.directory();
        let versions = fs::read_dir(&directory).expect("it is there").count();
        let version = format!("..{versions}");
        fs::create_dir(directory.join(&version)).expect("a new version");
        fs::write(directory.join(&version).join("ksail.yaml"), text).expect("it can be written");
        symlink(&version, directory.join("..data_tmp")).expect("a link");
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("it can be renamed");
    };
    is_followed_from(
        "symlink",
        |scenario| {
            let text = fs::read_to_string(scenario.file()).expect("it is there");
            fs::remove_file(scenario.file()).expect("it can be removed");
            publish(scenario, &text);
            symlink("..data/ksail.yaml", scenario.file()).expect("a link");
        },
        publish,
    );
}

#[test]
fn deleted_and_written_again_three_seconds_later() {
    is_followed("deleted", |scenario, text| {
        let before = scenario.containers();
        fs::remove_file(scenario.file()).expect("it can be removed");
        sleep(Duration::from_secs(3));
        assert_eq!(scenario.containers(), before, "a manifest that is gone removes nothing");
        fs::write(scenario.file(), text).expect("it can be written");
    });
}

#[test]
fn its_directory_renamed_away_and_back() {
    is_followed("directory", |scenario, manifest| {
        let away = scenario.home.path().join("elsewhere");
        let before = scenario.containers();
        fs::rename(scenario.directory(), &away).expect("it can be renamed");
        sleep(Duration::from_secs(1));
        assert_eq!(scenario.containers(), before, "a manifest that is gone removes nothing");
        fs::write(away.join("ksail.yaml"), manifest).expect("it can be written");
        fs::rename(&away, scenario.directory()).expect("it can be renamed back");
    });
}

#[test]
fn a_burst_of_saves_is_one_pass_and_the_last_one_counts() {
    let _turn = alone();
    let scenario = Scenario::new("save-burst");
    let (first, last) = (Mirror::push(free_port()), Mirror::push(free_port()));
    scenario.write(std::slice::from_ref(&first));
    let mut watch = scenario.watch();
    let mark = watch.mark();
    let both = [first.clone(), last.clone()];
    for round in 0..10 {
        let mirrors = if round % 2 == 0 { &both[..1] } else { &both[..] };
        scenario.write(mirrors);
        sleep(Duration::from_millis(15));
    }
    watch.await_event_since(mark, "the burst is followed", FOLLOWED * 2, acted);
    assert_eq!(scenario.converged(&both), Ok(()));
    let events = watch.settled_since(mark, QUIET);
    assert_eq!(events.iter().filter(|event| acted(event)).count(), 1, "{events:#?}");
    assert_eq!(watch.stop(), Some(0));
}
