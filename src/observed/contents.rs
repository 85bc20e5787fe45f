//! What is known of the engine, and whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::control_plane::ControlPlane;
use super::marks::{Mark, Marks};
use super::nodes::NodeReading;
use super::object::Object;
use super::{Hosting, Link, MADE_ANEW_WITHIN, StartsAgain, is_node, ownership};
use crate::desired::Desired;
use crate::distribution::node_layout;
use crate::engine::{Container, ContainerState, ContainerSummary, EngineError, Image, Network, Volume};
use crate::labels::{HOST, Labels, is_ours};
use crate::manifest::{Lifecycle, State};
use crate::probe::Uptime;
use crate::registry::FilesDigest;
use crate::subject::Subject;

/// A node that is told to end has mostly done so by then: it is what `docker stop` gives it.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// What is removed is gone within so long after it was killed, on an engine that has much to do; what was stopped is said to
/// have been.
const REMOVED_WITHIN: Duration = Duration::from_secs(3);
/// Who deletes a cluster tells one node after another.
const OTHERS_FOLLOW_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) desired: Option<Arc<Desired>>,
    pub(super) link: Link,
    /// It does not tell what happens.
    pub(super) is_polled: bool,
    pub(super) marks: Marks,
    /// Lists that have not been read since the engine was found. Before, nothing is planned.
    pub(super) awaited: BTreeSet<Object>,
    /// What could not be read, and how often in a row.
    pub(super) unreadable: BTreeMap<Object, (EngineError, u32)>,
    pub(super) containers: BTreeMap<String, Record>,
    /// Containers that were gone when they were read, when last and how often: an older list does not bring them back.
    pub(super) gone: BTreeMap<String, (Instant, u32)>,
    pub(super) networks: Vec<Network>,
    /// When they were listed, by the engine's clock.
    pub(super) networks_at: Timestamp,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) image: Option<Image>,
    pub(super) provisioner: Option<PathBuf>,
    /// By image's id, whether its containers inherit the labels of this cluster's mirrors.
    pub(super) inherits: BTreeMap<String, bool>,
    /// Whether the cluster can be used, and the runs of the nodes that were asked; how often in a row it could not.
    pub(super) control_plane: Option<(Vec<Run>, ControlPlane)>,
    pub(super) unusable: u32,
    /// What the cluster says, and the run of the node that it was asked on.
    pub(super) hosting: Option<(Run, Hosting)>,
    /// How often in a row it did not say.
    pub(super) unanswered: u32,
    pub(super) ports: BTreeMap<(IpAddr, u16), bool>,
    /// Sequences run for them: what happens to them meanwhile is looked at afterwards.
    pub(super) busy: BTreeSet<Subject>,
    /// The cluster is being deleted, or about to be: nobody looks into its nodes.
    pub(super) is_excluded: bool,
    /// Nodes are looked at once a second: what changes in them raises no event.
    pub(super) patrols: bool,
    pub(super) sighting: Sighting,
    /// Since when nodes are told to end, by id; those that have ended included.
    pub(super) ending: BTreeMap<String, Instant>,
    /// Since when nodes are told to end and not said to have been stopped, by id: they may be being removed.
    pub(super) leaving: BTreeMap<String, Instant>,
    /// Who wants to know that a container has ended.
    pub(super) on_end: BTreeMap<String, Arc<Notify>>,
    pub(super) triggers: BTreeSet<String>,
}

/// What was seen of the cluster's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Not one.
    #[default]
    Never,
    /// There are some.
    There,
    /// The last one went.
    Went(Instant),
}

/// One run of a container.
pub(super) type Run = (String, Option<jiff::Timestamp>);

/// What is known of a container.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// What the last list said.
    pub(super) listed: Option<ContainerSummary>,
    /// What was said last.
    pub(super) summary: ContainerSummary,
    pub(super) inspected: Option<Inspected>,
    pub(super) starts_again: Option<(Instant, StartsAgain)>,
    /// Of a node: what is in it.
    pub(super) node: Option<NodeReading>,
}

/// What an inspect says, and when.
#[derive(Debug, Clone)]
pub(super) struct Inspected {
    pub(super) container: Arc<Container>,
    /// Digest of the files of ours in it, `None` where it has none.
    pub(super) secrets: Option<FilesDigest>,
    /// Which version of the registry runs in it, of one that has credentials or is served from its cache, and has said so.
    pub(super) major_version: Option<u32>,
    /// Whether its image lacks the shell that it needs, where that matters.
    pub(super) lacks_shell: Option<bool>,
    pub(super) up: Option<Uptime>,
    pub(super) since: Instant,
}

impl Inspected {
    pub(super) fn new(container: Container, secrets: Option<FilesDigest>, now: jiff::Timestamp) -> Self {
        let up = container.started_at.map(|started| Uptime::of(started, now));
        Self {
            container: Arc::new(container),
            secrets,
            major_version: None,
            lacks_shell: None,
            up,
            since: Instant::now(),
        }
    }
}

/// What a read object turned out to be.
#[derive(Debug)]
pub(super) enum Answer {
    Containers(Vec<ContainerSummary>),
    Networks(Vec<Network>, Timestamp),
    Volumes(Vec<Volume>),
    Image(Option<Image>, Option<PathBuf>),
    Container(Option<Box<Inspected>>),
    Volume(Option<Volume>),
    Labels(Option<Image>),
    Port(bool),
    StartsAgain(StartsAgain),
    Node(Box<NodeReading>),
    ControlPlane(Vec<Run>, ControlPlane),
    Hosting(Run, Hosting),
    Glance {
        is_changed: bool,
        looked_at: u32,
    },
    /// It is not there to be read any more.
    Gone,
}

impl Contents {
    /// Whether nothing is missing without which nothing can be planned.
    pub(super) fn is_complete(&self) -> bool {
        self.awaited.is_empty() && self.desired.is_some()
    }

    pub(super) fn next(&mut self) -> Result<Object, Option<Instant>> {
        if matches!(self.link, Link::Down(_)) {
            return Err(None);
        }
        let now = Instant::now();
        let wants_nodes = self.wants_nodes() && !self.is_excluded;
        let (busy, ending) = (self.busy.clone(), self.ending_nodes(now));
        let api_node = self.api_node().map(|(id, _)| id.to_owned());
        let may_be_read = |object: &Object, mark: &Mark| {
            let is_busy = !mark.holds.is_empty() && mark.holds.is_subset(&busy);
            let is_left_alone = match object {
                Object::Node(id) | Object::Glance(id) => !wants_nodes || ending.contains(id),
                Object::ControlPlane => !wants_nodes || !ending.is_empty(),
                Object::Hosting => !wants_nodes || api_node.as_ref().is_some_and(|id| ending.contains(id)),
                _ => false,
            };
            !is_busy && !is_left_alone
        };
        self.marks.next(may_be_read).map_err(|next| {
            let alone = self.left_alone_until(now);
            next.into_iter().chain(alone).min()
        })
    }

    pub(super) fn error(&self, object: &Object) -> Option<&EngineError> {
        self.unreadable.get(object).map(|(error, _)| error)
    }

    /// Whether labels say that a container is a mirror's.
    pub(super) fn is_labelled(&self, record: &Record) -> bool {
        let cluster = self.desired.as_ref().map(|desired| desired.cluster.as_str());
        cluster.is_some_and(|cluster| ownership::is_a_mirrors(&record.summary, cluster))
    }

    /// Whether the labels of an image are such that its containers inherit ours, if that is known.
    pub(super) fn inherits_labels(&self, image: &str) -> Option<bool> {
        let cluster = self.desired.as_ref().map(|desired| desired.cluster.as_str())?;
        let known = self.image.as_ref().filter(|known| known.id == image);
        known.map(|image| is_ours(&image.labels, cluster)).or_else(|| self.inherits.get(image).copied())
    }

    /// Whether a container is one of the cluster's own. As long as that is not known it is taken for one, and its mirror
    /// is left alone.
    pub(super) fn is_ours(&self, record: &Record) -> bool {
        self.is_labelled(record) && self.inherits_labels(&record.summary.image_id) != Some(true)
    }

    /// Whether more is to be known of a container than lists say.
    pub(super) fn is_inspected(&self, id: &str) -> bool {
        let Some(desired) = &self.desired else { return false };
        self.containers.get(id).is_some_and(|record| self.is_ours(record) || is_node(&record.summary.labels, desired))
    }

    /// Whose state a container is part of.
    pub(super) fn owner(&self, id: &str) -> Option<Subject> {
        let record = self.containers.get(id)?;
        let desired = self.desired.as_ref()?;
        if is_node(&record.summary.labels, desired) {
            return Some(Subject::Node(record.summary.name.clone()));
        }
        self.is_labelled(record)
            .then(|| Subject::mirror(record.summary.labels.get(HOST).unwrap_or(&record.summary.name)))
    }

    pub(super) fn node_of(&self, id: &str) -> Option<Subject> {
        self.containers.get(id).map(|record| Subject::Node(record.summary.name.clone()))
    }

    /// Whether nodes are looked into: not those of a cluster that is to go.
    pub(super) fn wants_nodes(&self) -> bool {
        let Some(desired) = &self.desired else { return false };
        let goes = desired.lifecycle == Lifecycle::Managed && desired.state != State::Present;
        !(goes && self.provisioner.is_some())
    }

    /// The first of the nodes with an API server that run, and since when it does.
    pub(super) fn api_node(&self) -> Option<(&str, Option<jiff::Timestamp>)> {
        let first = self.api_nodes().into_iter().next()?;
        Some((&first.id, first.started_at))
    }

    /// The nodes with an API server that run, in order of their names.
    pub(super) fn api_nodes(&self) -> Vec<&Container> {
        let Some(desired) = self.desired.as_ref() else { return Vec::new() };
        let inspected = self.containers.values().filter_map(|record| record.inspected.as_ref());
        let running = inspected.map(|found| &*found.container).filter(|container| {
            container.state == ContainerState::Running && has_api_server(&container.labels, desired)
        });
        let mut nodes: Vec<&Container> = running.collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// Whether anybody wants to know if the cluster can be used: who has it created.
    pub(super) fn wants_control_plane(&self) -> bool {
        let is_wanted =
            |desired: &Arc<Desired>| desired.lifecycle == Lifecycle::Managed && desired.state == State::Present;
        self.desired.as_ref().is_some_and(is_wanted)
    }

    /// Whether the cluster can be used, as far as is known of the nodes that run now.
    pub(super) fn control_plane(&self) -> ControlPlane {
        if let Some(error) = self.error(&Object::ControlPlane) {
            return ControlPlane::Unknown(error.to_string());
        }
        let known = self.control_plane.as_ref().filter(|(runs, _)| *runs == self.api_runs());
        known.map(|(_, known)| known.clone()).unwrap_or_default()
    }

    /// Whether the cluster is being made, as far as is known.
    pub(super) fn awaits_control_plane(&self) -> bool {
        self.control_plane.as_ref().is_some_and(|(_, known)| *known == ControlPlane::Missing)
    }

    pub(super) fn api_runs(&self) -> Vec<Run> {
        self.api_nodes().into_iter().map(|node| (node.id.clone(), node.started_at)).collect()
    }

    /// Nodes that are about to end, or may be: who deletes a cluster tells one node after another.
    pub(super) fn ending_nodes(&self, now: Instant) -> BTreeSet<String> {
        if self.ending.values().any(|since| *since + OTHERS_FOLLOW_WITHIN > now) {
            return self.containers.keys().cloned().collect();
        }
        let itself = self.ending.iter().filter(|(_, since)| **since + ENDS_WITHIN > now);
        itself.map(|(id, _)| id.clone()).collect()
    }

    /// Until when a cluster that somebody has deleted may be made anew, if that is not over.
    pub(super) fn made_anew_until(&self, now: Instant) -> Option<Instant> {
        match self.sighting {
            Sighting::Went(at) => Some(at + MADE_ANEW_WITHIN).filter(|until| *until > now),
            Sighting::Never | Sighting::There => None,
        }
    }

    /// When it will have shown whether nodes that were killed are being removed, and whether others follow.
    pub(super) fn leaves_until(&self, now: Instant) -> Option<Instant> {
        let until = self.leaving.iter().map(|(id, since)| {
            let has_ended = self.containers.get(id).is_some_and(|node| node.summary.state != ContainerState::Running);
            *since + if has_ended { REMOVED_WITHIN } else { OTHERS_FOLLOW_WITHIN }
        });
        until.filter(|until| *until > now).max()
    }

    pub(super) fn left_alone_until(&self, now: Instant) -> Option<Instant> {
        let until = self.ending.values().flat_map(|since| [*since + OTHERS_FOLLOW_WITHIN, *since + ENDS_WITHIN]);
        until.filter(|until| *until > now).min()
    }
}

/// Whether a container is a node with an API server.
pub(super) fn has_api_server(labels: &Labels, desired: &Desired) -> bool {
    let layout = node_layout(desired.distribution);
    is_node(labels, desired) && labels.get(layout.role_label).map(String::as_str) == Some(layout.roles[0])
}

impl Record {
    pub(super) fn listed(summary: ContainerSummary) -> Self {
        let listed = Some(summary.clone());
        Self { listed, summary, inspected: None, starts_again: None, node: None }
    }

    pub(super) fn held_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.summary.ports.iter().map(|port| port.host_port)
    }
}
