//! Labels on every object ksail makes. Ownership is an exact match of these, never a name or an image.

/// Present with the value [`KSAIL`] on every container and volume of ksail.
pub const MANAGED_BY: &str = "ksail.dev/managed-by";
/// Value of [`MANAGED_BY`].
pub const KSAIL: &str = "ksail";
/// Name of the cluster the object belongs to.
pub const CLUSTER: &str = "ksail.dev/cluster";
/// The mirror's host, as in the manifest.
pub const HOST: &str = "ksail.dev/host";
/// [`crate::desired::Role`] of the mirror.
pub const ROLE: &str = "ksail.dev/role";
/// Digest of what the container was created from, apart from its configuration.
pub const SPEC_HASH: &str = "ksail.dev/spec-hash";
/// Digest of the registry's configuration. Secrets are not part of it: a digest of a short
/// password in a label could be searched for.
pub const CONFIG_HASH: &str = "ksail.dev/config-hash";

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
