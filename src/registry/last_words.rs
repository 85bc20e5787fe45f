//! What a registry says before its process ends: its exit code alone tells nothing (2.8 has the same one for a
//! terminated process).

/// The last thing that a registry said before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// Its words, without what comes before and after them in the log.
    pub text: String,
    /// It is about its upstream, which it asks for `/v2/` when it starts.
    pub of_upstream: bool,
}

impl LastWords {
    /// Those of a registry whose settings are secret in part: only that they are about the upstream.
    pub fn untold(self) -> Option<Self> {
        let text = "no connection, or no answer of a registry".to_owned();
        self.of_upstream.then_some(Self { text, of_upstream: true })
    }
}

/// What a Go program that gives up prints, before a page on where it was.
const PANIC: &str = "panic: ";

/// The last words in the log of a registry that has ended, if it gave up by itself.
pub fn last_words(log: &str) -> Option<LastWords> {
    let text = log.lines().rev().find_map(|line| line.strip_prefix(PANIC))?.trim();
    let asked = text.strip_prefix("Get \"").and_then(|rest| rest.split_once('"'));
    match asked.filter(|(url, _)| url.ends_with("/v2/")) {
        Some((_, why)) => {
            Some(LastWords { text: without_own_port(why.trim_start_matches([':', ' '])), of_upstream: true })
        }
        None => Some(LastWords { text: text.to_owned(), of_upstream: false }),
    }
}

/// `read udp 10.0.0.2:40001->10.0.0.1:53` is another one each time, and says nothing of the upstream.
fn without_own_port(text: &str) -> String {
    text.split(": ").filter(|part| !part.contains("->")).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_ending(panic: &str) -> String {
        format!(
            "time=\"t\" level=warning msg=\"No HTTP secret\" version=2.8.2+ds1\npanic: an earlier run\n\ngoroutine 1 [running]:\n\
             time=\"t\" level=info msg=\"debug server listening :5001\"\npanic: {panic}\n\ngoroutine 1 [running]:\nmain.main()\n\t/main.go:22 +0x25\n"
        )
    }

    #[test]
    fn a_registry_that_ends_because_of_its_upstream_says_so() {
        let refused = "dial tcp 127.0.0.1:1: connect: connection refused";
        let words = last_words(&log_ending(&format!("Get \"http://127.0.0.1:1/v2/\": {refused}")));
        assert_eq!(words, Some(LastWords { text: refused.to_owned(), of_upstream: true }));
    }

    #[test]
    fn what_is_another_port_each_time_is_left_out() {
        let timeout = |port| {
            let read = format!("read udp 172.17.0.2:{port}->10.0.0.1:53: i/o timeout");
            last_words(&log_ending(&format!(
                "Get \"https://ghcr.io/v2/\": dial tcp: lookup ghcr.io on 10.0.0.1:53: {read}"
            )))
        };
        assert_eq!(timeout(40_001), timeout(40_002));
        let text = timeout(40_001).map(|words| words.text);
        assert_eq!(text.as_deref(), Some("dial tcp: lookup ghcr.io on 10.0.0.1:53: i/o timeout"));
    }

    #[test]
    fn one_that_ends_because_of_its_settings_says_something_else() {
        let words = last_words(&log_ending("StorageDriver not registered: bogus"));
        assert_eq!(
            words,
            Some(LastWords { text: "StorageDriver not registered: bogus".to_owned(), of_upstream: false })
        );
        let of_storage = last_words(&log_ending("Get \"http://minio:9000/bucket\": no such host"));
        assert!(of_storage.is_some_and(|words| !words.of_upstream));
    }

    #[test]
    fn one_that_was_told_to_end_says_nothing() {
        assert_eq!(last_words("time=\"t\" level=info msg=\"panic: not at the beginning of a line\"\n"), None);
    }
}
