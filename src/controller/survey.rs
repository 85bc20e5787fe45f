//! One look at the engine, and what it leads to. `diff`, `status` and `verify` look with the eyes of the passes.

use std::collections::BTreeSet;

use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::observed::{Observed, Observer};
use crate::plan::{Plan, plan};
use crate::probe::Probe;

/// What should be, what is, and what is to be done about it.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What should be, under the names that exist.
    pub desired: Desired,
    /// What is.
    pub observed: Observed,
    /// What leads from one to the other.
    pub plan: Plan,
}

/// Looks and plans. Where the plan would stop a cache of which nobody knows whether it would start again, that is asked,
/// and planned again.
pub async fn survey<E: Engine, P: Probe>(observer: &Observer<E, P>, desired: &Desired) -> Result<Survey, EngineError> {
    let observed = observer.observe(desired).await?;
    let names = observed.names(desired.cluster.as_str());
    let desired = desired.clone().with_names(&names).served_from_cache(&observed.served_from_cache());
    let planned = plan(&desired, &observed);
    let asked: BTreeSet<String> = planned.asking().map(str::to_owned).collect();
    if asked.is_empty() {
        return Ok(Survey { desired, observed, plan: planned });
    }
    observer.ask_whether_they_start_again(&asked).await?;
    let observed = observer.seen()?;
    let planned = plan(&desired, &observed);
    Ok(Survey { desired, observed, plan: planned })
}
