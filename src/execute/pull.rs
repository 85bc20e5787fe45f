//! Pulls of images, one at a time for each.

use std::sync::{Arc, PoisonError};

use super::executor::Executor;
use crate::engine::{Engine, EngineError};
use crate::event::Event;
use crate::probe::Probe;

impl<E: Engine, P: Probe> Executor<E, P> {
    /// One pull of an image serves everybody who needs it at the time; a failed one is tried anew by the next who asks.
    pub(super) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let pull = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.entry(image.to_owned()).or_default().clone()
        };
        let progress = |progress| self.reporter.report(&Event::Pulling { image: image.to_owned(), progress });
        let outcome = pull.get_or_init(|| self.engine.pull_image(image, progress)).await.clone();
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if pulls.get(image).is_some_and(|current| Arc::ptr_eq(current, &pull)) {
            pulls.remove(image);
        }
        outcome
    }
}
