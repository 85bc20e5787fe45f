//! What a registry goes through to reach its upstream: it knows the variables that other programs know.

use std::collections::BTreeMap;

use crate::manifest::{Proxy, ProxyUrl, THIS_MACHINE, Upstream};

/// The variables, each of which has a twin in lower case.
const HTTP: &str = "HTTP_PROXY";
const HTTPS: &str = "HTTPS_PROXY";
const NO: &str = "NO_PROXY";

/// What is reached without any proxy: the container itself and its machine.
const LOCAL: [&str; 4] = ["localhost", "127.0.0.0/8", "::1", THIS_MACHINE];

/// Makes `host.docker.internal` known to a container where the engine does not by itself, as on Linux.
pub const HOST_GATEWAY: &str = "host.docker.internal:host-gateway";

/// Whether a variable is one of those that say what a program goes through.
pub fn is_proxy_setting(name: &str) -> bool {
    [HTTP, HTTPS, NO].iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What is set for a proxy on the way to an upstream; nothing where there is none.
pub fn proxy_settings(proxy: &Proxy, upstream: &Upstream) -> BTreeMap<String, String> {
    if proxy.is_none() {
        return BTreeMap::new();
    }
    let mut around: Vec<&str> = proxy.no_proxy.iter().map(String::as_str).collect();
    // A name without a dot is one of the cluster's network, or of this one.
    let is_local = !upstream.host().contains(['.', ':']);
    for local in LOCAL.into_iter().chain(is_local.then(|| upstream.host())) {
        if !around.contains(&local) {
            around.push(local);
        }
    }
    let exposed = |url: &Option<ProxyUrl>| url.as_ref().map(|url| url.expose().to_owned());
    let settings = [(HTTP, exposed(&proxy.http)), (HTTPS, exposed(&proxy.https)), (NO, Some(around.join(",")))];
    let set = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_ascii_lowercase(), value)]).collect()
}

/// Whether a registry needs [`HOST_GATEWAY`] to reach its upstream.
pub fn needs_host_gateway(upstream: &Upstream, proxy: Option<&Proxy>) -> bool {
    let urls = proxy.into_iter().flat_map(|proxy| [&proxy.http, &proxy.https]).flatten();
    let is_on_the_way = |url: &ProxyUrl| {
        let (_, rest) = url.expose().split_once("://").unwrap_or(("", url.expose()));
        let host = rest.rsplit('@').next().unwrap_or(rest).split([':', '/']).next();
        host.is_some_and(|host| host.eq_ignore_ascii_case(THIS_MACHINE))
    };
    upstream.host().eq_ignore_ascii_case(THIS_MACHINE) || urls.into_iter().any(is_on_the_way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(url: &str, no_proxy: &[&str]) -> Proxy {
        let no_proxy = no_proxy.iter().map(|name| (*name).to_owned()).collect();
        Proxy { http: None, https: Some(ProxyUrl::new(url.to_owned())), no_proxy }
    }

    #[test]
    fn what_is_local_is_reached_without_the_proxy() {
        let settings = |upstream: &str, no_proxy: &[&str]| {
            proxy_settings(&through("http://p:3128", no_proxy), &upstream.parse().unwrap())
        };
        let found = settings("https://ghcr.io", &["a.example", "localhost"]);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"]);
        assert_eq!(found["NO_PROXY"], "a.example,localhost,127.0.0.0/8,::1,host.docker.internal");
        assert_eq!((&found["https_proxy"], &found["no_proxy"]), (&found["HTTPS_PROXY"], &found["NO_PROXY"]));
        assert!(settings("http://upstream:5000", &[])["NO_PROXY"].ends_with(",host.docker.internal,upstream"));
        assert!(names.into_iter().all(is_proxy_setting));
        assert_eq!(proxy_settings(&Proxy::default(), &"https://ghcr.io".parse().unwrap()), BTreeMap::new());
    }

    #[test]
    fn this_machine_is_made_known_to_who_goes_there() {
        let ghcr: Upstream = "https://ghcr.io".parse().unwrap();
        assert!(needs_host_gateway(&"http://host.docker.internal:5000".parse().unwrap(), None));
        assert!(!needs_host_gateway(&ghcr, None));
        assert!(needs_host_gateway(&ghcr, Some(&through("http://a:b@host.docker.internal:3128", &[]))));
        assert!(!needs_host_gateway(&ghcr, Some(&through("http://p:3128", &["host.docker.internal"]))));
    }
}
