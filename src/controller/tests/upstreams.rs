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

fn logs_read(world: &World) -> usize {
    world.engine.calls().iter().filter(|call| call.name == "logs").count()
}

#[tokio::test]
async fn of_an_upstream_that_only_the_cluster_knows_its_registrys_own_log_decides() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    let unknown = UpstreamAnswer::Unknown("only the cluster's network can know its name".to_owned());
    world.probe.1.lock().unwrap().answer = Some(unknown);
    let reachable = |applied: Applied| {
        let Applied::Converged(status) = applied else { panic!("a cache serves: {applied:?}") };
        status.mirrors[0].condition(ConditionType::UpstreamReachable).unwrap().clone()
    };
    let before = reachable(world.apply().await);
    assert_eq!((before.status, before.reason), (ConditionStatus::Unknown, Reason::UpstreamUnknown), "it said nothing");

    world
        .engine
        .say(
            "ksail-dev-docker-io",
            "time=\"2999-12-01T02:55:00.1Z\" level=error msg=\"response completed with error\" err.code=unknown \
             err.detail=\"Get \\\"https://r.docker.io/v2/\\\": dial tcp: lookup r.docker.io: no such host\"",
        )
        .unwrap();
    let after = reachable(world.apply().await);
    let message = "https://r.docker.io: by the log of its mirror at 2999-12-01T02:55:00Z: no such host; look at the \
                   name, and whether it is on the cluster's network";
    assert_eq!((after.status, after.reason), (ConditionStatus::False, Reason::UpstreamUnreachable));
    assert_eq!(after.message, message);

    world.recorder.0.lock().unwrap().clear();
    world.engine.clear_calls();
    let watch = world.watch();
    world.until("watch tells it", |world| !told(world).is_empty()).await;
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
    world.until("another mirror runs", |world| world.runs("ksail-dev-ghcr-io")).await;
    world.until("its log is read", |world| logs_read(world) == 2).await;
    world.save(&[("docker.io", 5001), ("ghcr.io", 5002), ("quay.io", 5003)]);
    world.until("one more runs", |world| world.runs("ksail-dev-quay-io")).await;
    world.until("its log is read", |world| logs_read(world) >= 3).await;
    assert_eq!(logs_read(&world), 3, "not those of the others again within half a minute");
    assert_eq!(told(&world), [(Reason::UpstreamUnreachable, message.to_owned())], "that is told once");
    world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_registry_whose_image_cannot_read_its_credentials_is_told_as_that_and_not_as_one_that_is_well() {
    let world = World::new();
    let credentials = "port: 5001, credentials: {username: me, password: \"${TOKEN:-hunter2}\"}}";
    let text = manifest_text(&[("docker.io", 5001)]).replace("port: 5001}", credentials);
    std::fs::write(world.path(), text).unwrap();
    world.engine.greets_with("level=warning msg=\"No HTTP secret\" version=3.1.1");
    world.engine.without_program("ksail-dev-docker-io", "sh");
    let Applied::Converged(status) = world.apply().await else { panic!("what is cached is served") };
    let reachable = status.mirrors[0].condition(ConditionType::UpstreamReachable).unwrap();
    assert_eq!((reachable.status, reachable.reason), (ConditionStatus::False, Reason::ImageWithoutShell));
    assert_eq!(
        reachable.message,
        "https://r.docker.io is asked without credentials: /bin/sh is not in the registry's image, and is needed to \
         read them; take an image that has it, as registry:3 does"
    );
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
