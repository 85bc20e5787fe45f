//! What is reached without a proxy, by the rules of Go's HTTP client, which the registry and containerd have. Pure.
//!
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>. The rules of curl, which others follow, differ: there
//! `.example.com` stands for `example.com` too, and a port for nothing.

use std::net::IpAddr;

use url::Host;

/// Whether an entry of `NO_PROXY` is about a host, so that it is reached without a proxy: `*`, an address, a range, or a
/// name with everything below it; each with a port or without. Nobody resolves a name for that.
pub fn is_direct(entry: &str, host: &Host<&str>, port: u16) -> bool {
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
