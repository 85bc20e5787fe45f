//! Whose a container is: a mirror's by its labels and its name or its volume, and never by labels that it inherited. And
//! names stay: no mirror loses its own to another one, nor to a later rule.

use std::time::Duration;

use super::earlier::Earlier;
use super::support::deadline::{eventually, holds};
use super::support::docker::{Container, Docker};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

/// An image made from a container, with its labels; removed with all that was made from it when dropped.
struct Committed {
    docker: Docker,
    image: String,
}

impl Committed {
    fn from(docker: &Docker, container: &str) -> Self {
        let image = format!("ksail-test/committed:{container}");
        docker.run(&["commit", container, &image]);
        Self { docker: docker.clone(), image }
    }

    /// Runs one under this name, and returns what the engine says of it and of what it mounts.
    fn run(&self, name: &str) -> Stranger {
        self.docker.run(&["run", "-d", "--pull", "never", "--label", &sweep::label(), "--name", name, &self.image]);
        Stranger::of(&self.docker, name)
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        let (docker, image) = (&self.docker, &self.image);
        for container in docker.lines(&["ps", "-aq", "--filter", &format!("ancestor={image}")]) {
            let _ = docker.output(&["rm", "-fv", &container]);
        }
        let _ = docker.output(&["rmi", image]);
    }
}

/// Somebody else's container and its volumes.
#[derive(Debug, PartialEq)]
pub(crate) struct Stranger {
    container: Container,
    volumes: Vec<String>,
}

impl Stranger {
    pub(crate) fn of(docker: &Docker, name: &str) -> Self {
        let container = docker.container(name).unwrap_or_else(|| panic!("{name} is there"));
        let inspect = |(_, volume, _): (_, String, _)| docker.run(&["volume", "inspect", &volume]);
        Self { volumes: container.mounts().into_iter().map(inspect).collect(), container }
    }

    pub(crate) fn is_untouched(&self, docker: &Docker, after: &str) {
        assert_eq!(Self::of(docker, &self.container.name()), *self, "after {after}");
    }
}

/// All that ksail does to a mirror it does around somebody else's container: it watches over it, mends, makes anew and
/// removes it with its volume.
fn leaves_alone(scenario: &Scenario, mirror: &Mirror, stranger: &Stranger) {
    let docker = &scenario.docker;
    let mut watch = scenario.watch();
    let mut done = |action: &str, cause: &dyn Fn()| {
        let mark = watch.mark();
        cause();
        watch.await_event_since(mark, action, Duration::from_secs(10), |event| {
            event.is_action() && event.text("action") == action && event.text("result") == "done"
        });
    };
    done("StartContainer", &|| drop(docker.run(&["stop", "-t", "1", &scenario.container_name(mirror)])));
    let moved = mirror.clone().with("listenAddress: 127.0.0.2");
    done("RenameContainer", &|| scenario.write(std::slice::from_ref(&moved)));
    let events = watch.since(0);
    let told = events.iter().any(|event| event.json.to_string().contains(&stranger.container.name()));
    assert!(!told, "nothing is done about it: {events:#?}");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    stranger.is_untouched(docker, "watch");
    let removed = scenario.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(scenario.container(mirror).is_none(), "{removed}");
    stranger.is_untouched(docker, "delete");
}

#[test]
fn a_container_from_an_image_that_was_made_of_a_mirror_is_left_alone() {
    let _turn = beside_others();
    let scenario = Scenario::new("committed");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let committed = Committed::from(&scenario.docker, &scenario.container_name(&mirror));
    let copy = committed.run(&format!("{}-copy", scenario.cluster));
    assert_eq!(copy.container.labels().get("ksail.dev/host"), Some(&mirror.host), "it has the mirror's labels");
    leaves_alone(&scenario, &mirror, &copy);
}

#[test]
fn a_container_from_such_an_image_keeps_even_a_mirrors_name_and_the_conflict_is_told() {
    let _turn = beside_others();
    let scenario = Scenario::new("committed-name");
    let mirror = Mirror::push(free_port());
    let name = scenario.container_name(&mirror);
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let committed = Committed::from(&scenario.docker, &name);
    scenario.docker.run(&["rm", "-f", &name]);
    let copy = committed.run(&name);

    let applied = scenario.ksail(&["apply", "--timeout", "10s"]);
    assert_eq!(applied.code, 1, "{applied}");
    let (status, reason, message) = scenario.status().of_mirror(&mirror.host, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NameConflict"), "{message}");
    copy.is_untouched(&scenario.docker, "apply");
    let removed = scenario.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    copy.is_untouched(&scenario.docker, &removed.to_string());
}

#[test]
fn a_container_with_a_mirrors_labels_under_another_name_and_on_another_volume_is_left_alone() {
    let _turn = beside_others();
    let scenario = Scenario::new("labelled");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let name = format!("{}-lookalike", scenario.cluster);
    let labels = scenario.running(&mirror).labels();
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("--label={key}={value}")).collect();
    let mut run = vec!["run", "-d", "--pull", "never", "--name", &name];
    run.extend(labels.iter().map(String::as_str).chain(["registry:3"]));
    scenario.docker.run(&run);
    leaves_alone(&scenario, &mirror, &Stranger::of(&scenario.docker, &name));
}

#[test]
fn a_mirrors_container_that_is_renamed_gets_its_name_back() {
    let _turn = beside_others();
    let scenario = Scenario::new("renamed");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    let (name, identity) = (scenario.container_name(&mirror), scenario.running(&mirror).identity());
    let other = format!("{}-other", scenario.cluster);
    scenario.docker.run(&["rename", &name, &other]);
    eventually("it has its name", Duration::from_secs(10), || {
        let found = scenario.docker.container(&name).map(|container| container.identity());
        holds(found.as_ref() == Some(&identity), format!("{found:?}"))
    });
    assert!(scenario.docker.container(&other).is_none());
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn a_host_that_would_have_the_same_name_takes_nothing_from_the_one_that_has_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("same-slug");
    let upstream = Upstream::start(&scenario.docker, "same-slug-up");
    let image = Image::containing("same slug");
    upstream.push(&image, "team/app", "1.0");
    let [first, second] =
        ["registry.local:5000", "registry-local:5000"].map(|host| Mirror::of(host, upstream.url(), free_port()));
    assert_eq!(scenario.container_name(&first), scenario.container_name(&second));
    scenario.write(std::slice::from_ref(&first));
    scenario.apply();
    image.fetch(first.host_port(), "team/app", "1.0").expect("through the mirror");
    scenario.await_cached(&first, &image, "team/app");
    let before = Stranger::of(&scenario.docker, &scenario.container_name(&first));

    scenario.write(&[first.clone(), second.clone()]);
    scenario.apply();
    before.is_untouched(&scenario.docker, "the second has come");
    let name = name_of(&scenario, &second);
    assert!(is_suffixed(&name, &scenario.container_name(&second)), "{name}");
    assert_eq!(image.fetch(second.host_port(), "team/app", "1.0"), Ok(()));
    let other = Stranger::of(&scenario.docker, &name);

    scenario.write(std::slice::from_ref(&second));
    scenario.apply();
    other.is_untouched(&scenario.docker, "the first has gone");
    assert_eq!(scenario.containers(), [name]);

    scenario.write(&[second.clone(), first.clone()]);
    scenario.apply();
    other.is_untouched(&scenario.docker, "the first is back");
    upstream.stop();
    image.fetch(first.host_port(), "team/app", "1.0").expect("on its volume, under its name");
}

/// The name of a mirror's container, which its labels tell.
fn name_of(scenario: &Scenario, mirror: &Mirror) -> String {
    let is_its = |name: &String| {
        let container = scenario.docker.container(name);
        container.is_some_and(|container| container.labels().get("ksail.dev/host") == Some(&mirror.host))
    };
    scenario.containers().into_iter().find(is_its).unwrap_or_else(|| panic!("{} has a container", mirror.host))
}

/// Whether a name is another one and a hash behind it.
fn is_suffixed(name: &str, plain: &str) -> bool {
    let suffix = name.strip_prefix(plain).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    suffix.len() == 8 && suffix.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[test]
fn a_name_that_an_earlier_ksail_gave_stays_whatever_today_s_rule_says() {
    let _turn = beside_others();
    let scenario = Scenario::new("old-name");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "old-name-up");
    let image = Image::containing("old name");
    upstream.push(&image, "team/app", "1.0");
    let (old, new) = (
        Mirror::of("my-registry.io", upstream.url(), free_port()),
        Mirror::of("your-registry.io", upstream.url(), free_port()),
    );
    Earlier::of(&scenario, &old).make();
    eventually("it serves", Duration::from_secs(10), || holds(scenario.serves(&old), "no answer"));
    image.fetch(old.host_port(), "team/app", "1.0").expect("through the mirror");
    scenario.await_cached(&old, &image, "team/app");
    let made_before = scenario.running(&old).id();
    let has_its_name_and_volume = |how: &str| {
        let container = scenario.running(&old);
        let volumes: Vec<String> = container.mounts().into_iter().map(|(_, volume, _)| volume).collect();
        assert_eq!(volumes, [scenario.container_name(&old)], "{how}");
        container.id()
    };

    scenario.write(&[old.clone(), new.clone()]);
    scenario.apply();
    let renewed = has_its_name_and_volume("renewed");
    assert_ne!(renewed, made_before);
    let name = name_of(&scenario, &new);
    assert!(is_suffixed(&name, &scenario.container_name(&new)), "what is new has a name by today's rule: {name}");

    scenario.docker.run(&["rm", "-f", &scenario.container_name(&old)]);
    scenario.apply();
    assert_ne!(has_its_name_and_volume("made again, by its volume"), renewed);
    upstream.stop();
    image.fetch(old.host_port(), "team/app", "1.0").expect("the cache was kept");
}
