//! How a mirror is served while nobody is at its upstream, and what becomes of that when a watch ends.

use super::*;
use crate::registry::is_served_from_cache;

const NAME: &str = "ksail-dev-docker-io";

fn from_cache(world: &World) -> bool {
    world.container(NAME).is_some_and(|container| is_served_from_cache(&container.env))
}

fn answers(world: &World, answer: UpstreamAnswer) {
    world.probe.1.lock().unwrap().answer = Some(answer);
}

fn gone() -> UpstreamAnswer {
    UpstreamAnswer::Unreachable("connection refused".to_owned())
}

/// A watch over a mirror that is served from its cache, of this version of the registry.
async fn away(version: &str) -> (World, tokio::task::JoinHandle<()>) {
    let world = World::new();
    world.engine.greets_with(&format!("level=warning msg=\"No HTTP secret\" version={version}"));
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("it runs", |world| world.container(NAME).is_some()).await;
    answers(&world, gone());
    // Another mirror has the first one's upstream asked as well, at once.
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    world.until("it is served from its cache", from_cache).await;
    let is_told = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::ServingFromCache);
    world.until("that is told", |world| world.recorder.has(is_told)).await;
    (world, watch)
}

#[tokio::test]
async fn a_watch_that_ends_gives_mirrors_back_that_start_without_their_upstreams() {
    let (world, watch) = away("3.1.1").await;
    world.stop.cancel();
    watch.await.unwrap();
    assert!(!from_cache(&world));
    assert_eq!(world.container(NAME).map(|container| container.state), Some(ContainerState::Running));
}

#[tokio::test]
async fn a_watch_that_ends_leaves_those_served_from_their_caches_that_would_not_start() {
    let (world, watch) = away("2.8.2+ds1").await;
    world.stop.cancel();
    watch.await.unwrap();
    assert!(from_cache(&world));
}

#[tokio::test]
async fn another_watch_takes_a_mirror_as_it_is_and_gives_it_back_after_two_good_answers() {
    let (world, watch) = away("2.8.2").await;
    world.stop.cancel();
    watch.await.unwrap();
    let created = world.container(NAME).unwrap().id;
    let world = World { stop: CancellationToken::new(), ..world };
    let watch = world.watch();
    let asked = || world.probe.1.lock().unwrap().asked.len();
    let before = asked();
    world.until("it is asked again", |_| asked() >= before + 2).await;
    assert_eq!(world.container(NAME).map(|container| container.id), Some(created), "nobody is there");
    answers(&world, UpstreamAnswer::Answers);
    world.until("it is given back", |world| !from_cache(world)).await;
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn an_apply_takes_a_mirror_as_it_is_and_gives_it_back_after_two_good_answers() {
    let (world, watch) = away("2.8.2").await;
    world.stop.cancel();
    watch.await.unwrap();
    let world = World { stop: CancellationToken::new(), ..world };
    assert!(matches!(world.apply().await, Applied::Converged(_)));
    assert!(from_cache(&world), "nobody is there");
    answers(&world, UpstreamAnswer::Answers);
    assert!(matches!(world.apply().await, Applied::Converged(_)));
    assert!(!from_cache(&world));
}
