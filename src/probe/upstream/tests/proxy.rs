//! Through a proxy that wants to be told who asks. The names of the upstreams are known to nobody but it.

use super::server::{Authority, ConnectProxy, answer};
use super::*;
use crate::manifest::{Ca, Proxy, ProxyUrl};

fn through(upstream: &str, proxy: &str) -> Route {
    let proxy = || Some(ProxyUrl::new(proxy.to_owned()));
    Route { proxy: Some(Proxy { http: proxy(), https: proxy(), no_proxy: Vec::new() }), ..route(upstream) }
}

#[tokio::test]
async fn an_upstream_behind_a_proxy_is_reached_with_the_proxys_password() {
    let registry = Server::saying("200 OK", &[], "{}").await;
    let proxy = ConnectProxy::to(registry.address).await;
    let url = format!("http://user:hunter2@{}", proxy.address);
    assert_eq!(asked(&through("http://registry.invalid:5000", &url)).await, UpstreamAnswer::Answers);

    let authority = Authority::new();
    let tls = authority.sign("registry.invalid", |_| ());
    let registry = Server::over_tls(tls, |_| answer("200 OK", &[], "{}")).await;
    let proxy = ConnectProxy::to(registry.address).await;
    let url = format!("http://user:hunter2@{}", proxy.address);
    let route = through("https://registry.invalid:5000", &url);
    assert!(matches!(asked(&route).await, UpstreamAnswer::Untrusted(_)));
    let ca = Some(Ca { path: "ca.pem".into(), pem: authority.pem() });
    assert_eq!(asked(&Route { ca, ..route }).await, UpstreamAnswer::Answers);
}

#[tokio::test]
async fn a_proxy_that_wants_another_password_is_told_as_the_proxy() {
    let registry = Server::saying("200 OK", &[], "{}").await;
    let proxy = ConnectProxy::to(registry.address).await;
    let why = "407: it wants a user and a password, or others; write http://USER:PASSWORD@…";
    let expected = UpstreamAnswer::RefusedByProxy(format!("proxy {}: {why}", proxy.address));
    for who in ["", "user:wrong@"] {
        for upstream in ["http://registry.invalid:5000", "https://registry.invalid"] {
            assert_eq!(asked(&through(upstream, &format!("http://{who}{}", proxy.address))).await, expected, "{who}");
        }
    }
    assert_eq!(registry.requests().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_told_as_the_proxy() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let expected =
        unreachable(&format!("proxy 127.0.0.2:{port}: connection refused; look at the port, and whether it runs"));
    for upstream in ["http://registry.invalid:5000", "https://registry.invalid"] {
        let url = format!("http://user:hunter2@127.0.0.2:{port}");
        assert_eq!(asked(&through(upstream, &url)).await, expected);
    }
    let nameless = asked(&through("https://a.test", "http://nobody.invalid:3128")).await.to_string();
    assert!(nameless.starts_with("proxy nobody.invalid:3128: no address"), "{nameless}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_connection_is_told_as_the_proxy() {
    let refusing = Server::saying("502 Bad Gateway", &[], "").await;
    let expected = format!("proxy {}: it opens no connection to the upstream; look at its log", refusing.address);
    assert_eq!(asked(&through("https://registry.invalid", &refusing.url())).await, unreachable(&expected));
}

#[tokio::test]
async fn what_no_proxy_names_is_asked_without_the_proxy() {
    let closed = ConnectProxy::to("127.0.0.1:1".parse().unwrap()).await;
    let mut route = through("http://nobody.invalid:5000", &format!("http://{}", closed.address));
    route.proxy.as_mut().unwrap().no_proxy = vec![".invalid".to_owned()];
    let expected = unreachable("no address is known for its name; look at the name, and at this machine's DNS");
    assert_eq!(asked(&route).await, expected);
}
