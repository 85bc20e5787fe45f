//! What is cached is served at once while nobody is at the upstream, and what is new comes when somebody is again.

use std::time::Duration;

use super::support::deadline::{eventually, holds};
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Finished, Scenario, free_port};
use super::support::watch::Watch;
use super::turns::beside_one;

const REPOSITORY: &str = "team/app";
/// A loss is noticed within this; of an upstream that says nothing only its silence tells.
const NOTICED: Duration = Duration::from_secs(20);
const SILENCE_NOTICED: Duration = Duration::from_secs(30);
/// And a return.
const BACK: Duration = Duration::from_secs(30);

/// A mirror that has cached an image of its upstream.
struct Cached {
    scenario: Scenario,
    upstream: Upstream,
    mirror: Mirror,
    image: Image,
}

impl Cached {
    fn new(name: &str) -> Self {
        let scenario = Scenario::new(name);
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1.0");
        let mirror = Mirror::of("docker.io", upstream.url(), free_port());
        scenario.write(std::slice::from_ref(&mirror));
        Self { scenario, upstream, mirror, image }
    }

    /// Fetches the image through the mirror, and waits until it is stored there.
    fn fill(&self) {
        self.image.fetch(self.mirror.host_port(), REPOSITORY, "1.0").expect("through the mirror");
        self.scenario.await_cached(&self.mirror, &self.image, REPOSITORY);
    }

    fn fetch(&self) -> Result<(), String> {
        self.image.fetch(self.mirror.host_port(), REPOSITORY, "1.0")
    }

    fn is_fetched_at_once(&self) {
        assert_eq!(self.image.fetched_at_once(self.mirror.host_port(), REPOSITORY, "1.0"), Ok(()));
    }

    fn is_served_from_cache(&self) {
        let status = self.scenario.status();
        let (ready, reason, message) = status.of_mirror("docker.io", "Ready");
        assert_eq!((ready.as_str(), reason.as_str()), ("True", "ServingFromCache"), "{message}");
        let since = status.mirror("docker.io")["servedFromCacheSince"].as_str().map(str::to_owned);
        assert!(since.is_some(), "{}", status.json);
        let pushed = http::request("POST", self.mirror.host_port(), "/v2/team/other/blobs/uploads/", &[], &[]);
        assert_eq!(pushed.expect("an answer").status, 405, "nobody can push to a mirror");
        assert_eq!(self.scenario.containers(), self.scenario.expected(std::slice::from_ref(&self.mirror)));
    }

    /// An image that only the upstream has comes through the mirror.
    fn new_images_come(&self, tag: &str) {
        let new = Image::containing(tag);
        self.upstream.push(&new, REPOSITORY, tag);
        eventually("a new image comes", BACK, || new.fetch(self.mirror.host_port(), REPOSITORY, tag));
    }
}

fn await_reason(watch: &mut Watch, mark: usize, reason: &str, limit: Duration) {
    watch.await_event_since(mark, reason, limit, |event| {
        event.is("condition") && event.text("type") == "Ready" && event.text("reason") == reason
    });
}

#[test]
fn while_watch_runs_a_silent_upstream_holds_no_pull_up_and_new_images_come_when_it_is_back() {
    let _turn = beside_one();
    let cached = Cached::new("cache-silent");
    let mut watch = cached.scenario.watch();
    cached.fill();
    let before = cached.scenario.running(&cached.mirror).identity();

    let mark = watch.mark();
    cached.upstream.fall_silent();
    await_reason(&mut watch, mark, "ServingFromCache", SILENCE_NOTICED);
    cached.is_fetched_at_once();
    cached.is_served_from_cache();

    cached.upstream.speak();
    cached.new_images_come("2.0");
    cached.fetch().expect("what was cached is there still");
    assert_ne!(cached.scenario.running(&cached.mirror).identity(), before, "it was replaced, twice");
    assert_eq!(cached.scenario.converged(std::slice::from_ref(&cached.mirror)), Ok(()));
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn while_watch_runs_an_upstream_that_refuses_is_lost_within_twenty_seconds() {
    let _turn = beside_one();
    let cached = Cached::new("cache-refused");
    let mut watch = cached.scenario.watch();
    cached.fill();
    let mark = watch.mark();
    cached.upstream.stop();
    await_reason(&mut watch, mark, "ServingFromCache", NOTICED);
    cached.is_fetched_at_once();
    cached.is_served_from_cache();
    cached.upstream.start_again();
    cached.new_images_come("2.0");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn apply_serves_from_the_cache_what_cannot_run_otherwise_and_brings_it_back() {
    let _turn = beside_one();
    let cached = Cached::new("cache-apply");
    let (scenario, mirror) = (&cached.scenario, &cached.mirror);
    scenario.apply();
    cached.fill();
    cached.upstream.stop();
    // As after a restart of the engine.
    scenario.docker.run(&["restart", "-t", "0", &scenario.container_name(mirror)]);
    eventually("it cannot run", Duration::from_secs(20), || {
        let state = scenario.running(mirror).state();
        holds(state == "restarting", state)
    });

    let applied = scenario.apply();
    assert!(applied.stdout.contains("read-only"), "{applied}");
    cached.is_fetched_at_once();
    cached.is_served_from_cache();
    let untouched = scenario.running(mirror).identity();
    scenario.apply();
    assert_eq!(scenario.running(mirror).identity(), untouched, "nothing to do as long as the upstream is away");
    let diff = scenario.ksail(&["diff"]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, "Nothing to do.\n"), "{diff}");

    cached.upstream.start_again();
    scenario.apply();
    cached.new_images_come("2.0");
}

#[test]
fn apply_makes_a_mirror_that_serves_nothing_yet_rather_than_none_while_its_upstream_is_away() {
    let _turn = beside_one();
    let cached = Cached::new("cache-nothing");
    cached.upstream.stop();
    let applied = cached.scenario.apply();
    says_why(&applied);
    cached.is_served_from_cache();
    cached.upstream.start_again();
    cached.scenario.apply();
    cached.fill();
}

/// The registry's own words, and no order to look for them.
fn says_why(applied: &Finished) {
    let words = applied.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("exits at once (exit code 2): its upstream does not answer it: dial tcp"), "{applied}");
    assert!(!words.contains("docker logs"), "{applied}");
}
