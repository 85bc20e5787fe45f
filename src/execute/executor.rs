//! What executes sequences on one engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, Semaphore};

use crate::engine::{Engine, EngineError};
use crate::event::Reporter;
use crate::observed::Access;
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
    pub(super) access: Access,
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
        Self { engine, prober, provisioner, calls, pulls: Arc::default(), access: Access::default(), reporter }
    }

    /// One that shares access to the cluster with others, above all with whoever observes it.
    #[must_use]
    pub fn sharing(self, access: Access) -> Self {
        Self { access, ..self }
    }
}
