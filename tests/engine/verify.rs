//! `verify` proves that pulls go through a mirror, or names the hop where they do not.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::support::deadline::{eventually, holds};
use super::support::for_nodes::ForNodes;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::registry::{PASSWORD, USER, Upstream};
use super::support::scenario::{Finished, Scenario, free_port};
use super::support::token_guard::TokenGuard;
use super::turns::beside_others;

const IMAGE: &str = "docker.io/team/app:1";

/// One node, and one mirror of an upstream with an image that is not cached yet.
struct OneNode {
    node: Node,
    upstream: Upstream,
    mirror: Mirror,
    scenario: Scenario,
}

impl OneNode {
    fn applied(name: &str) -> Self {
        let scenario = Scenario::new(name);
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        upstream.push(&Image::containing(name), "team/app", "1");
        let node = Node::kind(&scenario, "control-plane");
        let mirror = Mirror::of("docker.io", upstream.url(), free_port());
        scenario.write(std::slice::from_ref(&mirror));
        scenario.apply();
        Self { node, upstream, mirror, scenario }
    }

    fn verify(&self, arguments: &[&str]) -> Finished {
        self.scenario.ksail(&[&["verify"], arguments].concat())
    }

    fn container(&self) -> String {
        self.scenario.container_name(&self.mirror)
    }

    fn docker(&self, args: &[&str]) {
        self.scenario.docker.run(args);
    }

    /// Nothing tells of the pulls that were made, and nothing takes up room.
    fn nothing_is_left(&self) {
        assert!(!self.node.namespaces().iter().any(|name| name == "ksail-verify"), "{:?}", self.node.namespaces());
        assert!(!self.node.has_image(IMAGE));
        let blobs = Path::new("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256");
        let blobs = self.node.exec(&["ls", blobs.to_str().unwrap_or_default()]);
        assert_eq!(String::from_utf8_lossy(&blobs.stdout), "", "no content");
    }
}

/// Ended with 1 for this hop, with these words, and in JSON likewise.
fn breaks_at(verified: &Finished, hop: &str, words: &str) {
    assert_eq!(verified.code, 1, "{verified}");
    let said = format!(" breaks at {hop}: ");
    assert!(verified.stdout.contains(&said) && verified.stdout.contains(words), "{said:?} {words:?}: {verified}");
}

#[test]
fn a_pull_that_comes_through_is_proven_and_leaves_nothing_on_the_node() {
    let _turn = beside_others();
    let one = OneNode::applied("proven-pull");
    let nothing_cached = one.verify(&[]);
    assert_eq!(nothing_cached.code, 1, "{nothing_cached}");
    assert!(
        nothing_cached.stdout.contains("not proven: nothing cached yet; ksail verify docker.io --image "),
        "{nothing_cached}"
    );

    let named = one.verify(&["--image", IMAGE]);
    assert_eq!(named.code, 0, "{named}");
    assert!(named.stdout.contains(&format!("proven: {IMAGE} came through the mirror")), "{named}");
    one.nothing_is_left();

    one.scenario.await_cached(&one.mirror, &Image::containing("proven-pull"), "team/app");
    let cached = one.verify(&["docker.io", "-o", "json"]);
    assert_eq!(cached.code, 0, "{cached}");
    let proof = &cached.json()["proofs"][0];
    assert_eq!((&proof["proven"], &proof["image"]), (&true.into(), &IMAGE.into()), "{cached}");
    assert_eq!((&proof["host"], &proof["node"]), (&"docker.io".into(), &one.node.name().into()), "{cached}");
    let requests = proof["requests"].as_object().expect("they are counted by status");
    assert!(requests["200"].as_u64().is_some_and(|requests| requests > 0) && requests.len() == 1, "{cached}");
    one.nothing_is_left();

    for wrong in [&["quay.io"][..], &["--image", "quay.io/team/app:1"], &["--no-such-option"]] {
        let refused = one.verify(wrong);
        assert_eq!(refused.code, 2, "{wrong:?}: {refused}");
    }
}

#[test]
fn an_image_that_was_pushed_proves_a_registry_to_push_to() {
    let _turn = beside_others();
    let scenario = Scenario::new("proven-push");
    let push = Mirror::push(free_port());
    let _node = Node::kind_next(&scenario, "control-plane");
    scenario.write(std::slice::from_ref(&push));
    scenario.apply();
    let (unasked, asked) = (scenario.ksail(&["verify"]), scenario.ksail(&["verify", &push.host]));
    assert!(unasked.stdout.contains(": passed over: nothing pushed yet"), "{unasked}");
    assert!(asked.stdout.contains(": not proven: nothing pushed yet"), "{asked}");
    assert_eq!((unasked.code, asked.code), (1, 1), "nothing was proven: {unasked}{asked}");
    Image::containing("pushed").push(push.host_port(), "team/app", "dev").expect("a push registry takes a push");
    let verified = scenario.ksail(&["verify"]);
    assert_eq!(verified.code, 0, "{verified}");
    assert!(
        verified.stdout.contains(&format!("proven: {}/team/app:dev came from the registry", push.host)),
        "{verified}"
    );
}

#[test]
fn the_hop_that_breaks_is_named() {
    let _turn = beside_others();
    let one = OneNode::applied("hops");
    let (node, container) = (&one.node, one.container());
    let path = node.hosts_toml_path("docker.io");
    let of_ksail = node.hosts_toml("docker.io").expect("it is wired");

    // While its upstream runs and nothing is cached, so that each pull has to go all the way.
    node.exec(&["rm", &path]);
    breaks_at(&one.verify(&["--image", IMAGE]), "node file", &format!("{path} is missing"));
    node.write(&path, "server = \"http://elsewhere.example\"\n");
    breaks_at(&one.verify(&["--image", IMAGE]), "node file", &format!("{path} was not written by ksail"));
    node.write(&path, &of_ksail);

    one.docker(&["pause", &container]);
    breaks_at(&one.verify(&["--image", IMAGE]), "mirror", &format!("container {container} is paused"));
    one.docker(&["unpause", &container]);
    one.docker(&["stop", "-t", "1", &container]);
    breaks_at(&one.verify(&["--image", IMAGE]), "mirror", &format!("container {container} is exited"));
    one.docker(&["start", &container]);
    one.scenario.apply();

    one.docker(&["network", "disconnect", &one.scenario.network, &container]);
    let words =
        format!("the name {container}: it is not on network {}; 'ksail apply' mends that", one.scenario.network);
    breaks_at(&one.verify(&["--image", IMAGE]), "DNS", &words);
    one.scenario.apply();
    let address = one.scenario.running(&one.mirror).address_on(&one.scenario.network);
    node.ip(&["route", "add", "unreachable", &address]);
    breaks_at(&one.verify(&["--image", IMAGE]), "connect", "no route to host");
    node.ip(&["route", "del", "unreachable", &address]);

    let proven = one.verify(&["--image", IMAGE]);
    assert_eq!(proven.code, 0, "all is well again: {proven}");
    breaks_at(&one.verify(&["--image", "docker.io/team/app:2"]), "upstream", "has no docker.io/team/app:2");
    one.upstream.stop();
    let stopped = one.verify(&["docker.io", "--image", "docker.io/team/app:2", "-o", "json"]);
    assert_eq!(stopped.code, 1, "{stopped}");
    let proof = &stopped.json()["proofs"][0];
    assert_eq!((&proof["proven"], &proof["hop"]), (&false.into(), &"upstream".into()), "{stopped}");
    assert!(proof["message"].as_str().is_some_and(|why| why.contains("cannot be reached")), "{stopped}");
    one.nothing_is_left();
}

#[test]
fn credentials_that_are_missing_or_wrong_are_named_and_the_right_ones_are_proven() {
    let _turn = beside_others();
    let scenario = Scenario::new("credentials");
    let open = Upstream::start(&scenario.docker, "credentials-up");
    open.push(&Image::containing("guarded"), "team/app", "1");
    let (by_password, by_token) = (open.guarded(), TokenGuard::before(&open));
    let _node = Node::kind(&scenario, "control-plane");
    let port = free_port();
    let credentials = "credentials: {username: \"${HUB_USER}\", password: \"${HUB_PASSWORD}\"}";
    let try_at = |upstream: &str, password: Option<&str>| {
        let mirror = Mirror::of("docker.io", upstream, port);
        scenario.write(&[if password.is_some() { mirror.with(credentials) } else { mirror }]);
        let environment = [("HUB_USER", USER), ("HUB_PASSWORD", password.unwrap_or_default())];
        let applied = scenario.ksail_with(&environment, &["apply"]);
        assert_eq!(applied.code, 0, "{applied}");
        let verified = scenario.ksail_with(&environment, &["verify", "--image", IMAGE]);
        let said = format!("{applied}{verified}");
        assert!(password.is_none_or(|password| !said.contains(password)), "{said}");
        verified
    };

    breaks_at(&try_at(by_password.url(), None), "credentials", "ksail.yaml has no");
    breaks_at(&try_at(by_password.url(), Some("wrong-one")), "credentials", "refuses the credentials of ksail.yaml");
    breaks_at(&try_at(by_token.url(), Some("wrong-one")), "credentials", "refuses the credentials of ksail.yaml");
    let proven = try_at(by_token.url(), Some(PASSWORD));
    assert_eq!(proven.code, 0, "{proven}");
}

/// What stands for the client on a node: after a fetch it waits until it is told to go on.
const WAITS: &str = r#"#!/bin/sh
/usr/bin/ctr "$@"
ended=$?
case "$*" in *" content fetch "*)
    touch /run/fetched
    while [ ! -e /run/go-on ]; do sleep 0.1; done
esac
exit $ended
"#;

/// Runs `verify`, and asks the mirror three thousand times whether it is there when the node has pulled and the log has
/// not been read yet.
fn with_probes_after_the_pull(node: &Node, port: u16, verify: impl Fn() -> Finished + Sync) -> Finished {
    node.write("/usr/local/bin/ctr", WAITS);
    node.exec(&["chmod", "755", "/usr/local/bin/ctr"]);
    node.exec(&["rm", "-f", "/run/fetched", "/run/go-on"]);
    let verified = thread::scope(|scope| {
        let verifying = scope.spawn(&verify);
        eventually("the node has pulled", Duration::from_secs(30), || {
            holds(node.exec(&["test", "-e", "/run/fetched"]).status.success(), "not yet")
        });
        let answered = (0..3_000).filter(|_| http::serves(port)).count();
        node.exec(&["touch", "/run/go-on"]);
        assert_eq!(answered, 3_000);
        verifying.join().expect("ksail runs")
    });
    node.exec(&["rm", "/usr/local/bin/ctr"]);
    verified
}

#[test]
fn a_pull_that_goes_around_the_mirror_is_not_proven_whatever_its_log_is_full_of_and_an_honest_one_is() {
    let _turn = beside_others();
    let scenario = Scenario::new("around");
    let content = Upstream::start(&scenario.docker, "around-up");
    content.push(&Image::containing("around"), "team/app", "1");
    let upstream = ForNodes::before(&content, 500);
    let node = Node::kind(&scenario, "control-plane");
    let port = free_port();
    scenario.write(&[Mirror::of("docker.io", upstream.url(), port)]);
    scenario.apply();
    let verify = || scenario.ksail(&["verify", "--image", "team/app:1", "-o", "json"]);
    let went_around = |verified: &Finished| {
        assert_eq!(verified.code, 1, "{verified}");
        let proof = &verified.json()["proofs"][0];
        let said = proof["message"].as_str().unwrap_or_default();
        assert_eq!((&proof["proven"], &proof["image"]), (&false.into(), &IMAGE.into()), "{verified}");
        assert!(said.starts_with("mirror answered ") && said.contains("; containerd went around it: "), "{verified}");
        let requests = proof["requests"].as_object().expect("they are counted by status");
        assert!(!requests.is_empty() && requests.keys().all(|status| status.as_str() >= "400"), "{verified}");
    };

    node.pull(IMAGE).expect("the node gets it from the upstream");
    node.forget_images();
    for status in [500, 404, 401] {
        upstream.answer_with(status);
        went_around(&verify());
    }
    went_around(&with_probes_after_the_pull(&node, port, verify));
    upstream.answer_with(200);
    let honest = with_probes_after_the_pull(&node, port, verify);
    assert_eq!(honest.code, 0, "{honest}");
    let proof = &honest.json()["proofs"][0];
    assert!(proof["requests"]["200"].as_u64().is_some_and(|requests| (1..20).contains(&requests)), "{honest}");
}

#[test]
fn an_upstream_that_says_nothing_does_not_keep_a_command_for_longer_than_it_was_given() {
    let _turn = beside_others();
    let one = OneNode::applied("short-time");
    one.upstream.fall_silent();
    let verified = one.verify(&["--image", IMAGE, "--timeout", "6s"]);
    one.upstream.speak();
    assert_eq!(verified.code, 1, "{verified}");
    let said = &verified.stdout;
    assert!(said.contains(": breaks at ") || said.contains(": not tried: time is up"), "{verified}");
    assert!(verified.took > Duration::from_secs(2) && verified.took < Duration::from_secs(8), "{verified}");
}

#[test]
fn a_node_that_asks_a_proxy_in_place_of_the_mirror_is_named_with_the_line_to_write() {
    const PROXY: &str = "HTTP_PROXY=http://me:hunter2@127.0.0.1:9";
    let _turn = beside_others();
    let scenario = Scenario::new("node-proxy");
    let upstream = Upstream::start(&scenario.docker, "node-proxy-up");
    upstream.push(&Image::containing("proxied"), "team/app", "1");
    let mirror = Mirror::of("docker.io", upstream.url(), free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let name = scenario.container_name(&mirror);
    let no_proxy = format!("NO_PROXY=127.0.0.1,{name}");
    let verify = || scenario.ksail(&["verify", "--image", IMAGE]);

    let node = Node::kind_told(&scenario, "control-plane", &[PROXY, "NO_PROXY=127.0.0.1"], &[]);
    let applied = scenario.ksail(&["apply"]);
    assert!(applied.code == 1 && applied.stderr.contains("docker.io (NodeProxy)"), "{applied}");
    let said = scenario.status();
    assert_eq!(said.of_mirror("docker.io", "NodesWired").1, "NodeProxy", "{}", said.json);
    let (status, reason, message) = said.of_node(node.name(), "Wired");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NodeProxy"), "{message}");
    assert!(
        message.contains("asks the proxy http://127.0.0.1:9 in place of") && message.contains(&no_proxy),
        "{message}"
    );
    let verified = verify();
    breaks_at(&verified, "proxy", &no_proxy);
    assert!(!format!("{applied}{message}{verified}").contains("hunter2"), "{applied}{message}{verified}");
    drop(node);

    // As after a drop-in for its service: the container still says the other thing.
    let node = Node::kind_told(&scenario, "control-plane", &[PROXY, "NO_PROXY=127.0.0.1"], &[&no_proxy]);
    scenario.apply();
    assert_eq!(scenario.status().of_mirror("docker.io", "NodesWired").1, "Wired");
    let verified = verify();
    assert_eq!(verified.code, 0, "{verified}");
    drop(node);

    let _node = Node::kind_told(&scenario, "control-plane", &[], &[PROXY]);
    scenario.apply();
    breaks_at(&verify(), "proxy", &format!("NO_PROXY={name}"));
}
