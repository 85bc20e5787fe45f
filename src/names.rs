//! Names of what exists for a mirror. Pure.
//!
//! No name depends on other mirrors, so none changes when one comes or goes. And what exists keeps its name for life,
//! whatever the rule says by now: a container can be renamed, a volume cannot.

use std::collections::BTreeMap;

use crate::digest;
use crate::manifest::{ClusterName, Host};
use crate::registry::Role;

/// Longest name: it is also a DNS label on the cluster's network.
const LIMIT: usize = 63;
/// Hexadecimal digits of a hash suffix.
const SUFFIX: usize = 8;
/// Ends the name of the container that is about to replace a mirror's. A dot comes out of no rule here, so that no
/// mirror can have such a name.
const NEXT: &str = ".next";

/// The network that k3d makes for a cluster.
pub fn k3d_network(cluster: &ClusterName) -> String {
    format!("k3d-{cluster}")
}

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
    let name = base(name);
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

/// The name of a mirror's volume for a role, where the one that has the mirror's name holds what came of the other role:
/// `ksail-dev-docker-io.push`. As with [`next`], no mirror can have such a name.
pub fn beside_other_role(name: &str, role: Role) -> String {
    format!("{name}{}", of_role(role))
}

/// The name of the mirror that something belongs to which has this name.
pub fn base(name: &str) -> &str {
    let ends = [NEXT, of_role(Role::Mirror), of_role(Role::Push)];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

const fn of_role(role: Role) -> &'static str {
    match role {
        Role::Mirror => ".mirror",
        Role::Push => ".push",
    }
}

/// What exists already, and keeps its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// Names of mirrors, by host.
    pub names: BTreeMap<String, String>,
    /// Names of volumes, by host and by the role of whose content is in them: what a cache fetched is nothing that was
    /// pushed, and the other way round.
    pub volumes: BTreeMap<String, BTreeMap<Role, String>>,
}

impl Existing {
    /// One host that has a name.
    #[cfg(test)]
    pub fn named(host: &str, name: &str) -> Self {
        Self { names: [(host.to_owned(), name.to_owned())].into(), ..Self::default() }
    }

    /// The volume of the mirror of a name. What holds the content of its role stays its volume, whatever it is called;
    /// otherwise it is the one of the mirror's own name, unless the other role's content is in there.
    pub fn volume(&self, host: &str, name: &str, role: Role) -> String {
        let of_host = self.volumes.get(host);
        if let Some(volume) = of_host.and_then(|volumes| volumes.get(&role)) {
            return volume.clone();
        }
        let is_anothers = of_host.is_some_and(|volumes| volumes.values().any(|volume| volume == name));
        if is_anothers { beside_other_role(name, role) } else { name.to_owned() }
    }
}

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
    fn what_one_role_left_is_not_handed_to_the_other_and_is_found_again_when_the_role_is_changed_back() {
        let of = |volumes: &[(Role, &str)]| Existing {
            volumes: [("ghcr.io".to_owned(), volumes.iter().map(|(role, name)| (*role, (*name).to_owned())).collect())]
                .into(),
            ..Existing::default()
        };
        let volume = |existing: &Existing, role| existing.volume("ghcr.io", "ksail-dev-ghcr-io", role);
        assert_eq!(volume(&of(&[]), Role::Push), "ksail-dev-ghcr-io");
        let cached = of(&[(Role::Mirror, "ksail-dev-ghcr-io")]);
        assert_eq!(volume(&cached, Role::Mirror), "ksail-dev-ghcr-io");
        assert_eq!(volume(&cached, Role::Push), "ksail-dev-ghcr-io.push");
        let both = of(&[(Role::Mirror, "ksail-dev-ghcr-io"), (Role::Push, "ksail-dev-ghcr-io.push")]);
        assert_eq!(volume(&both, Role::Push), "ksail-dev-ghcr-io.push");
        assert_eq!(volume(&both, Role::Mirror), "ksail-dev-ghcr-io");
        // With the policy Delete the older one is gone by then.
        let pushed = of(&[(Role::Push, "ksail-dev-ghcr-io.push")]);
        assert_eq!(volume(&pushed, Role::Mirror), "ksail-dev-ghcr-io");
    }

    #[test]
    fn a_volume_of_a_role_is_known_by_its_name_and_is_no_other_hosts() {
        let name = name_of("dev", "docker.io");
        for role in [Role::Mirror, Role::Push] {
            let volume = beside_other_role(&name, role);
            assert!(is_of(&volume, "dev", "docker.io") && !is_of(&volume, "dev", "ghcr.io"), "{volume}");
            assert_eq!(base(&volume), name);
            assert_eq!(volume, format!("{name}.{role}"));
        }
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
