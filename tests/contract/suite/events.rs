//! The event stream.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ksail::engine::{Engine, Event, EventKind, Exec, Result};

use super::{archive, assert_port_in_use};
use crate::bench::{Bench, CAT, HeldPort, PATIENCE, SAYS, published};

/// Reads until `is_last` is seen and answers the actions on one object, in order.
async fn actions_on(events: &mut BoxStream<'static, Result<Event>>, id: &str, last: &str) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, events.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no `{last}` of {id}, only {seen:#?}"));
        let event = next.expect("the stream goes on").expect("the engine is there");
        if event.id == id {
            let is_last = event.action == last;
            seen.push(event);
            if is_last {
                return seen;
            }
        }
    }
}

fn words(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.action.as_str()).collect()
}

/// Without what Docker tells again. It tells a pause and its end when they are done, and once more when containerd's
/// own word of them comes late, after the container was woken (`ProcessEvent` in moby's `daemon/monitor.go` compares
/// the word with the state of that moment). Whoever follows the stream has to look at the container anyway.
fn without_echoes(mut events: Vec<Event>) -> Vec<Event> {
    let mut told = BTreeSet::new();
    events.retain(|event| !matches!(&*event.action, "pause" | "unpause") || told.insert(event.action.clone()));
    events
}

pub(crate) async fn a_container_tells_its_life_in_order(bench: impl Bench) {
    let engine = bench.engine();
    let mut events = engine.events().await.unwrap();
    let id = bench.running("c").await;
    bench.pause(&id).await;
    engine.unpause_container(&id).await.unwrap();
    bench.kill(&id).await;
    engine.start_container(&id).await.unwrap();
    engine.rename_container(&id, &bench.name("renamed")).await.unwrap();
    engine.update_restart_policy(&id, "always").await.unwrap();
    engine.remove_container(&id).await.unwrap();

    let seen = without_echoes(actions_on(&mut events, &id, "destroy").await);
    let expected =
        ["create", "start", "pause", "unpause", "kill", "die", "start", "rename", "update", "kill", "die", "destroy"];
    assert_eq!(words(&seen), expected);
    assert!(seen.iter().all(|event| event.kind == EventKind::Container));
    let (key, value) = bench.labels().pop_first().unwrap();
    assert!(seen.iter().all(|event| event.attributes.get(&key) == Some(&value)), "labels come along");
    assert_eq!(seen[0].attributes["name"], bench.name("c"));
    assert_eq!(seen[5].attributes["exitCode"], "137");
    assert_eq!(seen[7].attributes["name"], bench.name("renamed"));
}

pub(crate) async fn networks_and_volumes_tell_theirs(bench: impl Bench) {
    let engine = bench.engine();
    let mut events = engine.events().await.unwrap();
    let name = bench.name("net");
    let network = bench.create_network(&name).await;
    let id = bench.running("c").await;
    engine.connect_network(&network, &id, &[]).await.unwrap();
    engine.disconnect_network(&network, &id, false).await.unwrap();
    engine.remove_network(&network).await.unwrap();

    let seen = actions_on(&mut events, &network, "destroy").await;
    let mut said = words(&seen);
    said.dedup(); // Docker 20.10 tells a disconnect twice.
    assert_eq!(said, ["create", "connect", "disconnect", "destroy"]);
    assert!(seen.iter().all(|event| event.kind == EventKind::Network));
    assert_eq!(seen[0].attributes["name"], name);
    assert_eq!(seen[1].attributes["container"], id);

    let volume = bench.name("data");
    engine.create_volume(&volume, &bench.labels()).await.unwrap();
    engine.create_volume(&volume, &bench.labels()).await.unwrap();
    engine.remove_volume(&volume).await.unwrap();
    let seen = actions_on(&mut events, &volume, "destroy").await;
    let mut said = words(&seen);
    said.dedup(); // It also tells that one was created which was there.
    assert_eq!(said, ["create", "destroy"]);
    assert!(seen.iter().all(|event| event.kind == EventKind::Volume));
}

pub(crate) async fn a_failed_start_is_no_start(bench: impl Bench) {
    let engine = bench.engine();
    let mut events = engine.events().await.unwrap();
    let held = bench.hold_port();
    let mut spec = bench.spec("c");
    spec.ports = vec![published(5000, held.port())];
    let id = engine.create_container(&spec).await.unwrap();
    assert_port_in_use(engine.start_container(&id).await);
    engine.remove_container(&id).await.unwrap();
    assert_eq!(words(&actions_on(&mut events, &id, "destroy").await), ["create", "destroy"]);
}

pub(crate) async fn the_end_of_a_program_is_told_unless_it_is_ones_own(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.with_programs("c").await;
    let mut events = engine.events().await.unwrap();
    let mut second = engine.clone().events().await.unwrap();
    engine.exec(&id, &Exec::reading(CAT)).await.unwrap();
    engine.clone().exec(&id, &Exec::reading(["no-such-program"])).await.unwrap();
    bench.outsider().exec(&id, &Exec::reading(SAYS)).await.unwrap();
    engine.exec(&id, &Exec::reading(CAT).with_stdin("more")).await.unwrap();
    engine.remove_container(&id).await.unwrap();

    for events in [&mut events, &mut second] {
        let seen = actions_on(events, &id, "destroy").await;
        assert_eq!(words(&seen), ["exec_die", "kill", "die", "destroy"]);
        assert_eq!(seen[0].kind, EventKind::Container);
        assert_eq!(seen[0].attributes["exitCode"], "3", "the one of somebody else");
        let (key, value) = bench.labels().pop_first().unwrap();
        assert_eq!(seen[0].attributes.get(&key), Some(&value), "labels come along");
    }
}

pub(crate) async fn a_file_put_into_a_container_is_told(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.running("c").await;
    let mut events = engine.events().await.unwrap();
    engine.put_archive(&id, "/", archive(&[("ksail/file", 0o644, "mine")])).await.unwrap();
    bench.outsider().put_archive(&id, "/", archive(&[("ksail/file", 0o644, "theirs")])).await.unwrap();
    engine.get_archive(&id, "/ksail/file").await.unwrap();
    engine.stat_path(&id, "/ksail/file").await.unwrap();
    engine.remove_container(&id).await.unwrap();
    let seen = actions_on(&mut events, &id, "destroy").await;
    assert_eq!(words(&seen), ["extract-to-dir", "extract-to-dir", "kill", "die", "destroy"]);
}
