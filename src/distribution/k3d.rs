//! k3d: <https://k3d.io/stable/usage/configfile/>, and k3s: <https://docs.k3s.io/installation/private-registry>

use super::{NodeLayout, ProvisionerProgram, Route, block};
use crate::labels;
use crate::manifest::ClusterName;

/// k3s writes its configuration out in full when it starts, and keeps `hosts.toml` files it did not write.
pub(super) const NODE: NodeLayout = NodeLayout {
    cluster_label: labels::K3D_CLUSTER,
    role_label: labels::K3D_ROLE,
    roles: ["server", "agent"],
    hosts_directory: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    config_is_partial: false,
    set_up: &[],
    // The second is where k3d has k3s write it.
    admin_configs: &["/etc/rancher/k3s/k3s.yaml", "/output/kubeconfig.yaml"],
    socket: "/run/k3s/containerd/containerd.sock",
    kubectl: &["kubectl"],
};

pub(super) const PROGRAM: ProvisionerProgram =
    ProvisionerProgram { name: "k3d", install: "https://k3d.io/stable/#installation" };

/// Where the block belongs.
pub(super) const PLACE: &str = "mirrors:' in 'registries.config";

/// The block stands inside the text that k3d hands to k3s, where its two comments are comments as well.
pub(super) fn generate(cluster: &ClusterName, routes: &[Route]) -> String {
    format!(
        "\
# The cluster itself; https://k3d.io/stable/usage/configfile/ has all there is to set.
apiVersion: k3d.io/v1alpha5
kind: Simple
metadata:
  name: {cluster}
registries:
  config: |
    mirrors:
{}",
        block::new(&block(routes), 6)
    )
}

pub(super) fn block(routes: &[Route]) -> Vec<String> {
    let entry = |Route { host, endpoint }: &Route| [format!("\"{host}\":"), format!("  endpoint: [\"{endpoint}\"]")];
    routes.iter().flat_map(entry).collect()
}

pub(super) fn says_so(text: &str, routes: &[Route]) -> bool {
    routes.iter().all(|route| text.contains(&route.host) && text.contains(&route.endpoint))
}
