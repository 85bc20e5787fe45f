//! Passes without a controller: observe, plan, execute.

use std::sync::Arc;

use futures_util::future::join_all;
use ksail::controller::survey;
use ksail::event::Silent;
use ksail::execute::{DEFAULT_CONCURRENCY, Executor, Milestones};
use ksail::observed::Observer;
use ksail::outcome::Cancel;
use ksail::plan::{Obstacle, Plan};
use ksail::probe::Prober;
use ksail::provisioner::Provisioner;
use proptest::prelude::*;

use crate::world::World;

/// Passes that are enough for anything: one to finish what was interrupted, one to do, and some for what blocks another.
const ENOUGH: usize = 5;

/// What a pass would do now.
pub(crate) async fn plan_now(world: &World) -> Result<Plan, TestCaseError> {
    let desired = world.desired();
    let observer = Observer::new(world.engine.clone(), Prober::new(world.probe()), Provisioner::default());
    let seen = survey(&observer, &desired).await;
    Ok(seen.map_err(|error| TestCaseError::fail(error.to_string()))?.plan)
}

/// One pass, whatever comes of it.
pub(crate) async fn run_once(world: &World) {
    let Ok(plan) = plan_now(world).await else { return };
    let (engine, prober) = (world.engine.clone(), Prober::new(world.probe()));
    let executor = Executor::new(engine, prober, Provisioner::default(), DEFAULT_CONCURRENCY, Arc::new(Silent));
    let milestones = Milestones::of(plan.sequences.iter());
    let cancel = Cancel::default();
    let sequences = plan.sequences.iter();
    join_all(sequences.map(|(subject, sequence)| executor.run(subject, sequence, &milestones, &cancel))).await;
}

/// Passes until there is nothing to do.
pub(crate) async fn converge(world: &World) -> Result<(), TestCaseError> {
    for _ in 0..ENOUGH {
        if is_done(&plan_now(world).await?) {
            return Ok(());
        }
        run_once(world).await;
    }
    let left = plan_now(world).await?;
    prop_assert!(is_done(&left), "after {} passes there is still to do:\n{}", ENOUGH, left);
    Ok(())
}

/// Whether there is nothing left to do but for what is not ksail's: files of others on nodes stay where they are.
fn is_done(plan: &Plan) -> bool {
    let is_foreign = |obstacle: &Obstacle| matches!(obstacle, Obstacle::NodeFileForeign { .. });
    plan.sequences.values().all(|sequence| sequence.steps.is_empty() && sequence.obstacles.iter().all(is_foreign))
}
