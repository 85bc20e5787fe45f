//! An upstream that has a name on the cluster's network only: what its mirror's registry has said of it is told.

use std::time::Duration;

use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

const HOST: &str = "registry.internal";

#[test]
fn what_its_registry_has_logged_says_whether_an_upstream_answers_that_cannot_be_asked_from_here() {
    let _turn = beside_others();
    let scenario = Scenario::new("only-cluster");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "only-cluster-up");
    let image = Image::containing("known to the cluster");
    upstream.push(&image, "team/app", "1.0");
    let url = upstream.join(&scenario.network);
    let mirror = Mirror::of(HOST, &url, free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let reachable = || scenario.status().of_mirror(HOST, "UpstreamReachable");
    let (status, reason, message) = reachable();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "UpstreamUnknown"), "{message}");

    image.fetch(mirror.host_port(), "team/app", "1.0").expect("through the mirror");
    let (status, reason, message) = reachable();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "UpstreamAnswers"), "{message}");
    assert_eq!(message, format!("{url} answers as a registry, by the log of its mirror"));

    upstream.stop();
    let missing = format!("/v2/team/app/blobs/sha256:{}", "0".repeat(64));
    assert_eq!(http::get(mirror.host_port(), &missing).expect("an answer").status, 500);
    let (status, reason, message) = reachable();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamUnreachable"), "{message}");
    assert!(message.contains(": by the log of its mirror at ") && message.contains(": no such host; "), "{message}");

    let mut watch = scenario.watch();
    let told = watch.await_event("it is told", Duration::from_secs(10), |event| {
        event.is_condition(HOST, "UpstreamReachable", "False")
    });
    assert_eq!(told.text("reason"), "UpstreamUnreachable", "{}", told.json);
    watch.stop();
}
