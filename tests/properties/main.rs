//! Properties of the reconciler on the engine in memory, under random manifests, drift and faults.
//!
//! Each runs [`CASES`] times (`PROPTEST_CASES` overrides), so that a normal test run has over 10,000 cases.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that meets the unexpected should end there.

mod controller;
mod nodes;
mod reconciler;
mod world;

use std::collections::BTreeMap;

use ksail::engine::Engine;
use ksail::engine::memory::{Call, CallKind};
use ksail::labels;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use nodes::node_drifts;
use reconciler::{converge, plan_now, run_once};
use world::{Entry, Step, World, drifts, entries, faults, history};

const CASES: u32 = 2_000;

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    Config {
        cases,
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/properties/regressions.txt"))),
        ..Config::default()
    }
}

/// Runs a test body on a runtime whose clock jumps over every wait.
fn on_paused_clock<F: Future<Output = Result<(), TestCaseError>>>(body: F) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(body)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happened_it_converges_and_then_has_nothing_to_do(history in history(), last in entries()) {
        on_paused_clock(async {
            let world = World::new();
            for step in history {
                match step {
                    Step::Edit(entries) => world.edit(&entries),
                    Step::Drift(drift) => world.drift(&drift).await,
                    Step::Node(drift) => world.node_drift(&drift).await,
                    Step::PassWith(fault) => {
                        world.inject(&fault);
                        run_once(&world).await;
                        world.engine.clear_faults();
                    }
                }
            }
            world.edit(&last);
            world.nothing_is_in_the_way();
            converge(&world).await?;
            world.is_as_desired()?;
            world.engine.clear_calls();
            run_once(&world).await;
            let writes: Vec<Call> = world.engine.calls().into_iter().filter(|call| call.kind == CallKind::Write).collect();
            prop_assert_eq!(writes, vec![], "a second pass only reads");
            Ok(())
        })?;
    }

    #[test]
    fn a_pass_that_is_cut_off_anywhere_is_finished_by_the_next_and_leaves_nothing_behind(
        before in entries(), after in entries(), drift in drifts(), nodes in 0usize..3, in_node in node_drifts(),
        cut in 0usize..40, lost in any::<bool>(),
    ) {
        on_paused_clock(async {
            let world = World::new();
            for _ in 0..nodes {
                world.add_node().await;
            }
            world.edit(&before);
            converge(&world).await?;
            world.edit(&after);
            world.drift(&drift).await;
            world.node_drift(&in_node).await;
            world.cut_off_after(cut, lost);
            run_once(&world).await;
            world.engine.clear_faults();
            world.nothing_is_in_the_way();
            converge(&world).await?;
            world.is_as_desired()
        })?;
    }

    #[test]
    fn a_mirror_nothing_happened_to_is_not_touched(entries in entries(), index in any::<prop::sample::Index>(), drift in drifts()) {
        on_paused_clock(async {
            let world = World::new();
            world.edit(&entries);
            converge(&world).await?;
            let before = world.runs();
            let Some(host) = world.pick(index) else { return Ok(()) };
            world.drift_of(&host, drift.what).await;
            world.nothing_is_in_the_way();
            converge(&world).await?;
            let after = world.runs();
            for (other, run) in before.iter().filter(|(other, _)| **other != host) {
                prop_assert_eq!(Some(run), after.get(other), "{} was touched when {} changed", other, &host);
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_is_not_ours_is_never_changed(history in history(), fault in faults()) {
        on_paused_clock(async {
            let world = World::new();
            world.add_strangers().await;
            let before = world.foreign();
            for step in history {
                match step {
                    Step::Edit(entries) => world.edit(&entries),
                    Step::Drift(drift) => world.drift(&drift).await,
                    // The nodes are somebody else's, but the files in them are not.
                    Step::Node(_) => {}
                    Step::PassWith(_) => {
                        world.inject(&fault);
                        run_once(&world).await;
                        world.engine.clear_faults();
                    }
                }
            }
            for _ in 0..4 {
                run_once(&world).await;
            }
            prop_assert_eq!(before, world.foreign());
            Ok(())
        })?;
    }

    #[test]
    fn the_order_in_which_the_engine_lists_things_does_not_matter(history in history(), seeds in any::<[u64; 2]>()) {
        on_paused_clock(async {
            let world = World::new();
            for step in history {
                match step {
                    Step::Edit(entries) => world.edit(&entries),
                    Step::Drift(drift) => world.drift(&drift).await,
                    Step::Node(drift) => world.node_drift(&drift).await,
                    Step::PassWith(fault) => {
                        world.inject(&fault);
                        run_once(&world).await;
                        world.engine.clear_faults();
                    }
                }
            }
            let mut plans = Vec::new();
            for seed in seeds {
                world.engine.shuffle(seed);
                plans.push(plan_now(&world).await?.to_string());
            }
            prop_assert_eq!(&plans[0], &plans[1]);
            Ok(())
        })?;
    }

    #[test]
    fn a_recreate_that_does_not_succeed_leaves_the_old_container_running(entry in world::entry(), other_port in 5101u16..5110) {
        on_paused_clock(async {
            let world = World::new();
            let host = entry.host.clone();
            world.edit(std::slice::from_ref(&entry));
            converge(&world).await?;
            let before = world.runs();
            let name = world.name_of(&host);
            world.engine.crash_on_start(&format!("{name}.next"), Some(2));
            world.edit(&[Entry { port: Some(other_port), ..entry }]);
            run_once(&world).await;
            let ids = |runs: &BTreeMap<String, (String, _)>| runs.values().map(|(id, _): &(String, _)| id.clone()).collect::<Vec<_>>();
            prop_assert_eq!(ids(&before), ids(&world.runs()), "the old container runs, and no other");
            world.engine.crash_on_start(&format!("{name}.next"), None);
            converge(&world).await?;
            world.is_as_desired()
        })?;
    }
}

#[test]
fn an_engine_that_is_away_fails_every_call_and_changes_nothing() {
    let outcome = on_paused_clock(async {
        let world = World::new();
        world.edit(&[Entry::plain("docker.io", 5001)]);
        converge(&world).await?;
        let before = world.engine.snapshot();
        world.engine.go_away();
        let answer = world.engine.list_containers(&[(labels::MANAGED_BY, None)]).await;
        prop_assert!(answer.is_err_and(|error| error.is_unavailable()));
        run_once(&world).await;
        world.engine.come_back();
        prop_assert_eq!(before, world.engine.snapshot());
        Ok(())
    });
    outcome.unwrap();
}
