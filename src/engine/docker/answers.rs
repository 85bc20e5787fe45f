//! What the Docker API answers, as our types.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use bollard::models;
use hyper::HeaderMap;
use jiff::Timestamp;

use crate::engine::locate::Address;
use crate::engine::{
    Container, ContainerState, ContainerSummary, Endpoint, EngineError, EngineInfo, Image, LogDriver, Mount, Network,
    PathStat, PublishedPort, Result, Traffic, Volume,
};

/// The API of Docker 20.10.
pub(super) const OLDEST_API: (u32, u32) = (1, 41);

/// Length of the short id that Docker adds to the aliases of a container.
const SHORT_ID: usize = 12;

/// Who answered; an error if it is older than Docker 20.10.
pub(super) fn engine_info(version: models::SystemVersion, address: &Address) -> Result<EngineInfo> {
    let component = version.components.unwrap_or_default().into_iter().next().map(|component| component.name);
    let name = match component.as_deref() {
        None | Some("" | "Engine") => "Docker Engine".to_owned(),
        Some(other) => other.to_owned(),
    };
    let (version, api_version) = (version.version.unwrap_or_default(), version.api_version.unwrap_or_default());
    recent_enough(name, version, api_version, address)
}

/// Name, version and API of the engine that has answered with these headers, if it says all of them:
/// `Server: Docker/20.10.24 (linux)`, `Api-Version: 1.41`.
pub(super) fn engine_in(headers: &HeaderMap) -> Option<(String, String, String)> {
    let said = |name: &str| headers.get(name)?.to_str().ok();
    let (name, version) = said("server")?.split_whitespace().next()?.split_once('/')?;
    let name = match name {
        "Docker" => "Docker Engine",
        "Libpod" => "Podman Engine",
        other => other,
    };
    Some((name.to_owned(), version.to_owned(), said("api-version")?.to_owned()))
}

/// Who answered, if it is recent enough.
pub(super) fn recent_enough(
    name: String,
    version: String,
    api_version: String,
    address: &Address,
) -> Result<EngineInfo> {
    let info = EngineInfo { name, version, api_version, address: address.to_string() };
    if api(&info.api_version).is_none_or(|api| api < OLDEST_API) {
        let found = format!("{} {}", info.name, info.version);
        return Err(EngineError::TooOld { found, api: info.api_version });
    }
    Ok(info)
}

/// Major and minor version of an API.
pub(super) fn api(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

pub(super) fn container_summary(found: models::ContainerSummary) -> ContainerSummary {
    let name = found.names.unwrap_or_default().into_iter().map(|name| plain_name(&name)).find(|name| {
        // A link shows as `/other/alias`.
        !name.contains('/')
    });
    let ports = found.ports.unwrap_or_default().into_iter().filter_map(|port| {
        let is_tcp = port.typ.is_none_or(|kind| kind == models::PortSummaryTypeEnum::TCP);
        let host_port = port.public_port.filter(|_| is_tcp)?;
        Some(PublishedPort {
            container_port: port.private_port,
            host_address: host_address(port.ip.as_deref()),
            host_port,
        })
    });
    let volumes = found.mounts.unwrap_or_default().into_iter().filter_map(|mounted| mount(mounted).volume);
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default().into_iter();
    ContainerSummary {
        id: found.id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        labels: sorted(found.labels),
        image_id: found.image_id.unwrap_or_default(),
        volumes: volumes.collect(),
        state: found.state.map_or(ContainerState::Dead, |state| container_state(state.as_ref())),
        ports: each_once(ports),
        endpoints: networks.map(|(name, settings)| (name, settings.endpoint_id.unwrap_or_default())).collect(),
    }
}

pub(super) fn container(found: models::ContainerInspectResponse) -> Container {
    let id = found.id.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let now = found.state.unwrap_or_default();
    let state = now.status.map_or(ContainerState::Dead, |status| container_state(status.as_ref()));
    let has_ended = matches!(state, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting);
    let restart_policy = host.restart_policy.and_then(|policy| policy.name).map(|name| name.to_string());
    let endpoints = network.networks.unwrap_or_default().into_iter();
    Container {
        name: plain_name(&found.name.unwrap_or_default()),
        labels: sorted(config.labels),
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        env: variables(config.env),
        extra_hosts: host.extra_hosts.unwrap_or_default(),
        state,
        exit_code: now.exit_code.filter(|_| has_ended),
        error: now.error.unwrap_or_default(),
        created_at: found.created.as_deref().and_then(time),
        started_at: now.started_at.as_deref().and_then(time),
        restart_policy: restart_policy.filter(|name| !name.is_empty()).unwrap_or_else(|| "no".to_owned()),
        log: host.log_config.map(log_driver).unwrap_or_default(),
        ports: published(host.port_bindings),
        bound_ports: published(network.ports),
        mounts: found.mounts.unwrap_or_default().into_iter().map(mount).collect(),
        endpoints: endpoints.map(|(name, settings)| (name.clone(), endpoint(settings, &name, &id))).collect(),
        id,
    }
}

pub(super) fn path_stat(found: bollard::container::PathStatResponse) -> PathStat {
    PathStat { size: u64::try_from(found.size).unwrap_or(0), modified: found.modification_time.unwrap_or_default() }
}

fn mount(found: models::MountPoint) -> Mount {
    let is_volume = found.typ.is_some_and(|kind| kind == "volume");
    Mount { volume: found.name.filter(|_| is_volume), target: found.destination.unwrap_or_default() }
}

/// To Podman, a network's id is its name here.
fn endpoint(found: models::EndpointSettings, network: &str, container_id: &str) -> Endpoint {
    let short_id = container_id.get(..SHORT_ID);
    let mut aliases = found.aliases.unwrap_or_default();
    aliases.retain(|alias| Some(alias.as_str()) != short_id);
    let mut addresses = [found.ip_address, found.global_ipv6_address].into_iter().flatten();
    Endpoint {
        network_id: found.network_id.filter(|id| id != network).unwrap_or_default(),
        aliases,
        address: addresses.find_map(|address| address.parse().ok()),
    }
}

/// Nothing of a container that does not run, or is on the host's own network.
pub(super) fn traffic(stats: models::ContainerStatsResponse) -> Option<Traffic> {
    let networks = stats.networks?;
    let add = |sum: Traffic, network: &models::ContainerNetworkStats| Traffic {
        received: sum.received.saturating_add(network.rx_bytes.unwrap_or_default()),
        sent: sum.sent.saturating_add(network.tx_bytes.unwrap_or_default()),
    };
    Some(networks.values().fold(Traffic::default(), add))
}

pub(super) fn network(found: models::Network) -> Network {
    let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Network {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        subnets: ranges.into_iter().filter_map(|range| range.subnet).collect(),
        labels: found.labels.unwrap_or_default().into_iter().collect(),
        created_at: found.created.as_deref().and_then(time),
    }
}

pub(super) fn volume(found: models::Volume) -> Volume {
    let created_at = found.created_at.as_deref().and_then(time);
    Volume { name: found.name, labels: found.labels.into_iter().collect(), created_at }
}

pub(super) fn image(found: models::ImageInspect) -> Image {
    let config = found.config.unwrap_or_default();
    Image {
        id: found.id.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        env: variables(config.env),
        labels: sorted(config.labels),
    }
}

/// Docker writes the year 1 for "never".
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at| *at > Timestamp::UNIX_EPOCH)
}

fn log_driver(found: models::HostConfigLogConfig) -> LogDriver {
    LogDriver { name: found.typ.unwrap_or_default(), options: sorted(found.config) }
}

fn container_state(word: &str) -> ContainerState {
    match word {
        "created" => ContainerState::Created,
        // One that is being stopped still runs.
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" => ContainerState::Exited,
        _ => ContainerState::Dead,
    }
}

fn published(ports: Option<models::PortMap>) -> Vec<PublishedPort> {
    let bindings = ports.unwrap_or_default().into_iter().flat_map(|(port, bindings)| {
        let container_port = port.strip_suffix("/tcp").and_then(|port| port.parse().ok());
        let bindings = bindings.unwrap_or_default().into_iter();
        bindings.filter_map(move |binding| {
            Some(PublishedPort {
                container_port: container_port?,
                host_address: host_address(binding.host_ip.as_deref()),
                // Empty, like 0, asks for an ephemeral one.
                host_port: binding.host_port.and_then(|port| port.parse().ok()).unwrap_or(0),
            })
        })
    });
    each_once(bindings)
}

fn each_once(ports: impl Iterator<Item = PublishedPort>) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn host_address(text: Option<&str>) -> IpAddr {
    text.and_then(|text| text.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn plain_name(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

fn variables(env: Option<Vec<String>>) -> BTreeMap<String, String> {
    let pairs = env.unwrap_or_default().into_iter();
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (pair, String::new()),
        })
        .collect()
}

fn sorted(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}
