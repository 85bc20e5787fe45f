//! A mirror that moves to another port, and one whose port is somebody else's.

use std::time::Duration;

use super::support::deadline::eventually;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

#[test]
fn another_port_recreates_that_mirror_alone_and_keeps_its_content() {
    let _turn = beside_others();
    let scenario = Scenario::new("port");
    let image = Image::containing(&format!("kept over a move {}", sweep::prefix()));
    let upstream = Upstream::start(&scenario.docker, "port-up");
    upstream.push(&image, "team/tool", "1.0");
    let mirror = Mirror::of("docker.io", upstream.url(), free_port());
    let others = [Mirror::of("ghcr.io", upstream.url(), free_port()), Mirror::push(free_port())];
    let [other, push] = others.clone();
    scenario.write(&[mirror.clone(), other.clone(), push.clone()]);
    scenario.apply();
    image.fetch(mirror.host_port(), "team/tool", "1.0").expect("through the mirror");
    scenario.await_cached(&mirror, &image, "team/tool");
    let before = scenario.running(&mirror);
    let untouched = others.each_ref().map(|mirror| scenario.running(mirror).identity());

    let moved = mirror.at(free_port());
    scenario.write(&[moved.clone(), other, push]);
    let applied = scenario.apply();
    assert!(applied.stdout.contains(&mirror.host_port().to_string()), "the cause names the old port: {applied}");
    let after = scenario.running(&moved);
    assert_ne!(after.id(), before.id(), "a port cannot be changed in place");
    assert_eq!(after.mounts(), before.mounts(), "the same volume");
    assert!(!http::serves(mirror.host_port()), "the old port is free");
    assert_eq!(others.each_ref().map(|mirror| scenario.running(mirror).identity()), untouched);

    upstream.stop();
    image.fetch(moved.host_port(), "team/tool", "1.0").expect("cached content is still there");
}

#[test]
fn a_port_that_is_taken_leaves_the_old_one_serving_and_is_used_once_it_is_free() {
    let _turn = beside_others();
    let scenario = Scenario::new("taken-later");
    let upstream = Upstream::start(&scenario.docker, "taken-up");
    let (mirror, bystander) = (Mirror::of("docker.io", upstream.url(), free_port()), Mirror::push(free_port()));
    scenario.write(&[mirror.clone(), bystander.clone()]);
    let mut watch = scenario.watch();
    let untouched = scenario.running(&bystander).identity();

    let taken = free_port();
    let holder = format!("{}-holder", scenario.cluster);
    let label = sweep::label();
    scenario.docker.line(&format!(
        "run -d --pull never --name {holder} --label {label} -p 127.0.0.1:{taken}:5000 ksail-test/silent:1"
    ));
    let moved = mirror.at(taken);
    let mark = watch.mark();
    scenario.write(&[moved.clone(), bystander.clone()]);
    let refused = watch.await_event_since(mark, "PortInUse", Duration::from_secs(10), |event| {
        event.is("condition") && event.text("mirror") == mirror.host && event.text("reason") == "PortInUse"
    });
    assert!(refused.text("message").contains(&holder), "names the holder: {}", refused.json);
    eventually("the old one serves", Duration::from_secs(3), || {
        if scenario.serves(&mirror) { Ok(()) } else { Err("no answer".to_owned()) }
    });
    let status = scenario.ksail(&["status"]);
    assert_eq!(status.code, 1, "{status}");
    assert!(status.stdout.contains("PortInUse"), "{status}");

    scenario.docker.run(&["rm", "-f", &holder]);
    let both = [moved, bystander.clone()];
    eventually("it moves by itself", Duration::from_secs(20), || scenario.converged(&both));
    assert_eq!(scenario.running(&bystander).identity(), untouched);
    assert_eq!(watch.stop(), Some(0));
    assert_eq!(scenario.ksail(&["diff"]).code, 0);
}

#[test]
fn a_port_taken_by_a_program_is_reported_with_the_next_free_one() {
    let _turn = beside_others();
    let scenario = Scenario::new("taken-new");
    let taken = free_port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken)).expect("it was free");
    let (blocked, fine) = (Mirror::push(taken), Mirror::push(free_port()));
    scenario.write(&[blocked.clone(), fine.clone()]);
    let applied = scenario.ksail(&["apply", "--timeout", "5s"]);
    assert!(matches!(applied.code, 1 | 3), "{applied}");
    assert!(
        format!("{applied}").contains("PortInUse") || format!("{applied}").contains(&taken.to_string()),
        "{applied}"
    );
    assert!(scenario.serves(&fine), "one broken mirror delays no other");
    drop(holder);
    scenario.apply();
    assert_eq!(scenario.converged(&[blocked, fine]), Ok(()));
}
