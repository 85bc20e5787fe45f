//! Where a mirror gets what it does not have.

use std::net::IpAddr;

use super::super::types::THIS_MACHINE;
use super::{ClusterName, InvalidValue, Mirror, Node, Problem, Rules, Upstream};
use crate::digest;

/// What is not a registry, though its name suggests one, and the registry that is meant.
const NO_REGISTRIES: [(&str, &str); 12] = [
    ("docker.io", "registry-1.docker.io"),
    ("www.docker.io", "registry-1.docker.io"),
    ("docker.com", "registry-1.docker.io"),
    ("www.docker.com", "registry-1.docker.io"),
    ("hub.docker.com", "registry-1.docker.io"),
    ("index.docker.io", "registry-1.docker.io"),
    ("auth.docker.io", "registry-1.docker.io"),
    ("github.com", "ghcr.io"),
    ("www.github.com", "ghcr.io"),
    ("docker.pkg.github.com", "ghcr.io"),
    ("gitlab.com", "registry.gitlab.com"),
    ("gallery.ecr.aws", "public.ecr.aws"),
];

/// Hexadecimal digits that end the name of a host whose letters could be another's.
const SUFFIX: usize = 8;

impl Rules<'_> {
    pub(super) fn upstream(&mut self, at: Option<&Node>, written: &str) -> Option<Upstream> {
        let expanded = self.expand(at, written)?;
        let parsed = expanded.parse::<Upstream>();
        // What a variable held may be a secret: say what is wrong without showing it.
        let parsed = if expanded == written {
            parsed
        } else {
            parsed.map_err(|_| InvalidValue {
                problem: "with its variables filled in, this is not scheme://host[:port]".to_owned(),
                hint: Some("look at what the variables hold (it is not shown here, as it may be secret)".to_owned()),
            })
        };
        let upstream = parsed.map_err(|error| self.invalid(at, error)).ok()?.shown_as(written);
        self.is_a_registry(at, &upstream);
        if is_container_itself(upstream.host()) {
            let problem = Problem::new("inside the mirror's container this is the container itself");
            self.report(
                at,
                problem.hint("write a name or an address that containers reach, such as host.docker.internal"),
            );
        }
        Some(upstream)
    }

    fn is_a_registry(&mut self, at: Option<&Node>, upstream: &Upstream) {
        let host = upstream.host().to_ascii_lowercase();
        let Some((_, meant)) = NO_REGISTRIES.iter().find(|(name, _)| *name == host) else { return };
        let name = if upstream.is_secret() { "with its variables filled in, this" } else { &host };
        let problem = Problem::new(format!("{name} is not a registry")).hint(format!("write 'https://{meant}'"));
        self.report(at, if upstream.is_secret() { problem.of_environment() } else { problem });
    }

    /// On the cluster's network a mirror is called as its container is: it would ask itself for ever.
    pub(super) fn is_not_its_own_upstream(&mut self, mirror: &Mirror, cluster: Option<&ClusterName>, node: &Node) {
        let (Some(upstream), Some(cluster)) = (&mirror.upstream, cluster) else { return };
        if is_own_name(upstream.host(), cluster, mirror.host.as_str()) {
            let problem = Problem::new("this is the mirror itself, as the cluster's network calls it");
            let hint = format!("write the registry that {} is a mirror of", mirror.host);
            self.report(node.get("upstream"), problem.hint(hint));
        } else if mirror.port == Some(upstream.port()) && is_this_machine(upstream.host(), machine_name().as_deref()) {
            let problem = Problem::new("this is the mirror itself, by its own port of this machine");
            let hint =
                format!("write the registry that {} is a mirror of, or give the mirror another 'port'", mirror.host);
            self.report(node.get("upstream"), problem.hint(hint));
        }
    }
}

/// Whether containers reach this machine by a name: the engine's for it, or its own. (Those that mean the container itself
/// are refused whatever the port.)
fn is_this_machine(host: &str, machine: Option<&str>) -> bool {
    let short = machine.map(|name| name.split('.').next().unwrap_or(name));
    let names = [Some(THIS_MACHINE), machine, short];
    names.into_iter().flatten().any(|name| !name.is_empty() && host.eq_ignore_ascii_case(name))
}

#[cfg(unix)]
fn machine_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

#[cfg(not(unix))]
fn machine_name() -> Option<String> {
    None
}

/// What every container calls itself.
pub(super) fn is_container_itself(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Whether a name is that of a mirror's container: `ksail-<cluster>-<slug>`, with a suffix or without.
fn is_own_name(name: &str, cluster: &ClusterName, host: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let Some(rest) = name.strip_prefix(&format!("ksail-{cluster}-")) else { return false };
    let replaced = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let slug: String = host.chars().map(replaced).collect();
    let is_cut = |(cut, suffix): (&str, &str)| slug.starts_with(cut) && suffix == digest::short(host, SUFFIX);
    rest == slug || rest.rsplit_once('-').is_some_and(is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_the_engines_name_for_it_and_by_its_own() {
        for name in ["host.docker.internal", "laptop.example.com", "Laptop"] {
            assert!(is_this_machine(name, Some("laptop.example.com")), "{name}");
        }
        for name in ["ghcr.io", "lap", "example.com", ""] {
            assert!(!is_this_machine(name, Some("laptop.example.com")) && !is_this_machine(name, Some("")), "{name}");
        }
        #[cfg(unix)]
        assert!(machine_name().is_some_and(|name| !name.is_empty()));
    }
}
