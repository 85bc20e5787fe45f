//! What is made of an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::contents::{Answer, Contents, Inspected, Record, Run};
use super::control_plane::ControlPlane;
use super::nodes::NodeReading;
use super::object::Object;
use super::ownership;
use super::programs::NO_KUBECTL;
use crate::distribution::registry_hosting::Advertised;
use crate::engine::{Container, ContainerSummary, EngineError};
use crate::labels::{HOST, is_ours};
use crate::subject::Subject;

/// What cannot be read is tried again after this long at first, and after twice as long each time.
const UNREADABLE: Duration = Duration::from_millis(500);
/// And after this long at most.
const STILL_UNREADABLE: Duration = Duration::from_secs(30);
/// A port that is taken is asked again after this long: that it was freed raises no event unless a container held it.
const TAKEN: Duration = Duration::from_secs(2);

impl Contents {
    pub(super) fn could_not_read(&mut self, object: &Object, error: EngineError) {
        let tries = self.unreadable.remove(object).map_or(0, |(_, tries)| tries) + 1;
        let after = unreadable_for(tries);
        self.unreadable.insert(object.clone(), (error, tries));
        self.marks.at(object.clone(), Instant::now() + after);
    }

    pub(super) fn learn(&mut self, object: &Object, answer: Answer, since: Instant) {
        match (object, answer) {
            (Object::Mirror(host), Answer::Containers(listed)) => self.learn_list(listed, since, Some(host)),
            (_, Answer::Containers(listed)) => self.learn_list(listed, since, None),
            (_, Answer::Networks(networks, at)) => (self.networks, self.networks_at) = (networks, at),
            (_, Answer::Volumes(volumes)) => {
                self.volumes = volumes.into_iter().map(|volume| (volume.name.clone(), volume)).collect();
            }
            (_, Answer::Image(image, provisioner)) => (self.image, self.provisioner) = (image, provisioner),
            (Object::Container(id), Answer::Container(found)) => self.learn_container(id, found.map(|found| *found)),
            (Object::Volume(name), Answer::Volume(None)) => drop(self.volumes.remove(name)),
            (_, Answer::Volume(Some(volume))) => drop(self.volumes.insert(volume.name.clone(), volume)),
            (Object::Labels(id), Answer::Labels(image)) => {
                let cluster = self.desired.as_ref().map(|desired| desired.cluster.clone());
                // One that is gone cannot be looked into; a container of it was made when it was there.
                let inherits = image.zip(cluster).is_some_and(|(image, of)| is_ours(&image.labels, of.as_str()));
                self.inherits.insert(id.clone(), inherits);
            }
            (Object::Port(address, port), Answer::Port(is_taken)) => {
                let was_taken = self.ports.insert((*address, *port), is_taken) == Some(true);
                if is_taken && !was_taken {
                    // By a container, perhaps, that came when nobody wanted its port.
                    self.marks.now(Object::Containers, self.mirror_on((*address, *port)));
                }
                if is_taken {
                    self.marks.at(object.clone(), Instant::now() + TAKEN);
                }
            }
            (Object::StartsAgain(id), Answer::StartsAgain(answer)) => {
                if let Some(record) = self.containers.get_mut(id) {
                    record.starts_again = Some((Instant::now(), answer));
                }
            }
            (Object::Node(id), Answer::Node(reading)) => self.learn_node(id, *reading),
            (object, Answer::ControlPlane(runs, found)) => {
                self.unusable = if found == ControlPlane::Usable { 0 } else { self.unusable + 1 };
                if self.unusable > 0 {
                    let is_young = runs.iter().any(|run| self.is_young(run));
                    let pause = unreadable_for(self.unusable);
                    self.marks.at(object.clone(), Instant::now() + if is_young { pause.min(COMES_UP) } else { pause });
                }
                self.control_plane = Some((runs, found));
            }
            (object, Answer::Hosting(run, hosting)) => {
                // An API server that does not answer is about to come up, or away for long.
                let silent = match &hosting.advertised {
                    Advertised::Unknown(why) => Some(why),
                    _ => None,
                };
                let is_silent = silent.is_some();
                self.unanswered = if is_silent { self.unanswered + 1 } else { 0 };
                if is_silent {
                    let pause = unreadable_for(self.unanswered);
                    let comes_up = silent.is_some_and(|why| why != NO_KUBECTL) && self.is_young(&run);
                    let pause = if comes_up { pause.min(COMES_UP) } else { pause };
                    self.marks.at(object.clone(), Instant::now() + pause);
                }
                self.hosting = Some((run, hosting));
            }
            (Object::Glance(id), Answer::Glance { is_changed: true, .. }) => {
                self.marks.now(Object::Node(id.clone()), self.node_of(id));
            }
            (Object::Glance(_), Answer::Glance { looked_at, .. }) => self.glance_again(object.clone(), looked_at),
            _ => {}
        }
    }

    /// Whether a run of a node is so young that its API server may be about to answer for the first time.
    pub(super) fn is_young(&self, (id, _): &Run) -> bool {
        let inspected = self.containers.get(id).and_then(|record| record.inspected.as_ref());
        inspected.and_then(|found| found.up.as_ref()).is_some_and(|up| up.so_far() < YOUNG_CLUSTER)
    }

    fn mirror_on(&self, port: (IpAddr, u16)) -> Option<Subject> {
        let mut mirrors = self.desired.iter().flat_map(|desired| desired.mirrors.values());
        let mirror = mirrors.find(|mirror| (mirror.listen.host_address, mirror.listen.host_port) == port)?;
        Some(Subject::mirror(&mirror.host))
    }

    /// One that is not in a list of all, or of all of a mirror's, is gone; one that is not as it was is read.
    pub(super) fn learn_list(&mut self, listed: Vec<ContainerSummary>, since: Instant, of_host: Option<&String>) {
        let ids: BTreeSet<String> = listed.iter().map(|summary| summary.id.clone()).collect();
        let is_newer = |record: &Record| record.inspected.as_ref().is_some_and(|found| found.since > since);
        let cluster = self.desired.as_ref().map(|desired| desired.cluster.clone());
        let is_its = |record: &Record, host: &String| {
            let labels = &record.summary.labels;
            labels.get(HOST) == Some(host) && cluster.as_ref().is_some_and(|of| is_ours(labels, of.as_str()))
        };
        let is_listed = |record: &Record| of_host.is_none_or(|host| is_its(record, host));
        self.containers.retain(|id, record| ids.contains(id) || is_newer(record) || !is_listed(record));
        for summary in listed {
            let id = summary.id.clone();
            let gone = self.gone.get(&id).copied();
            if gone.is_some_and(|(gone, _)| gone > since) {
                continue;
            }
            let is_as_it_was = self.containers.get(&id).is_some_and(|record| record.listed.as_ref() == Some(&summary));
            match self.containers.get_mut(&id) {
                Some(record) if is_newer(record) => record.listed = Some(summary),
                Some(record) => {
                    record.listed = Some(summary.clone());
                    record.summary = summary;
                }
                None => drop(self.containers.insert(id.clone(), Record::listed(summary))),
            }
            if (!is_as_it_was || of_host.is_some()) && self.is_inspected(&id) {
                // An engine that lists what it does not know when it is asked is asked less and less often.
                let due = gone.map_or_else(Instant::now, |(gone, times)| gone + unreadable_for(times));
                self.marks.later(Object::Container(id.clone()), self.owner(&id), due);
            }
        }
        if of_host.is_none() {
            self.gone.retain(|id, (gone, _)| *gone > since || ids.contains(id));
        }
        // What nothing is made from any more is not asked about.
        let images: BTreeSet<&String> = self.containers.values().map(|record| &record.summary.image_id).collect();
        self.inherits.retain(|image, _| images.contains(image));
        let objects: BTreeSet<&String> = self.containers.keys().collect();
        let is_gone = |object: &Object| match object {
            Object::Node(id) | Object::Glance(id) | Object::StartsAgain(id) => !objects.contains(id),
            _ => false,
        };
        self.marks.retain(|object| !is_gone(object));
        self.unreadable.retain(|object, _| match object {
            Object::Container(id) => objects.contains(id),
            object => !is_gone(object),
        });
    }

    pub(super) fn learn_container(&mut self, id: &str, found: Option<Inspected>) {
        let Some(found) = found else {
            self.containers.remove(id);
            let (gone, times) = self.gone.entry(id.to_owned()).or_insert((Instant::now(), 0));
            (*gone, *times) = (Instant::now(), *times + 1);
            return;
        };
        self.gone.remove(id);
        let summary = summary_of(&found.container);
        match self.containers.get_mut(id) {
            Some(record) => {
                record.summary = summary;
                record.inspected = Some(found);
            }
            None => {
                let record = Record { listed: None, inspected: Some(found), ..Record::listed(summary) };
                self.containers.insert(id.to_owned(), record);
            }
        }
    }

    pub(super) fn learn_node(&mut self, id: &str, reading: NodeReading) {
        let again = reading.again();
        let looked_at = reading.looked_at();
        if let Some(record) = self.containers.get_mut(id) {
            record.node = Some(reading);
        }
        if let Some(after) = again {
            self.marks.at(Object::Node(id.to_owned()), Instant::now() + after);
        }
        self.glance_again(Object::Glance(id.to_owned()), looked_at);
    }

    /// Each look costs the engine about a millisecond: there are ten of them a second at most, on all nodes together.
    pub(super) fn glance_again(&mut self, glance: Object, looked_at: u32) {
        if self.patrols {
            let nodes = u32::try_from(self.containers.values().filter(|record| record.node.is_some()).count());
            let looks = looked_at.saturating_mul(nodes.unwrap_or(u32::MAX));
            let pause = Duration::from_secs(1).max(Duration::from_millis(100).saturating_mul(looks));
            self.marks.at(glance, Instant::now() + pause);
        }
    }
}

/// What a list would say of a container.
fn summary_of(container: &Container) -> ContainerSummary {
    ContainerSummary {
        id: container.id.clone(),
        name: container.name.clone(),
        labels: container.labels.clone(),
        image_id: container.image_id.clone(),
        state: container.state,
        ports: container.bound_ports.clone(),
        volumes: ownership::volumes_of(container).cloned().collect(),
        endpoints: BTreeMap::new(),
    }
}

/// An API server that is about to answer for the first time is asked again after this long at most: tools wait for it.
const COMES_UP: Duration = Duration::from_secs(3);
/// A cluster comes up within this.
const YOUNG_CLUSTER: Duration = Duration::from_secs(5 * 60);

/// How long what could not be read so often in a row is left alone.
fn unreadable_for(tries: u32) -> Duration {
    UNREADABLE.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(STILL_UNREADABLE)
}
