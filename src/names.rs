//! Names of what exists for a mirror. Pure.
//!
//! No name depends on other mirrors, so none changes when one comes or goes. And what exists keeps its name for life,
//! whatever the rule says by now: a container can be renamed, a volume cannot.

use std::collections::BTreeMap;

use crate::digest;
use crate::manifest::{ClusterName, Host};

/// Longest name: it is also a DNS label on the cluster's network.
const LIMIT: usize = 63;
/// Hexadecimal digits of a hash suffix.
const SUFFIX: usize = 8;
/// Ends the name of the container that is about to replace a mirror's. A dot comes out of no rule here, so that no
/// mirror can have such a name.
const NEXT: &str = ".next";

/// Name of a mirror's container, its volume and its network alias: `ksail-<cluster>-<slug>`, at most 63 characters.
///
/// A host whose slug can mean this one host only has no suffix; every other host has one, and so has a name that is cut.
pub fn of(cluster: &ClusterName, host: &Host) -> String {
    let plain = plain(cluster, host.as_str());
    if is_unmistakable(host) && plain.len() <= LIMIT { plain } else { suffixed(cluster, host.as_str()) }
}

/// The name of a mirror whose usual one is another's already.
pub fn beside_another(cluster: &ClusterName, host: &Host) -> String {
    suffixed(cluster, host.as_str())
}

/// Whether a name is one that ksail gives, or gave in an earlier version, to what exists for a host.
pub fn is_of(name: &str, cluster: &str, host: &str) -> bool {
    let name = name.strip_suffix(NEXT).unwrap_or(name);
    let prefix = format!("ksail-{cluster}-");
    let Some(rest) = name.strip_prefix(&prefix) else { return false };
    let slug = slug(host);
    rest == slug.trim_end_matches('-')
        || rest.rsplit_once('-').is_some_and(|(cut, suffix)| {
            suffix == digest::short(host, SUFFIX) && slug.starts_with(cut) && !cut.is_empty()
        })
}

/// The name of the container that replaces one of this name while it is recreated.
pub fn next(name: &str) -> String {
    format!("{name}{NEXT}")
}

/// The name that a container has in the end.
pub fn without_next(name: &str) -> &str {
    name.strip_suffix(NEXT).unwrap_or(name)
}

/// Names by host, where hosts have them already.
pub type Existing = BTreeMap<String, String>;

fn plain(cluster: impl std::fmt::Display, host: &str) -> String {
    format!("ksail-{cluster}-{}", slug(host))
}

fn suffixed(cluster: impl std::fmt::Display, host: &str) -> String {
    let full = plain(cluster, host);
    let keep = full.len().min(LIMIT - SUFFIX - 1);
    format!("{}-{}", full[..keep].trim_end_matches('-'), digest::short(host, SUFFIX))
}

/// Lower case, every character outside `[a-z0-9]` as `-`.
fn slug(host: &str) -> String {
    let replace = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    host.chars().map(replace).collect()
}

/// Whether no other host has this slug: the only `-` in it stand for dots, and for the colon of a port. A last part
/// that looks like a port could be either.
fn is_unmistakable(host: &Host) -> bool {
    let looks_like_a_port = |part: &str| part.parse::<u16>().is_ok_and(|port| port > 0) && !part.starts_with('0');
    let name = host.name();
    let ends_in_a_number = host.port().is_none() && name.rsplit('.').next().is_some_and(looks_like_a_port);
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') && !ends_in_a_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(cluster: &str, host: &str) -> String {
        of(&cluster.parse().unwrap(), &host.parse().unwrap())
    }

    #[test]
    fn a_name_is_the_cluster_and_the_hosts_slug() {
        assert_eq!(name_of("dev", "docker.io"), "ksail-dev-docker-io");
        assert_eq!(name_of("dev", "localhost:5001"), "ksail-dev-localhost-5001");
        assert_eq!(name_of("dev", "registry.local:5000"), "ksail-dev-registry-local-5000");
    }

    #[test]
    fn a_host_whose_slug_could_be_anothers_always_has_a_suffix() {
        for host in ["registry-local:5000", "a-b.io", "a--b.io", "registry.local.5000", "10.0.0.1"] {
            let name = name_of("dev", host);
            assert_eq!(name, format!("ksail-dev-{}-{}", slug(host), digest::short(host, 8)), "{host}");
        }
    }

    #[test]
    fn hosts_of_one_slug_have_names_of_their_own() {
        let hosts = ["a.b.io:1", "a-b.io:1", "a.b-io:1", "a.b.io.1", "a-b.io.1", "a-b-io:1"];
        let names: std::collections::BTreeSet<String> = hosts.iter().map(|host| name_of("dev", host)).collect();
        assert_eq!(names.len(), hosts.len(), "{names:?}");
    }

    #[test]
    fn a_long_name_is_cut_with_a_hash_to_63_characters() {
        let host = format!("{}.example.com", "a".repeat(60));
        let name = name_of("dev", &host);
        assert_eq!(name.len(), 63);
        assert_ne!(name, name_of("dev", &format!("{host}.org")));
    }

    #[test]
    fn what_has_the_name_of_today_or_of_an_earlier_version_is_known_by_it() {
        for host in ["docker.io", "registry-local:5000", "10.0.0.1", &format!("{}.io", "a".repeat(60))] {
            for name in [name_of("dev", host), plain("dev", host), suffixed("dev", host)] {
                assert!(is_of(&name, "dev", host), "{name} of {host}");
                assert!(is_of(&next(&name), "dev", host), "{name}.next of {host}");
                assert!(!is_of(&name, "other", host) && !is_of(&name, "dev", "ghcr.io"), "{name}");
            }
        }
        for name in ["ksail-dev-", "ksail-dev-docker-io-2", "mine", "ksail-dev-docker-io.old"] {
            assert!(!is_of(name, "dev", "docker.io"), "{name}");
        }
    }
}
