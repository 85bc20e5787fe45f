//! What has been told already, so that a cause is told once: when it appears and when it changes, not at every try.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{ActionReport, ActionResult, Event};
use crate::plan::Subject;
use crate::status::{Condition, ConditionStatus, ConditionType, Reason};

/// What is known to whoever reads.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By subject, why its last try failed.
    failures: BTreeMap<Subject, String>,
    /// Of these the failure was told last, and not yet when they are tried again.
    is_waited_for: BTreeSet<Subject>,
    /// Told to be ready, and nothing since that stopped it.
    ready: BTreeSet<Subject>,
    /// What was told of upstreams that are not well, and not that they are back.
    upstreams: BTreeMap<Subject, (Reason, String)>,
    /// What was told of nodes that are not well, and not that it has passed.
    nodes: BTreeSet<(Subject, ConditionType)>,
}

/// What an event is to whoever has heard those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is to be told.
    New,
    /// It was told.
    Old,
    /// That an upstream is back is worth a line only to those who heard that it was away.
    UpstreamIsBack,
}

impl Told {
    pub(super) fn hear(&mut self, event: &Event) -> News {
        let is_new = match event {
            Event::Action(report) => self.action(report),
            Event::Retry { subject, .. } => self.is_waited_for.remove(subject),
            Event::Condition { subject, condition } if condition.kind == ConditionType::UpstreamReachable => {
                return self.upstream(subject, condition);
            }
            Event::Condition { subject: node @ Subject::Node(_), condition } => self.node(node, condition),
            Event::Condition { subject, condition } => self.condition(subject, condition),
            _ => true,
        };
        if is_new { News::New } else { News::Old }
    }

    fn action(&mut self, ActionReport { subject, action, result, .. }: &ActionReport) -> bool {
        let is_in_passing =
            matches!(*action, "ConnectNetwork" | "CreateVolume" | "UpdateRestartPolicy" | "RenameContainer");
        // That it was waited for is not told.
        let is_silent = *action == "AwaitServing" && *result == ActionResult::Done;
        if !is_in_passing && !is_silent {
            self.ready.remove(subject);
        }
        let ActionResult::Failed(failure) = result else { return true };
        let why = failure.to_string();
        let before = self.failures.insert(subject.clone(), why.clone());
        let is_new = before.is_none_or(|before| before != why);
        if is_new {
            self.is_waited_for.insert(subject.clone());
        }
        is_new
    }

    fn condition(&mut self, subject: &Subject, condition: &Condition) -> bool {
        let is_about_all = matches!(condition.kind, ConditionType::Ready | ConditionType::ClusterReady);
        match condition.status {
            ConditionStatus::True if is_about_all => {
                self.failures.remove(subject);
                self.is_waited_for.remove(subject);
                self.ready.insert(subject.clone())
            }
            // The node's own condition has said it, once for all mirrors.
            ConditionStatus::False if condition.kind == ConditionType::Ready && condition.reason.is_of_node() => false,
            // It is being changed, which its actions tell.
            _ if condition.reason == Reason::Progressing => true,
            // The action that failed has said it.
            _ if self.failures.get(subject) == Some(&condition.message) => false,
            _ => {
                if is_about_all {
                    self.ready.remove(subject);
                }
                true
            }
        }
    }

    /// That a node is well is worth a line only to those who heard that it was not.
    fn node(&mut self, node: &Subject, Condition { kind, status, reason, .. }: &Condition) -> bool {
        let told = (node.clone(), *kind);
        match status {
            ConditionStatus::True => self.nodes.remove(&told),
            ConditionStatus::False if *reason != Reason::Progressing => {
                self.nodes.insert(told);
                true
            }
            _ => false,
        }
    }

    fn upstream(&mut self, subject: &Subject, Condition { status, reason, message, .. }: &Condition) -> News {
        match status {
            ConditionStatus::False => {
                let before = self.upstreams.insert(subject.clone(), (*reason, message.clone()));
                // Until when a limit lasts is another time at each answer.
                let is_told = |(why, words): (Reason, String)| {
                    why == *reason && (words == *message || why == Reason::UpstreamRateLimited)
                };
                if before.is_some_and(is_told) { News::Old } else { News::New }
            }
            ConditionStatus::True if self.upstreams.remove(subject).is_some() => News::UpstreamIsBack,
            _ => News::Old,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::outcome::Failure;

    fn docker_io() -> Subject {
        Subject::mirror("docker.io")
    }

    fn failed(exit_code: i64) -> Event {
        let container = "ksail-dev-docker-io".to_owned();
        let failure = Failure::Exits { container: container.clone(), exit_code: Some(exit_code), said: None };
        Event::Action(ActionReport {
            subject: docker_io(),
            action: "AwaitServing",
            object: container,
            text: String::new(),
            done: String::new(),
            cause: String::new(),
            result: ActionResult::Failed(failure),
            duration: Duration::ZERO,
        })
    }

    fn ready(status: ConditionStatus, message: &str) -> Event {
        condition(ConditionType::Ready, status, message)
    }

    fn condition(kind: ConditionType, status: ConditionStatus, message: &str) -> Event {
        let (reason, message, since) = (Reason::AsDesired, message.to_owned(), Timestamp::UNIX_EPOCH);
        Event::Condition { subject: docker_io(), condition: Condition { kind, status, reason, message, since } }
    }

    fn retry() -> Event {
        Event::Retry { subject: docker_io(), after: Duration::from_secs(1) }
    }

    /// What each of the events is, in order.
    fn heard(events: &[Event]) -> Vec<News> {
        let mut told = Told::default();
        events.iter().map(|event| told.hear(event)).collect()
    }

    #[test]
    fn a_failure_is_told_when_it_appears_and_when_it_changes_and_not_at_every_try() {
        use News::{New, Old};
        let events = [failed(1), retry(), failed(1), retry(), failed(2), retry(), failed(2), retry()];
        assert_eq!(heard(&events), [New, New, Old, Old, New, New, Old, Old]);
    }

    fn done(action: &'static str) -> Event {
        let Event::Action(failed) = failed(1) else { unreachable!() };
        Event::Action(ActionReport { action, result: ActionResult::Done, ..failed })
    }

    #[test]
    fn that_it_is_ready_is_told_again_when_something_that_was_told_has_stopped_it() {
        use News::{New, Old};
        let is_ready = || ready(ConditionStatus::True, "as ksail.yaml says");
        let is_not = ready(ConditionStatus::False, "registry hangs");
        let events =
            [is_ready(), done("ConnectNetwork"), is_ready(), done("StartContainer"), is_ready(), is_not, is_ready()];
        assert_eq!(heard(&events), [New, New, Old, New, New, New, New]);
        // Its port is not there for a moment while it joins a network.
        let events = [is_ready(), done("AwaitServing"), is_ready(), failed(1), is_ready()];
        assert_eq!(heard(&events), [New, New, Old, New, New]);
    }

    #[test]
    fn a_failure_that_comes_back_after_all_was_well_is_told_again() {
        use News::New;
        let events = [failed(1), ready(ConditionStatus::True, "as ksail.yaml says"), failed(1)];
        assert_eq!(heard(&events), [New, New, New]);
    }

    #[test]
    fn a_condition_that_says_what_the_action_has_said_is_not_told() {
        use News::{New, Old};
        let Event::Action(ActionReport { result: ActionResult::Failed(failure), .. }) = failed(1) else {
            unreachable!()
        };
        let same = ready(ConditionStatus::False, &failure.to_string());
        let other = ready(ConditionStatus::False, "port 5001 is taken");
        assert_eq!(heard(&[failed(1), same.clone(), other]), [New, Old, New]);
        assert_eq!(heard(&[same]), [New]);
    }

    #[test]
    fn that_an_upstream_answers_is_told_only_to_who_heard_that_it_did_not() {
        use ConditionStatus::{False, True, Unknown};
        use News::{New, Old, UpstreamIsBack};
        let events = [Unknown, True, False, Unknown, True, True]
            .map(|status| condition(ConditionType::UpstreamReachable, status, "message"));
        assert_eq!(heard(&events), [Old, Old, New, Old, UpstreamIsBack, Old]);
    }

    #[test]
    fn what_a_node_lacks_is_told_once_and_not_for_every_mirror_and_that_it_has_passed_to_who_heard_of_it() {
        use ConditionStatus::{False, True, Unknown};
        use News::{New, Old};
        let of_node = |status, reason| {
            let condition = Condition {
                kind: ConditionType::Wired,
                status,
                reason,
                message: "message".to_owned(),
                since: Timestamp::UNIX_EPOCH,
            };
            Event::Condition { subject: Subject::Node("dev-worker".to_owned()), condition }
        };
        let of_mirror = |status, reason| {
            let Event::Condition { subject, condition } = ready(status, "not wired: dev-worker") else {
                unreachable!()
            };
            Event::Condition { subject, condition: Condition { reason, ..condition } }
        };
        let is_ready = || of_mirror(True, Reason::AsDesired);
        let events = [
            of_node(Unknown, Reason::Progressing),
            of_node(False, Reason::Progressing),
            of_node(True, Reason::Wired),
            is_ready(),
            of_node(False, Reason::NodeFileForeign),
            of_mirror(False, Reason::NodeFileForeign),
            of_node(True, Reason::Wired),
            is_ready(),
            of_mirror(False, Reason::NotAnswering),
        ];
        assert_eq!(heard(&events), [Old, Old, Old, New, New, Old, New, Old, New]);
    }

    #[test]
    fn of_an_upstream_that_is_not_well_each_cause_is_told_once_and_a_limit_whenever_it_ends() {
        use News::{New, Old};
        let upstream = |reason, message: &str| {
            let event = condition(ConditionType::UpstreamReachable, ConditionStatus::False, message);
            let Event::Condition { subject, condition } = event else { unreachable!() };
            Event::Condition { subject, condition: Condition { reason, ..condition } }
        };
        let refuses = || upstream(Reason::UpstreamUnreachable, "connection refused");
        let unknown = condition(ConditionType::UpstreamReachable, ConditionStatus::Unknown, "not asked yet");
        let limited = |until| upstream(Reason::UpstreamRateLimited, until);
        let closes = upstream(Reason::UpstreamUnreachable, "closes without an answer");
        let events = [refuses(), refuses(), unknown, refuses(), closes, limited("12:05"), limited("12:06"), refuses()];
        assert_eq!(heard(&events), [New, Old, Old, Old, New, New, Old, New]);
    }
}
