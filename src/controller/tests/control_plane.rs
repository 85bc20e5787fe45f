//! Whether a cluster that ksail creates can be used: one without a control plane cannot, however many containers it has.

use super::played::*;
use super::*;
use crate::engine::Executed;
use crate::status::MirrorStatus;

const REFUSED: &str = "The connection to the server dev-control-plane:6443 was refused";

/// An API server that says it is ready once it is up; nothing else is known of it.
fn answers_once_it_is(kind: &Kind, is_up: &Arc<Mutex<bool>>) {
    let is_up = Arc::clone(is_up);
    kind.world.engine.on_exec(move |_, exec| {
        let is_asked = exec.command.iter().any(|word| word == "/readyz");
        let is_up = *is_up.lock().unwrap();
        let stderr = if is_up { String::new() } else { REFUSED.to_owned() };
        is_asked.then(|| Executed { exit_code: i64::from(!is_up), stdout: String::new(), stderr })
    });
}

/// A node of the cluster, with a control plane or without.
async fn starts(kind: &Kind, name: &str, role: &str, is_set_up: bool) -> String {
    let outsider = kind.world.engine.outsider();
    let id = outsider.create_container(&node(name, role)).await.unwrap();
    if is_set_up {
        sets_up(&outsider, &id).await;
    }
    outsider.start_container(&id).await.unwrap();
    id
}

/// What was told of the cluster, one after the other.
fn told(world: &World) -> Vec<(ConditionStatus, Reason)> {
    let events = world.recorder.0.lock().unwrap();
    let told = events.iter().filter_map(|event| match event {
        Event::Condition { condition, .. } if condition.kind == ConditionType::ClusterReady => {
            Some((condition.status, condition.reason))
        }
        _ => None,
    });
    told.collect()
}

fn failed(applied: Applied) -> Status {
    let Applied::Failed(status) = applied else { panic!("{applied:?}") };
    status
}

#[tokio::test(start_paused = true)]
async fn half_a_cluster_is_no_cluster_and_is_left_to_whoever_is_making_it() {
    let kind = Kind::that_works();
    let id = starts(&kind, NODE, "control-plane", false).await;
    let watch = kind.watch();
    let says_so = |world: &World| told(world) == [(ConditionStatus::False, Reason::ClusterIncomplete)];
    kind.world.until("it is told", says_so).await;
    // It is told once, and nobody creates or deletes it.
    sleep(Duration::from_secs(90)).await;
    assert!(says_so(&kind.world), "{:?}", told(&kind.world));
    assert_eq!((kind.said(MADE), kind.said(REMOVED)), (0, 0));

    let set_up = Instant::now();
    sets_up(&kind.world.engine.outsider(), &id).await;
    kind.world.until("it is whole", |world| told(world).len() == 2).await;
    assert!(set_up.elapsed() < Duration::from_secs(4), "{:?}", set_up.elapsed());
    assert_eq!(told(&kind.world)[1], (ConditionStatus::True, Reason::ClusterRunning));
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn apply_says_at_once_that_a_cluster_is_half_made_or_has_lost_its_control_plane() {
    for (name, role) in [(NODE, "control-plane"), ("dev-worker", "worker")] {
        let kind = Kind::that_works();
        starts(&kind, name, role, role == "worker").await;
        let began = Instant::now();
        let status = failed(kind.apply().await);
        let (ready, reason, message) = cluster_ready(&status);
        assert_eq!((ready, reason), (ConditionStatus::False, Reason::ClusterIncomplete), "{message}");
        assert!(message.contains("'ksail cluster delete'"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(status.mirrors.iter().all(MirrorStatus::is_ready), "the mirrors are none the worse for it");
        assert_eq!((kind.said(MADE), kind.said(REMOVED)), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn apply_waits_for_an_api_server_that_comes_up() {
    let kind = Kind::that_works();
    let is_up = Arc::default();
    answers_once_it_is(&kind, &is_up);
    tokio::spawn(async move {
        sleep(LONG_ENOUGH / 3).await;
        *is_up.lock().unwrap() = true;
    });
    let Applied::Converged(status) = kind.apply().await else { panic!("not converged") };
    assert_eq!(cluster_ready(&status).0, ConditionStatus::True);
    assert_eq!(kind.said(MADE), 1);
    let told = told(&kind.world);
    assert_eq!(told.iter().filter(|said| **said == (ConditionStatus::False, Reason::ApiUnreachable)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn apply_does_not_wait_for_an_api_server_that_has_been_away_for_long() {
    let kind = Kind::that_works();
    answers_once_it_is(&kind, &Arc::default());
    starts(&kind, NODE, "control-plane", true).await;
    sleep(Duration::from_secs(10 * 60)).await;
    let status = failed(kind.apply().await);
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ApiUnreachable));
    assert!(message.contains(NODE) && message.contains(REFUSED), "{message}");
}

/// Both nodes of a cluster that is ready, and a watch.
async fn whole() -> (Kind, [String; 2], JoinHandle<()>) {
    let kind = Kind::that_works();
    let first = starts(&kind, NODE, "control-plane", true).await;
    let second = starts(&kind, "dev-worker", "worker", false).await;
    let watch = kind.watch();
    kind.world.until("it is ready", |world| told(world) == [(ConditionStatus::True, Reason::ClusterRunning)]).await;
    kind.settles().await;
    kind.world.recorder.0.lock().unwrap().clear();
    (kind, [first, second], watch)
}

#[tokio::test(start_paused = true)]
async fn nodes_that_somebody_removes_are_not_said_to_be_there_to_be_started() {
    let (kind, nodes, watch) = whole().await;
    // As kind removes them: one after the other, each killed, and gone a little later.
    for id in nodes {
        kind.world.engine.kill(&id, 137).unwrap();
        sleep(Duration::from_millis(700)).await;
        kind.world.engine.outsider().remove_container(&id).await.unwrap();
    }
    kind.asks_for("Absent");
    sleep(Duration::from_secs(60)).await;
    let told = told(&kind.world);
    let expected = [(ConditionStatus::False, Reason::Progressing), (ConditionStatus::False, Reason::ClusterMissing)];
    assert!(expected.starts_with(&told) && !told.is_empty(), "{told:?}");
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_stopped_or_killed_and_stays_is_said_to_be_there_to_be_started() {
    let (kind, [_, worker], watch) = whole().await;
    kind.world.engine.kill(&worker, 137).unwrap();
    sleep(Duration::from_secs(5)).await;
    let expected = [(ConditionStatus::False, Reason::Progressing), (ConditionStatus::False, Reason::ClusterStopped)];
    assert_eq!(told(&kind.world), expected);
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_somebody_elses_is_not_asked_whether_it_can_be_used() {
    let kind = Kind::that_works();
    let desired = Desired { lifecycle: crate::manifest::Lifecycle::External, ..managed(&MIRRORS, "Present") };
    kind.asks(desired);
    starts(&kind, NODE, "control-plane", false).await;
    let Applied::Converged(status) = kind.apply().await else { panic!("not converged") };
    assert!(status.conditions.iter().all(|condition| condition.kind != ConditionType::ClusterReady));
}
