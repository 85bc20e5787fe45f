//! When a subject may start: the one place that decides, for the pass that starts what is ready and for the timer that
//! wakes it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::intent::Removals;
use super::subject::{Decision, Kind, Planned, ToCluster, Tracked, Why};
use crate::desired::Desired;
use crate::manifest::Host;
use crate::observed::{MADE_ANEW_WITHIN, Observed};
use crate::plan::{Action, Plan, Sequence, Step, Subject};

/// A file has to be as it is for this long before what left it is removed.
pub(super) const STABLE: Duration = Duration::from_secs(1);
/// And for this long before content goes, the cluster, or everything at once.
const STABLE_FOR_GOOD: Duration = Duration::from_secs(10);

/// Everything that the answer depends on.
#[expect(clippy::struct_excessive_bools, reason = "four facts that have nothing to do with each other")]
pub(super) struct Readiness<'a> {
    pub(super) subjects: &'a BTreeMap<Subject, Tracked>,
    pub(super) plan: &'a Plan,
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    /// What is known of them is outdated.
    pub(super) unsettled: &'a BTreeSet<Subject>,
    /// What the cluster says is outdated.
    pub(super) cluster_is_asked: bool,
    pub(super) removals: Removals,
    /// Nodes that are about to end, by id.
    pub(super) ending: &'a BTreeSet<String>,
    /// When the last container of the cluster went.
    pub(super) cluster_went: Option<Instant>,
    /// Somebody looks into one of the cluster's nodes.
    pub(super) nodes_are_read: bool,
    /// What was tried often enough is not tried again.
    pub(super) gives_up: bool,
    /// Nothing is begun any more but to delete what a creation has left.
    pub(super) is_stopping: bool,
    /// And that these go back to their upstreams.
    pub(super) goes_back: &'a BTreeSet<Subject>,
    pub(super) now: Instant,
}

impl Readiness<'_> {
    /// When a subject may start, with all that it needs; otherwise why that is not a question of time.
    pub(super) fn ready_at(&self, subject: &Subject) -> Result<Instant, Why> {
        let mut due = self.by_itself(subject)?;
        let (mut seen, mut waiting) = (BTreeSet::from([subject]), vec![subject]);
        while let Some(subject) = waiting.pop() {
            let steps = self.plan.sequences.get(subject).map_or(&[][..], |sequence| &sequence.steps);
            for milestone in steps.iter().flat_map(|step| &step.after) {
                let other = milestone.of();
                let is_new = !seen.contains(other);
                match milestone.needs() {
                    // What it needs is not about to come.
                    Some(_) if self.is_blocked(other) => return Err(Why::Needs),
                    // It starts together with whom it needs; a circle is one.
                    Some(_) if is_new && (self.has_steps(other) || self.runs(other)) => {
                        due = due.max(self.by_itself(other).map_err(|_| Why::Needs)?);
                        seen.insert(other);
                        waiting.push(other);
                    }
                    // It goes after whoever runs, or would in a moment.
                    None if self.runs(other) || (self.has_steps(other) && self.unsettled.contains(other)) => {
                        return Err(Why::Needs);
                    }
                    _ => {}
                }
            }
        }
        Ok(due)
    }

    /// The same, as far as the subject itself is concerned.
    fn by_itself(&self, subject: &Subject) -> Result<Instant, Why> {
        let due = self.apart_from_its_turn(subject)?;
        let renews = self.plan.sequences.get(subject).is_some_and(|sequence| sequence.renews);
        if renews && self.someone_else_renews(subject) { Err(Why::Turn) } else { Ok(due) }
    }

    fn apart_from_its_turn(&self, subject: &Subject) -> Result<Instant, Why> {
        let sequence = self.plan.sequences.get(subject);
        let kind = sequence.map(kind_of).unwrap_or_default();
        if self.unsettled.contains(subject) {
            return Err(Why::Unsettled);
        }
        let due = match self.decide(subject) {
            Decision::Start => self.now,
            Decision::Wait { until: Some(until), .. } => until,
            Decision::Wait { until: None, why } => return Err(why),
            Decision::Rest | Decision::Cancel => return Err(Why::Needs),
        };
        let due = match self.cluster_went {
            Some(went) if kind.to_cluster == Some(ToCluster::Creates) => due.max(went + MADE_ANEW_WITHIN),
            _ => due,
        };
        let is_of_the_end = (kind.deletes_cluster() && self.has_left(subject)) || self.goes_back.contains(subject);
        if self.is_stopping && !is_of_the_end {
            return Err(Why::Stopping);
        }
        if self.gives_up && self.subjects.get(subject).is_some_and(Tracked::is_hopeless) {
            return Err(Why::GivenUp);
        }
        let is_about_what_it_says = matches!(subject, Subject::Cluster(_)) && kind.touches_cluster;
        if is_about_what_it_says && self.cluster_is_asked {
            return Err(Why::Unsettled);
        }
        // Of one that has not been looked at nobody knows whether it has to leave the cluster's network first.
        let is_looked_at = |other: &Subject| other.host().is_some() && !self.runs(other);
        if kind.deletes_cluster() && self.unsettled.iter().any(is_looked_at) {
            return Err(Why::Unsettled);
        }
        if sequence.is_some_and(|sequence| sequence.asks) {
            return Err(Why::Unsettled);
        }
        if self.is_left_alone(subject, kind) {
            return Err(Why::LeftAlone);
        }
        if self.is_volume_of_one_unsettled(subject) {
            return Err(Why::Unsettled);
        }
        if self.removals == Removals::Never && self.is_removal(subject) {
            return Err(Why::Removal);
        }
        if let Subject::Mirror(host) = subject
            && let Some(mirror) = self.desired.mirrors.values().find(|mirror| mirror.host.as_str() == host)
            && self.runs(&Subject::Volume(mirror.volume.clone()))
        {
            return Err(Why::Needs);
        }
        Ok(due)
    }

    /// Whether a container may be on a volume that is to go: one that is listed and has not been looked at.
    fn is_volume_of_one_unsettled(&self, subject: &Subject) -> bool {
        let Subject::Volume(name) = subject else { return false };
        let host = self.observed.volumes.get(name).and_then(|volume| self.observed.host_of_volume(volume));
        host.is_some_and(|host| self.unsettled.contains(&Subject::Mirror(host)))
    }

    /// What its own state says.
    pub(super) fn decide(&self, subject: &Subject) -> Decision {
        let planned = match self.plan.sequences.get(subject) {
            None => Planned::Nothing,
            Some(sequence) => match sequence.steps.first() {
                Some(first) => Planned::Steps { cause: &first.cause, not_before: self.not_before(subject) },
                None if sequence.obstacles.is_empty() => Planned::Nothing,
                None => Planned::Blocked,
            },
        };
        let tracked = self.subjects.get(subject);
        tracked.map_or(Decision::Rest, |tracked| tracked.decide(subject, planned, self.now))
    }

    /// Whether what is to be done removes something that the file does not ask for any more.
    fn is_removal(&self, subject: &Subject) -> bool {
        let first = self.plan.sequences.get(subject).and_then(|sequence| sequence.steps.first());
        match subject {
            Subject::Mirror(host) => !is_desired(self.desired, host),
            Subject::Volume(_) => true,
            Subject::Node(_) => first.is_some_and(|step| is_of_removal(&step.action)),
            Subject::Cluster(_) => first.is_some_and(|step| is_of_removal(&step.action)) && !self.has_left(subject),
        }
    }

    /// When what the file does not ask for any more may go.
    pub(super) fn not_before(&self, subject: &Subject) -> Option<Instant> {
        let Removals::Careful { since } = self.removals else { return None };
        let is_for_good =
            matches!(subject, Subject::Volume(_)) || self.is_everything() || self.accounts_for_a_volume(subject);
        self.is_removal(subject).then(|| since + if is_for_good { STABLE_FOR_GOOD } else { STABLE })
    }

    /// Whether nodes may lose what the file does not ask for any more.
    pub(super) fn may_remove_from_nodes(&self) -> bool {
        match self.removals {
            Removals::AtOnce => true,
            Removals::Careful { since } => {
                self.now >= since + if self.is_everything() { STABLE_FOR_GOOD } else { STABLE }
            }
            Removals::Never => false,
        }
    }

    /// Whether a volume that goes says nothing of whose it is: that its container is gone as well would leave it behind.
    fn accounts_for_a_volume(&self, subject: &Subject) -> bool {
        let is_its = |step: &Step| {
            let says_nothing = matches!(&step.action, Action::RemoveVolume { volume } if volume.labels.is_empty());
            says_nothing && step.after.iter().any(|milestone| milestone.must_succeed() == Some(subject))
        };
        self.plan.sequences.values().flat_map(|sequence| &sequence.steps).any(is_its)
    }

    /// Whether nothing is asked for any more of all that there is.
    pub(super) fn is_everything(&self) -> bool {
        self.desired.mirrors.is_empty()
    }

    fn someone_else_renews(&self, subject: &Subject) -> bool {
        let runs = self.subjects.values().any(|tracked| tracked.run().is_some_and(|run| run.kind.renews));
        let mut all = self.plan.sequences.iter().filter(|(_, sequence)| sequence.renews).map(|(subject, _)| subject);
        let first = all.find(|subject| self.apart_from_its_turn(subject).is_ok_and(|due| due <= self.now));
        runs || first.is_some_and(|first| first != subject)
    }

    /// Whether it would be in the way of whoever deletes the cluster, or is to delete it while somebody else is.
    fn is_left_alone(&self, subject: &Subject, kind: Kind) -> bool {
        let node = match subject {
            Subject::Mirror(_) | Subject::Volume(_) => None,
            Subject::Node(name) => self.observed.nodes.iter().find(|node| node.name == *name).map(|node| &node.id),
            Subject::Cluster(_) => self.observed.hosting.as_ref().map(|hosting| &hosting.node_id),
        };
        if kind.touches_cluster && node.is_some_and(|id| self.ending.contains(id)) {
            return true;
        }
        if kind.touches_cluster && (self.is_cluster_deleted() || self.is_cluster_to_be_deleted()) {
            return true;
        }
        kind.deletes_cluster() && (self.nodes_are_read || self.somebody_touches_cluster())
    }

    fn is_cluster_deleted(&self) -> bool {
        self.subjects.values().any(|tracked| tracked.run().is_some_and(|run| run.kind.deletes_cluster()))
    }

    fn somebody_touches_cluster(&self) -> bool {
        self.subjects.values().any(|tracked| tracked.run().is_some_and(|run| run.kind.touches_cluster))
    }

    /// Whether the cluster's deletion is due: nothing begins any more that would be in its way.
    pub(super) fn is_cluster_to_be_deleted(&self) -> bool {
        let subject = Subject::Cluster(self.desired.cluster.to_string());
        let deletes = self.plan.sequences.get(&subject).is_some_and(|sequence| kind_of(sequence).deletes_cluster());
        let is_given_up = self.gives_up && self.subjects.get(&subject).is_some_and(Tracked::is_hopeless);
        deletes
            && !is_given_up
            && self.removals != Removals::Never
            && !self.unsettled.contains(&subject)
            && self.decide(&subject) == Decision::Start
    }

    fn has_left(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).is_some_and(Tracked::has_left)
    }

    fn has_steps(&self, subject: &Subject) -> bool {
        self.plan.sequences.get(subject).is_some_and(|sequence| !sequence.steps.is_empty())
    }

    /// Whether only somebody else can have something done for it.
    fn is_blocked(&self, subject: &Subject) -> bool {
        self.plan.sequences.get(subject).is_some_and(Sequence::is_blocked)
    }

    fn runs(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).is_some_and(|tracked| tracked.run().is_some())
    }
}

/// What a sequence is to do, as far as others have to know.
pub(super) fn kind_of(sequence: &Sequence) -> Kind {
    let does = |is_so: fn(&Action) -> bool| sequence.steps.iter().any(|step| is_so(&step.action));
    Kind {
        touches_cluster: does(Action::touches_cluster),
        to_cluster: sequence.steps.iter().find_map(|step| match step.action {
            Action::CreateCluster { .. } => Some(ToCluster::Creates),
            Action::DeleteCluster { .. } => Some(ToCluster::Deletes),
            _ => None,
        }),
        renews: sequence.renews,
    }
}

/// Whether an action takes something away from a node or a cluster.
pub(super) const fn is_of_removal(action: &Action) -> bool {
    matches!(
        action,
        Action::RemoveNodeFiles { .. }
            | Action::RemoveNodeDirectories { .. }
            | Action::WithdrawRegistry { .. }
            | Action::RemoveNetwork { .. }
            | Action::DeleteCluster { .. }
    )
}

fn is_desired(desired: &Desired, host: &str) -> bool {
    desired.mirrors.keys().map(Host::as_str).any(|desired| desired == host)
}
