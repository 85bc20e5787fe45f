//! The state of one subject, and its pace: when a sequence for it may begin. Pure.
//!
//! Every run is paid for, so that nothing that does not cooperate makes the loop run hot:
//!
//! - A run that failed, or whose cause is planned again without having been seen cured, is left alone for half a second,
//!   then twice as long, up to a minute.
//! - Whatever the causes, there are nine runs, and one more a minute. A changed spec brings one of its own.

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::delay;
use crate::desired::{Desired, Provisioning};
use crate::distribution::registry_hosting::RegistryHosting;
use crate::engine::ContainerSpec;
use crate::manifest::{Distribution, Host, Lifecycle, State as Wanted, VolumePolicy};
use crate::outcome::{Cancel, Ended, Failure, Outcome};
use crate::plan::Subject;
use crate::provisioner::ProvisionError;
use crate::registry::{FilesDigest, SecretFiles};

/// Runs that a subject has at once.
const BUCKET: u32 = 9;
/// One of them is regained in this time.
const REGAINED: Duration = Duration::from_secs(60);
/// How often something failed is forgotten when nothing had to be done for this long.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// `apply` gives a subject this many runs.
const TRIES: u32 = 3;
/// What is put right so often, and comes back each time, is told.
const REPEATED: u32 = 2;

/// What a subject is to become. Another one gives it a new start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spec {
    /// That it is gone: it is not in the manifest.
    Gone,
    /// A mirror: everything that its container is made from.
    Mirror { container: Box<ContainerSpec>, secrets: Option<FilesDigest> },
    /// A volume: whether it goes, and whose stay. Whoever changes that may have changed their mind about this one.
    Volume { goes: bool, hosts: Vec<Host> },
    /// A node: a digest of the files it should have.
    Node { files: u64 },
    /// The cluster: whether it exists, how it is made, and what it says of its registry.
    Cluster {
        exists: bool,
        lifecycle: Lifecycle,
        distribution: Distribution,
        provisioning: Provisioning,
        hosting: Option<RegistryHosting>,
    },
}

impl Spec {
    pub(super) fn of(subject: &Subject, desired: &Desired) -> Self {
        match subject {
            Subject::Mirror(host) => {
                let mirror = desired.mirrors.values().find(|mirror| mirror.host.as_str() == host);
                mirror.map_or(Self::Gone, |mirror| Self::Mirror {
                    container: Box::new(mirror.container.clone()),
                    secrets: mirror.files.as_ref().map(SecretFiles::digest),
                })
            }
            Subject::Volume(_) => Self::Volume {
                goes: desired.state == Wanted::Purged
                    || (desired.state == Wanted::Present && desired.volume_policy == VolumePolicy::Delete),
                hosts: desired.mirrors.keys().cloned().collect(),
            },
            Subject::Node(_) => {
                let mut hasher = DefaultHasher::new();
                for (host, file) in desired.mirrors.values().flat_map(|mirror| &mirror.node_files) {
                    (host, file.text()).hash(&mut hasher);
                }
                Self::Node { files: hasher.finish() }
            }
            Subject::Cluster(_) => Self::Cluster {
                exists: desired.state == Wanted::Present,
                lifecycle: desired.lifecycle,
                distribution: desired.distribution,
                provisioning: desired.provisioning.clone(),
                hosting: desired.hosting.clone(),
            },
        }
    }

    /// Whether a run towards this one is given up for another. One that makes or deletes a cluster is not for what the
    /// cluster says, nor for what the next one would be made with.
    fn is_given_up_for(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Cluster { exists, lifecycle, distribution, .. },
                Self::Cluster { exists: e, lifecycle: l, distribution: d, .. },
            ) => (exists, lifecycle, distribution) != (e, l, d),
            // What is half done in a node is gone on with by the next run.
            (Self::Node { .. }, Self::Node { .. }) => false,
            _ => self != other,
        }
    }
}

/// What a sequence is to do, as far as others have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind {
    /// It looks into nodes, or joins the cluster's network.
    pub(super) touches_cluster: bool,
    /// It makes the cluster or deletes it.
    pub(super) to_cluster: Option<ToCluster>,
    /// It brings a container into the shape that this version gives it.
    pub(super) renews: bool,
}

/// What is done to the cluster itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToCluster {
    Creates,
    Deletes,
}

impl ToCluster {
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Creates => "it is being created",
            Self::Deletes => "it is being deleted",
        }
    }
}

impl Kind {
    pub(super) fn deletes_cluster(self) -> bool {
        self.to_cluster == Some(ToCluster::Deletes)
    }
}

/// A sequence under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) cancel: Cancel,
    pub(super) kind: Kind,
    pub(super) cause: String,
    spec: Spec,
}

/// Where a subject stands.
#[derive(Debug)]
pub(super) enum State {
    /// As desired, or nothing can be done until something changes.
    Idle,
    /// A sequence is under way.
    Running(Run),
    /// There is something to do, and not yet: until when, where time alone decides.
    Waiting { until: Option<Instant>, why: Why },
}

/// Why nothing is done although there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The last run failed.
    Failed,
    /// The last run cured nothing.
    Repeated,
    /// Too many runs in too short a time.
    OutOfRuns,
    /// Only somebody else can remove what is in the way.
    Blocked,
    /// A removal that the file asks for, and may take back in a moment.
    Removal,
    /// What is known of it is outdated, and being read.
    Unsettled,
    /// It needs another subject that is not ready.
    Needs,
    /// Its node is about to end, or the cluster is being deleted.
    LeftAlone,
    /// Others of its kind come first.
    Turn,
    /// It was tried often enough.
    GivenUp,
    /// ksail is about to end.
    Stopping,
}

impl Why {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Failed => "the last try failed",
            Self::Repeated => "what was done did not help",
            Self::OutOfRuns => "too much was done in too short a time",
            Self::Blocked => "somebody else is in the way",
            Self::Removal => "the file may be changed back",
            Self::Unsettled => "the engine is to say how it is",
            Self::Needs => "something else is to be done first",
            Self::LeftAlone => "a node is about to end",
            Self::Turn => "others of its kind come first",
            Self::GivenUp => "it was tried often enough",
            Self::Stopping => "ksail is about to end",
        }
    }
}

/// What is planned for a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned<'a> {
    Nothing,
    /// Somebody else is in the way.
    Blocked,
    /// Steps: why, and not before.
    Steps {
        cause: &'a str,
        not_before: Option<Instant>,
    },
}

/// What is to be done about a subject now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing; what is under way goes on.
    Rest,
    /// It may start.
    Start,
    /// Not before this moment, if time decides.
    Wait { until: Option<Instant>, why: Why },
    /// What is under way is for another spec.
    Cancel,
}

/// A subject: its spec, its state and its pace.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) state: State,
    spec: Spec,
    /// Runs left, as of `counted`.
    runs: u32,
    counted: Option<Instant>,
    /// The own run of a changed spec, or of another node of the same name.
    is_new: bool,
    /// Id of the node that something was to be done in.
    node: Option<String>,
    /// Tries that failed or cured nothing, as far as they are remembered.
    tries: u32,
    /// Tries in a row that failed, the last one included.
    failed: u32,
    failure: Option<Failure>,
    /// What was done well and has not been seen cured since: why, and how often in a row.
    uncured: Option<(String, u32)>,
    last_end: Option<Instant>,
    /// Since when there has been nothing to do.
    idle_since: Option<Instant>,
    /// How a creation ended that has left half a cluster.
    left: Option<ProvisionError>,
}

impl Tracked {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            state: State::Idle,
            spec,
            runs: BUCKET,
            counted: None,
            is_new: false,
            node: None,
            tries: 0,
            failed: 0,
            failure: None,
            uncured: None,
            last_end: None,
            idle_since: None,
            left: None,
        }
    }

    /// It is to become something: another spec is a new start, with one run that is not counted.
    pub(super) fn set_spec(&mut self, spec: Spec) {
        if self.spec != spec {
            self.spec = spec;
            self.starts_anew();
        }
    }

    /// Something is to be done in a node: another one than before is a new start as well, whatever its name.
    pub(super) fn meets(&mut self, node: &str) {
        if self.run().is_none() && self.node.as_deref() != Some(node) && self.node.replace(node.to_owned()).is_some() {
            self.starts_anew();
        }
    }

    fn starts_anew(&mut self) {
        (self.tries, self.failed, self.failure, self.uncured, self.is_new) = (0, 0, None, None, true);
        if let State::Waiting { .. } = self.state {
            self.state = State::Idle;
        }
    }

    /// Whether what is under way is for another spec.
    pub(super) fn is_outdated(&self) -> bool {
        self.run().is_some_and(|run| run.spec.is_given_up_for(&self.spec))
    }

    /// What is to be done about it by itself; what others have to say is not looked at here.
    pub(super) fn decide(&self, subject: &Subject, planned: Planned<'_>, now: Instant) -> Decision {
        if self.run().is_some() {
            return if self.is_outdated() { Decision::Cancel } else { Decision::Rest };
        }
        match planned {
            Planned::Nothing => Decision::Rest,
            Planned::Blocked => Decision::Wait { until: None, why: Why::Blocked },
            Planned::Steps { cause, not_before } => {
                let waits = [not_before.map(|due| (due, Why::Removal)), self.paced(subject, cause), self.rationed(now)];
                match waits.into_iter().flatten().filter(|(due, _)| *due > now).max_by_key(|(due, _)| *due) {
                    Some((due, why)) => Decision::Wait { until: Some(due), why },
                    None => Decision::Start,
                }
            }
        }
    }

    /// Until when it is left alone because the last run failed or cured nothing.
    fn paced(&self, subject: &Subject, cause: &str) -> Option<(Instant, Why)> {
        let ended = self.last_end.filter(|_| !self.is_new)?;
        if self.failure.is_some() {
            return Some((ended + delay(subject, self.tries), Why::Failed));
        }
        let is_same = self.uncured.as_ref().is_some_and(|(before, _)| before == cause);
        is_same.then(|| (ended + delay(subject, self.tries + 1), Why::Repeated))
    }

    /// Until when it has no run left.
    fn rationed(&self, now: Instant) -> Option<(Instant, Why)> {
        let (runs, counted) = self.runs_left(now);
        (runs == 0 && !self.is_new).then(|| (counted.unwrap_or(now) + REGAINED, Why::OutOfRuns))
    }

    /// Runs left, and since when the next one is being regained.
    fn runs_left(&self, now: Instant) -> (u32, Option<Instant>) {
        let (mut runs, mut counted) = (self.runs, self.counted);
        while let Some(since) = counted.filter(|since| runs < BUCKET && *since + REGAINED <= now) {
            runs += 1;
            counted = Some(since + REGAINED);
        }
        (runs, counted.filter(|_| runs < BUCKET))
    }

    /// A sequence begins: what ends it before its time, and whether it was counted.
    pub(super) fn start(&mut self, cause: &str, kind: Kind, now: Instant) -> (Cancel, bool) {
        if self.has_been_idle(now) {
            self.tries = 0;
        }
        self.idle_since = None;
        let is_counted = !std::mem::take(&mut self.is_new);
        if is_counted {
            let (runs, counted) = self.runs_left(now);
            (self.runs, self.counted) = (runs.saturating_sub(1), counted.or(Some(now)));
        }
        let cancel = Cancel::default();
        let run = Run { cancel: cancel.clone(), kind, cause: cause.to_owned(), spec: self.spec.clone() };
        self.state = State::Running(run);
        (cancel, is_counted)
    }

    /// The sequence has ended; after how long it is tried again, if it failed.
    pub(super) fn end(&mut self, subject: &Subject, outcome: &Outcome, now: Instant) -> Option<Duration> {
        let State::Running(Run { cause, spec, .. }) = std::mem::replace(&mut self.state, State::Idle) else {
            return None;
        };
        let is_of_another = spec != self.spec;
        self.last_end = Some(now);
        if let Some(left) = &outcome.left {
            // It is deleted with tries of its own.
            (self.left, self.failed) = (Some(left.clone()), 0);
        }
        match &outcome.ended {
            Ended::Done => {
                self.failed = 0;
                self.failure = None;
                let again = self.uncured.take().filter(|(before, _)| *before == cause).map(|(_, times)| times);
                self.tries += u32::from(again.is_some());
                self.uncured = Some((cause, again.unwrap_or_default() + 1));
                None
            }
            // It was told to, or what it waited for did not come about: nothing was tried.
            Ended::Cancelled => {
                (self.failure, self.uncured) = (None, None);
                None
            }
            // It says nothing about what is to be now.
            Ended::Failed(_) if is_of_another => None,
            Ended::Failed(failure) => {
                self.failed += u32::from(outcome.left.is_none());
                self.tries += 1;
                self.failure = Some(match (&self.left, &outcome.left) {
                    (Some(created), None) => {
                        Failure::Remains { created: created.clone(), left: Box::new(failure.clone()) }
                    }
                    _ => failure.clone(),
                });
                Some(delay(subject, self.tries))
            }
        }
    }

    /// There is nothing to do for it: what was done has cured it, or somebody else has.
    pub(super) fn is_cured(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
        self.failed = 0;
        self.failure = None;
        self.uncured = None;
        if let State::Waiting { .. } = self.state {
            self.state = State::Idle;
        }
    }

    fn has_been_idle(&self, now: Instant) -> bool {
        self.idle_since.is_some_and(|since| since + FORGOTTEN <= now)
    }

    /// Nothing of a creation is left; that it failed stands.
    pub(super) fn is_cleared(&mut self) {
        if let Some(created) = self.left.take() {
            self.failure = Some(created.into());
            self.uncured = None;
        }
    }

    /// Whether half a cluster is left that a creation has made.
    pub(super) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    pub(super) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            State::Idle | State::Waiting { .. } => None,
        }
    }

    /// Why it is not as it should be, as far as trying has shown.
    pub(super) fn failure(&self) -> Option<Failure> {
        let repeated = || {
            let (cause, times) = self.uncured.as_ref().filter(|(_, times)| *times >= REPEATED)?;
            let waits = matches!(self.state, State::Waiting { why: Why::Repeated, .. });
            waits.then(|| Failure::Repeated { cause: cause.clone(), times: *times })
        };
        let left = || self.left.clone().map(Failure::from);
        self.failure.clone().or_else(left).or_else(repeated)
    }

    /// What is waited for until it is as desired, in words.
    pub(super) fn waits_for(&self, now: Instant) -> Option<String> {
        let (until, why) = match &self.state {
            State::Idle => return None,
            State::Running(run) => return Some(format!("{} (under way)", run.cause)),
            State::Waiting { until, why } => (until, why),
        };
        let why = self.failure().map_or_else(|| why.in_words().to_owned(), |failure| failure.to_string());
        let next = until.map(|until| format!("; next try in {:.1} s", until.duration_since(now).as_secs_f64()));
        Some(why + &next.unwrap_or_default())
    }

    /// Whether `apply` tries it no more. A program that ran for minutes has said what is wrong; whoever wants it tried
    /// again says so. What it left is deleted all the same.
    pub(super) fn is_hopeless(&self) -> bool {
        let is_of_program = matches!(self.failure, Some(Failure::Provisioner(_)));
        let cures_nothing = self.failure.is_none() && self.uncured.as_ref().is_some_and(|(_, times)| *times >= TRIES);
        self.failed >= TRIES || (is_of_program && self.left.is_none()) || cures_nothing
    }

    /// Whether what a creation has left was tried to be deleted often enough by whoever is about to end.
    pub(super) fn has_been_tried_enough(&self) -> bool {
        self.failed >= TRIES
    }

    /// Whether nothing has to be remembered of it.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        matches!(self.state, State::Idle)
            && self.failure.is_none()
            && self.uncured.is_none()
            && self.left.is_none()
            && (self.tries == 0 || self.has_been_idle(now))
            && self.runs_left(now).0 == BUCKET
    }
}
