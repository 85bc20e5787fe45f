//! A forward proxy as companies have it: nobody else knows the names of the upstreams, and none of them is reached
//! without it.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::server::{Request, Server, answer};

/// Whom a proxy knows that wants to know who asks.
pub(crate) const PROXY_USER: &str = "ann";
pub(crate) const PROXY_PASSWORD: &str = "over-the-wall-5127";

/// Hands on until dropped.
pub(crate) struct ForwardProxy {
    server: Server,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    tunnelled: Mutex<Vec<u8>>,
}

impl ForwardProxy {
    /// One that everybody may use, to the upstreams of these names: `("registry.test", "127.0.0.1:5000")`.
    pub(crate) fn to(upstreams: &[(&str, &str)], gateway: &str) -> Self {
        Self::start(upstreams, gateway, false)
    }

    /// One for [`PROXY_USER`] with [`PROXY_PASSWORD`] only.
    pub(crate) fn with_password(upstreams: &[(&str, &str)], gateway: &str) -> Self {
        Self::start(upstreams, gateway, true)
    }

    fn start(upstreams: &[(&str, &str)], gateway: &str, is_guarded: bool) -> Self {
        let known: Vec<_> = upstreams.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect();
        let seen = Arc::<Seen>::default();
        let sees = Arc::clone(&seen);
        let server = Server::on(gateway, move |client| {
            serve(&client, &known, is_guarded, &sees);
        });
        Self { server, seen }
    }

    /// What a manifest or docker's `config.json` says, with `who` before it: `ann:secret@`, or nothing.
    pub(crate) fn url(&self, who: &str) -> String {
        format!("http://{who}{}", self.server.address())
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("no proxy panics").clone()
    }

    /// Whether so far this machine, or a container, has asked for something at a host.
    pub(crate) fn was_asked_for(&self, host: &str, from_here: bool) -> bool {
        let is_for = |request: &Request| request.asks().is_some_and(|(_, target)| host_of(target) == host);
        self.requests().iter().any(|request| request.is_from_here == from_here && is_for(request))
    }

    /// All that it could write down: each request with its headers, and what went through its tunnels; but not who said
    /// to it that it is.
    pub(crate) fn record(&self) -> String {
        let mut record = String::new();
        for request in self.requests() {
            let is_for_it = |line: &str| line.to_ascii_lowercase().starts_with("proxy-authorization:");
            let head = request.head.iter().filter(|line| !is_for_it(line));
            record.extend([&request.line].into_iter().chain(head).map(|line| format!("{line}\n")));
        }
        let tunnelled = self.seen.tunnelled.lock().expect("no proxy panics");
        record + &String::from_utf8_lossy(&tunnelled)
    }
}

/// The host in `http://HOST[:PORT]/…` or `HOST:PORT`.
fn host_of(target: &str) -> &str {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// One request, or one tunnel; the connection ends with it.
fn serve(client: &TcpStream, known: &[(String, String)], is_guarded: bool, seen: &Arc<Seen>) -> Option<()> {
    let mut from = BufReader::new(client);
    let request = Request::read(&mut from, client)?;
    seen.requests.lock().expect("no proxy panics").push(request.clone());
    let right = format!("Basic {}", STANDARD.encode(format!("{PROXY_USER}:{PROXY_PASSWORD}")));
    if is_guarded && request.header("Proxy-Authorization") != Some(&right) {
        return answer(client, "407 Proxy Authentication Required", &["Proxy-Authenticate: Basic realm=\"proxy\""]);
    }
    let (method, target) = request.asks()?;
    let Some((_, at)) = known.iter().find(|(name, _)| name == host_of(target)) else {
        return answer(client, "502 Bad Gateway", &[]);
    };
    if method == "CONNECT" {
        return tunnel(client, from, &TcpStream::connect(at).ok()?, seen);
    }
    let (_, rest) = target.split_once("://")?;
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut out = client;
    request.hand_on(at, path, &[], &mut out)?;
    client.shutdown(Shutdown::Write).ok()
}

fn tunnel(client: &TcpStream, mut from: BufReader<&TcpStream>, upstream: &TcpStream, seen: &Arc<Seen>) -> Option<()> {
    let mut out = client;
    out.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut down, mut to) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut down, &mut to);
        to.shutdown(Shutdown::Write)
    });
    let (mut up, mut part) = (upstream, [0; 8192]);
    loop {
        let read = from.read(&mut part).ok()?;
        if read == 0 {
            return up.shutdown(Shutdown::Write).ok();
        }
        seen.tunnelled.lock().expect("no proxy panics").extend(&part[..read]);
        up.write_all(&part[..read]).ok()?;
    }
}
