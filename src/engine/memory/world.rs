//! Everything the engine in memory knows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::calls::Call;
use super::faults::Faults;
use super::files::Files;
use super::listeners::Listeners;
use super::programs::Programs;
use crate::engine::{
    Container, ContainerState, EngineError, Image, Label, Network, PublishedPort, Result, Traffic, Volume,
};

/// Where the engine in memory says it is.
pub(super) const ADDRESS: &str = "memory://";

/// The network every container is created on.
pub(super) const BRIDGE: &str = "bridge";
/// Of this and all other networks: nobody here finds anybody by an address.
pub(super) const SUBNET: &str = "172.17.0.0/16";

/// First port given to a container that asks for an ephemeral one, as Linux does it by default.
const FIRST_EPHEMERAL_PORT: u16 = 32768;

/// How far every start moves the clock on, however little time has passed.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct World {
    pub(super) containers: BTreeMap<String, Kept>,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) pulls: BTreeMap<String, Result<Image, String>>,
    pub(super) held_ports: BTreeSet<(IpAddr, u16)>,
    pub(super) crashes: BTreeMap<String, i64>,
    pub(super) listeners: Listeners,
    pub(super) calls: Vec<Call>,
    pub(super) faults: Faults,
    pub(super) programs: Programs,
    pub(super) away: bool,
    /// What every process writes first.
    pub(super) greeting: Option<String>,
    /// Default log driver.
    pub(super) log_driver: String,
    pub(super) order_seed: Option<u64>,
    /// The time of the engine's clock at one instant of tokio's, which it has followed since.
    clock: (Timestamp, Instant),
    ids: u32,
    changes: u64,
}

/// A container and the files put into it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) container: Container,
    pub(super) files: Files,
    /// What its process has written.
    pub(super) log: Vec<String>,
    /// What was carried for it.
    pub(super) traffic: Traffic,
}

impl Kept {
    /// Docker takes a container for running while it waits to be restarted.
    pub(super) fn is_up(&self) -> bool {
        use ContainerState::{Paused, Restarting, Running};
        matches!(self.container.state, Running | Paused | Restarting)
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            pulls: BTreeMap::new(),
            held_ports: BTreeSet::new(),
            crashes: BTreeMap::new(),
            listeners: Listeners::default(),
            calls: Vec::new(),
            faults: Faults::default(),
            programs: Programs::default(),
            away: false,
            greeting: None,
            log_driver: "json-file".to_owned(),
            order_seed: None,
            clock: (Timestamp::UNIX_EPOCH, Instant::now()),
            ids: 0,
            changes: 0,
        };
        let bridge = world.next_id('e');
        world.networks.insert(
            bridge.clone(),
            Network {
                id: bridge,
                name: BRIDGE.to_owned(),
                subnets: vec![SUBNET.to_owned()],
                labels: BTreeMap::new(),
                created_at: Some(world.now()),
            },
        );
        world
    }

    /// A new id, 64 hexadecimal digits that start with `kind` (one such digit) and a count.
    pub(super) fn next_id(&mut self, kind: char) -> String {
        self.ids += 1;
        format!("{kind}{:011x}{:052x}", self.ids, 0)
    }

    pub(super) fn now(&self) -> Timestamp {
        let (time, at) = self.clock;
        later(time, Instant::now().saturating_duration_since(at))
    }

    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.clock = (now, Instant::now());
    }

    /// The time of a start: no two are equal, and none is later than what the clock says afterwards.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.clock.0 = later(self.clock.0, TICK);
        self.now()
    }

    /// The time of a change of files, as [`PathStat::modified`](crate::engine::PathStat::modified) tells it: no two
    /// are equal, and the clock need not move.
    pub(super) fn next_change(&mut self) -> String {
        self.changes += 1;
        format!("change {}", self.changes)
    }

    /// One of [`SUBNET`].
    pub(super) fn next_address(&mut self) -> IpAddr {
        self.ids += 1;
        let [_, _, high, low] = self.ids.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(172, 17, high, low))
    }

    /// Id of the container named by full id, name or unique start of an id, as Docker looks it up.
    pub(super) fn container_id(&self, wanted: &str) -> Result<String, EngineError> {
        let name = wanted.trim_start_matches('/');
        if self.containers.contains_key(name) {
            return Ok(name.to_owned());
        }
        if let Some(id) = self.id_of_name(name) {
            return Ok(id);
        }
        let mut by_prefix = self.containers.keys().filter(|id| !name.is_empty() && id.starts_with(name));
        match (by_prefix.next(), by_prefix.next()) {
            (Some(id), None) => Ok(id.clone()),
            _ => Err(EngineError::NotFound { message: format!("No such container: {wanted}") }),
        }
    }

    pub(super) fn id_of_name(&self, name: &str) -> Option<String> {
        self.containers.iter().find(|(_, kept)| kept.container.name == name).map(|(id, _)| id.clone())
    }

    pub(super) fn kept(&self, wanted: &str) -> Result<&Kept, EngineError> {
        let id = self.container_id(wanted)?;
        self.containers.get(&id).ok_or_else(|| no_such_container(wanted))
    }

    pub(super) fn kept_mut(&mut self, wanted: &str) -> Result<&mut Kept, EngineError> {
        let id = self.container_id(wanted)?;
        self.containers.get_mut(&id).ok_or_else(|| no_such_container(wanted))
    }

    /// Whether a process or a running container listens there, or on all addresses, or anywhere if `address` is all.
    pub(super) fn port_is_taken(&self, address: IpAddr, port: u16) -> bool {
        let overlaps = |other: IpAddr| other == address || other.is_unspecified() || address.is_unspecified();
        let held = self.held_ports.iter().any(|(other, held)| *held == port && overlaps(*other));
        let bound = self.containers.values().flat_map(|kept| &kept.container.bound_ports);
        held || bound.into_iter().any(|bound| bound.host_port == port && overlaps(bound.host_address))
    }

    /// A port nobody listens on there, nor is about to (`promised`).
    pub(super) fn free_port(&self, address: IpAddr, promised: &[PublishedPort]) -> Option<u16> {
        let is_promised = |port: u16| promised.iter().any(|other| other.host_port == port);
        (FIRST_EPHEMERAL_PORT..=u16::MAX).find(|port| !is_promised(*port) && !self.port_is_taken(address, *port))
    }

    /// The order a list is answered in: newest first, or as [`super::Memory::shuffle`] asked.
    pub(super) fn in_order<T>(&self, oldest_first: impl Iterator<Item = T>) -> Vec<T> {
        let mut answer: Vec<T> = oldest_first.collect();
        answer.reverse();
        let Some(mut seed) = self.order_seed else { return answer };
        for last in (1..answer.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            answer.swap(last, usize::try_from(seed >> 33).unwrap_or(0) % (last + 1));
        }
        answer
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

pub(super) fn unavailable() -> EngineError {
    EngineError::Unavailable { address: ADDRESS.to_owned(), reason: "connection refused".to_owned() }
}

pub(super) fn no_such_container(wanted: &str) -> EngineError {
    EngineError::NotFound { message: format!("No such container: {wanted}") }
}

/// Whether `labels` carries every label asked for.
pub(super) fn carries(labels: &BTreeMap<String, String>, wanted: &[Label<'_>]) -> bool {
    wanted.iter().all(|(key, value)| labels.get(*key).is_some_and(|found| value.is_none_or(|value| value == found)))
}
