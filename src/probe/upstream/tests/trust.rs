//! Certificates: whom the registry trusts, and what is told of the others.

use super::server::{Authority, answer, self_signed};
use super::*;
use crate::manifest::Ca;

const UNTRUSTED: &str = "the registry trusts nobody who signed its certificate; give the CA: 'ca: FILE.pem'";

fn trusting(upstream: &str, pem: &str) -> Route {
    Route { ca: Some(Ca { path: "ca.pem".into(), pem: pem.to_owned() }), ..route(upstream) }
}

fn untrusted(why: &str) -> UpstreamAnswer {
    UpstreamAnswer::Untrusted(why.to_owned())
}

async fn registry(tls: rustls::ServerConfig) -> Server {
    Server::over_tls(tls, |_| answer("200 OK", &[], "{}")).await
}

#[tokio::test]
async fn a_certificate_of_an_authority_is_trusted_when_that_is_given_and_not_otherwise() {
    let authority = Authority::new();
    let registry = registry(authority.sign("127.0.0.1", |_| ())).await;
    assert_eq!(asked(&route(&registry.url())).await, untrusted(UNTRUSTED));
    assert_eq!(asked(&trusting(&registry.url(), &authority.pem())).await, UpstreamAnswer::Answers);
    let others = Authority::new().pem() + &authority.pem();
    assert_eq!(asked(&trusting(&registry.url(), &others)).await, UpstreamAnswer::Answers, "one of several");
}

#[tokio::test]
async fn another_authority_than_was_given_is_told_with_the_file() {
    let registry = registry(Authority::new().sign("127.0.0.1", |_| ())).await;
    let expected = untrusted("nobody in 'ca: ca.pem' signed its certificate; put in who did");
    assert_eq!(asked(&trusting(&registry.url(), &Authority::new().pem())).await, expected);
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_when_it_is_given_as_go_does_it() {
    let (tls, pem) = self_signed("127.0.0.1");
    let registry = registry(tls).await;
    assert_eq!(asked(&route(&registry.url())).await, untrusted(UNTRUSTED));
    assert_eq!(asked(&trusting(&registry.url(), &pem)).await, UpstreamAnswer::Answers);
    let (other, pem) = self_signed("127.0.0.9");
    let other = self::registry(other).await;
    let expected = untrusted("its certificate is for other names; write one of those in 'upstream'");
    assert_eq!(asked(&trusting(&other.url(), &pem)).await, expected);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_says_why() {
    let authority = Authority::new();
    let cases = [
        (
            authority.sign("127.0.0.1", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)),
            "its certificate has expired; it is to be renewed there",
        ),
        (
            authority.sign("127.0.0.1", |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)),
            "its certificate is not valid yet; look at the clocks of both machines",
        ),
        (authority.sign("other.test", |_| ()), "its certificate is for other names; write one of those in 'upstream'"),
    ];
    for (tls, why) in cases {
        let registry = registry(tls).await;
        assert_eq!(asked(&trusting(&registry.url(), &authority.pem())).await, untrusted(why));
    }
}
