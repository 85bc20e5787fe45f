//! What sequences that were started together wait for in each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::plan::{Action, Milestone, Sequence, Subject};

/// Tells sequences that are started together when a milestone of another is reached.
#[derive(Debug, Clone, Default)]
pub struct Milestones(Arc<BTreeMap<Milestone, Signal>>);

/// Whether a milestone is reached.
#[derive(Debug, Default)]
struct Signal {
    /// Cancelled when it is, or when it never will be.
    settled: CancellationToken,
    missed: AtomicBool,
}

impl Milestones {
    /// Those that these sequences will reach. Nobody waits for one of a sequence that is not among them.
    pub fn of<'a>(sequences: impl Iterator<Item = (&'a Subject, &'a Sequence)>) -> Self {
        let mut all = BTreeMap::new();
        for (subject, sequence) in sequences {
            let reached = sequence.steps.iter().filter_map(|step| reached_by(subject, &step.action));
            for milestone in reached.chain(at_the_end(subject)) {
                all.insert(milestone, Signal::default());
            }
        }
        Self(Arc::new(all))
    }

    /// Whatever becomes of a sequence, nobody waits for it after it has ended.
    pub(super) fn when_ended(&self, subject: &Subject, sequence: &Sequence) -> Vec<DropGuard> {
        let reached = sequence.steps.iter().filter_map(|step| reached_by(subject, &step.action));
        let mine = reached.chain(at_the_end(subject));
        mine.filter_map(|milestone| self.0.get(&milestone)).map(|reach| reach.settled.clone().drop_guard()).collect()
    }

    pub(super) fn reach(&self, subject: &Subject, action: &Action) {
        if let Some(reach) = reached_by(subject, action).and_then(|milestone| self.0.get(&milestone)) {
            reach.settled.cancel();
        }
    }

    /// A sequence has not led to its end.
    pub(super) fn miss(&self, subject: &Subject) {
        if let Some(reach) = self.0.get(&Milestone::Done(subject.clone())) {
            reach.missed.store(true, Ordering::Release);
        }
    }

    /// Waits until all are reached, or will not be any more; whether they are.
    pub(super) async fn wait(&self, milestones: &[Milestone]) -> bool {
        let mut all = true;
        for reach in milestones.iter().filter_map(|milestone| self.0.get(milestone)) {
            reach.settled.cancelled().await;
            all &= !reach.missed.load(Ordering::Acquire);
        }
        all
    }
}

/// What a sequence settles when it ends.
fn at_the_end(subject: &Subject) -> [Milestone; 2] {
    [Milestone::Ended(subject.clone()), Milestone::Done(subject.clone())]
}

/// What an action that was tried leaves behind it.
fn reached_by(subject: &Subject, action: &Action) -> Option<Milestone> {
    let holder = subject.clone();
    match action {
        Action::StopContainer { container } | Action::RemoveContainer { container } => {
            Some(Milestone::Released { holder, container: container.name.clone() })
        }
        Action::DisconnectNetwork { container, .. } => {
            Some(Milestone::Detached { holder, container: container.name.clone() })
        }
        _ => None,
    }
}
