//! What is asked for: the newest manifest that loads, and since when.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::manifest_source::Contents;
use super::subject::Spec;
use super::timer::at;
use super::{Controller, Environment};
use crate::desired::{Desired, ResolveContext, resolve};
use crate::digest;
use crate::engine::Engine;
use crate::event::{Event, Reporter};
use crate::manifest::{self, ClusterName, Manifest};
use crate::plan::Subject;
use crate::probe::Probe;

/// A file that does not load is probably still being written; it is reported when it stays like that.
const HALF_WRITTEN: Duration = Duration::from_millis(300);

/// What is asked for. Whoever reconciles takes the newest.
#[derive(Debug, Clone)]
pub struct Intent {
    /// What should be, under the names that are given to what is new.
    pub desired: Arc<Desired>,
    /// How hastily what is not asked for any more is removed.
    pub removals: Removals,
}

/// When what is not asked for any more may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removals {
    /// At once: somebody has just said so.
    AtOnce,
    /// When the file has been like this for a while: since then it is.
    Careful {
        /// When it last changed.
        since: Instant,
    },
    /// Not now: the file does not load, and may say anything when it does.
    Never,
}

impl Intent {
    /// What a command was told to make true.
    pub fn at_once(desired: Desired) -> Self {
        Self { desired: Arc::new(desired), removals: Removals::AtOnce }
    }

    /// What a file says that may be changed again in a moment.
    pub fn careful(desired: Desired) -> Self {
        Self { desired: Arc::new(desired), removals: Removals::Careful { since: Instant::now() } }
    }
}

/// Whether two manifests ask for the same, so that a save changed nothing that matters here.
fn is_same(one: &Desired, other: &Desired) -> bool {
    let cluster = Subject::Cluster(one.cluster.to_string());
    let mirrors = |desired: &Desired| {
        let mirrors = desired.mirrors.keys().map(|host| Spec::of(&Subject::mirror(host), desired));
        mirrors.collect::<Vec<_>>()
    };
    let files = |desired: &Desired| Spec::of(&Subject::Node(String::new()), desired);
    let upstreams = |desired: &Desired| {
        let mirrors = desired.mirrors.values();
        mirrors.map(|mirror| (mirror.upstream.clone(), mirror.credentials.is_some())).collect::<Vec<_>>()
    };
    one.state == other.state
        && one.volume_policy == other.volume_policy
        && one.network == other.network
        && one.image == other.image
        && Spec::of(&cluster, one) == Spec::of(&cluster, other)
        && mirrors(one) == mirrors(other)
        && files(one) == files(other)
        && upstreams(one) == upstreams(other)
}

/// That the file does not load.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Its digest.
    bytes: Option<String>,
    why: String,
}

/// Turns what the file holds into what is asked for.
pub(super) struct Reader {
    path: std::path::PathBuf,
    context: ResolveContext,
    env: Environment,
    reporter: Arc<dyn Reporter>,
    out: watch::Sender<Intent>,
    /// Whether what was read last could not be used.
    refused: watch::Sender<bool>,
}

impl Reader {
    /// `first` is the manifest as it was loaded to begin with.
    pub(super) fn new<E: Engine, P: Probe>(
        controller: &Controller<E, P>,
        path: std::path::PathBuf,
        first: &Manifest,
    ) -> (Self, watch::Receiver<Intent>) {
        let Controller { context, env, reporter, .. } = controller;
        reporter.report(&Event::ManifestLoaded { mirrors: first.registries.mirrors.len() });
        let (out, intents) = watch::channel(Intent::careful(resolve(first, context)));
        let (context, env, reporter) = (context.clone(), Arc::clone(env), Arc::clone(reporter));
        (Self { path, context, env, reporter, out, refused: watch::Sender::default() }, intents)
    }

    /// Tells of every reading whether it could not be used.
    pub(super) fn refusals(&self) -> watch::Receiver<bool> {
        self.refused.subscribe()
    }

    /// Reads for ever. Ends when the file is not followed any more.
    pub(super) async fn run(self, mut file: mpsc::UnboundedReceiver<Contents>) {
        let mut rejected: Option<(Instant, Told)> = None;
        // The last that was told of the file is that it does not load, and why.
        let mut told_bad: Option<Told> = None;
        loop {
            tokio::select! {
                contents = file.recv() => {
                    let Some(contents) = contents else { return };
                    let bytes = contents.as_ref().ok().map(|bytes| digest::sha256(bytes));
                    let loaded = self.load(contents).await;
                    let read = self.take(loaded, told_bad.is_some());
                    self.refused.send_replace(read.is_err());
                    if read.is_ok() {
                        told_bad = None;
                    }
                    let told = read.err().map(|why| Told { bytes, why });
                    // What a helper of `docker login` does not give time and again is told once.
                    let news = told.filter(|told| told_bad.as_ref() != Some(told));
                    rejected = news.map(|told| (Instant::now() + HALF_WRITTEN, told));
                }
                Some(()) = at(rejected.as_ref().map(|(due, _)| *due)) => {
                    if let Some((_, told)) = rejected.take() {
                        self.reporter.report(&Event::ManifestRejected { message: told.why.clone() });
                        told_bad = Some(told);
                    }
                }
            }
        }
    }

    /// Reads what the file says. What it names is read with it, and a helper of `docker login` may take its time.
    async fn load(&self, contents: Contents) -> Result<Manifest, String> {
        let (path, env) = (self.path.clone(), Arc::clone(&self.env));
        let load = move || manifest::load_contents(&path, contents, &*env).map_err(|problems| problems.render(false));
        spawn_blocking(load).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The file was saved. One that does not load changes nothing, and nothing is removed until it does. That it loads is
    /// told when it says something else, and when somebody `waits_to_hear` it.
    fn take(&self, read: Result<Manifest, String>, waits_to_hear: bool) -> Result<(), String> {
        let before = Arc::clone(&self.out.borrow().desired);
        let read = read.and_then(|manifest| match &before.cluster {
            cluster if *cluster == manifest.name => Ok(manifest),
            cluster => Err(other_cluster(cluster, &manifest)),
        });
        let manifest = read.inspect_err(|_| {
            self.out
                .send_if_modified(|intent| std::mem::replace(&mut intent.removals, Removals::Never) != Removals::Never);
        })?;
        let intent = Intent::careful(resolve(&manifest, &self.context));
        let is_same = is_same(&intent.desired, &before);
        if waits_to_hear || !is_same {
            self.reporter.report(&Event::ManifestLoaded { mirrors: manifest.registries.mirrors.len() });
        }
        if !is_same {
            self.out.send_replace(intent);
        } else if self.out.borrow().removals == Removals::Never {
            self.out.send_modify(|before| before.removals = intent.removals);
        }
        Ok(())
    }
}

/// The lock and everything under way belong to the cluster the watch began with.
fn other_cluster(now: &ClusterName, manifest: &Manifest) -> String {
    format!(
        "{}: metadata.name changed {now} -> {}: stop this watch and start it anew to serve {}; the registries of {now} stay until a file with that name says `state: Absent`",
        manifest::shown(&manifest.path),
        manifest.name,
        manifest.name,
    )
}
