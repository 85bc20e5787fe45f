//! What can be reported, and the trait that takes it. Nothing below the command line prints: everything is an
//! [`Event`] that a [`Reporter`] renders.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::{EngineInfo, PullProgress};
use crate::exposure::Exposure;
use crate::outcome::{Failure, GivenUp};
use crate::plan::{Action, Subject};
use crate::status::Condition;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A controller has begun to watch.
    Watching {
        /// The manifest.
        file: PathBuf,
        /// Its cluster.
        cluster: String,
    },
    /// A manifest loads; it is in force from now on.
    ManifestLoaded {
        /// How many mirrors it lists.
        mirrors: usize,
    },
    /// A manifest does not load; the last good one stays in force.
    ManifestRejected {
        /// Everything wrong with it, as `ksail validate` prints it.
        message: String,
    },
    /// The system does not tell of every change of the manifest, which is read every second for that reason.
    ManifestPolled {
        /// The manifest.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine answers.
    EngineFound(EngineInfo),
    /// The engine does not answer.
    EngineLost {
        /// Why.
        message: String,
    },
    /// The engine answers, and refuses to say what it is.
    EngineRefuses {
        /// Its words.
        message: String,
    },
    /// Another ksail works on this cluster; its pass is waited for.
    Waiting {
        /// In words.
        message: String,
    },
    /// ksail was told to stop, and finishes what it is at, or takes that back.
    Stopping {
        /// What it is at.
        under_way: Vec<Subject>,
    },
    /// Half of a cluster is there that its creation has made, and ksail ends without having deleted it.
    LeftBehind {
        /// The cluster.
        subject: Subject,
    },
    /// The file asks for something to be removed for good, which is done unless it is changed back.
    Removing {
        /// What.
        what: Vec<Subject>,
        /// Until then.
        after: Duration,
    },
    /// What is asked for lets others reach a registry, or see a password.
    Exposed(Exposure),
    /// A pass found something to do.
    PassStarted {
        /// What led to it.
        trigger: Vec<String>,
    },
    /// Everything a pass began has ended.
    PassFinished {
        /// Actions taken.
        actions: usize,
        /// Those that failed.
        failed: usize,
        /// From its start.
        duration: Duration,
    },
    /// An action begins.
    ActionStarted(ActionReport),
    /// An action has ended.
    Action(ActionReport),
    /// A line from the engine about an image it pulls.
    Pulling {
        /// Reference.
        image: String,
        /// The line.
        progress: PullProgress,
    },
    /// A line from a distribution's program.
    Output {
        /// The cluster it works on.
        subject: Subject,
        /// The line.
        line: String,
    },
    /// A condition is not what it was.
    Condition {
        /// What it is about.
        subject: Subject,
        /// What it is now.
        condition: Condition,
    },
    /// Something failed and is tried again.
    Retry {
        /// What.
        subject: Subject,
        /// Until then.
        after: Duration,
    },
}

/// One action in a report.
#[derive(Debug, Clone)]
pub struct ActionReport {
    /// What it is done for.
    pub subject: Subject,
    /// Name of the action.
    pub action: &'static str,
    /// Name of the object it is about.
    pub object: String,
    /// The action in words: `create container ksail-dev-docker-io`.
    pub text: String,
    /// The same when it has been done, and its subject is known: `created its container`.
    pub done: String,
    /// Why.
    pub cause: String,
    /// How it ended.
    pub result: ActionResult,
    /// How long it took.
    pub duration: Duration,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionResult {
    /// It was done.
    Done,
    /// It failed.
    Failed(Failure),
    /// It was given up.
    Cancelled(GivenUp),
}

impl ActionReport {
    /// An action that begins.
    pub fn of(subject: &Subject, action: &Action, cause: &str) -> Self {
        Self {
            subject: subject.clone(),
            action: action.name(),
            object: action.object().to_owned(),
            text: action.to_string(),
            done: action.done(),
            cause: cause.to_owned(),
            result: ActionResult::Done,
            duration: Duration::ZERO,
        }
    }
}

/// Whether a reader who is too slow for everything may miss an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Importance {
    /// It tells how something goes on, and may be missed.
    Progress,
    /// It tells how something is: the newest of its key is kept.
    Newest(Key),
    /// It is kept.
    Always,
}

/// What makes an event outdated by a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What both are about, if it is one of them.
    pub subject: Option<Subject>,
    /// Type of the condition, name of the action, or what else both are about.
    pub what: &'static str,
}

impl Event {
    /// How much it matters that it is seen.
    pub fn importance(&self) -> Importance {
        let newest = |subject: Option<&Subject>, what| Importance::Newest(Key { subject: subject.cloned(), what });
        match self {
            Self::Condition { subject, condition } => newest(Some(subject), condition.kind.as_str()),
            Self::Action(report) if matches!(report.result, ActionResult::Failed(_)) => {
                newest(Some(&report.subject), report.action)
            }
            Self::ManifestLoaded { .. } | Self::ManifestRejected { .. } => newest(None, "manifest"),
            Self::ManifestPolled { .. } => newest(None, "polled"),
            Self::EngineFound(_) | Self::EngineLost { .. } | Self::EngineRefuses { .. } => newest(None, "engine"),
            Self::Waiting { .. } => newest(None, "lock"),
            Self::Removing { .. } => newest(None, "removal"),
            Self::LeftBehind { .. } | Self::Exposed(_) | Self::Stopping { .. } => Importance::Always,
            Self::Watching { .. }
            | Self::PassStarted { .. }
            | Self::PassFinished { .. }
            | Self::ActionStarted(_)
            | Self::Action(_)
            | Self::Pulling { .. }
            | Self::Output { .. }
            | Self::Retry { .. } => Importance::Progress,
        }
    }
}

/// Renders events.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: &Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::status::{ConditionStatus, ConditionType, Reason};

    fn condition(mirror: &str, kind: ConditionType, status: ConditionStatus) -> Importance {
        let (reason, message, since) = (Reason::AsDesired, String::new(), Timestamp::UNIX_EPOCH);
        let condition = Condition { kind, status, reason, message, since };
        Event::Condition { subject: Subject::mirror(mirror), condition }.importance()
    }

    fn action(result: ActionResult) -> Importance {
        let (subject, object) = (Subject::mirror("docker.io"), String::new());
        let (text, done, cause, duration) = (String::new(), String::new(), String::new(), Duration::ZERO);
        let action = "StartContainer";
        Event::Action(ActionReport { subject, action, object, text, done, cause, result, duration }).importance()
    }

    #[test]
    fn a_condition_is_outdated_by_the_same_condition_of_the_same_subject_only() {
        let ready = condition("docker.io", ConditionType::Ready, ConditionStatus::True);
        assert_eq!(ready, condition("docker.io", ConditionType::Ready, ConditionStatus::False));
        assert_ne!(ready, condition("docker.io", ConditionType::Serving, ConditionStatus::True));
        assert_ne!(ready, condition("ghcr.io", ConditionType::Ready, ConditionStatus::True));
    }

    #[test]
    fn that_an_engine_is_back_outdates_that_it_was_lost() {
        let lost = Event::EngineLost { message: String::new() }.importance();
        let (name, version, api_version, address) = Default::default();
        let found = Event::EngineFound(EngineInfo { name, version, api_version, address }).importance();
        assert_eq!(lost, found);
        assert_ne!(lost, Importance::Progress);
    }

    #[test]
    fn an_action_may_be_missed_unless_it_failed() {
        assert_eq!(action(ActionResult::Done), Importance::Progress);
        let failed = ActionResult::Failed(Failure::DoesNotServe { container: String::new() });
        assert_ne!(action(failed), Importance::Progress);
    }
}
