//! How a reconciliation ends: what is under way finishes, and what was waited for is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::reconciler::{Reconciler, Tally, Until};
use super::subject::{ToCluster, Tracked};
use super::timer::at;
use crate::distribution::{create_arguments, provisioner};
use crate::engine::Engine;
use crate::event::Event;
use crate::labels::HOST;
use crate::observed::{Link, OwnContainer};
use crate::outcome::{Ended, GivenUp, Outcome};
use crate::plan::Subject;
use crate::probe::Probe;
use crate::provisioner::ProvisionError;
use crate::registry::starts_without_upstream;

/// The engine has this long to say how everything is in the end.
const LAST_LOOK: Duration = Duration::from_secs(10);
/// The deletion of what a creation has left has this long to begin, or to be tried again, when everything else has ended.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

impl<E: Engine, P: Probe> Reconciler<E, P> {
    /// What is being done when time is up, and what is waited for.
    pub(super) fn waited_for(&self) -> Vec<String> {
        let now = Instant::now();
        let subjects = self.subjects.iter();
        let mut waited_for: Vec<String> =
            subjects.filter_map(|(subject, tracked)| Some(format!("{subject}: {}", tracked.waits_for(now)?))).collect();
        if self.lease.is_waited_for() {
            waited_for.push("another ksail that works on this cluster".to_owned());
        }
        if self.store().comes_up() {
            let cluster = &self.intent.borrow().desired.cluster;
            waited_for.push(format!("cluster {cluster}: its API server to say that it is ready"));
        }
        if self.status.is_none() {
            waited_for.push("the engine to say what there is".to_owned());
        }
        waited_for
    }

    /// Lets what is under way finish or take itself back, and deletes what a creation has left, as long as there is time.
    /// What could not end in time is cut off; that it was is told.
    pub(super) async fn wind_up(&mut self, why: GivenUp, learned: &mut watch::Receiver<u64>) -> Vec<String> {
        self.is_stopping = true;
        self.is_due = true;
        self.give_back();
        for run in self.subjects.values().filter_map(Tracked::run) {
            // A deletion is gone through with.
            if !(run.kind.deletes_cluster() && self.subjects.values().any(Tracked::has_left)) {
                run.cancel.cancel(why);
            }
        }
        let under_way = || self.subjects.iter().filter(|(_, tracked)| tracked.run().is_some());
        if why == GivenUp::Stopped && under_way().next().is_some() {
            let under_way = under_way().map(|(subject, _)| subject.clone()).collect();
            self.reporter.report(&Event::Stopping { under_way });
        }
        let mut idle_since = Instant::now();
        let by = self.bound().map(|bound| bound.has_undone);
        while !self.running.is_empty() || self.is_clearing_up() || self.is_giving_back() {
            let next_pass = self.next_pass();
            let gives_up = self.running.is_empty().then(|| idle_since + BEGINS_WITHIN);
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next() => {
                    self.ended(ended);
                    idle_since = Instant::now();
                }
                Some(()) = at(gives_up) => break,
                Some(()) = at(by) => break,
                // Without it nothing begins.
                lease = self.lease.acquired(), if self.lease.is_waited_for() => drop(lease),
                _ = learned.changed() => self.is_due = true,
                Some(()) = at(next_pass), if !matches!(self.store().link(), Link::Down(_)) => self.pass(),
            }
        }
        let cut_off = self.cut_off().await;
        for (subject, _) in self.subjects.iter().filter(|(_, tracked)| tracked.has_left()) {
            self.reporter.report(&Event::LeftBehind { subject: subject.clone() });
        }
        self.has_wound_up = true;
        self.is_over();
        cut_off
    }

    /// What is served from its cache would stay so with nobody to end that. Registries that start without their upstreams
    /// get them back; the others stay as they are until the next `apply` or `watch`.
    fn give_back(&mut self) {
        let seen = if self.until == Until::Stopped { self.store().look(&self.prober) } else { None };
        let Some(seen) = seen else { return };
        let from_cache = self.modes.served_from_cache();
        let starts = |found: &&OwnContainer| found.major_version.is_some_and(starts_without_upstream);
        let hosts = seen.observed.containers.iter().filter(starts).filter_map(|found| found.container.labels.get(HOST));
        let hosts: BTreeSet<String> = hosts.filter(|host| from_cache.contains(*host)).cloned().collect();
        self.goes_back = hosts.iter().map(Subject::mirror).collect();
        self.modes.go_back(&hosts);
        self.set_modes();
    }

    fn is_giving_back(&self) -> bool {
        !self.goes_back.is_empty() && !matches!(self.store().link(), Link::Down(_))
    }

    /// Ends what is still under way, with the programs it runs, and says what that was.
    async fn cut_off(&mut self) -> Vec<String> {
        self.running.shutdown().await;
        let runs = self.subjects.iter().filter_map(|(subject, tracked)| Some((subject.clone(), tracked.run()?)));
        let runs: Vec<_> = runs.map(|(subject, run)| (subject, run.cause.clone(), run.kind)).collect();
        let cut_off = runs.into_iter().map(|(subject, cause, kind)| {
            let words = format!("{subject}: {cause} (ended half-way; the next run goes on with it)");
            // Half a cluster must not pass for a whole one.
            let left = (kind.to_cluster == Some(ToCluster::Creates)).then(|| self.stopped_creation());
            self.ended(Ok((subject, Outcome { ended: Ended::Cancelled, actions: 0, left })));
            words
        });
        cut_off.collect()
    }

    fn stopped_creation(&self) -> ProvisionError {
        let desired = Arc::clone(&self.intent.borrow().desired);
        let provisioning = &desired.provisioning;
        let config = provisioning.config.as_deref();
        let arguments = create_arguments(desired.distribution, &desired.cluster, config, provisioning.timeout);
        let program = provisioner(desired.distribution).name;
        ProvisionError::Stopped { command: format!("{program} {}", arguments.join(" ")) }
    }

    /// Whether something is left of a creation that is still to be deleted.
    fn is_clearing_up(&self) -> bool {
        let is_there = !matches!(self.store().link(), Link::Down(_));
        is_there && self.subjects.values().any(|tracked| tracked.has_left() && !tracked.has_been_tried_enough())
    }

    /// What is now, rather than what was planned when time was up.
    pub(super) async fn look_once_more(&mut self, learned: &mut watch::Receiver<u64>) {
        let store = self.store().clone();
        store.list_anew();
        let looking = async { while !store.has_settled() && learned.changed().await.is_ok() {} };
        let limit = Instant::now() + LAST_LOOK;
        let limit = self.bound().map_or(limit, |bound| limit.min(bound.ends));
        // An engine that does not say so in time leaves what was known.
        let _ = timeout_at(limit, looking).await;
        self.pass();
    }

    /// Everything that a pass began has ended: the account is closed.
    pub(super) fn is_over(&mut self) {
        if let Some(Tally { since, actions, failed }) = self.told.tally.take() {
            self.reporter.report(&Event::PassFinished { actions, failed, duration: since.elapsed() });
        }
    }
}
