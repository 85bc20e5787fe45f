//! A snapshot of the store: what is known, without asking anybody. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::contents::{Contents, Record, has_api_server};
use super::control_plane::ControlPlane;
use super::follow_up::ANSWER_HOLDS;
use super::network::{NetworkUse, cluster_network, is_k3ds};
use super::object::Object;
use super::store::Store;
use super::{Cluster, Node, Observed, OwnContainer, STARTING, StartsAgain, Stranger, is_node, ownership};
use crate::desired::Desired;
use crate::distribution::is_of_cluster;
use crate::engine::{Container, ContainerState, ContainerSummary, Network, Volume};
use crate::labels::{self, HOST, is_ours};
use crate::manifest::Lifecycle;
use crate::names;
use crate::probe::{Probe, Prober, Serving};
use crate::subject::Subject;

/// A creation that has made nothing but a network for so long has ended.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// What is known, and of whom it is outdated.
#[derive(Debug)]
pub struct Seen {
    /// What is known.
    pub observed: Observed,
    /// Something of theirs is to be read, or being read: nothing is begun for them before.
    pub unsettled: BTreeSet<Subject>,
}

impl Store {
    /// A snapshot; nothing before the lists are there.
    pub(super) fn snapshot<P: Probe>(&self, prober: &Prober<P>) -> Option<Seen> {
        let contents = self.contents();
        let desired = contents.desired.clone().filter(|_| contents.is_complete())?;
        Some(contents.snapshot(&desired, prober))
    }
}

impl Contents {
    /// What the cluster's network is to it, as of when networks were listed.
    fn use_of(&self, network: &Network, cluster: Cluster, desired: &Desired) -> NetworkUse {
        if cluster != Cluster::Missing || !is_k3ds(network, desired.distribution, &desired.cluster) {
            return NetworkUse::Used;
        }
        let is_old = network.created_at.is_some_and(|made| self.networks_at.duration_since(made) >= FORGOTTEN_AFTER);
        match self.made_anew_until(Instant::now()) {
            Some(_) => NetworkUse::Left,
            None if is_old => NetworkUse::Forgotten,
            None => NetworkUse::Deserted,
        }
    }

    fn snapshot<P: Probe>(&self, desired: &Desired, prober: &Prober<P>) -> Seen {
        let (ours, others): (Vec<&Record>, Vec<&Record>) =
            self.containers.values().partition(|record| self.is_ours(record));
        let mut unsettled: BTreeSet<Subject> = self.marks.held().cloned().collect();
        let mut containers: Vec<OwnContainer> = Vec::new();
        for record in &ours {
            let Some((found, has_answered)) = Self::found(record, prober) else { continue };
            if !has_answered {
                unsettled.insert(Subject::mirror(found.container.labels.get(HOST).unwrap_or(&found.container.name)));
            }
            containers.push(found);
        }
        containers.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        let running = containers.iter().map(|found| &*found.container);
        prober.keep_only(running.filter(|container| container.state == ContainerState::Running));

        let cluster = cluster(desired, &others);
        let provisioner = self.provisioner.clone().filter(|_| desired.lifecycle == Lifecycle::Managed);
        let of_nodes = others.iter().filter(|record| is_node(&record.summary.labels, desired));
        let mut all_nodes: Vec<&Record> = of_nodes.copied().collect();
        all_nodes.sort_by(|a, b| a.summary.name.cmp(&b.summary.name));
        let inspected = all_nodes.iter().filter_map(|record| record.inspected.as_ref());
        let node_containers: Vec<&Container> = inspected.map(|found| &*found.container).collect();
        let stopped = node_containers.iter().filter(|node| node.state != ContainerState::Running);
        let nodes = all_nodes.iter().filter_map(|record| self.node(record, desired));
        let known = containers.iter().flat_map(|found| ownership::volumes_known_by(&found.container));
        let mounted: BTreeSet<String> = known.map(str::to_owned).collect();
        let network = cluster_network(desired, &self.networks, &node_containers);
        let is_the_clusters = |found: &&Network| network.as_ref().is_some_and(|network| network.id == found.id);
        let found = self.networks.iter().find(is_the_clusters);
        let network_use = found.map(|found| self.use_of(found, cluster, desired)).unwrap_or_default();
        let observed = Observed {
            network_use,
            unreadable: self.unreadable(&ours),
            ports_taken: self.ports.iter().filter(|(_, is_taken)| **is_taken).map(|(port, _)| *port).collect(),
            free_ports: self.free_ports(desired),
            subnets: found.map(|found| found.subnets.clone()).unwrap_or_default(),
            network,
            networks: self.networks.iter().map(|network| (network.id.clone(), network.name.clone())).collect(),
            volumes: self
                .volumes
                .values()
                .filter(|volume| concerns(volume, desired, &mounted))
                .map(|volume| (volume.name.clone(), volume.clone()))
                .collect(),
            image: self.image.clone(),
            cluster,
            nodes: if self.wants_nodes() { nodes.collect() } else { Vec::new() },
            control_plane: self.control_plane_of(&all_nodes, desired),
            unread_nodes: self.unread_nodes(&all_nodes),
            stopped_nodes: stopped.map(|node| node.name.clone()).collect(),
            is_leaving: !all_nodes.is_empty() && self.leaves_until(Instant::now()).is_some(),
            hosting: self.hosting.as_ref().filter(|_| self.wants_nodes()).map(|(_, hosting)| hosting.clone()),
            provisioner,
            strangers: others.iter().map(|record| stranger(&record.summary, desired)).collect(),
            containers,
        };
        Seen { observed, unsettled }
    }

    /// A container of ours as it was when it was read, and whether its registry has answered yet, one way or the other.
    fn found<P: Probe>(record: &Record, prober: &Prober<P>) -> Option<(OwnContainer, bool)> {
        let inspected = record.inspected.as_ref()?;
        let container = &inspected.container;
        let serving = match container.state {
            ContainerState::Running => prober.known(container, inspected.up),
            // Known without waiting for the answer that does not come.
            ContainerState::Paused => Some(Serving::Silent),
            _ => Some(Serving::Unknown),
        };
        let holds =
            |(asked, answer): &&(Instant, StartsAgain)| *answer != StartsAgain::Yes || asked.elapsed() < ANSWER_HOLDS;
        let starts_again = record.starts_again.as_ref().filter(holds).map(|(_, answer)| answer.clone());
        let found = OwnContainer {
            container: Arc::clone(container),
            secrets: inspected.secrets.clone(),
            major_version: inspected.major_version,
            lacks_shell: inspected.lacks_shell.unwrap_or(false),
            serving: serving.unwrap_or(Serving::Overdue),
            starting: inspected.up.is_some_and(|up| up.so_far() < STARTING),
            starts_again: starts_again.unwrap_or_default(),
        };
        Some((found, serving.is_some()))
    }

    /// A running node as it was when it was read, and one of which the engine says nothing.
    fn node(&self, record: &Record, desired: &Desired) -> Option<Node> {
        let ContainerSummary { id, name, .. } = &record.summary;
        if let Some(error) = self.error(&Object::Container(id.clone())) {
            return Some(Node::silent(id.clone(), name.clone(), desired, error));
        }
        let container = &record.inspected.as_ref()?.container;
        let reading = record.node.as_ref().filter(|reading| reading.started_at == container.started_at)?;
        (container.state == ContainerState::Running).then(|| reading.node.clone())
    }

    /// Whether the cluster can be used: without a node that has an API server, running or not, it cannot.
    fn control_plane_of(&self, nodes: &[&Record], desired: &Desired) -> ControlPlane {
        let has_any = nodes.iter().any(|record| has_api_server(&record.summary.labels, desired));
        match self.wants_control_plane() {
            false => ControlPlane::NotAsked,
            true if has_any => self.control_plane(),
            true => ControlPlane::Missing,
        }
    }

    /// Names of nodes that run, as far as is known, and have not been read yet.
    fn unread_nodes(&self, nodes: &[&Record]) -> Vec<String> {
        let is_unread = |record: &&&Record| {
            let is_read = |reading: &super::nodes::NodeReading| {
                record.inspected.as_ref().is_some_and(|found| found.container.started_at == reading.started_at)
            };
            record.summary.state == ContainerState::Running
                && !record.node.as_ref().is_some_and(is_read)
                && self.error(&Object::Container(record.summary.id.clone())).is_none()
        };
        let unread = nodes.iter().filter(|_| self.wants_nodes()).filter(is_unread);
        unread.map(|record| record.summary.name.clone()).collect()
    }

    /// By host, why one of its containers cannot be read.
    fn unreadable(&self, ours: &[&Record]) -> BTreeMap<String, String> {
        let errors = ours.iter().filter_map(|record| {
            let ContainerSummary { id, name, labels, .. } = &record.summary;
            let error = self.error(&Object::Container(id.clone()))?;
            Some((labels.get(HOST).unwrap_or(name).clone(), format!("container {name} cannot be looked at: {error}")))
        });
        errors.collect()
    }
}

/// By the cluster's containers, load balancers included.
fn cluster(desired: &Desired, others: &[&Record]) -> Cluster {
    let summaries = others.iter().map(|record| &record.summary);
    let mut its = summaries
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

fn stranger(container: &ContainerSummary, desired: &Desired) -> (String, Stranger) {
    let ports = container.ports.iter().map(|port| (port.host_address, port.host_port)).collect();
    let cluster = container.labels.get(labels::CLUSTER).filter(|cluster| *cluster != desired.cluster.as_str());
    let cluster = cluster.cloned();
    let networks = container.endpoints.keys().cloned().collect();
    (container.name.clone(), Stranger { ports, volumes: container.volumes.clone(), networks, cluster })
}

fn concerns(volume: &Volume, desired: &Desired, mounted: &BTreeSet<String>) -> bool {
    is_ours(&volume.labels, desired.cluster.as_str())
        || mounted.contains(&volume.name)
        || desired.mirrors.values().any(|mirror| mirror.name == names::base(&volume.name))
}
