//! The engine calls that the registries need and nothing else: the floor.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkConnectRequest, PortBinding, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::contender::{Contender, Stage};
use crate::support::manifest::Mirror;
use crate::support::scenario::Scenario;
use crate::support::sweep;

/// Bare API calls, several registries at once.
pub(crate) struct Bare {
    pub(crate) concurrency: usize,
}

impl Contender for Bare {
    fn name(&self) -> String {
        format!("bare API calls, {} at once", self.concurrency)
    }

    fn bring_up(&self, stage: Stage, scenario: &Scenario, mirrors: &[Mirror]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wanted = match stage {
            Stage::FromNothing => mirrors,
            Stage::NothingToDo => &[],
            Stage::OneMissing => &mirrors[..1],
        };
        runtime.block_on(bring_up(scenario, wanted, self.concurrency)).expect("the engine does it");
    }
}

async fn bring_up(scenario: &Scenario, mirrors: &[Mirror], concurrency: usize) -> Result<(), bollard::errors::Error> {
    let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
    let all = ListContainersOptions { all: true, ..Default::default() };
    docker.list_containers(Some(all)).await?;
    stream::iter(mirrors)
        .map(|mirror| run(&docker, scenario, mirror))
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn run(docker: &Docker, scenario: &Scenario, mirror: &Mirror) -> Result<(), bollard::errors::Error> {
    let name = scenario.container_name(mirror);
    let (key, run) =
        sweep::label().split_once('=').map(|(key, run)| (key.to_owned(), run.to_owned())).expect("a label");
    let labels = HashMap::from([(key, run)]);
    let volume = VolumeCreateRequest { name: Some(name.clone()), labels: Some(labels.clone()), ..Default::default() };
    docker.create_volume(volume).await?;
    let named = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
    docker.create_container(Some(named), body(&name, mirror, labels)).await?;
    let alias = EndpointSettings { aliases: Some(vec![name.clone()]), ..Default::default() };
    let connect = NetworkConnectRequest { container: name.clone(), endpoint_config: Some(alias) };
    docker.connect_network(&scenario.network, connect).await?;
    docker.start_container(&name, None).await
}

fn body(name: &str, mirror: &Mirror, labels: HashMap<String, String>) -> ContainerCreateBody {
    let port = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(mirror.host_port().to_string()) };
    let always = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None };
    ContainerCreateBody {
        image: Some("registry:3".into()),
        labels: Some(labels),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{name}:/var/lib/registry")]),
            port_bindings: Some(HashMap::from([("5000/tcp".into(), Some(vec![port]))])),
            restart_policy: Some(always),
            ..Default::default()
        }),
        ..Default::default()
    }
}
