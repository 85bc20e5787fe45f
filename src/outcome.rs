//! How a sequence ended, and why it failed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::EngineError;
use crate::provisioner::ProvisionError;
use crate::registry::LastWords;

/// A registry that starts has this long to answer `/v2/`.
pub const SERVE_WITHIN: Duration = Duration::from_secs(15);

/// What came of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Actions taken that change the engine, those that failed or took others back included.
    pub actions: usize,
    /// How a creation ended that may have left half a cluster.
    pub left: Option<ProvisionError>,
}

/// How a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every step was done.
    Done,
    /// A step failed; those that can be taken back were.
    Failed(Failure),
    /// It was told to stop; those that can be taken back were.
    Cancelled,
}

/// Why what is under way is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// ksail was told to stop.
    Stopped,
    /// The time that a command was given is over.
    TimeIsUp,
    /// The file asks for something else by now.
    Outdated,
    /// A command has found that it cannot do what it is to do.
    CannotGoOn,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "ksail was told to stop",
            Self::TimeIsUp => "time is up",
            Self::Outdated => "ksail.yaml asks for something else by now",
            Self::CannotGoOn => "ksail cannot go on",
        })
    }
}

/// What ends a sequence before its end, and says why. Clones end together.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    why: Arc<OnceLock<GivenUp>>,
}

impl Cancel {
    /// Ends it; the first reason counts.
    pub fn cancel(&self, why: GivenUp) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// What whoever is to end listens to.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why, once it is ended.
    pub fn why(&self) -> Option<GivenUp> {
        self.why.get().copied()
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The engine refused or did not answer.
    #[error("{what}: {error}")]
    Engine {
        /// The action, in words.
        what: String,
        /// Its words.
        #[source]
        error: EngineError,
    },
    /// The name was taken by someone else after the plan was made.
    #[error("{kind} {name} was not made by ksail and is left alone; rename or remove it")]
    NameTaken {
        /// `container` or `volume`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Somebody is on a network that is to go, or would not start any more without it.
    #[error("network {network} stays: container {container} uses it by now")]
    NetworkInUse {
        /// The network's name.
        network: String,
        /// Who is on it.
        container: String,
    },
    /// The registry's process ended instead of answering.
    #[error("the registry in {container} exits at once{}{}", exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default(), why_it_exits(container, said.as_ref()))]
    Exits {
        /// The container.
        container: String,
        /// Its exit code.
        exit_code: Option<i64>,
        /// What it said before, where it gave up by itself.
        said: Option<LastWords>,
    },
    /// The registry runs and does not answer.
    #[error("the registry in {container} did not answer /v2/ within {} s; `docker logs {container}` may say why", SERVE_WITHIN.as_secs())]
    DoesNotServe {
        /// The container.
        container: String,
    },
    /// An archive of files could not be made.
    #[error("cannot pack the credentials: {0}")]
    Archive(String),
    /// A program in a node failed.
    #[error("{what}: {said}")]
    InNode {
        /// The action, in words.
        what: String,
        /// Its last words.
        said: String,
    },
    /// Everything was done that was to be done, and the same is to be done again.
    #[error("{cause}: was put right {times} times and came back each time")]
    Repeated {
        /// Why it is to be done.
        cause: String,
        /// How often in a row it was done.
        times: u32,
    },
    /// The distribution's program failed.
    #[error(transparent)]
    Provisioner(#[from] ProvisionError),
    /// It failed or was stopped, and what it left cannot be deleted either.
    #[error("{created}; what it left could not be deleted: {left}")]
    Remains {
        /// How the creation ended.
        created: ProvisionError,
        /// How the deletion did.
        left: Box<Failure>,
    },
}

fn why_it_exits(container: &str, said: Option<&LastWords>) -> String {
    match said {
        Some(LastWords { text, of_upstream: true }) => format!(": its upstream does not answer it: {text}"),
        Some(LastWords { text, of_upstream: false }) => format!(": {text}"),
        None => format!("; `docker logs {container}` says why"),
    }
}

impl Failure {
    /// Whether it is the upstream's fault that a registry does not run.
    pub fn is_of_upstream(&self) -> bool {
        matches!(self, Self::Exits { said: Some(LastWords { of_upstream: true, .. }), .. })
    }

    /// In one line, where what a program said may be many.
    pub fn in_a_line(&self) -> String {
        match self {
            Self::Provisioner(error) => error.in_a_line(),
            Self::Remains { created, left } => {
                format!("{}; what it left could not be deleted: {}", created.in_a_line(), left.in_a_line())
            }
            other => other.to_string(),
        }
    }

    /// Whether it says nothing about the mirror, only that the engine is away.
    pub fn is_engine_away(&self) -> bool {
        matches!(self, Self::Engine { error, .. } if error.is_unavailable())
    }
}
