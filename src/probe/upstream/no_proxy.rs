//! Which proxy a registry goes through, by the rules of Go's HTTP client.
//!
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>

use url::{Host, Url};

use crate::manifest::{Proxy, ProxyUrl};
use crate::no_proxy::is_direct;

/// The proxy for a URL, if there is one for it. This machine's own addresses are always reached without.
pub(super) fn proxy_for<'a>(proxy: &'a Proxy, url: &Url) -> Option<&'a ProxyUrl> {
    let through = if url.scheme() == "https" { proxy.https.as_ref() } else { proxy.http.as_ref() };
    let (host, port) = (url.host()?, url.port_or_known_default()?);
    through.filter(|_| !is_local(&host) && !proxy.no_proxy.iter().any(|entry| is_direct(entry, &host, port)))
}

fn is_local(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
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
