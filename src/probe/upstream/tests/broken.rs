//! What answers, and not as a registry does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::server::{Authority, answer, header};
use super::*;

#[tokio::test]
async fn a_login_page_is_no_registry() {
    let page = "<!doctype html><title>Log in</title>";
    let portal = Server::saying("200 OK", &["Content-Type: text/html; charset=utf-8"], page).await;
    let expected = broken("answers with a web page, not as a registry; a login may be in the way");
    assert_eq!(asked(&route(&portal.url())).await, expected);
    let sent_on = Server::answering(|request| match request[0].as_str() {
        "GET /v2/ HTTP/1.1" => answer("302 Found", &["Location: /login"], ""),
        _ => answer("200 OK", &["Content-Type: text/html"], "<html>"),
    });
    assert_eq!(asked(&route(&sent_on.await.url())).await, expected);
    let other = Server::saying("200 OK", &["Content-Type: text/plain"], "It works!").await;
    assert_eq!(asked(&route(&other.url())).await, broken("answers 200, and not as a registry; look at the address"));
}

#[tokio::test]
async fn five_hundred_and_three_is_told_with_its_name() {
    let server = Server::saying("503 Service Unavailable", &[], "").await;
    let expected = broken("answers 503 Service Unavailable; that is for whoever runs it");
    assert_eq!(asked(&route(&server.url())).await, expected);
}

#[tokio::test]
async fn four_hundred_and_four_is_no_registry() {
    let server = Server::saying("404 Not Found", &[], "").await;
    let expected = broken("answers 404 Not Found to /v2/, not as a registry; look at the address");
    assert_eq!(asked(&route(&server.url())).await, expected);
}

#[tokio::test]
async fn four_hundred_and_twenty_nine_is_a_rate_limit() {
    let server = Server::saying("429 Too Many Requests", &["Retry-After: 7200"], "").await;
    let UpstreamAnswer::RateLimited(why) = asked(&route(&server.url())).await else { panic!("it is limited") };
    assert!(why.starts_with("answers 429: its rate limit is reached until "), "{why}");
}

#[tokio::test]
async fn https_to_a_port_where_http_is_spoken_is_told_with_what_to_write() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = route(&format!("https://{}", listener.local_addr().unwrap()));
    let speak = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
        stream.write_all(answer("400 Bad Request", &[], "").as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked(&route), speak);
    assert_eq!(answer, broken("no TLS is spoken there; write http:// or another port"));
}

#[tokio::test]
async fn http_to_a_port_where_https_is_spoken_is_told_with_what_to_write() {
    let server = Server::over_tls(Authority::new().sign("127.0.0.1", |_| ()), |_| answer("200 OK", &[], "{}")).await;
    let expected = broken("no HTTP is spoken there; write https:// or another port");
    assert_eq!(asked(&route(&server.url().replace("https:", "http:"))).await, expected);
    for says in ["Client sent an HTTP request to an HTTPS server.", "The plain HTTP request was sent to HTTPS port"] {
        let server = Server::saying("400 Bad Request", &[], says).await;
        let expected = broken("HTTPS is spoken there, and not HTTP; write https:// or another port");
        assert_eq!(asked(&route(&server.url())).await, expected);
    }
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_the_registry_follows_them() {
    let turning = Server::answering(|request| {
        let turn = header(request, "host: ").unwrap();
        answer("307 Temporary Redirect", &[&format!("Location: http://{turn}/v2/")], "")
    })
    .await;
    assert_eq!(asked(&route(&turning.url())).await, broken("redirects more than 10 times; look at the address"));
    assert_eq!(turning.requests().len(), 11);
    let registry = Server::saying("200 OK", &[], "{}").await;
    let to = format!("Location: {}/v2/", registry.url());
    let moved = Server::saying("301 Moved Permanently", &[&to], "").await;
    assert_eq!(asked(&route(&moved.url())).await, UpstreamAnswer::Answers);
    let nowhere = Server::saying("302 Found", &["Location: ftp://a.test/"], "").await;
    let expected = broken("answers 302 Found without an address that is one; look at the address");
    assert_eq!(asked(&route(&nowhere.url())).await, expected);
}

#[tokio::test]
async fn an_answer_without_end_is_read_up_to_the_limit_and_so_are_headers() {
    let long = Server::answering(|_| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2 << 20))).await;
    let expected = broken("its answer is longer than a registry's; look at the address");
    assert_eq!(asked(&route(&long.url())).await, expected);
    let wordy = Server::answering(|_| format!("HTTP/1.1 200 OK\r\n{}", "X: x\r\n".repeat(1 << 20))).await;
    assert_eq!(asked(&route(&wordy.url())).await, expected);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_told_as_one() {
    let short = Server::answering(|request| match request.len() {
        0 => String::new(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{".to_owned(),
    });
    let short = short.await;
    let answer = asked(&route(&short.url())).await;
    // It keeps the connection open: the rest never comes.
    assert_eq!(answer, UpstreamAnswer::Silent);
}
