//! What upstreams answer, as `apply` and `watch` tell it.

use super::*;

const WHY: &str = "https://r.docker.io: answers 503";

fn failing() -> UpstreamAnswer {
    UpstreamAnswer::Broken("answers 503".to_owned())
}

/// Conditions that were told of an upstream that is not well.
fn told(world: &World) -> Vec<(Reason, String)> {
    let events = world.recorder.0.lock().unwrap();
    let conditions = events.iter().filter_map(|event| match event {
        Event::Condition { condition, .. } if condition.kind == ConditionType::UpstreamReachable => Some(condition),
        _ => None,
    });
    let bad = conditions.filter(|condition| condition.status == ConditionStatus::False);
    bad.map(|condition| (condition.reason, condition.message.clone())).collect()
}

#[tokio::test]
async fn apply_asks_once_tells_what_is_not_well_and_converges_all_the_same() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    world.probe.1.lock().unwrap().answer = Some(failing());
    let Applied::Converged(status) = world.apply().await else { panic!("the cache serves") };
    let reachable = status.mirrors[0].condition(ConditionType::UpstreamReachable).unwrap();
    assert_eq!((reachable.reason, reachable.message.as_str()), (Reason::UpstreamBroken, WHY));
    assert_eq!(told(&world), [(Reason::UpstreamBroken, WHY.to_owned())]);
    assert_eq!(world.probe.1.lock().unwrap().asked, [Ask::WithCredentials]);
}

#[tokio::test]
async fn apply_has_nothing_to_tell_of_upstreams_that_are_well() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    assert!(matches!(world.apply().await, Applied::Converged(_)));
    assert_eq!(told(&world), []);
}

#[tokio::test]
async fn apply_waits_a_second_for_an_upstream_and_no_longer() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    world.apply().await;
    world.probe.1.lock().unwrap().are_mute = true;
    let begun = Instant::now();
    let Applied::Converged(status) = world.apply().await else { panic!("the cache serves") };
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    let reachable = status.mirrors[0].condition(ConditionType::UpstreamReachable).unwrap();
    assert_eq!((reachable.status, reachable.reason), (ConditionStatus::Unknown, Reason::NotProbed));
}

#[tokio::test]
async fn watch_tells_within_seconds_of_its_start_and_asks_at_once_when_the_file_changes() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    world.probe.1.lock().unwrap().answer = Some(failing());
    let begun = Instant::now();
    let watch = world.watch();
    world.until("it is told", |world| told(world).len() == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(told(&world), [(Reason::UpstreamBroken, WHY.to_owned())]);
    world.until("it is asked again at once", |world| world.probe.1.lock().unwrap().asked.len() == 2).await;
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    world.until("the new one is told", |world| told(world).len() == 2).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "not by the schedule: {:?}", begun.elapsed());
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn what_an_upstream_answers_is_told_while_its_mirror_is_being_made() {
    let world = World::new();
    world.probe.0.lock().unwrap().push("ksail-dev-docker-io".to_owned());
    world.save(&[("docker.io", 5001)]);
    let watch = world.watch();
    world.until("its registry starts", |world| world.container("ksail-dev-docker-io").is_some()).await;
    world.probe.1.lock().unwrap().answer = Some(failing());
    let begun = Instant::now();
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    let is_why = |(_, message): &(Reason, String)| message == WHY;
    world.until("it is told", |world| told(world).iter().any(is_why)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "although it does not serve: {:?}", begun.elapsed());
    world.stop.cancel();
    watch.await.unwrap();
}
