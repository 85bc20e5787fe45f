//! All that differs per distribution: its own configuration file, as far as ksail writes it.
//!
//! What ksail writes there stands between two comment lines, the managed block. Those lines follow the manifest; every
//! other line, and a file without the two lines, belongs to whoever wrote it.

mod block;
pub mod containerd;
pub mod existing;
pub mod hosts_toml;
mod k3d;
mod kind;
pub mod proxy;
pub mod registry_hosting;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::manifest::{ClusterName, Distribution, Host};
use crate::{labels, names, registry};

/// A host and where nodes find its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What image references say.
    pub host: String,
    /// `http://<alias>:5000`.
    pub endpoint: String,
}

/// The routes of a cluster's mirrors, in the order given.
///
/// A registry to push to is reached by its addresses on this machine, and by its alias as references from inside say it.
pub fn routes(cluster: &ClusterName, mirrors: &[(Host, bool)]) -> Vec<Route> {
    let route = |(host, is_push): &(Host, bool)| {
        let inside = format!("{}:{}", names::of(cluster, host), registry::PORT);
        let endpoint = format!("http://{inside}");
        let own = host.to_string();
        let pushed =
            hosts_toml::pushed_to(host, None).into_iter().filter(|address| *address != own).collect::<Vec<_>>();
        let others = is_push.then(|| pushed.into_iter().chain([inside]));
        let all = [own].into_iter().chain(others.into_iter().flatten());
        all.map(|host| Route { host, endpoint: endpoint.clone() }).collect::<Vec<_>>()
    };
    mirrors.iter().flat_map(route).collect()
}

/// What is where on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLayout {
    /// Label that holds the cluster's name.
    pub cluster_label: &'static str,
    /// Label that holds what a container of the cluster is for.
    pub role_label: &'static str,
    /// Roles that run containerd, those with an API server first; load balancers do not.
    pub roles: [&'static str; 2],
    /// Where containerd looks for `hosts.toml` files, unless its configuration says otherwise.
    pub hosts_directory: &'static str,
    /// containerd's configuration.
    pub config: &'static str,
    /// Whether containerd itself has to be asked for its settings: the file says only some of them.
    pub config_is_partial: bool,
    /// Files that are there once the distribution has set a node up: what containerd is told may change until one of them
    /// is. None where it is told everything before it starts.
    pub set_up: &'static [&'static str],
    /// The administrator's configuration is one of these: there is a control plane on a node that has it.
    pub admin_configs: &'static [&'static str],
    /// containerd's socket.
    pub socket: &'static str,
    /// `kubectl` on a node that has an API server.
    pub kubectl: &'static [&'static str],
}

/// What is where on the nodes of a distribution.
pub const fn node_layout(distribution: Distribution) -> NodeLayout {
    match distribution {
        Distribution::Kind => kind::NODE,
        Distribution::K3d => k3d::NODE,
    }
}

/// The program that creates and deletes clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisionerProgram {
    /// Its name on the `PATH`.
    pub name: &'static str,
    /// Where people get it.
    pub install: &'static str,
}

/// The program of a distribution.
pub const fn provisioner(distribution: Distribution) -> ProvisionerProgram {
    match distribution {
        Distribution::Kind => kind::PROGRAM,
        Distribution::K3d => k3d::PROGRAM,
    }
}

/// Arguments that create a cluster. `timeout` is how long to wait until it is ready.
pub fn create_arguments(
    distribution: Distribution,
    cluster: &ClusterName,
    config: Option<&Path>,
    timeout: Option<Duration>,
) -> Vec<String> {
    let mut arguments: Vec<String> = match distribution {
        Distribution::Kind => ["create", "cluster", "--name", cluster.as_str()].map(str::to_owned).to_vec(),
        Distribution::K3d => ["cluster", "create", cluster.as_str()].map(str::to_owned).to_vec(),
    };
    if let Some(config) = config {
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
    }
    if let Some(timeout) = timeout {
        let flag = match distribution {
            Distribution::Kind => "--wait",
            Distribution::K3d => "--timeout",
        };
        arguments.extend([flag.to_owned(), format!("{}s", timeout.as_secs())]);
    }
    arguments
}

/// Arguments that delete a cluster.
pub fn delete_arguments(distribution: Distribution, cluster: &ClusterName) -> Vec<String> {
    match distribution {
        Distribution::Kind => ["delete", "cluster", "--name", cluster.as_str()].map(str::to_owned).to_vec(),
        Distribution::K3d => ["cluster", "delete", cluster.as_str()].map(str::to_owned).to_vec(),
    }
}

/// Whether labels say that a container belongs to a cluster, load balancers included.
pub fn is_of_cluster(labels: &BTreeMap<String, String>, distribution: Distribution, cluster: &ClusterName) -> bool {
    labels.get(node_layout(distribution).cluster_label).map(String::as_str) == Some(cluster.as_str())
        // k3d puts the label on registries it made as well, and they may outlive the cluster.
        && labels.get(labels::K3D_ROLE).is_none_or(|role| role != "registry")
}

/// Name of the configuration file when the manifest is new.
pub const fn file_name(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Kind => "kind.yaml",
        Distribution::K3d => "k3d.yaml",
    }
}

/// A new configuration file.
pub fn generate(distribution: Distribution, cluster: &ClusterName, routes: &[Route]) -> String {
    match distribution {
        Distribution::Kind => kind::generate(cluster),
        Distribution::K3d => k3d::generate(cluster, routes),
    }
}

/// What following the manifest means for a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// It says already what it should.
    Same,
    /// Its managed block is to be replaced: the whole new text.
    Changed(String),
    /// It has no managed block and lacks something: what it lacks, and where that belongs.
    Foreign {
        /// Why it was not edited, and where the lines belong.
        hint: String,
        /// The lines.
        lines: String,
    },
}

/// Brings the managed block of a configuration file up to date.
pub fn follow(distribution: Distribution, routes: &[Route], text: &str) -> Followed {
    let lines = match distribution {
        Distribution::Kind => kind::block(),
        Distribution::K3d => k3d::block(routes),
    };
    match block::replace(text, &lines) {
        Ok(new) if new == text => Followed::Same,
        Ok(new) => Followed::Changed(new),
        Err(no_block) => {
            let (place, says_so) = match distribution {
                Distribution::Kind => (kind::PLACE, kind::says_so(text)),
                Distribution::K3d => (k3d::PLACE, k3d::says_so(text, routes)),
            };
            if says_so {
                return Followed::Same;
            }
            let lines = lines.iter().fold(String::new(), |text, line| text + line + "\n");
            Followed::Foreign { hint: format!("{no_block}; below '{place}' it should say"), lines }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::*;

    fn cluster() -> ClusterName {
        "dev".parse().unwrap()
    }

    fn of(hosts: &[(&str, bool)]) -> Vec<Route> {
        let hosts: Vec<_> = hosts.iter().map(|(host, push)| (host.parse().unwrap(), *push)).collect();
        routes(&cluster(), &hosts)
    }

    /// What `registries.config` in a k3d.yaml says to k3s.
    fn registries(text: &str) -> Value {
        let config: Value = serde_yaml::from_str(text).unwrap();
        serde_yaml::from_str(config["registries"]["config"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn kind_yaml_turns_config_path_on_and_is_a_cluster_of_that_name() {
        let text = generate(Distribution::Kind, &cluster(), &[]);
        let config: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(config["kind"], "Cluster");
        assert_eq!(config["apiVersion"], "kind.x-k8s.io/v1alpha4");
        assert_eq!(config["name"], "dev");
        let patch: toml::Table = config["containerdConfigPatches"][0].as_str().unwrap().parse().unwrap();
        let registry = &patch["plugins"]["io.containerd.grpc.v1.cri"]["registry"];
        assert_eq!(registry["config_path"].as_str(), Some("/etc/containerd/certs.d"));
        assert_eq!(registry.as_table().unwrap().len(), 1);
    }

    #[test]
    fn k3d_yaml_routes_a_mirror_to_its_alias_and_a_push_registry_by_all_of_its_names() {
        let text = generate(Distribution::K3d, &cluster(), &of(&[("docker.io", false), ("localhost:5000", true)]));
        let config: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(config["kind"], "Simple");
        assert_eq!(config["apiVersion"], "k3d.io/v1alpha5");
        assert_eq!(config["metadata"]["name"], "dev");
        let expected = "
            mirrors:
              docker.io: {endpoint: ['http://ksail-dev-docker-io:5000']}
              localhost:5000: {endpoint: ['http://ksail-dev-localhost-5000:5000']}
              127.0.0.1:5000: {endpoint: ['http://ksail-dev-localhost-5000:5000']}
              ksail-dev-localhost-5000:5000: {endpoint: ['http://ksail-dev-localhost-5000:5000']}";
        assert_eq!(registries(&text), serde_yaml::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn without_mirrors_k3d_yaml_is_still_valid() {
        let text = generate(Distribution::K3d, &cluster(), &[]);
        assert_eq!(registries(&text)["mirrors"], Value::Null);
    }

    #[test]
    fn a_generated_file_already_follows() {
        let routes = of(&[("docker.io", false)]);
        for distribution in [Distribution::Kind, Distribution::K3d] {
            let text = generate(distribution, &cluster(), &routes);
            assert_eq!(follow(distribution, &routes, &text), Followed::Same);
        }
    }

    #[test]
    fn only_the_managed_block_follows_and_keeps_its_indentation_and_line_ends() {
        let text = generate(Distribution::K3d, &cluster(), &of(&[("docker.io", false)]));
        let own = "      quay.io:\n        endpoint: [http://mine:5000]\n    configs: {}\nagents: 2\n";
        let text = (text + own).replace('\n', "\r\n");
        let Followed::Changed(after) = follow(Distribution::K3d, &of(&[("ghcr.io", false)]), &text) else {
            panic!("nothing changed")
        };
        assert_eq!(after, text.replace("docker.io", "ghcr.io").replace("dev-docker-io", "dev-ghcr-io"));
        assert_eq!(registries(&after)["mirrors"]["quay.io"]["endpoint"][0], "http://mine:5000");
    }

    #[test]
    fn a_file_without_the_block_is_left_alone_and_the_hint_says_what_to_add() {
        let routes = of(&[("docker.io", false)]);
        let Followed::Foreign { hint, lines } = follow(Distribution::K3d, &routes, "kind: Simple\n") else {
            panic!("it was not left alone")
        };
        assert_eq!(
            hint,
            "it has no lines between '# BEGIN ksail' and '# END ksail'; below 'mirrors:' in 'registries.config' it should say"
        );
        assert_eq!(lines, "\"docker.io\":\n  endpoint: [\"http://ksail-dev-docker-io:5000\"]\n");
    }

    #[test]
    fn a_file_without_the_block_that_says_the_same_needs_no_hint() {
        let routes = of(&[("docker.io", false)]);
        let own = "registries: {config: 'mirrors: {docker.io: {endpoint: [\"http://ksail-dev-docker-io:5000\"]}}'}";
        assert_eq!(follow(Distribution::K3d, &routes, own), Followed::Same);
        assert_eq!(
            follow(Distribution::Kind, &routes, "containerdConfigPatches: [\"… config_path = …\"]"),
            Followed::Same
        );
    }

    #[test]
    fn half_a_block_or_two_are_left_alone() {
        let text = generate(Distribution::K3d, &cluster(), &[]);
        let routes = of(&[("docker.io", false)]);
        for broken in [text.replace("# END ksail", "#"), text.replace("# BEGIN ksail", "#"), format!("{text}{text}")] {
            assert!(matches!(follow(Distribution::K3d, &routes, &broken), Followed::Foreign { .. }));
        }
    }
}
