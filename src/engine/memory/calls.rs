//! What was asked of the engine, and which of it is made to fail.

use std::fmt;

use crate::engine::EngineError;

/// One call, as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name of the [`Engine`](crate::engine::Engine) method.
    pub name: &'static str,
    /// Whether it can change anything.
    pub kind: CallKind,
    /// The container (id or name, as given), volume or image it is about; empty for lists.
    pub object: String,
}

/// Whether a call can change the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// It only looks.
    Read,
    /// It changes, or tries to.
    Write,
}

impl Call {
    pub(super) fn read(name: &'static str, object: &str) -> Self {
        Self { name, kind: CallKind::Read, object: object.to_owned() }
    }

    pub(super) fn write(name: &'static str, object: &str) -> Self {
        Self { name, kind: CallKind::Write, object: object.to_owned() }
    }
}

/// Whether a fault strikes before or after the effect of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

struct Fault {
    moment: Moment,
    matches: Box<dyn Fn(&Call) -> bool + Send>,
    times_left: usize,
    error: EngineError,
}

/// Faults that wait for their call.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults", self.0.len())
    }
}

impl Faults {
    pub(super) fn add(
        &mut self,
        moment: Moment,
        matches: impl Fn(&Call) -> bool + Send + 'static,
        times: usize,
        error: EngineError,
    ) {
        self.0.push(Fault { moment, matches: Box::new(matches), times_left: times, error });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that strikes this call, used up by once.
    pub(super) fn strike(&mut self, call: &Call) -> Option<(Moment, EngineError)> {
        let fault = self.0.iter_mut().find(|fault| fault.times_left > 0 && (fault.matches)(call))?;
        fault.times_left -= 1;
        Some((fault.moment, fault.error.clone()))
    }
}
