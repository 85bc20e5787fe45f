//! What comes of upstreams' answers, and of registries that do not run because of them: how each mirror is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::reconciler::{Reconciler, Until};
use crate::engine::{Container, Engine, Traffic};
use crate::observed::{Observed, Spoken, listen};
use crate::outcome::Failure;
use crate::plan::{Sequence, Subject};
use crate::probe::UpstreamAnswer::{self, Unknown};
use crate::probe::{Ask, Probe, RouteKey};
use crate::registry::{Role, Word};

/// A mirror that is served from its cache, and whose upstream has answered, is asked for again after this long.
const AGAIN: Duration = Duration::from_secs(5);

impl<E: Engine, P: Probe> Reconciler<E, P> {
    /// Notes an answer, and finds out what else has to be known to make something of it.
    pub(super) fn upstream_answered(&mut self, route: &RouteKey, ask: Ask, answer: &UpstreamAnswer) {
        for host in self.upstreams.answered(route, ask, answer.clone(), Instant::now()) {
            self.is_due = true;
            let sequence = self.last_plan.sequences.get(&Subject::mirror(&host));
            if sequence.is_some_and(Sequence::waits_for_upstream) {
                self.because(format!("the upstream of {host} answers differently"));
            }
        }
        // Whoever waits for it need not wait any more.
        self.is_due |= self.upstreams_until.is_some();
        for host in self.upstreams.hosts_of(route) {
            match self.container_of(&host) {
                Some(container) if self.modes.wants_traffic(&host, answer) => {
                    let (engine, route, answer) = (self.engine.clone(), route.clone(), answer.clone());
                    self.measured.spawn(async move {
                        // What cannot be counted holds nobody up.
                        let traffic = engine.traffic(&container).await.ok().flatten();
                        (route, host, answer, traffic)
                    });
                }
                _ => self.make_of(route, &host, answer, None),
            }
        }
    }

    /// Decides by an answer how a mirror is served from now on.
    pub(super) fn make_of(&mut self, route: &RouteKey, host: &str, answer: &UpstreamAnswer, traffic: Option<Traffic>) {
        let now = Instant::now();
        self.modes.answered(host, answer, traffic, now);
        if self.modes.waits_for_another_answer(host) {
            // Whoever looks once has no time to lose.
            let after = if self.until == Until::Stopped { AGAIN } else { Duration::ZERO };
            self.upstreams.ask_again(route, now + after);
        }
        self.set_modes();
        self.is_due |= self.modes.next_comes_back_at(now).is_some();
    }

    /// A cache that cannot run because nobody is at its upstream is served from its volume. (One of version 2 that gets
    /// no answer at all neither ends nor serves.)
    pub(super) fn may_be_of_upstream(&mut self, subject: &Subject, failure: &Failure) {
        let Some(host) = subject.host() else { return };
        let is_away = || self.upstreams.by_host().get(host).is_some_and(UpstreamAnswer::is_away);
        if failure.is_of_upstream() || (matches!(failure, Failure::DoesNotServe { .. }) && is_away()) {
            self.modes.cannot_run(host, Instant::now());
            self.set_modes();
        }
    }

    /// How mirrors are served that are seen for the first time, and which of them go back to their upstreams now.
    pub(super) fn look_at_modes(&mut self, observed: &Observed, unsettled: &BTreeSet<Subject>, now: Instant) {
        let caches = self.asked.0.mirrors.values().filter(|mirror| mirror.role == Role::Mirror);
        let hosts = caches.map(|mirror| mirror.host.to_string()).collect();
        // What was answered before a mirror was known to be served from its cache was no answer to how it is served.
        for host in self.modes.found(observed, &hosts, |host| !unsettled.contains(&Subject::mirror(host))) {
            self.upstreams.ask_host_again(&host, now);
        }
        self.modes.come_back(now);
        self.set_modes();
        self.wake = self.modes.next_comes_back_at(now);
    }

    /// Something may speak for another mode of a mirror.
    pub(super) fn set_modes(&mut self) {
        if self.modes.served_from_cache() != self.asked.1 {
            self.set_asked();
            self.is_due = true;
        }
    }

    /// Has the logs read of registries whose upstreams cannot be asked from here, where it is time.
    pub(super) fn listen(&mut self, observed: &Observed) {
        let unknown = self.upstreams.by_host().into_iter().filter(|(_, answer)| matches!(answer, Unknown(_)));
        let running: BTreeMap<String, _> =
            unknown.filter_map(|(host, _)| observed.container_of(&host).map(|container| (host, container))).collect();
        self.spoken.retain(|host, _| running.contains_key(host));
        if !self.listening.is_empty() {
            return;
        }
        let is_due = |host: &str, container: &Container| {
            self.spoken.get(host).is_none_or(|spoken| !spoken.is_of(container) || !spoken.is_fresh())
        };
        let due = running.into_iter().filter(|(host, container)| is_due(host, container));
        let due: Vec<_> =
            due.map(|(host, container)| (host.clone(), container, self.spoken.get(&host).cloned())).collect();
        if !due.is_empty() {
            let engine = self.engine.clone();
            self.listening.spawn(async move { listen(&engine, due).await });
        }
    }

    /// Logs have been read.
    pub(super) fn heard(&mut self, spoken: BTreeMap<String, Spoken>) {
        let is_news =
            |(host, spoken): (&String, &Spoken)| self.spoken.get(host).and_then(Spoken::word) != spoken.word();
        self.is_due |= spoken.iter().any(is_news) || self.upstreams_until.is_some();
        self.spoken.extend(spoken);
    }

    /// What registries that run have said of upstreams that cannot be asked from here.
    pub(super) fn words(&self, observed: &Observed) -> BTreeMap<String, Word> {
        let is_of_now =
            |host: &str, spoken: &Spoken| observed.container_of(host).is_some_and(|container| spoken.is_of(&container));
        let spoken = self.spoken.iter().filter(|(host, spoken)| is_of_now(host, spoken));
        spoken.filter_map(|(host, spoken)| Some((host.clone(), spoken.word()?.clone()))).collect()
    }

    fn container_of(&self, host: &str) -> Option<String> {
        let mirrors = self.status.iter().flat_map(|status| &status.mirrors);
        let found = mirrors.filter(|mirror| mirror.host == host).find_map(|mirror| mirror.container.as_ref());
        found.map(|container| container.id.clone())
    }
}
