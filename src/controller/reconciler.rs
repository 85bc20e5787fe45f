//! One cluster's reconciliation: what comes in, and what is known of each subject. What is made of it is in [`super::pass`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::bound::Bound;
use super::in_force::Claim;
use super::intent::Intent;
use super::lease::Lease;
use super::modes::Modes;
use super::subject::{Spec, Tracked};
use super::timer::at;
use super::upstreams::Upstreams;
use super::{Controller, Reread, reflector};
use crate::desired::{Desired, Route};
use crate::engine::{Engine, EngineError, Traffic};
use crate::event::{Event, Reporter};
use crate::execute::Executor;
use crate::exposure::{Exposure, exposures};
use crate::names;
use crate::observed::{Link, Observer, Spoken, Store};
use crate::outcome::{Ended, GivenUp, Outcome};
use crate::plan::{Plan, Subject};
use crate::probe::{Ask, Probe, Prober, RouteKey, UpstreamAnswer};
use crate::status::Status;

/// Two passes are this far apart at least.
const BETWEEN_PASSES: Duration = Duration::from_millis(50);
/// Everything is listed this often even when nothing seems to happen, give or take [`RESYNC_JITTER`].
const RESYNC: Duration = Duration::from_secs(30);
/// With every so many of them everything of ours is looked at, and nodes are asked what only a program in them can tell.
const RESYNCS_TO_LOOK_DEEP: u32 = 10;
/// So that several ksails on one engine do not fall into step.
const RESYNC_JITTER: Duration = Duration::from_secs(3);
/// Why nothing can be done is looked at again after this long.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(1500);

/// How long it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// For ever: what fails is tried again and again.
    Stopped,
    /// Until everything is as desired, or cannot be, or time is up.
    Settled { bound: Bound },
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Told to.
    Stopped,
    /// As desired.
    Converged,
    /// Some things are not, and trying on does not help or has not helped.
    Failed,
    /// The engine is away, or does not list what there is.
    EngineAway(EngineError),
    /// Time is up; what was waited for.
    TimedOut(Vec<String>),
    /// The lock cannot be had at all.
    NoLock(std::io::Error),
    /// What is asked for cannot be read any more.
    Rejected(String),
}

impl Verdict {
    /// Why what is still under way is given up.
    const fn gives_up(&self) -> GivenUp {
        match self {
            Self::Stopped => GivenUp::Stopped,
            Self::TimedOut(_) => GivenUp::TimeIsUp,
            Self::Converged | Self::Failed | Self::EngineAway(_) | Self::NoLock(_) | Self::Rejected(_) => {
                GivenUp::CannotGoOn
            }
        }
    }
}

pub(super) struct Reconciler<E, P> {
    pub(super) observer: Observer<E, P>,
    pub(super) prober: Prober<P>,
    pub(super) executor: Executor<E, P>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) until: Until,
    pub(super) intent: watch::Receiver<Intent>,
    pub(super) lease: Lease,
    /// Looked at before anything is changed.
    pub(super) claim: Option<Claim>,
    /// What each subject is to become, where it stands, and when it may start.
    pub(super) subjects: BTreeMap<Subject, Tracked>,
    /// The sequences under way.
    pub(super) running: JoinSet<(Subject, Outcome)>,
    /// What comes to registries at whose upstreams nobody answers, being counted.
    pub(super) measured: JoinSet<(RouteKey, String, UpstreamAnswer, Option<Traffic>)>,
    /// What upstreams answer.
    pub(super) upstreams: Upstreams,
    /// All else is done; answers of upstreams are waited for until then.
    pub(super) upstreams_until: Option<Instant>,
    /// What registries have said of upstreams that cannot be asked from here, by host.
    pub(super) spoken: BTreeMap<String, Spoken>,
    /// Their logs being read.
    pub(super) listening: JoinSet<BTreeMap<String, Spoken>>,
    /// How each mirror is served.
    pub(super) modes: Modes,
    /// What the file asks for, with the caches of these hosts served from their volumes.
    pub(super) asked: (Arc<Desired>, BTreeSet<String>),
    pub(super) told: Told,
    /// Why the next pass is due, in words.
    pub(super) triggers: Vec<String>,
    /// As of the last pass.
    pub(super) status: Option<Status>,
    /// As of the last pass.
    pub(super) last_plan: Plan,
    /// As of the last pass.
    pub(super) named: Option<Named>,
    /// When the next pass is due, if nothing happens.
    pub(super) wake: Option<Instant>,
    pub(super) last_pass: Option<Instant>,
    /// Something has changed since.
    pub(super) is_due: bool,
    /// Nothing is begun any more but to delete what a creation has left.
    pub(super) is_stopping: bool,
    /// Not even that.
    pub(super) has_wound_up: bool,
    /// Mirrors that go back to their upstreams before it ends.
    pub(super) goes_back: BTreeSet<Subject>,
    /// How it ends, as the last pass found.
    pub(super) verdict: Option<Verdict>,
    reread: Option<Reread>,
    pub(super) engine: E,
    probe: P,
}

/// What was told, so that it is not told twice.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) link: Link,
    /// Why nothing is done.
    pub(super) why_not: Option<String>,
    /// The removal that was announced, by when the file last changed.
    pub(super) removal: Option<Instant>,
    pub(super) tally: Option<Tally>,
    /// Registries that other machines can reach.
    pub(super) exposed: Vec<Exposure>,
}

/// What is asked for, under the names that exist.
pub(super) struct Named {
    pub(super) asked: Arc<Desired>,
    pub(super) names: names::Existing,
    pub(super) desired: Arc<Desired>,
}

/// What has been done since something was found to do.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) since: Instant,
    pub(super) actions: usize,
    pub(super) failed: usize,
}

impl<E: Engine, P: Probe> Reconciler<E, P> {
    pub(super) fn new(controller: &Controller<E, P>, intent: watch::Receiver<Intent>, until: Until) -> Self {
        let (engine, reporter) = (controller.engine.clone(), controller.reporter.clone());
        let provisioner = controller.provisioner.clone();
        let prober = Prober::new(controller.probe.clone()).that_is_run();
        let observer = Observer::new(engine.clone(), prober.clone(), provisioner.clone());
        let observer = if until == Until::Stopped { observer.that_patrols() } else { observer };
        let executor =
            Executor::new(engine.clone(), prober.clone(), provisioner, controller.concurrency, reporter.clone());
        let asked = (Arc::clone(&intent.borrow().desired), BTreeSet::new());
        Self {
            executor: executor.told_by(observer.store().clone()),
            observer,
            prober,
            reporter,
            until,
            intent,
            lease: Lease::new(controller.lock.clone()),
            claim: controller.claim.clone(),
            subjects: BTreeMap::new(),
            running: JoinSet::new(),
            measured: JoinSet::new(),
            upstreams: if until == Until::Stopped { Upstreams::default() } else { Upstreams::asked_once() },
            upstreams_until: None,
            spoken: BTreeMap::new(),
            listening: JoinSet::new(),
            modes: Modes::new(until == Until::Stopped),
            asked,
            told: Told::default(),
            triggers: Vec::new(),
            status: None,
            last_plan: Plan::default(),
            named: None,
            wake: None,
            last_pass: None,
            is_due: true,
            is_stopping: false,
            has_wound_up: false,
            goes_back: BTreeSet::new(),
            verdict: None,
            reread: controller.reread.clone().filter(|_| until != Until::Stopped),
            engine,
            probe: controller.probe.clone(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.observer.store()
    }

    /// Reconciles until it is told to stop, or as long as [`Until`] says. What is under way then finishes or takes itself
    /// back.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Verdict {
        self.set_desired();
        let (news, mut health) = mpsc::unbounded_channel();
        let (answers, mut upstreams) = mpsc::unbounded_channel::<(RouteKey, Ask, UpstreamAnswer)>();
        let mut tasks = JoinSet::new();
        tasks.spawn(reflector::run(self.engine.clone(), self.store().clone(), self.reporter.clone()));
        tasks.spawn(self.observer.clone().run());
        tasks.spawn(self.prober.clone().run(news));
        let mut learned = self.store().changes();
        let follows = self.until == Until::Stopped;
        let gives_up = self.bound().map(|bound| bound.gives_up);
        let mut resync = Resync::new(self.engine.now());
        let verdict = loop {
            let (next_pass, tell_waiting) = (self.next_pass(), self.lease.tell_at());
            tokio::select! {
                biased;
                () = stop.cancelled() => break Verdict::Stopped,
                Some(()) = at(gives_up) => break Verdict::TimedOut(self.waited_for()),
                Some(ended) = self.running.join_next() => self.ended(ended),
                lease = self.lease.acquired() => match lease {
                    Ok(()) => match self.got_lease() {
                        Ok(()) => {}
                        Err(why) => break Verdict::Rejected(why),
                    },
                    Err(error) => self.cannot_lock(error),
                },
                // The newest value is taken by the pass.
                _ = learned.changed() => self.is_due = true,
                Ok(()) = self.intent.changed() => {
                    self.set_desired();
                    self.because("ksail.yaml changed");
                }
                Some(container) = health.recv() => self.because(format!("{container} answers differently")),
                Some((route, ask, answer)) = upstreams.recv() => self.upstream_answered(&route, ask, &answer),
                Some(Ok((route, host, answer, traffic))) = self.measured.join_next() => {
                    self.make_of(&route, &host, &answer, traffic);
                }
                Some(Ok(spoken)) = self.listening.join_next() => self.heard(spoken),
                Some(()) = at(tell_waiting) => {
                    let message = self.lease.tell();
                    self.reporter.report(&Event::Waiting { message });
                }
                Some(()) = at(self.upstreams.next_due()) => {
                    for (key, route, how) in self.upstreams.take_due(Instant::now()) {
                        let patience = self.upstreams.patience(&key);
                        tasks.spawn(ask(self.probe.clone(), (key, route, how), patience, answers.clone()));
                    }
                }
                () = sleep_until(resync.due), if follows => {
                    self.store().resync(resync.is_deep());
                    self.because("resync");
                }
                Some(()) = at(next_pass) => self.pass(),
            }
            if let Some(verdict) = self.verdict.take() {
                break verdict;
            }
            raise_panics(&mut tasks);
        };
        let cut_off = self.wind_up(verdict.gives_up(), &mut learned).await;
        let verdict = match verdict {
            Verdict::TimedOut(mut waited_for) => {
                // What was cut off is no longer under way.
                let begins = |words: &str| words.rsplit_once(" (").map_or(words, |(what, _)| what).to_owned();
                let ended: BTreeSet<String> = cut_off.iter().map(|words| begins(words)).collect();
                waited_for.retain(|words| !ended.contains(&begins(words)));
                waited_for.extend(cut_off);
                Verdict::TimedOut(waited_for)
            }
            _ if !cut_off.is_empty() => Verdict::TimedOut(cut_off),
            verdict => verdict,
        };
        if matches!(verdict, Verdict::TimedOut(_)) {
            self.look_once_more(&mut learned).await;
        }
        verdict
    }

    /// How long it may take, if that is bounded.
    pub(super) fn bound(&self) -> Option<Bound> {
        match self.until {
            Until::Stopped => None,
            Until::Settled { bound } => Some(bound),
        }
    }

    /// The next pass: soon, when something has changed; otherwise when something is due.
    pub(super) fn next_pass(&self) -> Option<Instant> {
        let soonest = self.last_pass.map_or_else(Instant::now, |last| last + BETWEEN_PASSES);
        if self.is_due { Some(soonest) } else { self.wake.map(|wake| wake.max(soonest)) }
    }

    /// A pass is due, and this is why.
    pub(super) fn because(&mut self, trigger: impl Into<String>) {
        self.is_due = true;
        self.triggers.push(trigger.into());
    }

    /// What is asked for may have changed since this was woken.
    pub(super) fn newest_intent(&mut self) {
        if self.intent.has_changed().unwrap_or(false) {
            self.set_desired();
        }
    }

    fn set_desired(&mut self) {
        let desired = Arc::clone(&self.intent.borrow_and_update().desired);
        self.store().set_desired(&desired);
        self.tell_exposures(exposures(&desired));
        self.set_asked();
        let mirrors = desired.mirrors.values();
        let routes = mirrors.filter_map(|mirror| Some((mirror.host.to_string(), mirror.route.clone()?))).collect();
        self.upstreams.set_routes(&routes, Instant::now());
    }

    /// Gives every subject what it is to become by now, in the mode in which it is served.
    pub(super) fn set_asked(&mut self) {
        let hosts = self.modes.served_from_cache();
        let desired = Desired::clone(&self.intent.borrow().desired).served_from_cache(&hosts);
        self.asked = (Arc::new(desired), hosts);
        for (subject, tracked) in &mut self.subjects {
            tracked.set_spec(Spec::of(subject, &self.asked.0));
        }
        // Not by the next pass: what is removed meanwhile does not come back.
        self.cancel_outdated();
    }

    /// Tells each registry once that other machines can reach, as long as that is so.
    fn tell_exposures(&mut self, exposed: Vec<Exposure>) {
        for exposure in exposed.iter().filter(|exposure| !self.told.exposed.contains(exposure)) {
            self.reporter.report(&Event::Exposed(exposure.clone()));
        }
        self.told.exposed = exposed;
    }

    /// A sequence has ended: what it was about is read again, and looked at by the next pass.
    pub(super) fn ended(&mut self, ended: Result<(Subject, Outcome), JoinError>) {
        let (subject, outcome) = match ended {
            Ok(ended) => ended,
            // A panic is a defect of ksail's own and must not look like success.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        if let Some(tally) = &mut self.told.tally {
            tally.actions += outcome.actions;
            tally.failed += usize::from(matches!(outcome.ended, Ended::Failed(_)));
        }
        self.store().ended(&subject, outcome.ended == Ended::Done);
        // One try, since somebody waits for the end.
        self.goes_back.remove(&subject);
        self.is_due = true;
        if let Ended::Failed(failure) = &outcome.ended {
            self.may_be_of_upstream(&subject, failure);
        }
        let gives_up = self.until != Until::Stopped;
        let Some(tracked) = self.subjects.get_mut(&subject) else { return };
        let again = tracked.end(&subject, &outcome, Instant::now());
        // What a creation has left is deleted, and the creation not tried again.
        let is_over = gives_up && (tracked.is_hopeless() || outcome.left.is_some());
        let is_tried_again = !self.is_stopping && !is_over;
        if let Some(after) = again.filter(|_| is_tried_again) {
            self.reporter.report(&Event::Retry { subject, after });
        }
    }

    /// Another ksail has been at work meanwhile: everything is looked at again, and what is asked for as well.
    fn got_lease(&mut self) -> Result<(), String> {
        self.store().list_anew();
        self.because("another ksail has ended its work");
        if let Some(reread) = &self.reread {
            let desired = reread()?;
            let (_, intent) = watch::channel(Intent::at_once(desired));
            self.intent = intent;
            self.set_desired();
        }
        Ok(())
    }

    /// The lock cannot be had at all; nothing is done without it.
    pub(super) fn cannot_lock(&mut self, error: std::io::Error) {
        if self.until == Until::Stopped {
            self.rest(format!("cannot lock the cluster: {error}; nothing is changed until that works"));
        } else {
            self.verdict = Some(Verdict::NoLock(error));
        }
    }

    /// Nothing is done for a reason that is told once, and looked at again soon.
    pub(super) fn rest(&mut self, why: String) {
        self.wake = Some(Instant::now() + TRY_AGAIN);
        if self.told.why_not.as_ref() != Some(&why) {
            self.reporter.report(&Event::Waiting { message: why.clone() });
            self.told.why_not = Some(why);
        }
    }

    pub(super) fn runs(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).is_some_and(|tracked| tracked.run().is_some())
    }

    /// Tells conditions that are not what they were.
    pub(super) fn tell(&mut self, status: Status) {
        for (subject, condition) in status.changes_since(self.status.as_ref()) {
            self.reporter.report(&Event::Condition { subject, condition: condition.clone() });
        }
        self.status = Some(status);
    }

    /// What time it is, for conditions.
    pub(super) fn timestamp(&self) -> Timestamp {
        self.engine.now()
    }
}

/// When everything is listed again.
struct Resync {
    due: Instant,
    count: u32,
    /// What tells this ksail from others: the moment at which it began.
    own: u32,
}

impl Resync {
    fn new(now: Timestamp) -> Self {
        Self { due: Instant::now() + RESYNC, count: 0, own: now.subsec_nanosecond().unsigned_abs() / 1_000 }
    }

    /// Whether this one looks at everything; sets the next.
    fn is_deep(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        // Of which part does not matter, as long as it is not always the same one.
        let part = f64::from(self.count.wrapping_mul(self.own) % 100) / 100.0;
        self.due = Instant::now() + RESYNC + RESYNC_JITTER.mul_f64(part);
        self.count.is_multiple_of(RESYNCS_TO_LOOK_DEEP)
    }
}

/// A panic is a defect of ksail's own, and without that task the loop would wait for ever.
fn raise_panics(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.try_join_next() {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn ask<P: Probe>(
    probe: P,
    (key, route, how): (RouteKey, Route, Ask),
    patience: Duration,
    out: mpsc::UnboundedSender<(RouteKey, Ask, UpstreamAnswer)>,
) {
    let answer = timeout(patience, probe.upstream(&route, how)).await.unwrap_or(UpstreamAnswer::Silent);
    // Nobody listens once the watch has ended.
    let _ = out.send((key, how, answer));
}
