//! What a configuration file that was there before the manifest says: the cluster's name, its network, and registries.
//!
//! kind hands `containerdConfigPatches` to containerd
//! (<https://github.com/containerd/containerd/blob/main/docs/cri/registry.md>), and k3d `registries.config` to k3s
//! (<https://docs.k3s.io/installation/private-registry>); both map a host to the endpoints that are asked in turn.

use serde_yaml::Value;

use crate::manifest::{Distribution, Host, Upstream};

/// How the names begin of what ksail makes.
const OWN: &str = "ksail-";

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// What the cluster is called.
    pub name: Option<String>,
    /// The network k3d is to join it to; kind's files cannot say.
    pub network: Option<String>,
    /// Registries that nodes are led to.
    pub registries: Vec<Found>,
    /// Hosts that a manifest cannot list, as the file has them.
    pub left_out: Vec<String>,
}

/// A registry in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What image references say.
    pub host: Host,
    /// Where a cache of it gets what it does not have; `None` for one to push to.
    pub upstream: Option<Upstream>,
}

/// Which distribution a file is for, as its `apiVersion` says.
pub fn distribution_of(text: &str) -> Option<Distribution> {
    let file: Value = serde_yaml::from_str(text).ok()?;
    match file.get("apiVersion")?.as_str()?.split('/').next()? {
        "kind.x-k8s.io" => Some(Distribution::Kind),
        "k3d.io" => Some(Distribution::K3d),
        _ => None,
    }
}

impl Existing {
    /// Reads a file; of one that is not YAML, nothing.
    pub fn read(distribution: Distribution, text: &str) -> Self {
        let file: Value = serde_yaml::from_str(text).unwrap_or_default();
        let string = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let mut existing = match distribution {
            Distribution::Kind => Self { name: string(file.get("name")), ..Self::default() },
            Distribution::K3d => Self {
                name: string(file.get("metadata").and_then(|metadata| metadata.get("name"))),
                network: string(file.get("network")),
                ..Self::default()
            },
        };
        let listed = match distribution {
            Distribution::Kind => of_kind(&file),
            Distribution::K3d => of_k3d(&file),
        };
        for (host, endpoints) in listed {
            match found(&host, &endpoints) {
                Some(found) if existing.registries.iter().all(|other| other.host != found.host) => {
                    existing.registries.push(found);
                }
                // The alias of a registry that ksail made, which comes with it.
                None if host.starts_with(OWN) => {}
                None => existing.left_out.push(host),
                Some(_) => {}
            }
        }
        existing
    }
}

/// Whether kind's nodes would be made for nothing: `registry.mirrors` and `config_path` rule each other out, and
/// containerd's CRI plugin does not start where both are set.
pub fn rules_itself_out(distribution: Distribution, text: &str) -> bool {
    let file: Value = serde_yaml::from_str(text).unwrap_or_default();
    let registries = match distribution {
        Distribution::Kind => registries_of_kind(&file),
        Distribution::K3d => Vec::new(),
    };
    let has_mirrors = |table: &toml::Table| {
        table.get("mirrors").and_then(toml::Value::as_table).is_some_and(|mirrors| !mirrors.is_empty())
    };
    let has_path = |table: &toml::Table| {
        table.get("config_path").and_then(toml::Value::as_str).is_some_and(|path| !path.is_empty())
    };
    registries.iter().any(has_mirrors) && registries.iter().any(has_path)
}

/// `[plugins."…".registry]`, in each of the patches.
fn registries_of_kind(file: &Value) -> Vec<toml::Table> {
    let patches = file.get("containerdConfigPatches").and_then(Value::as_sequence).into_iter().flatten();
    let patches = patches.filter_map(|patch| patch.as_str()?.parse::<toml::Table>().ok());
    let registries = patches.flat_map(|patch| {
        let plugins = patch.get("plugins").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let registries = plugins.into_iter().filter_map(|(_, plugin)| plugin.get("registry")?.as_table().cloned());
        registries.collect::<Vec<_>>()
    });
    registries.collect()
}

/// `[plugins."…".registry.mirrors."HOST"] endpoint = […]`, in any of the patches.
fn of_kind(file: &Value) -> Vec<(String, Vec<String>)> {
    let registries = registries_of_kind(file);
    let mirrors = registries.iter().filter_map(|registry| registry.get("mirrors")?.as_table());
    let endpoints = |mirror: &toml::Value| {
        let endpoints = mirror.get("endpoint").and_then(toml::Value::as_array).into_iter().flatten();
        endpoints.filter_map(|endpoint| endpoint.as_str().map(str::to_owned)).collect()
    };
    mirrors.flatten().map(|(host, mirror)| (host.clone(), endpoints(mirror))).collect()
}

/// `mirrors` in the text below `registries.config`.
fn of_k3d(file: &Value) -> Vec<(String, Vec<String>)> {
    let config = file.get("registries").and_then(|registries| registries.get("config")?.as_str()).unwrap_or_default();
    let config: Value = serde_yaml::from_str(config).unwrap_or_default();
    let mirrors = config.get("mirrors").and_then(Value::as_mapping).into_iter().flatten();
    let endpoints = |mirror: &Value| {
        let endpoints = mirror.get("endpoint").and_then(Value::as_sequence).into_iter().flatten();
        endpoints.filter_map(|endpoint| endpoint.as_str().map(str::to_owned)).collect()
    };
    mirrors.filter_map(|(host, mirror)| Some((host.as_str()?.to_owned(), endpoints(mirror)))).collect()
}

/// The registry that a manifest would list for a host.
fn found(host: &str, endpoints: &[String]) -> Option<Found> {
    let host: Host = host.parse().ok()?;
    if host.name() == "localhost" {
        return host.port().map(|_| Found { host, upstream: None });
    }
    // One without a dot is a container on the cluster's network, which only its own nodes reach.
    if !host.name().contains('.') || host.name().parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let upstreams: Vec<Upstream> =
        endpoints.iter().filter_map(|endpoint| endpoint.trim_end_matches('/').parse().ok()).collect();
    let itself = upstreams.iter().find(|upstream| authority(upstream) == host.as_str());
    // Caches come first in such a list, and what they are a cache of last.
    let last = upstreams.iter().rfind(|upstream| is_elsewhere(upstream));
    let upstream = itself.or(last).cloned().unwrap_or_else(|| Upstream::well_known(&host));
    Some(Found { host, upstream: Some(upstream) })
}

fn authority(upstream: &Upstream) -> &str {
    upstream.as_str().split_once("://").map_or("", |(_, authority)| authority)
}

/// Whether it is a registry on the internet rather than a cache on this machine or in the cluster's network.
fn is_elsewhere(upstream: &Upstream) -> bool {
    upstream.as_str().starts_with("https://")
        && upstream.host().contains('.')
        && upstream.host().parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(existing: &Existing) -> Vec<String> {
        let show = |found: &Found| match &found.upstream {
            Some(upstream) => format!("{} from {upstream}", found.host),
            None => format!("{} to push to", found.host),
        };
        existing.registries.iter().map(show).collect()
    }

    #[test]
    fn kinds_patches_say_the_hosts_and_where_they_come_from() {
        let text = r#"
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: shop
containerdConfigPatches:
  - |-
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
      endpoint = ["http://docker-io:5000", "https://registry-1.docker.io"]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."localhost:5001"]
      endpoint = ["http://kind-registry:5000"]
  - |-
    [plugins."io.containerd.cri.v1.images".registry.mirrors."ghcr.io"]
      endpoint = ["http://ghcr.io:5000"]
    [plugins."io.containerd.cri.v1.images".registry.mirrors."registry.corp.example:5000"]
      endpoint = ["http://registry.corp.example:5000"]
    [plugins."io.containerd.cri.v1.images".registry.mirrors."kind-registry:5000"]
      endpoint = ["http://kind-registry:5000"]
  - "not TOML ["
  - 5
"#;
        let existing = Existing::read(Distribution::Kind, text);
        assert_eq!(existing.name.as_deref(), Some("shop"));
        assert_eq!(
            listed(&existing),
            [
                "docker.io from https://registry-1.docker.io",
                "localhost:5001 to push to",
                "ghcr.io from https://ghcr.io",
                "registry.corp.example:5000 from http://registry.corp.example:5000"
            ]
        );
        assert_eq!(existing.left_out, ["kind-registry:5000"]);
        assert_eq!(distribution_of(text), Some(Distribution::Kind));
    }

    #[test]
    fn mirrors_of_old_beside_a_directory_rule_each_other_out_in_whichever_patches_they_are() {
        let patch = |lines: &str| format!("  - |-\n    [plugins.\"io.containerd.grpc.v1.cri\".registry]\n{lines}");
        let path = patch("      config_path = \"/etc/containerd/certs.d\"\n");
        let no_path = patch("      config_path = \"\"\n");
        let mirrors = "    [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n      endpoint = [\"http://x:5000\"]\n";
        let apart = format!("  - |-\n{mirrors}");
        let file = |patches: &str| format!("kind: Cluster\ncontainerdConfigPatches:\n{patches}");
        for (text, expected) in [
            (file(&format!("{path}{mirrors}")), true),
            (file(&format!("{path}{apart}")), true),
            (file(&format!("{apart}{path}")), true),
            (file(&path), false),
            (file(&apart), false),
            (file(&format!("{no_path}{mirrors}")), false),
            (String::new(), false),
        ] {
            assert_eq!(rules_itself_out(Distribution::Kind, &text), expected, "{text}");
            assert!(!rules_itself_out(Distribution::K3d, &text));
        }
    }

    #[test]
    fn k3ds_text_within_the_text_says_the_hosts_and_the_network_is_beside_it() {
        let text = "
apiVersion: k3d.io/v1alpha5
kind: Simple
metadata: {name: shop}
network: corp
registries:
  config: |
    mirrors:
      docker.io: {endpoint: ['http://cache:5000', 'https://mirror.example/']}
      quay.io: {}
      '*': {endpoint: ['http://cache:5000']}
      ksail-shop-localhost-5000:5000: {endpoint: ['http://ksail-shop-localhost-5000:5000']}
      localhost:5000: {endpoint: ['http://ksail-shop-localhost-5000:5000']}
";
        let existing = Existing::read(Distribution::K3d, text);
        assert_eq!((existing.name.as_deref(), existing.network.as_deref()), (Some("shop"), Some("corp")));
        assert_eq!(
            listed(&existing),
            ["docker.io from https://mirror.example", "quay.io from https://quay.io", "localhost:5000 to push to"]
        );
        assert_eq!(existing.left_out, ["*"]);
        assert_eq!(distribution_of(text), Some(Distribution::K3d));
    }

    #[test]
    fn a_file_that_says_nothing_of_it_gives_nothing() {
        for text in ["", "[", "- a", "registries: {config: /etc/registries.yaml}", "containerdConfigPatches: {a: b}"] {
            for distribution in [Distribution::Kind, Distribution::K3d] {
                assert_eq!(Existing::read(distribution, text), Existing::default(), "{text}");
            }
            assert_eq!(distribution_of(text), None);
        }
    }
}
