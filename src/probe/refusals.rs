//! Credentials that an upstream has refused are not sent by the next process either.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Login, UpstreamAnswer};

/// So long credentials that were refused are not tried again.
pub const REFUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// As often credentials are told within that time while nobody knows what the upstream thinks of them: whoever told
/// them may not wait for its answer, or be asking at this moment.
pub const TOLD_AT_MOST: usize = 2;

/// What stands for an answer to credentials that were told that often, and not answered.
pub(super) const NOT_SENT: &str =
    "it has not said whether it takes the credentials, which are not sent again within the hour";

/// What remembers that credentials were refused, for longer than this process lives.
pub trait Refusals: fmt::Debug + Send + Sync {
    /// When they were refused, if that is less than [`REFUSED_FOR`] ago.
    fn refused_at(&self, login: &Login) -> Option<Timestamp>;
    /// Whether they may be told now, which is taken note of.
    fn begin(&self, login: &Login) -> bool;
    /// They were not refused.
    fn end(&self, login: &Login);
    /// They are refused now.
    fn note(&self, login: &Login);
}

/// What stands for an answer to credentials that were refused then.
pub(super) fn remembered(at: Timestamp) -> UpstreamAnswer {
    UpstreamAnswer::Unauthorized(in_words(at, &TimeZone::system()))
}

fn in_words(at: Timestamp, zone: &TimeZone) -> String {
    let clock = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%H:%M").to_string();
    let until = at.checked_add(REFUSED_FOR).unwrap_or(Timestamp::MAX);
    format!(
        "refuses the credentials of ksail.yaml (tried at {}, not again before {}); set others",
        clock(at),
        clock(until)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_when_it_was_and_until_when_it_stands() {
        let at = "2026-12-01T10:05:00Z".parse().unwrap();
        let expected = "refuses the credentials of ksail.yaml (tried at 10:05, not again before 11:05); set others";
        assert_eq!(in_words(at, &TimeZone::UTC), expected);
    }
}
