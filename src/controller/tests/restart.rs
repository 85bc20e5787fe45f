//! Restarts that somebody asks for.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restart_that_is_asked_for_is_one_whatever_the_container_was_doing() {
    let kinds = ["runs", "stopped", "paused"];
    for kind in kinds {
        let world = World::new();
        world.save(&[("docker.io", 5001), ("ghcr.io", 5002)]);
        world.apply().await;
        let before = world.container("ksail-dev-docker-io").unwrap();
        let outsider = world.engine.outsider();
        match kind {
            "stopped" => outsider.stop_container(&before.id, 0).await.unwrap(),
            "paused" => outsider.pause(&before.id).unwrap(),
            _ => {}
        }
        world.engine.clear_calls();
        let restarted = world.restart("docker.io").await;
        assert!(matches!(restarted, Restarted::Done), "{kind}: {restarted:?}");
        let after = world.container("ksail-dev-docker-io").unwrap();
        assert_eq!((after.id, after.state), (before.id, ContainerState::Running), "{kind}");
        let calls = world.engine.calls();
        assert_eq!(calls.iter().filter(|call| call.name == "restart_container").count(), 1, "{kind}: {calls:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_restarted_and_another_ksail_is_waited_for() {
    let world = World::new();
    world.save(&[("docker.io", 5001)]);
    assert!(matches!(world.restart("docker.io").await, Restarted::NotThere));
    world.apply().await;
    let held = world.controller().lock.try_acquire().unwrap().unwrap();
    let restart = world.restart("docker.io");
    tokio::pin!(restart);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(5), &mut restart).await;
    assert!(waited.is_err(), "somebody else is at work: {waited:?}");
    drop(held);
    assert!(matches!(restart.await, Restarted::Done));
}
