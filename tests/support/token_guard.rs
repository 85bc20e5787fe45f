//! A registry that asks for a token, as Docker Hub does: in front of an upstream, and its token service in one.
//!
//! Registry 2 logs in to such an upstream and to no other kind:
//! <https://github.com/distribution/distribution/issues/3153>

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::http;
use super::registry::{PASSWORD, USER, Upstream};

/// By what it knows its user once [its password has changed](TokenGuard::change_password).
pub(crate) const NEW_PASSWORD: &str = "rotated-7391";
/// Password and token, before and after that.
const KNOWN: [(&str, &str); 2] = [(PASSWORD, "opaque"), (NEW_PASSWORD, "opaque as well")];

/// Answers until dropped.
pub(crate) struct TokenGuard {
    url: String,
    address: String,
    closed: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
}

impl TokenGuard {
    /// Gives an upstream's content to [`USER`] with [`PASSWORD`] only.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        let listener = TcpListener::bind((upstream.gateway(), 0)).expect("the engine's bridge is on this machine");
        let address = listener.local_addr().expect("it is bound").to_string();
        let closed = Arc::new(AtomicBool::new(false));
        let (realm, port, is_closed) = (format!("http://{address}/token"), upstream.port, Arc::clone(&closed));
        let changed = Arc::<AtomicBool>::default();
        let is_changed = Arc::clone(&changed);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let realm = realm.clone();
                let known = KNOWN[usize::from(is_changed.load(Ordering::SeqCst))];
                thread::spawn(move || answer(&client, &realm, port, known));
            }
        });
        Self { url: format!("http://{address}"), address, closed, changed }
    }

    /// Knows its user by [`NEW_PASSWORD`] from now on, and no token that it gave before.
    pub(crate) fn change_password(&self) {
        self.changed.store(true, Ordering::SeqCst);
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TokenGuard {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

/// Answers one request; the connection ends with it.
fn answer(client: &TcpStream, realm: &str, upstream: u16, (password, token): (&str, &str)) -> Option<()> {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next()?;
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let value = |line: &String| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        head.iter().filter_map(value).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let mut words = request.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let authorization = header("Authorization").unwrap_or_default();
    let mut out = client;
    if path.starts_with("/token") {
        let known = authorization == format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
        let body = format!("{{\"token\": \"{token}\"}}");
        let (status, body) = if known { ("200 OK", body.as_str()) } else { ("401 Unauthorized", "") };
        write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    } else if authorization == format!("Bearer {token}") {
        http::hand_on(method, path, &head, upstream, &mut out).ok()?;
    } else {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"tests\"");
        let status = "HTTP/1.1 401 Unauthorized";
        write!(out, "{status}\r\n{challenge}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
    client.shutdown(Shutdown::Write).ok()
}
