//! A registry that changes its role: what a cache fetched is nothing that was pushed.

use std::time::Duration;

use super::impostor::Impostor;
use super::support::deadline::{eventually, holds};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// Names of the volumes of a scenario's mirrors.
fn volumes(scenario: &Scenario) -> Vec<String> {
    let filter = format!("label=ksail.dev/cluster={}", scenario.cluster);
    let listed = scenario.docker.run(&["volume", "ls", "--quiet", "--filter", &filter]);
    let mut volumes: Vec<String> = listed.lines().map(str::to_owned).collect();
    volumes.sort();
    volumes
}

#[test]
fn a_role_that_changes_and_changes_back_finds_what_it_had_and_the_other_role_never_sees_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("roles");
    let upstream = Upstream::start(&scenario.docker, "roles-up");
    let (fetched, pushed) = (Image::containing("fetched"), Image::containing("pushed"));
    upstream.push(&fetched, "team/app", "1.0");
    let push = Mirror::push(free_port());
    let cache = Mirror { upstream: Some(upstream.url().to_owned()), port: Some(push.host_port()), ..push.clone() };
    let (port, name) = (push.host_port(), scenario.container_name(&push));

    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    pushed.push(port, "team/own", "1.0").expect("it takes a push");

    scenario.write(std::slice::from_ref(&cache));
    let plan = scenario.ksail(&["diff"]);
    assert!(plan.stdout.contains("; its volume stays"), "{plan}");
    scenario.apply();
    fetched.fetch(port, "team/app", "1.0").expect("through the cache");
    scenario.await_cached(&cache, &fetched, "team/app");
    assert!(pushed.fetch(port, "team/own", "1.0").is_err(), "its upstream does not have it");
    assert_eq!(volumes(&scenario), [name.clone(), format!("{name}.mirror")]);

    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    pushed.fetch(port, "team/own", "1.0").expect("it has been there all the time");
    assert!(fetched.fetch(port, "team/app", "1.0").is_err(), "nobody pushed it");

    // And with the policy Delete what is left goes.
    let text = scenario.text(&[push]).replace("  registries:\n", "  registries:\n    volumePolicy: Delete\n");
    scenario.write_text(&text);
    scenario.apply();
    assert_eq!(volumes(&scenario), [name]);
}

#[test]
fn a_volume_that_the_engine_made_goes_with_a_mirror_whose_container_was_recreated_on_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("recreated");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let (docker, name) = (&scenario.docker, scenario.container_name(&mirror));
    let like_it = Impostor::of(&scenario.running(&mirror));
    docker.run(&["rm", "-f", &name]);
    docker.run(&["volume", "rm", &name]);
    let id = docker.run(&like_it.create());
    docker.run(&["start", &id]);
    // What is in it by now is older than the next container.
    let serves = || holds(scenario.serves(&mirror), "not yet");
    eventually("it serves", Duration::from_secs(10), serves);
    Image::containing("pushed").push(mirror.host_port(), "team/own", "1.0").expect("it takes a push");
    // Another address brings another container onto the same volume.
    scenario.write(&[mirror.clone().with("listenAddress: 127.0.0.2")]);
    eventually("a second has passed", Duration::from_secs(5), || {
        let made = docker.run(&["volume", "inspect", "--format", "{{.CreatedAt}}", &name]);
        let made: jiff::Timestamp = made.trim().parse().map_err(|error| format!("{made}: {error}"))?;
        let is_later = jiff::Timestamp::now().as_second() > made.as_second();
        holds(is_later, "the same second")
    });
    scenario.apply();
    let removed = scenario.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(!docker.output(&["volume", "inspect", &name]).status.success(), "nobody else would miss it: {removed}");
}

#[test]
fn a_mirror_is_recreated_on_a_volume_that_was_adopted_and_has_nothing_in_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("empty");
    let mirror = Mirror::push(free_port());
    let name = scenario.container_name(&mirror);
    let labels = || scenario.docker.run(&["volume", "inspect", "--format", "{{len .Labels}}", &name]);
    scenario.docker.run(&["volume", "create", &name]);
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    scenario.write(&[mirror.with("listenAddress: 127.0.0.2")]);
    scenario.apply();
    assert_eq!(labels(), "0", "it is still the one that somebody has made");
}
