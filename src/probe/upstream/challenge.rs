//! How a registry wants to be told who asks.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::net::IpAddr;

use url::Url;

/// One of the ways that a 401 names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With user name and password.
    Basic,
    /// With a token, which is to be had at the realm.
    Bearer { realm: String, service: String },
}

impl Challenge {
    /// The way that a registry takes of those that an answer's `WWW-Authenticate` headers name.
    pub(super) fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let named: Vec<Self> = headers.into_iter().flat_map(each).collect();
        named.iter().find(|challenge| matches!(challenge, Self::Bearer { .. })).or(named.first()).cloned()
    }
}

/// Every challenge of one header that registries know.
fn each(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in parts(header) {
        let (before, value) = part.split_once('=').unwrap_or((part, ""));
        let name = match before.trim().rsplit_once(char::is_whitespace) {
            // What stands before a parameter's name begins the next challenge.
            Some((scheme, name)) => {
                found.push((scheme.trim().to_ascii_lowercase(), Vec::new()));
                name
            }
            None if !part.contains('=') => {
                found.push((before.trim().to_ascii_lowercase(), Vec::new()));
                continue;
            }
            None => before.trim(),
        };
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    let known = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let value = |name: &str| {
            let (_, value) = parameters.iter().find(|(own, _)| own == name)?;
            Some(value.clone()).filter(|value| !value.is_empty())
        };
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                Some(Challenge::Bearer { realm: value("realm")?, service: value("service").unwrap_or_default() })
            }
            _ => None,
        }
    };
    found.into_iter().filter_map(known).collect()
}

/// What stands between the commas, those in quotes apart.
fn parts(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(header[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(header[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn unquoted(value: &str) -> String {
    let Some(within) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut text = String::with_capacity(within.len());
    let mut is_escaped = false;
    for c in within.chars() {
        if c == '\\' && !is_escaped {
            is_escaped = true;
        } else {
            is_escaped = false;
            text.push(c);
        }
    }
    text
}

/// What stands below a country's own name and belongs to nobody: `co.uk`.
const SHARED: [&str; 10] = ["ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"];

/// Whether registry 3.1 trusts a token server: on the upstream's own host, or in its domain. Without the list of public
/// suffixes a domain is the last two names, or three below what is [shared](SHARED).
pub(super) fn trusts(upstream: &Url, realm: &Url) -> bool {
    let (Some(own), Some(other)) = (upstream.host_str(), realm.host_str()) else { return false };
    if own == other && upstream.port_or_known_default() == realm.port_or_known_default() {
        return true;
    }
    domain(own).zip(domain(other)).is_some_and(|(own, other)| own == other)
}

fn domain(host: &str) -> Option<String> {
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || host == "localhost" {
        return None;
    }
    let names: Vec<&str> = host.trim_end_matches('.').rsplit('.').collect();
    let is_shared = names.len() > 2 && names[0].len() == 2 && SHARED.contains(&names[1]);
    let taken = if is_shared { 3 } else { 2 };
    (names.len() >= taken).then(|| names[..taken].join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_the_token_is_to_be_had() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"x,y\"";
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: "registry.docker.io".to_owned(),
        };
        assert_eq!(Challenge::read([hub]), Some(expected.clone()));
        assert_eq!(Challenge::read([format!("Basic realm=\"a, b\", {hub}").as_str()]), Some(expected.clone()));
        assert_eq!(Challenge::read(["Basic realm=\"x\"", hub]), Some(expected));
        assert_eq!(Challenge::read(["Negotiate, basic realm=x"]), Some(Challenge::Basic));
        assert_eq!(Challenge::read(["Basic"]), Some(Challenge::Basic));
        for nothing in ["Bearer service=\"x\"", "Negotiate", "", ",=,", "Bearer", "\"", "Bearer realm"] {
            assert_eq!(Challenge::read([nothing]), None, "{nothing}");
        }
    }

    #[test]
    fn a_token_server_is_trusted_on_the_upstreams_host_and_in_its_domain() {
        let trusted = |upstream: &str, realm: &str| trusts(&Url::parse(upstream).unwrap(), &Url::parse(realm).unwrap());
        assert!(trusted("https://registry-1.docker.io", "https://auth.docker.io/token"));
        assert!(trusted("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(trusted("http://10.0.0.1:5000", "http://10.0.0.1:5000/token"));
        assert!(trusted("http://registry:5000", "http://registry:5000/token"));
        assert!(!trusted("http://10.0.0.1:5000", "http://10.0.0.1:5001/token"));
        assert!(!trusted("https://a.example.co.uk", "https://b.evil.co.uk/token"));
        assert!(!trusted("https://ghcr.io", "https://quay.io/token"));
        assert!(!trusted("http://localhost:1", "http://localhost:2/token"));
        assert!(!trusted("http://registry:1", "http://tokens:1/token"));
    }
}
