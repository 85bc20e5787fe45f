//! Lines of a registry's log: which are requests, and which of ksail's own asking whether it is there.

/// Whether a line is about a question whether the registry is there, of somebody who does not say what program they are:
/// ksail asks so, every few seconds. The registry writes two or three lines of each.
pub fn is_of_probe(line: &str) -> bool {
    let is_access = is_request(line) && line.contains("\"GET /v2/ HTTP/") && line.ends_with("\"\" \"\"");
    let field = |name: &str| line.split_once(name).map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
    let is_empty = |value: &str| matches!(value, "" | "\"\"");
    let is_other = field(" http.request.uri=").is_some_and(|uri| matches!(uri, "/v2/" | "\"/v2/\""))
        && field(" http.request.method=") == Some("GET")
        && field(" http.request.useragent=").is_none_or(is_empty);
    is_access || is_other
}

/// Whether a line is of the access log, in Apache's combined format: a request and its answer.
pub fn is_request(line: &str) -> bool {
    line.split_once(" - - [").is_some_and(|(from, _)| from.parse::<std::net::IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As registry 2.8 writes them.
    const OF_PROBE: [&str; 3] = [
        r#"time="2026-12-01T15:12:10Z" level=debug msg="authorizing request" go.version=go1.19.8 http.request.host="127.0.0.1:16999" http.request.method=GET http.request.uri=/v2/ http.request.useragent="#,
        r#"time="2026-12-01T15:12:10Z" level=info msg="response completed" http.request.method=GET http.request.uri="/v2/" http.request.useragent= http.response.status=200 http.response.written=2"#,
        r#"172.17.0.1 - - [01/Dec/2026:15:12:10 +0000] "GET /v2/ HTTP/1.1" 200 2 "" """#,
    ];
    const OF_OTHERS: [&str; 4] = [
        r#"time="2026-12-01T15:12:10Z" level=info msg="response completed" http.request.method=GET http.request.uri=/v2/ http.request.useragent=docker/20 http.response.status=200"#,
        r#"172.17.0.1 - - [01/Dec/2026:15:12:10 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "docker/20""#,
        r#"172.17.0.1 - - [01/Dec/2026:15:12:10 +0000] "GET /v2/a/manifests/1 HTTP/1.1" 404 91 "" """#,
        r#"time="2026-12-01T15:12:08Z" level=info msg="listening on [::]:5000" service=registry"#,
    ];

    #[test]
    fn lines_of_ksails_own_questions_are_known_and_no_others() {
        assert!(OF_PROBE.iter().all(|line| is_of_probe(line)));
        for line in OF_OTHERS {
            assert!(!is_of_probe(line), "{line}");
        }
    }

    #[test]
    fn a_request_begins_with_who_asked() {
        let requests = |lines: &[&str]| lines.iter().map(|line| is_request(line)).collect::<Vec<_>>();
        assert_eq!(requests(&OF_PROBE), [false, false, true]);
        assert_eq!(requests(&OF_OTHERS), [false, true, true, false]);
    }
}
