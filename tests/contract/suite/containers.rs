//! Containers, from create to remove.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use ksail::engine::{Container, ContainerState, Engine, LogPart, Mount};

use super::{assert_bad_request, assert_conflict, assert_not_found};
use crate::bench::{Bench, PATIENCE, POLL, ephemeral, published};

pub(crate) async fn the_engine_says_who_it_is(bench: impl Bench) {
    let info = bench.engine().info().await.unwrap();
    assert!(info.name.ends_with("Engine"), "{info:?}");
    assert!(!info.version.is_empty(), "{info:?}");
    assert!(info.api_version.starts_with("1."), "{info:?}");
    assert!(info.address.contains("://"), "{info:?}");
}

pub(crate) async fn a_container_is_created_as_asked(bench: impl Bench) {
    let engine = bench.engine();
    let volume = bench.name("data");
    engine.create_volume(&volume, &bench.labels()).await.unwrap();
    let mut spec = bench.spec("asked");
    spec.command = vec!["serve".to_owned(), "/ksail/registry.yml".to_owned()];
    spec.env.insert("ONE".to_owned(), "a=b".to_owned());
    spec.labels.insert("ksail.dev/host".to_owned(), "docker.io".to_owned());
    spec.ports = vec![published(5000, 45_999), ephemeral(5001)];
    spec.volumes = vec![(volume.clone(), "/var/lib/registry".to_owned())];
    spec.restart_policy = String::from("always");
    spec.extra_hosts = vec!["host.docker.internal:host-gateway".to_owned()];
    spec.log_options = BTreeMap::from([("max-size".to_owned(), "10m".to_owned())]);

    let id = engine.create_container(&spec).await.unwrap();
    let container = engine.inspect_container(&spec.name).await.unwrap();

    assert_eq!(container, engine.inspect_container(&id).await.unwrap(), "by name and by id");
    assert_eq!(container.id, id);
    assert_eq!(container.name, spec.name);
    assert_eq!(container.image, spec.image);
    assert_eq!(container.image_id, engine.inspect_image(&spec.image).await.unwrap().id);
    assert_eq!(container.command, spec.command);
    assert_eq!(container.env.get("ONE").map(String::as_str), Some("a=b"));
    assert_eq!(container.extra_hosts, spec.extra_hosts);
    assert!(spec.labels.iter().all(|label| container.labels.iter().any(|found| found == label)));
    assert_eq!(container.state, ContainerState::Created);
    assert_eq!((container.exit_code, container.error.as_str(), container.started_at), (None, "", None));
    assert_eq!(container.restart_policy, "always");
    let capped = container.log.options.get("max-size").map(String::as_str) == Some("10m");
    assert_eq!(capped, container.log.takes_limits(), "{:?}", container.log);
    let listed = engine.list_containers(&[]).await.unwrap();
    let listed = listed.iter().find(|listed| listed.id == id).unwrap();
    assert_eq!((&listed.image_id, &listed.volumes), (&container.image_id, &vec![volume.clone()]));
    assert!(container.created_at.is_some());
    assert_eq!(container.ports, spec.ports);
    assert_eq!(container.bound_ports, []);
    let mount = Mount { volume: Some(volume), target: "/var/lib/registry".to_owned() };
    assert!(container.mounts.contains(&mount), "{:?}", container.mounts);
    assert_eq!(container.endpoints.keys().collect::<Vec<_>>(), ["bridge"]);
    assert_eq!(container.endpoints["bridge"].address, None);
}

pub(crate) async fn lists_are_filtered_by_label(bench: impl Bench) {
    let engine = bench.engine();
    let (key, value) = bench.labels().pop_first().unwrap();
    let mut one = bench.spec("one");
    one.labels.insert("colour".to_owned(), "red".to_owned());
    let one_id = engine.create_container(&one).await.unwrap();
    let two_id = bench.running("two").await;

    let listed = engine.list_containers(&[(&key, Some(&value))]).await.unwrap();
    let states: BTreeMap<_, _> = listed.iter().map(|found| (found.id.clone(), found.state)).collect();
    let expected = [(one_id.clone(), ContainerState::Created), (two_id, ContainerState::Running)];
    assert_eq!(states, BTreeMap::from(expected));

    let red = engine.list_containers(&[(&key, Some(&value)), ("colour", None)]).await.unwrap();
    assert_eq!(red.len(), 1, "{red:?}");
    assert_eq!((red[0].id.as_str(), red[0].name.as_str()), (one_id.as_str(), one.name.as_str()));
    assert_eq!(red[0].labels.get("colour").map(String::as_str), Some("red"));

    let blue = engine.list_containers(&[(&key, Some(&value)), ("colour", Some("blue"))]).await.unwrap();
    assert_eq!(blue, []);
}

pub(crate) async fn a_missing_image_or_container_is_not_found(bench: impl Bench) {
    let engine = bench.engine();
    let mut spec = bench.spec("without-image");
    spec.image = String::from("ksail-test/no-such-image:0");
    assert_not_found(engine.create_container(&spec).await);

    let name = bench.name("nobody");
    assert_not_found(engine.inspect_container(&name).await);
    assert_not_found(engine.start_container(&name).await);
    assert_not_found(engine.stop_container(&name, 1).await);
    assert_not_found(engine.restart_container(&name, 1).await);
    assert_not_found(engine.unpause_container(&name).await);
    assert_not_found(engine.rename_container(&name, &bench.name("somebody")).await);
    assert_not_found(engine.update_restart_policy(&name, "always").await);
    assert_not_found(engine.remove_container(&name).await);
    assert_not_found(engine.put_archive(&name, "/", Vec::new()).await);
    assert_not_found(engine.get_archive(&name, "/etc").await);
}

pub(crate) async fn a_name_is_given_to_one_container_only(bench: impl Bench) {
    let engine = bench.engine();
    let spec = bench.spec("twin");
    let first = engine.create_container(&spec).await.unwrap();
    assert_conflict(engine.create_container(&spec).await);
    engine.remove_container(&first).await.unwrap();
    engine.create_container(&spec).await.unwrap();
}

pub(crate) async fn starting_and_stopping_twice_is_fine(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.stop_container(&id, 1).await.expect("one that was never started");

    engine.start_container(&id).await.unwrap();
    let started = engine.inspect_container(&id).await.unwrap();
    engine.start_container(&id).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap(), started, "the second start does nothing");
    assert_eq!(started.state, ContainerState::Running);
    assert!(started.started_at.is_some());
    assert_eq!(started.exit_code, None);

    engine.stop_container(&id, 1).await.unwrap();
    let stopped = engine.inspect_container(&id).await.unwrap();
    engine.stop_container(&id, 1).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap(), stopped, "the second stop does nothing");
    assert_eq!(stopped.state, ContainerState::Exited);
    assert!(stopped.exit_code.is_some());
    assert_eq!(stopped.started_at, started.started_at);
}

pub(crate) async fn what_was_bound_is_free_after_a_stop(bench: impl Bench) {
    let engine = bench.engine();
    let mut spec = bench.spec("c");
    spec.ports = vec![ephemeral(5000)];
    let id = engine.create_container(&spec).await.unwrap();
    engine.start_container(&id).await.unwrap();

    let running = engine.inspect_container(&id).await.unwrap();
    assert_eq!(running.ports, spec.ports, "what was asked for stays");
    assert_eq!(running.bound_ports.len(), 1);
    assert_ne!(running.bound_ports[0].host_port, 0);
    assert_eq!((running.bound_ports[0].container_port, running.bound_ports[0].host_address), {
        (5000, spec.ports[0].host_address)
    });
    assert!(running.endpoints["bridge"].address.is_some());
    let (key, value) = bench.labels().pop_first().unwrap();
    let listed = engine.list_containers(&[(&key, Some(&value))]).await.unwrap();
    assert_eq!(listed[0].ports, running.bound_ports);

    engine.stop_container(&id, 1).await.unwrap();
    let stopped = engine.inspect_container(&id).await.unwrap();
    assert_eq!(stopped.ports, spec.ports);
    assert_eq!(stopped.bound_ports, []);
    assert_eq!(stopped.endpoints["bridge"].address, None);
    assert_eq!(stopped.endpoints["bridge"].network_id, running.endpoints["bridge"].network_id);
    assert_ne!(stopped.endpoints["bridge"].network_id, "");
}

pub(crate) async fn a_restart_also_starts_what_was_stopped(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.running("c").await;
    let first = engine.inspect_container(&id).await.unwrap();
    engine.restart_container(&id, 1).await.unwrap();
    let second = engine.inspect_container(&id).await.unwrap();
    assert_eq!(second.state, ContainerState::Running);
    assert!(second.started_at > first.started_at);

    engine.stop_container(&id, 1).await.unwrap();
    engine.restart_container(&id, 1).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap().state, ContainerState::Running);
}

/// Each on a container of its own, and waited for: Docker can take one that was woken for paused once more, when
/// containerd's own word of the pause comes late (see `once_awake` in `exec.rs`).
pub(crate) async fn a_paused_container_is_not_started_but_stopped_and_restarted(bench: impl Bench) {
    let engine = bench.engine();
    let paused = async |what: &str| {
        let id = bench.running(what).await;
        bench.pause(&id).await;
        reaches(&bench, &id, ContainerState::Paused).await;
        id
    };
    assert_conflict(engine.unpause_container(&bench.running("awake").await).await);

    let id = paused("woken").await;
    assert_conflict(engine.start_container(&id).await);
    engine.unpause_container(&id).await.unwrap();
    reaches(&bench, &id, ContainerState::Running).await;

    let id = paused("restarted").await;
    engine.restart_container(&id, 1).await.unwrap();
    reaches(&bench, &id, ContainerState::Running).await;

    let id = paused("stopped").await;
    engine.stop_container(&id, 1).await.unwrap();
    reaches(&bench, &id, ContainerState::Exited).await;
}

pub(crate) async fn a_killed_container_has_exited_with_137(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.running("c").await;
    bench.kill(&id).await;
    let killed = engine.inspect_container(&id).await.unwrap();
    assert_eq!((killed.state, killed.exit_code), (ContainerState::Exited, Some(137)));
}

pub(crate) async fn what_a_container_said_is_in_its_log_line_by_line(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.crashing_spec("c")).await.unwrap();
    assert_eq!(engine.logs(&id, LogPart::Last(10)).await.unwrap(), "", "it has not run");
    engine.start_container(&id).await.unwrap();
    reaches(&bench, &id, ContainerState::Exited).await;
    assert!(engine.logs(&id, LogPart::Last(1)).await.unwrap().trim().lines().count() == 1);
    engine.start_container(&id).await.unwrap();
    reaches(&bench, &id, ContainerState::Exited).await;
    let all = engine.logs(&id, LogPart::Last(1000)).await.unwrap();
    assert!(all.lines().count() >= 2, "both runs are in it: {all}");
    let started = engine.inspect_container(&id).await.unwrap().started_at.unwrap();
    let later = started.saturating_add(SignedDuration::from_secs(10)).unwrap();
    let part = engine.logs(&id, LogPart::Between(started, later)).await.unwrap();
    assert!(!part.is_empty() && all.contains(part.lines().next_back().unwrap()), "the last run is in it: {part}");
    assert_not_found(engine.logs(&bench.name("nobody"), LogPart::Last(1)).await);
}

pub(crate) async fn traffic_is_counted_of_what_runs(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.running("c").await;
    let first = engine.traffic(&id).await.unwrap().expect("it runs");
    let second = engine.traffic(&id).await.unwrap().expect("it runs");
    assert!(second.received >= first.received && second.sent >= first.sent, "{first:?} {second:?}");
    engine.stop_container(&id, 1).await.unwrap();
    assert_eq!(engine.traffic(&id).await.unwrap(), None);
    assert_not_found(engine.traffic(&bench.name("nobody")).await);
}

pub(crate) async fn a_container_that_crashes_has_exited(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.crashing_spec("c")).await.unwrap();
    engine.start_container(&id).await.expect("a start does not wait for the process to prove itself");
    let crashed = reaches(&bench, &id, ContainerState::Exited).await;
    assert_eq!(crashed.exit_code, Some(1));
    assert_eq!(crashed.error, "");
}

pub(crate) async fn a_container_that_keeps_crashing_is_restarting_until_it_is_stopped(bench: impl Bench) {
    let engine = bench.engine();
    let mut spec = bench.crashing_spec("c");
    spec.restart_policy = String::from("always");
    let id = engine.create_container(&spec).await.unwrap();
    engine.start_container(&id).await.unwrap();
    assert_eq!(reaches(&bench, &id, ContainerState::Restarting).await.exit_code, Some(1));
    engine.start_container(&id).await.expect("it counts as running");
    assert_conflict(engine.unpause_container(&id).await);
    engine.stop_container(&id, 1).await.unwrap();
    let stopped = engine.inspect_container(&id).await.unwrap();
    assert_eq!(stopped.state, ContainerState::Exited);
    assert_ne!(stopped.exit_code, Some(0));
}

/// Waits until the container is in that state.
async fn reaches(bench: &impl Bench, id: &str, state: ContainerState) -> Container {
    let until_then = async {
        loop {
            let container = bench.engine().inspect_container(id).await.unwrap();
            if container.state == state {
                return container;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, until_then).await.unwrap_or_else(|_| panic!("{id} is not {state}"))
}

pub(crate) async fn renaming_moves_the_name(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.running("before").await;
    let other = engine.create_container(&bench.spec("other")).await.unwrap();

    assert_conflict(engine.rename_container(&id, &bench.name("other")).await);
    assert_bad_request(engine.rename_container(&id, &bench.name("before")).await);
    engine.rename_container(&id, &bench.name("after")).await.unwrap();
    assert_not_found(engine.inspect_container(&bench.name("before")).await);
    assert_eq!(engine.inspect_container(&bench.name("after")).await.unwrap().id, id);
    engine.rename_container(&other, &bench.name("before")).await.unwrap();
}

pub(crate) async fn the_restart_policy_can_be_changed(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    for policy in ["always", "unless-stopped", "on-failure", "no"] {
        engine.update_restart_policy(&id, policy).await.unwrap();
        assert_eq!(engine.inspect_container(&id).await.unwrap().restart_policy, policy);
    }
    assert_bad_request(engine.update_restart_policy(&id, "sometimes").await);
}

pub(crate) async fn removing_takes_a_running_container_and_leaves_its_volume(bench: impl Bench) {
    let engine = bench.engine();
    let volume = bench.name("data");
    engine.create_volume(&volume, &bench.labels()).await.unwrap();
    let mut spec = bench.spec("c");
    spec.volumes = vec![(volume.clone(), "/data".to_owned())];
    let id = engine.create_container(&spec).await.unwrap();
    engine.start_container(&id).await.unwrap();
    assert_conflict(engine.remove_volume(&volume).await);

    engine.remove_container(&id).await.unwrap();
    assert_not_found(engine.inspect_container(&id).await);
    assert_not_found(engine.remove_container(&id).await);
    assert_eq!(engine.inspect_volume(&volume).await.unwrap().labels, bench.labels());
    engine.remove_volume(&volume).await.unwrap();
    assert_not_found(engine.inspect_volume(&volume).await);
}
