//! An upstream that misbehaves, in the way of the moment: a server of the test's own in front of a real registry.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::deadline::{eventually, holds};
use super::http;
use super::line::{Line, Passing};
use super::registry::Upstream;
use super::scenario::free_port;

/// How it treats whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Gives what the registry gives.
    Honest,
    /// Nobody listens.
    Refuses,
    /// Reads what it is asked, and closes the connection.
    Closes,
    /// Gives what the registry gives, so much later.
    Late(Duration),
    /// Answers this to everything: the status, a header, and a body.
    Says(&'static str, &'static str, &'static str),
}

pub(crate) const FAILS: Manner = Manner::Says("503 Service Unavailable", "X-By: test", "");
pub(crate) const LIMITS: Manner = Manner::Says("429 Too Many Requests", "Retry-After: 3600", "");
pub(crate) const LOGIN_PAGE: Manner = Manner::Says("200 OK", "Content-Type: text/html", "<html>Log in</html>");
pub(crate) const TOKENS_ELSEWHERE: Manner = Manner::Says(
    "401 Unauthorized",
    "WWW-Authenticate: Bearer realm=\"https://tokens.invalid/token\",service=\"registry\"",
    "{}",
);

/// Listens on the engine's bridge, where this machine and every container reach it, until dropped.
pub(crate) struct Broken {
    at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` when it is to end.
    manner: Mutex<Option<Manner>>,
    changed: Condvar,
    /// Where the registry answers on 127.0.0.1.
    registry: u16,
    line: Option<Line>,
}

impl Broken {
    /// Honest at first.
    pub(crate) fn before(registry: &Upstream) -> Self {
        Self::listen(registry, None)
    }

    /// In this manner.
    pub(crate) fn being(manner: Manner, registry: &Upstream) -> Self {
        let broken = Self::listen(registry, None);
        broken.be(manner);
        broken
    }

    /// Honest, over a line that all answers wait for.
    pub(crate) fn over(line: Line, registry: &Upstream) -> Self {
        Self::listen(registry, Some(line))
    }

    fn listen(registry: &Upstream, line: Option<Line>) -> Self {
        // One that the system hands out by itself could be gone when it is to be had again.
        let listener =
            TcpListener::bind((registry.gateway(), free_port())).expect("the engine's bridge is on this machine");
        let at = listener.local_addr().expect("it is bound");
        let manner = Mutex::new(Some(Manner::Honest));
        let shared = Arc::new(Shared { manner, changed: Condvar::new(), registry: registry.port, line });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(listener, at, &shared)
        });
        Self { at, shared }
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Whoever asks from now on is treated so.
    pub(crate) fn be(&self, manner: Manner) {
        self.shared.set(Some(manner));
        let is_refused = manner == Manner::Refuses;
        // A connection shows it whose manner has changed.
        eventually("it changes its manner", Duration::from_secs(10), || {
            holds(TcpStream::connect(self.at).is_err() == is_refused, format!("{manner:?} not yet"))
        });
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.shared.set(None);
        let _ = TcpStream::connect(self.at);
    }
}

impl Shared {
    fn manner(&self) -> MutexGuard<'_, Option<Manner>> {
        self.manner.lock().expect("nobody panics with it")
    }

    fn set(&self, manner: Option<Manner>) {
        *self.manner() = manner;
        self.changed.notify_all();
    }

    /// Closes the door while nobody is to listen. It returns when somebody is.
    fn await_welcome(&self, listener: &mut Option<TcpListener>) {
        let refuses = |manner: &mut Option<Manner>| {
            let refuses = *manner == Some(Manner::Refuses);
            if refuses {
                *listener = None;
            }
            refuses
        };
        drop(self.changed.wait_while(self.manner(), refuses).expect("nobody panics with it"));
    }
}

fn serve(listener: TcpListener, at: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        shared.await_welcome(&mut listener);
        let open = listener.get_or_insert_with(|| TcpListener::bind(at).expect("nobody else has taken the port"));
        let Ok((client, _)) = open.accept() else { return };
        if shared.manner().is_none() {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || answer(&client, &shared));
    }
}

/// Answers one request; the connection ends with it.
fn answer(client: &TcpStream, shared: &Shared) -> Option<()> {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next()?;
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let mut words = request.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let manner = *shared.manner();
    match manner? {
        Manner::Closes | Manner::Refuses => return None,
        Manner::Says(status, header, body) => say(client, status, header, body).ok()?,
        Manner::Honest => hand_on(client, shared, method, path, &head).ok()?,
        Manner::Late(by) => {
            thread::sleep(by);
            hand_on(client, shared, method, path, &head).ok()?;
        }
    }
    client.shutdown(Shutdown::Write).ok()
}

fn say(mut client: &TcpStream, status: &str, header: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\n{header}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn hand_on(mut client: &TcpStream, shared: &Shared, method: &str, path: &str, head: &[String]) -> io::Result<()> {
    let Some(line) = &shared.line else {
        return http::hand_on(method, path, head, shared.registry, &mut client).map(drop);
    };
    let mut passing = Passing::over(line, client);
    http::hand_on(method, path, head, shared.registry, &mut passing)?;
    passing.flush()
}
