//! Actions on containers, and what to make of the engine's refusals.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::executor::Executor;
use crate::archive;
use crate::engine::{Container, ContainerSpec, ContainerState, Engine, EngineError, Volume};
use crate::labels::{self, CLUSTER, HOST, Labels, MANAGED_BY, ROLE};
use crate::observed::{NetworkRef, is_not_older};
use crate::outcome::{Failure, SERVE_WITHIN};
use crate::plan::Action;
use crate::probe::{Probe, Uptime};
use crate::registry::SecretFiles;

/// Seconds a registry has to finish its answers when it is stopped.
const STOP_GRACE: u32 = 2;
/// One that is restarted may have pulls under way all the same: that it hangs is a judgement.
const RESTART_GRACE: u32 = 5;
/// So often a volume that somebody removes meanwhile is made again.
const VOLUME_TRIES: u32 = 3;
/// Pause between two looks at a container that is being removed: the first and the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(100));

impl<E: Engine, P: Probe> Executor<E, P> {
    /// An action on an existing container, by its id.
    pub(super) async fn change(&self, action: &Action, id: &str) -> Result<(), EngineError> {
        let engine = &self.engine;
        match action {
            Action::ConnectNetwork { network, aliases, .. } => self.connect(network, id, aliases).await,
            Action::DisconnectNetwork { network, .. } => {
                let outcome = engine.disconnect_network(&network.id, id, true).await;
                self.unless_so(outcome, id, |container| network.endpoint_of(container).is_none()).await
            }
            Action::StartContainer { .. } => engine.start_container(id).await,
            Action::StopContainer { .. } => unless_gone(engine.stop_container(id, STOP_GRACE).await),
            Action::RestartContainer { .. } => engine.restart_container(id, RESTART_GRACE).await,
            Action::UnpauseContainer { .. } => {
                let outcome = engine.unpause_container(id).await;
                self.unless_so(outcome, id, |container| container.state != ContainerState::Paused).await
            }
            Action::RenameContainer { to, .. } => {
                let outcome = engine.rename_container(id, to).await;
                self.unless_so(outcome, id, |container| container.name == *to).await
            }
            Action::UpdateRestartPolicy { policy, .. } => engine.update_restart_policy(id, policy).await,
            Action::RemoveContainer { .. } => self.remove(id).await,
            _ => Ok(()),
        }
    }

    /// What was found is a moment old, and pulls may be under way.
    pub(super) async fn answers_by_now(&self, id: &str) -> bool {
        match self.engine.inspect_container(id).await {
            Ok(container) => {
                let up = container.started_at.map(|started| Uptime::of(started, self.engine.now()));
                self.prober.answers_now(&container, up).await
            }
            Err(_) => false,
        }
    }

    /// Already so is success, after a look.
    async fn unless_so(
        &self,
        outcome: Result<(), EngineError>,
        id: &str,
        so: impl Fn(&Container) -> bool,
    ) -> Result<(), EngineError> {
        let Err(error) = outcome else { return Ok(()) };
        if error.is_unavailable() {
            return Err(error);
        }
        match self.engine.inspect_container(id).await {
            Ok(container) if so(&container) => Ok(()),
            _ => Err(error),
        }
    }

    async fn connect(&self, network: &NetworkRef, id: &str, aliases: &[String]) -> Result<(), EngineError> {
        let outcome = self.engine.connect_network(&network.id, id, aliases).await;
        self.unless_so(outcome, id, |container| network.endpoint_of(container).is_some()).await
    }

    /// Creates a container on volumes of its own. They are made (again) right before: where one has been removed
    /// since the plan was made, the engine would make one that says nothing of whose it is.
    pub(super) async fn create(&self, spec: &ContainerSpec) -> Result<String, Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot create container {}", spec.name), error };
        let of_volume = labels::of_volume(&spec.labels);
        for _ in 0..VOLUME_TRIES {
            let mut adopted = Vec::new();
            for (volume, _) in &spec.volumes {
                self.engine.create_volume(volume, &of_volume).await.map_err(refused)?;
                // The engine is content with one that is there, whoever has made it.
                let Some(volume) = found(self.engine.inspect_volume(volume).await).map_err(refused)? else { continue };
                if !self.is_for(&volume, spec).await.map_err(refused)? {
                    return Err(Failure::NameTaken { kind: "volume", name: volume.name });
                }
                if volume.labels.is_empty() {
                    adopted.push(volume.name);
                }
            }
            let id = self.create_on_volumes(spec).await?;
            match self.mounted_by(&id, spec, &adopted).await.map_err(refused)? {
                Mounted::Its => return Ok(id),
                // It was removed in that very moment. Nothing is in it yet.
                Mounted::MadeByTheEngine(volume) => {
                    self.remove(&id).await.map_err(refused)?;
                    if self.is_still_that_volume(&volume).await.map_err(refused)? {
                        self.remove_volume(&volume.name).await.map_err(refused)?;
                    }
                }
                Mounted::Anothers(name) => {
                    self.remove(&id).await.map_err(refused)?;
                    return Err(Failure::NameTaken { kind: "volume", name });
                }
            }
        }
        self.create_on_volumes(spec).await
    }

    /// Whether a volume is the mirror's, or nobody's: without labels, and nobody else's container is on it.
    async fn is_for(&self, volume: &Volume, spec: &ContainerSpec) -> Result<bool, EngineError> {
        if !volume.labels.is_empty() {
            return Ok(is_its(&volume.labels, spec));
        }
        let all = self.engine.list_containers(&[]).await?;
        let mut on_it = all.iter().filter(|container| container.volumes.contains(&volume.name));
        Ok(on_it.all(|container| is_its(&container.labels, spec)))
    }

    /// What a new container was made on; volumes that were `adopted` say nothing of whose they are.
    async fn mounted_by(&self, id: &str, spec: &ContainerSpec, adopted: &[String]) -> Result<Mounted, EngineError> {
        for (name, target) in &spec.volumes {
            let volume = self.engine.inspect_volume(name).await?;
            if !volume.labels.is_empty() && !is_its(&volume.labels, spec) {
                return Ok(Mounted::Anothers(volume.name));
            }
            let is_new = volume.labels.is_empty()
                && !adopted.contains(name)
                && is_not_older(&volume, &self.engine.inspect_container(id).await?);
            // The engine says times in whole seconds, and somebody may have been quick: what is not empty stays.
            if is_new && archive::is_empty_directory(&self.engine.get_archive(id, target).await?) {
                return Ok(Mounted::MadeByTheEngine(volume));
            }
        }
        Ok(Mounted::Its)
    }

    async fn create_on_volumes(&self, spec: &ContainerSpec) -> Result<String, Failure> {
        let error = match self.engine.create_container(spec).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        if !matches!(error, EngineError::Conflict { .. } | EngineError::Timeout { .. }) {
            return Err(Failure::Engine { what: format!("cannot create container {}", spec.name), error });
        }
        // Ours, when an earlier answer was lost.
        match self.engine.inspect_container(&spec.name).await {
            Ok(container) if self.is_made_of(&container, spec).await => Ok(container.id),
            Ok(_) => Err(Failure::NameTaken { kind: "container", name: spec.name.clone() }),
            Err(_) => Err(Failure::Engine { what: format!("cannot create container {}", spec.name), error }),
        }
    }

    /// Whether a container is ours, and what was to be created. One that inherited its labels from an image is not.
    async fn is_made_of(&self, container: &Container, spec: &ContainerSpec) -> bool {
        let is_inherited = match self.engine.inspect_image(&container.image_id).await {
            Ok(image) => is_its(&image.labels, spec),
            Err(_) => false,
        };
        let is_same_role = container.labels.get(ROLE) == spec.labels.get(ROLE);
        is_its(&container.labels, spec) && is_same_role && !is_inherited
    }

    /// Extracts the files and reads them back: the engine answers an archive it did not understand with success.
    pub(super) async fn put_files(&self, id: &str, archive: Vec<u8>, files: &SecretFiles) -> Result<(), EngineError> {
        self.engine.put_archive(id, "/", archive).await?;
        let mut found = BTreeMap::new();
        for place in files.places() {
            let back = self.engine.get_archive(id, &place).await?;
            found.extend(archive::files_in(&back).unwrap_or_default());
        }
        if SecretFiles::digest_of(&found) == files.digest() {
            return Ok(());
        }
        Err(EngineError::Refused { status: 0, message: "the files read back are not those put in".to_owned() })
    }

    /// Whether a volume is there. What it holds would be lost for good: whoever has made another one of its name
    /// meanwhile keeps it.
    pub(super) async fn is_still_that_volume(&self, observed: &Volume) -> Result<bool, EngineError> {
        match self.engine.inspect_volume(&observed.name).await {
            // No more than that: when a volume was made changes with what is in it (Docker 20.10).
            Ok(volume) if volume.labels == observed.labels => Ok(true),
            Ok(_) => Err(EngineError::Conflict { message: "somebody else has made it anew meanwhile".to_owned() }),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        unless_gone(self.engine.remove_volume(name).await)
    }

    /// Removes a container; one that is being removed already is waited for.
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let outcome = unless_gone(self.engine.remove_container(id).await);
        let Err(error @ EngineError::Conflict { .. }) = outcome else { return outcome };
        let gone = async {
            let (mut pause, longest) = LOOK_AGAIN;
            while !self.engine.inspect_container(id).await.is_err_and(|error| error.is_not_found()) {
                sleep(pause).await;
                pause = (pause * 3 / 2).min(longest);
            }
        };
        timeout(SERVE_WITHIN, gone).await.map_err(|_| error)
    }
}

/// What a container was made on.
enum Mounted {
    /// Its mirror's volume.
    Its,
    /// An empty one that the engine has made for it, because there was none.
    MadeByTheEngine(Volume),
    /// Somebody else's, by name.
    Anothers(String),
}

/// Whether labels say that an object belongs to the mirror that something is created for.
fn is_its(labels: &Labels, spec: &ContainerSpec) -> bool {
    [MANAGED_BY, CLUSTER, HOST]
        .iter()
        .all(|label| spec.labels.get(*label).is_some_and(|its| labels.get(*label) == Some(its)))
}

/// "No such object" is an answer.
fn found<T>(answer: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

/// What was to be removed and does not exist is removed.
fn unless_gone(outcome: Result<(), EngineError>) -> Result<(), EngineError> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}
