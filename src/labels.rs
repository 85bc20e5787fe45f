//! Labels on every object ksail makes: names other programs may rely on, and what makes an object ours.

use std::collections::BTreeMap;

/// Present with the value [`KSAIL`] on every container and volume of ksail.
pub const MANAGED_BY: &str = "ksail.dev/managed-by";
/// Value of [`MANAGED_BY`].
pub const KSAIL: &str = "ksail";
/// Name of the cluster the object belongs to.
pub const CLUSTER: &str = "ksail.dev/cluster";
/// The mirror's host, as in the manifest.
pub const HOST: &str = "ksail.dev/host";
/// [`Role`](crate::registry::Role) of the mirror.
pub const ROLE: &str = "ksail.dev/role";
/// On a container whose predecessor the engine made a volume for, one without labels: `NAME@TIME`, the volume's name and
/// when it was made. It is ksail's to remove; without this only the predecessor's own age would tell.
pub const MADE_VOLUME: &str = "ksail.dev/made-volume";

/// On a container whose proxy the manifest names: what the manifest says, without what is secret. Without it, what the
/// engine's users have set up is nobody's drift.
pub const PROXY: &str = "ksail.dev/proxy";
/// On a container that has certificates of the manifest's: the name of their file there.
pub const CA: &str = "ksail.dev/ca";

/// Set by kind on its nodes: the cluster's name.
pub const KIND_CLUSTER: &str = "io.x-k8s.kind.cluster";
/// Set by kind on its nodes: `control-plane`, `worker` or `external-load-balancer`.
pub const KIND_ROLE: &str = "io.x-k8s.kind.role";
/// Set by k3d on its nodes: the cluster's name.
pub const K3D_CLUSTER: &str = "k3d.cluster";
/// Set by k3d on its nodes: `server`, `agent`, `loadbalancer` or `registry`.
pub const K3D_ROLE: &str = "k3d.role";
/// Set by k3d on its nodes: the network the cluster uses.
pub const K3D_NETWORK: &str = "k3d.cluster.network";

/// Set by k3d on what it makes, networks included: key and value.
pub const OF_K3D: (&str, &str) = ("app", "k3d");

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The labels of what exists for one mirror of a cluster.
pub fn of_owner(cluster: &str, host: &str, role: &str) -> Labels {
    [(MANAGED_BY, KSAIL), (CLUSTER, cluster), (HOST, host), (ROLE, role)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Those of a mirror's container that its volume has as well.
pub fn of_volume(container: &Labels) -> Labels {
    let mut labels = container.clone();
    labels.retain(|label, _| ![MADE_VOLUME, PROXY, CA].contains(&label.as_str()));
    labels
}

/// Whether labels say that an object belongs to a mirror of a cluster's.
pub fn is_of_mirror(labels: &Labels, cluster: &str, host: &str) -> bool {
    is_ours(labels, cluster) && labels.get(HOST).map(String::as_str) == Some(host)
}

/// Whether labels say that an object belongs to a cluster of ksail's.
pub fn is_ours(labels: &Labels, cluster: &str) -> bool {
    labels.get(MANAGED_BY).map(String::as_str) == Some(KSAIL)
        && labels.get(CLUSTER).map(String::as_str) == Some(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_says_whose_it_is_and_nothing_of_another_volume() {
        let its = of_owner("dev", "ghcr.io", "mirror");
        let mut container = its.clone();
        container.insert(MADE_VOLUME.to_owned(), "ksail-dev-ghcr-io@1970-01-01T00:01:40Z".to_owned());
        assert_eq!(of_volume(&container), its);
    }
}
