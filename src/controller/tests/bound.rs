//! When it ends, in virtual time: `apply` within its bound, and a `watch` although a creation cannot be taken back.

use super::played::Act::{Fails, FailsWithout, MakesNode, NeverEnds, RemovesNode, Says, WaitsFor};
use super::played::*;
use super::*;
use crate::event::{ActionReport, ActionResult};
use crate::outcome::GivenUp;

/// What `apply` says of a bound that was not enough, and how much of it has passed.
async fn timed_out(kind: &Kind, bound: Duration) -> (String, Duration) {
    let (began, desired) = (Instant::now(), Desired::clone(&kind.asked.borrow().desired));
    let applied = kind.controller().apply(desired, bound, &kind.world.stop).await;
    let Applied::TimedOut { waited_for, .. } = applied else { panic!("{applied:?}") };
    (waited_for.join("\n"), began.elapsed())
}

const BOUND: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn what_is_half_done_when_time_is_almost_up_is_undone_within_the_bound() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
    let (waited_for, took) = timed_out(&kind, BOUND).await;
    assert!((BOUND.saturating_sub(kept_for_undoing(BOUND))..=BOUND).contains(&took), "{took:?}");
    assert_eq!((kind.said(MADE), kind.said(REMOVED), kind.has_node()), (1, 1, false));
    assert!(waited_for.contains("under way") && !waited_for.contains("half-way"), "{waited_for}");
    assert!(!kind.is_told_to_be_left_behind());
    assert_eq!(given_up(&kind), [GivenUp::TimeIsUp]);
}

/// Why creations were given up.
fn given_up(kind: &Kind) -> Vec<GivenUp> {
    let events = kind.world.recorder.0.lock().unwrap();
    let why = |event: &Event| match event {
        Event::Action(ActionReport { action: "CreateCluster", result: ActionResult::Cancelled(why), .. }) => Some(*why),
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

#[tokio::test(start_paused = true)]
async fn who_tells_a_watch_to_stop_hears_at_once_what_it_finishes_and_then_why_it_was_given_up() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
    let watch = kind.watch();
    kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
    kind.world.stop.cancel();
    let stopped = Instant::now();
    let is_told = |event: &Event| matches!(event, Event::Stopping { under_way } if under_way == &[Subject::Cluster("dev".to_owned())]);
    kind.world.until("what is under way is told", |world| world.recorder.has(is_told)).await;
    assert!(stopped.elapsed() < Duration::from_millis(100), "{:?}", stopped.elapsed());
    watch.await.unwrap();
    assert_eq!(given_up(&kind), [GivenUp::Stopped]);
}

#[tokio::test(start_paused = true)]
async fn an_apply_whose_engine_goes_away_blames_no_signal() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
    let goes = async {
        kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
        kind.world.engine.go_away();
    };
    let (applied, ()) = tokio::join!(kind.apply(), goes);
    assert!(matches!(applied, Applied::EngineAway(_)), "{applied:?}");
    assert_eq!(given_up(&kind), [GivenUp::CannotGoOn]);
    assert!(!kind.world.recorder.has(|event| matches!(event, Event::Stopping { .. })), "nobody has told it to");
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_the_file_does_not_ask_for_any_more_is_not_said_to_be_given_up_for_a_signal() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
    let watch = kind.watch();
    kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
    kind.asks_for("Absent");
    kind.world.until("it is given up", |_| !given_up(&kind).is_empty()).await;
    assert_eq!(given_up(&kind), [GivenUp::Outdated]);
    kind.world.stop.cancel();
    watch.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_although_what_is_half_done_cannot_be_undone_and_what_is_left_is_told() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[NeverEnds]);
    let (waited_for, took) = timed_out(&kind, BOUND).await;
    assert!(took <= BOUND, "{took:?}");
    assert!(kind.has_node() && kind.is_told_to_be_left_behind());
    assert!(waited_for.contains("half-way"), "{waited_for}");
}

#[tokio::test(start_paused = true)]
async fn half_a_cluster_does_not_pass_for_a_whole_one_because_time_is_up() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[NeverEnds]);
    let desired = Desired::clone(&kind.asked.borrow().desired);
    // So short that not even what comes after the program's end is waited for.
    let applied = kind.controller().apply(desired, Duration::from_secs(5), &kind.world.stop).await;
    assert!(kind.has_node() && kind.is_told_to_be_left_behind());
    let Applied::TimedOut { status: Some(status), waited_for } = applied else { panic!("{applied:?}") };
    let of_cluster: Vec<_> = waited_for.iter().filter(|line| line.starts_with("cluster dev: ")).collect();
    assert!(matches!(&of_cluster[..], [once] if once.contains("half-way")), "{waited_for:?}");
    assert_eq!(cluster_ready(&status).0, ConditionStatus::False, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_although_a_cluster_is_not_deleted_in_time_and_that_is_told() {
    let kind = Kind::new(&[MakesNode], &[NeverEnds]);
    kind.apply().await;
    kind.asks_for("Absent");
    let (waited_for, took) = timed_out(&kind, BOUND).await;
    assert!(took <= BOUND, "{took:?}");
    assert!(waited_for.contains("cluster dev") && waited_for.contains("half-way"), "{waited_for}");
    assert!(!kind.is_told_to_be_left_behind(), "it is not its creation that has left it");
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_although_a_creation_that_failed_cannot_be_taken_back_and_that_is_told() {
    let kind = Kind::new(&[MakesNode, Fails("no space left")], &[NeverEnds]);
    let (waited_for, took) = timed_out(&kind, BOUND).await;
    assert!(took <= BOUND, "{took:?}");
    assert!(waited_for.contains("half-way") && kind.is_told_to_be_left_behind(), "{waited_for}");
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_although_the_engine_answers_nothing_any_more() {
    let kind = Kind::new(&[MakesNode, Says("hang"), NeverEnds], &[RemovesNode]);
    let engine = kind.world.engine.clone();
    let hangs = async {
        kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
        engine.delay(|_| true, usize::MAX, Duration::from_secs(3600));
    };
    let ((_, took), ()) = tokio::join!(timed_out(&kind, BOUND), hangs);
    assert!(took <= BOUND, "{took:?}");
    assert!(kind.is_told_to_be_left_behind());
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_although_the_engine_does_not_say_how_everything_is_in_the_end() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[Says("deleting"), NeverEnds]);
    let engine = kind.world.engine.clone();
    let hangs = async {
        // That comes later than a test usually waits.
        while kind.said("deleting") == 0 {
            sleep(A_WHILE).await;
        }
        engine.delay(|call| call.name.starts_with("list_"), usize::MAX, Duration::from_secs(3600));
    };
    let ((_, took), ()) = tokio::join!(timed_out(&kind, BOUND), hangs);
    assert!(took <= BOUND, "{took:?}");
    assert!(kind.is_told_to_be_left_behind());
}

#[tokio::test(start_paused = true)]
async fn apply_ends_although_what_a_creation_has_left_cannot_be_deleted_since_the_program_has_gone() {
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("kind");
    std::fs::write(&program, "").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut kind = Kind::new(&[MakesNode, WaitsFor("gone"), Fails("no space left")], &[RemovesNode]);
    kind.world.provisioner.path = Some(programs.path().into());
    let goes = async {
        kind.world.until("the node is there", |_| kind.has_node()).await;
        std::fs::remove_file(&program).unwrap();
        kind.says("gone");
    };
    let began = Instant::now();
    let (applied, ()) = tokio::join!(kind.apply(), goes);
    let Applied::Failed(status) = applied else { panic!("{applied:?}") };
    assert!(began.elapsed() < LONG_ENOUGH, "{:?}", began.elapsed());
    assert!(cluster_ready(&status).2.contains("no space left"), "{status:?}");
    assert!(kind.has_node() && kind.is_told_to_be_left_behind());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_although_the_engine_does_not_say_what_a_creation_has_left() {
    let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
    let watch = kind.watch();
    kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
    kind.world.engine.delay(|call| call.name.starts_with("list_"), usize::MAX, Duration::from_secs(3600));
    kind.world.engine.delay(|call| call.name.starts_with("inspect_"), usize::MAX, Duration::from_secs(3600));
    kind.world.stop.cancel();
    let ended = tokio::time::timeout(LONG_ENOUGH, watch).await;
    assert!(ended.is_ok(), "it ends");
    assert!(kind.is_told_to_be_left_behind());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_although_another_ksail_works_on_the_cluster_that_its_creation_has_left() {
    let kind = Kind::new(&[MakesNode, FailsWithout("healed", "no space left")], &[Fails("in use")]);
    let watch = kind.watch();
    kind.world.until("its deletion waits", |_| kind.said("in use") == 2).await;
    let lock = kind.controller().lock;
    let other = tokio::time::timeout(LONG_ENOUGH, lock.acquire()).await.unwrap().unwrap();
    kind.world.stop.cancel();
    let ended = tokio::time::timeout(LONG_ENOUGH, watch).await;
    assert!(ended.is_ok(), "it ends");
    assert!(kind.has_node() && kind.is_told_to_be_left_behind());
    drop(other);
}
