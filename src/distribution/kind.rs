//! kind: <https://kind.sigs.k8s.io/docs/user/configuration/>

use super::{NodeLayout, ProvisionerProgram, block};
use crate::labels;
use crate::manifest::ClusterName;

/// `/etc` is part of the container, so what is written there survives a restart of the node.
pub(super) const NODE: NodeLayout = NodeLayout {
    cluster_label: labels::KIND_CLUSTER,
    role_label: labels::KIND_ROLE,
    roles: ["control-plane", "worker"],
    hosts_directory: "/etc/containerd/certs.d",
    config: "/etc/containerd/config.toml",
    config_is_partial: true,
    // kubeadm writes them. kind patches containerd's configuration before, when the container runs already.
    set_up: &["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf"],
    admin_configs: &["/etc/kubernetes/admin.conf"],
    socket: "/run/containerd/containerd.sock",
    kubectl: &["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"],
};

pub(super) const PROGRAM: ProvisionerProgram =
    ProvisionerProgram { name: "kind", install: "https://kind.sigs.k8s.io/docs/user/quick-start/#installation" };

/// Where the block belongs.
pub(super) const PLACE: &str = "containerdConfigPatches:";

/// Mirrors come and go in `certs.d`, which containerd reads at every pull; the file only has to turn that on. Node
/// images from kind v0.31 on (containerd 2.2) do so themselves, and the patch does them no harm.
pub(super) fn generate(cluster: &ClusterName) -> String {
    format!(
        "\
# The cluster itself; https://kind.sigs.k8s.io/docs/user/configuration/ has all there is to set.
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: {cluster}
{PLACE}
{}",
        block::new(&block(), 2)
    )
}

pub(super) fn block() -> Vec<String> {
    ["- |-", "  [plugins.\"io.containerd.grpc.v1.cri\".registry]", "    config_path = \"/etc/containerd/certs.d\""]
        .map(str::to_owned)
        .to_vec()
}

pub(super) fn says_so(text: &str) -> bool {
    text.contains("config_path")
}
