//! Passes without a controller: observe, plan, execute.

use std::sync::Arc;

use futures_util::future::join_all;
use ksail::execute::{DEFAULT_CONCURRENCY, Executor, Releases};
use ksail::observed::observe;
use ksail::plan::{Plan, plan};
use ksail::report::Silent;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Passes that are enough for anything: one to finish what was interrupted, one to do, and some for what blocks another.
const ENOUGH: usize = 5;

/// What a pass would do now.
pub(crate) async fn plan_now(world: &World) -> Result<Plan, TestCaseError> {
    let desired = world.desired();
    let observed = observe(&world.engine, &desired, &world.probe()).await;
    Ok(plan(&desired, &observed.map_err(|error| TestCaseError::fail(error.to_string()))?))
}

/// One pass, whatever comes of it.
pub(crate) async fn run_once(world: &World) {
    let Ok(plan) = plan_now(world).await else { return };
    let executor = Executor::new(world.engine.clone(), world.probe(), DEFAULT_CONCURRENCY, Arc::new(Silent));
    let releases = Releases::of(&plan);
    let cancel = CancellationToken::new();
    join_all(plan.sequences.iter().map(|(host, sequence)| executor.run(host, sequence, &releases, &cancel))).await;
}

/// Passes until there is nothing to do.
pub(crate) async fn converge(world: &World) -> Result<(), TestCaseError> {
    for _ in 0..ENOUGH {
        if plan_now(world).await?.is_empty() {
            return Ok(());
        }
        run_once(world).await;
    }
    let left = plan_now(world).await?;
    prop_assert!(left.is_empty(), "after {} passes there is still to do:\n{}", ENOUGH, left);
    Ok(())
}
