//! `watch` follows every way in which editors and tools save a file: each within two seconds, once.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::iter;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::{Event, Watch};
use super::turns::alone;

const FOLLOWED: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(700);

/// Adds a mirror by saving in this way, then takes it away again by saving in this way.
fn is_followed(name: &str, save: impl Fn(&Scenario, &str)) {
    is_followed_from(name, |_| (), save);
}

fn is_followed_from(name: &str, lay_out: impl Fn(&Scenario), save: impl Fn(&Scenario, &str)) {
    is_followed_by(name, Scenario::watch, lay_out, save);
}

/// The watch is the one that `start` starts. What it has told is returned.
fn is_followed_by(
    name: &str,
    start: impl Fn(&Scenario) -> Watch,
    lay_out: impl Fn(&Scenario),
    save: impl Fn(&Scenario, &str),
) -> Vec<Event> {
    let _turn = alone();
    let scenario = Scenario::new(&format!("save-{name}"));
    let (stays, comes) = (Mirror::push(free_port()), Mirror::push(free_port()));
    let (one, two) = ([stays.clone()], [stays.clone(), comes]);
    scenario.write(&one);
    lay_out(&scenario);
    let begun = Instant::now();
    let mut watch = start(&scenario);
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
    watch.since(0)
}

/// `ksail watch`, its words changed by `change`, in the directory of the manifest.
fn watch_with(scenario: &Scenario, change: impl Fn(&mut Vec<OsString>)) -> Watch {
    let usual = scenario.command(&["watch", "-o", "json"]);
    let mut words: Vec<OsString> = iter::once(usual.get_program()).chain(usual.get_args()).map(Into::into).collect();
    change(&mut words);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(scenario.directory()).stdin(Stdio::null());
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let watch = Watch::start(command);
    watch.await_ready();
    watch
}

/// The file goes by this path from its directory.
fn is_followed_when_called(name: &str, file: &str) {
    let start = |scenario: &Scenario| {
        watch_with(scenario, |words| {
            let whole = words.pop();
            assert_eq!(whole, Some(scenario.file().into()), "the last word is the file");
            words.push(file.into());
        })
    };
    is_followed_by(name, start, |_| (), |scenario, text| fs::write(scenario.file(), text).expect("it can be written"));
}

/// Whether a pass ended that did something.
fn acted(event: &Event) -> bool {
    event.is("passFinished") && event.json["actions"].as_u64().is_some_and(|actions| actions > 0)
}

#[test]
#[ignore = "long: tests/run --long"]
fn written_in_place() {
    is_followed("in-place", |scenario, text| fs::write(scenario.file(), text).expect("it can be written"));
}

#[test]
#[ignore = "long: tests/run --long"]
fn written_in_place_when_it_goes_by_its_name_alone() {
    is_followed_when_called("by-name", "ksail.yaml");
}

#[test]
#[ignore = "long: tests/run --long"]
fn written_in_place_when_it_goes_by_a_relative_path() {
    is_followed_when_called("relative", "./ksail.yaml");
}

#[test]
fn written_in_place_where_the_system_has_no_file_events_to_give() {
    // A user namespace has a limit of its own, beside that of the machine. It counts from its first instance on.
    const NONE_LEFT: &str = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"";
    let start = |scenario: &Scenario| {
        watch_with(scenario, |words| {
            let before = ["unshare", "--user", "--map-root-user", "sh", "-c", NONE_LEFT, "sh"];
            words.splice(0..0, before.map(Into::into));
        })
    };
    let save = |scenario: &Scenario, text: &str| fs::write(scenario.file(), text).expect("it can be written");
    let events = is_followed_by("no-events", start, |_| (), save);
    let told: Vec<&str> =
        events.iter().filter(|event| event.is("manifestPolled")).map(|event| event.text("reason")).collect();
    assert_eq!(told, ["fs.inotify.max_user_instances is reached"]);
}

#[test]
#[ignore = "long: tests/run --long"]
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
#[ignore = "long: tests/run --long"]
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
#[ignore = "long: tests/run --long"]
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
#[ignore = "long: tests/run --long"]
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

#[test]
#[ignore = "long: tests/run --long"]
fn a_save_cut_between_two_items_of_the_list_is_read_once_and_whole() {
    /// Nothing happens for as long before a save takes effect.
    const SETTLES: Duration = Duration::from_millis(50);
    let _turn = alone();
    let scenario = Scenario::new("save-cut");
    let [first, second, third, fourth] = [(); 4].map(|()| Mirror::push(free_port()));
    let three = [first.clone(), second.clone(), third.clone()];
    let four = [first.clone(), second.clone(), third.clone(), fourth];
    scenario.write(&three);
    let mut watch = scenario.watch();
    let identities = || three.iter().map(|mirror| scenario.running(mirror).identity()).collect::<Vec<_>>();

    let mut lists = [&four[..], &three[..]].into_iter().cycle();
    let (mark, list, untouched) = loop {
        let (mark, list, untouched) = (watch.mark(), lists.next().expect("without an end"), identities());
        let (half, whole) = (scenario.text(&three[..1]), scenario.text(list));
        let rest = whole.strip_prefix(&half).expect("what is cut off leaves a manifest with one mirror");
        let begun = Instant::now();
        let mut file = fs::File::create(scenario.file()).expect("it can be truncated");
        file.write_all(half.as_bytes()).expect("it can be written");
        file.write_all(rest.as_bytes()).expect("it can be written");
        let took = begun.elapsed();
        watch.await_event_since(mark, "the save is followed", FOLLOWED * 4, acted);
        // A machine that stood still between the halves has made two saves of them, which is another story.
        if took < SETTLES {
            break (mark, list, untouched);
        }
        watch.settled_since(mark, QUIET);
    };

    assert_eq!(scenario.converged(list), Ok(()));
    let events = watch.settled_since(mark, QUIET);
    let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(&|event| event.is("manifestLoaded")), 1, "it is read once: {events:#?}");
    assert_eq!(count(&acted), 1, "one pass acts: {events:#?}");
    assert_eq!(identities(), untouched, "no mirror that is in the list was touched");
    assert_eq!(watch.stop(), Some(0));
}
