//! Which proxy a registry goes through, by the rules of Go's HTTP client.
//!
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>

use std::net::IpAddr;

use url::{Host, Url};

use crate::manifest::{Proxy, ProxyUrl};

/// The proxy for a URL, if there is one for it. This machine's own addresses are always reached without.
pub(super) fn proxy_for<'a>(proxy: &'a Proxy, url: &Url) -> Option<&'a ProxyUrl> {
    let through = if url.scheme() == "https" { proxy.https.as_ref() } else { proxy.http.as_ref() };
    let (host, port) = (url.host()?, url.port_or_known_default()?);
    through.filter(|_| !is_local(&host) && !proxy.no_proxy.iter().any(|entry| matches(entry, &host, port)))
}

fn is_local(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether an entry of `NO_PROXY` is about a host: `*`, an address, a range, or a name with everything below it.
fn matches(entry: &str, host: &Host<&str>, port: u16) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    if entry == "*" {
        return true;
    }
    let address = match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
    };
    if let Some((network, length)) = entry.split_once('/') {
        let range = network.parse().ok().zip(length.parse().ok());
        return range.zip(address).is_some_and(|((network, length), address)| is_within(address, network, length));
    }
    let (name, only) = without_port(&entry);
    if only.is_some_and(|only| only != port) {
        return false;
    }
    match (host, name.parse::<IpAddr>()) {
        (_, Ok(own)) => address == Some(own),
        (Host::Domain(host), Err(_)) => {
            let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
            match name.strip_prefix('.') {
                // What begins with a dot is about what is below only.
                Some(domain) => is_below(host, domain),
                None => !name.is_empty() && (*host == name || is_below(host, name)),
            }
        }
        _ => false,
    }
}

fn without_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.rsplit_once(':') {
        // More than one colon is an address of IPv6.
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
        _ => (entry, None),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    !domain.is_empty() && host.strip_suffix(domain).is_some_and(|above| above.len() > 1 && above.ends_with('.'))
}

fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let same =
        |a: u128, b: u128, bits: u32| length <= bits && (length == 0 || a >> (bits - length) == b >> (bits - length));
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_through(url: &str, no_proxy: &[&str]) -> Option<String> {
        let proxy = Proxy {
            http: Some(ProxyUrl::new("http://plain.test:3128".to_owned())),
            https: Some(ProxyUrl::new("http://secure.test:3128".to_owned())),
            no_proxy: no_proxy.iter().map(ToString::to_string).collect(),
        };
        proxy_for(&proxy, &Url::parse(url).unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_machine_has_none() {
        assert_eq!(goes_through("http://a.test/", &[]).unwrap(), "http://plain.test:3128");
        assert_eq!(goes_through("https://a.test/", &[]).unwrap(), "http://secure.test:3128");
        for own in ["http://localhost:5000/", "http://127.0.0.2/", "https://[::1]/"] {
            assert_eq!(goes_through(own, &[]), None, "{own}");
        }
    }

    #[test]
    fn what_no_proxy_names_is_reached_without() {
        let without = [
            ("https://a.test/", "*"),
            ("https://a.test/", "a.test"),
            ("https://b.a.test/", " A.test "),
            ("https://b.a.test/", ".a.test"),
            ("https://b.a.test/", "*.a.test"),
            ("https://a.test:8443/", "a.test:8443"),
            ("https://10.1.2.3/", "10.0.0.0/8"),
            ("https://10.1.2.3/", "10.1.2.3"),
            ("https://10.1.2.3/", "10.1.2.3:443"),
            ("https://[fd00::1]/", "fd00::/8"),
            ("https://[fd00::1]/", "fd00::1"),
        ];
        for (url, entry) in without {
            assert_eq!(goes_through(url, &["x.test", entry]), None, "{url} {entry}");
        }
        let through = [
            ("https://a.test/", ".a.test"),
            ("https://xa.test/", "a.test"),
            ("https://a.test/", "a.test:8443"),
            ("https://11.1.2.3/", "10.0.0.0/8"),
            ("https://10.1.2.3/", "10.0.0.0/33"),
            ("https://10.1.2.3/", "fd00::/8"),
            ("https://a.test/", ""),
        ];
        for (url, entry) in through {
            assert!(goes_through(url, &[entry]).is_some(), "{url} {entry}");
        }
    }
}
