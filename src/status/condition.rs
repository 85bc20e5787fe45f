//! One condition: its type, its status and every reason there is.

use jiff::Timestamp;

use crate::distribution::containerd::RegistryConfig;
use crate::engine::EngineError;
use crate::outcome::Failure;
use crate::plan::Obstacle;
use crate::probe::UpstreamAnswer;
use crate::provisioner::ProvisionError;
use crate::registry::Said;

/// One thing that is true, false or unknown of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// Since when the status is what it is.
    pub since: Timestamp,
}

/// Text constants of an enum.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// The word in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }
    };
}

words! {
    /// What a condition is about.
    ConditionType {
        /// All that apply hold, except `UpstreamReachable`: a cache serves without its upstream.
        Ready,
        /// Its container runs.
        Running,
        /// `GET /v2/` answered 200 or 401 within two seconds.
        Serving,
        /// Its upstream answers as a registry when it is asked as the mirror would ask it.
        UpstreamReachable,
        /// It is on the cluster's network under its alias.
        NetworkAttached,
        /// Every node that runs sends pulls of its images to it.
        NodesWired,
        /// Of a node: its files can be read.
        Reachable,
        /// Of a node: its containerd reads `hosts.toml` files.
        ReadsHostsFiles,
        /// Of a node: its files send pulls to all mirrors, and no proxy is in between.
        Wired,
        /// Of a cluster that ksail creates: it exists, its nodes run, and its API server is ready.
        ClusterReady,
        /// Of a cluster with a registry to push to: tools in it are told of that one (KEP-1755).
        RegistryAdvertised,
    }
}

words! {
    /// Kubernetes' three values.
    ConditionStatus {
        /// It holds.
        True,
        /// It does not.
        False,
        /// It cannot be told.
        Unknown,
    }
}

words! {
    /// Every reason a condition can have.
    Reason {
        /// As desired.
        AsDesired,
        /// Nobody is at its upstream: what is cached is served, and nothing else.
        ServingFromCache,
        /// The container runs.
        ContainerRunning,
        /// There is no container, and nobody is known to be about to make one.
        NotCreated,
        /// There is no container.
        ContainerMissing,
        /// The container was never started.
        ContainerCreated,
        /// The container exited.
        ContainerExited,
        /// The container is paused.
        ContainerPaused,
        /// The container exits again and again.
        CrashLooping,
        /// The engine could not stop or remove the container.
        ContainerDead,
        /// The registry answers.
        Answering,
        /// The registry does not answer.
        NotAnswering,
        /// Nothing runs that could answer.
        NotRunning,
        /// It is published where ksail cannot reach it.
        NotReachableFromHere,
        /// The upstream answers as a registry.
        UpstreamAnswers,
        /// The upstream, or the proxy on the way to it, refuses the credentials, or wants some.
        UpstreamUnauthorized,
        /// The registry does not trust the upstream's certificate.
        UpstreamUntrusted,
        /// The upstream's rate limit is reached.
        UpstreamRateLimited,
        /// The upstream answers, and not as a registry does.
        UpstreamBroken,
        /// The upstream has no address, refuses connections, or there is no way to it.
        UpstreamUnreachable,
        /// The upstream does not answer within ten seconds.
        UpstreamSilent,
        /// What the registry meets cannot be told from here.
        UpstreamUnknown,
        /// Somebody else's container has the upstream's name on the cluster's network.
        UpstreamShadowed,
        /// The registry's image has no shell, which reads the credentials.
        ImageWithoutShell,
        /// The upstream has not been tried yet.
        NotProbed,
        /// On the cluster's network.
        Attached,
        /// Not on the cluster's network yet.
        NotAttached,
        /// The cluster's network does not exist (yet).
        NetworkNotFound,
        /// Every node has what it needs.
        Wired,
        /// There is no node that runs.
        NoNodes,
        /// A `hosts.toml` in the way is not ours.
        NodeFileForeign,
        /// A node's containerd has no `config_path`.
        NodeConfigPathMissing,
        /// A node's containerd has a list as `config_path`.
        NodeConfigPathList,
        /// A node's containerd has `registry.mirrors`.
        NodeRegistryMirrorsSet,
        /// A node's containerd asks a proxy in place of the mirror.
        NodeProxy,
        /// A node's configuration could not be read.
        NodeConfigUnknown,
        /// A node's files could not be read or written.
        NodeUnreachable,
        /// The cluster's nodes run, and its API server says that it is ready.
        ClusterRunning,
        /// The cluster exists and not all of its nodes run.
        ClusterStopped,
        /// No node of the cluster has a control plane.
        ClusterIncomplete,
        /// There is no cluster.
        ClusterMissing,
        /// There is a cluster that should not be.
        ClusterLeft,
        /// The distribution's program is not on the `PATH`.
        ProvisionerNotFound,
        /// The distribution's program failed.
        ProvisionerFailed,
        /// The cluster tells of the registry.
        Advertised,
        /// It does not yet.
        NotAdvertised,
        /// What it tells was written by somebody else.
        AdvertisedByOthers,
        /// The cluster's API could not be asked.
        ApiUnreachable,
        /// The image could not be pulled.
        ImagePullFailed,
        /// The host port is taken.
        PortInUse,
        /// A container or volume of its name is not ours.
        NameConflict,
        /// The registry does not run with the settings it was given.
        ConfigRejected,
        /// The engine refused something else.
        EngineRefused,
        /// The engine does not answer.
        EngineUnavailable,
        /// What was done did not cure it, and is done again and again.
        Repeated,
        /// It differs from the manifest and is being changed.
        Progressing,
    }
}

impl Reason {
    /// The reason a failure stands for.
    pub fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Engine { error, .. } => match error {
                EngineError::PullFailed { .. } => Self::ImagePullFailed,
                EngineError::PortInUse { .. } => Self::PortInUse,
                EngineError::Unavailable { .. } | EngineError::Timeout { .. } => Self::EngineUnavailable,
                _ => Self::EngineRefused,
            },
            Failure::NameTaken { .. } => Self::NameConflict,
            Failure::Exits { .. } => Self::ConfigRejected,
            Failure::DoesNotServe { .. } => Self::NotAnswering,
            Failure::Archive(_) | Failure::NetworkInUse { .. } => Self::EngineRefused,
            Failure::Repeated { .. } => Self::Repeated,
            Failure::InNode { .. } => Self::NodeUnreachable,
            Failure::Provisioner(ProvisionError::CannotRun { .. }) => Self::ProvisionerNotFound,
            Failure::Provisioner(_) | Failure::Remains { .. } => Self::ProvisionerFailed,
        }
    }

    /// Whether a node is what is not as it should be.
    pub const fn is_of_node(self) -> bool {
        matches!(
            self,
            Self::NodeFileForeign
                | Self::NodeConfigPathMissing
                | Self::NodeConfigPathList
                | Self::NodeRegistryMirrorsSet
                | Self::NodeProxy
                | Self::NodeUnreachable
        )
    }

    /// Why a containerd that does not read `hosts.toml` files does not.
    pub(super) const fn of_config(config: &RegistryConfig) -> Self {
        match config {
            RegistryConfig::List { .. } => Self::NodeConfigPathList,
            RegistryConfig::MirrorsSet { .. } => Self::NodeRegistryMirrorsSet,
            _ => Self::NodeConfigPathMissing,
        }
    }

    pub(super) fn of_upstream(answer: &UpstreamAnswer) -> Self {
        match answer {
            UpstreamAnswer::Answers => Self::UpstreamAnswers,
            UpstreamAnswer::Unauthorized(_) | UpstreamAnswer::RefusedByProxy(_) => Self::UpstreamUnauthorized,
            UpstreamAnswer::Untrusted(_) => Self::UpstreamUntrusted,
            UpstreamAnswer::RateLimited(_) => Self::UpstreamRateLimited,
            UpstreamAnswer::Broken(_) => Self::UpstreamBroken,
            UpstreamAnswer::Unreachable(_) => Self::UpstreamUnreachable,
            UpstreamAnswer::Silent => Self::UpstreamSilent,
            UpstreamAnswer::Unknown(_) => Self::UpstreamUnknown,
        }
    }

    pub(super) fn of_word(said: Said) -> Self {
        match said {
            Said::Answered => Self::UpstreamAnswers,
            Said::Unreachable(_) => Self::UpstreamUnreachable,
            Said::Silent(_) => Self::UpstreamSilent,
            Said::Untrusted(_) => Self::UpstreamUntrusted,
            Said::Unauthorized(_) => Self::UpstreamUnauthorized,
            Said::RateLimited(_) => Self::UpstreamRateLimited,
            Said::Broken(_) => Self::UpstreamBroken,
        }
    }

    pub(super) fn of_obstacle(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::PortInUse { .. } => Self::PortInUse,
            Obstacle::NameConflict { .. } => Self::NameConflict,
            Obstacle::Unreadable { .. } => Self::EngineRefused,
            Obstacle::UpstreamAway(_) => Self::UpstreamUnreachable,
            Obstacle::NodeFileForeign { .. } => Self::NodeFileForeign,
            Obstacle::NodeIgnoresFiles { .. } => Self::NodeConfigPathMissing,
            Obstacle::ClusterIncomplete { .. } => Self::ClusterIncomplete,
            Obstacle::ProvisionerNotFound { .. } => Self::ProvisionerNotFound,
        }
    }
}

/// A condition without its time.
pub(super) struct Verdict {
    pub(super) kind: ConditionType,
    pub(super) status: ConditionStatus,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(
        kind: ConditionType,
        status: ConditionStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    pub(super) fn at(self, since: Timestamp) -> Condition {
        Condition { kind: self.kind, status: self.status, reason: self.reason, message: self.message, since }
    }
}
