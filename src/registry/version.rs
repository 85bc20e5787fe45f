//! Which version of the registry runs in a container: it says so in whatever it logs when it starts. And what differs.
//!
//! | | 2.8 | 3 |
//! |---|---|---|
//! | a proxy that starts while nobody is at its upstream | ends | starts, when a helper for credentials is set |
//! | a proxy that starts while its upstream says nothing | neither ends nor serves | starts, when such a helper is set |
//! | credentials | are read when it starts | are asked of the helper, again and again |
//! | the settings of the image | `/etc/docker/registry/config.yml` | `/etc/distribution/config.yml` |
//! | cached content | expires after seven days | after `proxy.ttl`; never, when that is 0 |
//! | counters | `/debug/vars` | `/debug/vars`, and `/metrics` |
//!
//! The names of settings and variables are the same, and so are the volume and what is in it.

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

/// Whether a proxy of a major version starts while nobody is at its upstream.
pub const fn starts_without_upstream(major: u32) -> bool {
    major >= 3
}

/// Whether a registry of a major version asks for credentials again while it runs.
pub const fn asks_for_credentials_again(major: u32) -> bool {
    major >= 3
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
