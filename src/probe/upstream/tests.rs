//! Each upstream is a real server on this machine's loopback, and each proxy one as well.

mod away;
mod broken;
mod login;
mod proxy;
mod server;
mod trust;

use std::time::Duration;

pub(in crate::probe) use self::server::Server;
use super::*;
use crate::manifest::{Credentials, Upstream};

/// Of an upstream with nothing else.
fn route(upstream: &str) -> Route {
    Route { upstream: upstream.parse().unwrap(), proxy: None, ca: None, credentials: None }
}

fn with_password(upstream: &str, password: &str) -> Route {
    let credentials = Credentials { username: "some-user".into(), password: password.into() };
    Route { credentials: Some(credentials), ..route(upstream) }
}

/// Asked with all that the registry would say, and with less patience for silence.
async fn asked(route: &Route) -> UpstreamAnswer {
    asked_as(route, Ask::WithCredentials).await
}

async fn asked_as(route: &Route, ask: Ask) -> UpstreamAnswer {
    let answer = Upstreams::default().ask_for(Duration::from_secs(2), route, ask).await;
    let told = answer.to_string();
    assert!(told.chars().count() <= 110, "{told}");
    assert!(!told.contains("some-user") && !told.contains("hunter2") && !told.contains('@') || told.contains("USER"));
    answer
}

fn broken(why: &str) -> UpstreamAnswer {
    UpstreamAnswer::Broken(why.to_owned())
}

fn unreachable(why: &str) -> UpstreamAnswer {
    UpstreamAnswer::Unreachable(why.to_owned())
}

fn unauthorized(why: &str) -> UpstreamAnswer {
    UpstreamAnswer::Unauthorized(why.to_owned())
}

#[tokio::test]
async fn two_hundred_and_a_challenge_are_good_answers() {
    let registry = Server::saying("200 OK", &["Docker-Distribution-Api-Version: registry/2.0"], "{}").await;
    assert_eq!(asked(&route(&registry.url())).await, UpstreamAnswer::Answers);
    let nameless = Server::saying("200 OK", &["Content-Type: application/json"], "{}").await;
    assert_eq!(asked(&route(&nameless.url())).await, UpstreamAnswer::Answers);
    let nothing = Server::saying("200 OK", &[], "").await;
    assert_eq!(asked(&route(&nothing.url())).await, UpstreamAnswer::Answers);
    let hub = Server::guarded().await;
    assert_eq!(asked_as(&route(&hub.url()), Ask::Plainly).await, UpstreamAnswer::Answers);
    let unsaid = Server::saying("401 Unauthorized", &["Docker-Distribution-Api-Version: registry/2.0"], "{}").await;
    assert_eq!(asked(&route(&unsaid.url())).await, UpstreamAnswer::Answers);
}

#[tokio::test]
async fn questions_to_one_upstream_take_one_connection() {
    let registry = Server::saying("200 OK", &[], "{}").await;
    let upstreams = Upstreams::default();
    for _ in 0..5 {
        assert_eq!(upstreams.ask(&route(&registry.url()), Ask::Plainly).await, UpstreamAnswer::Answers);
    }
    assert_eq!((registry.requests().len(), registry.connections()), (5, 1));
}

#[test]
fn ways_are_told_apart_by_all_that_belongs_to_them_and_only_so_many_are_kept() {
    let upstreams = Upstreams::default();
    let (plain, authorised) = (route("https://a.test"), with_password("https://a.test", "hunter2"));
    let proxied = Route { proxy: Some(crate::manifest::Proxy::default()), ..route("https://a.test") };
    let secret = Route { upstream: "https://a.test".parse::<Upstream>().unwrap().shown_as("${X}"), ..plain.clone() };
    let other = with_password("https://a.test", "other");
    let keys: std::collections::BTreeSet<_> =
        [&plain, &authorised, &other, &proxied, &secret].into_iter().map(RouteKey::of).collect();
    assert_eq!(keys.len(), 5);
    for route in [&plain, &authorised, &other, &secret] {
        upstreams.way(route).unwrap();
    }
    assert_eq!(upstreams.kept.lock().unwrap().ways.len(), 2, "who asks goes the same way");
    for n in 0..KEPT + 3 {
        upstreams.way(&route(&format!("http://u{n}.test"))).unwrap();
    }
    assert_eq!(upstreams.kept.lock().unwrap().ways.len(), KEPT);
    assert!(!format!("{upstreams:?}{keys:?}").contains("hunter2"));
}
