//! The programs in containers that a test scripts.

use std::fmt;

use crate::engine::{Exec, Executed};

type Answer = Box<dyn Fn(&str, &Exec) -> Option<Executed> + Send>;

/// The programs a test scripts, and those it takes away.
#[derive(Default)]
pub(super) struct Programs {
    scripted: Option<Answer>,
    missing: Vec<(String, String)>,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs").field("scripted", &self.scripted.is_some()).field("missing", &self.missing).finish()
    }
}

impl Programs {
    pub(super) fn script(&mut self, answer: impl Fn(&str, &Exec) -> Option<Executed> + Send + 'static) {
        self.scripted = Some(Box::new(answer));
    }

    pub(super) fn take_away(&mut self, container: &str, program: &str) {
        self.missing.push((container.to_owned(), program.to_owned()));
    }

    /// What a test's script answers, if it does.
    pub(super) fn answer(&self, container: &str, exec: &Exec) -> Option<Executed> {
        self.scripted.as_ref().and_then(|answer| answer(container, exec))
    }

    pub(super) fn has(&self, container: &str, program: &str) -> bool {
        !self.missing.iter().any(|(other, missing)| other == container && missing == program)
    }
}
