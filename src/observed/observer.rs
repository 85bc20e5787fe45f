//! Reads what the store has marked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, OptionFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::contents::{Answer, Inspected, Run};
use super::object::Object;
use super::store::{Link, Store};
use super::{Hosting, Observed, StartsAgain, control_plane, found, nodes, programs};
use crate::archive::files_in;
use crate::desired::{Desired, Route};
use crate::engine::{Container, ContainerState, Engine, EngineError, LogPart};
use crate::labels::{CLUSTER, HOST, KSAIL, MANAGED_BY};
use crate::manifest::Lifecycle;
use crate::probe::{Probe, Prober};
use crate::provisioner::Provisioner;
use crate::registry::{self, FilesDigest, LIFETIME, SecretFiles, is_served_from_cache};

/// Objects that are read at once. Each takes about half a millisecond, so a handful hides the round trips.
const READS_AT_ONCE: usize = 8;
/// Whoever finds the engine away may be the first to know: until everybody does, it is not asked without a pause.
const AWAY: Duration = Duration::from_millis(500);
/// A registry that has started has said by then which version it is.
const SAYS_ITS_VERSION_WITHIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Reads what its store has marked. Changes nothing in the engine.
#[derive(Debug, Clone)]
pub struct Observer<E, P> {
    engine: E,
    prober: Prober<P>,
    provisioner: Provisioner,
    store: Store,
}

/// One object being read; an error when the engine is away.
type Read<'a> = BoxFuture<'a, Result<(), EngineError>>;

impl<E: Engine, P: Probe> Observer<E, P> {
    /// One with an empty store.
    pub fn new(engine: E, prober: Prober<P>, provisioner: Provisioner) -> Self {
        Self { engine, prober, provisioner, store: Store::default() }
    }

    /// One that looks at nodes' files once a second: what changes in a node raises no event.
    #[must_use]
    pub fn that_patrols(self) -> Self {
        self.store.contents().patrols = true;
        self
    }

    /// What it fills.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What asks registries.
    pub fn prober(&self) -> &Prober<P> {
        &self.prober
    }

    /// Reads for ever: each object by itself, so that one that is slow keeps no other back. The engine is not asked while
    /// it is known to be away.
    pub async fn run(self) {
        let mut reads = FuturesUnordered::new();
        loop {
            let next = self.begin(&mut reads);
            tokio::select! {
                biased;
                Some(read) = reads.next(), if !reads.is_empty() => {
                    if read.is_err() {
                        self.store.suspect();
                    }
                }
                () = self.store.marked() => {}
                Some(()) = OptionFuture::from(next.map(sleep_until)) => {}
            }
        }
    }

    /// Reads until nothing is marked any more that is due.
    ///
    /// # Errors
    ///
    /// When the engine is away.
    pub async fn settle(&self) -> Result<(), EngineError> {
        let mut reads = FuturesUnordered::new();
        loop {
            self.begin(&mut reads);
            match reads.next().await {
                Some(read) => read?,
                None => return Ok(()),
            }
        }
    }

    /// One look at everything that a plan for one cluster needs.
    ///
    /// # Errors
    ///
    /// When the engine is away, or cannot list what there is.
    pub async fn observe(&self, desired: &Desired) -> Result<Observed, EngineError> {
        self.store.set_desired(desired);
        self.store.list_anew();
        self.settle().await?;
        if let Some((error, _)) = self.store.unlisted() {
            return Err(error);
        }
        let asked = self.store.running();
        join_all(asked.iter().map(|(container, up)| self.prober.serving(container, *up))).await;
        self.seen()
    }

    /// What is known by now.
    ///
    /// # Errors
    ///
    /// When the engine has not listed what there is.
    pub fn seen(&self) -> Result<Observed, EngineError> {
        let seen = self.store.snapshot(&self.prober).map(|seen| seen.observed);
        seen.ok_or_else(|| EngineError::Refused {
            status: 0,
            message: "the engine did not list what there is".to_owned(),
        })
    }

    /// Finds out whether the caches of these hosts would start again if they were stopped.
    ///
    /// # Errors
    ///
    /// When the engine is away.
    pub async fn ask_whether_they_start_again(&self, hosts: &BTreeSet<String>) -> Result<(), EngineError> {
        self.store.ask_whether_they_start_again(hosts);
        self.settle().await
    }

    /// Starts reads as long as there is something to read; otherwise says when there will be.
    fn begin<'a>(&'a self, reads: &mut FuturesUnordered<Read<'a>>) -> Option<Instant> {
        while reads.len() < READS_AT_ONCE {
            match self.store.next() {
                Ok(object) => reads.push(self.read(object).boxed()),
                Err(next) => return next,
            }
        }
        None
    }

    async fn read(&self, object: Object) -> Result<(), EngineError> {
        match self.ask(&object).await {
            // One call may be cut off while others work.
            Err(error) if error.is_unavailable() && self.engine.info().await.is_err() => {
                self.store.put_back(&object, Instant::now() + AWAY);
                Err(error)
            }
            answer => {
                self.store.learn(&object, answer);
                Ok(())
            }
        }
    }

    async fn ask(&self, object: &Object) -> Result<Answer, EngineError> {
        let engine = &self.engine;
        let Some(desired) = self.store.desired() else { return Ok(Answer::Gone) };
        Ok(match object {
            Object::Containers => Answer::Containers(engine.list_containers(&[]).await?),
            Object::Networks => Answer::Networks(engine.list_networks().await?, engine.now()),
            Object::Volumes => Answer::Volumes(engine.list_volumes(&[]).await?),
            Object::Image => {
                let provisioner = match desired.lifecycle {
                    Lifecycle::Managed => self.provisioner.find(desired.distribution),
                    Lifecycle::External => None,
                };
                Answer::Image(found(engine.inspect_image(&desired.image).await)?, provisioner)
            }
            Object::Mirror(host) => {
                let of_mirror =
                    [(MANAGED_BY, Some(KSAIL)), (CLUSTER, Some(desired.cluster.as_str())), (HOST, Some(host.as_str()))];
                Answer::Containers(engine.list_containers(&of_mirror).await?)
            }
            Object::Container(id) => Answer::Container(self.container(id).await?.map(Box::new)),
            Object::Volume(name) => Answer::Volume(found(engine.inspect_volume(name).await)?),
            Object::Labels(image) => Answer::Labels(found(engine.inspect_image(image).await)?),
            Object::Port(address, port) => Answer::Port(self.prober.probe().port_is_taken(*address, *port).await),
            Object::StartsAgain(id) => match self.store.cache(id) {
                Some((container, route)) => Answer::StartsAgain(self.starts_again(&container, &route).await),
                None => Answer::Gone,
            },
            Object::Node(id) => match self.store.node(id) {
                Some((container, before, keeps_marks)) => {
                    let reading = nodes::read(engine, &desired, &container, before.as_ref(), keeps_marks).await?;
                    Answer::Node(Box::new(reading))
                }
                None => Answer::Gone,
            },
            Object::ControlPlane => {
                let (runs, nodes) = self.store.api_nodes();
                Answer::ControlPlane(runs, control_plane::read(engine, desired.distribution, &nodes).await?)
            }
            Object::Hosting => match self.store.api_node() {
                Some((run, node)) => {
                    let advertised = programs::advertised(engine, desired.distribution, &run.0).await?;
                    Answer::Hosting(run.clone(), Hosting { node_id: run.0, node, advertised })
                }
                None => Answer::Gone,
            },
            Object::Glance(id) => match self.store.node(id) {
                Some((_, Some(before), _)) => {
                    Answer::Glance { is_changed: before.is_changed(engine).await?, looked_at: before.looked_at() }
                }
                _ => Answer::Gone,
            },
        })
    }

    async fn container(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let Some(container) = found(self.engine.inspect_container(id).await)? else { return Ok(None) };
        let secrets = self.secrets_in(&container).await?;
        let major_version = self.version_of(&container).await;
        let lacks_shell = self.lacks_shell(&container, major_version).await;
        Ok(Some(Inspected { major_version, lacks_shell, ..Inspected::new(container, secrets, self.engine.now()) }))
    }

    async fn secrets_in(&self, container: &Container) -> Result<Option<FilesDigest>, EngineError> {
        let mut files = BTreeMap::new();
        for place in SecretFiles::places_in(&container.command, &container.labels) {
            let archive = found(self.engine.get_archive(&container.id, &place).await)?;
            // What cannot be read is nothing of ours: it is put in again.
            files.extend(archive.and_then(|archive| files_in(&archive).ok()).unwrap_or_default());
        }
        Ok((!files.is_empty()).then(|| SecretFiles::digest_of(&files)))
    }

    /// The version of a registry, once for each of its runs, where something hangs on it: whether new credentials need
    /// another run, and whether one that is served from its cache would start without its upstream.
    async fn version_of(&self, container: &Container) -> Option<u32> {
        let is_wanted = container.env.contains_key(LIFETIME.0) || is_served_from_cache(&container.env);
        let is_ours = container.labels.contains_key(HOST);
        if !(is_wanted && is_ours) || container.state != ContainerState::Running {
            return None;
        }
        match self.store.in_this_run(container, |before| before.major_version) {
            Some(known) => Some(known),
            None => self.major_version(container).await,
        }
    }

    /// Whether a registry asks a helper for its credentials that its image cannot run: it would do without them, and say
    /// nothing. Known for each of its runs.
    async fn lacks_shell(&self, container: &Container, major_version: Option<u32>) -> Option<bool> {
        let asks = major_version.is_some_and(registry::asks_for_credentials_again);
        if !(asks && container.env.contains_key(LIFETIME.0)) {
            return None;
        }
        if let Some(known) = self.store.in_this_run(container, |before| before.lacks_shell) {
            return Some(known);
        }
        match self.engine.stat_path(&container.id, SecretFiles::SHELL).await {
            Err(error) if error.is_not_found() => Some(true),
            Err(_) => None,
            Ok(_) => Some(false),
        }
    }

    async fn starts_again(&self, container: &Container, route: &Route) -> StartsAgain {
        let upstream = &route.upstream;
        // A name without a dot may be another one's on the cluster's network.
        let is_known_here = upstream.host().contains(['.', ':']) || upstream.host() == "localhost";
        let Err(why) = self.prober.probe().upstream_answers(route).await else { return StartsAgain::Yes };
        if !is_known_here || self.major_version(container).await.is_some_and(registry::starts_without_upstream) {
            return StartsAgain::Yes;
        }
        StartsAgain::No(format!("{upstream}: {why}"))
    }

    /// What the registry says of itself when it starts; nothing where the engine does not keep its log.
    async fn major_version(&self, container: &Container) -> Option<u32> {
        let started = container.started_at?;
        let until = started.checked_add(SAYS_ITS_VERSION_WITHIN).ok()?;
        let log = self.engine.logs(&container.id, LogPart::Between(started, until)).await.ok()?;
        registry::major_version(&log)
    }
}

impl Store {
    /// One look at what is known: nothing before the lists are there.
    pub fn look<P: Probe>(&self, prober: &Prober<P>) -> Option<super::Seen> {
        if matches!(self.link(), Link::Down(_)) { None } else { self.snapshot(prober) }
    }

    /// Containers of the cluster's registries that run.
    fn running(&self) -> Vec<(Arc<Container>, Option<crate::probe::Uptime>)> {
        let contents = self.contents();
        let ours = contents.containers.values().filter(|record| contents.is_ours(record));
        let running = ours.filter_map(|record| record.inspected.as_ref());
        let running = running.filter(|found| found.container.state == ContainerState::Running);
        running.map(|found| (Arc::clone(&found.container), found.up)).collect()
    }

    fn desired(&self) -> Option<Arc<Desired>> {
        self.contents().desired.clone()
    }

    /// A cache by its container's id, and the way to its upstream.
    fn cache(&self, id: &str) -> Option<(Arc<Container>, Route)> {
        let contents = self.contents();
        let container = contents.containers.get(id)?.inspected.as_ref()?.container.clone();
        let host = container.labels.get(HOST)?;
        let desired = contents.desired.as_ref()?;
        let mirror = desired.mirrors.values().find(|mirror| mirror.host.as_str() == host)?;
        Some((container, mirror.route.clone()?))
    }

    /// What was found out of this run of a container before.
    fn in_this_run<T>(&self, container: &Container, known: impl FnOnce(&Inspected) -> Option<T>) -> Option<T> {
        let contents = self.contents();
        let before = contents.containers.get(&container.id)?.inspected.as_ref()?;
        if before.container.started_at == container.started_at { known(before) } else { None }
    }

    /// A running node by its container's id, and what was read in it.
    fn node(&self, id: &str) -> Option<(Arc<Container>, Option<nodes::NodeReading>, bool)> {
        let contents = self.contents();
        let record = contents.containers.get(id)?;
        let container = &record.inspected.as_ref()?.container;
        let runs = container.state == ContainerState::Running;
        runs.then(|| (Arc::clone(container), record.node.clone(), contents.patrols))
    }

    /// The nodes that may have a control plane: their runs, and their ids and names.
    fn api_nodes(&self) -> (Vec<Run>, Vec<(String, String)>) {
        let contents = self.contents();
        let names = contents.api_nodes().into_iter().map(|node| (node.id.clone(), node.name.clone())).collect();
        (contents.api_runs(), names)
    }

    /// The node whose `kubectl` is asked: its run and its name.
    fn api_node(&self) -> Option<(Run, String)> {
        let contents = self.contents();
        let (id, started_at) = contents.api_node()?;
        let name = contents.containers.get(id)?.summary.name.clone();
        Some(((id.to_owned(), started_at), name))
    }
}
