//! What a registry's own log shows of its upstream: where nobody else can ask that, it decides.
//!
//! A pull by tag of what is not there is no sign, as 2.8 answers it alike whether the upstream does not have it or does
//! not answer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::access_log::quoted;

/// What was shown last, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What it was.
    pub said: Said,
    /// When, by the registry's clock.
    pub at: Timestamp,
}

/// What became of a registry's question to its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// An answer of a registry: what was asked for, or that it is not there.
    Answered,
    /// Nobody is there, or there is no way to it.
    Unreachable(&'static str),
    /// Nothing came in time.
    Silent(&'static str),
    /// Its certificate is not one that the registry trusts.
    Untrusted(&'static str),
    /// It refuses who asks.
    Unauthorized(&'static str),
    /// Its rate limit is reached.
    RateLimited(&'static str),
    /// An answer that is not a registry's.
    Broken(&'static str),
}

impl Said {
    /// What is wrong, and what to do.
    pub const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Answered => None,
            Self::Unreachable(why)
            | Self::Silent(why)
            | Self::Untrusted(why)
            | Self::Unauthorized(why)
            | Self::RateLimited(why)
            | Self::Broken(why) => Some(why),
        }
    }
}

/// What a log shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is certain.
    pub word: Option<Word>,
    /// When something was given last, if that was after the word: it may have been there already.
    pub given_at: Option<Timestamp>,
}

/// By what is in the error of a request. The first that is there counts: what comes from the upstream stands at the end.
/// Nothing else of an error is shown, since it names hosts.
const SIGNS: [(&str, Said); 17] = [
    ("x509: ", Said::Untrusted("its certificate is not trusted; give the CA: 'ca: FILE.pem'")),
    ("no such host", Said::Unreachable("no such host; look at the name, and whether it is on the cluster's network")),
    ("server misbehaving", Said::Unreachable("its name cannot be looked up; look at the engine's DNS")),
    ("connection refused", Said::Unreachable("connection refused; look at the port, and whether it runs")),
    ("no route to host", Said::Unreachable("no route to host; look at the network")),
    ("network is unreachable", Said::Unreachable("the network is unreachable; look at the network")),
    ("i/o timeout", Said::Silent("i/o timeout; look at the network, and at what is in front of it")),
    ("handshake timeout", Said::Silent("no answer to TLS; look at the network, and at what is in front of it")),
    ("deadline exceeded", Said::Silent("no answer in time; look at the network, and at what is in front of it")),
    ("connection reset", Said::Unreachable("it closes without an answer; look at its log")),
    (": EOF", Said::Unreachable("it closes without an answer; look at its log")),
    ("does not look like a TLS", Said::Broken("no TLS is spoken there; write http:// or another port")),
    ("unauthorized: ", Said::Unauthorized("unauthorized; look at 'credentials'")),
    ("denied: ", Said::Unauthorized("denied; look at 'credentials', and at what they may do")),
    ("toomanyrequests", Said::RateLimited("its rate limit is reached; credentials may raise it")),
    ("HTTP 429 ", Said::RateLimited("its rate limit is reached; credentials may raise it")),
    ("unexpected HTTP status", Said::Broken("an answer that is not a registry's; look at its log, and at the address")),
];

impl Heard {
    /// What a log shows of the time since a registry's start. What is `since` earlier is of another run, which may have
    /// had other settings.
    pub fn in_log(log: &str, since: Timestamp) -> Self {
        let mut heard = Self::default();
        // What was asked for in vain, until it is given.
        let mut refused = BTreeSet::new();
        for line in log.lines() {
            let is_of_this_run = |at: Timestamp| at.as_second() >= since.as_second();
            if let Some(word) = error(line).filter(|word| is_of_this_run(word.at)) {
                heard = Self { word: Some(word), given_at: None };
            } else if let Some((at, path, status)) = answer(line).filter(|(at, ..)| is_of_this_run(*at)) {
                match status {
                    // It was not there, so that it has been fetched.
                    200 | 206 | 304 if refused.remove(path) => {
                        heard = Self { word: Some(Word { said: Said::Answered, at }), given_at: None };
                    }
                    200 | 206 | 304 => heard.given_at = Some(at),
                    400.. => {
                        refused.insert(path);
                    }
                    _ => {}
                }
            }
        }
        heard
    }
}

/// An error of a request that tells of the upstream.
fn error(line: &str) -> Option<Word> {
    const ERROR: &str = "level=error msg=\"response completed with error\" ";
    let (time, rest) = line.strip_prefix("time=\"")?.split_once("\" ")?;
    let fields = rest.strip_prefix(ERROR)?;
    let at = time.parse().ok()?;
    let (code, detail) = (field(fields, "err.code=")?, field(fields, "err.detail=")?);
    let said = match code {
        // Its upstream was asked, and does not have it. Of a tag that cannot be told.
        "blob unknown" => Said::Answered,
        "unknown" if detail.starts_with("manifest unknown: ") => Said::Answered,
        "unknown" => SIGNS.iter().find(|(sign, _)| detail.contains(sign)).map(|(_, said)| *said)?,
        _ => return None,
    };
    Some(Word { said, at })
}

/// The value of a field. Fields are in the order of the alphabet: nothing that a client has said comes before these.
fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let value = fields.split_once(name)?.1;
    match value.strip_prefix('"') {
        Some(value) => quoted(value).map(|(value, _)| value),
        None => value.split(' ').next(),
    }
}

/// When a manifest or blob was asked for, under which path, and the answer's status.
fn answer(line: &str) -> Option<(Timestamp, &str, u16)> {
    let (_, rest) = line.split_once(" - - [")?;
    let (time, rest) = rest.split_once("] \"")?;
    let at = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?.to_timestamp().ok()?;
    let (request, rest) = quoted(rest)?;
    let status = rest.split_whitespace().next()?.parse().ok()?;
    let mut request = request.split(' ');
    request.next().filter(|method| matches!(*method, "GET" | "HEAD"))?;
    let path = request.next()?.split('?').next()?;
    let is_content = path.starts_with("/v2/") && (path.contains("/manifests/") || path.contains("/blobs/"));
    is_content.then_some((at, path, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-12-01T02:55:{second:02}Z").parse().unwrap()
    }

    /// As 2.8.2 writes it.
    fn failed(second: u32, code: &str, detail: &str) -> String {
        format!(
            "time=\"2026-12-01T02:55:{second:02}Z\" level=error msg=\"response completed with error\" err.code={code} \
             err.detail=\"{detail}\" err.message=\"unknown error\" go.version=go1.19.8 \
             http.request.host=\"127.0.0.1:15551\" http.request.method=GET http.request.uri=\"/v2/app/b/blobs/sha256:00\" \
             http.request.useragent=\"err.code=unknown err.detail=no such host\" http.response.status=500 vars.name=app/b\n"
        )
    }

    fn asked(second: u32, path: &str, status: u16) -> String {
        format!(
            "192.168.96.1 - - [01/Dec/2026:02:55:{second:02} +0000] \"GET {path}?ns=docker.io HTTP/1.1\" {status} 411 \"\" \"curl/7.88.1\"\n"
        )
    }

    fn of(log: &str) -> Heard {
        Heard::in_log(log, at(10))
    }

    fn last(log: &str) -> Option<Said> {
        of(log).word.map(|word| word.said)
    }

    #[test]
    fn what_a_registry_meets_at_its_upstream_is_read_from_its_errors() {
        let of = |detail: &str| {
            let word = of(&failed(26, "unknown", detail)).word?;
            assert_eq!(word.at, at(26));
            Some(word.said)
        };
        let get = |why: &str| of(&format!("Get \\\"http://up:5000/v2/\\\": {why}"));
        let head = |why: &str| of(&format!("Head \\\"http://up:5000/v2/app/b/blobs/sha256:00\\\": {why}"));
        let unreachable = |said| matches!(said, Some(Said::Unreachable(_)));
        assert!(unreachable(get("dial tcp: lookup up on 127.0.0.11:53: no such host")));
        assert!(unreachable(get("dial tcp 192.168.96.1:18090: connect: connection refused")));
        assert!(unreachable(get("dial tcp 192.168.96.1:18090: connect: no route to host")));
        assert!(unreachable(get("read tcp 10.0.0.4:39866->10.0.0.1:84: read: connection reset by peer")));
        assert!(unreachable(get("EOF")));
        assert!(matches!(get("dial tcp 10.0.0.9:80: i/o timeout"), Some(Said::Silent(_))));
        assert!(matches!(get("net/http: TLS handshake timeout"), Some(Said::Silent(_))));
        assert!(matches!(get("x509: certificate signed by unknown authority"), Some(Said::Untrusted(_))));
        let not_tls = "tls: first record does not look like a TLS handshake";
        assert!(matches!(get(not_tls), Some(Said::Broken(_))));
        assert!(matches!(of("unauthorized: authentication required"), Some(Said::Unauthorized(_))));
        assert!(matches!(head("unauthorized: incorrect username or password"), Some(Said::Unauthorized(_))));
        assert!(matches!(of("received unexpected HTTP status: 503 Service Unavailable"), Some(Said::Broken(_))));
        let limited = "error parsing HTTP 429 response body: unexpected end of JSON input: \\\"\\\"";
        assert!(matches!(of(limited), Some(Said::RateLimited(_))));
    }

    #[test]
    fn an_upstream_that_does_not_have_something_has_answered_and_of_a_tag_nothing_is_known() {
        assert_eq!(last(&failed(26, "\"blob unknown\"", "sha256:00")), Some(Said::Answered));
        assert_eq!(last(&failed(26, "unknown", "manifest unknown: manifest unknown")), Some(Said::Answered));
        assert_eq!(last(&failed(26, "\"manifest unknown\"", "unknown tag=2")), None);
        // Of its own disk.
        assert_eq!(last(&failed(26, "unknown", "filesystem: mkdir /var/lib/registry: no space left on device")), None);
    }

    #[test]
    fn what_was_asked_for_in_vain_and_is_given_later_was_fetched_and_what_was_given_at_once_may_have_been_there() {
        let (tag, blob) = ("/v2/app/a/manifests/1", "/v2/app/a/blobs/sha256:00");
        let refused = failed(20, "unknown", "dial tcp: lookup up on 127.0.0.11:53: no such host");
        let fetched = of(&(refused.clone() + &asked(20, blob, 500) + &asked(30, blob, 200)));
        assert_eq!(fetched.word, Some(Word { said: Said::Answered, at: at(30) }));
        assert_eq!(last(&(asked(20, tag, 404) + &asked(30, tag, 200))), Some(Said::Answered));

        assert_eq!(of(&asked(20, tag, 200)), Heard { word: None, given_at: Some(at(20)) });
        let still = of(&(refused.clone() + &asked(30, tag, 200)));
        assert!(matches!(still.word, Some(Word { said: Said::Unreachable(_), .. })));
        assert_eq!(still.given_at, Some(at(30)));
        assert_eq!(of(&(asked(15, tag, 200) + &refused)).given_at, None, "it failed later");
    }

    #[test]
    fn an_earlier_run_and_everything_else_say_nothing() {
        let why = "dial tcp: lookup up on 127.0.0.11:53: no such host";
        assert_eq!(of(&failed(9, "unknown", why)), Heard::default());
        assert_eq!(of(&asked(9, "/v2/app/a/manifests/1", 200)), Heard::default());
        for other in [
            &asked(20, "/v2/", 200),
            &asked(20, "/v2/app/a/tags/list", 200),
            "panic: Get \"http://up:5000/v2/\": dial tcp: lookup up on 127.0.0.11:53: no such host",
            "192.168.96.1 - - [soon] \"GET /v2/app/a/manifests/1 HTTP/1.1\" 200 1 \"\" \"\"",
            "time=\"soon\" level=error msg=\"response completed with error\" err.code=unknown err.detail=EOF",
            "",
        ] {
            assert_eq!(of(other), Heard::default(), "{other}");
        }
    }
}
