//! Every way of not being there.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::server::answer;
use super::*;

#[tokio::test]
async fn a_name_without_an_address_is_told_as_one() {
    let expected = unreachable("no address is known for its name; look at the name, and at this machine's DNS");
    assert_eq!(asked(&route("https://nobody.invalid")).await, expected);
}

#[tokio::test]
async fn a_name_that_only_the_clusters_network_can_know_is_unknown() {
    for upstream in ["http://ksail-no-such-registry:5000", "http://host.docker.internal:5000"] {
        let answer = asked(&route(upstream)).await;
        assert!(matches!(answer, UpstreamAnswer::Unknown(_)), "{answer:?}");
        assert!(!answer.is_bad() && !answer.is_away());
    }
}

#[tokio::test]
async fn a_port_that_refuses_is_told_as_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let expected = unreachable("connection refused; look at the port, and whether it runs");
    assert_eq!(asked(&route(&format!("http://127.0.0.2:{port}"))).await, expected);
    assert_eq!(asked(&route(&format!("https://127.0.0.2:{port}"))).await, expected);
}

#[tokio::test]
async fn an_address_that_no_way_leads_to_is_unreachable() {
    // Reserved, and refused by every kernel.
    let answer = asked(&route("http://255.255.255.255:5000")).await;
    assert!(matches!(&answer, UpstreamAnswer::Unreachable(why) if why.ends_with("look at the network")), "{answer:?}");
}

#[tokio::test]
async fn one_that_swallows_what_it_is_sent_is_silent() {
    // Nobody takes what the system has accepted for it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    assert_eq!(asked(&route(&upstream)).await, UpstreamAnswer::Silent);
    assert_eq!(asked(&route(&upstream.replace("http:", "https:"))).await, UpstreamAnswer::Silent);
}

#[tokio::test]
async fn one_that_speaks_too_slowly_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let drips = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for byte in answer("200 OK", &[], "{}").bytes() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let route = route(&upstream);
    let (answer, ()) = tokio::join!(asked(&route), drips);
    assert_eq!(answer, UpstreamAnswer::Silent);
}

#[tokio::test]
async fn one_that_closes_without_an_answer_is_away() {
    let expected = unreachable("closes without an answer; look at its log, and at what is in front of it");
    let closes = Server::answering(|_| String::new()).await;
    assert_eq!(asked(&route(&closes.url())).await, expected);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("https://{}", listener.local_addr().unwrap());
    let at_once = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Read first, or the system resets what it has not handed over.
        let _ = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut Vec::with_capacity(4096)).await;
    };
    let route = route(&upstream);
    let (answer, ()) = tokio::join!(asked(&route), at_once);
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn nothing_of_a_secret_upstream_is_told() {
    let registry = Server::saying("200 OK", &[], "").await;
    let to = format!("Location: http://hidden.invalid:{}/", registry.address.port());
    let moved = Server::saying("301 Moved Permanently", &[&to], "").await;
    let secret = |url: &str| Route { upstream: url.parse::<Upstream>().unwrap().shown_as("${UP}"), ..route(url) };
    for upstream in ["https://hidden.invalid", "http://hidden.invalid:5000", &moved.url()] {
        let told = asked(&secret(upstream)).await.to_string();
        assert!(!told.contains("hidden") && told.contains("no address is known"), "{told}");
    }
    let shown = asked(&route(&moved.url())).await.to_string();
    assert!(shown.starts_with("hidden.invalid"), "{shown}");
}
