//! What an earlier ksail made is brought into today's shape: once, one mirror after the other, and nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::earlier::Earlier;
use super::support::deadline::{eventually, holds};
use super::support::docker::Container;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::{PASSWORD, USER, Upstream};
use super::support::scenario::{Scenario, free_port};
use super::support::token_guard::TokenGuard;
use super::support::watch::{Event, Watch};
use super::turns::beside_others;

const CAUSE: &str = "made by an earlier ksail: log capped, debug port closed; cache kept";
/// Registry 2, which asks its upstream for `/v2/` when it starts, whatever `registry:3` is here.
const REGISTRY_2: &str = "ksail-test/registry:other";
const REPOSITORY: &str = "team/app";
/// Pause between two questions to a port.
const PAUSE: Duration = Duration::from_millis(10);

/// Two caches and a registry to push to as an earlier ksail made them, all with the same image in them.
struct Before {
    scenario: Scenario,
    upstream: Upstream,
    caches: [Mirror; 2],
    push: Mirror,
    image: Image,
}

impl Before {
    fn new(name: &str, registry: &str) -> Self {
        let scenario = Scenario::new(name);
        scenario.create_network();
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(&scenario.cluster);
        upstream.push(&image, REPOSITORY, "1.0");
        let caches = ["docker.io", "ghcr.io"].map(|host| Mirror::of(host, upstream.url(), free_port()));
        let before = Self { scenario, upstream, caches, push: Mirror::push(free_port()), image };
        let mirrors = before.mirrors();
        for mirror in &mirrors {
            Earlier::of(&before.scenario, mirror).on_image(registry).make();
        }
        eventually("they serve", Duration::from_secs(10), || before.scenario.converged(&mirrors));
        before.image.push(before.push.host_port(), REPOSITORY, "1.0").expect("a push registry takes a push");
        for cache in &before.caches {
            before.image.fetch(cache.host_port(), REPOSITORY, "1.0").expect("through the cache");
            before.scenario.await_cached(cache, &before.image, REPOSITORY);
        }
        let text = before.scenario.text(&mirrors);
        before
            .scenario
            .write_text(&text.replace("  registries:\n", &format!("  registries:\n    image: {registry}\n")));
        before
    }

    fn mirrors(&self) -> Vec<Mirror> {
        self.caches.iter().chain([&self.push]).cloned().collect()
    }

    fn ports(&self) -> Vec<u16> {
        self.mirrors().iter().map(Mirror::host_port).collect()
    }

    /// What the containers of these mirrors are and since when they run.
    fn identities(&self, mirrors: &[Mirror]) -> Vec<(String, String)> {
        mirrors.iter().map(|mirror| self.scenario.running(mirror).identity()).collect()
    }

    /// Files with content in each mirror's volume: a blob's is named after its digest.
    fn content(&self) -> Vec<String> {
        let files = |mirror: &Mirror| {
            let blobs = "/var/lib/registry/docker/registry/v2/blobs";
            let mut files = self.scenario.docker.lines(&[
                "exec",
                &self.scenario.container_name(mirror),
                "find",
                blobs,
                "-name",
                "data",
            ]);
            files.sort();
            files
        };
        self.mirrors().iter().flat_map(files).collect()
    }

    /// Every mirror gives the image, by its tag and by its digest.
    fn gives_the_image(&self) {
        for mirror in self.mirrors() {
            for version in ["1.0", &self.image.digest()] {
                let fetched = self.image.fetch(mirror.host_port(), REPOSITORY, version);
                assert_eq!(fetched, Ok(()), "{version} of {}", mirror.host);
            }
        }
    }

    fn renewed(&self, mirrors: &[Mirror]) -> Result<(), String> {
        self.scenario.converged(&self.mirrors())?;
        mirrors.iter().try_for_each(|mirror| has_the_shape_of_today(&self.scenario, mirror))
    }

    /// All that there was to do has been done.
    fn is_done(&self) {
        let mirrors = self.mirrors();
        let identities = self.identities(&mirrors);
        let diff = self.scenario.ksail(&["diff"]);
        assert_eq!(diff.code, 0, "{diff}");
        self.scenario.apply();
        assert_eq!(self.identities(&mirrors), identities, "none is made a second time");
        self.gives_the_image();
    }
}

fn has_the_shape_of_today(scenario: &Scenario, mirror: &Mirror) -> Result<(), String> {
    let container = scenario.running(mirror);
    let (env, name) = (container.env(), container.name());
    for (setting, value) in [("LOG_LEVEL", "warn"), ("HTTP_DEBUG_ADDR", "127.0.0.1:5001")] {
        let found = env.get(&format!("REGISTRY_{setting}"));
        holds(found.is_some_and(|found| found == value), format!("{setting} of {name} is {found:?}"))?;
    }
    holds(container.restart_policy() == "always", format!("{name} restarts {}", container.restart_policy()))?;
    let mounts = [("volume".to_owned(), name.clone(), "/var/lib/registry".to_owned())];
    holds(container.mounts() == mounts, format!("{name} mounts {:?}", container.mounts()))?;
    holds(container.aliases(&scenario.network).contains(&name), format!("{name} is not on the network"))?;
    holds(has_a_capped_log(&container), format!("the log of {name} is not capped"))
}

/// Where the engine's log driver takes such options.
fn has_a_capped_log(container: &Container) -> bool {
    let log = &container.inspected["HostConfig"]["LogConfig"];
    let takes_options = ["json-file", "local"].iter().any(|driver| log["Type"] == *driver);
    !takes_options || (log["Config"]["max-size"] == "10m" && log["Config"]["max-file"] == "3")
}

/// Asks ports all the time, each for itself.
struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Outage>>>,
}

/// A time in which a port did not answer a single question: from the end of the first to the beginning of the last.
#[derive(Debug, Clone, Copy)]
struct Outage {
    from: Instant,
    until: Instant,
}

impl Callers {
    fn of(ports: Vec<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |port| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || outages(port, &stop))
        };
        Self { threads: ports.into_iter().map(ask).collect(), stop }
    }

    /// Stops asking: what each has met.
    fn outages(self) -> Vec<Vec<Outage>> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("no caller panics")).collect()
    }

    /// Each was away, and none while another one was.
    fn met_one_outage_at_a_time(self) {
        let outages = self.outages();
        assert!(outages.iter().all(|outages| !outages.is_empty()), "each was made anew: {outages:?}");
        for (n, one) in outages.iter().enumerate() {
            for (a, b) in outages[n + 1..].iter().flatten().flat_map(|other| one.iter().map(move |one| (one, other))) {
                assert!(a.from.max(b.from) >= a.until.min(b.until), "two were away at once: {outages:#?}");
            }
        }
    }
}

fn outages(port: u16, stop: &AtomicBool) -> Vec<Outage> {
    let (mut outages, mut current): (Vec<Outage>, Option<Outage>) = (Vec::new(), None);
    while !stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        if http::serves(port) {
            outages.extend(current.take());
        } else {
            current.get_or_insert_with(|| Outage { from: Instant::now(), until: begun }).until = begun;
        }
        sleep(PAUSE);
    }
    outages.into_iter().chain(current).collect()
}

/// One cause for everything, and one new container for each mirror.
fn told_once(actions: &[Value], mirrors: usize) {
    let causes: BTreeSet<&str> = actions.iter().filter_map(|action| action["cause"].as_str()).collect();
    assert_eq!(causes, [CAUSE].into(), "{actions:#?}");
    let created = actions.iter().filter(|action| action["action"] == "CreateContainer").count();
    assert_eq!(created, mirrors, "{actions:#?}");
}

#[test]
fn apply_renews_what_an_earlier_ksail_made_one_after_the_other_and_keeps_what_is_in_it() {
    let _turn = beside_others();
    let before = Before::new("upgrade-apply", "registry:3");
    let content = before.content();
    let diff = before.scenario.ksail(&["diff"]);
    assert_eq!(diff.code, 1, "{diff}");
    assert!(diff.stdout.contains(CAUSE), "{diff}");

    let callers = Callers::of(before.ports());
    let applied = before.scenario.ksail(&["apply", "-o", "json"]);
    callers.met_one_outage_at_a_time();
    assert_eq!(applied.code, 0, "{applied}");
    let events = applied.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    told_once(&events.filter(|event| event["event"] == "action").collect::<Vec<_>>(), 3);
    assert_eq!(before.renewed(&before.mirrors()), Ok(()));
    assert_eq!(before.content(), content);
    before.is_done();
}

#[test]
#[ignore = "long: tests/run --long"]
fn watch_renews_what_an_earlier_ksail_made_one_after_the_other_and_keeps_what_is_in_it() {
    let _turn = beside_others();
    let before = Before::new("upgrade-watch", "registry:3");
    let content = before.content();
    let callers = Callers::of(before.ports());
    let mut watch = Watch::start(before.scenario.command(&["watch", "-o", "json"]));
    eventually("all are renewed", Duration::from_secs(30), || before.renewed(&before.mirrors()));
    callers.met_one_outage_at_a_time();
    watch.await_ready();
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    let actions: Vec<Value> = watch.since(0).into_iter().filter(Event::is_action).map(|event| event.json).collect();
    told_once(&actions, 3);
    assert_eq!(before.content(), content);
    before.is_done();
}

#[test]
fn a_cache_whose_upstream_is_away_goes_on_as_it_is_and_is_renewed_when_the_upstream_is_back() {
    let _turn = beside_others();
    let before = Before::new("upgrade-away", REGISTRY_2);
    let (scenario, caches) = (&before.scenario, &before.caches);
    let untouched = before.identities(caches);
    before.upstream.stop();
    let later =
        format!("  later: {CAUSE}: waits, because the registry would not start again: {}", before.upstream.url());

    let callers = Callers::of(caches.iter().map(Mirror::host_port).collect());
    let applied = scenario.apply();
    assert_eq!(before.identities(caches), untouched, "they would not start again: {applied}");
    assert_eq!(before.renewed(std::slice::from_ref(&before.push)), Ok(()), "it needs no upstream");
    before.gives_the_image();
    let diff = scenario.ksail(&["diff"]);
    let told: Vec<&str> = diff.stdout.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(told.len() == 2 && told.iter().all(|line| line.starts_with(&later)), "{later}: {diff}");
    scenario.apply();
    assert_eq!(before.identities(caches), untouched, "nor at the second time");
    assert!(callers.outages().iter().all(Vec::is_empty), "they served all the time");

    before.upstream.start_again();
    scenario.apply();
    assert_eq!(before.renewed(&before.mirrors()), Ok(()));
    before.is_done();
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_cache_whose_upstream_takes_connections_and_says_nothing_is_left_alone_too() {
    let _turn = beside_others();
    let before = Before::new("upgrade-silent", REGISTRY_2);
    let untouched = before.identities(&before.caches);
    before.upstream.fall_silent();
    let applied = before.scenario.apply();
    assert_eq!(before.identities(&before.caches), untouched, "they would neither listen nor exit: {applied}");
    for cache in &before.caches {
        let fetched = before.image.fetch(cache.host_port(), REPOSITORY, &before.image.digest());
        assert_eq!(fetched, Ok(()), "{}", cache.host);
    }
    before.upstream.speak();
    before.scenario.apply();
    assert_eq!(before.renewed(&before.mirrors()), Ok(()));
}

#[test]
fn a_cache_whose_upstream_is_away_keeps_its_port_until_the_upstream_is_back() {
    let _turn = beside_others();
    let scenario = Scenario::new("port-away");
    let upstream = Upstream::start(&scenario.docker, "port-away-up");
    let image = Image::containing("port-away");
    upstream.push(&image, REPOSITORY, "1.0");
    let old = Mirror::of("docker.io", upstream.url(), free_port());
    let new = old.at(free_port());
    let write = |mirror: &Mirror| {
        let text = scenario.text(std::slice::from_ref(mirror));
        scenario.write_text(&text.replace("  registries:\n", &format!("  registries:\n    image: {REGISTRY_2}\n")));
    };
    write(&old);
    scenario.apply();
    image.fetch(old.host_port(), REPOSITORY, "1.0").expect("through the cache");
    scenario.await_cached(&old, &image, REPOSITORY);
    let identity = scenario.running(&old).identity();

    upstream.stop();
    write(&new);
    let applied = scenario.ksail(&["apply"]);
    assert_eq!(applied.code, 1, "{applied}");
    let (status, reason, message) = scenario.status().of_mirror("docker.io", "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamUnreachable"), "{message}");
    let change = format!("port changed {} -> {}: waits", old.host_port(), new.host_port());
    assert!(message.starts_with(&change) && message.contains(upstream.url()), "{message}");
    assert_eq!(scenario.running(&old).identity(), identity, "it is not touched");
    assert_eq!(image.fetch(old.host_port(), REPOSITORY, "1.0"), Ok(()), "what is cached is there on the old port");

    upstream.start_again();
    scenario.apply();
    assert_eq!(image.fetch(new.host_port(), REPOSITORY, "1.0"), Ok(()));
    assert!(!http::serves(old.host_port()));
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_mirror_with_credentials_is_renewed_with_them() {
    let _turn = beside_others();
    let scenario = Scenario::new("upgrade-login");
    scenario.create_network();
    let open = Upstream::start(&scenario.docker, "upgrade-login-up");
    let (cached, uncached) = (Image::containing("cached"), Image::containing("not cached yet"));
    open.push(&cached, REPOSITORY, "1.0");
    open.push(&uncached, REPOSITORY, "2.0");
    let guarded = TokenGuard::before(&open);
    let mirror = Mirror::of("docker.io", guarded.url(), free_port())
        .with("credentials: {username: \"${HUB_USER}\", password: \"${HUB_PASSWORD}\"}");
    let environment = [("HUB_USER", USER), ("HUB_PASSWORD", PASSWORD)];
    Earlier::of(&scenario, &mirror).with_credentials(USER, PASSWORD).make();
    scenario.write(std::slice::from_ref(&mirror));
    eventually("it serves", Duration::from_secs(10), || scenario.converged(std::slice::from_ref(&mirror)));
    cached.fetch(mirror.host_port(), REPOSITORY, "1.0").expect("what only those with the password get");
    scenario.await_cached(&mirror, &cached, REPOSITORY);
    let files = |path: &str| {
        let name = scenario.container_name(&mirror);
        scenario.docker.run(&["exec", &name, "cat", &format!("/ksail/{path}")])
    };
    let names = ["registry.yml", "credentials.json", "credential-helper"];
    let before = names.map(files);

    let applied = scenario.ksail_with(&environment, &["apply"]);
    assert_eq!(applied.code, 0, "{applied}");
    assert_eq!(has_the_shape_of_today(&scenario, &mirror), Ok(()));
    assert_eq!(names.map(files), before, "they are in the new container");
    let container = scenario.running(&mirror);
    assert!(!container.inspected.to_string().contains(PASSWORD), "and nowhere else");
    let again = scenario.ksail_with(&environment, &["diff"]);
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(uncached.fetch(mirror.host_port(), REPOSITORY, "2.0"), Ok(()), "the upstream knows who asks");
    open.stop();
    assert_eq!(cached.fetch(mirror.host_port(), REPOSITORY, &cached.digest()), Ok(()), "the cache was kept");
}
