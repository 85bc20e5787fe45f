//! The engine goes away and comes back while `watch` runs.

use std::time::{Duration, Instant};

use super::support::deadline::{eventually, holds};
use super::support::manifest::Mirror;
use super::support::private_engine::PrivateEngine;
use super::support::recorder::Recorder;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::Watch;
use super::turns::beside_others;

const NOTICED: Duration = Duration::from_secs(20);
const REPAIRED: Duration = Duration::from_secs(3);

#[test]
fn an_engine_stopped_and_started_again_is_waited_for_and_repaired() {
    let _turn = beside_others();
    let mut engine = PrivateEngine::start(&["registry:3"]);
    let mut scenario = Scenario::on(engine.docker(), "engine");
    scenario.within = engine.within();
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    let mut watch = scenario.watch();
    assert_eq!(scenario.converged(&mirrors), Ok(()));

    // The manifest changes while nobody is there to follow it.
    let mark = watch.mark();
    engine.down();
    watch.await_event_since(mark, "watch says that the engine is gone", NOTICED, |event| event.is("engineLost"));
    let mirrors = [mirrors[0].clone(), mirrors[1].clone(), Mirror::push(free_port())];
    scenario.write(&mirrors);
    assert!(watch.is_running(), "watch survives: {}", watch.stderr());

    let mark = watch.mark();
    engine.up();
    watch.await_event_since(mark, "watch says that the engine is back", NOTICED, |event| event.is("engineFound"));
    eventually("it resyncs", NOTICED, || scenario.converged(&mirrors));

    // And listens again.
    scenario.docker.run(&["rm", "-f", &scenario.container_name(&mirrors[0])]);
    let broken = Instant::now();
    eventually("it repairs", NOTICED, || scenario.converged(&mirrors));
    let took = broken.elapsed();
    assert!(took <= REPAIRED, "repaired after {took:?}");
    assert_eq!(watch.stop(), Some(0));
}

#[test]
fn what_happens_while_the_engine_cannot_be_reached_is_found_afterwards() {
    let _turn = beside_others();
    let scenario = Scenario::new("unreached");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    let recorder = Recorder::start();
    let mut command = scenario.command(&["watch", "-o", "json"]);
    command.env("DOCKER_HOST", recorder.address());
    let mut watch = Watch::start(command);
    watch.await_ready();

    let mark = watch.mark();
    recorder.shut();
    watch.await_event_since(mark, "watch says that the engine is gone", NOTICED, |event| event.is("engineLost"));
    // No event of this reaches it.
    let removed = scenario.container_name(&mirrors[0]);
    scenario.docker.run(&["rm", "-f", &removed]);
    let untouched = scenario.running(&mirrors[1]).identity();
    assert!(watch.is_running());

    let mark = watch.mark();
    recorder.open();
    watch.await_event_since(mark, "watch says that the engine is back", NOTICED, |event| event.is("engineFound"));
    eventually("the missing one is back", NOTICED, || scenario.converged(&mirrors));
    assert_eq!(scenario.running(&mirrors[1]).identity(), untouched);
    assert_eq!(watch.stop(), Some(0));
}

#[test]
fn watch_waits_for_an_engine_that_is_not_there_yet() {
    let _turn = beside_others();
    let scenario = Scenario::new("not-yet");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let recorder = Recorder::start();
    recorder.shut();
    let mut command = scenario.command(&["watch", "-o", "json"]);
    command.env("DOCKER_HOST", recorder.address());
    let mut watch = Watch::start(command);
    watch.await_event("watch says that there is no engine", NOTICED, |event| event.is("engineLost"));
    assert!(watch.is_running());
    recorder.open();
    let serves = || holds(scenario.serves(&mirror), "no answer");
    eventually("it converges once the engine is there", NOTICED, serves);
    assert_eq!(watch.stop(), Some(0));
}
