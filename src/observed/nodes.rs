//! The cluster's nodes: what their containerd is told about mirrors, and whether it listens.
//!
//! To read a node's files takes 60 ms on Docker 20.10, to ask whether one of them has changed 1 ms. A watch therefore
//! keeps what tells that, and asks; a single pass reads.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::found;
use super::programs::{ANSWERS_WITHIN, containerds_proxy};
use crate::archive::files_in;
use crate::desired::Desired;
use crate::distribution::containerd::{RegistryConfig, Settings, Version};
use crate::distribution::hosts_toml::FILE_NAME;
use crate::distribution::proxy::ProxySettings;
use crate::distribution::registry_hosting::Advertised;
use crate::distribution::{NodeLayout, node_layout};
use crate::engine::{Container, Engine, EngineError, Exec, PathStat, Result};
use crate::limit::ARCHIVE;
use crate::probe::Uptime;

/// A node that did not say all is asked again after this long, then after twice as long: it may just be starting.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// A node that is not set up after this long will not be.
const YOUNG: Duration = Duration::from_secs(30);
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
    /// What its containerd is told of proxies.
    pub proxy: ProxySettings,
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

/// What was read in one run of a node: one that restarts may be another one inside.
#[derive(Debug, Clone)]
pub(super) struct NodeReading {
    pub(super) started_at: Option<Timestamp>,
    pub(super) node: Node,
    /// What tells whether its files have changed; nothing when they are to be read in any case.
    files: Option<Marks>,
    /// The same of containerd's own.
    config: Config,
    /// How often in a row it did not say all.
    unanswered: u32,
}

/// What tells whether containerd's own file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Config {
    /// It is to be read in any case.
    Unmarked,
    /// How it is marked, if it is there.
    Marked(Option<PathStat>),
}

impl Config {
    fn stat(&self) -> Option<PathStat> {
        match self {
            Self::Unmarked => None,
            Self::Marked(stat) => stat.clone(),
        }
    }
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
        let proxy = ProxySettings::of(&container.env);
        Self { id, name, addresses, hosts_directory, hosts, unreadable: None, registry_config, proxy }
    }

    /// One that the engine says nothing of.
    pub(super) fn silent(id: String, name: String, desired: &Desired, error: &EngineError) -> Self {
        Self {
            id,
            name,
            addresses: Vec::new(),
            hosts_directory: node_layout(desired.distribution).hosts_directory.to_owned(),
            hosts: BTreeMap::new(),
            unreadable: Some(error.to_string()),
            registry_config: RegistryConfig::Unknown(error.to_string()),
            proxy: ProxySettings::default(),
        }
    }
}

impl NodeReading {
    /// Its files are to be read again, whatever tells that they have not changed; and with `deep` what only a program in
    /// it can tell, which takes a tenth of a second of a processor, and changes almost never.
    pub(super) fn forget(&mut self, deep: bool) {
        self.files = None;
        if deep {
            self.config = Config::Unmarked;
        }
    }

    /// After how long it is to be asked again, if it did not say all.
    pub(super) fn again(&self) -> Option<Duration> {
        let doubled = self.unanswered.checked_sub(1)?.min(4);
        Some(ASK_AGAIN.saturating_mul(1 << doubled))
    }

    /// Files that are looked at to tell whether one has changed.
    pub(super) fn looked_at(&self) -> u32 {
        let files = self.files.as_ref().map_or(0, BTreeMap::len);
        u32::try_from(files).unwrap_or(u32::MAX)
    }

    /// Whether a file is not what it was. A node that cannot be asked tells by its events.
    pub(super) async fn is_changed<E: Engine>(&self, engine: &E) -> Result<bool> {
        let Some(before) = &self.files else { return Ok(false) };
        Ok(marks(engine, &self.node.id, before.keys().cloned().collect()).await? != *before)
    }
}

/// Reads a node. What is wrong with it is told of it; only an engine that does not answer is an error.
pub(super) async fn read<E: Engine>(
    engine: &E,
    desired: &Desired,
    container: &Container,
    before: Option<&NodeReading>,
    keeps_marks: bool,
) -> Result<NodeReading> {
    let reader = Reader { engine, desired, layout: node_layout(desired.distribution), id: &container.id, keeps_marks };
    reader.read(container, before).await
}

struct Reader<'a, E> {
    engine: &'a E,
    desired: &'a Desired,
    layout: NodeLayout,
    id: &'a str,
    /// Somebody will ask whether what was read has changed.
    keeps_marks: bool,
}

impl<E: Engine> Reader<'_, E> {
    async fn read(&self, container: &Container, before: Option<&NodeReading>) -> Result<NodeReading> {
        let before = before.filter(|before| before.started_at == container.started_at);
        // Looked at before it is read, as the files are: whoever asks later finds what changes in between.
        let config = if self.keeps_marks {
            Config::Marked(mark(self.engine, self.id, self.layout.config).await?)
        } else {
            Config::Unmarked
        };
        let as_before = before.filter(|before| config != Config::Unmarked && before.config == config);
        let proxy = match as_before.map(|before| &before.node.proxy) {
            Some(proxy) if !self.is_in_the_way(proxy) => proxy.clone(),
            _ => self.proxy(container).await?,
        };
        let registry_config = match as_before.map(|before| &before.node.registry_config) {
            Some(config) if !matches!(config, RegistryConfig::Unknown(_)) => config.clone(),
            _ => self.final_registry_config(container).await?,
        };
        let directory = match &registry_config {
            RegistryConfig::Directory(directory) => directory.clone(),
            _ => self.layout.hosts_directory.to_owned(),
        };
        let files = if self.keeps_marks { Some(self.marks(&directory, config.stat()).await?) } else { None };
        let (hosts, unreadable) = match before {
            Some(before) if files.is_some() && before.files == files && before.node.unreadable.is_none() => {
                (before.node.hosts.clone(), None)
            }
            _ => match read_hosts(self.engine, self.id, &directory).await {
                Ok(hosts) => (hosts, None),
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => (BTreeMap::new(), Some(error.to_string())),
            },
        };
        let said_all = unreadable.is_none() && !matches!(registry_config, RegistryConfig::Unknown(_));
        let unanswered = if said_all { 0 } else { before.map_or(0, |before| before.unanswered) + 1 };
        let node = Node { unreadable, proxy, ..Node::new(container, directory, hosts, registry_config) };
        Ok(NodeReading { started_at: container.started_at, node, files, config, unanswered })
    }

    /// What containerd is told of proxies. Only where the node's own environment has one it is worth a look into it,
    /// which takes a tenth of a second of a processor.
    async fn proxy(&self, container: &Container) -> Result<ProxySettings> {
        let of_container = ProxySettings::of(&container.env);
        if !ProxySettings::are_in(&container.env) {
            return Ok(of_container);
        }
        Ok(containerds_proxy(self.engine, self.id).await?.unwrap_or(of_container))
    }

    fn is_in_the_way(&self, proxy: &ProxySettings) -> bool {
        self.desired.mirrors.values().any(|mirror| proxy.asked_for(&mirror.name).is_some())
    }

    /// What containerd is told about registries, once it is: whatever a node says of that before is no cause for alarm. It
    /// is asked again.
    async fn final_registry_config(&self, container: &Container) -> Result<RegistryConfig> {
        let config = self.registry_config().await?;
        if config.is_known_to_be_wrong() && self.is_young(container) && !self.is_set_up().await? {
            return Ok(RegistryConfig::Unknown("the node has just started, and is not set up yet".to_owned()));
        }
        Ok(config)
    }

    fn is_young(&self, container: &Container) -> bool {
        container.started_at.is_some_and(|started| Uptime::of(started, self.engine.now()).so_far() < YOUNG)
    }

    async fn is_set_up(&self) -> Result<bool> {
        for file in self.layout.set_up {
            if mark(self.engine, self.id, file).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(self.layout.set_up.is_empty())
    }

    /// What containerd is told about registries.
    async fn registry_config(&self) -> Result<RegistryConfig> {
        match self.read_registry_config().await {
            Ok(config) => Ok(config),
            Err(error) if error.is_unavailable() => Err(error),
            Err(error) => Ok(RegistryConfig::Unknown(error.to_string())),
        }
    }

    async fn read_registry_config(&self) -> Result<RegistryConfig> {
        let settings = self.registry_settings().await?;
        // Only where they leave it open the version is asked for, which takes a tenth of a second of a processor.
        let version = if settings.depend_on_version() { self.containerds_version().await? } else { None };
        Ok(settings.seen_by(version))
    }

    async fn registry_settings(&self) -> Result<Settings> {
        let unknown = |why: String| Settings::Plain(RegistryConfig::Unknown(why));
        if self.layout.config_is_partial {
            let dump = Exec::reading(["containerd", "config", "dump"]).within(ANSWERS_WITHIN);
            let dump = self.engine.exec(self.id, &dump).await?;
            return Ok(match dump {
                done if done.succeeded() => Settings::read(&done.stdout),
                done if done.is_missing_program() => unknown("there is no containerd on it".to_owned()),
                done => unknown(done.last_words().to_owned()),
            });
        }
        let archive = found(self.engine.get_archive(self.id, self.layout.config).await)?;
        let file = archive.and_then(|archive| files_in(&archive).ok()?.into_values().next());
        Ok(match file {
            Some(bytes) => Settings::read(&String::from_utf8_lossy(&bytes)),
            None => unknown(format!("there is no {} on it yet", self.layout.config)),
        })
    }

    async fn containerds_version(&self) -> Result<Option<Version>> {
        let asked = Exec::reading(["containerd", "--version"]).within(ANSWERS_WITHIN);
        let said = self.engine.exec(self.id, &asked).await?;
        Ok(if said.succeeded() { Version::read(&said.stdout) } else { None })
    }

    /// What tells whether a file below `directory`, or containerd's own, has changed.
    async fn marks(&self, directory: &str, config: Option<PathStat>) -> Result<Marks> {
        let wanted = self.desired.mirrors.values().flat_map(|mirror| mirror.node_files.keys());
        let paths = wanted.map(|host| format!("{directory}/{host}/{FILE_NAME}"));
        let mut now = marks(self.engine, self.id, paths.chain([directory.to_owned()]).collect()).await?;
        now.insert(self.layout.config.to_owned(), config);
        Ok(now)
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
    let mut hosts: BTreeMap<String, HostDirectory> = BTreeMap::new();
    let meter = ARCHIVE.meter();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
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
                let bytes = meter.read(entry)?;
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
        assert_eq!(
            crate::distribution::hosts_toml::owner(NOT_OURS, &"dev".parse().unwrap(), "docker.io"),
            crate::distribution::hosts_toml::Owner::Stranger
        );
    }

    #[test]
    fn a_link_in_the_place_of_all_of_it_is_not_written_through() {
        assert!(hosts_in(&archive(&[("certs.d", Some("/opt/mine"))])).is_err());
    }

    #[test]
    fn a_file_that_says_to_be_larger_than_its_archive_is_read_up_to_the_limit() {
        // GNU's sparse format: a tebibyte of which nothing is there.
        let mut header = tar::Header::new_gnu();
        header.set_path("certs.d/docker.io/hosts.toml").unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        header.set_mode(0o644);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 40);
        gnu.sparse[0].set_offset(1 << 40);
        gnu.sparse[0].set_length(0);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, std::io::empty()).unwrap();
        let error = hosts_in(&archive.into_inner().unwrap()).unwrap_err().to_string();
        assert!(error.contains("16 MiB"), "{error}");
    }
}
