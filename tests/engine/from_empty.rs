//! From an empty engine to registries that serve.

use super::support::docker::Docker;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::{PASSWORD, USER, Upstream};
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::support::token_guard::TokenGuard;
use super::turns::beside_others;

/// Three pull-through mirrors with an upstream each, and a push registry, applied.
struct Applied {
    scenario: Scenario,
    upstreams: Vec<Upstream>,
    mirrors: Vec<Mirror>,
    push: Mirror,
}

impl Applied {
    fn new(name: &str, prepare: impl Fn(&Upstream)) -> Self {
        let scenario = Scenario::new(name);
        scenario.create_network();
        let hosts = ["docker.io", "ghcr.io", "quay.example:8443"];
        let upstreams: Vec<Upstream> =
            (0..hosts.len()).map(|i| Upstream::start(&scenario.docker, &format!("{name}-up{i}"))).collect();
        upstreams.iter().for_each(prepare);
        let mirrors: Vec<Mirror> =
            hosts.iter().zip(&upstreams).map(|(host, up)| Mirror::of(host, up.url(), free_port())).collect();
        let push = Mirror::push(free_port());
        let applied = Self { scenario, upstreams, mirrors, push };
        applied.scenario.write(&applied.all());
        applied.scenario.apply();
        applied
    }

    fn all(&self) -> Vec<Mirror> {
        self.mirrors.iter().chain([&self.push]).cloned().collect()
    }
}

#[test]
fn apply_ends_when_all_four_answer_and_they_are_what_the_design_says() {
    let _turn = beside_others();
    let applied = Applied::new("empty", |_| ());
    // At once, without polling: that is what the exit code promises.
    for mirror in applied.all() {
        assert!(http::serves(mirror.host_port()), "{} answers as soon as apply has ended", mirror.host);
    }
    let scenario = &applied.scenario;
    assert_eq!(scenario.containers(), scenario.expected(&applied.all()));
    for mirror in applied.all() {
        is_as_designed(scenario, &mirror);
    }
}

fn is_as_designed(scenario: &Scenario, mirror: &Mirror) {
    let container = scenario.running(mirror);
    let name = scenario.container_name(mirror);
    assert_eq!(container.name(), name);
    assert_eq!(container.state(), "running");
    assert_eq!(container.restart_policy(), "always");
    assert_eq!(container.image(), "registry:3");

    let labels = container.labels();
    let role = if mirror.upstream.is_some() { "mirror" } else { "push" };
    for (key, value) in [
        ("managed-by", "ksail"),
        ("cluster", scenario.cluster.as_str()),
        ("host", mirror.host.as_str()),
        ("role", role),
    ] {
        assert_eq!(labels.get(&format!("ksail.dev/{key}")).map(String::as_str), Some(value), "label {key} of {name}");
    }
    let ours: Vec<&String> =
        labels.keys().filter(|key| key.starts_with("ksail.dev/") && !key.contains("test")).collect();
    assert_eq!(ours.len(), 4, "{ours:?}");

    assert_eq!(container.mounts(), [("volume".to_owned(), name.clone(), "/var/lib/registry".to_owned())]);
    assert!(container.inspected.pointer("/HostConfig/Privileged").is_some_and(|privileged| privileged == false));
    let port = mirror.host_port().to_string();
    assert_eq!(container.bindings(), [("127.0.0.1".to_owned(), port.clone())], "asked for by {name}");
    assert_eq!(container.bound(), [("127.0.0.1".to_owned(), port)], "bound by {name}");
    assert!(container.aliases(&scenario.network).contains(&name), "alias of {name} on the cluster's network");
    assert_eq!(container.env().get("REGISTRY_PROXY_REMOTEURL"), mirror.upstream.as_ref());
    let volumes = scenario.docker.volumes_labelled(&format!("ksail.dev/cluster={}", scenario.cluster));
    assert!(volumes.contains(&name), "the volume of {name} is labelled");
}

#[test]
fn an_image_pulled_through_each_mirror_is_the_upstreams_and_stays_when_the_upstream_stops() {
    let _turn = beside_others();
    let image = Image::containing(&format!("pulled through {}", sweep::prefix()));
    let applied = Applied::new("pull", |upstream| upstream.push(&image, "team/tool", "1.0"));
    let docker = &applied.scenario.docker;
    for mirror in &applied.mirrors {
        assert_eq!(pull_digest(docker, mirror.host_port(), "team/tool:1.0"), image.digest());
        image.fetch(mirror.host_port(), "team/tool", "1.0").expect("the upstream's bytes");
        applied.scenario.await_cached(mirror, &image, "team/tool");
    }
    for upstream in &applied.upstreams {
        upstream.stop();
    }
    for mirror in &applied.mirrors {
        image.fetch(mirror.host_port(), "team/tool", "1.0").expect("cached content needs no upstream");
    }
}

#[test]
fn the_push_registry_takes_an_image_and_gives_it_back_and_a_mirror_refuses_it() {
    let _turn = beside_others();
    let image = Image::containing(&format!("pushed {}", sweep::prefix()));
    let applied = Applied::new("push", |upstream| upstream.push(&image, "team/app", "dev"));
    let docker = &applied.scenario.docker;

    // By the docker command, as a developer does it.
    let from = format!("127.0.0.1:{}/team/app:dev", applied.upstreams[0].port);
    let to = format!("localhost:{}/team/app:dev", applied.push.host_port());
    docker.run(&["pull", "-q", &from]);
    docker.run(&["tag", &from, &to]);
    docker.run(&["push", &to]);
    docker.run(&["rmi", &from, &to]);
    docker.run(&["pull", "-q", &to]);
    docker.run(&["rmi", &to]);

    // And by the API, where the bytes can be compared.
    image.push(applied.push.host_port(), "team/other", "dev").expect("a push registry takes a push");
    image.fetch(applied.push.host_port(), "team/other", "dev").expect("and gives it back");
    let refused = image.push(applied.mirrors[0].host_port(), "team/app", "dev").expect_err("a mirror takes no push");
    assert!(refused.contains(" 405 "), "refused by the registry itself: {refused}");
}

/// Pulls by the docker command and returns the digest it found.
fn pull_digest(docker: &Docker, port: u16, image: &str) -> String {
    let reference = format!("127.0.0.1:{port}/{image}");
    docker.run(&["pull", "-q", &reference]);
    let digest = docker.run(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &reference]);
    docker.run(&["rmi", &reference]);
    digest.split_once('@').map(|(_, digest)| digest.to_owned()).expect("a digest")
}

#[test]
fn an_image_that_cannot_be_pulled_is_reported_in_the_engines_words() {
    let _turn = beside_others();
    let scenario = Scenario::new("no-image");
    let mirror = Mirror::push(free_port());
    // Nothing listens on port 1: the engine is refused at once, wherever this runs.
    let image = "127.0.0.1:1/no/registry:3";
    let text = scenario.text(std::slice::from_ref(&mirror));
    scenario.write_text(&text.replace("  registries:\n", &format!("  registries:\n    image: {image}\n")));
    let applied = scenario.ksail(&["apply", "--timeout", "10s"]);
    assert_eq!(applied.code, 1, "{applied}");
    for words in ["ImagePullFailed", image, "connection refused"] {
        assert!(format!("{applied}").contains(words), "{words:?} is in: {applied}");
    }
    assert_eq!(scenario.containers(), Vec::<String>::new());
}

#[test]
fn an_image_without_a_shell_or_programs_is_enough_for_a_mirror_with_credentials() {
    let _turn = beside_others();
    let scenario = Scenario::new("bare");
    let open = Upstream::start(&scenario.docker, "bare-up");
    let image = Image::containing("bare");
    open.push(&image, "team/app", "1");
    let guarded = TokenGuard::before(&open);
    let credentials = "credentials: {username: \"${HUB_USER}\", password: \"${HUB_PASSWORD}\"}";
    let mirror = Mirror::of("docker.io", guarded.url(), free_port()).with(credentials);
    let push = Mirror::push(free_port());
    let text = scenario.text(&[mirror.clone(), push.clone()]);
    scenario.write_text(&text.replace("  registries:\n", "  registries:\n    image: ksail-test/registry:bare\n"));
    let environment = [("HUB_USER", USER), ("HUB_PASSWORD", PASSWORD)];
    let applied = scenario.ksail_with(&environment, &["apply"]);
    assert_eq!(applied.code, 0, "{applied}");
    image.fetch(mirror.host_port(), "team/app", "1").expect("what only those with the password get");
    image.push(push.host_port(), "team/app", "1").expect("a push registry takes a push");
    let again = scenario.ksail_with(&environment, &["diff"]);
    assert_eq!(again.code, 0, "there is nothing left to do: {again}");
}
