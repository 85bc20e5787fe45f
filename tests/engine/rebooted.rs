//! The engine starts again while nobody is at the upstream, as on a machine that is switched on in a train.

use std::time::{Duration, Instant};

use super::support::deadline::eventually;
use super::support::docker::Docker;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::private_engine::{PrivateEngine, WayOut};
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

const REPOSITORY: &str = "team/app";
/// What is cached is pulled so long after the engine's return at the latest.
const SERVED: Duration = Duration::from_secs(10);
/// And so long after the upstream's return what is new.
const BACK: Duration = Duration::from_secs(30);

/// A mirror on an engine of its own. Its upstream is on the machine's, and is there as long as there is a way to it.
struct Machine {
    scenario: Scenario,
    way_out: Option<WayOut>,
    upstream: Upstream,
    mirror: Mirror,
    image: Image,
    engine: PrivateEngine,
}

impl Machine {
    fn new(name: &str) -> Self {
        let engine = PrivateEngine::start(&["registry:3"]);
        let upstream = Upstream::start(&Docker::default(), &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1.0");
        let way_out = engine.open(upstream.port, None);
        let mut scenario = Scenario::on(engine.docker(), name);
        scenario.within = engine.within();
        let mirror = Mirror::of("docker.io", &way_out.url(), free_port());
        scenario.write(std::slice::from_ref(&mirror));
        Self { scenario, way_out: Some(way_out), upstream, mirror, image, engine }
    }

    fn fetches(&self, image: &Image, tag: &str) -> Result<(), String> {
        let port = self.mirror.host_port();
        self.engine.inside_network(|| image.fetch(port, REPOSITORY, tag))
    }

    fn fill(&self) {
        self.fetches(&self.image, "1.0").expect("through the mirror");
        self.scenario.await_cached(&self.mirror, &self.image, REPOSITORY);
    }

    /// Nobody is at the upstream any more.
    fn go_offline(&mut self) {
        self.way_out = None;
    }

    fn go_online(&mut self) {
        let port = self.mirror.upstream.as_ref().and_then(|url| url.rsplit(':').next()?.parse().ok());
        self.way_out = Some(self.engine.open(self.upstream.port, port));
    }

    /// The engine stops and starts.
    fn reboot(&mut self) -> Instant {
        self.engine.down();
        self.engine.up();
        Instant::now()
    }

    fn serves_what_is_cached_since(&self, returned: Instant) {
        eventually("what is cached is served", SERVED.saturating_sub(returned.elapsed()), || {
            self.fetches(&self.image, "1.0")
        });
    }

    fn new_images_come(&self, tag: &str) {
        let new = Image::containing(tag);
        self.upstream.push(&new, REPOSITORY, tag);
        eventually("a new image comes", BACK, || self.fetches(&new, tag));
        self.fetches(&self.image, "1.0").expect("what was cached is there still");
    }

    fn reason(&self) -> String {
        self.scenario.status().of_mirror("docker.io", "Ready").1
    }
}

#[test]
#[ignore = "long: tests/run --long"]
fn after_a_restart_of_the_engine_offline_an_apply_serves_what_is_cached_and_another_brings_new_images() {
    let _turn = beside_others();
    let mut machine = Machine::new("reboot-apply");
    machine.scenario.apply();
    machine.fill();
    machine.go_offline();

    let returned = machine.reboot();
    machine.scenario.apply();
    machine.serves_what_is_cached_since(returned);
    assert_eq!(machine.reason(), "ServingFromCache");

    machine.go_online();
    machine.scenario.apply();
    machine.new_images_come("2.0");
}

#[test]
#[ignore = "long: tests/run --long"]
fn after_a_restart_of_the_engine_offline_a_watch_serves_what_is_cached_and_brings_new_images() {
    let _turn = beside_others();
    let mut machine = Machine::new("reboot-watch");
    let mut watch = machine.scenario.watch();
    machine.fill();
    machine.go_offline();
    for restart in ["while it asks its upstream still", "while it is served from its cache"] {
        let returned = machine.reboot();
        machine.serves_what_is_cached_since(returned);
        assert!(watch.is_running(), "{restart}: {}", watch.stderr());
        eventually("that is told", SERVED, || match machine.reason() {
            reason if reason == "ServingFromCache" => Ok(()),
            reason => Err(format!("{restart}: {reason}")),
        });
    }

    machine.go_online();
    machine.new_images_come("2.0");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
