//! What can be reported, and the trait that takes it. Nothing below the command line prints: everything is an
//! [`Event`] that a [`Reporter`] renders.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::{EngineInfo, PullProgress};
use crate::outcome::Failure;
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
    /// Another ksail works on this cluster; its pass is waited for.
    Waiting {
        /// In words.
        message: String,
    },
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
    /// The action in words.
    pub text: String,
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
    /// It was given up because ksail was told to stop.
    Cancelled,
}

impl ActionReport {
    /// An action that begins.
    pub fn of(subject: &Subject, action: &Action, cause: &str) -> Self {
        Self {
            subject: subject.clone(),
            action: action.name(),
            object: action.object().to_owned(),
            text: action.to_string(),
            cause: cause.to_owned(),
            result: ActionResult::Done,
            duration: Duration::ZERO,
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
