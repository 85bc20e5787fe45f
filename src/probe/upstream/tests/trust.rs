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

/// In a process of its own, since whom a machine trusts is read from the environment: it runs this test again there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_only_this_machine_trusts_is_told_as_that() {
    const URL: &str = "KSAIL_TEST_UPSTREAM";
    const NAME: &str = "probe::upstream::tests::trust::what_only_this_machine_trusts_is_told_as_that";
    if let Ok(url) = std::env::var(URL) {
        let why = "only this machine trusts its certificate, not the registry; give the CA: 'ca: FILE.pem'";
        assert_eq!(asked(&route(&url)).await, untrusted(why));
        return;
    }
    let authority = Authority::new();
    let registry = registry(authority.sign("127.0.0.1", |_| ())).await;
    let mut trusted = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut trusted, authority.pem().as_bytes()).unwrap();
    let mut there = tokio::process::Command::new(std::env::current_exe().unwrap());
    there.args(["--exact", NAME]).env(URL, registry.url()).env("SSL_CERT_FILE", trusted.path());
    let there = there.output().await.unwrap();
    let said = String::from_utf8_lossy(&there.stdout);
    assert!(there.status.success() && said.contains("1 passed"), "{said}");
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
