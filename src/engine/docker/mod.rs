//! The engine behind the Docker API: Docker, or Podman's compatible socket.

mod answers;
mod connection;
mod credentials;
mod errors;
mod events;
mod exec;
mod output;
mod pull;
mod requests;
mod ssh;
mod tls;
mod transport;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream};
use tracing::{Instrument, debug, debug_span};

use self::connection::Connection;
use super::locate::Address;
use super::{
    Container, ContainerSpec, ContainerSummary, Engine, EngineError, EngineInfo, Event, Exec, Executed, Image, Label,
    LogDriver, LogPart, Network, PathStat, PullProgress, Result, Traffic, Volume,
};
use crate::limit::{ARCHIVE, Collected, ENGINE_ANSWER, LOG};

/// Calls that only look.
const READ: Duration = Duration::from_secs(10);
/// Calls that change something.
const WRITE: Duration = Duration::from_secs(60);
/// A start waits for the network driver and the runtime, behind all other starts.
const START: Duration = Duration::from_secs(120);
/// What a stop may take beyond its grace period.
const AFTER_GRACE: Duration = Duration::from_secs(20);

/// The version of the API that `DOCKER_API_VERSION` asks for, if it asks for one; an engine that does not offer it says so
/// itself.
///
/// # Errors
///
/// When it is no version, or an older one than ksail needs.
pub fn api_version(env: &dyn Fn(&str) -> Option<String>) -> std::result::Result<Option<String>, String> {
    let Some(set) = env("DOCKER_API_VERSION").filter(|value| !value.is_empty()) else { return Ok(None) };
    let version = set.strip_prefix('v').unwrap_or(&set);
    let (major, minor) = answers::OLDEST_API;
    match answers::api(version) {
        Some(asked) if asked >= (major, minor) => Ok(Some(version.to_owned())),
        Some(_) => {
            Err(format!("DOCKER_API_VERSION: ksail needs version {major}.{minor} of the API or newer, not {version}"))
        }
        None => Err(format!("DOCKER_API_VERSION: `{set}` is no version of the API, such as {major}.{minor}")),
    }
}

/// The engine at one address. It connects with the first call, and again after it was away.
#[derive(Debug, Clone)]
pub struct Docker {
    connection: Arc<Connection>,
    cli_config: Option<PathBuf>,
}

impl Docker {
    /// An engine at `address`. Nothing is contacted yet.
    pub fn new(address: Address) -> Self {
        Self::speaking(address, None)
    }

    /// The same, spoken to in this version of the API, whatever the engine offers.
    pub fn speaking(address: Address, api_version: Option<String>) -> Self {
        Self { connection: Arc::new(Connection::new(address, api_version)), cli_config: None }
    }

    /// Lets pulls use what `docker login` left in `config.json` of this directory
    /// (see [`docker_config_directory`](super::locate::docker_config_directory)).
    #[must_use]
    pub fn with_cli_config(mut self, directory: Option<PathBuf>) -> Self {
        self.cli_config = directory;
        self
    }

    /// Makes one call: connected, bounded in time, traced, its error in our words.
    async fn call<T, F>(
        &self,
        call: &'static str,
        object: &str,
        limit: Duration,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        let answered = async {
            let link = self.connection.link().await?;
            let asked = Instant::now();
            let (client, meter) = link.client(ENGINE_ANSWER);
            let answer = match tokio::time::timeout(limit, request(client)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(self.connection.failed(&link, call, error, &meter)),
                Err(_) => Err(EngineError::Timeout { call: call.to_owned(), seconds: limit.as_secs() }),
            };
            let error = answer.as_ref().err().map(tracing::field::display);
            debug!(ms = asked.elapsed().as_millis(), error, "answered");
            answer
        };
        answered.instrument(debug_span!("engine", call, object)).await
    }

    /// What becomes of a new container's output: the options are for the engine's default driver, if it takes them.
    async fn log_driver(&self, spec: &ContainerSpec) -> Result<LogDriver> {
        if spec.log_options.is_empty() {
            return Ok(LogDriver::default());
        }
        let link = self.connection.link().await?;
        let ask = || async {
            let info = self.call("info", "", READ, |docker| async move { docker.info().await }).await?;
            Ok::<_, EngineError>(info.logging_driver.unwrap_or_default())
        };
        let name = link.log_driver.get_or_try_init(ask).await?.clone();
        let driver = LogDriver { name, options: spec.log_options.clone() };
        Ok(if driver.takes_limits() { driver } else { LogDriver::default() })
    }
}

impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo> {
        self.connection.info().instrument(debug_span!("engine", call = "info")).await
    }

    async fn list_containers(&self, labels: &[Label<'_>]) -> Result<Vec<ContainerSummary>> {
        let options =
            query::ListContainersOptionsBuilder::default().all(true).filters(&requests::label_filter(labels)).build();
        let listed = self
            .call("list containers", "", READ, |docker| async move { docker.list_containers(Some(options)).await })
            .await?;
        Ok(listed.into_iter().map(answers::container_summary).collect())
    }

    async fn inspect_container(&self, id: &str) -> Result<Container> {
        self.call("inspect container", id, READ, |docker| async move {
            docker.inspect_container(id, None::<query::InspectContainerOptions>).await
        })
        .await
        .map(answers::container)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String> {
        let options = query::CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let body = requests::container(spec, &self.log_driver(spec).await?)?;
        self.call("create container", &spec.name, WRITE, |docker| async move {
            docker.create_container(Some(options), body).await
        })
        .await
        .map(|created| created.id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.call("start container", id, START, |docker| async move {
            docker.start_container(id, None::<query::StartContainerOptions>).await
        })
        .await
    }

    async fn stop_container(&self, id: &str, grace_seconds: u32) -> Result<()> {
        let options = query::StopContainerOptionsBuilder::default().t(requests::seconds(grace_seconds)).build();
        let limit = Duration::from_secs(grace_seconds.into()) + AFTER_GRACE;
        self.call("stop container", id, limit, |docker| async move { docker.stop_container(id, Some(options)).await })
            .await
    }

    async fn restart_container(&self, id: &str, grace_seconds: u32) -> Result<()> {
        let options = query::RestartContainerOptionsBuilder::default().t(requests::seconds(grace_seconds)).build();
        let limit = Duration::from_secs(grace_seconds.into()) + AFTER_GRACE + START;
        self.call(
            "restart container",
            id,
            limit,
            |docker| async move { docker.restart_container(id, Some(options)).await },
        )
        .await
    }

    async fn unpause_container(&self, id: &str) -> Result<()> {
        self.call("unpause container", id, WRITE, |docker| async move { docker.unpause_container(id).await }).await
    }

    async fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        let options = query::RenameContainerOptionsBuilder::default().name(name).build();
        self.call("rename container", id, WRITE, |docker| async move { docker.rename_container(id, options).await })
            .await
    }

    async fn update_restart_policy(&self, id: &str, policy: &str) -> Result<()> {
        let body = requests::restart_policy_update(policy)?;
        self.call("update container", id, WRITE, |docker| async move { docker.update_container(id, body).await }).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let options = query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.call(
            "remove container",
            id,
            WRITE,
            |docker| async move { docker.remove_container(id, Some(options)).await },
        )
        .await
    }

    async fn put_archive(&self, id: &str, path: &str, tar: Vec<u8>) -> Result<()> {
        let options = query::UploadToContainerOptionsBuilder::default().path(path).build();
        // A stream, because bollard logs other bodies at its trace level, and this one may hold credentials.
        let body = bollard::body_stream(stream::iter([Bytes::from(tar)]));
        self.call("put archive", id, WRITE, |docker| async move {
            docker.upload_to_container(id, Some(options), body).await
        })
        .await
    }

    async fn get_archive(&self, id: &str, path: &str) -> Result<Vec<u8>> {
        let options = query::DownloadFromContainerOptionsBuilder::default().path(path).build();
        self.call("get archive", id, WRITE, |docker| async move {
            let parts = docker.download_from_container(id, Some(options));
            let whole = parts.try_fold(ARCHIVE.collect(), |mut whole, part| async move {
                whole.add(&part).map_err(|error| errors::too_large(error.at(path)))?;
                Ok(whole)
            });
            whole.await.map(Collected::into_bytes)
        })
        .await
    }

    async fn stat_path(&self, id: &str, path: &str) -> Result<PathStat> {
        let options = query::ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        self.call(
            "stat path",
            id,
            READ,
            |docker| async move { docker.get_container_archive_info(id, Some(options)).await },
        )
        .await
        .map(answers::path_stat)
        .map_err(|error| errors::of_head(error, &format!("the file {path} in container {id}")))
    }

    async fn exec(&self, id: &str, exec: &Exec) -> Result<Executed> {
        self.call("exec", id, exec.limit, |docker| exec::run(docker, &self.connection, id, exec)).await
    }

    async fn logs(&self, id: &str, part: LogPart) -> Result<String> {
        let options = requests::logs(part);
        self.call("logs", id, READ, |docker| async move {
            let parts = docker.logs(id, Some(options));
            let whole = parts.try_fold(LOG.collect(), |mut whole, part| async move {
                whole.add(&part.into_bytes()).map_err(errors::too_large)?;
                Ok(whole)
            });
            whole.await.map(|whole| String::from_utf8_lossy(&whole.into_bytes()).into_owned())
        })
        .await
    }

    async fn traffic(&self, id: &str) -> Result<Option<Traffic>> {
        let options = query::StatsOptions { stream: false, one_shot: true };
        let stats = self.call("count the traffic", id, READ, |docker| async move {
            docker.stats(id, Some(options)).try_next().await
        });
        Ok(stats.await?.and_then(answers::traffic))
    }

    async fn list_networks(&self) -> Result<Vec<Network>> {
        let listed = self
            .call("list networks", "", READ, |docker| async move {
                docker.list_networks(None::<query::ListNetworksOptions>).await
            })
            .await?;
        Ok(listed.into_iter().map(answers::network).collect())
    }

    async fn connect_network(&self, network: &str, container: &str, aliases: &[String]) -> Result<()> {
        let body = requests::connection(container, aliases);
        self.call(
            "connect network",
            container,
            WRITE,
            |docker| async move { docker.connect_network(network, body).await },
        )
        .await
    }

    async fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let body = NetworkDisconnectRequest { container: container.to_owned(), force: Some(force) };
        self.call("disconnect network", container, WRITE, |docker| async move {
            docker.disconnect_network(network, body).await
        })
        .await
    }

    async fn remove_network(&self, network: &str) -> Result<()> {
        self.call("remove network", network, WRITE, |docker| async move { docker.remove_network(network).await }).await
    }

    async fn list_volumes(&self, labels: &[Label<'_>]) -> Result<Vec<Volume>> {
        let options = query::ListVolumesOptionsBuilder::default().filters(&requests::label_filter(labels)).build();
        let listed = self
            .call("list volumes", "", READ, |docker| async move { docker.list_volumes(Some(options)).await })
            .await?;
        Ok(listed.volumes.unwrap_or_default().into_iter().map(answers::volume).collect())
    }

    async fn inspect_volume(&self, name: &str) -> Result<Volume> {
        self.call("inspect volume", name, READ, |docker| async move { docker.inspect_volume(name).await })
            .await
            .map(answers::volume)
    }

    async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let body = requests::volume(name, labels);
        self.call("create volume", name, WRITE, |docker| async move { docker.create_volume(body).await })
            .await
            .map(|_| ())
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.call("remove volume", name, WRITE, |docker| async move {
            docker.remove_volume(name, None::<query::RemoveVolumeOptions>).await
        })
        .await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Image> {
        self.call("inspect image", reference, READ, |docker| async move { docker.inspect_image(reference).await })
            .await
            .map(answers::image)
    }

    async fn pull_image(&self, reference: &str, progress: impl Fn(PullProgress) + Send + Sync) -> Result<()> {
        pull::pull(&self.connection, self.cli_config.as_deref(), reference, progress)
            .instrument(debug_span!("engine", call = "pull image", object = reference))
            .await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<Event>>> {
        events::subscribe(&self.connection).instrument(debug_span!("engine", call = "events")).await
    }
}

#[cfg(test)]
mod tests;
