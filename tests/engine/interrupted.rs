//! Stopped or killed in the middle of its work, ksail leaves something that serves or that the next pass finishes.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::deadline::{eventually, holds};
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_one;

#[test]
fn sigterm_during_a_recreate_leaves_a_mirror_that_serves() {
    let _turn = beside_one();
    let scenario = Scenario::new("sigterm");
    let upstream = Upstream::start(&scenario.docker, "sigterm-up");
    let mut mirror = Mirror::of("docker.io", upstream.url(), free_port());
    scenario.write(std::slice::from_ref(&mirror));
    // Early, in the middle and late in the recreate: when these actions have been reported.
    for moment in ["CreateContainer", "StopContainer", "StartContainer"] {
        let mut watch = scenario.watch();
        let mark = watch.mark();
        let old = mirror.host_port();
        mirror.port = Some(free_port());
        scenario.write(std::slice::from_ref(&mirror));
        watch.await_event_since(mark, moment, Duration::from_secs(10), |event| {
            event.is_action() && event.text("action") == moment
        });
        assert_eq!(watch.stop(), Some(0), "after {moment}: {}", watch.stderr());
        // A registry needs a moment from its start to its first answer.
        eventually(&format!("one of the two serves after SIGTERM at {moment}"), Duration::from_secs(2), || {
            let serving = [old, mirror.host_port()].into_iter().filter(|port| http::serves(*port)).count();
            holds(serving == 1, format!("{serving}; {:#?}", watch.since(mark)))
        });
        let mirrors = std::slice::from_ref(&mirror);
        assert_eq!(scenario.containers(), scenario.expected(mirrors), "nothing temporary is left after {moment}");
        scenario.apply();
        assert_eq!(scenario.converged(mirrors), Ok(()));
    }
}

#[test]
fn sigkill_at_thirty_moments_of_an_apply_is_made_good_by_the_next() {
    const MOMENTS: u32 = 30;
    let _turn = beside_one();
    let scenario = Scenario::new("sigkill");
    scenario.create_network();
    let image = Image::containing(&format!("survives {}", sweep::prefix()));
    let upstream = Upstream::start(&scenario.docker, "sigkill-up");
    upstream.push(&image, "team/app", "1.0");
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let leaving = Mirror::push(free_port());
    // Two manifests that differ in everything an apply can have to do: recreate, create, remove.
    let manifests = [
        vec![
            Mirror::of("a.example", upstream.url(), ports[0]),
            Mirror::of("b.example", upstream.url(), ports[1]),
            leaving,
        ],
        vec![Mirror::of("a.example", upstream.url(), ports[2]), Mirror::of("b.example", upstream.url(), ports[3])],
    ];
    scenario.write(&manifests[0]);
    scenario.apply();
    image.fetch(ports[0], "team/app", "1.0").expect("through the mirror");
    scenario.await_cached(&manifests[0][0], &image, "team/app");
    scenario.write(&manifests[1]);
    let whole = scenario.apply().took;

    for moment in 0..MOMENTS {
        let mirrors = &manifests[moment as usize % 2];
        scenario.write(mirrors);
        let after = spread(whole, moment, MOMENTS);
        let mut apply =
            scenario.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ksail");
        sleep(after);
        let _ = apply.kill();
        let _ = apply.wait();

        let finished = scenario.apply();
        assert_eq!(scenario.converged(mirrors), Ok(()), "killed after {after:?}; then: {finished}");
        let diff = scenario.ksail(&["diff"]);
        assert_eq!(diff.code, 0, "killed after {after:?}: {diff}");
    }
    upstream.stop();
    image.fetch(ports[2], "team/app", "1.0").expect("what was cached has survived all of it");
}

/// A moment within `whole`: one in each of `parts` equal parts, somewhere in it.
fn spread(whole: Duration, part: u32, parts: u32) -> Duration {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let somewhere = clock.subsec_micros() % 1000;
    // Not in order, so that a slow first part does not always meet the same manifest.
    let part = part * 7 % parts;
    whole / parts * part + whole / parts * somewhere / 1000
}

#[test]
fn a_second_signal_ends_watch_at_once() {
    let _turn = beside_one();
    let scenario = Scenario::new("twice");
    let mirror = Mirror::push(free_port());
    // Stopping this one takes the whole grace period: it does not hear SIGTERM while it is stopped.
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    super::support::watch::signal(u32::try_from(scenario.running(&mirror).pid()).expect("a process id"), "STOP");
    let mark = watch.mark();
    let moved = mirror.with("listenAddress: 127.0.0.2");
    scenario.write(std::slice::from_ref(&moved));
    watch.await_event_since(mark, "the recreate begins", Duration::from_secs(10), |event| event.is("passStarted"));
    watch.signal("TERM");
    watch.signal("INT");
    let begun = Instant::now();
    watch.await_exit(Duration::from_secs(5));
    assert!(begun.elapsed() < Duration::from_secs(3), "at once, not after {:?}", begun.elapsed());
    scenario.apply();
}
