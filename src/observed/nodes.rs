//! The cluster's nodes: what their containerd is told about mirrors, and whether it listens.
//!
//! To read a node's files takes 60 ms on Docker 20.10, to ask whether one of them has changed 1 ms. A watch therefore
//! remembers what it has read and asks whether that still holds; a single pass reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::time::Instant;

use super::access::Access;
use super::{READS_AT_ONCE, found};
use crate::archive::files_in;
use crate::desired::Desired;
use crate::distribution::containerd::RegistryConfig;
use crate::distribution::hosts_toml::FILE_NAME;
use crate::distribution::registry_hosting::{Advertised, NAME, NAMESPACE};
use crate::distribution::{NodeLayout, node_layout};
use crate::engine::{Container, Engine, EngineError, Exec, PathStat, Result};

/// A program that only says what a node is like answers at once, or something is wrong with the node.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// One that could not be asked is not asked again at every pass.
const UNKNOWN_HOLDS: Duration = Duration::from_secs(3);
/// Nor is an API server that does not answer, which takes longer to say so and longer to come up.
const UNKNOWN_API_HOLDS: Duration = Duration::from_secs(30);
/// Stands for a link in the place of a file or directory: it is somebody's, wherever it leads, and no text of ours
/// begins like this.
const NOT_OURS: &str = "not a file";
/// Files of one node that are looked at at once.
const LOOKS_AT_ONCE: usize = 4;

/// A running node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Id of its container.
    pub id: String,
    /// Name of its container.
    pub name: String,
    /// Its addresses, as others on its networks see it.
    pub addresses: Vec<String>,
    /// Where its containerd looks for `hosts.toml` files, or would.
    pub hosts_directory: String,
    /// What is there, by the name of the host's directory.
    pub hosts: BTreeMap<String, HostDirectory>,
    /// Why what is there could not be read.
    pub unreadable: Option<String>,
    /// Whether its containerd reads it.
    pub registry_config: RegistryConfig,
}

/// One host's directory on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDirectory {
    /// Its `hosts.toml`.
    pub hosts_toml: Option<String>,
    /// There is something else in it.
    pub has_others: bool,
}

/// What a cluster says of its registry, and the node that it was asked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosting {
    /// Id of a node with an API server.
    pub node_id: String,
    /// Its name.
    pub node: String,
    /// What it says.
    pub advertised: Advertised,
}

/// What was read before, by run of a node: one that restarts may be another one inside.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    runs: Arc<Mutex<BTreeMap<NodeRun, Known>>>,
    /// Files are believed only by those who ask whether they have changed.
    files_too: bool,
}

type NodeRun = (String, Option<Timestamp>);

/// What is known of one run of a node.
#[derive(Debug, Clone, Default)]
struct Known {
    name: String,
    files: Option<(Marks, BTreeMap<String, HostDirectory>)>,
    registry_config: Option<(Option<PathStat>, RegistryConfig, Instant)>,
    advertised: Option<(Advertised, Instant)>,
}

/// What tells whether files have changed, by path.
type Marks = BTreeMap<String, Option<PathStat>>;

impl Node {
    fn new(
        container: &Container,
        hosts_directory: String,
        hosts: BTreeMap<String, HostDirectory>,
        registry_config: RegistryConfig,
    ) -> Self {
        let addresses = container.endpoints.values().filter_map(|endpoint| endpoint.address.map(|at| at.to_string()));
        let (id, name, addresses) = (container.id.clone(), container.name.clone(), addresses.collect());
        Self { id, name, addresses, hosts_directory, hosts, unreadable: None, registry_config }
    }

    /// One that the engine says nothing of in time.
    pub(super) fn silent(id: String, name: String, desired: &Desired, error: &EngineError) -> Self {
        Self {
            id,
            name,
            addresses: Vec::new(),
            hosts_directory: node_layout(desired.distribution).hosts_directory.to_owned(),
            hosts: BTreeMap::new(),
            unreadable: Some(error.to_string()),
            registry_config: RegistryConfig::Unknown(error.to_string()),
        }
    }
}

impl Remembered {
    pub(super) fn with_files() -> Self {
        Self { files_too: true, ..Self::default() }
    }

    fn get(&self, run: &NodeRun) -> Known {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned().unwrap_or_default()
    }

    fn change(&self, run: &NodeRun, change: impl FnOnce(&mut Known)) {
        change(self.runs.lock().unwrap_or_else(PoisonError::into_inner).entry(run.clone()).or_default());
    }

    fn keep_only(&self, runs: &[NodeRun]) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).retain(|run, _| runs.contains(run));
    }

    pub(super) fn forget(&self) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn forget_hosting(&self) {
        for known in self.runs.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            known.advertised = None;
        }
    }

    /// Something was written on a node, perhaps with a time and a size that were there before.
    pub(super) fn forget_files_of(&self, node: &str) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.values_mut().filter(|known| known.name == node).for_each(|known| known.files = None);
    }

    /// What can change without a trace is read again by the next pass.
    pub(super) fn forget_files(&self) {
        for known in self.runs.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            known.files = None;
        }
    }

    /// Names of nodes on which a file is not what it was, and how many files were looked at.
    pub(super) async fn changed<E: Engine>(&self, engine: &E, access: &Access) -> (Vec<String>, usize) {
        let known: Vec<(NodeRun, Known)> = {
            let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.iter().map(|(run, known)| (run.clone(), known.clone())).collect()
        };
        let (mut changed, mut looked_at) = (Vec::new(), 0);
        for ((id, _), Known { name, files, .. }) in known {
            let Some((before, _)) = files.filter(|_| !access.is_left_alone(&id)) else { continue };
            looked_at += before.len();
            // A node that cannot be asked tells by its events.
            if marks(engine, &id, before.keys().cloned().collect()).await.is_ok_and(|now| now != before) {
                changed.push(name);
            }
        }
        (changed, looked_at)
    }
}

/// Reads the nodes that run. Only an engine that is away is an error; what is wrong with one node is told of that node.
pub(super) async fn read<E: Engine>(
    engine: &E,
    desired: &Desired,
    nodes: &[Container],
    remembered: &Remembered,
    access: &Access,
) -> Result<Vec<Node>> {
    let runs: Vec<NodeRun> = nodes.iter().map(run_of).collect();
    remembered.keep_only(&runs);
    let reader = Reader { engine, desired, layout: node_layout(desired.distribution), remembered };
    let (left_alone, asked): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| access.is_left_alone(&node.id));
    let reads: Vec<_> = asked.into_iter().map(|node| reader.node(node)).collect();
    let mut nodes: Vec<Node> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    nodes.extend(left_alone.into_iter().filter_map(|node| reader.as_it_was(node)));
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn run_of(node: &Container) -> NodeRun {
    (node.id.clone(), node.started_at)
}

/// What the cluster says of its registry, asked on the first of its nodes with an API server.
pub(super) async fn hosting<E: Engine>(
    engine: &E,
    desired: &Desired,
    nodes: &[Container],
    remembered: &Remembered,
    access: &Access,
) -> Result<Option<Hosting>> {
    let layout = node_layout(desired.distribution);
    let has_api = |node: &&Container| node.labels.get(layout.role_label).map(String::as_str) == Some(layout.roles[0]);
    let Some(node) = nodes.iter().filter(has_api).min_by(|a, b| a.name.cmp(&b.name)) else { return Ok(None) };
    let run = run_of(node);
    let holds = |(advertised, asked): &(Advertised, Instant)| {
        !matches!(advertised, Advertised::Unknown(_)) || asked.elapsed() < UNKNOWN_API_HOLDS
    };
    let advertised = match remembered.get(&run).advertised.filter(holds) {
        Some((advertised, _)) => advertised,
        None if access.is_left_alone(&node.id) => return Ok(None),
        None => {
            let advertised = ask_for_hosting(engine, &layout, &node.id).await?;
            remembered.change(&run, |known| known.advertised = Some((advertised.clone(), Instant::now())));
            advertised
        }
    };
    Ok(Some(Hosting { node_id: node.id.clone(), node: node.name.clone(), advertised }))
}

async fn ask_for_hosting<E: Engine>(engine: &E, layout: &NodeLayout, node: &str) -> Result<Advertised> {
    let get = ["get", "configmap", NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--output", "json"];
    let words = layout.kubectl.iter().copied().chain(["--request-timeout=4s"]).chain(get);
    Ok(match engine.exec(node, &Exec::reading(words).within(ANSWERS_WITHIN)).await {
        Ok(done) if done.succeeded() => Advertised::read(&done.stdout),
        Ok(done) if done.is_missing_program() => Advertised::Unknown("there is no kubectl on the node".to_owned()),
        Ok(done) => Advertised::Unknown(done.last_words().to_owned()),
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => Advertised::Unknown(error.to_string()),
    })
}

struct Reader<'a, E> {
    engine: &'a E,
    desired: &'a Desired,
    layout: NodeLayout,
    remembered: &'a Remembered,
}

impl<E: Engine> Reader<'_, E> {
    async fn node(&self, container: &Container) -> Result<Node> {
        let run = run_of(container);
        self.remembered.change(&run, |known| known.name.clone_from(&container.name));
        // Looked at before it is read, as the files are: the patrol finds what changes in between.
        let id = &run.0;
        let marked = mark(self.engine, id, self.layout.config).await?;
        let registry_config = self.registry_config(&run, marked.as_ref()).await?;
        let hosts_directory = self.hosts_directory(&registry_config);
        let (hosts, unreadable) = match self.hosts(&run, &hosts_directory, marked).await {
            Ok(hosts) => (hosts, None),
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        Ok(Node { unreadable, ..Node::new(container, hosts_directory, hosts, registry_config) })
    }

    /// What was read last, if anything was.
    fn as_it_was(&self, container: &Container) -> Option<Node> {
        let Known { files, registry_config, .. } = self.remembered.get(&run_of(container));
        let ((_, hosts), (_, registry_config, _)) = (files?, registry_config?);
        Some(Node::new(container, self.hosts_directory(&registry_config), hosts, registry_config))
    }

    fn hosts_directory(&self, registry_config: &RegistryConfig) -> String {
        match registry_config {
            RegistryConfig::Directory(directory) => directory.clone(),
            _ => self.layout.hosts_directory.to_owned(),
        }
    }

    /// What containerd is told about registries, read again when its file is not `marked` as it was.
    async fn registry_config(&self, run: &NodeRun, marked: Option<&PathStat>) -> Result<RegistryConfig> {
        let (id, known) = (&run.0, self.remembered.get(run).registry_config);
        let holds = |(before, config, asked): &(Option<PathStat>, RegistryConfig, Instant)| {
            before.as_ref() == marked
                && (!matches!(config, RegistryConfig::Unknown(_)) || asked.elapsed() < UNKNOWN_HOLDS)
        };
        if let Some((_, config, _)) = known.filter(holds) {
            return Ok(config);
        }
        let config = match self.read_registry_config(id).await {
            Ok(config) => config,
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => RegistryConfig::Unknown(error.to_string()),
        };
        let read = (marked.cloned(), config.clone(), Instant::now());
        self.remembered.change(run, |known| known.registry_config = Some(read));
        Ok(config)
    }

    async fn read_registry_config(&self, id: &str) -> Result<RegistryConfig> {
        if self.layout.config_is_partial {
            let dump = Exec::reading(["containerd", "config", "dump"]).within(ANSWERS_WITHIN);
            let dump = self.engine.exec(id, &dump).await?;
            return Ok(match dump {
                done if done.succeeded() => RegistryConfig::read(&done.stdout),
                done if done.is_missing_program() => RegistryConfig::Unknown("there is no containerd on it".to_owned()),
                done => RegistryConfig::Unknown(done.last_words().to_owned()),
            });
        }
        let archive = found(self.engine.get_archive(id, self.layout.config).await)?;
        let file = archive.and_then(|archive| files_in(&archive).ok()?.into_values().next());
        Ok(match file {
            Some(bytes) => RegistryConfig::read(&String::from_utf8_lossy(&bytes)),
            None => RegistryConfig::Unknown(format!("there is no {} on it yet", self.layout.config)),
        })
    }

    /// The files below `directory`, to be read again when one of them or containerd's own is not marked as it was.
    async fn hosts(
        &self,
        run: &NodeRun,
        directory: &str,
        config: Option<PathStat>,
    ) -> Result<BTreeMap<String, HostDirectory>> {
        let id = &run.0;
        if !self.remembered.files_too {
            return read_hosts(self.engine, id, directory).await;
        }
        let wanted = self.desired.mirrors.values().flat_map(|mirror| mirror.node_files.keys());
        let paths = wanted.map(|host| format!("{directory}/{host}/{FILE_NAME}"));
        let paths = paths.chain([directory.to_owned()]).collect();
        // Looked at before they are read: what changes in between is read again.
        let mut now = marks(self.engine, id, paths).await?;
        now.insert(self.layout.config.to_owned(), config);
        if let Some((_, hosts)) = self.remembered.get(run).files.filter(|(before, _)| *before == now) {
            return Ok(hosts);
        }
        let hosts = read_hosts(self.engine, id, directory).await?;
        self.remembered.change(run, |known| known.files = Some((now, hosts.clone())));
        Ok(hosts)
    }
}

async fn mark<E: Engine>(engine: &E, id: &str, path: &str) -> Result<Option<PathStat>> {
    match found(engine.stat_path(id, path).await) {
        Err(error) if error.is_unavailable() => Err(error),
        // One that cannot be looked at is read.
        answer => Ok(answer.unwrap_or_default()),
    }
}

async fn marks<E: Engine>(engine: &E, id: &str, paths: Vec<String>) -> Result<Marks> {
    let look = |path: String| async move {
        let mark = mark(engine, id, &path).await?;
        Ok::<_, EngineError>((path, mark))
    };
    let looks: Vec<_> = paths.into_iter().map(look).collect();
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await
}

/// The directories below `directory`, each with its `hosts.toml`; none when there is no such directory.
pub(crate) async fn read_hosts<E: Engine>(
    engine: &E,
    id: &str,
    directory: &str,
) -> Result<BTreeMap<String, HostDirectory>> {
    let Some(archive) = found(engine.get_archive(id, directory).await)? else { return Ok(BTreeMap::new()) };
    hosts_in(&archive).map_err(|error| EngineError::Refused { status: 0, message: format!("{directory}: {error}") })
}

/// The first name in an archive of a directory is that of the directory itself.
fn hosts_in(archive: &[u8]) -> std::io::Result<BTreeMap<String, HostDirectory>> {
    use std::io::Read;
    let mut hosts: BTreeMap<String, HostDirectory> = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let kind = entry.header().entry_type();
        let is_file = kind.is_file();
        match parts.as_slice() {
            [_] if !kind.is_dir() => return Err(std::io::Error::other("it is a link, or no directory")),
            [_, host] if kind.is_dir() => {
                hosts.entry(host.clone()).or_default();
            }
            // What is written below a link is written where it leads.
            [_, host] => hosts.entry(host.clone()).or_default().hosts_toml = Some(NOT_OURS.to_owned()),
            [_, host, name] if name == FILE_NAME => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                let text = if is_file { String::from_utf8_lossy(&bytes).into_owned() } else { NOT_OURS.to_owned() };
                hosts.entry(host.clone()).or_default().hosts_toml = Some(text);
            }
            [_, host, _, ..] => hosts.entry(host.clone()).or_default().has_others = true,
            _ => {}
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with these entries: a path, and what a link leads to or `None` for a directory.
    fn archive(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, link) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o755);
            match link {
                Some(link) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, path, link).unwrap();
                }
                None => {
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, path, std::io::empty()).unwrap();
                }
            }
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_or_a_file_is_somebody_elses() {
        let entries = [
            ("certs.d/", None),
            ("certs.d/docker.io", Some("/opt/mine")),
            ("certs.d/ghcr.io/", None),
            ("certs.d/ghcr.io/hosts.toml", Some("/opt/mine/hosts.toml")),
            ("certs.d/quay.io/", None),
        ];
        let hosts = hosts_in(&archive(&entries)).unwrap();
        assert_eq!(hosts["docker.io"].hosts_toml.as_deref(), Some(NOT_OURS));
        assert_eq!(hosts["ghcr.io"].hosts_toml.as_deref(), Some(NOT_OURS));
        assert_eq!(hosts["quay.io"], HostDirectory::default());
        assert_eq!(crate::distribution::hosts_toml::owner(NOT_OURS), crate::distribution::hosts_toml::Owner::Stranger);
    }

    #[test]
    fn a_link_in_the_place_of_all_of_it_is_not_written_through() {
        assert!(hosts_in(&archive(&[("certs.d", Some("/opt/mine"))])).is_err());
    }
}
