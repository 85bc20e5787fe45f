//! Who asks: what is sent where, and what comes of it.

use super::server::{Authority, answer, authorization, guard, header};
use super::*;
use crate::manifest::Ca;

const REFUSED: &str = "refuses the credentials (401), which are not sent again; set others";
const NONE: &str = "wants a user name and a password; give the mirror 'credentials: {username, password}'";

/// One that wants user name and password at once.
async fn basic() -> Server {
    Server::answering(|request| match authorization(request) {
        Some("Basic c29tZS11c2VyOmh1bnRlcjI=") => answer("200 OK", &[], "{}"),
        _ => answer("401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""], "{}"),
    })
    .await
}

/// One whose token server says this.
async fn giving_tokens(says: String) -> Server {
    Server::answering(move |request| {
        let realm = format!("http://{}/token", header(request, "host: ").unwrap());
        if request[0].starts_with("GET /token") { says.clone() } else { guard(request, &realm) }
    })
    .await
}

#[tokio::test]
async fn the_right_password_is_taken_with_and_without_a_token() {
    for registry in [basic().await, Server::guarded().await] {
        assert_eq!(asked(&with_password(&registry.url(), "hunter2")).await, UpstreamAnswer::Answers);
        assert!(registry.told_who() > 0);
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_and_without_a_token_and_sent_once() {
    for registry in [basic().await, Server::guarded().await] {
        assert_eq!(asked(&with_password(&registry.url(), "wrong")).await, unauthorized(REFUSED));
        assert_eq!(registry.told_who(), 1);
    }
}

#[tokio::test]
async fn no_password_where_one_is_wanted_is_unauthorized() {
    let registry = basic().await;
    assert_eq!(asked(&route(&registry.url())).await, unauthorized(NONE));
    assert_eq!(asked_as(&route(&registry.url()), Ask::Plainly).await, unauthorized(NONE));
    let private = giving_tokens(answer("401 Unauthorized", &[], "")).await;
    assert_eq!(asked(&route(&private.url())).await, unauthorized(NONE));
}

#[tokio::test]
async fn nothing_is_said_of_who_asks_unless_it_is_asked_for() {
    for registry in [basic().await, Server::guarded().await] {
        let answer = asked_as(&with_password(&registry.url(), "hunter2"), Ask::Plainly).await;
        assert_eq!((answer, registry.told_who()), (UpstreamAnswer::Answers, 0));
    }
}

#[tokio::test]
async fn a_token_server_on_another_host_is_not_asked() {
    let tokens = Server::guarded().await;
    let realm = format!("{}/token", tokens.url());
    let registry = Server::answering(move |request| guard(request, &realm)).await;
    let expected = broken(&format!(
        "gives tokens at {}, which registry 3 does not trust; take an upstream of its domain",
        tokens.address
    ));
    assert_eq!(asked(&with_password(&registry.url(), "hunter2")).await, expected);
    assert_eq!(asked_as(&route(&registry.url()), Ask::Plainly).await, expected);
    assert_eq!((tokens.requests().len(), registry.told_who()), (0, 0));
}

#[tokio::test]
async fn a_token_server_that_is_less_safe_than_the_upstream_is_not_asked() {
    let tokens = Server::guarded().await;
    let realm = format!("{}/token", tokens.url());
    let authority = Authority::new();
    let registry = Server::over_tls(authority.sign("127.0.0.1", |_| ()), move |request| guard(request, &realm)).await;
    let ca = Ca { path: "ca.pem".into(), pem: authority.pem() };
    let route = Route { ca: Some(ca), ..with_password(&registry.url(), "hunter2") };
    let expected = broken("wants a password sent unencrypted to its token server; that is for whoever runs it");
    assert_eq!(asked(&route).await, expected);
    assert_eq!((tokens.requests().len(), registry.told_who()), (0, 0));
}

#[tokio::test]
async fn a_host_that_the_upstream_sends_to_is_not_told_the_password() {
    let other = basic().await;
    // Another name for the same machine: another host.
    let to = format!("Location: http://localhost:{}/v2/", other.address.port());
    let registry = Server::saying("307 Temporary Redirect", &[&to], "").await;
    let answer = asked(&with_password(&registry.url(), "hunter2")).await;
    let expected = format!(
        "sends on to localhost:{}, which is not told the password; write that host in 'upstream'",
        other.address.port()
    );
    assert_eq!(answer, broken(&expected));
    assert_eq!((other.told_who(), registry.told_who()), (0, 0));
}

#[tokio::test]
async fn what_comes_after_the_password_was_sent_is_not_sent_on_to_another_host() {
    let other = Server::saying("200 OK", &[], "{}").await;
    let to = format!("Location: http://localhost:{}/v2/", other.address.port());
    let registry = Server::answering(move |request| match authorization(request) {
        None => answer("401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""], ""),
        Some(_) => answer("307 Temporary Redirect", &[&to], ""),
    })
    .await;
    assert_eq!(asked(&with_password(&registry.url(), "hunter2")).await, UpstreamAnswer::Answers);
    assert_eq!((other.requests().len(), other.told_who(), registry.told_who()), (1, 0, 1));
}

#[tokio::test]
async fn a_token_that_is_no_json_and_a_token_server_in_trouble_are_broken() {
    let cases = [
        (answer("200 OK", &[], "<html>"), "answers no JSON; that is for whoever runs it"),
        (answer("200 OK", &[], "{\"token\": \"\"}"), "gives no token; that is for whoever runs it"),
        (answer("503 Service Unavailable", &[], ""), "answers 503 Service Unavailable; that is for whoever runs it"),
    ];
    for (says, why) in cases {
        let registry = giving_tokens(says).await;
        let expected = broken(&format!("its token server {} {why}", registry.address));
        assert_eq!(asked(&with_password(&registry.url(), "hunter2")).await, expected);
    }
}

#[tokio::test]
async fn a_challenge_that_is_none_is_told_as_one() {
    let registry = Server::saying("401 Unauthorized", &["WWW-Authenticate: NTLM"], "").await;
    assert_eq!(asked(&route(&registry.url())).await, broken("answers 401, and not how to log in; look at the address"));
}
