//! Reconciles until told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine_events::hear;
use super::manifest_source::{self, Contents};
use super::reconcile::{PassError, Reconciler};
use super::timer::at;
use super::{Controller, engine_source, patrol};
use crate::desired::resolve;
use crate::engine::Engine;
use crate::event::Event;
use crate::manifest::{self, ClusterName, Manifest};
use crate::probe::{Probe, Prober};

/// Everything is looked at this often even when nothing seems to happen, give or take [`RESYNC_JITTER`].
const RESYNC: Duration = Duration::from_secs(30);
/// What only a program in a node can tell is asked again with every so many of them: that takes a tenth of a second
/// of a processor, and changes almost never.
const RESYNCS_TO_ASK_NODES: u32 = 10;
/// So that several ksails on one engine do not fall into step.
const RESYNC_JITTER: Duration = Duration::from_secs(3);
/// A file that does not load is probably still being written; it is reported when it stays like that.
const HALF_WRITTEN: Duration = Duration::from_millis(300);

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Reconciles until told to stop; registries are left running. `first` is the manifest as it was loaded to begin with.
    pub async fn watch(&self, path: PathBuf, first: Manifest, stop: &CancellationToken) {
        let prober = Prober::new(self.probe.clone()).that_is_run();
        let mut reconciler = Reconciler::new(self, prober.clone(), stop.clone());
        reconciler.observer = reconciler.observer.that_remembers();
        reconciler.claim.clone_from(&self.claim);
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
                        Err(PassError::NotInForce(other)) => reconciler.not_in_force(&other),
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
            while let Some(ended) = tasks.try_join_next() {
                // A panic is a defect of ksail's own, and without that task the loop would wait for ever.
                if let Err(error) = ended
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
        reconciler.wind_up().await;
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

/// The lock and everything under way belong to the cluster the watch began with.
fn other_cluster(now: &ClusterName, manifest: &Manifest) -> String {
    format!(
        "{}: metadata.name changed {now} -> {}: stop this watch and start it anew to serve {}; the registries of {now} stay until a file with that name says `state: Absent`",
        manifest::shown(&manifest.path),
        manifest.name,
        manifest.name,
    )
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
