//! What the engine says exists now: one snapshot, pure data once taken.

mod access;
mod network;
mod nodes;
mod ownership;
mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use futures_util::try_join;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

pub use self::access::Access;
pub use self::network::NetworkRef;
use self::network::cluster_network;
use self::nodes::Remembered;
pub(crate) use self::nodes::read_hosts;
pub use self::nodes::{HostDirectory, Hosting, Node};
pub use self::ownership::is_not_older;
pub use self::wiring::{Unwired, Wire, WireState, complaint, directory, path, unwired, wires};
use crate::archive::files_in;
use crate::desired::Desired;
use crate::distribution::{is_of_cluster, node_layout};
use crate::engine::{self, Container, ContainerState, ContainerSummary, Engine, EngineError, Image, LogPart, Volume};
use crate::labels::{self, is_ours};
use crate::manifest::{Lifecycle, State, Upstream};
use crate::probe::{Probe, Prober, Serving};
use crate::provisioner::Provisioner;
use crate::registry::{self, SecretFiles};

/// Reads asked of the engine at once. Each takes about half a millisecond, so a handful hides the round trips.
const READS_AT_ONCE: usize = 8;
/// An upstream that did not answer is asked again after this long.
const AWAY_HOLDS: Duration = Duration::from_secs(10);
/// A registry that has started has said by then which version it is.
const SAYS_ITS_VERSION_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// A registry that does not listen yet is given this long before that counts as drift.
const STARTING: SignedDuration = SignedDuration::from_secs(10);

/// One snapshot of everything a plan for one cluster needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The cluster's own containers (by label), in order of their names.
    pub containers: Vec<Found>,
    /// Everyone else's containers, by name.
    pub strangers: BTreeMap<String, Stranger>,
    /// Ports the manifest asks for that a process outside the engine holds.
    pub ports_taken: BTreeSet<(IpAddr, u16)>,
    /// The cluster's network, if it exists.
    pub network: Option<NetworkRef>,
    /// Names of all networks by id; several can share one.
    pub networks: BTreeMap<String, String>,
    /// Volumes by name: the cluster's own, and any that has a name the manifest needs.
    pub volumes: BTreeMap<String, Volume>,
    /// The image the manifest names, if the engine has it.
    pub image: Option<Image>,
    /// The cluster itself.
    pub cluster: Cluster,
    /// Its nodes that run, in order of their names; none are read of a cluster that is being deleted or about to be.
    pub nodes: Vec<Node>,
    /// Names of its nodes that do not run.
    pub stopped_nodes: Vec<String>,
    /// What the cluster says of its registry, if there is a node to ask.
    pub hosting: Option<Hosting>,
    /// Path of the program that creates and deletes clusters, where ksail is to do that and it is there.
    pub provisioner: Option<PathBuf>,
}

/// What there is of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cluster {
    /// No container carries its label.
    #[default]
    Missing,
    /// It has containers, and no node of it runs.
    Stopped,
    /// A node runs.
    Running,
}

impl Observed {
    /// Whether the cluster is to be deleted with the distribution's program.
    pub fn is_cluster_to_go(&self, desired: &Desired) -> bool {
        is_to_go(desired, self.cluster) && self.provisioner.is_some()
    }
}

fn is_to_go(desired: &Desired, cluster: Cluster) -> bool {
    desired.lifecycle == Lifecycle::Managed && desired.state != State::Present && cluster != Cluster::Missing
}

/// One container of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What inspect says.
    pub container: Container,
    /// Digest of the secret files in it, `None` where it has none.
    pub secrets: Option<String>,
    /// Whether it answers.
    pub serving: Serving,
    /// It was started moments ago.
    pub starting: bool,
    /// Whether its registry would start again, of a cache that was asked.
    pub starts_again: StartsAgain,
}

/// Whether a cache that is stopped would start again. Registry 2 asks its upstream for `/v2/` when it starts, and exits
/// when nobody answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartsAgain {
    /// Nobody wants to stop it.
    #[default]
    NotAsked,
    /// It would.
    Yes,
    /// It would not: why.
    No(String),
}

/// A container that is not this cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Address and port pairs it holds on the host.
    pub ports: Vec<(IpAddr, u16)>,
    /// Names of volumes it mounts.
    pub volumes: Vec<String>,
    /// The cluster it belongs to, when it is another one of ksail's.
    pub cluster: Option<String>,
}

/// Takes snapshots. Only reads.
#[derive(Debug, Clone)]
pub struct Observer<E, P> {
    engine: E,
    prober: Prober<P>,
    provisioner: Provisioner,
    remembered: Remembered,
    access: Access,
    /// Containers whose registries would not start again: when that was asked, and why.
    held_up: Arc<Mutex<BTreeMap<String, (Instant, String)>>>,
}

impl<E: Engine, P: Probe> Observer<E, P> {
    /// For a pass or a few.
    pub fn new(engine: E, prober: Prober<P>, provisioner: Provisioner) -> Self {
        Self {
            engine,
            prober,
            provisioner,
            remembered: Remembered::default(),
            access: Access::default(),
            held_up: Arc::default(),
        }
    }

    /// For passes without end: what was read on nodes is read again only when it has changed.
    #[must_use]
    pub fn that_remembers(self) -> Self {
        Self { remembered: Remembered::with_files(), ..self }
    }

    /// Shared while it looks into nodes.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What the cluster says of its registry was changed.
    pub fn forget_hosting(&self) {
        self.remembered.forget_hosting();
    }

    /// The next snapshot asks nodes everything anew.
    pub fn forget_nodes(&self) {
        self.remembered.forget();
    }

    /// Files were written on a node of this name.
    pub fn forget_files_of(&self, node: &str) {
        self.remembered.forget_files_of(node);
    }

    /// The next snapshot reads the nodes' files whatever their marks say.
    pub fn forget_files(&self) {
        self.remembered.forget_files();
    }

    /// Names of nodes whose files are not what they were in the last snapshot, and how many files were looked at.
    pub async fn changed_nodes(&self) -> (Vec<String>, usize) {
        let Some(_access) = self.access.share() else { return Default::default() };
        self.remembered.changed(&self.engine, &self.access).await
    }

    /// Finds out whether the caches of these hosts would start again if they were stopped.
    pub async fn ask_whether_they_start_again(&self, desired: &Desired, observed: &mut Observed, hosts: &[String]) {
        let asked = observed.containers.iter_mut().filter_map(|found| {
            let host = found.container.labels.get(labels::HOST).filter(|host| hosts.contains(host))?;
            let mirror = desired.mirrors.values().find(|mirror| mirror.host.as_str() == host)?;
            Some((mirror.upstream.as_ref()?, found))
        });
        let asking = asked.map(|(upstream, found)| async move {
            found.starts_again = self.starts_again(upstream, &found.container).await;
        });
        join_all(asking).await;
    }

    /// One that would not start again a moment ago is not asked about again by every pass: a silent upstream takes its time.
    async fn starts_again(&self, upstream: &Upstream, container: &Container) -> StartsAgain {
        let held = self.held_up.lock().unwrap_or_else(PoisonError::into_inner).get(&container.id).cloned();
        if let Some((_, why)) = held.filter(|(asked, _)| asked.elapsed() < AWAY_HOLDS) {
            return StartsAgain::No(why);
        }
        let answer = self.ask_whether_it_starts_again(upstream, container).await;
        let mut held_up = self.held_up.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            StartsAgain::No(why) => held_up.insert(container.id.clone(), (Instant::now(), why.clone())),
            StartsAgain::Yes | StartsAgain::NotAsked => held_up.remove(&container.id),
        };
        answer
    }

    async fn ask_whether_it_starts_again(&self, upstream: &Upstream, container: &Container) -> StartsAgain {
        // What only the cluster's network can name cannot be told from here.
        let is_known_here = upstream.host().contains(['.', ':']) || upstream.host() == "localhost";
        let Err(why) = self.prober.probe().upstream_answers(upstream).await else { return StartsAgain::Yes };
        if !is_known_here || self.major_version(container).await.is_some_and(|major| major > 2) {
            return StartsAgain::Yes;
        }
        StartsAgain::No(format!("{upstream}: {why}"))
    }

    /// What the registry says of itself when it starts; nothing where the engine does not keep its log.
    async fn major_version(&self, container: &Container) -> Option<u32> {
        let started = container.started_at?;
        let until = started.checked_add(SAYS_ITS_VERSION_WITHIN).ok()?;
        let log = self.engine.logs(&container.id, LogPart::Between(started, until)).await.ok()?;
        registry::major_version(&log)
    }

    /// Takes a snapshot of everything a plan for one cluster needs.
    pub async fn observe(&self, desired: &Desired) -> Result<Observed, EngineError> {
        let (engine, prober) = (&self.engine, &self.prober);
        let image = async { found(engine.inspect_image(&desired.image).await) };
        let (everyone, networks, volumes, image) =
            try_join!(engine.list_containers(&[]), engine.list_networks(), engine.list_volumes(&[]), image)?;
        let (ours, others) = ownership::part(engine, everyone, desired, image.as_ref()).await?;
        let cluster = cluster(desired, &others);
        let provisioner = match desired.lifecycle {
            Lifecycle::Managed => self.provisioner.find(desired.distribution),
            Lifecycle::External => None,
        };
        let of_nodes = others.iter().filter(|container| is_node(&container.labels, desired));
        let of_nodes: Vec<_> = of_nodes.map(|node| (node.id.clone(), node.name.clone())).collect();
        let inspected = stream::iter(of_nodes)
            .map(|(id, name)| async move {
                match found(engine.inspect_container(&id).await) {
                    Err(error) if error.is_unavailable() => Err(error),
                    // What is wrong with one node is told of that node.
                    Err(error) => Ok(Err(Node::silent(id, name, desired, &error))),
                    Ok(node) => Ok(Ok(node)),
                }
            })
            .buffer_unordered(READS_AT_ONCE)
            .try_collect::<Vec<_>>();
        let looked_into = stream::iter(ours)
            .map(|container| look_into(engine, container.id, prober))
            .buffer_unordered(READS_AT_ONCE)
            .try_collect::<Vec<_>>();
        let (all_nodes, containers) = try_join!(inspected, looked_into)?;
        let (answered, silent): (Vec<_>, Vec<_>) = all_nodes.into_iter().partition(Result::is_ok);
        let mut all_nodes: Vec<Container> = answered.into_iter().flatten().flatten().collect();
        all_nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let network = cluster_network(desired, &networks, &all_nodes);
        let stopped = all_nodes.iter().filter(|node| node.state != ContainerState::Running);
        let stopped_nodes = stopped.map(|node| node.name.clone()).collect();
        let access = self.access.share();
        let running = match &provisioner {
            _ if access.is_none() => Vec::new(),
            Some(_) if is_to_go(desired, cluster) => Vec::new(),
            _ => all_nodes.into_iter().filter(|node| node.state == ContainerState::Running).collect(),
        };
        let (mut nodes, hosting) = try_join!(
            nodes::read(engine, desired, &running, &self.remembered, &self.access),
            nodes::hosting(engine, desired, &running, &self.remembered, &self.access),
        )?;
        drop(access);
        nodes.extend(silent.into_iter().filter_map(Result::err));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));

        let mut containers: Vec<Found> = containers.into_iter().flatten().collect();
        containers.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        let runs = |container: &&Container| container.state == ContainerState::Running;
        prober.keep_only(containers.iter().map(|found| &found.container).filter(runs));
        let strangers = others.into_iter().map(|container| stranger(container, desired)).collect();
        let mounted: BTreeSet<String> =
            containers.iter().flat_map(|found| ownership::volumes_of(&found.container)).cloned().collect();
        let ports_taken = ports_taken(desired, &containers, &strangers, prober.probe()).await;
        Ok(Observed {
            containers,
            strangers,
            ports_taken,
            network,
            networks: networks.into_iter().map(|network| (network.id, network.name)).collect(),
            volumes: volumes
                .into_iter()
                .filter(|volume| concerns(volume, desired, &mounted))
                .map(|volume| (volume.name.clone(), volume))
                .collect(),
            image,
            cluster,
            nodes,
            stopped_nodes,
            hosting,
            provisioner,
        })
    }
}

/// By the cluster's containers, load balancers included.
fn cluster(desired: &Desired, others: &[ContainerSummary]) -> Cluster {
    let mut its = others
        .iter()
        .filter(|container| is_of_cluster(&container.labels, desired.distribution, &desired.cluster))
        .peekable();
    if its.peek().is_none() {
        return Cluster::Missing;
    }
    let runs = |container: &ContainerSummary| {
        container.state == ContainerState::Running && is_node(&container.labels, desired)
    };
    if its.any(runs) { Cluster::Running } else { Cluster::Stopped }
}

/// What inspect says, unless it was removed since the list was made.
async fn look_into<E: Engine, P: Probe>(
    engine: &E,
    id: String,
    prober: &Prober<P>,
) -> Result<Option<Found>, EngineError> {
    let Some(container) = found(engine.inspect_container(&id).await)? else { return Ok(None) };
    let serving = match container.state {
        ContainerState::Running => prober.serving(&container).await,
        // Known without waiting for the answer that does not come.
        ContainerState::Paused => Serving::Silent,
        _ => Serving::Unknown,
    };
    let secrets = secrets_in(engine, &container).await?;
    let starting = container.started_at.is_some_and(|start| Timestamp::now().duration_since(start).abs() < STARTING);
    Ok(Some(Found { container, secrets, serving, starting, starts_again: StartsAgain::NotAsked }))
}

async fn secrets_in<E: Engine>(engine: &E, container: &Container) -> Result<Option<String>, EngineError> {
    let directory = SecretFiles::directory();
    if !container.command.iter().any(|word| word.starts_with(&directory)) {
        return Ok(None);
    }
    let archive = found(engine.get_archive(&container.id, &directory).await)?;
    // An archive that cannot be read is no secret of ours: they are put in again.
    Ok(archive.and_then(|archive| files_in(&archive).ok()).map(|files| SecretFiles::digest_of(&files)))
}

/// Whether a container is a node of the cluster that runs containerd; load balancers do not.
pub fn is_node(labels: &BTreeMap<String, String>, desired: &Desired) -> bool {
    let layout = node_layout(desired.distribution);
    is_of_cluster(labels, desired.distribution, &desired.cluster)
        && labels.get(layout.role_label).is_some_and(|role| layout.roles.contains(&role.as_str()))
}

fn stranger(container: ContainerSummary, desired: &Desired) -> (String, Stranger) {
    let ports = container.ports.iter().map(|port| (port.host_address, port.host_port)).collect();
    let cluster = container.labels.get(labels::CLUSTER).filter(|cluster| *cluster != desired.cluster.as_str());
    let cluster = cluster.cloned();
    (container.name, Stranger { ports, volumes: container.volumes, cluster })
}

fn concerns(volume: &Volume, desired: &Desired, mounted: &BTreeSet<String>) -> bool {
    is_ours(&volume.labels, desired.cluster.as_str())
        || mounted.contains(&volume.name)
        || desired.mirrors.values().any(|mirror| mirror.name == volume.name)
}

/// Ports the manifest asks for that no container holds, yet cannot be had.
async fn ports_taken<P: Probe>(
    desired: &Desired,
    containers: &[Found],
    strangers: &BTreeMap<String, Stranger>,
    probe: &P,
) -> BTreeSet<(IpAddr, u16)> {
    let held = |port: u16| {
        let ours =
            containers.iter().any(|found| found.container.bound_ports.iter().any(|bound| bound.host_port == port));
        ours || strangers.values().any(|stranger| stranger.ports.iter().any(|(_, held)| *held == port))
    };
    let wanted = desired.mirrors.values().map(|mirror| mirror.listen);
    let unheld = wanted.filter(|listen| listen.host_port != 0 && !held(listen.host_port));
    let taken = stream::iter(unheld).filter_map(|listen| async move {
        let taken = probe.port_is_taken(listen.host_address, listen.host_port).await;
        taken.then_some((listen.host_address, listen.host_port))
    });
    taken.collect().await
}

/// "No such object" is an answer to a read, not a failure.
fn found<T>(answer: engine::Result<T>) -> engine::Result<Option<T>> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Observed {
    /// The container that holds a host port, by name.
    pub fn holder_of(&self, address: IpAddr, port: u16) -> Option<&str> {
        let clash = |(held, at): &(IpAddr, u16)| *at == port && addresses_clash(*held, address);
        self.strangers.iter().find(|(_, stranger)| stranger.ports.iter().any(clash)).map(|(name, _)| name.as_str())
    }
}

/// Whether two sockets on one port exclude each other: the same address, or one of them on all addresses.
pub fn addresses_clash(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}
