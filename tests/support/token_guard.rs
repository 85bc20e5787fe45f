//! A registry that asks for a token, as Docker Hub does: in front of an upstream, and its token service in one.
//!
//! Registry 2 logs in to such an upstream and to no other kind:
//! <https://github.com/distribution/distribution/issues/3153>

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::registry::{PASSWORD, USER, Upstream};
use super::server::{Request, Server, answer};

/// By what it knows its user once [its password has changed](TokenGuard::change_password).
pub(crate) const NEW_PASSWORD: &str = "rotated-7391";
/// What it gives to whoever knows that.
pub(crate) const NEW_TOKEN: &str = "opaque-8263";
/// Password and token, before and after.
const KNOWN: [(&str, &str); 2] = [(PASSWORD, "opaque"), (NEW_PASSWORD, NEW_TOKEN)];

/// How long it [thinks](TokenGuard::think_long).
const THINKS: Duration = Duration::from_secs(8);

/// Answers until dropped.
pub(crate) struct TokenGuard {
    server: Server,
    url: String,
    changed: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl TokenGuard {
    /// Gives an upstream's content to [`USER`] with [`PASSWORD`] only.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        let (changed, requests) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Request>>>::default());
        let slow = Arc::<AtomicBool>::default();
        let is_slow = Arc::clone(&slow);
        let (at, is_changed, seen) =
            (format!("127.0.0.1:{}", upstream.port), Arc::clone(&changed), Arc::clone(&requests));
        let server = Server::on(upstream.gateway(), move |client| {
            let known = KNOWN[usize::from(is_changed.load(Ordering::SeqCst))];
            serve(&client, &at, known, &seen, &is_slow);
        });
        Self { url: format!("http://{}", server.address()), server, changed, slow, requests }
    }

    /// Knows its user by [`NEW_PASSWORD`] from now on, and no token that it gave before.
    pub(crate) fn change_password(&self) {
        self.changed.store(true, Ordering::SeqCst);
    }

    /// Takes longer to say who is known than a command waits for it.
    pub(crate) fn think_long(&self) {
        self.slow.store(true, Ordering::SeqCst);
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.server.address()
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no guard panics").clone()
    }

    /// How often this machine, or a container, has sent a user with this password.
    pub(crate) fn times_told(&self, password: &str, from_here: bool) -> usize {
        let told = basic(password);
        let is_told = |request: &&Request| {
            request.is_from_here == from_here && request.header("Authorization") == Some(told.as_str())
        };
        self.requests().iter().filter(is_told).count()
    }
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")))
}

/// Answers one request; the connection ends with it.
fn serve(
    client: &TcpStream,
    upstream: &str,
    (password, token): (&str, &str),
    seen: &Mutex<Vec<Request>>,
    is_slow: &AtomicBool,
) -> Option<()> {
    let request = Request::read(&mut BufReader::new(client), client)?;
    seen.lock().expect("no guard panics").push(request.clone());
    let (_, path) = request.asks()?;
    let authorization = request.header("Authorization").unwrap_or_default();
    let mut out = client;
    if path.starts_with("/token") {
        if is_slow.load(Ordering::SeqCst) {
            thread::sleep(THINKS);
        }
        if authorization != basic(password) {
            return answer(client, "401 Unauthorized", &[]);
        }
        let body = format!("{{\"token\": \"{token}\"}}");
        write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    } else if authorization == format!("Bearer {token}") {
        request.hand_on(upstream, path, &[], &mut out)?;
    } else {
        // Where it was asked itself, whatever stands before it.
        let scheme = request.header("X-Forwarded-Proto").unwrap_or("http");
        let realm = format!("{scheme}://{}/token", request.header("Host")?);
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"tests\"");
        return answer(client, "401 Unauthorized", &[&challenge]);
    }
    client.shutdown(Shutdown::Write).ok()
}
