//! Actions: each is one engine call (but for [`Action::AwaitServing`], which only looks).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::milestone::Milestone;
use crate::desired::Provisioning;
use crate::distribution::hosts_toml::HostsToml;
use crate::distribution::provisioner;
use crate::distribution::registry_hosting::RegistryHosting;
use crate::engine::{ContainerSpec, Volume};
use crate::manifest::{ClusterName, Distribution};
use crate::observed::NetworkRef;
use crate::registry::SecretFiles;

/// One action and why.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why, in plain words.
    pub cause: String,
    /// What takes it back, in order, when a later step of its sequence fails.
    pub undo: Vec<Action>,
    /// What it waits for in other sequences of the same plan.
    pub after: Vec<Milestone>,
}

impl Step {
    /// One that waits for nothing and is not taken back.
    pub fn new(action: Action, cause: impl Into<String>) -> Self {
        Self { action, cause: cause.into(), undo: Vec::new(), after: Vec::new() }
    }

    /// Whether it stops a node from sending pulls somewhere.
    pub(super) fn unwires(&self) -> bool {
        matches!(self.action, Action::RemoveNodeFiles { .. })
    }
}

/// What a distribution's program is run for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// The cluster.
    pub name: ClusterName,
    /// Whose program.
    pub distribution: Distribution,
    /// Its path.
    pub program: PathBuf,
    /// What it needs to know.
    pub provisioning: Provisioning,
    /// What its nodes reach without a proxy: the mirrors, by their names, and the ranges of their network where that
    /// exists.
    pub direct: Vec<String>,
}

/// A container an action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name when the action runs.
    pub name: String,
    /// Its id, for one that was observed. One that an earlier step creates has none yet. A name alone
    /// is never enough to act on an existing container: somebody else may have taken it meanwhile.
    pub id: Option<String>,
}

/// What a plan can do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Pull an image; once however many mirrors need it.
    PullImage {
        /// Reference.
        image: String,
    },
    /// Create a volume.
    CreateVolume {
        /// Name.
        name: String,
        /// Labels.
        labels: BTreeMap<String, String>,
    },
    /// Create a container.
    CreateContainer {
        /// What from.
        spec: Box<ContainerSpec>,
    },
    /// Put files that carry secrets into a container.
    PutFiles {
        /// Which.
        container: Target,
        /// The files.
        files: SecretFiles,
    },
    /// Attach a container to the cluster's network.
    ConnectNetwork {
        /// Which.
        container: Target,
        /// The network, by id.
        network: NetworkRef,
        /// Names nodes reach it by.
        aliases: Vec<String>,
    },
    /// Detach a container from a network.
    DisconnectNetwork {
        /// Which.
        container: Target,
        /// The network; of one that was removed only the name is known, and stands for the id.
        network: NetworkRef,
    },
    /// Remove a network that k3d has made and left behind, unless somebody is on it.
    RemoveNetwork {
        /// Which.
        network: NetworkRef,
    },
    /// Start a container.
    StartContainer {
        /// Which.
        container: Target,
    },
    /// Stop a container.
    StopContainer {
        /// Which.
        container: Target,
    },
    /// Stop and start a container.
    RestartContainer {
        /// Which.
        container: Target,
        /// Not when its registry answers by now.
        only_if_silent: bool,
    },
    /// Resume a paused container.
    UnpauseContainer {
        /// Which.
        container: Target,
    },
    /// Give a container another name.
    RenameContainer {
        /// Which.
        container: Target,
        /// The new name.
        to: String,
    },
    /// Set the restart policy.
    UpdateRestartPolicy {
        /// Which.
        container: Target,
        /// The new one.
        policy: String,
    },
    /// Remove a container.
    RemoveContainer {
        /// Which.
        container: Target,
    },
    /// Remove a volume and what it holds.
    RemoveVolume {
        /// As it was observed: one that has other labels by then is another one and is left alone.
        volume: Volume,
    },
    /// Wait until the registry in a container answers. What came before is then final.
    AwaitServing {
        /// Which.
        container: Target,
    },
    /// Write `hosts.toml` files on a node, all of them in one call.
    WriteNodeFiles {
        /// Which.
        node: Target,
        /// Whose files are replaced.
        cluster: ClusterName,
        /// Path and text, by host.
        files: BTreeMap<String, (String, HostsToml)>,
    },
    /// Remove `hosts.toml` files from a node.
    RemoveNodeFiles {
        /// Which.
        node: Target,
        /// Whose files they are.
        cluster: ClusterName,
        /// The hosts they are for.
        hosts: Vec<String>,
        /// The files.
        paths: Vec<String>,
    },
    /// Remove directories on a node that have nothing in them.
    RemoveNodeDirectories {
        /// Which.
        node: Target,
        /// The directories.
        paths: Vec<String>,
    },
    /// Tell tools in the cluster of the registry to push to (KEP-1755).
    AdvertiseRegistry {
        /// The node whose `kubectl` does it.
        node: Target,
        /// What made the node.
        distribution: Distribution,
        /// What they are told.
        hosting: RegistryHosting,
    },
    /// Tell them no longer.
    WithdrawRegistry {
        /// The node whose `kubectl` does it.
        node: Target,
        /// What made the node.
        distribution: Distribution,
    },
    /// Run the distribution's program to create the cluster. What a run that failed or was stopped leaves is deleted.
    CreateCluster {
        /// What with.
        cluster: Box<ClusterSpec>,
    },
    /// Run the distribution's program to delete the cluster.
    DeleteCluster {
        /// What with.
        cluster: Box<ClusterSpec>,
    },
}

impl Action {
    /// Whether it looks into a node of the cluster or joins its network: neither can be removed at that moment.
    pub const fn touches_cluster(&self) -> bool {
        matches!(
            self,
            Self::ConnectNetwork { .. }
                | Self::WriteNodeFiles { .. }
                | Self::RemoveNodeFiles { .. }
                | Self::RemoveNodeDirectories { .. }
                | Self::AdvertiseRegistry { .. }
                | Self::WithdrawRegistry { .. }
        )
    }

    /// Id of the node that it gives something to.
    pub fn in_node(&self) -> Option<&str> {
        match self {
            Self::WriteNodeFiles { node, .. } | Self::AdvertiseRegistry { node, .. } => node.id.as_deref(),
            _ => None,
        }
    }

    /// The container that gives up its ports.
    pub const fn releases(&self) -> Option<&String> {
        match self {
            Self::StopContainer { container } | Self::RemoveContainer { container } => Some(&container.name),
            _ => None,
        }
    }

    /// The action's name in JSON output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PullImage { .. } => "PullImage",
            Self::CreateVolume { .. } => "CreateVolume",
            Self::CreateContainer { .. } => "CreateContainer",
            Self::PutFiles { .. } => "PutFiles",
            Self::ConnectNetwork { .. } => "ConnectNetwork",
            Self::DisconnectNetwork { .. } => "DisconnectNetwork",
            Self::RemoveNetwork { .. } => "RemoveNetwork",
            Self::StartContainer { .. } => "StartContainer",
            Self::StopContainer { .. } => "StopContainer",
            Self::RestartContainer { .. } => "RestartContainer",
            Self::UnpauseContainer { .. } => "UnpauseContainer",
            Self::RenameContainer { .. } => "RenameContainer",
            Self::UpdateRestartPolicy { .. } => "UpdateRestartPolicy",
            Self::RemoveContainer { .. } => "RemoveContainer",
            Self::RemoveVolume { .. } => "RemoveVolume",
            Self::AwaitServing { .. } => "AwaitServing",
            Self::WriteNodeFiles { .. } => "WriteNodeFiles",
            Self::RemoveNodeFiles { .. } => "RemoveNodeFiles",
            Self::RemoveNodeDirectories { .. } => "RemoveNodeDirectories",
            Self::AdvertiseRegistry { .. } => "AdvertiseRegistry",
            Self::WithdrawRegistry { .. } => "WithdrawRegistry",
            Self::CreateCluster { .. } => "CreateCluster",
            Self::DeleteCluster { .. } => "DeleteCluster",
        }
    }

    /// Name of the object the action is about.
    pub fn object(&self) -> &str {
        match self {
            Self::PullImage { image } => image,
            Self::CreateVolume { name, .. } | Self::RemoveVolume { volume: Volume { name, .. } } => name,
            Self::CreateContainer { spec } => &spec.name,
            Self::RemoveNetwork { network } => &network.name,
            Self::PutFiles { container, .. }
            | Self::ConnectNetwork { container, .. }
            | Self::DisconnectNetwork { container, .. }
            | Self::StartContainer { container }
            | Self::StopContainer { container }
            | Self::RestartContainer { container, .. }
            | Self::UnpauseContainer { container }
            | Self::RenameContainer { container, .. }
            | Self::UpdateRestartPolicy { container, .. }
            | Self::RemoveContainer { container }
            | Self::AwaitServing { container } => &container.name,
            Self::WriteNodeFiles { node, .. }
            | Self::RemoveNodeFiles { node, .. }
            | Self::RemoveNodeDirectories { node, .. }
            | Self::AdvertiseRegistry { node, .. }
            | Self::WithdrawRegistry { node, .. } => &node.name,
            Self::CreateCluster { cluster } | Self::DeleteCluster { cluster } => cluster.name.as_str(),
        }
    }

    /// What has been done, after the name of the subject it was done for.
    pub fn done(&self) -> String {
        match self {
            Self::PullImage { image } => format!("pulled image {image}"),
            Self::CreateVolume { .. } => "created its volume".to_owned(),
            Self::CreateContainer { .. } => "created its container".to_owned(),
            Self::PutFiles { files, .. } => format!("put in its {}", files.what()),
            Self::ConnectNetwork { network, .. } => format!("connected to network {}", network.name),
            Self::DisconnectNetwork { network, .. } => format!("disconnected from network {}", network.name),
            Self::RemoveNetwork { network } => format!("removed network {}", network.name),
            Self::StartContainer { .. } => "started".to_owned(),
            Self::StopContainer { .. } => "stopped".to_owned(),
            Self::RestartContainer { .. } => "restarted".to_owned(),
            Self::UnpauseContainer { .. } => "unpaused".to_owned(),
            Self::RenameContainer { to, .. } => format!("renamed its container to {to}"),
            Self::UpdateRestartPolicy { policy, .. } => format!("set its restart policy to {policy}"),
            Self::RemoveContainer { .. } => "removed its container".to_owned(),
            Self::RemoveVolume { .. } => "removed".to_owned(),
            Self::AwaitServing { .. } => "serves".to_owned(),
            Self::WriteNodeFiles { files, .. } => {
                let hosts: Vec<&str> = files.keys().map(String::as_str).collect();
                format!("wrote hosts.toml for {}", hosts.join(", "))
            }
            Self::RemoveNodeFiles { hosts, .. } => format!("removed hosts.toml for {}", hosts.join(", ")),
            Self::RemoveNodeDirectories { paths, .. } => format!("removed {}", paths.join(", ")),
            Self::AdvertiseRegistry { hosting, .. } => format!("told of {} (local-registry-hosting)", hosting.host()),
            Self::WithdrawRegistry { .. } => "removed local-registry-hosting".to_owned(),
            Self::CreateCluster { cluster } => format!("created with {}", provisioner(cluster.distribution).name),
            Self::DeleteCluster { cluster } => format!("deleted with {}", provisioner(cluster.distribution).name),
        }
    }

    /// Whether the engine is changed by it.
    pub const fn changes(&self) -> bool {
        !matches!(self, Self::AwaitServing { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object();
        match self {
            Self::PullImage { .. } => write!(f, "pull image {object}"),
            Self::CreateVolume { .. } => write!(f, "create volume {object}"),
            Self::CreateContainer { .. } => write!(f, "create container {object}"),
            Self::PutFiles { files, .. } => write!(f, "put {} into {object}", files.what()),
            Self::ConnectNetwork { network, .. } => write!(f, "connect {object} to network {}", network.name),
            Self::DisconnectNetwork { network, .. } => write!(f, "disconnect {object} from network {}", network.name),
            Self::RemoveNetwork { .. } => write!(f, "remove network {object}"),
            Self::StartContainer { .. } => write!(f, "start {object}"),
            Self::StopContainer { .. } => write!(f, "stop {object}"),
            Self::RestartContainer { .. } => write!(f, "restart {object}"),
            Self::UnpauseContainer { .. } => write!(f, "unpause {object}"),
            Self::RenameContainer { to, .. } => write!(f, "rename {object} to {to}"),
            Self::UpdateRestartPolicy { policy, .. } => write!(f, "set the restart policy of {object} to {policy}"),
            Self::RemoveContainer { .. } => write!(f, "remove container {object}"),
            Self::RemoveVolume { .. } => write!(f, "remove volume {object}"),
            Self::AwaitServing { .. } => write!(f, "wait until {object} serves"),
            Self::WriteNodeFiles { files, .. } => {
                let hosts: Vec<&str> = files.keys().map(String::as_str).collect();
                write!(f, "write hosts.toml for {} on {object}", hosts.join(", "))
            }
            Self::RemoveNodeFiles { hosts, .. } => {
                write!(f, "remove hosts.toml for {} from {object}", hosts.join(", "))
            }
            Self::RemoveNodeDirectories { paths, .. } => {
                write!(f, "remove {} from {object}", paths.join(", "))
            }
            Self::AdvertiseRegistry { hosting, .. } => {
                write!(f, "tell the cluster of {} (local-registry-hosting, by kubectl on {object})", hosting.host())
            }
            Self::WithdrawRegistry { .. } => write!(f, "remove local-registry-hosting, by kubectl on {object}"),
            Self::CreateCluster { cluster } => {
                write!(f, "create cluster {object} with {}", provisioner(cluster.distribution).name)
            }
            Self::DeleteCluster { cluster } => {
                write!(f, "delete cluster {object} with {}", provisioner(cluster.distribution).name)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.cause)
    }
}
