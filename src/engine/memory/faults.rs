//! What a test lets go wrong: calls that fail or take long, events that are lost, told twice or late.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::calls::Call;
use crate::engine::{Container, EngineError, Event};

/// Whether a failure strikes before or after the effect of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// Faults that wait for what they strike.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) failures: Rules<Call, (Moment, EngineError)>,
    pub(super) delays: Rules<Call, Duration>,
    pub(super) lies: Rules<Container, Lie>,
    pub(super) lost_events: Rules<Event, ()>,
    pub(super) doubled_events: Rules<Event, ()>,
    pub(super) late_events: Rules<Event, Duration>,
    /// What is answered to whoever wants to listen to events.
    pub(super) refusal: Option<EngineError>,
}

/// What is said of a container instead of what is so.
#[derive(Clone)]
pub(super) struct Lie(Arc<dyn Fn(&mut Container) + Send + Sync>);

impl Lie {
    pub(super) fn new(change: impl Fn(&mut Container) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    pub(super) fn tell(&self, container: &mut Container) {
        (self.0)(container);
    }
}

/// What goes wrong with one call.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) delay: Option<Duration>,
    pub(super) failure: Option<(Moment, EngineError)>,
}

/// One that strikes whatever it accepts, so many times.
struct Rule<T, E> {
    matches: Box<dyn Fn(&T) -> bool + Send>,
    times_left: usize,
    effect: E,
}

/// All of one kind.
pub(super) struct Rules<T, E>(Vec<Rule<T, E>>);

impl<T, E> Default for Rules<T, E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, E> fmt::Debug for Rules<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.0.len())
    }
}

impl<T, E: Clone> Rules<T, E> {
    pub(super) fn add(&mut self, matches: impl Fn(&T) -> bool + Send + 'static, times: usize, effect: E) {
        self.0.push(Rule { matches: Box::new(matches), times_left: times, effect });
    }

    /// What the first rule that accepts it has in store for this one, used up by once.
    pub(super) fn strike(&mut self, struck: &T) -> Option<E> {
        let rule = self.0.iter_mut().find(|rule| rule.times_left > 0 && (rule.matches)(struck))?;
        rule.times_left -= 1;
        Some(rule.effect.clone())
    }
}
