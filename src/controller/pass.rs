//! One pass: what is known is compared with what is asked for, and what is ready begins. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::in_force::Claim;
use super::readiness::{Readiness, is_of_removal, kind_of};
use super::reconciler::{Named, Reconciler, Tally, Until, Verdict};
use super::subject::{Decision, Spec, State, ToCluster, Tracked, Why};
use crate::desired::Desired;
use crate::engine::Engine;
use crate::event::Event;
use crate::execute::Milestones;
use crate::manifest::shown;
use crate::observed::{Cluster, Link, NetworkUse, Observed, Seen};
use crate::outcome::GivenUp;
use crate::plan::{Plan, Sequence, Subject, deletion, plan};
use crate::probe::{Probe, Serving};
use crate::status::{Evidence, Status};

/// So much longer than all else answers of upstreams are waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// When each subject may start; otherwise why not.
type Ready = BTreeMap<Subject, Result<Instant, Why>>;

/// What one pass goes by.
struct View {
    /// What is asked for, under the names that exist.
    desired: Arc<Desired>,
    /// What is known.
    observed: Observed,
    /// What is known of them is outdated.
    unsettled: BTreeSet<Subject>,
    /// Nodes that are about to end, by id.
    ending: BTreeSet<String>,
    /// What leads from one to the other.
    plan: Plan,
    now: Instant,
}

impl<E: Engine, P: Probe> Reconciler<E, P> {
    /// One pass.
    pub(super) fn pass(&mut self) {
        let now = Instant::now();
        (self.last_pass, self.is_due, self.wake) = (Some(now), false, None);
        debug!(target: "ksail::pass", "pass");

        // An engine that is away says nothing: nothing is known, and nothing is done until it is back.
        if !self.is_engine_there() {
            return;
        }
        // Before its lists are there nothing can be missed in them.
        let Some(Seen { observed, unsettled }) = self.store().look(&self.prober) else { return self.is_not_listed() };

        // The newest that is asked for, under the names that exist, compared with what is.
        self.newest_intent();
        // How mirrors are served that are seen for the first time, and those that may go back to their upstreams.
        self.look_at_modes(&observed, &unsettled, now);
        let desired = self.desired(&observed);
        let (plan, ending) = (plan(&desired, &observed), self.store().ending_nodes());
        let mut view = View { desired, observed, unsettled, ending, plan, now };

        let going = std::mem::take(&mut self.goes_back).into_iter();
        let still_goes =
            |subject: &Subject| view.plan.sequences.contains_key(subject) || view.unsettled.contains(subject);
        self.goes_back = going.filter(|subject| still_goes(subject) || self.runs(subject)).collect();
        // Half a cluster must not pass for a whole one: what a creation has left goes first.
        self.finalise(&mut view);
        // Each subject that there is anything to do for has a state, and one that needs nothing more is cured.
        self.track(&view);
        // What a node is to lose because of the file goes when the file is stable; what it is to have does not wait.
        self.put_off_removals(&mut view);
        self.announce_removals(&view);
        // A cache that is to be stopped is asked first whether it would start again.
        self.store().ask_whether_they_start_again(&self.to_ask(&view.plan));

        // What is under way for another spec is given up.
        self.cancel_outdated();
        // Nobody looks into the nodes of a cluster that is being deleted, or about to be.
        self.store().exclude(self.readiness(&view).is_cluster_to_be_deleted() || self.deletes_cluster());
        // The one place that says when a subject may start. What is ready begins together, if this ksail has the lease.
        let ready = self.ready(&view);
        let due: Vec<&Subject> =
            ready.iter().filter(|(_, at)| at.is_ok_and(|at| at <= now)).map(|(who, _)| who).collect();
        let begun = !due.is_empty() && !self.has_wound_up && self.has_lease();
        if begun {
            self.begin(&due, &view);
        }
        // The others wait, and the timer wakes when the first of them is ready.
        self.wait(&ready, &view);

        // What is so is told.
        self.assess(&view);
        self.listen(&view.observed);
        let verdict = self.judge(&ready, &view);
        let has_answers = verdict.is_none() || self.has_answers_of_upstreams(now);
        self.verdict = self.verdict.take().or(verdict.filter(|_| has_answers));

        // With nothing under way, and nothing about to be, others may have the lease.
        let is_about_to = ready.values().any(|at| *at == Err(Why::Unsettled));
        if self.running.is_empty() && !is_about_to && (begun || due.is_empty() || self.told.why_not.is_some()) {
            self.lease.release();
            self.is_over();
        }
        self.last_plan = view.plan;
    }

    /// What is asked for, under the names that exist: made anew when either has changed.
    fn desired(&mut self, observed: &Observed) -> Arc<Desired> {
        let asked = Arc::clone(&self.asked.0);
        let names = observed.names(asked.cluster.as_str());
        if let Some(named) =
            self.named.as_ref().filter(|named| Arc::ptr_eq(&named.asked, &asked) && named.names == names)
        {
            return Arc::clone(&named.desired);
        }
        let desired = Arc::new(Desired::clone(&asked).with_names(&names));
        self.named = Some(Named { asked, names, desired: Arc::clone(&desired) });
        desired
    }

    /// Whether the engine answers; that it does not any more, or does again, is told.
    fn is_engine_there(&mut self) -> bool {
        let link = self.store().link();
        let is_news = link != self.told.link;
        match &link {
            Link::Unknown => return false,
            Link::Up(info) => {
                let was_lost = matches!(self.told.link, Link::Down(_));
                if is_news && (was_lost || self.until == Until::Stopped) {
                    self.reporter.report(&Event::EngineFound(info.clone()));
                }
            }
            Link::Down(error) => {
                let was_lost = matches!(self.told.link, Link::Down(_));
                if !was_lost {
                    let message = error.to_string();
                    if let Some(status) = &self.status {
                        let status = status.without_engine(error, self.timestamp());
                        self.tell(status);
                    }
                    if self.until == Until::Stopped {
                        let refuses = error.is_refusal();
                        let event =
                            if refuses { Event::EngineRefuses { message } } else { Event::EngineLost { message } };
                        self.reporter.report(&event);
                    }
                }
                if self.until != Until::Stopped && !self.is_stopping {
                    self.verdict = Some(Verdict::EngineAway(error.clone()));
                }
            }
        }
        self.told.link = link;
        matches!(self.told.link, Link::Up(_))
    }

    /// The engine answers, and does not say what there is.
    fn is_not_listed(&mut self) {
        const TRIES: u32 = 3;
        let Some((error, tries)) = self.store().unlisted() else { return };
        if self.until == Until::Stopped {
            self.rest(format!("the engine does not list what there is: {error}"));
        } else if tries >= TRIES && !self.is_stopping {
            self.verdict = Some(Verdict::EngineAway(error));
        }
    }

    /// What a creation has left, and could not be deleted, is all there is to be done about the cluster until it has gone.
    fn finalise(&mut self, view: &mut View) {
        let subject = Subject::Cluster(view.desired.cluster.to_string());
        let Some(tracked) = self.subjects.get_mut(&subject).filter(|tracked| tracked.has_left()) else { return };
        if view.observed.cluster == Cluster::Missing {
            if !view.unsettled.contains(&subject) && tracked.run().is_none() {
                tracked.is_cleared();
            }
            return;
        }
        let steps = deletion(&view.desired, &view.observed, "its creation has left it").into_iter().collect();
        view.plan.sequences.insert(subject, Sequence { steps, ..Sequence::default() });
    }

    /// Subjects that are planned for have a state; those that need nothing are cured, and forgotten in time.
    fn track(&mut self, view: &View) {
        let desired = Arc::clone(&self.asked.0);
        let planned = &view.plan.sequences;
        for (subject, sequence) in planned {
            let new = || Tracked::new(Spec::of(subject, &desired));
            let tracked = self.subjects.entry(subject.clone()).or_insert_with(new);
            if let Some(node) = sequence.steps.first().and_then(|step| step.action.in_node()) {
                tracked.meets(node);
            }
        }
        for (subject, tracked) in &mut self.subjects {
            if tracked.run().is_none() && !view.unsettled.contains(subject) && !planned.contains_key(subject) {
                tracked.is_cured(view.now);
            }
        }
        self.subjects.retain(|subject, tracked| planned.contains_key(subject) || !tracked.is_forgotten(view.now));
    }

    fn put_off_removals(&self, view: &mut View) {
        if self.readiness(view).may_remove_from_nodes() {
            return;
        }
        let nodes = view.plan.sequences.iter_mut().filter(|(subject, _)| matches!(subject, Subject::Node(_)));
        for (_, sequence) in nodes {
            if !sequence.steps.iter().all(|step| is_of_removal(&step.action)) {
                sequence.steps.retain(|step| !is_of_removal(&step.action));
            }
        }
    }

    /// Hosts of caches of which it has to be known whether they would start again. Renewals are made one after the other,
    /// so that the first that may be made is enough.
    fn to_ask(&self, plan: &Plan) -> BTreeSet<String> {
        let of_mirrors = || plan.sequences.iter().filter_map(|(subject, sequence)| Some((subject.host()?, sequence)));
        let may_be_renewed = of_mirrors().any(|(_, sequence)| sequence.renews && !sequence.asks);
        let runs = self.subjects.values().any(|tracked| tracked.run().is_some_and(|run| run.kind.renews));
        let mut asks_for_renewal = !may_be_renewed && !runs;
        let asked = of_mirrors().filter(|(_, sequence)| {
            let is_asked = sequence.asks && (!sequence.renews || std::mem::take(&mut asks_for_renewal));
            is_asked || sequence.waits_for_upstream()
        });
        asked.map(|(host, _)| host.to_owned()).collect()
    }

    pub(super) fn cancel_outdated(&self) {
        let outdated = self.subjects.values().filter(|tracked| tracked.is_outdated());
        outdated.filter_map(Tracked::run).for_each(|run| run.cancel.cancel(GivenUp::Outdated));
    }

    fn readiness<'a>(&'a self, view: &'a View) -> Readiness<'a> {
        let store = self.store();
        Readiness {
            subjects: &self.subjects,
            plan: &view.plan,
            desired: &view.desired,
            observed: &view.observed,
            unsettled: &view.unsettled,
            ending: &view.ending,
            cluster_is_asked: store.asks_cluster(),
            removals: self.intent.borrow().removals,
            cluster_went: store.cluster_went(),
            nodes_are_read: store.reads_nodes(),
            gives_up: self.until != Until::Stopped,
            is_stopping: self.is_stopping,
            goes_back: &self.goes_back,
            now: view.now,
        }
    }

    fn ready(&self, view: &View) -> Ready {
        let readiness = self.readiness(view);
        let planned = view.plan.sequences.iter().filter(|(_, sequence)| !sequence.steps.is_empty());
        let idle = planned.map(|(subject, _)| subject).filter(|subject| !self.runs(subject));
        idle.map(|subject| (subject.clone(), readiness.ready_at(subject))).collect()
    }

    fn deletes_cluster(&self) -> bool {
        self.subjects.values().any(|tracked| tracked.run().is_some_and(|run| run.kind.deletes_cluster()))
    }

    /// A removal for good is announced once, so that whoever did not mean it can take it back.
    fn announce_removals(&mut self, view: &View) {
        let (now, readiness) = (view.now, self.readiness(view));
        let subjects = view.plan.sequences.keys();
        let due = subjects.filter_map(|subject| Some((subject.clone(), readiness.not_before(subject)?)));
        let removals: Vec<(Subject, Instant)> = due.filter(|(_, due)| *due > now).collect();
        let Some(due) = removals.iter().map(|(_, due)| *due).max() else { return };
        if self.told.removal != Some(due) && due > now + super::readiness::STABLE {
            let what = removals.into_iter().filter(|(_, at)| *at == due).map(|(subject, _)| subject).collect();
            self.reporter.report(&Event::Removing { what, after: due - now });
            self.told.removal = Some(due);
        }
    }

    /// Whether this ksail may change the cluster now.
    fn has_lease(&mut self) -> bool {
        match self.lease.acquire() {
            Ok(false) => return false,
            Ok(true) => {}
            Err(error) => {
                self.cannot_lock(error);
                return false;
            }
        }
        // Two files that name one cluster would undo each other's work.
        if let Some(other) = self.claim.as_ref().and_then(Claim::lost_to).filter(|_| self.running.is_empty()) {
            let (other, cluster) = (shown(&other), self.intent.borrow().desired.cluster.to_string());
            self.rest(format!("{other} has taken over cluster {cluster}; this watch changes nothing any more"));
            return false;
        }
        self.told.why_not = None;
        true
    }

    fn begin(&mut self, due: &[&Subject], view: &View) {
        let now = view.now;
        let sequences = view.plan.sequences.iter().filter(|(subject, _)| due.contains(subject));
        let sequences: Vec<(&Subject, &Sequence)> = sequences.collect();
        let mut trigger = self.store().drain_triggers();
        trigger.append(&mut self.triggers);
        if self.told.tally.is_none() {
            self.reporter.report(&Event::PassStarted { trigger });
            self.told.tally = Some(Tally { since: now, actions: 0, failed: 0 });
        }
        let milestones = Milestones::of(sequences.iter().copied());
        for (subject, sequence) in sequences {
            let Some(tracked) = self.subjects.get_mut(subject) else { continue };
            let cause = sequence.steps.first().map_or("", |step| step.cause.as_str());
            let (cancel, is_counted) = tracked.start(cause, kind_of(sequence), now);
            debug!(target: "ksail::run", %subject, cause, is_counted, "begins");
            self.observer.store().began(subject);
            let (executor, milestones) = (self.executor.clone(), milestones.clone());
            let (subject, sequence) = (subject.clone(), sequence.clone());
            self.running.spawn(async move {
                let outcome = executor.run(&subject, &sequence, &milestones, &cancel).await;
                (subject, outcome)
            });
        }
    }

    /// Notes why subjects wait, and when the first of them is ready.
    fn wait(&mut self, ready: &Ready, view: &View) {
        let now = view.now;
        let readiness = self.readiness(view);
        let decisions: BTreeMap<Subject, Decision> =
            self.subjects.keys().map(|subject| (subject.clone(), readiness.decide(subject))).collect();
        let mut wake = self.wake;
        for (subject, tracked) in self.subjects.iter_mut().filter(|(_, tracked)| tracked.run().is_none()) {
            let decision = decisions.get(subject).copied().unwrap_or(Decision::Rest);
            tracked.state = match (ready.get(subject), decision) {
                (Some(Ok(at)), _) if *at <= now => State::Idle,
                (Some(Ok(at)), Decision::Wait { why, .. }) => State::Waiting { until: Some(*at), why },
                (Some(Ok(at)), _) => State::Waiting { until: Some(*at), why: Why::Needs },
                (Some(Err(why)), _) => State::Waiting { until: None, why: *why },
                (None, Decision::Wait { until, why }) => State::Waiting { until, why },
                (None, _) => State::Idle,
            };
            if let (Some(Ok(at)), State::Waiting { .. }) = (ready.get(subject), &tracked.state) {
                wake = Some(wake.map_or(*at, |wake| wake.min(*at)));
            }
        }
        if ready.values().any(|at| *at == Err(Why::LeftAlone)) {
            wake = wake.into_iter().chain(self.observer.store().left_alone_until()).min();
        }
        if view.observed.network_use == NetworkUse::Left {
            wake = wake.into_iter().chain(self.observer.store().made_anew_until()).min();
        }
        if view.observed.is_leaving {
            wake = wake.into_iter().chain(self.observer.store().leaves_until()).min();
        }
        self.wake = wake;
    }

    fn assess(&mut self, view: &View) {
        let View { desired, observed, plan, unsettled, .. } = view;
        let failures: BTreeMap<_, _> =
            self.subjects.iter().filter_map(|(subject, tracked)| Some((subject.clone(), tracked.failure()?))).collect();
        let runs = self.subjects.values().filter_map(Tracked::run);
        let done_to_cluster = runs.filter_map(|run| run.kind.to_cluster).map(ToCluster::in_words).next();
        let evidence = Evidence {
            desired,
            observed,
            plan,
            failures: &failures,
            upstreams: &self.upstreams.by_host(),
            words: &self.words(observed),
            last_words: &BTreeMap::new(),
            is_at_work: true,
            done_to_cluster,
            now: self.timestamp(),
        };
        let mut status = Status::assess(&evidence, self.status.as_ref());
        let is_outdated = |host: &str| unsettled.contains(&Subject::mirror(host));
        if let Some(before) = &self.status {
            // The first assessment after a sequence began says why it runs; later ones would only show it half-way.
            let is_half_way = |host: &str| self.runs(&Subject::mirror(host)) && before.is_progressing(host);
            status.keep(before, |host| is_half_way(host) || is_outdated(host));
            let node = |name: &str| Subject::Node(name.to_owned());
            status.keep_nodes(before, |name| unsettled.contains(&node(name)) || self.runs(&node(name)));
            if unsettled.contains(&Subject::Cluster(desired.cluster.to_string())) {
                status.conditions.clone_from(&before.conditions);
            }
        }
        let is_known = |host: &str| self.status.as_ref().is_some_and(|before| before.has(host));
        status.mirrors.retain(|mirror| !is_outdated(&mirror.host) || is_known(&mirror.host));
        self.tell(status);
    }

    /// What upstreams answer is told with all else; whoever takes their time is not waited for much longer.
    fn has_answers_of_upstreams(&mut self, now: Instant) -> bool {
        if !self.upstreams.is_waited_for() && self.listening.is_empty() {
            return true;
        }
        let until = *self.upstreams_until.get_or_insert(now + ANSWERS_WITHIN);
        self.wake = self.wake.into_iter().chain([until]).min();
        until <= now
    }

    /// Whether `apply` is done, one way or the other.
    fn judge(&self, ready: &Ready, view: &View) -> Option<Verdict> {
        if self.until == Until::Stopped || self.is_stopping {
            return None;
        }
        let is_asked_again = view.observed.containers.iter().any(|found| found.serving == Serving::Overdue);
        let is_read = !view.unsettled.is_empty()
            || self.store().asks_cluster()
            || self.store().comes_up()
            || view.observed.network_use == NetworkUse::Left
            || !view.observed.unread_nodes.is_empty()
            || is_asked_again;
        let is_pending =
            |at: &Result<Instant, Why>| matches!(at, Ok(_) | Err(Why::Unsettled | Why::LeftAlone | Why::Turn));
        if !self.running.is_empty() || self.lease.is_waited_for() || is_read || ready.values().any(is_pending) {
            return None;
        }
        let is_ready = self.status.as_ref().is_some_and(Status::is_ready);
        Some(if is_ready { Verdict::Converged } else { Verdict::Failed })
    }
}
