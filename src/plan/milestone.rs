//! What sequences wait for in each other.

use crate::subject::Subject;

/// What a step can wait for in another sequence of its plan. Each but [`Milestone::Done`] is reached at the latest when
/// that sequence has ended, however it ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// A container has given up its ports.
    Released {
        /// Whose container it is.
        holder: Subject,
        /// Its name.
        container: String,
    },
    /// A container has left the cluster's network.
    Detached {
        /// Whose container it is.
        holder: Subject,
        /// Its name.
        container: String,
    },
    /// Nothing more happens to this subject.
    Ended(Subject),
    /// Everything was done to this subject that was to be done. If that fails, so does what waits for it.
    Done(Subject),
}

impl Milestone {
    /// The subject whose sequence has to succeed.
    pub const fn must_succeed(&self) -> Option<&Subject> {
        match self {
            Self::Done(subject) => Some(subject),
            Self::Released { .. } | Self::Detached { .. } | Self::Ended(_) => None,
        }
    }

    /// The subject that has to come along: nobody starts to wait for what does not start either. Whoever waits for a
    /// mere [`Milestone::Ended`] or [`Milestone::Detached`] goes on without it.
    pub const fn needs(&self) -> Option<&Subject> {
        match self {
            Self::Done(subject) | Self::Released { holder: subject, .. } => Some(subject),
            Self::Detached { .. } | Self::Ended(_) => None,
        }
    }

    /// The subject whose sequence leads to it.
    pub const fn of(&self) -> &Subject {
        match self {
            Self::Done(subject) | Self::Ended(subject) => subject,
            Self::Released { holder, .. } | Self::Detached { holder, .. } => holder,
        }
    }
}
