//! The Docker-compatible daemon, as far as ksail needs it.
//!
//! [`Engine`] is implemented by [`docker::Docker`] and by [`memory::Memory`]; one contract suite
//! (`tests/contract`) holds both to the same behaviour. Every method is one engine call, but for
//! [`Engine::exec`], which needs several.

mod debug;
pub mod docker;
mod exec;
pub mod locate;
pub mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;

use futures_util::stream::BoxStream;
use jiff::Timestamp;

pub use self::exec::{Exec, Executed};

/// A Docker-compatible daemon. Cloning is cheap and shares the connection.
///
/// Implementations bound every call in time and answer [`EngineError::Timeout`] after it.
/// "Already so" is never an error of its own kind here: what Docker answers with 304 is `Ok`,
/// the other cases (409, 403) come back as errors, and `execute` decides.
pub trait Engine: Clone + Send + Sync + 'static {
    /// Who answers. Also checks that the engine is recent enough ([`EngineError::TooOld`]).
    fn info(&self) -> impl Future<Output = Result<EngineInfo>> + Send;

    /// Ids of all containers, running or not, that carry every one of `labels`
    /// (a value of `None` asks for the key alone).
    fn list_containers(&self, labels: &[Label<'_>]) -> impl Future<Output = Result<Vec<ContainerSummary>>> + Send;
    /// One container by id or exact name; [`EngineError::NotFound`] when there is none.
    fn inspect_container(&self, id: &str) -> impl Future<Output = Result<Container>> + Send;
    /// Creates a container on the default bridge network and returns its id.
    ///
    /// [`EngineError::NotFound`] when the image is not here, [`EngineError::Conflict`] when the name is taken.
    fn create_container(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String>> + Send;
    /// Starts a container; already running or restarting is `Ok` and does nothing, paused is [`EngineError::Conflict`].
    ///
    /// [`EngineError::PortInUse`] when a port is taken, [`EngineError::NotFound`] when one of its networks is gone,
    /// [`EngineError::Refused`] when it never ran and several networks have the name of one of its own:
    /// start it first and connect by id afterwards.
    fn start_container(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
    /// Stops a container, killing it after `grace_seconds`; already stopped is `Ok`.
    fn stop_container(&self, id: &str, grace_seconds: u32) -> impl Future<Output = Result<()>> + Send;
    /// Stops and starts a container in one call.
    fn restart_container(&self, id: &str, grace_seconds: u32) -> impl Future<Output = Result<()>> + Send;
    /// Resumes a paused container; one that is not paused is [`EngineError::Conflict`].
    fn unpause_container(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
    /// Gives a container another name; [`EngineError::Conflict`] when it is taken,
    /// [`EngineError::Refused`] when it is its name already.
    fn rename_container(&self, id: &str, name: &str) -> impl Future<Output = Result<()>> + Send;
    /// Sets the restart policy of an existing container.
    fn update_restart_policy(&self, id: &str, policy: &str) -> impl Future<Output = Result<()>> + Send;
    /// Removes a container, running or not, and its anonymous volumes. Named volumes stay.
    fn remove_container(&self, id: &str) -> impl Future<Output = Result<()>> + Send;

    /// Extracts a tar archive into the container's file system at `path` (an existing directory).
    fn put_archive(&self, id: &str, path: &str, tar: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
    /// A file or directory of the container's file system as a tar archive.
    fn get_archive(&self, id: &str, path: &str) -> impl Future<Output = Result<Vec<u8>>> + Send;
    /// What is at a path of the container's file system, running or not, without reading it;
    /// [`EngineError::NotFound`] when nothing is. A symbolic link is not followed.
    fn stat_path(&self, id: &str, path: &str) -> impl Future<Output = Result<PathStat>> + Send;
    /// Runs a program in a running container, without a shell, and waits for its end (several calls of the API).
    ///
    /// [`EngineError::Conflict`] when the container does not run or is paused, [`EngineError::NotFound`] when there is
    /// none. A program that is not in the container is an exit code of 126 or 127, as shells have it, on every engine.
    /// After [`EngineError::Timeout`] the program may still run: no call of the API ends it.
    fn exec(&self, id: &str, exec: &Exec) -> impl Future<Output = Result<Executed>> + Send;

    /// What the process of a container has written to both of its outputs, as far as the engine keeps it.
    fn logs(&self, id: &str, part: LogPart) -> impl Future<Output = Result<String>> + Send;

    /// What a running container's networks have carried for it since it started, if the engine counts that.
    fn traffic(&self, id: &str) -> impl Future<Output = Result<Option<Traffic>>> + Send;

    /// Every network.
    fn list_networks(&self) -> impl Future<Output = Result<Vec<Network>>> + Send;
    /// Attaches a container to a network.
    ///
    /// A running container that is already on it is [`EngineError::Conflict`], an unknown network is
    /// [`EngineError::NotFound`]. For one that does not run Docker 20.10 only takes a note, so both are `Ok`: an endpoint
    /// whose network still exists keeps its aliases, a stale one of that name is replaced, and what is wrong with
    /// the network shows at the start.
    fn connect_network(
        &self,
        network: &str,
        container: &str,
        aliases: &[String],
    ) -> impl Future<Output = Result<()>> + Send;
    /// Detaches a container; with `force` also from a network that no longer exists, which then goes by its name,
    /// not its id. [`EngineError::NotFound`] when it is not attached.
    fn disconnect_network(
        &self,
        network: &str,
        container: &str,
        force: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes a network. [`EngineError::Conflict`] while a running container is on it.
    fn remove_network(&self, network: &str) -> impl Future<Output = Result<()>> + Send;

    /// Volumes that carry every one of `labels`.
    fn list_volumes(&self, labels: &[Label<'_>]) -> impl Future<Output = Result<Vec<Volume>>> + Send;
    /// One volume by exact name.
    fn inspect_volume(&self, name: &str) -> impl Future<Output = Result<Volume>> + Send;
    /// Creates a named volume. Docker answers `Ok` when one of that name exists, whatever its labels.
    fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> impl Future<Output = Result<()>> + Send;
    /// Removes a volume; [`EngineError::Conflict`] while a container uses it.
    fn remove_volume(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// The image a reference names in the engine's own store.
    fn inspect_image(&self, reference: &str) -> impl Future<Output = Result<Image>> + Send;
    /// Pulls an image; `progress` is called with what the engine says meanwhile.
    fn pull_image(
        &self,
        reference: &str,
        progress: impl Fn(PullProgress) + Send + Sync,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Container, network and volume events from now on, those that change something. A program somebody else ran in a
    /// container (`exec_die`) and files put into one (`extract-to-dir`, our own included) may have: they are told too,
    /// but not the end of a program this connection ran. The stream ends with `Err` or `None` when the engine goes
    /// away; what happened meanwhile is lost, so the caller observes anew.
    fn events(&self) -> impl Future<Output = Result<BoxStream<'static, Result<Event>>>> + Send;

    /// What time it is by the engine's clock, as far as it is known: times that the engine says are compared with this
    /// one, never with this machine's clock directly.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Result of an engine call.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// A label to filter by: key, and value if it matters.
pub type Label<'a> = (&'a str, Option<&'a str>);

/// Who answers at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `Docker Engine`, `Podman Engine`, …
    pub name: String,
    /// Version of the engine, as it prints it.
    pub version: String,
    /// API version in use, for example `1.41`.
    pub api_version: String,
    /// Where it was reached, for example `unix:///var/run/docker.sock`.
    pub address: String,
}

/// What a list call says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Id of the image it runs.
    pub image_id: String,
    /// State at the time of the call.
    pub state: ContainerState,
    /// Ports bound on the host now (none while stopped), each listed once per address.
    pub ports: Vec<PublishedPort>,
    /// Names of the volumes mounted into it.
    pub volumes: Vec<String>,
    /// Networks it is on by name, each with what tells this attachment from every other, also from an earlier or later
    /// one of the same container to the same network; empty while the container does not run.
    pub endpoints: BTreeMap<String, String>,
}

/// What an inspect call says of a container.
#[derive(Clone, PartialEq, Eq)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// The reference the container was created with.
    pub image: String,
    /// Id of the image it runs.
    pub image_id: String,
    /// Entrypoint in force (the image's own unless overridden).
    pub entrypoint: Vec<String>,
    /// Command in force.
    pub command: Vec<String>,
    /// Environment in force, the image's own variables included.
    pub env: BTreeMap<String, String>,
    /// `NAME:ADDRESS`, what it resolves besides what its networks name.
    pub extra_hosts: Vec<String>,
    /// State at the time of the call.
    pub state: ContainerState,
    /// Exit code of the last run, if it ended.
    pub exit_code: Option<i64>,
    /// The engine's words when the last start failed; empty otherwise.
    pub error: String,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When the current or last run began; `None` if it never ran.
    pub started_at: Option<Timestamp>,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub restart_policy: String,
    /// What becomes of its output.
    pub log: LogDriver,
    /// Ports the container asks for (`HostConfig.PortBindings`); host port 0 is an ephemeral one.
    pub ports: Vec<PublishedPort>,
    /// Ports bound on the host now; empty while stopped.
    pub bound_ports: Vec<PublishedPort>,
    /// Everything mounted into it.
    pub mounts: Vec<Mount>,
    /// Networks by name, the default bridge included.
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// State of a container, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// Between an exit and the next start by its restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Not running.
    Exited,
    /// The engine failed to remove or stop it.
    Dead,
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

/// One TCP port of a container on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// Port inside the container.
    pub container_port: u16,
    /// Host address it listens on.
    pub host_address: IpAddr,
    /// Port on the host; 0 asks for an ephemeral one.
    pub host_port: u16,
}

/// Which part of a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPart {
    /// The last so many lines.
    Last(u32),
    /// What was written between two moments.
    Between(Timestamp, Timestamp),
}

/// Bytes on all networks of a container, the engine's own included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// That came to it.
    pub received: u64,
    /// That it sent.
    pub sent: u64,
}

/// What the engine does with a container's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDriver {
    /// `json-file`, `local`, `journald` …
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl LogDriver {
    /// Whether the driver keeps files that it can be told to limit, with `max-size` and `max-file`.
    pub fn takes_limits(&self) -> bool {
        matches!(self.name.as_str(), "json-file" | "local")
    }
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume; `None` for a bind mount and others.
    pub volume: Option<String>,
    /// Path inside the container.
    pub target: String,
}

/// A container's place on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Id of the network; stays when the network itself has been removed. Empty until the container first runs:
    /// until then Docker 20.10 notes nothing but the name.
    pub network_id: String,
    /// Names other containers of that network reach it by, besides its own.
    pub aliases: Vec<String>,
    /// Address on that network while running.
    pub address: Option<IpAddr>,
}

/// What to create a container from. No bind mounts, no privilege: there is no field for either.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Container name.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// Command; empty keeps the image's own.
    pub command: Vec<String>,
    /// Environment on top of the image's own.
    pub env: BTreeMap<String, String>,
    /// `NAME:ADDRESS`, what it resolves besides what its networks name; an address of `host-gateway` is the engine's own
    /// machine.
    pub extra_hosts: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Published TCP ports.
    pub ports: Vec<PublishedPort>,
    /// Named volumes and where they are mounted.
    pub volumes: Vec<(String, String)>,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub restart_policy: String,
    /// Options of the engine's default log driver, where that [takes limits](LogDriver::takes_limits).
    pub log_options: BTreeMap<String, String>,
}

/// What is at a path of a container's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Bytes in a file; for anything else whatever the file system says.
    pub size: u64,
    /// When it was last modified, as the engine says it: to be compared, not to be read.
    ///
    /// A program that edits a file sets it to now, and an entry that comes or goes sets that of the directory. A file
    /// or directory that comes in an archive has the time the archive gives it, which may be the same as before.
    pub modified: String,
}

/// A network of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Full id.
    pub id: String,
    /// Name; several networks can share one.
    pub name: String,
    /// Ranges that the engine gives addresses of, such as `172.18.0.0/16`.
    pub subnets: Vec<String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, where the engine says so.
    pub created_at: Option<Timestamp>,
}

/// A volume of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created; Docker says it in whole seconds.
    pub created_at: Option<Timestamp>,
}

/// An image in the engine's store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Id (`sha256:…`).
    pub id: String,
    /// Entrypoint of containers made from it.
    pub entrypoint: Vec<String>,
    /// Default command.
    pub command: Vec<String>,
    /// Default environment.
    pub env: BTreeMap<String, String>,
    /// Labels, which every container made from it inherits.
    pub labels: BTreeMap<String, String>,
}

/// One line of what the engine says while it pulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Layer the line is about; empty for the whole image.
    pub id: String,
    /// `Downloading`, `Pull complete`, …
    pub status: String,
    /// Bytes done, where the engine says.
    pub current: Option<u64>,
    /// Bytes in all, where the engine says.
    pub total: Option<u64>,
}

/// Something that happened in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it happened to.
    pub kind: EventKind,
    /// Docker's word: `start`, `die`, `connect`, `destroy`, `exec_die` …
    pub action: String,
    /// Id of the container or network, name of the volume.
    pub id: String,
    /// Labels and `name` (and `container` for network events).
    pub attributes: BTreeMap<String, String>,
}

/// What an [`Event`] happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Why an engine call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at the address: the daemon is down, the socket is missing or may not be opened.
    #[error("cannot reach the engine at {address}: {reason}")]
    Unavailable {
        /// Where it was looked for.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// The engine answered, but its API is older than Docker 20.10's.
    #[error("{found} is too old: ksail needs Docker 20.10 or newer (API 1.41), this one offers API {api}")]
    TooOld {
        /// Name and version of the engine.
        found: String,
        /// The newest API version it offers.
        api: String,
    },
    /// No such container, image, network or volume (404).
    #[error("{message}")]
    NotFound {
        /// The engine's words.
        message: String,
    },
    /// The name is taken, the volume is in use, the container is already connected, not paused or, for a program that is
    /// to run in it, not running (409, 403).
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// A host port is taken.
    #[error("{message}")]
    PortInUse {
        /// The engine's words.
        message: String,
    },
    /// An image could not be pulled: no such image, no access, no network, rate limit.
    #[error("{message}")]
    PullFailed {
        /// The engine's words.
        message: String,
    },
    /// The engine did not answer in time.
    #[error("the engine did not answer {call} within {seconds} s")]
    Timeout {
        /// The call, in words.
        call: String,
        /// Seconds waited.
        seconds: u64,
    },
    /// Any other refusal.
    #[error("{message}")]
    Refused {
        /// HTTP status, 0 if there was none.
        status: u16,
        /// The engine's words.
        message: String,
    },
}

impl EngineError {
    /// Whether the object the call named does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the engine answered, and does not do what it was asked.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }

    /// Whether no answer came back, so that nothing is known of the engine.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
