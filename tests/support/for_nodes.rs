//! An upstream that nodes can have everything from, and registries nothing: what a mirror without the right password, or
//! behind a proxy that its nodes do not have, makes of a good one.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;

use super::http;
use super::registry::Upstream;

/// Answers until dropped.
pub(crate) struct ForNodes {
    url: String,
    address: String,
    closed: Arc<AtomicBool>,
    status: Arc<AtomicU16>,
}

impl ForNodes {
    /// In front of an upstream; whoever is not containerd gets an answer with this status.
    pub(crate) fn before(upstream: &Upstream, status: u16) -> Self {
        let listener = TcpListener::bind((upstream.gateway(), 0)).expect("the engine's bridge is on this machine");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (closed, status) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU16::new(status)));
        let (port, is_closed, refusal) = (upstream.port, Arc::clone(&closed), Arc::clone(&status));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let status = refusal.load(Ordering::SeqCst);
                thread::spawn(move || answer(&client, port, status));
            }
        });
        Self { url: format!("http://{address}"), address, closed, status }
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on whoever is not containerd gets an answer with this status, or with 200 what it asks for.
    pub(crate) fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

impl Drop for ForNodes {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

/// Answers one request; the connection ends with it.
fn answer(client: &TcpStream, upstream: u16, status: u16) -> Option<()> {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next()?;
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let is_node = head.iter().any(|line| line.to_ascii_lowercase().starts_with("user-agent: containerd"));
    let mut words = request.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let mut out = client;
    if status == 200 || is_node {
        http::hand_on(method, path, &head, upstream, &mut out).ok()?;
    } else {
        write!(out, "HTTP/1.1 {status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
    client.shutdown(Shutdown::Write).ok()
}
