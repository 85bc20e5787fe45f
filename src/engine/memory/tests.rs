//! What the engine in memory has beyond the contract: the controls of a test.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::SignedDuration;
use tokio::time::{Instant, advance};

use super::*;
use crate::engine::EventKind;

const IMAGE: &str = "registry:3";

fn engine() -> Memory {
    let engine = Memory::new();
    engine.add_image(IMAGE, Image::default());
    engine
}

fn spec(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "always".to_owned(),
        log_options: BTreeMap::new(),
        extra_hosts: Vec::new(),
    }
}

fn broken() -> EngineError {
    EngineError::Refused { status: 500, message: "broken".to_owned() }
}

#[tokio::test]
async fn a_fault_strikes_as_often_as_told_and_has_no_effect() {
    let engine = engine();
    engine.fail(|call| call.name == "create_container", 2, broken());
    let before = engine.snapshot();
    assert_eq!(engine.create_container(&spec("a")).await, Err(broken()));
    assert_eq!(engine.create_container(&spec("b")).await, Err(broken()));
    assert_eq!(engine.snapshot(), before);
    engine.create_container(&spec("a")).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_has_its_effect() {
    let engine = engine();
    engine.fail_after(|call| call.kind == CallKind::Write, 1, broken());
    assert_eq!(engine.create_container(&spec("a")).await, Err(broken()));
    engine.inspect_container("a").await.unwrap();
}

#[tokio::test]
async fn calls_are_recorded_in_order_unless_an_outsider_makes_them() {
    let engine = engine();
    let id = engine.create_container(&spec("a")).await.unwrap();
    engine.outsider().remove_container(&id).await.unwrap();
    engine.list_volumes(&[]).await.unwrap();
    assert_eq!(engine.calls(), [Call::write("create_container", "a"), Call::read("list_volumes", "")]);
    engine.clear_calls();
    assert_eq!(engine.calls(), []);
}

#[tokio::test]
async fn a_fault_does_not_strike_an_outsider() {
    let engine = engine();
    engine.fail(|_| true, usize::MAX, broken());
    engine.outsider().create_container(&spec("a")).await.unwrap();
    engine.clear_faults();
    engine.inspect_container("a").await.unwrap();
}

#[tokio::test]
async fn while_the_engine_is_away_nothing_answers_and_streams_end() {
    let engine = engine();
    let mut events = engine.events().await.unwrap();
    let before = engine.snapshot();
    engine.go_away();
    assert!(engine.info().await.unwrap_err().is_unavailable());
    assert!(engine.create_container(&spec("a")).await.unwrap_err().is_unavailable());
    assert!(engine.events().await.is_err_and(|error| error.is_unavailable()));
    assert!(events.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(events.next().await.is_none());
    engine.come_back();
    assert_eq!(engine.snapshot(), before);
    engine.create_container(&spec("a")).await.unwrap();
}

#[tokio::test]
async fn a_call_dropped_before_its_answer_may_have_had_its_effect() {
    let engine = engine();
    let volumes = |engine: &Memory| engine.snapshot().volumes.len();
    for (polls, expected) in [(1, 0), (2, 1)] {
        let labels = BTreeMap::new();
        let mut call = Box::pin(engine.create_volume("data", &labels));
        for _ in 0..polls {
            assert!(futures_util::poll!(&mut call).is_pending());
        }
        drop(call);
        assert_eq!(volumes(&engine), expected, "after {polls} polls");
    }
}

#[tokio::test]
async fn a_pull_brings_the_image_or_fails_as_told() {
    let engine = Memory::new();
    let pull = async |reference: &str| engine.pull_image(reference, |_| {}).await.map_err(|error| error.to_string());
    engine.pullable("registry:3");
    engine.unpullable("registry:2", "toomanyrequests: rate limit");
    pull("docker.io/library/registry:3").await.unwrap();
    engine.inspect_image("registry:3").await.unwrap();
    assert_eq!(pull("registry:2").await.unwrap_err(), "toomanyrequests: rate limit");
    assert!(pull("private").await.unwrap_err().starts_with("pull access denied for private,"));
}

#[tokio::test]
async fn lists_come_newest_first_until_they_are_shuffled() {
    let engine = engine();
    for name in ["a", "b", "c", "d"] {
        engine.create_container(&spec(name)).await.unwrap();
    }
    let names = async || -> String {
        engine.list_containers(&[]).await.unwrap().into_iter().map(|container| container.name).collect()
    };
    assert_eq!(names().await, "dcba");
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        engine.shuffle(seed);
        orders.insert(names().await);
    }
    assert!(orders.len() > 5, "{orders:?}");
}

#[tokio::test]
async fn two_starts_never_look_alike() {
    let engine = engine();
    let now = Timestamp::from_second(1_000_000).unwrap();
    engine.set_time(now);
    let id = engine.create_container(&spec("a")).await.unwrap();
    engine.start_container(&id).await.unwrap();
    let first = engine.inspect_container(&id).await.unwrap().started_at;
    engine.restart_container(&id, 0).await.unwrap();
    let second = engine.inspect_container(&id).await.unwrap().started_at;
    assert!(Some(now) < first && first < second, "{first:?} {second:?}");
}

#[tokio::test(start_paused = true)]
async fn the_clock_follows_the_one_a_test_waits_by() {
    let engine = engine();
    let started_at = async |name: &str| {
        let id = engine.create_container(&spec(name)).await.unwrap();
        engine.start_container(&id).await.unwrap();
        engine.inspect_container(&id).await.unwrap().started_at.unwrap()
    };
    let first = started_at("a").await;
    assert_eq!(engine.now(), first, "no start is in the future");
    advance(Duration::from_secs(5)).await;
    assert_eq!(engine.now().duration_since(first), SignedDuration::from_secs(5));
    let second = started_at("b").await;
    assert_eq!(second.duration_since(first), SignedDuration::from_millis(5_001), "a start takes a millisecond");

    let set = Timestamp::from_second(1_000_000).unwrap();
    engine.set_time(set);
    assert_eq!(engine.now(), set);
    advance(Duration::from_millis(1_500)).await;
    engine.create_volume("data", &BTreeMap::new()).await.unwrap();
    let made = engine.inspect_volume("data").await.unwrap().created_at;
    assert_eq!(made, Some(Timestamp::from_second(1_000_001).unwrap()), "in whole seconds");
    engine.create_container(&spec("c")).await.unwrap();
    assert_eq!(engine.inspect_container("c").await.unwrap().created_at, Some(engine.now()));
}

#[test]
fn the_clock_goes_without_a_runtime_too() {
    let engine = engine();
    let before = engine.now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(engine.now() > before);
}

#[tokio::test]
async fn what_crashed_comes_back_when_it_no_longer_crashes() {
    let engine = engine();
    engine.crash_on_start("a", Some(2));
    let id = engine.create_container(&spec("a")).await.unwrap();
    engine.start_container(&id).await.unwrap();
    let crashed = engine.inspect_container(&id).await.unwrap();
    assert_eq!((crashed.state, crashed.exit_code), (ContainerState::Restarting, Some(2)));
    engine.crash_on_start("a", None);
    assert_eq!(engine.inspect_container(&id).await.unwrap().state, ContainerState::Running);
}

#[tokio::test]
async fn a_dead_container_can_only_be_removed() {
    let engine = engine();
    let id = engine.create_container(&spec("a")).await.unwrap();
    engine.set_state(&id, ContainerState::Dead).unwrap();
    assert!(matches!(engine.start_container(&id).await, Err(EngineError::Conflict { .. })));
    engine.remove_container(&id).await.unwrap();
}

/// A running container named `a`.
async fn running(engine: &Memory) -> String {
    let id = engine.create_container(&spec("a")).await.unwrap();
    engine.start_container(&id).await.unwrap();
    id
}

#[tokio::test]
async fn a_scripted_program_goes_before_those_the_engine_has() {
    let engine = engine();
    let id = running(&engine).await;
    engine.on_exec(|container, exec| {
        let stdout = format!("{container}: {}", exec.command.join(" "));
        (exec.command[0] != "rmdir").then_some(Executed { exit_code: 7, stdout, stderr: String::new() })
    });
    let executed = engine.exec(&id, &Exec::changing(["rm", "/file"])).await.unwrap();
    assert_eq!((executed.exit_code, executed.stdout.as_str()), (7, "a: rm /file"));
    assert_eq!(engine.exec(&id, &Exec::changing(["rmdir", "/file"])).await.unwrap().exit_code, 1);
}

#[tokio::test]
async fn a_program_taken_away_is_missing_in_that_container_only() {
    let engine = engine();
    let id = running(&engine).await;
    engine.without_program("a", "rm");
    let run = async |id: &str, command: &[&str]| {
        engine.exec(id, &Exec::changing(command.iter().copied())).await.unwrap().is_missing_program()
    };
    assert!(run(&id, &["rm", "-f", "/file"]).await);
    assert!(run(&id, &["/bin/rm", "-f", "/file"]).await);
    assert!(!run(&id, &["/bin/busybox", "rm", "-f", "/file"]).await);
    let other = engine.create_container(&spec("b")).await.unwrap();
    engine.start_container(&other).await.unwrap();
    assert!(!run(&other, &["rm", "-f", "/file"]).await);
}

#[tokio::test]
async fn a_program_is_a_write_when_it_changes_something() {
    let engine = engine();
    let id = running(&engine).await;
    engine.clear_calls();
    engine.exec(&id, &Exec::reading(["sleep", "0"])).await.unwrap();
    engine.exec(&id, &Exec::changing(["rm", "-f", "/file"])).await.unwrap();
    engine.stat_path(&id, "/etc").await.unwrap();
    let calls: Vec<_> = engine.calls().into_iter().map(|call| (call.name, call.kind, call.object)).collect();
    let call = |name, kind| (name, kind, id.clone());
    let (read, write) = (CallKind::Read, CallKind::Write);
    assert_eq!(calls, [call("exec", read), call("exec", write), call("stat_path", read)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_told_and_then_has_its_effect() {
    let engine = engine();
    engine.delay(|call| call.name == "create_container", 1, Duration::from_secs(3));
    let began = Instant::now();
    let created = engine.clone();
    let created = tokio::spawn(async move { created.create_container(&spec("a")).await });
    tokio::time::sleep(Duration::from_millis(2_999)).await;
    assert_eq!(engine.calls(), [Call::write("create_container", "a")], "it is being made");
    assert_eq!(engine.snapshot().containers.len(), 0);
    created.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    engine.inspect_container("a").await.unwrap();
    engine.create_container(&spec("b")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3), "only once");
}

#[tokio::test(start_paused = true)]
async fn a_call_can_take_long_and_then_fail() {
    let engine = engine();
    engine.fail(|_| true, 1, broken());
    engine.delay(|_| true, 2, Duration::from_secs(3));
    let began = Instant::now();
    engine.outsider().inspect_image(IMAGE).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "an outsider is not held up");
    assert_eq!(engine.create_container(&spec("a")).await, Err(broken()));
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    engine.create_container(&spec("a")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_away_while_a_call_takes_long_does_not_answer_it() {
    let engine = engine();
    engine.delay(|_| true, 1, Duration::from_secs(3));
    let (listed, ()) = tokio::join!(engine.list_networks(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.go_away();
    });
    assert!(listed.unwrap_err().is_unavailable());
}

/// An event of some container.
fn event(action: &str) -> Event {
    Event { kind: EventKind::Container, action: action.to_owned(), id: "c1".to_owned(), attributes: BTreeMap::new() }
}

/// The actions told within a minute, each with the second in which it was heard.
async fn heard(events: &mut BoxStream<'static, Result<Event>>) -> Vec<(String, u64)> {
    let mut heard = Vec::new();
    let began = Instant::now();
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(60), events.next()).await {
        heard.push((event.unwrap().unwrap().action, began.elapsed().as_secs()));
    }
    heard
}

/// What [`heard`] answers for actions and seconds.
fn at<const N: usize>(told: [(&str, u64); N]) -> Vec<(String, u64)> {
    told.map(|(action, second)| (action.to_owned(), second)).to_vec()
}

#[tokio::test(start_paused = true)]
async fn an_event_is_lost_or_told_twice_as_often_as_told() {
    let engine = engine();
    let (mut first, mut second) = (engine.events().await.unwrap(), engine.outsider().events().await.unwrap());
    engine.lose_events(|event| event.action == "die", 1);
    engine.double_events(|event| event.action != "start", 2);
    for action in ["die", "start", "die", "stop", "stop"] {
        engine.tell(event(action));
    }
    let expected = at([("start", 0), ("die", 0), ("die", 0), ("stop", 0), ("stop", 0), ("stop", 0)]);
    assert_eq!(heard(&mut first).await, expected);
    assert_eq!(heard(&mut second).await, expected, "everybody is told the same");
}

#[tokio::test(start_paused = true)]
async fn events_that_are_late_keep_their_order_and_are_overtaken_by_others() {
    let engine = engine();
    let mut events = engine.events().await.unwrap();
    engine.delay_events(|event| event.action == "die", 1, Duration::from_secs(9));
    engine.delay_events(|event| event.action != "start", 3, Duration::from_secs(5));
    engine.double_events(|event| event.action == "stop", 1);
    for action in ["die", "kill", "stop", "start", "pause", "unpause"] {
        engine.tell(event(action));
    }
    let told_later = engine.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        told_later.tell(event("destroy"));
    });
    let expected =
        [("start", 0), ("unpause", 0), ("destroy", 2), ("kill", 5), ("stop", 5), ("stop", 5), ("pause", 5), ("die", 9)];
    assert_eq!(heard(&mut events).await, at(expected));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_tells_first_what_was_told_in_time() {
    let engine = engine();
    let mut events = engine.events().await.unwrap();
    engine.delay_events(|event| event.action == "die", 1, Duration::from_secs(1));
    engine.tell(event("die"));
    engine.tell(event("start"));
    engine.end_events();
    advance(Duration::from_secs(2)).await;
    assert_eq!(events.next().await, Some(Ok(event("start"))));
    assert_eq!(events.next().await, None, "what was late is lost");
    assert_eq!(events.next().await, None);

    engine.list_volumes(&[]).await.unwrap();
    let mut events = engine.events().await.unwrap();
    engine.tell(event("stop"));
    assert_eq!(events.next().await, Some(Ok(event("stop"))), "a new one goes on");
}

#[tokio::test]
async fn whoever_wants_to_listen_is_refused_as_long_as_told() {
    let engine = engine();
    let mut events = engine.events().await.unwrap();
    engine.refuse_events(Some(broken()));
    assert_eq!(events.next().await, None);
    for _ in 0..2 {
        assert_eq!(engine.events().await.err(), Some(broken()));
    }
    assert!(engine.outsider().events().await.is_ok(), "an outsider is not");
    engine.list_volumes(&[]).await.unwrap();
    engine.refuse_events(None);
    let mut events = engine.events().await.unwrap();
    engine.create_container(&spec("a")).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().action, "create");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_of_containers_of_strangers() {
    let engine = engine();
    let before = engine.snapshot();
    let mut events = engine.events().await.unwrap();
    engine.flood(1_000);
    assert_eq!(engine.snapshot(), before);
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.kind, first.action.as_str()), (EventKind::Container, "exec_die"));
    assert_eq!((first.id.len(), &first.id[..1], first.attributes["name"].as_str()), (64, "f", "stranger-1"));
    assert_eq!(heard(&mut events).await.len(), 999);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_ends_when_the_faults_are_cleared() {
    let engine = engine();
    engine.fail(|_| true, usize::MAX, broken());
    engine.delay(|_| true, usize::MAX, Duration::from_secs(3));
    engine.lose_events(|event| event.action == "die", usize::MAX);
    engine.double_events(|_| true, usize::MAX);
    engine.delay_events(|_| true, usize::MAX, Duration::from_secs(3));
    engine.refuse_events(Some(broken()));
    engine.clear_faults();
    let began = Instant::now();
    let mut events = engine.events().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    engine.tell(event("die"));
    engine.tell(event("start"));
    assert_eq!(heard(&mut events).await, at([("die", 0), ("start", 0)]));
}
