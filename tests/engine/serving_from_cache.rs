//! What is cached is served at once while nobody is at the upstream, and what is new comes when somebody is again.

use std::time::{Duration, Instant};

use super::support::deadline::eventually;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::Watch;
use super::turns::beside_others;

pub(crate) const REPOSITORY: &str = "team/app";
/// A loss is noticed within this; of an upstream that says nothing only its silence tells.
const NOTICED: Duration = Duration::from_secs(20);
const SILENCE_NOTICED: Duration = Duration::from_secs(30);
/// And a return.
const BACK: Duration = Duration::from_secs(30);

/// A mirror of an upstream that has one image, which the mirror may have cached.
pub(crate) struct Cached<'a> {
    scenario: &'a Scenario,
    pub(crate) upstream: Upstream,
    pub(crate) mirror: Mirror,
    pub(crate) image: Image,
}

impl<'a> Cached<'a> {
    pub(crate) fn of(scenario: &'a Scenario, host: &str, name: &str) -> Self {
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1.0");
        let mirror = Mirror::of(host, upstream.url(), free_port());
        Self { scenario, upstream, mirror, image }
    }

    /// Fetches the image through the mirror, and waits until it is stored there.
    pub(crate) fn fill(&self) {
        self.fetch().expect("through the mirror");
        self.scenario.await_cached(&self.mirror, &self.image, REPOSITORY);
    }

    pub(crate) fn fetch(&self) -> Result<(), String> {
        self.image.fetch(self.mirror.host_port(), REPOSITORY, "1.0")
    }

    pub(crate) fn is_fetched_at_once(&self) {
        assert_eq!(self.image.fetched_at_once(self.mirror.host_port(), REPOSITORY, "1.0"), Ok(()));
    }

    pub(crate) fn is_served_from_cache(&self) {
        is_served_from_cache(self.scenario, &self.mirror);
    }

    /// An image that only the upstream has comes through the mirror.
    pub(crate) fn new_images_come(&self, tag: &str) {
        let new = Image::containing(tag);
        self.upstream.push(&new, REPOSITORY, tag);
        eventually("a new image comes", BACK, || new.fetch(self.mirror.host_port(), REPOSITORY, tag));
    }
}

pub(crate) fn is_served_from_cache(scenario: &Scenario, mirror: &Mirror) {
    let status = scenario.status();
    let (ready, reason, message) = status.of_mirror(&mirror.host, "Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("True", "ServingFromCache"), "{message}");
    let since = status.mirror(&mirror.host)["servedFromCacheSince"].as_str().map(str::to_owned);
    assert!(since.is_some(), "{}", status.json);
    let pushed = http::request("POST", mirror.host_port(), "/v2/team/other/blobs/uploads/", &[], &[]);
    assert_eq!(pushed.expect("an answer").status, 405, "nobody can push to a mirror");
    let name = scenario.container_name(mirror);
    let its: Vec<_> = scenario.containers().into_iter().filter(|found| found.starts_with(&name)).collect();
    assert_eq!(its, [name]);
}

/// Waits until a mirror is served from its cache; since when it is known to be lost.
pub(crate) fn await_loss(watch: &mut Watch, mark: usize, mirror: &Mirror) -> Instant {
    let told = watch.await_event_since(mark, "ServingFromCache", SILENCE_NOTICED, |event| {
        event.is_condition(&mirror.host, "Ready", "True") && event.text("reason") == "ServingFromCache"
    });
    told.at
}

#[test]
fn while_watch_runs_upstreams_that_refuse_or_say_nothing_hold_no_pull_up_and_new_images_come_afterwards() {
    let turn = beside_others();
    let scenario = Scenario::new("cache-watch");
    let refusing = Cached::of(&scenario, "docker.io", "refusing");
    let silent = Cached::of(&scenario, "ghcr.io", "silent");
    let mirrors = [refusing.mirror.clone(), silent.mirror.clone()];
    scenario.write(&mirrors);
    let mut watch = scenario.watch();
    refusing.fill();
    silent.fill();
    let before = scenario.running(&refusing.mirror).identity();
    // From here on it waits.
    drop(turn);

    let (mark, lost) = (watch.mark(), Instant::now());
    silent.upstream.fall_silent();
    refusing.upstream.stop();
    let noticed = await_loss(&mut watch, mark, &refusing.mirror) - lost;
    assert!(noticed < NOTICED, "{noticed:?}");
    refusing.is_fetched_at_once();
    refusing.is_served_from_cache();
    // While the other one's silence is waited for.
    refusing.upstream.start_again();

    let noticed = await_loss(&mut watch, mark, &silent.mirror) - lost;
    assert!(noticed < SILENCE_NOTICED, "{noticed:?}");
    silent.is_fetched_at_once();
    silent.is_served_from_cache();

    refusing.new_images_come("2.0");
    refusing.fetch().expect("what was cached is there still");
    assert_ne!(scenario.running(&refusing.mirror).identity(), before, "it was replaced, twice");
    assert_eq!(scenario.converged(&mirrors), Ok(()));
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_upstream_that_was_silent_is_asked_again_when_it_speaks() {
    let _turn = beside_others();
    let scenario = Scenario::new("cache-speaks");
    let cached = Cached::of(&scenario, "docker.io", "speaks");
    scenario.write(std::slice::from_ref(&cached.mirror));
    let mut watch = scenario.watch();
    cached.fill();
    let mark = watch.mark();
    cached.upstream.fall_silent();
    await_loss(&mut watch, mark, &cached.mirror);
    cached.upstream.speak();
    cached.new_images_come("2.0");
    cached.fetch().expect("what was cached is there still");
    assert_eq!(scenario.converged(std::slice::from_ref(&cached.mirror)), Ok(()));
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
