//! Named volumes.

use std::collections::BTreeMap;

use ksail::engine::Engine;
use ksail::observed::is_not_older;

use super::assert_not_found;
use crate::bench::Bench;

pub(crate) async fn a_volume_keeps_the_labels_it_was_created_with(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("data");
    engine.create_volume(&name, &bench.labels()).await.unwrap();
    let other = BTreeMap::from([("other".to_owned(), "label".to_owned())]);
    engine.create_volume(&name, &other).await.expect("one that exists is fine");

    let volume = engine.inspect_volume(&name).await.unwrap();
    assert_eq!((volume.name.as_str(), &volume.labels), (name.as_str(), &bench.labels()));
    let (key, value) = bench.labels().pop_first().unwrap();
    assert_eq!(engine.list_volumes(&[(&key, Some(&value))]).await.unwrap(), [volume]);
    assert_eq!(engine.list_volumes(&[(&key, Some(&value)), ("other", None)]).await.unwrap(), []);
}

pub(crate) async fn a_container_brings_its_volumes_along(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("data");
    let mut spec = bench.spec("c");
    spec.volumes = vec![(name.clone(), "/data".to_owned())];
    let id = engine.create_container(&spec).await.unwrap();
    assert_eq!(engine.inspect_volume(&name).await.unwrap().labels, BTreeMap::new());
    engine.remove_container(&id).await.unwrap();
    engine.remove_volume(&name).await.expect("it is a named one, so it was still there");
}

pub(crate) async fn a_volume_made_with_its_container_is_not_older(bench: impl Bench) {
    let engine = bench.engine();
    let name = bench.name("data");
    let mut spec = bench.spec("c");
    spec.volumes = vec![(name.clone(), "/data".to_owned())];
    let id = engine.create_container(&spec).await.unwrap();
    let made = engine.inspect_volume(&name).await.unwrap();
    assert!(is_not_older(&made, &engine.inspect_container(&id).await.unwrap()), "{made:?}");
    engine.remove_container(&id).await.unwrap();
    engine.remove_volume(&name).await.unwrap();
}

pub(crate) async fn an_unknown_volume_is_not_found(bench: impl Bench) {
    let engine = bench.engine();
    assert_not_found(engine.inspect_volume(&bench.name("none")).await);
    assert_not_found(engine.remove_volume(&bench.name("none")).await);
}
