//! What is changed behind ksail's back is put right by `watch`, and nothing else is touched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::impostor::Impostor;
use super::support::deadline::{eventually, holds};
use super::support::docker::Container;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::{Watch, signal};
use super::turns::{alone, beside_others};

const REPAIRED: Duration = Duration::from_secs(3);
/// A resync (30 s, jittered), the two seconds that a registry has to answer in, and a restart of one that hangs.
const RESYNCED: Duration = Duration::from_secs(60);

/// A running watch over two mirrors: one that a test breaks, and one that nobody touches.
struct Watched {
    /// The first to be dropped: it would make anew what the scenario removes.
    watch: Watch,
    scenario: Scenario,
    target: Mirror,
    bystander: Mirror,
    /// What the target was like before.
    healthy: Container,
    untouched: (String, String),
    /// How long `watch` took to bring both up from nothing.
    coming_up: Duration,
    _upstream: Option<Upstream>,
}

impl Watched {
    /// The target is a push registry.
    fn new(name: &str) -> Self {
        let scenario = Scenario::new(&format!("drift-{name}"));
        Self::over(scenario, Mirror::push(free_port()), None)
    }

    /// The target is a pull-through mirror.
    fn with_upstream(name: &str) -> Self {
        let scenario = Scenario::new(&format!("drift-{name}"));
        let upstream = Upstream::start(&scenario.docker, &format!("drift-{name}-up"));
        let target = Mirror::of("docker.io", upstream.url(), free_port());
        Self::over(scenario, target, Some(upstream))
    }

    fn over(scenario: Scenario, target: Mirror, upstream: Option<Upstream>) -> Self {
        scenario.create_network();
        let bystander = Mirror::push(free_port());
        scenario.write(&[target.clone(), bystander.clone()]);
        let begun = Instant::now();
        let watch = scenario.watch();
        let coming_up = begun.elapsed();
        assert_eq!(scenario.converged(&[target.clone(), bystander.clone()]), Ok(()));
        let healthy = scenario.running(&target);
        let untouched = scenario.running(&bystander).identity();
        Self { scenario, target, bystander, healthy, untouched, coming_up, watch, _upstream: upstream }
    }

    fn name(&self) -> String {
        self.healthy.name()
    }

    fn docker(&self, args: &[&str]) {
        self.scenario.docker.run(args);
    }

    /// Waits until everything is as it was before `broken`, and checks how long that took.
    fn await_repair(self, broken: Instant) -> Self {
        self.await_repair_within(REPAIRED, broken)
    }

    fn await_repair_within(mut self, limit: Duration, broken: Instant) -> Self {
        let limit = self.at_this_speed(limit);
        let mirrors = [self.target.clone(), self.bystander.clone()];
        // Whoever looks while the engine is at work waits for it, for half a second at a time, and would look again too late.
        self.watch.await_event_since(0, "a pass that acts", limit * 3, |event| {
            event.at >= broken
                && event.is("passFinished")
                && event.json["actions"].as_u64().is_some_and(|actions| actions > 0)
        });
        eventually("everything is as it was", limit * 3, || {
            self.scenario.converged(&mirrors)?;
            let now = self.scenario.running(&self.target);
            holds(settings(&now, &self.scenario) == settings(&self.healthy, &self.scenario), now.inspected.to_string())
        });
        let took = broken.elapsed();
        let story = || self.watch.since(0).iter().fold(String::new(), |text, event| format!("{text}\n{}", event.json));
        assert!(took <= limit, "repaired after {took:?}:{}", story());
        assert_eq!(
            self.scenario.running(&self.bystander).identity(),
            self.untouched,
            "the other mirror was left alone"
        );
        assert_eq!(self.watch.stop(), Some(0), "{}", self.watch.stderr());
        self
    }

    /// Both come up in about a second. An engine kept so busy by others that this took longer than half the limit
    /// is given more.
    fn at_this_speed(&self, limit: Duration) -> Duration {
        limit.max(self.coming_up * 2)
    }

    /// The repair kept the container.
    fn same_container(&self) {
        assert_eq!(self.scenario.running(&self.target).id(), self.healthy.id(), "the least disruptive action");
    }

    /// Does something while ksail is frozen, so that it finds the result and cannot get in between.
    /// Returns when ksail could begin to see it.
    fn behind_its_back(&self, change: impl FnOnce()) -> Instant {
        signal(self.watch.id(), "STOP");
        change();
        signal(self.watch.id(), "CONT");
        Instant::now()
    }

    /// Puts a container with the target's name and labels, and something else about it, in its place.
    fn replace(&self, change: impl FnOnce(&mut Impostor)) -> Instant {
        let mut impostor = Impostor::of(&self.healthy);
        change(&mut impostor);
        let (name, network) = (self.name(), &self.scenario.network);
        self.behind_its_back(|| {
            self.docker(&["rm", "-f", &name]);
            self.scenario.docker.run(&impostor.create());
            self.docker(&["network", "connect", "--alias", &name, network, &name]);
            self.docker(&["start", &name]);
        })
    }
}

/// Everything about a container that ksail decides.
fn settings(container: &Container, scenario: &Scenario) -> impl PartialEq + use<> {
    let ours = |(key, _): &(String, String)| key.starts_with("REGISTRY_");
    let env: BTreeMap<String, String> = container.env().into_iter().filter(ours).collect();
    (
        (container.state(), container.image(), container.restart_policy()),
        (container.labels(), env),
        (container.bindings(), container.bound(), container.mounts()),
        container.aliases(&scenario.network).contains(&container.name()),
    )
}

fn repairs_replaced(name: &str, change: impl FnOnce(&mut Impostor)) {
    let _turn = alone();
    let watched = Watched::with_upstream(name);
    let broken = watched.replace(change);
    watched.await_repair(broken);
}

/// Breaks the target with one docker command.
fn repairs(name: &str, keeps_container: bool, command: &[&str]) {
    let _turn = alone();
    let watched = Watched::new(name);
    let broken = Instant::now();
    let target = watched.name();
    let args: Vec<&str> = command.iter().copied().chain([target.as_str()]).collect();
    watched.docker(&args);
    let repaired = watched.await_repair(broken);
    if keeps_container {
        repaired.same_container();
    }
}

#[test]
fn a_missing_container_is_made_again() {
    repairs("missing", false, &["rm", "-f"]);
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_stopped_container_is_started() {
    repairs("stopped", true, &["stop", "-t", "1"]);
}

#[test]
fn a_killed_container_runs_again() {
    repairs("killed", true, &["kill"]);
}

#[test]
fn a_paused_container_goes_on() {
    repairs("paused", true, &["pause"]);
}

#[test]
fn another_restart_policy_is_set_back() {
    repairs("policy", true, &["update", "--restart", "no"]);
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_container_that_restarts_again_and_again_is_replaced() {
    repairs_replaced("restarting", |impostor| impostor.command = vec!["no-such-command".to_owned()]);
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_image_is_replaced() {
    repairs_replaced("image", |impostor| impostor.image = "ksail-test/registry:other".to_owned());
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_upstream_is_replaced() {
    repairs_replaced("upstream", |impostor| {
        impostor.env.insert("REGISTRY_PROXY_REMOTEURL".to_owned(), "http://192.0.2.1:5000".to_owned());
    });
}

#[test]
fn a_wrong_setting_is_replaced() {
    repairs_replaced("config", |impostor| {
        impostor.env.remove("REGISTRY_PROXY_REMOTEURL");
    });
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_port_is_replaced() {
    let port = free_port();
    repairs_replaced("port", |impostor| impostor.publish = format!("127.0.0.1:{port}:5000"));
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_address_is_replaced() {
    repairs_replaced("address", |impostor| {
        impostor.publish = impostor.publish.replace("127.0.0.1:", "127.0.0.2:");
    });
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_label_is_replaced() {
    repairs_replaced("label", |impostor| {
        impostor.labels.insert("ksail.dev/role".to_owned(), "push".to_owned());
    });
}

#[test]
#[ignore = "long: tests/run --long"]
fn another_volume_is_replaced() {
    repairs_replaced("volume", |impostor| {
        impostor.volume = "/var/lib/registry".to_owned();
    });
}

#[test]
fn a_missing_volume_is_made_again_with_its_container() {
    let _turn = alone();
    let watched = Watched::new("no-volume");
    let broken = watched.behind_its_back(|| {
        watched.docker(&["rm", "-f", &watched.name()]);
        watched.docker(&["volume", "rm", &watched.name()]);
    });
    let repaired = watched.await_repair(broken);
    let volumes =
        repaired.scenario.docker.volumes_labelled(&format!("ksail.dev/cluster={}", repaired.scenario.cluster));
    assert!(volumes.contains(&repaired.name()), "the volume is there, labelled: {volumes:?}");
}

#[test]
fn a_detached_network_is_attached_again() {
    let _turn = alone();
    let watched = Watched::new("detached");
    let broken = Instant::now();
    watched.docker(&["network", "disconnect", &watched.scenario.network, &watched.name()]);
    watched.await_repair(broken).same_container();
}

#[test]
fn a_network_removed_and_made_again_is_attached_again_whatever_stale_endpoint_is_left() {
    let _turn = alone();
    let watched = Watched::new("stale");
    let network = watched.scenario.network.clone();
    let docker = watched.scenario.docker.clone();
    // A network with endpoints cannot be removed: take the containers off it by stopping them, all at once.
    let names = [watched.name(), watched.scenario.container_name(&watched.bystander)];
    let broken = watched.behind_its_back(|| {
        docker.run(&["stop", "-t", "1", &names[0], &names[1]]);
        docker.run(&["network", "rm", &network]);
    });
    let limit = watched.at_this_speed(REPAIRED);
    let mirrors = [watched.target.clone(), watched.bystander.clone()];
    eventually("both serve without the network", limit * 3, || watched.scenario.converged(&mirrors));
    let took = broken.elapsed();
    assert!(took <= limit, "started without the network after {took:?}");
    watched.scenario.create_network();
    let attached = || {
        let stray =
            names.iter().find(|name| !docker.container(name).is_some_and(|c| c.aliases(&network).contains(name)));
        holds(stray.is_none(), format!("{stray:?} is not on the network"))
    };
    let made = Instant::now();
    eventually("both are on the new network", limit * 3, attached);
    let took = made.elapsed();
    assert!(took <= limit, "attached after {took:?}");
}

#[test]
fn the_network_is_attached_within_a_second_of_its_appearing() {
    let _turn = alone();
    let scenario = Scenario::new("drift-appears");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let begun = Instant::now();
    let mut watch = scenario.watch();
    // More than a second, and it is the engine that is slow.
    let limit = Duration::from_secs(1).max(begun.elapsed());
    assert_eq!(scenario.converged(std::slice::from_ref(&mirror)), Ok(()), "it serves without the network");
    let identity = scenario.running(&mirror).identity();
    watch.await_event("NetworkAttached=False", REPAIRED, |event| {
        event.is_condition(&mirror.host, "NetworkAttached", "False") && event.text("reason") == "NetworkNotFound"
    });
    scenario.create_network();
    let made = Instant::now();
    let name = scenario.container_name(&mirror);
    eventually("it is attached", REPAIRED, || {
        holds(scenario.running(&mirror).aliases(&scenario.network).contains(&name), "no alias on the network")
    });
    let took = made.elapsed();
    assert!(took <= limit, "attached after {took:?}");
    assert_eq!(scenario.running(&mirror).identity(), identity, "connected, not made again");
    assert_eq!(watch.stop(), Some(0));
}

#[test]
fn the_leftover_of_an_interrupted_recreate_is_removed() {
    let _turn = alone();
    let watched = Watched::new("leftover");
    let mut leftover = Impostor::of(&watched.healthy);
    leftover.name.push_str(".next");
    let broken = Instant::now();
    watched.scenario.docker.run(&leftover.create());
    watched.await_repair(broken).same_container();
}

#[test]
fn an_orphan_of_this_cluster_is_removed() {
    let _turn = alone();
    let watched = Watched::new("orphan");
    let mut orphan = Impostor::of(&watched.healthy);
    orphan.name = format!("ksail-{}-orphan-example", watched.scenario.cluster);
    orphan.labels.insert("ksail.dev/host".to_owned(), "orphan.example".to_owned());
    orphan.publish = "127.0.0.1::5000".to_owned();
    let broken = watched.behind_its_back(|| {
        watched.scenario.docker.run(&orphan.create());
        watched.docker(&["start", &orphan.name]);
    });
    watched.await_repair(broken).same_container();
}

#[test]
fn a_registry_that_hangs_is_restarted_by_the_resync() {
    // In no turn: it mostly waits. No event tells of a stopped process; only asking it does.
    let watched = Watched::new("hung");
    let hung = Instant::now();
    signal(u32::try_from(watched.healthy.pid()).expect("a process id"), "STOP");
    assert!(!watched.scenario.serves(&watched.target), "it accepts connections and does not answer");
    watched.await_repair_within(RESYNCED, hung).same_container();
}

#[test]
fn a_silent_registry_never_counts_as_serving() {
    let _turn = beside_others();
    let scenario = Scenario::new("drift-silent");
    let mirror = Mirror::push(free_port());
    let text = scenario
        .text(std::slice::from_ref(&mirror))
        .replace("  registries:\n", "  registries:\n    image: ksail-test/silent:1\n");
    scenario.write_text(&text);
    let applied = scenario.ksail(&["apply", "--timeout", "8s"]);
    assert!(matches!(applied.code, 1 | 3), "not converged: {applied}");
    let status = scenario.ksail(&["status", "-o", "json"]);
    assert_eq!(status.code, 1, "{status}");
    let conditions = status.json()["mirrors"][0]["conditions"].clone();
    let serving = conditions.as_array().and_then(|all| all.iter().find(|c| c["type"] == "Serving")).cloned();
    assert_eq!(serving.map(|condition| condition["status"].clone()), Some("False".into()), "{status}");
}
