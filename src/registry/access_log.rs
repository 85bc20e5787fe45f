//! The registry's access log, in Apache's combined format: who asked comes first in a line.

use std::collections::BTreeMap;

/// Requests from these addresses for a repository: each line, and how often it stands there. Of a busy registry lines
/// may be out of reach by the time of the next look, so that counting them all would not do.
pub fn requests(log: &str, from: &[String], repository: &str) -> BTreeMap<String, usize> {
    let path = format!("/v2/{repository}/");
    // The other log of the same request does not begin with who asked.
    let is_from = |line: &str| {
        from.iter().any(|address| line.strip_prefix(address.as_str()).is_some_and(|rest| rest.starts_with(' ')))
    };
    let mut lines = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(&path) && is_from(line)) {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_of_this_node_for_this_repository() {
        let log = "10.0.0.2 - - [t] \"GET /v2/a/b/manifests/1 HTTP/1.1\" 200 1 \"\" \"containerd\"\n\
                   10.0.0.2 - - [t] \"GET /v2/a/b/manifests/1 HTTP/1.1\" 200 1 \"\" \"containerd\"\n\
                   10.0.0.20 - - [t] \"GET /v2/a/b/manifests/1 HTTP/1.1\" 200 1 \"\" \"containerd\"\n\
                   10.0.0.2 - - [t] \"GET /v2/a/c/manifests/1 HTTP/1.1\" 200 1 \"\" \"containerd\"\n\
                   time=\"t\" level=info msg=\"response completed\" http.request.uri=/v2/a/b/manifests/1\n";
        let found = requests(log, &["10.0.0.2".to_owned()], "a/b");
        assert_eq!(found.into_values().collect::<Vec<_>>(), [2]);
    }
}
