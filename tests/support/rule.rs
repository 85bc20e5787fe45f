//! How a recorder misbehaves: what becomes of which calls, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Cut,
    CutAfter,
    Refused { status: u16, message: String },
    Late(Duration),
    Rewritten { from: String, to: String },
}

/// A rule that is in force, from when it was made until it is [lifted](Rule::lift) or used up.
pub(crate) struct Rule(Arc<Entry>);

impl Rule {
    /// How many calls it was applied to.
    pub(crate) fn count(&self) -> usize {
        self.0.used.lock().expect("no recorder panics").count
    }

    /// From now on the calls come through.
    pub(crate) fn lift(&self) {
        self.0.used.lock().expect("no recorder panics").left = 0;
    }
}

/// The calls that a rule is about: all of them, unless it is told [how many](Calls::times).
#[must_use = "what becomes of the calls?"]
pub(crate) struct Calls<'a> {
    rules: &'a Rules,
    method: &'static str,
    is_meant: Box<dyn Fn(&str) -> bool + Send + Sync>,
    times: usize,
}

impl Calls<'_> {
    /// The first so many only.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The connection is closed once the request was read, and the engine hears nothing of it.
    pub(crate) fn cut(self) -> Rule {
        self.become_of(Fault::Cut)
    }

    /// The engine does what it is asked for, and the connection is closed in place of its answer.
    pub(crate) fn cut_after(self) -> Rule {
        self.become_of(Fault::CutAfter)
    }

    /// They are refused in the engine's place.
    pub(crate) fn refuse(self, status: u16, message: &str) -> Rule {
        self.become_of(Fault::Refused { status, message: message.to_owned() })
    }

    /// The engine hears of them so much later.
    pub(crate) fn late(self, by: Duration) -> Rule {
        self.become_of(Fault::Late(by))
    }

    /// The answer has one text wherever the engine has written another. It is given as a whole: not for what goes on
    /// without end.
    pub(crate) fn rewrite(self, from: &str, to: &str) -> Rule {
        self.become_of(Fault::Rewritten { from: from.to_owned(), to: to.to_owned() })
    }

    fn become_of(self, fault: Fault) -> Rule {
        let used = Mutex::new(Used { left: self.times, count: 0 });
        let entry = Arc::new(Entry { method: self.method, is_meant: self.is_meant, fault, used });
        self.rules.0.lock().expect("no recorder panics").push(Arc::clone(&entry));
        Rule(entry)
    }
}

struct Entry {
    method: &'static str,
    is_meant: Box<dyn Fn(&str) -> bool + Send + Sync>,
    fault: Fault,
    used: Mutex<Used>,
}

struct Used {
    left: usize,
    count: usize,
}

impl Entry {
    fn applies_to(&self, method: &str, path: &str) -> bool {
        if self.method != method || !(self.is_meant)(path) {
            return false;
        }
        let mut used = self.used.lock().expect("no recorder panics");
        if used.left == 0 {
            return false;
        }
        used.left -= 1;
        used.count += 1;
        true
    }
}

/// All rules of a recorder. Of those that are about one call the oldest is applied.
#[derive(Default)]
pub(super) struct Rules(Mutex<Vec<Arc<Entry>>>);

impl Rules {
    pub(super) fn when(
        &self,
        method: &'static str,
        is_meant: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Calls<'_> {
        Calls { rules: self, method, is_meant: Box::new(is_meant), times: usize::MAX }
    }

    pub(super) fn fault_of(&self, method: &str, path: &str) -> Option<Fault> {
        let entries = self.0.lock().expect("no recorder panics");
        entries.iter().find(|entry| entry.applies_to(method, path)).map(|entry| entry.fault.clone())
    }
}
