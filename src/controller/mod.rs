//! The loop: triggers come in, passes go out.
//!
//! A pass observes, plans and starts the sequence of every mirror, node or cluster that needs one. Sequences run beside
//! each other and beside further passes, one at a time per subject, so that one that takes minutes delays no other.
//! [`Controller::watch`] does this until it is told to stop, [`Controller::apply`] until everything is as desired.

mod backoff;
mod engine_source;
mod in_force;
mod lock;
mod manifest_source;
mod patrol;
mod private;
mod queue;
mod reconcile;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join_all};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use engine_source::FromEngine;
pub use in_force::{InForce, NotInForce};
pub use lock::ClusterLock;
use manifest_source::Contents;
pub use private::directory as private_directory;
use reconcile::{PassError, Reconciler};
pub use survey::{Survey, survey};

use crate::desired::{Desired, Surroundings, resolve};
use crate::distribution::is_of_cluster;
use crate::engine::{Engine, EngineError, Event as EngineEvent, EventKind};
use crate::event::{Event, Reporter};
use crate::labels::is_ours;
use crate::manifest::{self, Lifecycle, Manifest};
use crate::observed::is_node;
use crate::outcome::Failure;
use crate::plan::Subject;
use crate::probe::{Probe, Prober};
use crate::provisioner::Provisioner;
use crate::status::Status;

/// Everything is looked at this often even when nothing seems to happen, give or take [`RESYNC_JITTER`].
const RESYNC: Duration = Duration::from_secs(30);
/// What only a program in a node can tell is asked again with every so many of them: that takes a tenth of a second
/// of a processor, and changes almost never.
const RESYNCS_TO_ASK_NODES: u32 = 10;
/// So that several ksails on one engine do not fall into step.
const RESYNC_JITTER: Duration = Duration::from_secs(3);
/// A mirror that somebody else blocks is looked at this often: a freed port raises no event unless a container held it.
const BLOCKED: Duration = Duration::from_millis(1500);
/// After a refusal the engine has this long: what it could not say may be of a container that is just being removed.
const REFUSED: Duration = Duration::from_secs(1);
/// A file that does not load is probably still being written; it is reported when it stays like that.
const HALF_WRITTEN: Duration = Duration::from_millis(300);
/// Docker's word for an archive that was extracted into a container.
const PUT_INTO: &str = "extract-to-dir";
/// `apply` gives a mirror this many tries, and as many to an engine that answers and refuses.
const TRIES: u32 = 3;

/// Everything a controller needs from outside.
pub struct Controller<E, P> {
    /// The engine.
    pub engine: E,
    /// How registries, ports and upstreams are asked.
    pub probe: P,
    /// What creates and deletes clusters.
    pub provisioner: Provisioner,
    /// Told of everything that happens.
    pub reporter: Arc<dyn Reporter>,
    /// Changing engine calls at once.
    pub concurrency: usize,
    /// Held during passes.
    pub lock: ClusterLock,
    /// What besides the manifest decides names.
    pub around: Surroundings,
    /// Environment variables, for `${VAR}` in the manifest.
    pub env: Environment,
}

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How `apply` ended.
#[derive(Debug)]
pub enum Applied {
    /// Everything is as the manifest says.
    Converged(Status),
    /// Some mirrors are not, and trying on does not help or has not helped.
    Failed(Status),
    /// The engine is away.
    EngineAway(EngineError),
    /// Time is up.
    TimedOut(Option<Status>),
    /// Told to stop.
    Stopped,
    /// The lock cannot be had at all.
    NoLock(std::io::Error),
}

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Reconciles once, until everything is as desired, or cannot be.
    pub async fn apply(&self, desired: Desired, timeout: Duration, stop: &CancellationToken) -> Applied {
        let mut reconciler = Reconciler::new(self, Prober::new(self.probe.clone()), stop.clone());
        reconciler.gives_up = true;
        let is_managed = desired.lifecycle == Lifecycle::Managed;
        reconciler.set_desired(desired);
        reconciler.queue.push_now("apply");
        let deadline = Instant::now() + timeout;
        // While a cluster is being created its network and its nodes appear, and are not to wait until it is done.
        let (engine_out, mut engine) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        let mut refusals = 0;
        if is_managed {
            tasks.spawn(engine_source::run(self.engine.clone(), engine_out));
        }
        let ended = loop {
            let retry = reconciler.next_retry();
            tokio::select! {
                biased;
                () = stop.cancelled() => break Applied::Stopped,
                () = sleep_until(deadline) => break Applied::TimedOut(reconciler.status.clone()),
                Some(ended) = reconciler.running.join_next() => reconciler.ended(ended),
                Some(message) = engine.recv() => {
                    if let (FromEngine::Happened(_), true) = (&message, reconciler.is_cluster_under_way()) {
                        hear(&mut reconciler, message);
                    }
                }
                Some(()) = at(reconciler.queue.due()) => match timeout_at(deadline, reconciler.pass()).await {
                    Ok(Ok(())) => refusals = 0,
                    // It is there, and what it could not say of one object it can in a moment.
                    Ok(Err(PassError::Engine(error))) if !error.is_unavailable() && refusals + 1 < TRIES => {
                        refusals += 1;
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = sleep_until(deadline.min(Instant::now() + REFUSED)) => {}
                        }
                        reconciler.queue.push("another look");
                    }
                    Ok(Err(PassError::Engine(error))) => break Applied::EngineAway(error),
                    Ok(Err(PassError::Lock(error))) => break Applied::NoLock(error),
                    Ok(Err(PassError::Stopped)) => break Applied::Stopped,
                    Err(_) => break Applied::TimedOut(reconciler.status.clone()),
                },
                Some(()) = at(retry) => reconciler.queue.push("another try"),
            }
            if let Some(verdict) = verdict(&reconciler) {
                break verdict;
            }
        };
        reconciler.wind_up().await;
        ended
    }

    /// Reconciles until told to stop; registries are left running. `first` is the manifest as it was loaded to begin with.
    pub async fn watch(&self, path: PathBuf, first: Manifest, stop: &CancellationToken) -> std::io::Result<()> {
        let prober = Prober::new(self.probe.clone()).that_is_run();
        let mut reconciler = Reconciler::new(self, prober.clone(), stop.clone());
        reconciler.observer = reconciler.observer.that_remembers();
        self.reporter.report(&Event::Watching { file: path.clone(), cluster: first.name.to_string() });
        self.take(&mut reconciler, &first);

        let (file_out, mut file) = mpsc::unbounded_channel();
        let (engine_out, mut engine) = mpsc::unbounded_channel();
        let (odd_out, mut odd) = mpsc::unbounded_channel();
        let (upstream_out, mut upstreams) = mpsc::unbounded_channel();
        let (node_out, mut nodes) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(manifest_source::run(path.clone(), Arc::clone(&self.reporter), file_out));
        tasks.spawn(engine_source::run(self.engine.clone(), engine_out));
        tasks.spawn(prober.run(odd_out));
        tasks.spawn(patrol::run(reconciler.observer.clone(), node_out));

        let mut rejected: Option<(Instant, String)> = None;
        let mut resync = Instant::now() + RESYNC;
        let mut resyncs = 0;
        let mut probe_upstreams = Some(Instant::now());
        loop {
            let retry = reconciler.next_retry();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(contents) = file.recv() => {
                    rejected = self.read(&mut reconciler, &path, contents);
                    probe_upstreams = Some(Instant::now());
                }
                Some(message) = engine.recv() => hear(&mut reconciler, message),
                Some(container) = odd.recv() => reconciler.queue.push(format!("{container} answers differently")),
                Some(node) = nodes.recv() => reconciler.queue.push(format!("files changed on {node}")),
                Some((host, answer)) = upstreams.recv() => reconciler.upstream_answered(host, answer),
                Some(ended) = reconciler.running.join_next() => reconciler.ended(ended),
                Some(()) = at(reconciler.queue.due()) => {
                    match reconciler.pass().await {
                        Ok(()) => {}
                        Err(PassError::Lock(error)) => reconciler.lock_failed(&error),
                        // Its source tells when it is back.
                        Err(PassError::Engine(error)) => reconciler.engine_failed(&error),
                        Err(PassError::Stopped) => break,
                    }
                }
                Some(()) = at(retry) => reconciler.queue.push("another try"),
                Some(()) = at(rejected.as_ref().map(|(at, _)| *at)) => {
                    if let Some((_, message)) = rejected.take() {
                        self.reporter.report(&Event::ManifestRejected { message });
                    }
                }
                Some(()) = at(probe_upstreams) => {
                    probe_upstreams = None;
                    tasks.spawn(ask_upstreams(self.probe.clone(), reconciler.upstreams_to_ask(), upstream_out.clone()));
                }
                () = sleep_until(resync) => {
                    resync = Instant::now() + RESYNC + jitter();
                    probe_upstreams = Some(Instant::now());
                    resyncs += 1;
                    match resyncs % RESYNCS_TO_ASK_NODES {
                        0 => reconciler.observer.forget_nodes(),
                        _ => reconciler.observer.forget_files(),
                    }
                    reconciler.queue.push("resync");
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        reconciler.wind_up().await;
        Ok(())
    }

    /// Puts a manifest in force.
    fn take(&self, reconciler: &mut Reconciler<E, P>, manifest: &Manifest) {
        self.reporter.report(&Event::ManifestLoaded { mirrors: manifest.registries.mirrors.len() });
        reconciler.set_desired(resolve(manifest, &self.around));
        reconciler.queue.push("ksail.yaml changed");
    }

    /// The file was saved. One that does not load changes nothing; what is wrong with it is to be reported at the time given.
    fn read(
        &self,
        reconciler: &mut Reconciler<E, P>,
        path: &std::path::Path,
        contents: Contents,
    ) -> Option<(Instant, String)> {
        let report_at = Instant::now() + HALF_WRITTEN;
        match manifest::load_contents(path, contents, &*self.env) {
            Ok(manifest) => {
                let desired = resolve(&manifest, &self.around);
                let other = reconciler.desired().map(|now| &now.cluster).filter(|now| **now != desired.cluster);
                if let Some(now) = other {
                    return Some((report_at, other_cluster(now, &manifest)));
                }
                if !reconciler.is_in_force(&desired) {
                    self.take(reconciler, &manifest);
                }
                None
            }
            Err(problems) => Some((report_at, problems.render(false))),
        }
    }
}

/// Takes in what the engine says.
fn hear<E: Engine, P: Probe>(reconciler: &mut Reconciler<E, P>, message: FromEngine) {
    match message {
        FromEngine::Found(info) => {
            reconciler.engine_found(info);
            reconciler.queue.push("the engine answers");
        }
        FromEngine::Lost(error) => reconciler.engine_failed(&error),
        FromEngine::Happened(event) if concerns(&event, reconciler) => {
            let is_node = reconciler.desired().is_some_and(|desired| is_node(&event.attributes, desired));
            match event.action.as_str() {
                "kill" if is_node && ends(&event) => reconciler.observer.access().leave_alone(&event.id),
                "start" if is_node => reconciler.observer.access().welcome(),
                _ => {}
            }
            let name = event.attributes.get("name").unwrap_or(&event.id);
            reconciler.queue.push(format!("{name}: {}", event.action));
        }
        FromEngine::Happened(_) => {}
    }
}

/// Whether a signal is one that containers are stopped with: `SIGTERM`, `SIGKILL` and what systemd takes, which
/// kind's nodes ask for (`SIGRTMIN+3`). Podman does not say which it was.
fn ends(kill: &EngineEvent) -> bool {
    matches!(kill.attributes.get("signal").map(String::as_str), None | Some("9" | "15" | "37"))
}

/// The lock and everything under way belong to the cluster the watch began with.
fn other_cluster(now: &crate::manifest::ClusterName, manifest: &Manifest) -> String {
    format!(
        "{}: metadata.name changed {now} -> {}: stop this watch and start it anew to serve {}; the registries of {now} stay until a file with that name says `state: Absent`",
        manifest::shown(&manifest.path),
        manifest.name,
        manifest.name,
    )
}

/// Completes at `time`, with nothing if there is none (a `select!` arm then waits for ever).
async fn at(time: Option<Instant>) -> Option<()> {
    OptionFuture::from(time.map(sleep_until)).await
}

/// Whether `apply` is done, one way or the other.
fn verdict<E: Engine, P: Probe>(reconciler: &Reconciler<E, P>) -> Option<Applied> {
    if !reconciler.running.is_empty() || reconciler.queue.due().is_some() {
        return None;
    }
    let status = reconciler.status.clone()?;
    if status.is_ready() {
        return (!reconciler.has_more_to_try()).then_some(Applied::Converged(status));
    }
    let hopeless = reconciler.failures.values().any(Failed::is_hopeless);
    let waits = reconciler.next_retry().is_some() && !hopeless;
    (hopeless || !waits || reconciler.only_blocked()).then_some(Applied::Failed(status))
}

/// Whether something that happened in the engine can make a difference to this cluster's mirrors.
fn concerns<E: Engine, P: Probe>(event: &EngineEvent, reconciler: &Reconciler<E, P>) -> bool {
    let Some(desired) = reconciler.desired() else { return false };
    match event.kind {
        EventKind::Container if is_ours(&event.attributes, desired.cluster.as_str()) => {
            // What an action of ours causes is looked at when its sequence ends.
            let host = event.attributes.get(crate::labels::HOST);
            host.is_none_or(|host| !reconciler.is_running(&Subject::mirror(host)))
        }
        EventKind::Container if is_node(&event.attributes, desired) => {
            // The files that ksail itself puts into a node are told of as well.
            let name = event.attributes.get("name").cloned().unwrap_or_default();
            event.action != PUT_INTO || !reconciler.is_running(&Subject::Node(name))
        }
        EventKind::Container if is_of_cluster(&event.attributes, desired.distribution, &desired.cluster) => true,
        // A stranger may have taken a name or given up a port.
        EventKind::Container => {
            let names_one = event
                .attributes
                .get("name")
                .is_some_and(|name| desired.mirrors.values().any(|mirror| mirror.name == *name));
            names_one || (reconciler.is_blocked() && matches!(event.action.as_str(), "die" | "destroy" | "rename"))
        }
        EventKind::Network => match event.action.as_str() {
            "create" | "destroy" | "remove" => true,
            _ => event.attributes.get("container").is_some_and(|id| reconciler.owns_idle(id)),
        },
        EventKind::Volume => {
            matches!(event.action.as_str(), "destroy") && desired.mirrors.values().any(|mirror| mirror.name == event.id)
        }
    }
}

async fn ask_upstreams<P: Probe>(
    probe: P,
    upstreams: BTreeMap<String, crate::manifest::Upstream>,
    out: mpsc::UnboundedSender<(String, Result<(), String>)>,
) {
    let ask = |(host, upstream)| {
        let (probe, out) = (probe.clone(), out.clone());
        async move {
            let answer = probe.upstream(&upstream).await;
            // Nobody listens once the watch has ended.
            let _ = out.send((host, answer));
        }
    };
    join_all(upstreams.into_iter().map(ask)).await;
}

/// Some part of [`RESYNC_JITTER`], from the clock: nothing here needs to be unpredictable.
fn jitter() -> Duration {
    RESYNC_JITTER.mul_f64(f64::from(Timestamp::now().subsec_nanosecond().unsigned_abs()) / 1e9)
}

/// A mirror's last failure.
#[derive(Debug)]
struct Failed {
    failure: Failure,
    tries: u32,
    until: Instant,
    delays: backoff::Delays,
}

impl Failed {
    /// Whether `apply` tries it no more. A program that ran for minutes has said what is wrong; whoever wants it tried
    /// again says so.
    fn is_hopeless(&self) -> bool {
        self.tries >= TRIES || matches!(self.failure, Failure::Provisioner(_) | Failure::Remains { .. })
    }
}
