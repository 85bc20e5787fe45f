//! kind: <https://kind.sigs.k8s.io/docs/user/configuration/>

use super::block;
use crate::manifest::ClusterName;

/// Where the block belongs.
pub(super) const PLACE: &str = "containerdConfigPatches:";

/// Mirrors come and go in `certs.d`, which containerd reads at every pull; the file only has to turn that on. Node
/// images from kind v0.27 on do so themselves, and the patch does them no harm.
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
