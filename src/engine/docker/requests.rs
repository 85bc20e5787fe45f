//! What we ask, as the Docker API wants it.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, ExecConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, NetworkConnectRequest, PortBinding, PortMap, RestartPolicy, VolumeCreateRequest,
};

use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use jiff::Timestamp;

use crate::engine::{ContainerSpec, EngineError, Exec, Label, LogDriver, LogPart, PublishedPort, Result};

pub(super) fn label_filter(labels: &[Label<'_>]) -> HashMap<String, Vec<String>> {
    let wanted = labels.iter().map(|(key, value)| match value {
        Some(value) => format!("{key}={value}"),
        None => (*key).to_owned(),
    });
    HashMap::from([("label".to_owned(), wanted.collect())])
}

pub(super) fn container(spec: &ContainerSpec, log: &LogDriver) -> Result<ContainerCreateBody> {
    let mounts = spec.volumes.iter().map(|(volume, target)| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.clone()),
        target: Some(target.clone()),
        ..Mount::default()
    });
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(owned(&spec.labels)),
        exposed_ports: Some(spec.ports.iter().map(port_key).collect()),
        host_config: Some(HostConfig {
            port_bindings: Some(port_bindings(&spec.ports)),
            mounts: Some(mounts.collect()),
            restart_policy: Some(restart_policy(&spec.restart_policy)?),
            log_config: log_config(log),
            extra_hosts: (!spec.extra_hosts.is_empty()).then(|| spec.extra_hosts.clone()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

pub(super) fn restart_policy_update(policy: &str) -> Result<ContainerUpdateBody> {
    Ok(ContainerUpdateBody { restart_policy: Some(restart_policy(policy)?), ..ContainerUpdateBody::default() })
}

pub(super) fn connection(container: &str, aliases: &[String]) -> NetworkConnectRequest {
    let endpoint = EndpointSettings { aliases: Some(aliases.to_vec()), ..EndpointSettings::default() };
    NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) }
}

pub(super) fn volume(name: &str, labels: &BTreeMap<String, String>) -> VolumeCreateRequest {
    VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(owned(labels)), ..VolumeCreateRequest::default() }
}

/// A program without input has none attached: then nothing depends on half of a connection being closed.
pub(super) fn exec(exec: &Exec) -> ExecConfig {
    ExecConfig {
        cmd: Some(exec.command.clone()),
        attach_stdin: Some(!exec.stdin.is_empty()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    }
}

/// The API counts in seconds, which may be fractions for the engine but not for the client: a part is a little longer.
pub(super) fn logs(part: LogPart) -> LogsOptions {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true);
    let seconds = |at: Timestamp| i32::try_from(at.as_second()).unwrap_or(i32::MAX);
    match part {
        LogPart::Last(lines) => options.tail(&lines.to_string()),
        LogPart::Between(from, to) => options.since(seconds(from)).until(seconds(to).saturating_add(1)),
    }
    .build()
}

/// Seconds as the API counts them.
pub(super) fn seconds(grace: u32) -> i32 {
    i32::try_from(grace).unwrap_or(i32::MAX)
}

/// Without a name the engine's default is used, with its own options.
fn log_config(log: &LogDriver) -> Option<HostConfigLogConfig> {
    let named = (!log.name.is_empty()).then(|| log.name.clone());
    named.map(|name| HostConfigLogConfig { typ: Some(name), config: Some(owned(&log.options)) })
}

fn restart_policy(policy: &str) -> Result<RestartPolicy> {
    let name = policy.parse().ok().filter(|_| !policy.is_empty());
    let name = name
        .ok_or_else(|| EngineError::Refused { status: 400, message: format!("'{policy}' is not a restart policy") })?;
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: None })
}

fn port_key(port: &PublishedPort) -> String {
    format!("{}/tcp", port.container_port)
}

fn port_bindings(ports: &[PublishedPort]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        let binding =
            PortBinding { host_ip: Some(port.host_address.to_string()), host_port: Some(port.host_port.to_string()) };
        bindings.entry(port_key(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn owned(labels: &BTreeMap<String, String>) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
