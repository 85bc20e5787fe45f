//! What is to be read: because somebody asks, because a sequence has ended, or because of what is known by now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::contents::{Contents, Record, Sighting};
use super::object::Object;
use super::{StartsAgain, addresses_clash, is_node};
use crate::desired::{Desired, Mirror};
use crate::distribution::is_of_cluster;
use crate::engine::ContainerState;
use crate::labels::{HOST, Labels, ROLE};
use crate::names;
use crate::subject::Subject;

/// Whether a registry would start again holds for this long.
pub(super) const ANSWER_HOLDS: Duration = Duration::from_secs(10);

/// Ports that are looked at in search of a free one: more are hardly taken in a row.
const PORTS_TRIED: usize = 64;

/// In search of a port for a mirror.
pub(super) struct Search {
    host: String,
    address: IpAddr,
    /// The last one may be free.
    tried: Vec<u16>,
}

impl Contents {
    pub(super) fn list_anew(&mut self) {
        for list in Object::LISTS {
            self.await_list(list);
        }
        self.resync(true);
    }

    pub(super) fn await_list(&mut self, list: Object) {
        self.awaited.insert(list.clone());
        self.marks.now(list, None);
    }

    pub(super) fn resync(&mut self, deep: bool) {
        for list in Object::LISTS {
            self.marks.now(list, None);
        }
        if deep {
            for (id, record) in &self.containers {
                if record.inspected.is_some() {
                    self.marks.now(Object::Container(id.clone()), None);
                }
            }
        }
        for (address, port) in self.ports.keys() {
            self.marks.now(Object::Port(*address, *port), None);
        }
        for (id, record) in &mut self.containers {
            let Some(reading) = &mut record.node else { continue };
            reading.forget(deep);
            self.marks.now(Object::Node(id.clone()), None);
        }
        if deep && self.control_plane.is_some() {
            self.marks.now(Object::ControlPlane, None);
        }
        if self.hosting.is_some() {
            self.marks.now(Object::Hosting, None);
        }
    }

    /// An answer that it would not is asked again now and then; one that it would has to be a new one.
    pub(super) fn ask_whether_they_start_again(&mut self, hosts: &BTreeSet<String>) -> bool {
        let is_asked = |record: &Record| {
            let runs = matches!(record.summary.state, ContainerState::Running | ContainerState::Paused);
            runs && record.summary.labels.get(HOST).is_some_and(|host| hosts.contains(host)) && self.is_ours(record)
        };
        let asked = self.containers.iter().filter(|(_, record)| is_asked(record));
        let due = |record: &Record| match &record.starts_again {
            Some((asked, StartsAgain::No(_))) => *asked + ANSWER_HOLDS,
            _ => Instant::now(),
        };
        let asked: BTreeMap<String, Instant> = asked.map(|(id, record)| (id.clone(), due(record))).collect();
        self.forget(|object| matches!(object, Object::StartsAgain(id) if !asked.contains_key(id)));
        let mut is_marked = false;
        for (id, due) in asked {
            let object = Object::StartsAgain(id);
            if !self.marks.contains(&object) {
                self.marks.at(object, due);
                is_marked = true;
            }
        }
        is_marked
    }

    /// What is to be read because of what is known by now.
    pub(super) fn follow_up(&mut self) {
        let Some(desired) = self.desired.clone() else { return };
        if !self.is_complete() {
            return;
        }
        let is_of_it = |record: &Record| is_of_cluster(&record.summary.labels, desired.distribution, &desired.cluster);
        self.sighting = match (self.containers.values().any(is_of_it), self.sighting) {
            (true, _) => Sighting::There,
            (false, Sighting::There) => Sighting::Went(Instant::now()),
            (false, before) => before,
        };
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        let wants_nodes = self.wants_nodes();
        for id in ids {
            let Some(record) = self.containers.get(&id) else { continue };
            let owner = self.owner(&id);
            let image = record.summary.image_id.clone();
            if self.is_labelled(record) && self.inherits_labels(&image).is_none() {
                self.mark_unless_known(Object::Labels(image), owner.clone());
            }
            let Some(record) = self.containers.get(&id) else { continue };
            if record.inspected.is_none() && self.is_inspected(&id) {
                self.mark_unless_known(Object::Container(id.clone()), owner.clone());
            }
            let Some(record) = self.containers.get(&id) else { continue };
            let Some(found) = &record.inspected else { continue };
            let is_read = record.node.as_ref().is_some_and(|node| node.started_at == found.container.started_at);
            if wants_nodes
                && !is_read
                && found.container.state == ContainerState::Running
                && is_node(&record.summary.labels, &desired)
            {
                self.mark_unless_known(Object::Node(id.clone()), owner);
            }
        }
        if !wants_nodes {
            self.forget(Object::is_in_node);
        }
        self.follow_up_control_plane(&desired);
        let api_run = self.api_node().map(|(id, started)| (id.to_owned(), started));
        match (api_run, &self.hosting) {
            (None, _) => {
                (self.hosting, self.unanswered) = (None, 0);
                self.forget(|object| *object == Object::Hosting);
            }
            (Some(run), Some((known, _))) if *known == run => {}
            (Some(_), _) if wants_nodes => {
                self.mark_unless_known(Object::Hosting, None);
            }
            _ => {}
        }
        self.follow_up_ports(&desired);
    }

    /// Whether a cluster can be used is asked once in each run of the nodes that can tell, and until it can.
    fn follow_up_control_plane(&mut self, desired: &Desired) {
        let runs = self.api_runs();
        if runs.is_empty() || !self.wants_control_plane() {
            (self.control_plane, self.unusable) = (None, 0);
            self.forget(|object| *object == Object::ControlPlane);
        } else if self.control_plane.as_ref().is_none_or(|(known, _)| *known != runs) {
            self.mark_unless_known(Object::ControlPlane, Some(Subject::Cluster(desired.cluster.to_string())));
        }
    }

    /// Ports that the manifest asks for and no container holds may be taken by somebody else.
    pub(super) fn follow_up_ports(&mut self, desired: &Desired) {
        let held: BTreeSet<u16> = self.containers.values().flat_map(Record::held_ports).collect();
        let wanted = desired.mirrors.values().map(|mirror| (&mirror.host, mirror.listen));
        let unheld = wanted.filter(|(_, listen)| listen.host_port != 0 && !held.contains(&listen.host_port));
        let mut unheld: BTreeMap<(IpAddr, u16), Subject> =
            unheld.map(|(host, listen)| ((listen.host_address, listen.host_port), Subject::mirror(host))).collect();
        for Search { host, address, tried } in self.port_searches(desired) {
            unheld.extend(tried.into_iter().map(|port| ((address, port), Subject::mirror(&host))));
        }
        self.ports.retain(|port, _| unheld.contains_key(port));
        self.forget(|object| match object {
            Object::Port(address, port) => !unheld.contains_key(&(*address, *port)),
            _ => false,
        });
        for ((address, port), mirror) in unheld {
            if !self.ports.contains_key(&(address, port)) {
                self.mark_unless_known(Object::Port(address, port), Some(mirror));
            }
        }
    }

    /// For every mirror whose port somebody else holds: the ports above it that are tried, one after the other, until one
    /// can be had. No two mirrors are offered the same.
    pub(super) fn port_searches(&self, desired: &Desired) -> Vec<Search> {
        let held: BTreeSet<u16> = self.containers.values().flat_map(Record::held_ports).collect();
        let others = self.containers.values().filter(|record| !self.is_ours(record));
        let theirs: Vec<(IpAddr, u16)> =
            others.flat_map(|record| &record.summary.ports).map(|port| (port.host_address, port.host_port)).collect();
        let is_held = |address: IpAddr, port: u16| {
            let clashes = |(at, held): &(IpAddr, u16)| *held == port && addresses_clash(*at, address);
            self.ports.get(&(address, port)) == Some(&true) || theirs.iter().any(clashes)
        };
        let mut given: BTreeSet<u16> = desired.mirrors.values().map(|mirror| mirror.listen.host_port).collect();
        let mut searches = Vec::new();
        for mirror in desired.mirrors.values() {
            let (address, wanted) = (mirror.listen.host_address, mirror.listen.host_port);
            if wanted == 0 || !is_held(address, wanted) {
                continue;
            }
            let mut tried = Vec::new();
            let candidates = (wanted..u16::MAX).map(|port| port + 1).filter(|port| !held.contains(port));
            for port in candidates.take(PORTS_TRIED) {
                if given.contains(&port) {
                    continue;
                }
                tried.push(port);
                if self.ports.get(&(address, port)) != Some(&true) {
                    given.insert(port);
                    break;
                }
            }
            searches.push(Search { host: mirror.host.to_string(), address, tried });
        }
        searches
    }

    /// By host, a port that was tried and is free.
    pub(super) fn free_ports(&self, desired: &Desired) -> BTreeMap<String, u16> {
        let found = self.port_searches(desired).into_iter().filter_map(|Search { host, address, tried }| {
            let port = *tried.last()?;
            (self.ports.get(&(address, port)) == Some(&false)).then_some((host, port))
        });
        found.collect()
    }

    /// Nobody wants to know of them any more. That they could not be read is forgotten as well: what is unreadable is
    /// tried again, and would not be without its mark.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&Object) -> bool) {
        self.marks.retain(|object| !is_forgotten(object));
        self.unreadable.retain(|object, _| !is_forgotten(object));
    }

    pub(super) fn mark_unless_known(&mut self, object: Object, holds: Option<Subject>) {
        if !self.marks.contains(&object) && !self.unreadable.contains_key(&object) {
            self.marks.now(object, holds);
        }
    }

    /// Whether the volume of a mirror's name may hold what came of another role, so that its own is another one.
    fn holds_another_role(&self, mirror: &Mirror) -> bool {
        let is_another = |labels: &Labels| labels.get(ROLE).is_some_and(|role| role != mirror.role.as_str());
        let mut its = self.containers.values().map(|record| &record.summary.labels);
        self.volumes.get(&mirror.name).is_some_and(|volume| is_another(&volume.labels))
            || its.any(|labels| labels.get(HOST).is_some_and(|host| host == mirror.host.as_str()) && is_another(labels))
    }

    /// Marks everything that a sequence may have changed.
    pub(super) fn invalidate(&mut self, subject: &Subject) {
        let holds = Some(subject.clone());
        match subject {
            Subject::Mirror(host) => {
                self.marks.now(Object::Mirror(host.clone()), holds.clone());
                let mut volumes: BTreeSet<String> = BTreeSet::new();
                for record in self.containers.values().filter(|record| record.summary.labels.get(HOST) == Some(host)) {
                    volumes.extend(record.summary.volumes.iter().cloned());
                }
                let desired = self.desired.iter().flat_map(|desired| desired.mirrors.values());
                for mirror in desired.filter(|mirror| mirror.host.as_str() == host) {
                    volumes.insert(mirror.name.clone());
                    if self.holds_another_role(mirror) {
                        volumes.insert(names::beside_other_role(&mirror.name, mirror.role));
                    }
                }
                for volume in volumes {
                    self.marks.now(Object::Volume(volume), holds.clone());
                }
            }
            Subject::Volume(name) => self.marks.now(Object::Volume(name.clone()), holds),
            Subject::Node(name) => {
                let nodes = self.containers.iter_mut().filter(|(_, record)| record.summary.name == *name);
                for (id, record) in nodes {
                    // Something was written, perhaps with a time and a size that were there before.
                    if let Some(node) = &mut record.node {
                        node.forget(false);
                    }
                    self.marks.now(Object::Container(id.clone()), holds.clone());
                    self.marks.now(Object::Node(id.clone()), holds.clone());
                }
            }
            Subject::Cluster(_) => {
                self.marks.now(Object::Containers, holds.clone());
                self.marks.now(Object::Networks, holds.clone());
                if self.control_plane.is_some() {
                    self.marks.now(Object::ControlPlane, holds.clone());
                }
                if self.hosting.is_some() {
                    self.marks.now(Object::Hosting, None);
                }
            }
        }
    }
}
