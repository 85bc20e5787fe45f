//! Actions inside a node: files by the archive API, programs without a shell.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::executor::Executor;
use crate::archive::{self, files_in};
use crate::distribution::hosts_toml::{HostsToml, Owner, owner};
use crate::distribution::node_layout;
use crate::distribution::registry_hosting::{Advertised, NAME, NAMESPACE};
use crate::engine::{Engine, EngineError, Exec, Executed};
use crate::manifest::{ClusterName, Distribution};
use crate::observed::{advertised, read_hosts};
use crate::outcome::Failure;
use crate::plan::{Action, Target};
use crate::probe::Probe;

/// What `kubectl` has for one request. An API server that is about to come up is tried again later.
const API_LIMIT: &str = "--request-timeout=10s";

impl<E: Engine, P: Probe> Executor<E, P> {
    /// A node that is gone meanwhile needs nothing any more.
    pub(super) async fn change_node(&self, action: &Action) -> Result<(), Failure> {
        match self.try_to_change_node(action).await {
            Err(Failure::Engine { error, .. }) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether a node's file, or what the cluster says of its registry, is still ours to change, and there to be removed.
    pub(super) async fn is_still_ours_in_node(&self, action: &Action) -> Result<bool, Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        let looked = match action {
            Action::WriteNodeFiles { node, cluster, files } => {
                let paths = files.values().map(|(path, _)| path.as_str());
                self.are_still_ours(node, cluster, paths).await.map_err(refused)
            }
            Action::RemoveNodeFiles { node, cluster, paths, .. } => {
                self.are_still_ours(node, cluster, paths.iter().map(String::as_str)).await.map_err(refused)
            }
            Action::AdvertiseRegistry { node, distribution, .. } => {
                self.is_said_by_us(action, node, *distribution).await.map(drop)
            }
            Action::WithdrawRegistry { node, distribution } => {
                let said = self.is_said_by_us(action, node, *distribution).await;
                return said.map(|said| said != Advertised::Nothing);
            }
            _ => Ok(()),
        };
        match looked {
            // A node that is gone meanwhile needs nothing any more.
            Err(Failure::Engine { error, .. }) if error.is_not_found() => Ok(false),
            looked => looked.map(|()| true),
        }
    }

    async fn try_to_change_node(&self, action: &Action) -> Result<(), Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        match action {
            Action::WriteNodeFiles { node, files, .. } => self.write_node_files(node, files).await.map_err(refused),
            Action::RemoveNodeFiles { node, paths, .. } => self.remove_node_files(action, node, paths).await,
            Action::RemoveNodeDirectories { node, paths } => {
                // One that somebody has put something into meanwhile is refused by `rmdir`, and stays.
                let words = ["rmdir"].into_iter().chain(paths.iter().map(String::as_str));
                self.engine.exec(id(node), &Exec::changing(words)).await.map(drop).map_err(refused)
            }
            Action::AdvertiseRegistry { node, distribution, hosting } => {
                let apply = kubectl(*distribution, &["apply", "--filename", "-"]);
                let done =
                    self.engine.exec(id(node), &apply.with_stdin(hosting.config_map())).await.map_err(refused)?;
                succeeded(action, done).map(drop)
            }
            Action::WithdrawRegistry { node, distribution } => {
                let delete = ["delete", "configmap", NAME, "--namespace", NAMESPACE, "--ignore-not-found"];
                let done = self.engine.exec(id(node), &kubectl(*distribution, &delete)).await.map_err(refused)?;
                succeeded(action, done).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What a cluster says of its registry, asked right before it is changed: what another tool has written since it was
    /// asked last is that tool's.
    async fn is_said_by_us(
        &self,
        action: &Action,
        node: &Target,
        distribution: Distribution,
    ) -> Result<Advertised, Failure> {
        let what = || format!("cannot {action}");
        let asked = advertised(&self.engine, distribution, id(node)).await;
        match asked.map_err(|error| Failure::Engine { what: what(), error })? {
            Advertised::Foreign => {
                let said = format!("ConfigMap {NAME} in {NAMESPACE} was written by another tool and is left alone");
                Err(Failure::InNode { what: what(), said })
            }
            Advertised::Unknown(said) => Err(Failure::InNode { what: what(), said }),
            said => Ok(said),
        }
    }

    /// Writes the files and reads them back: the engine answers an archive it did not understand with success.
    async fn write_node_files(
        &self,
        node: &Target,
        files: &BTreeMap<String, (String, HostsToml)>,
    ) -> Result<(), EngineError> {
        let broken = |error: std::io::Error| EngineError::Refused { status: 0, message: error.to_string() };
        self.engine.put_archive(id(node), "/", packed(files).map_err(broken)?).await?;
        let Some(directory) = files.iter().find_map(|(host, (path, _))| hosts_directory(path, host)) else {
            return Ok(());
        };
        let found = read_hosts(&self.engine, id(node), directory).await?;
        let is_there = |(host, (_, file)): (&String, &(String, HostsToml))| {
            found.get(host).and_then(|directory| directory.hosts_toml.as_deref()) == Some(file.text())
        };
        if files.iter().all(is_there) {
            return Ok(());
        }
        let message = "the files read back are not those written".to_owned();
        Err(EngineError::Refused { status: 0, message })
    }

    /// Whether nobody has put a file of theirs where one is about to be overwritten or removed.
    async fn are_still_ours(
        &self,
        node: &Target,
        cluster: &ClusterName,
        paths: impl Iterator<Item = &str> + Send,
    ) -> Result<(), EngineError> {
        let mut found = BTreeMap::new();
        for path in paths {
            let Some((directory, host)) = place_of(path) else { continue };
            if !found.contains_key(directory) {
                found.insert(directory, read_hosts(&self.engine, id(node), directory).await?);
            }
            let text = found[directory].get(host).and_then(|found| found.hosts_toml.as_deref()).unwrap_or_default();
            let whose = match owner(text, cluster, host) {
                Owner::Ksail | Owner::KsailByK3s | Owner::Nobody => continue,
                Owner::OtherCluster(other) => format!("cluster {other}'s"),
                Owner::K3s => "k3s's".to_owned(),
                Owner::Stranger => "somebody else's".to_owned(),
            };
            let message = format!("{path} is {whose} by now");
            return Err(EngineError::Refused { status: 0, message });
        }
        Ok(())
    }

    /// By `rm`, or where there is none by emptying them: containerd takes an empty file for its own default.
    async fn remove_node_files(&self, action: &Action, node: &Target, paths: &[String]) -> Result<(), Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot {action}"), error };
        let words = ["rm", "-f"].into_iter().chain(paths.iter().map(String::as_str));
        let done = self.engine.exec(id(node), &Exec::changing(words)).await.map_err(refused)?;
        if !done.is_missing_program() {
            return succeeded(action, done).map(drop);
        }
        let emptied = pack(paths.iter().map(|path| (path.as_str(), 0o644, "")));
        let emptied = emptied.map_err(|error| Failure::Archive(error.to_string()))?;
        self.engine.put_archive(id(node), "/", emptied).await.map_err(refused)?;
        for path in paths {
            let back = self.engine.get_archive(id(node), path).await.map_err(refused)?;
            if !files_in(&back).is_ok_and(|files| files.values().all(Vec::is_empty)) {
                let said = format!("{path} is not empty afterwards");
                return Err(Failure::InNode { what: format!("cannot {action}"), said });
            }
        }
        Ok(())
    }
}

/// Actions on nodes are about nodes that were observed, so that there is an id.
fn id(node: &Target) -> &str {
    node.id.as_deref().unwrap_or(&node.name)
}

/// The directory of all hosts and the name of one below it.
fn place_of(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')?.0.rsplit_once('/')
}

fn hosts_directory<'a>(path: &'a str, host: &str) -> Option<&'a str> {
    let file = format!("/{host}/{}", crate::distribution::hosts_toml::FILE_NAME);
    path.strip_suffix(file.as_str())
}

fn kubectl(distribution: Distribution, words: &[&str]) -> Exec {
    Exec::changing(node_layout(distribution).kubectl.iter().copied().chain([API_LIMIT]).chain(words.iter().copied()))
}

fn succeeded(action: &Action, done: Executed) -> Result<Executed, Failure> {
    if done.succeeded() {
        return Ok(done);
    }
    Err(Failure::InNode { what: format!("cannot {action}"), said: done.last_words().to_owned() })
}

fn packed(files: &BTreeMap<String, (String, HostsToml)>) -> std::io::Result<Vec<u8>> {
    pack(files.values().map(|(path, file)| (path.as_str(), file.mode(), file.text())))
}

fn pack<'a>(files: impl Iterator<Item = (&'a str, u32, &'a str)>) -> std::io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    archive::pack(files.map(|(path, mode, text)| (path, mode, text.as_bytes())), now)
}
