//! Networks, and what becomes of endpoints when they go.

use std::collections::BTreeMap;

use ksail::engine::{ContainerState, Engine, EngineError};

use super::{assert_conflict, assert_not_found};
use crate::bench::Bench;

fn aliases(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What a list says of the networks of one container.
async fn listed_endpoints(bench: &impl Bench, id: &str) -> BTreeMap<String, String> {
    let listed = bench.engine().list_containers(&[]).await.unwrap();
    listed.into_iter().find(|container| container.id == id).expect("it is listed").endpoints
}

pub(crate) async fn a_container_connected_before_its_start_has_the_alias_afterwards(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let listed = engine.list_networks().await.unwrap();
    let found: Vec<_> = listed.iter().filter(|found| found.name == name).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(&found[0].id, &network);
    assert_eq!(found[0].labels, bench.labels());
    assert!(found[0].subnets.iter().any(|range| range.contains(".0/")), "{:?}", found[0].subnets);
    let now = engine.now();
    let made = found[0].created_at.expect("when it was made");
    assert!(made <= now && now.duration_since(made).as_secs() < 60, "{made} {now}");
    assert!(listed.iter().any(|network| network.name == "bridge"));

    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.connect_network(&network, &id, &aliases(&["alias"])).await.unwrap();
    let created = engine.inspect_container(&id).await.unwrap();
    assert_eq!(created.endpoints[&name].aliases, ["alias"]);

    engine.start_container(&id).await.unwrap();
    let started = engine.inspect_container(&id).await.unwrap();
    assert_eq!(started.endpoints.keys().collect::<Vec<_>>(), ["bridge", name.as_str()]);
    assert_eq!(started.endpoints[&name].network_id, network);
    assert_eq!(started.endpoints[&name].aliases, ["alias"]);
    assert!(started.endpoints[&name].address.is_some());
}

pub(crate) async fn connecting_a_running_container_twice_is_a_conflict(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = bench.running("c").await;
    engine.connect_network(&network, &id, &aliases(&["alias"])).await.unwrap();
    assert_conflict(engine.connect_network(&network, &id, &aliases(&["other"])).await);

    let endpoint = &engine.inspect_container(&id).await.unwrap().endpoints[&name];
    assert_eq!((&endpoint.network_id, endpoint.aliases.as_slice()), (&network, aliases(&["alias"]).as_slice()));

    engine.disconnect_network(&network, &id, false).await.unwrap();
    assert!(!engine.inspect_container(&id).await.unwrap().endpoints.contains_key(&name));
    engine.connect_network(&network, &id, &aliases(&["other"])).await.unwrap();
}

pub(crate) async fn connecting_a_stopped_container_again_keeps_its_first_aliases(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.connect_network(&network, &id, &aliases(&["first"])).await.unwrap();
    engine.connect_network(&network, &id, &aliases(&["second"])).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap().endpoints[&name].aliases, ["first"]);
}

pub(crate) async fn disconnecting_what_is_not_connected_is_not_found(bench: impl Bench) {
    let engine = bench.engine();
    let network = bench.create_network(&bench.name("net")).await;
    let created = engine.create_container(&bench.spec("created")).await.unwrap();
    let running = bench.running("running").await;
    for container in [&created, &running] {
        for force in [false, true] {
            assert_not_found(engine.disconnect_network(&network, container, force).await);
        }
        assert_not_found(engine.disconnect_network(&bench.name("no-net"), container, false).await);
    }
    assert_not_found(engine.disconnect_network(&network, &bench.name("nobody"), true).await);
}

pub(crate) async fn an_unknown_network_shows_when_the_container_runs(bench: impl Bench) {
    let engine = bench.engine();
    let unknown = bench.name("no-net");
    assert_not_found(engine.connect_network(&unknown, &bench.running("running").await, &[]).await);
    assert_not_found(engine.connect_network("bridge", &bench.name("nobody"), &[]).await);

    let created = engine.create_container(&bench.spec("created")).await.unwrap();
    engine.connect_network(&unknown, &created, &[]).await.unwrap();
    assert_not_found(engine.start_container(&created).await);
    engine.disconnect_network(&unknown, &created, true).await.unwrap();
    engine.start_container(&created).await.unwrap();
}

pub(crate) async fn a_network_with_a_running_container_is_not_removed(bench: impl Bench) {
    let engine = bench.engine();
    let network = bench.create_network(&bench.name("net")).await;
    let id = bench.running("c").await;
    engine.connect_network(&network, &id, &[]).await.unwrap();
    assert_conflict(engine.remove_network(&network).await);
    engine.stop_container(&id, 1).await.unwrap();
    engine.remove_network(&network).await.unwrap();
    assert!(engine.list_networks().await.unwrap().iter().all(|found| found.id != network));
    assert_not_found(engine.remove_network(&network).await);
}

pub(crate) async fn a_container_whose_network_is_gone_starts_after_a_forced_disconnect(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = bench.running("c").await;
    engine.connect_network(&network, &id, &[]).await.unwrap();
    engine.stop_container(&id, 1).await.unwrap();
    engine.remove_network(&network).await.unwrap();

    let stale = engine.inspect_container(&id).await.unwrap();
    assert_eq!(stale.endpoints[&name].network_id, network, "the endpoint outlives its network");
    assert_not_found(engine.start_container(&id).await);
    let failed = engine.inspect_container(&id).await.unwrap();
    assert_eq!(failed.state, ContainerState::Exited);
    assert!(failed.error.contains("not found"), "{}", failed.error);

    assert_not_found(engine.disconnect_network(&network, &id, true).await);
    engine.disconnect_network(&name, &id, true).await.expect("a stale endpoint goes by its name");
    engine.start_container(&id).await.unwrap();
    let started = engine.inspect_container(&id).await.unwrap();
    assert_eq!((started.state, started.error.as_str()), (ContainerState::Running, ""));
    assert!(!started.endpoints.contains_key(&name));
}

pub(crate) async fn a_stale_endpoint_is_replaced_by_connecting_to_a_new_network_of_that_name(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let old = bench.create_network(&name).await;
    let id = bench.running("c").await;
    engine.connect_network(&old, &id, &aliases(&["alias"])).await.unwrap();
    engine.stop_container(&id, 1).await.unwrap();
    engine.remove_network(&old).await.unwrap();
    let new = bench.create_network(&name).await;

    assert_not_found(engine.start_container(&id).await);
    assert_eq!(engine.inspect_container(&id).await.unwrap().endpoints[&name].network_id, old);

    engine.connect_network(&new, &id, &aliases(&["other"])).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap().endpoints[&name].aliases, ["other"]);
    engine.start_container(&id).await.unwrap();
    assert_eq!(engine.inspect_container(&id).await.unwrap().endpoints[&name].network_id, new);
}

pub(crate) async fn of_two_networks_with_one_name_the_id_decides(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let one = bench.create_network(&name).await;
    let two = bench.create_network(&name).await;

    let running = bench.running("running").await;
    engine.connect_network(&two, &running, &[]).await.unwrap();
    assert_eq!(engine.inspect_container(&running).await.unwrap().endpoints[&name].network_id, two);
    engine.restart_container(&running, 1).await.expect("the id is known since the first connect");
    assert_eq!(engine.inspect_container(&running).await.unwrap().endpoints[&name].network_id, two);

    // One that was never started knows its networks by name only, whatever it was connected by.
    let created = engine.create_container(&bench.spec("created")).await.unwrap();
    engine.connect_network(&one, &created, &[]).await.unwrap();
    let refused = engine.start_container(&created).await;
    assert!(
        matches!(&refused, Err(EngineError::Refused { message, .. }) if message.contains("ambiguous")),
        "{refused:?}"
    );
}

pub(crate) async fn a_list_tells_one_attachment_from_another(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = bench.running("c").await;
    engine.connect_network(&network, &id, &aliases(&["alias"])).await.unwrap();
    let first = listed_endpoints(&bench, &id).await;
    assert_eq!(first.keys().collect::<Vec<_>>(), ["bridge", name.as_str()]);
    assert!(first.values().all(|attachment| !attachment.is_empty()), "{first:?}");
    assert_ne!(first["bridge"], first[&name]);
    assert_eq!(listed_endpoints(&bench, &id).await, first, "nothing happened");

    let outsider = bench.outsider();
    outsider.disconnect_network(&network, &id, false).await.unwrap();
    assert_eq!(listed_endpoints(&bench, &id).await.keys().collect::<Vec<_>>(), ["bridge"]);
    outsider.connect_network(&network, &id, &aliases(&["alias"])).await.unwrap();
    let second = listed_endpoints(&bench, &id).await;
    assert_eq!(second["bridge"], first["bridge"], "nothing happened to this one");
    assert!(!second[&name].is_empty());
    assert_ne!(second[&name], first[&name]);

    bench.pause(&id).await;
    assert_eq!(listed_endpoints(&bench, &id).await, second, "what is paused stays where it is");
    outsider.restart_container(&id, 1).await.unwrap();
    let third = listed_endpoints(&bench, &id).await;
    assert!(third.iter().all(|(name, attachment)| !attachment.is_empty() && *attachment != second[name]), "{third:?}");
}

pub(crate) async fn a_container_that_does_not_run_is_listed_on_its_networks_without_an_attachment(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.connect_network(&network, &id, &[]).await.unwrap();
    let unattached = BTreeMap::from([("bridge".to_owned(), String::new()), (name, String::new())]);
    assert_eq!(listed_endpoints(&bench, &id).await, unattached, "it never ran");
    engine.start_container(&id).await.unwrap();
    engine.stop_container(&id, 1).await.unwrap();
    assert_eq!(listed_endpoints(&bench, &id).await, unattached, "it was stopped");
    engine.start_container(&id).await.unwrap();
    bench.kill(&id).await;
    assert_eq!(listed_endpoints(&bench, &id).await, unattached, "it was killed");
}
