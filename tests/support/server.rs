//! A small HTTP server of the test's own, where containers reach it.

use std::io::{BufRead, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Answers until dropped, each connection on a thread of its own.
pub(crate) struct Server {
    address: String,
    closed: Arc<AtomicBool>,
}

impl Server {
    /// On an address of this machine, such as the [gateway](super::registry::Upstream::gateway) of the engine's bridge.
    pub(crate) fn on(address: &str, answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("the engine's bridge is on this machine");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (closed, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(answer));
        let is_closed = Arc::clone(&closed);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let answer = Arc::clone(&answer);
                thread::spawn(move || answer(client));
            }
        });
        Self { address, closed }
    }

    /// `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

/// A request without its body.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET /v2/ HTTP/1.1`
    pub(crate) line: String,
    /// The headers, a line each.
    pub(crate) head: Vec<String>,
    /// Whether this machine asks, and no container.
    pub(crate) is_from_here: bool,
}

impl Request {
    /// Of whoever is at the other end of `client`.
    pub(crate) fn read(from: &mut impl BufRead, client: &TcpStream) -> Option<Self> {
        let mut lines = from.lines().map_while(Result::ok);
        let line = lines.next()?;
        let head = lines.take_while(|line| !line.is_empty()).collect();
        // Which of its addresses this machine asks from is the routing's affair; only its own can be bound.
        let is_from_here = UdpSocket::bind((client.peer_addr().ok()?.ip(), 0)).is_ok();
        Some(Self { line, head, is_from_here })
    }

    /// Method and target.
    pub(crate) fn asks(&self) -> Option<(&str, &str)> {
        let mut words = self.line.split_whitespace();
        Some((words.next()?, words.next()?))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.head.iter().filter_map(|line| line.split_once(": "));
        values.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Asks whoever listens at `address` the same for `path`, but with these headers in place of those of their names,
    /// and hands the answer on. It ends where the connection does.
    pub(crate) fn hand_on(
        &self,
        address: &str,
        path: &str,
        changed: &[(&str, &str)],
        out: &mut impl Write,
    ) -> Option<()> {
        let (method, _) = self.asks()?;
        let mut to = TcpStream::connect(address).ok()?;
        write!(to, "{method} {path} HTTP/1.0\r\n").ok()?;
        let is_kept = |line: &&String| {
            let name = line.split(':').next().unwrap_or_default();
            let replaced = changed.iter().map(|(name, _)| *name).chain(["connection", "accept-encoding"]);
            !name.to_ascii_lowercase().starts_with("proxy-")
                && replaced.into_iter().all(|one| !one.eq_ignore_ascii_case(name))
        };
        for line in self.head.iter().filter(is_kept) {
            write!(to, "{line}\r\n").ok()?;
        }
        for (name, value) in changed {
            write!(to, "{name}: {value}\r\n").ok()?;
        }
        to.write_all(b"\r\n").ok()?;
        std::io::copy(&mut to, out).ok().map(drop)
    }
}

/// Answers without a body, and ends the connection.
pub(crate) fn answer(mut client: &TcpStream, status: &str, headers: &[&str]) -> Option<()> {
    let headers = [headers, &[""]].concat().join("\r\n");
    write!(client, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    client.shutdown(Shutdown::Write).ok()
}
