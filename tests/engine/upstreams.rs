//! What upstreams answer, as it is told of registries that run.

use std::time::{Duration, Instant};

use super::support::broken::{Broken, FAILS};
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

const TOLD_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn an_upstream_that_is_broken_is_told_within_seconds_of_the_start_of_watch_and_of_a_change_of_the_file() {
    let _turn = beside_others();
    let scenario = Scenario::new("upstreams");
    let registry = Upstream::start(&scenario.docker, "upstreams");
    let guarded = registry.guarded();
    let failing = Broken::being(FAILS, &registry);
    let mirror = |upstream: &str, port| Mirror::of("ghcr.io", upstream, port);
    let port = free_port();
    scenario.write(&[mirror(&failing.url(), port)]);

    let begun = Instant::now();
    let mut watch = scenario.watch();
    let told = watch.await_event("the upstream is broken", Duration::from_secs(20), |event| {
        event.is_condition("ghcr.io", "UpstreamReachable", "False")
    });
    assert_eq!(told.text("reason"), "UpstreamBroken", "{}", told.json);
    assert!(told.text("message").contains("503 Service Unavailable"), "{}", told.json);
    assert!(told.at - begun < TOLD_WITHIN, "{:?}", told.at - begun);
    watch.await_ready();
    let (status, reason, _) = scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamBroken"));

    for (upstream, status, reason) in
        [(guarded.url(), "False", "UpstreamUnauthorized"), (registry.url(), "True", "UpstreamAnswers")]
    {
        let (mark, changed) = (watch.mark(), Instant::now());
        scenario.write(&[mirror(upstream, port)]);
        let told = watch.await_event_since(mark, reason, Duration::from_secs(20), |event| {
            event.is_condition("ghcr.io", "UpstreamReachable", status)
        });
        assert_eq!(told.text("reason"), reason, "{}", told.json);
        assert!(told.at - changed < TOLD_WITHIN, "{:?}", told.at - changed);
    }
    watch.stop();
}

#[test]
fn apply_converges_and_warns_of_an_upstream_that_is_broken_and_says_nothing_of_one_that_is_not() {
    let _turn = beside_others();
    let scenario = Scenario::new("upstreams-apply");
    let registry = Upstream::start(&scenario.docker, "upstreams-apply");
    let failing = Broken::being(FAILS, &registry);
    let port = free_port();
    scenario.write(&[Mirror::of("ghcr.io", &failing.url(), port)]);
    let applied = scenario.ksail(&["apply"]);
    let line = "ghcr.io: upstream broken: ";
    assert!(applied.code == 0 && applied.stdout.contains(line), "{applied}");
    scenario.write(&[Mirror::of("ghcr.io", registry.url(), port)]);
    let applied = scenario.ksail(&["apply"]);
    assert!(applied.code == 0 && !applied.stdout.contains("ghcr.io: upstream"), "{applied}");
}
