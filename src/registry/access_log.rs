//! The registry's access log, in Apache's combined format: who asked, for what, and what the answer was.
//!
//! ```text
//! 10.0.0.2 - - [30/Nov/2026:10:00:00 +0000] "GET /v2/team/app/manifests/1?ns=docker.io HTTP/1.1" 200 424 "" "containerd/1.6"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// What a registry answered when it was asked for manifests and blobs of a repository: lines of its log, and how often
/// each stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<Line, usize>);

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// `GET` or `HEAD`, and the manifest or blob.
    asked: String,
    /// The answer's status.
    status: u16,
    /// As it stands in the log, with the time: what tells it from the same request at another time.
    text: String,
}

impl Answers {
    /// Those in a log that were given to one of the addresses `to`, for `repository`. Nothing else counts: no question
    /// whether the registry is there, no other repository, nobody else, no push.
    pub fn in_log(log: &str, to: &[String], repository: &str) -> Self {
        let to: BTreeSet<IpAddr> = to.iter().filter_map(|address| address.parse().ok()).collect();
        let mut answers = BTreeMap::new();
        for line in log.lines().filter_map(|line| read(line, &to, repository)) {
            *answers.entry(line).or_default() += 1;
        }
        Self(answers)
    }

    /// Those that are not among the `earlier` ones. Of a busy registry lines may be out of reach by the time of the next
    /// look, so that they are told apart one by one.
    #[must_use]
    pub fn without(mut self, earlier: &Self) -> Self {
        self.0.retain(|line, times| {
            *times = times.saturating_sub(earlier.0.get(line).copied().unwrap_or_default());
            *times > 0
        });
        self
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something was given.
    pub fn gave(&self) -> bool {
        self.0.keys().any(|line| is_success(line.status))
    }

    /// Whether something was given, and whatever was asked for. What was refused and given later counts as given.
    pub fn gave_all(&self) -> bool {
        self.gave() && self.refusals().next().is_none()
    }

    /// How often there was each status.
    pub fn by_status(&self) -> BTreeMap<u16, usize> {
        count(self.0.iter())
    }

    /// The statuses of what was not given, in words: `404 twice and 500 once`.
    pub fn refused(&self) -> Option<String> {
        let counted = count(self.refusals());
        let last = counted.len().checked_sub(1)?;
        let mut words = String::new();
        for (at, (status, times)) in counted.into_iter().enumerate() {
            let joint = match at {
                0 => "",
                _ if at == last => " and ",
                _ => ", ",
            };
            let times = match times {
                1 => "once".to_owned(),
                2 => "twice".to_owned(),
                times => format!("{times} times"),
            };
            // Writing to a string does not fail.
            let _ = write!(words, "{joint}{status} {times}");
        }
        Some(words)
    }

    fn refusals(&self) -> impl Iterator<Item = (&Line, &usize)> {
        let given: BTreeSet<&str> =
            self.0.keys().filter(|line| is_success(line.status)).map(|line| line.asked.as_str()).collect();
        self.0.iter().filter(move |(line, _)| line.status >= 400 && !given.contains(line.asked.as_str()))
    }
}

fn count<'a>(lines: impl Iterator<Item = (&'a Line, &'a usize)>) -> BTreeMap<u16, usize> {
    let mut counted = BTreeMap::new();
    for (line, times) in lines {
        *counted.entry(line.status).or_default() += times;
    }
    counted
}

/// All of it, a part of it, or that the node has it already.
const fn is_success(status: u16) -> bool {
    matches!(status, 200 | 206 | 304)
}

/// A line of the log, if it is a request of one of these addresses for a manifest or blob of a repository. The other log
/// of the same request does not begin with who asked.
fn read(text: &str, to: &BTreeSet<IpAddr>, repository: &str) -> Option<Line> {
    let (from, rest) = text.split_once(" - - [")?;
    let from: IpAddr = from.parse().ok()?;
    let (_, rest) = rest.split_once("] \"")?;
    let (request, rest) = quoted(rest)?;
    let status = rest.split_whitespace().next()?.parse().ok()?;
    let mut request = request.split(' ');
    let method = request.next().filter(|method| matches!(*method, "GET" | "HEAD"))?;
    let path = request.next()?.split('?').next()?;
    let wanted = path.strip_prefix("/v2/")?.strip_prefix(repository)?.strip_prefix('/')?;
    let (kind, name) = wanted.split_once('/')?;
    let is_content = match kind {
        "manifests" => !name.is_empty() && !name.contains('/'),
        "blobs" => name.contains(':') && !name.contains('/'),
        _ => false,
    };
    (is_content && to.contains(&from.to_canonical())).then(|| Line {
        asked: format!("{method} {wanted}"),
        status,
        text: text.to_owned(),
    })
}

/// What comes before the quote that ends it, and what after; one that belongs to the text has a backslash.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "10.0.0.2";

    fn line(from: &str, request: &str, status: &str) -> String {
        format!(
            "{from} - - [30/Nov/2026:10:00:00 +0000] \"{request} HTTP/1.1\" {status} 1 \"\" \"containerd/1.6 \\\"x\\\" 200\"\n"
        )
    }

    fn of(lines: &[(&str, &str, &str)]) -> Answers {
        let log: String = lines.iter().map(|(from, request, status)| line(from, request, status)).collect();
        Answers::in_log(&log, &[NODE.to_owned(), "fd00::2".to_owned()], "a/b")
    }

    #[test]
    fn an_answer_is_one_to_this_node_for_a_manifest_or_blob_of_this_repository() {
        let counted = of(&[
            (NODE, "HEAD /v2/a/b/manifests/1?ns=docker.io", "200"),
            (NODE, "GET /v2/a/b/manifests/sha256:00", "304"),
            (NODE, "GET /v2/a/b/blobs/sha256:00", "206"),
            ("fd00::2", "GET /v2/a/b/blobs/sha256:00", "200"),
        ]);
        assert_eq!(counted.by_status(), [(200, 2), (206, 1), (304, 1)].into());
        assert!(counted.gave_all());

        let others = of(&[
            (NODE, "GET /v2/", "200"),
            ("10.0.0.20", "GET /v2/a/b/manifests/1", "200"),
            ("fd00::20", "GET /v2/a/b/manifests/1", "200"),
            (NODE, "GET /v2/a/c/manifests/1", "200"),
            (NODE, "GET /v2/a/b/c/manifests/1", "200"),
            (NODE, "GET /v2/a/b/tags/list", "200"),
            (NODE, "GET /v2/a/b/blobs/uploads/1", "204"),
            (NODE, "PUT /v2/a/b/manifests/1", "201"),
            (NODE, "POST /v2/a/b/blobs/uploads/", "202"),
            (NODE, "PATCH /v2/a/b/blobs/sha256:00", "200"),
            (NODE, "GET /v2/a/b/manifests/1", "-"),
        ]);
        assert_eq!(others, Answers::default());
    }

    #[test]
    fn what_only_looks_like_a_line_of_this_log_is_none() {
        let addresses = [NODE.to_owned()];
        for log in [
            "time=\"t\" level=info msg=\"response completed\" http.request.uri=/v2/a/b/manifests/1",
            "10.0.0.2 - - [t] \"GET /v2/x\\\" 200 \\\"GET /v2/a/b/manifests/1 HTTP/1.1\" 404 1 \"\" \"\"",
            "10.0.0.2 - - [t] \"GET /v2/x HTTP/1.1\" 404 1 \"\" \"GET /v2/a/b/manifests/1 HTTP/1.1\\\" 200 1\"",
            "10.0.0.2 - - [t] \"GET /v2/a/b/manifests/1",
            "10.0.0.2",
            "",
        ] {
            assert_eq!(Answers::in_log(log, &addresses, "a/b"), Answers::default(), "{log}");
        }
    }

    #[test]
    fn answers_that_give_nothing_are_told_by_their_status() {
        let refused = |lines: &[_]| of(lines).refused();
        let (tag, blob) = ("HEAD /v2/a/b/manifests/1", "GET /v2/a/b/blobs/sha256:00");
        assert_eq!(refused(&[(NODE, tag, "200")]), None);
        assert_eq!(
            refused(&[(NODE, tag, "404"), (NODE, blob, "404"), (NODE, blob, "500")]).unwrap(),
            "404 twice and 500 once"
        );
        let many = [(NODE, tag, "401"), (NODE, tag, "404"), (NODE, tag, "500"), (NODE, tag, "500"), (NODE, tag, "500")];
        assert_eq!(refused(&many).unwrap(), "401 once, 404 once and 500 3 times");
    }

    #[test]
    fn what_was_refused_is_given_when_it_is_given_later_and_one_refusal_is_a_way_around() {
        let (tag, blob) = ("HEAD /v2/a/b/manifests/1", "GET /v2/a/b/blobs/sha256:00");
        assert!(of(&[(NODE, tag, "200"), (NODE, blob, "500"), (NODE, blob, "200")]).gave_all());
        let around = of(&[(NODE, tag, "200"), (NODE, blob, "500")]);
        assert!(around.gave() && !around.gave_all());
        assert!(!of(&[(NODE, tag, "404")]).gave());
        assert!(!of(&[]).gave_all());
    }

    #[test]
    fn what_stood_there_before_does_not_count() {
        let tag = (NODE, "HEAD /v2/a/b/manifests/1", "200");
        let (one, two) = (of(&[tag]), of(&[tag, tag]));
        assert_eq!(two.clone().without(&one).by_status(), [(200, 1)].into());
        assert!(one.clone().without(&two).is_empty() && one.clone().without(&one).is_empty());
    }
}
