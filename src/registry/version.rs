//! Which version of the registry runs in a container: it says so in whatever it logs when it starts.

/// The major version in the log of a start (`version=2.8.2+unknown`, `version="v3.0.0"`), if it is there.
pub fn major_version(log: &str) -> Option<u32> {
    const KEY: &str = "version";
    log.match_indices(KEY).find_map(|(at, _)| {
        // `go.version` is another.
        let starts = log[..at].chars().next_back().is_none_or(|before| before.is_whitespace() || before == '"');
        let rest = log[at + KEY.len()..].trim_start_matches(['"', '=', ':', ' ', 'v']);
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().ok().filter(|_| starts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_a_start_logs() {
        let line =
            |version: &str| format!("time=\"t\" level=warning msg=\"No HTTP secret\" go.version=go1.19.8 {version}\n");
        assert_eq!(major_version(&line("version=2.8.2+ds1")), Some(2));
        assert_eq!(major_version(&line("version=\"v2.8.3+unknown\"")), Some(2));
        assert_eq!(major_version(&line("version=3.1.1")), Some(3));
        assert_eq!(major_version("{\"go.version\":\"go1.23\",\"version\":\"v3.0.0\"}"), Some(3));
        assert_eq!(major_version("10.0.0.2 - - \"GET /v2/ HTTP/1.1\" 200\ngo.version=go1.19.8"), None);
    }
}
