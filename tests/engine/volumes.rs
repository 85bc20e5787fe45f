//! A volume of a mirror's name, whoever made it: adopted where only the mirror is on it, and never taken from anybody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::impostor::Impostor;
use super::ownership::Stranger;
use super::support::deadline::{eventually, holds};
use super::support::docker::Docker;
use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

const ROUNDS: usize = 12;

/// Labels of a volume, as the engine prints them; nothing where there is no such volume.
fn labels(docker: &Docker, volume: &str) -> Option<String> {
    let output = docker.output(&["volume", "inspect", "--format", "{{json .Labels}}", volume]);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What `docker volume create` makes, and what the engine makes for a container.
fn is_bare(labels: &str) -> bool {
    matches!(labels, "null" | "{}")
}

/// Removes the registries and their volumes.
fn purge(scenario: &Scenario) {
    let removed = scenario.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert_eq!(scenario.containers(), Vec::<String>::new(), "{removed}");
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_container_and_its_volume_that_are_removed_under_a_watch_come_back_and_are_the_mirrors_own() {
    let _turn = beside_others();
    let scenario = Scenario::new("races");
    let mirrors: Vec<Mirror> = (0..3).map(|_| Mirror::push(free_port())).collect();
    scenario.write(&mirrors);
    let mut watch = scenario.watch();
    for round in 0..ROUNDS {
        let mirror = &mirrors[round % mirrors.len()];
        let (name, old) = (scenario.container_name(mirror), scenario.running(mirror).id());
        scenario.docker.run(&["rm", "-f", &name]);
        // The mirror's next container may be on it by now, or come to be while it is removed.
        let _ = scenario.docker.output(&["volume", "rm", &name]);
        eventually(&format!("round {round}: the mirror is back"), Duration::from_secs(20), || {
            scenario.converged(&mirrors)?;
            let container = scenario.running(mirror);
            let mounts = [("volume".to_owned(), name.clone(), "/var/lib/registry".to_owned())];
            holds(container.id() != old && container.mounts() == mounts, container.inspected.to_string())?;
            let labels = labels(&scenario.docker, &name).unwrap_or_else(|| "there is no volume".to_owned());
            let is_its_own = labels.contains(&format!("\"ksail.dev/host\":\"{}\"", mirror.host));
            holds(is_its_own || is_bare(&labels), labels)?;
            let (status, reason, message) = scenario.status().of_mirror(&mirror.host, "Ready");
            holds(status == "True", format!("{reason}: {message}"))
        });
    }
    let events = watch.since(0);
    assert!(!events.iter().any(|event| event.text("reason") == "NameConflict"), "{events:#?}");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    purge(&scenario);
    let left = mirrors.iter().find_map(|mirror| labels(&scenario.docker, &scenario.container_name(mirror)));
    assert_eq!(left, None, "volumes are left");
}

#[test]
fn a_bare_volume_that_was_there_first_is_adopted_with_what_is_in_it_and_stays() {
    let _turn = beside_others();
    let scenario = Scenario::new("adopted");
    let mirror = Mirror::push(free_port());
    let (docker, name) = (&scenario.docker, scenario.container_name(&mirror));
    docker.run(&["volume", "create", &name]);
    in_volume(docker, &name, "echo mine >/var/lib/registry/file");
    is_older_than_what_comes();

    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    assert_eq!(docker.run(&["exec", &name, "cat", "/var/lib/registry/file"]), "mine");
    purge(&scenario);
    assert!(labels(docker, &name).is_some_and(|labels| is_bare(&labels)), "it is somebody's");
    assert_eq!(in_volume(docker, &name, "cat /var/lib/registry/file"), "mine");
}

/// Runs a script in a container on a volume.
fn in_volume(docker: &Docker, volume: &str, script: &str) -> String {
    let mount = format!("{volume}:/var/lib/registry");
    let label = sweep::label();
    let run = ["run", "--rm", "--pull", "never", "--label", &label, "--volume", &mount, "--entrypoint", "sh"];
    docker.run(&[run.as_slice(), &["ksail-test/silent:1", "-c", script]].concat())
}

/// The engine tells the age of a volume in whole seconds.
fn is_older_than_what_comes() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let made = second();
    eventually("a second has passed", Duration::from_secs(5), || holds(second() > made, "the same"));
}

#[test]
fn a_volume_that_the_engine_made_for_a_mirrors_container_goes_with_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("engine-made");
    let mirror = Mirror::push(free_port());
    let (docker, name) = (&scenario.docker, scenario.container_name(&mirror));
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let like_it = Impostor::of(&scenario.running(&mirror));
    docker.run(&["rm", "-f", &name]);
    docker.run(&["volume", "rm", &name]);
    let id = docker.run(&like_it.create());
    assert!(labels(docker, &name).is_some_and(|labels| is_bare(&labels)), "the engine has made it");

    scenario.apply();
    assert_eq!(scenario.converged(std::slice::from_ref(&mirror)), Ok(()));
    assert_eq!(scenario.running(&mirror).id(), id, "adopted, and nothing to make anew");
    purge(&scenario);
    assert_eq!(labels(docker, &name), None, "nobody else would miss it");
}

#[test]
fn a_bare_volume_that_somebody_elses_container_is_on_is_left_alone_and_told() {
    let _turn = beside_others();
    let scenario = Scenario::new("in-use");
    let mirror = Mirror::push(free_port());
    let (docker, name) = (&scenario.docker, scenario.container_name(&mirror));
    let (user, label) = (format!("{}-user", scenario.cluster), sweep::label());
    docker.run(&["volume", "create", &name]);
    let run = ["run", "-d", "--pull", "never", "--label", &label, "--name", &user, "--volume"];
    docker.run(&[run.as_slice(), &[&format!("{name}:/data"), "ksail-test/silent:1"]].concat());
    let stranger = Stranger::of(docker, &user);

    scenario.write(std::slice::from_ref(&mirror));
    let applied = scenario.ksail(&["apply", "--timeout", "10s"]);
    assert_eq!(applied.code, 1, "{applied}");
    let (status, reason, message) = scenario.status().of_mirror(&mirror.host, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NameConflict"), "{message}");
    assert!(message.starts_with(&format!("volume {name} was not made by ksail")), "{message}");
    assert!(scenario.container(&mirror).is_none());
    purge(&scenario);
    stranger.is_untouched(docker, "apply and delete");
}
