//! As much HTTP as the registry API needs: HTTP/1.0, so that an answer ends where the connection does.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a part of an answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends one request to `127.0.0.1:port` and reads the whole answer.
pub(crate) fn request(
    method: &str,
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    request_within(LIMIT, method, port, path, headers, body)
}

/// `GET http://127.0.0.1:port path`.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<Response> {
    request("GET", port, path, &[], &[])
}

/// Whether a registry answers `/v2/` there within a second.
pub(crate) fn serves(port: u16) -> bool {
    request_within(Duration::from_secs(1), "GET", port, "/v2/", &[], &[]).is_ok_and(|answer| answer.status == 200)
}

/// The same, from somebody with so much patience for each part of the answer.
pub(crate) fn request_within(
    limit: Duration,
    method: &str,
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some(Response { status, headers, body: answer[end + 4..].to_vec() })
}

/// Asks the registry on `127.0.0.1:port` what somebody else was asked, and hands its answer on.
pub(crate) fn hand_on(
    method: &str,
    path: &str,
    head: &[String],
    port: u16,
    out: &mut impl Write,
) -> std::io::Result<u64> {
    let mut registry = TcpStream::connect(("127.0.0.1", port))?;
    write!(registry, "{method} {path} HTTP/1.0\r\nHost: upstream\r\n")?;
    for accepted in head.iter().filter(|line| line.starts_with("Accept:")) {
        write!(registry, "{accepted}\r\n")?;
    }
    registry.write_all(b"\r\n")?;
    std::io::copy(&mut registry, out)
}
