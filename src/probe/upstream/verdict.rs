//! What an answer to `GET /v2/` means.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::UpstreamAnswer;
use super::challenge::{Challenge, trusts};
use super::way::{Reply, Way};
use url::Url;

/// What registries say of themselves.
const REGISTRY: &str = "docker-distribution-api-version";

/// A good answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It gives what it has to everybody.
    Welcome,
    /// It wants to know who asks.
    WhoAsks(Challenge),
}

/// Whether an answer is a registry's, and a good one.
pub(super) fn judge(way: &Way, reply: &Reply) -> Result<Said, UpstreamAnswer> {
    let whom = way.whom(&reply.url);
    match reply.status {
        StatusCode::OK if says_registry(&reply.headers) => Ok(Said::Welcome),
        StatusCode::OK => is_of_registry(reply, &whom).map(|()| Said::Welcome),
        StatusCode::UNAUTHORIZED => {
            let challenge = Challenge::read(challenges(&reply.headers));
            match challenge {
                Some(challenge) => Ok(Said::WhoAsks(is_taken(way, challenge)?)),
                None if says_registry(&reply.headers) => Ok(Said::Welcome),
                None => Err(UpstreamAnswer::Broken(format!(
                    "{whom}answers 401, and not how to log in; look at the address"
                ))),
            }
        }
        status => Err(refused(status, &reply.headers, &reply.body, &whom)),
    }
}

/// Every header that says how to log in.
pub(super) fn challenges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok())
}

/// A challenge that a registry takes up.
fn is_taken(way: &Way, challenge: Challenge) -> Result<Challenge, UpstreamAnswer> {
    let Challenge::Bearer { realm, .. } = &challenge else { return Ok(challenge) };
    let Some(realm) = Url::parse(realm).ok().filter(|realm| matches!(realm.scheme(), "http" | "https")) else {
        let why = "names a token server whose address is none; that is for whoever runs it";
        return Err(UpstreamAnswer::Broken(why.to_owned()));
    };
    if way.upstream().scheme() == "https" && realm.scheme() != "https" {
        let why = "wants a password sent unencrypted to its token server; that is for whoever runs it";
        return Err(UpstreamAnswer::Broken(why.to_owned()));
    }
    if !trusts(way.upstream(), &realm) {
        let named = way.named(&realm);
        let why = format!("gives tokens at {named}, which registry 3 does not trust; take an upstream of its domain");
        return Err(UpstreamAnswer::Broken(why));
    }
    Ok(challenge)
}

/// What a status means that is neither 200 nor 401.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], whom: &str) -> UpstreamAnswer {
    if status == StatusCode::TOO_MANY_REQUESTS {
        let until = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        return UpstreamAnswer::RateLimited(rate_limited(until, whom, Timestamp::now(), &TimeZone::system()));
    }
    UpstreamAnswer::Broken(match status {
        StatusCode::BAD_REQUEST if is_plain_to_tls(body) => {
            format!("{whom}HTTPS is spoken there, and not HTTP; write https:// or another port")
        }
        status if status.is_server_error() => format!("{whom}answers {status}; that is for whoever runs it"),
        status => format!("{whom}answers {status} to /v2/, not as a registry; look at the address"),
    })
}

fn says_registry(headers: &HeaderMap) -> bool {
    headers.contains_key(REGISTRY)
}

/// Not every registry says that it is one, but what it says is empty or JSON.
fn is_of_registry(reply: &Reply, whom: &str) -> Result<(), UpstreamAnswer> {
    let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok();
    if kind.starts_with("text/html") {
        let why = "answers with a web page, not as a registry; a login may be in the way";
        return Err(UpstreamAnswer::Broken(format!("{whom}{why}")));
    }
    if reply.body.trim_ascii().is_empty() || is_json() {
        return Ok(());
    }
    Err(UpstreamAnswer::Broken(format!("{whom}answers 200, and not as a registry; look at the address")))
}

/// What servers say in plain text to whoever does not speak TLS: those of Go, nginx, Apache.
fn is_plain_to_tls(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    ["to an https server", "to https port", "ssl-enabled server port"].iter().any(|words| text.contains(words))
}

/// `Retry-After` holds seconds, or a date.
fn rate_limited(after: Option<&str>, whom: &str, now: Timestamp, zone: &TimeZone) -> String {
    let seconds = |text: &str| text.parse().ok().and_then(|s| now.checked_add(SignedDuration::from_secs(s)).ok());
    let date = |text: &str| rfc2822::parse(text).ok().map(|date| date.timestamp());
    let until = after.map(str::trim).and_then(|text| seconds(text).or_else(|| date(text)));
    let Some(until) = until.filter(|until| *until > now) else {
        return format!("{whom}answers 429: its rate limit is reached; credentials may raise it");
    };
    // To the minute, or each answer would name another time.
    let form = if until.duration_since(now).as_hours() < 24 { "%H:%M" } else { "%F %H:%M" };
    let until = until.to_zoned(zone.clone()).strftime(form).to_string();
    format!("{whom}answers 429: its rate limit is reached until {until}; credentials may raise it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_ends_when_retry_after_says_so_in_either_form() {
        let now: Timestamp = "2026-12-01T10:00:00Z".parse().unwrap();
        let said = |after| rate_limited(after, "", now, &TimeZone::UTC);
        let until =
            |time: &str| format!("answers 429: its rate limit is reached until {time}; credentials may raise it");
        assert_eq!(said(Some("3600")), until("11:00"));
        assert_eq!(said(Some("Tue, 01 Dec 2026 12:30:00 GMT")), until("12:30"));
        assert_eq!(said(Some("172800")), until("2026-12-03 10:00"));
        let unnamed = "answers 429: its rate limit is reached; credentials may raise it";
        for nothing in
            [None, Some("soon"), Some("-5"), Some("99999999999999999999"), Some("Tue, 01 Dec 2020 12:30:00 GMT")]
        {
            assert_eq!(said(nothing), unnamed, "{nothing:?}");
        }
    }
}
