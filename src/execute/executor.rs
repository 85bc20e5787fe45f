//! What executes sequences on one engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, Semaphore};

use crate::engine::{Engine, EngineError};
use crate::event::Reporter;
use crate::observed::Store;
use crate::probe::{Probe, Prober};
use crate::provisioner::Provisioner;

/// Changing engine calls at once. dockerd saturates between four and eight: measured with
/// `cargo bench --bench figures`.
pub const DEFAULT_CONCURRENCY: usize = 8;

/// Executes sequences on one engine.
#[derive(Clone)]
pub struct Executor<E, P> {
    pub(super) engine: E,
    pub(super) prober: Prober<P>,
    pub(super) provisioner: Provisioner,
    pub(super) calls: Arc<Semaphore>,
    pub(super) pulls: Arc<Mutex<HashMap<String, Arc<Pull>>>>,
    /// Tells when a container has ended.
    pub(super) store: Store,
    pub(super) reporter: Arc<dyn Reporter>,
}

/// One pull that everybody who needs the image waits for.
pub(super) type Pull = OnceCell<Result<(), EngineError>>;

impl<E: Engine, P: Probe> Executor<E, P> {
    /// An executor that makes at most `concurrency` changing calls at once.
    pub fn new(
        engine: E,
        prober: Prober<P>,
        provisioner: Provisioner,
        concurrency: usize,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let calls = Arc::new(Semaphore::new(concurrency.max(1)));
        Self { engine, prober, provisioner, calls, pulls: Arc::default(), store: Store::default(), reporter }
    }

    /// One that is told what happens in the engine by whoever observes it.
    #[must_use]
    pub fn told_by(self, store: Store) -> Self {
        Self { store, ..self }
    }
}
