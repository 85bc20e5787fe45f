//! Stopped or killed in the middle of its work, ksail leaves something that serves or that the next pass finishes.

use std::time::{Duration, Instant};

use super::support::cut_off::{CutOff, apply_cut_off_after};
use super::support::deadline::{eventually, holds};
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

#[test]
fn sigterm_during_a_recreate_leaves_a_mirror_that_serves() {
    let _turn = beside_others();
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
fn sigkill_in_the_middle_of_an_apply_is_made_good_by_the_next() {
    let _turn = beside_others();
    let killed = Killed::new("sigkill");
    for (turn, changes) in [1, 7].into_iter().enumerate() {
        assert!(killed.after(changes, turn), "it makes more changes than {changes}");
    }
    killed.has_its_cache();
}

#[test]
#[ignore = "long: tests/run --long"]
fn sigkill_after_any_change_of_an_apply_is_made_good_by_the_next() {
    /// More than an apply makes.
    const MOST_CHANGES: usize = 60;
    let _turn = beside_others();
    let killed = Killed::new("sigkills");
    let whole = (0..MOST_CHANGES).find(|changes| !killed.after(*changes, *changes));
    assert!(whole.is_some_and(|changes| changes > 8), "it ends, and not at once: {whole:?}");
    killed.has_its_cache();
}

/// Two manifests that differ in everything an apply can have to do: recreate, create, remove.
struct Killed {
    scenario: Scenario,
    upstream: Upstream,
    image: Image,
    manifests: [Vec<Mirror>; 2],
}

impl Killed {
    /// Has converged to the second.
    fn new(name: &str) -> Self {
        let scenario = Scenario::new(name);
        scenario.create_network();
        let image = Image::containing(&format!("survives {}", sweep::prefix()));
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        upstream.push(&image, "team/app", "1.0");
        let mirrors = || ["a.example", "b.example"].map(|host| Mirror::of(host, upstream.url(), free_port())).to_vec();
        let mut manifests = [mirrors(), mirrors()];
        manifests[0].push(Mirror::push(free_port()));
        let killed = Self { scenario, upstream, image, manifests };
        killed.settle(0);
        let mirror = &killed.manifests[0][0];
        killed.image.fetch(mirror.host_port(), "team/app", "1.0").expect("through the mirror");
        killed.scenario.await_cached(mirror, &killed.image, "team/app");
        killed.settle(1);
        killed
    }

    /// Converges to one of the two.
    fn settle(&self, turn: usize) {
        let mirrors = &self.manifests[turn % 2];
        self.scenario.write(mirrors);
        self.scenario.apply();
    }

    /// Kills an apply of one of the two, and has the next finish it; `false` when it was over by then.
    fn after(&self, changes: usize, turn: usize) -> bool {
        let mirrors = &self.manifests[turn % 2];
        self.scenario.write(mirrors);
        let CutOff { is_cut_off, asked } = apply_cut_off_after(&self.scenario, changes);
        let finished = self.scenario.apply();
        assert_eq!(self.scenario.converged(mirrors), Ok(()), "killed after {changes} of {asked:#?}; then: {finished}");
        let diff = self.scenario.ksail(&["diff"]);
        assert_eq!(diff.code, 0, "killed after {changes} of {asked:#?}: {diff}");
        is_cut_off
    }

    /// What was cached has survived all of it.
    fn has_its_cache(&self) {
        self.settle(0);
        self.upstream.stop();
        self.image.fetch(self.manifests[0][0].host_port(), "team/app", "1.0").expect("it is cached");
    }
}

#[test]
fn a_second_signal_ends_watch_at_once() {
    let _turn = beside_others();
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
