//! What `apply`, and a `watch` that ends, leave behind while nobody is at the upstream: on a registry that does not start
//! without it (2.8), and on one that does (3).

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::serving_from_cache::{Cached, REPOSITORY, await_loss, is_served_from_cache};
use super::support::deadline::{eventually, holds};
use super::support::docker::{Container, Docker};
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::registry::Upstream;
use super::support::scenario::{Finished, Scenario, free_port, text};
use super::support::sweep;
use super::turns::beside_others;

const STARTED: Duration = Duration::from_secs(20);
const EXITS: Duration = Duration::from_secs(5);

/// Starts a mirror anew, as a restart of the engine does.
fn restart(scenario: &Scenario, mirror: &Mirror) {
    scenario.docker.run(&["restart", "-t", "0", &scenario.container_name(mirror)]);
}

/// Starts a mirror of registry 2 that cannot run without its upstream, and has an apply serve it from its cache.
fn apply_offline(scenario: &Scenario, mirror: &Mirror) -> Finished {
    restart(scenario, mirror);
    eventually("it cannot run", STARTED, || {
        let state = scenario.running(mirror).state();
        holds(state == "restarting", state)
    });
    scenario.apply()
}

#[test]
fn what_cannot_run_offline_is_served_read_only_by_an_apply_stays_so_after_a_watch_and_the_next_apply_brings_it_back() {
    let _turn = beside_others();
    let scenario = Scenario::new("cache-apply");
    let cached = Cached::of(&scenario, "docker.io", "applied");
    // Nothing of it was ever cached.
    let empty = Mirror::of("ghcr.io", cached.upstream.url(), free_port());
    scenario.write(std::slice::from_ref(&cached.mirror));
    scenario.apply();
    cached.fill();
    cached.upstream.stop();

    scenario.write(&[cached.mirror.clone(), empty.clone()]);
    let applied = apply_offline(&scenario, &cached.mirror);
    assert!(applied.stdout.contains("read-only"), "{applied}");
    says_why(&applied);
    cached.is_fetched_at_once();
    cached.is_served_from_cache();
    is_served_from_cache(&scenario, &empty);
    let untouched = || [&cached.mirror, &empty].map(|mirror| scenario.running(mirror).identity());
    let before = untouched();
    scenario.apply();
    assert_eq!(untouched(), before, "nothing to do as long as the upstream is away");
    let diff = scenario.ksail(&["diff"]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, "Nothing to do.\n"), "{diff}");
    let mut watch = scenario.watch();
    watch.signal("INT");
    assert_eq!(watch.await_exit(EXITS), Some(0), "{}", watch.stderr());
    assert_eq!(untouched(), before, "they would not start as what they were");
    cached.fetch().expect("it goes on being served");

    cached.upstream.start_again();
    scenario.apply();
    cached.new_images_come("2.0");
    cached.image.fetch(empty.host_port(), REPOSITORY, "1.0").expect("through the mirror that was empty");
}

/// The registry's own words, and no order to look for them.
fn says_why(applied: &Finished) {
    let words = applied.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("exits at once (exit code 2): its upstream does not answer it: dial tcp"), "{applied}");
    assert!(!words.contains("docker logs"), "{applied}");
}

/// What is served read-only says no to what it does not have, and nodes go around it to an upstream that is back.
#[test]
#[ignore = "long: tests/run --long"]
fn a_pull_from_a_mirror_that_is_served_from_its_cache_is_proven_and_one_that_goes_around_it_is_not() {
    let _turn = beside_others();
    let scenario = Scenario::new("cache-verify");
    let cached = Cached::of(&scenario, "docker.io", "verified");
    let _node = Node::kind(&scenario, "control-plane");
    scenario.write(std::slice::from_ref(&cached.mirror));
    scenario.apply();
    cached.fill();
    cached.upstream.push(&Image::containing("uncached"), REPOSITORY, "2.0");
    cached.upstream.stop();
    apply_offline(&scenario, &cached.mirror);
    cached.is_served_from_cache();

    let verify = |image: &[&str]| scenario.ksail(&[&["verify", "docker.io", "-o", "json"], image].concat());
    let uncached = ["--image", "docker.io/team/app:2.0"];
    let proven = verify(&[]);
    let proof = &proven.json()["proofs"][0];
    assert_eq!((proven.code, &proof["proven"]), (0, &true.into()), "{proven}");
    assert_eq!(proof["image"], "docker.io/team/app:1.0", "{proven}");

    for answer in ["the upstream is away", "the upstream has it"] {
        let around = verify(&uncached);
        let proof = &around.json()["proofs"][0];
        assert_eq!((around.code, &proof["proven"]), (1, &false.into()), "{answer}: {around}");
        if answer == "the upstream has it" {
            let said = proof["message"].as_str().unwrap_or_default();
            assert!(said.contains("mirror answered 404") && said.contains("containerd went around it"), "{around}");
        } else {
            cached.upstream.start_again();
        }
    }
}

/// Makes of registry 2 what registry 3 is at its start: it says which version it is, and with the helper for credentials
/// set that ksail names it needs no upstream. A proxy gives it the answer that it does not go without.
const STARTS_AS_THREE: &str = r#"#!/bin/sh
echo 'time="now" level=warning msg="No HTTP secret" version=v3.1.1' >&2
if [ -n "$REGISTRY_PROXY_EXEC_COMMAND" ]; then export HTTP_PROXY=@PROXY@; fi
exec /entrypoint.sh "$@"
"#;

/// An image of that, and its proxy. Gone, with what was made of it, when dropped.
struct AsThree {
    docker: Docker,
    cluster: String,
    image: String,
    proxy: String,
    is_closed: Arc<AtomicBool>,
}

impl AsThree {
    fn of(scenario: &Scenario, upstream: &Upstream) -> Self {
        let listener = TcpListener::bind((upstream.gateway(), 0)).expect("the engine's bridge is on this machine");
        let proxy = listener.local_addr().expect("it is bound").to_string();
        let (port, closed) = (upstream.port, Arc::new(AtomicBool::new(false)));
        let is_closed = Arc::clone(&closed);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                thread::spawn(move || answer(&client, port));
            }
        });

        let (docker, cluster) = (scenario.docker.clone(), scenario.cluster.clone());
        let (image, file) = (format!("{cluster}:as-three"), scenario.home.path().join("as-three"));
        let script = STARTS_AS_THREE.replace("@PROXY@", &format!("http://{proxy}"));
        fs::write(&file, script).expect("the directory is the test's own");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("it is the test's own");
        let container = docker.line(&format!("create --pull never --label {} registry:3", sweep::label()));
        docker.run(&["cp", text(&file), &format!("{container}:/as-three")]);
        let starts = [r#"ENTRYPOINT ["/as-three"]"#, r#"CMD ["/etc/distribution/config.yml"]"#];
        docker.run(&["commit", "--change", starts[0], "--change", starts[1], &container, &image]);
        docker.run(&["rm", "-v", &container]);
        Self { docker, cluster, image, proxy, is_closed }
    }

    /// Writes a manifest with these mirrors of this image.
    fn write(&self, scenario: &Scenario, mirrors: &[Mirror]) {
        let image = format!("  registries:\n    image: {}\n", self.image);
        scenario.write_text(&scenario.text(mirrors).replace("  registries:\n", &image));
    }
}

impl Drop for AsThree {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.proxy);
        sweep::cluster(&self.docker, &self.cluster);
        let _ = self.docker.output(&["image", "rm", &self.image]);
    }
}

/// Answers one request of a proxy's client, for an upstream that is away as well; the connection ends with it.
fn answer(client: &TcpStream, upstream: u16) -> Option<()> {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next()?;
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let mut words = request.split_whitespace();
    let (method, url) = (words.next()?, words.next()?);
    let path = url.find("/v2/").map(|at| &url[at..])?;
    let mut out = client;
    if http::hand_on(method, path, &head, upstream, &mut out).is_err() {
        let status = if path == "/v2/" { "200 OK" } else { "502 Bad Gateway" };
        write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
    client.shutdown(Shutdown::Write).ok()
}

fn asks_its_upstream(container: &Container, upstream: &Upstream) -> bool {
    let env = container.env();
    env.get("REGISTRY_PROXY_REMOTEURL").is_some_and(|url| url == upstream.url())
        && env.contains_key("REGISTRY_PROXY_EXEC_COMMAND")
        && container.state() == "running"
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_registry_that_starts_without_its_upstream_is_left_to_ask_it_by_an_apply_offline() {
    let _turn = beside_others();
    let scenario = Scenario::new("three-apply");
    let cached = Cached::of(&scenario, "docker.io", "three-applied");
    let three = AsThree::of(&scenario, &cached.upstream);
    three.write(&scenario, std::slice::from_ref(&cached.mirror));
    scenario.apply();
    cached.fill();

    cached.upstream.stop();
    restart(&scenario, &cached.mirror);
    eventually("it starts without", STARTED, || cached.fetch());
    let before = scenario.running(&cached.mirror);
    let applied = scenario.apply();
    assert!(applied.stdout.contains("upstream unreachable"), "{applied}");
    assert!(asks_its_upstream(&before, &cached.upstream), "{before:?}");
    assert_eq!(scenario.running(&cached.mirror).identity(), before.identity(), "{applied}");
    cached.fetch().expect("it is served all the same");
    cached.upstream.start_again();
    cached.new_images_come("2.0");
}

#[test]
fn a_watch_that_is_interrupted_offline_has_a_registry_that_starts_without_its_upstream_ask_it() {
    let _turn = beside_others();
    let scenario = Scenario::new("three-watch");
    let cached = Cached::of(&scenario, "docker.io", "three-watched");
    let three = AsThree::of(&scenario, &cached.upstream);
    three.write(&scenario, std::slice::from_ref(&cached.mirror));
    let mut watch = scenario.watch();
    cached.fill();

    cached.upstream.stop();
    let mark = watch.mark();
    // A save has the upstreams of all mirrors asked at once.
    three.write(&scenario, &[cached.mirror.clone(), Mirror::push(free_port())]);
    await_loss(&mut watch, mark, &cached.mirror);
    cached.is_served_from_cache();
    watch.signal("INT");
    assert_eq!(watch.await_exit(STARTED), Some(0), "{}", watch.stderr());
    let left = scenario.running(&cached.mirror);
    assert!(asks_its_upstream(&left, &cached.upstream), "{left:?}");
    cached.fetch().expect("it is served all the same");
    cached.upstream.start_again();
    cached.new_images_come("2.0");
}
