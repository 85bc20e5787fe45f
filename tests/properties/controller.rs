//! The bounds of the loop, through the controller itself: in virtual time, for random scripts of edits, drift and faults.
//!
//! Each script is made from a seed of its own. One that fails is shrunk and told with its seed: with that as `KSAIL_SEED`
//! and `KSAIL_SCRIPTS=1` it runs again. `KSAIL_SCRIPTS` says how many there are.

mod programs;
mod script;
mod stage;
mod witness;

use std::io::{Write, stderr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ksail::manifest::{State, VolumePolicy};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tracing::subscriber::set_default;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;

use crate::on_paused_clock;
use crate::world::Entry;
use script::{Asked, FAVOURITE, Happening, Script, scripts};
use stage::{AT_FIRST, Stage};

const SCRIPTS: u64 = 300;
/// Tries to make a script that fails shorter; `KSAIL_SHRINKS` says otherwise.
const SHRINKS: u32 = 400;

#[test]
fn whatever_goes_wrong_the_loop_keeps_its_bounds_and_converges() {
    let scripts = number("KSAIL_SCRIPTS").unwrap_or(SCRIPTS);
    let base = number("KSAIL_SEED").unwrap_or_else(any_seed);
    // Not by a macro, whose output is kept back where a test passes.
    writeln!(stderr(), "KSAIL_SEED={base} KSAIL_SCRIPTS={scripts}").unwrap();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
                .take_while(|script| *script < scripts)
                .find_map(|script| run_seed(base.wrapping_add(script)).err())
                .inspect(|_| next.store(scripts, Ordering::Relaxed))
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn number<T: FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Makes a script from a seed, runs it, and shrinks it when it fails.
fn run_seed(seed: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = ProptestConfig {
        max_shrink_iters: number("KSAIL_SHRINKS").unwrap_or(SHRINKS),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = scripts().new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    let outcome = runner.run_one(tree, |script| run(&script));
    outcome.map(drop).map_err(|error| format!("KSAIL_SEED={seed} KSAIL_SCRIPTS=1\n{error}"))
}

fn run(script: &Script) -> Result<(), TestCaseError> {
    let alone = script.has_favourite.then(|| alone(script)).flatten();
    on_paused_clock(async {
        let mut stage = Stage::new(script).await;
        let _witnessing = set_default(Registry::default().with(stage.witness.clone()));
        let outcome = stage.play(script, alone).await;
        outcome.map_err(|error| TestCaseError::fail(format!("{error}\n{}", stage.witness.story())))
    })
}

/// When the favourite is started in a world of its own, if it is to be started at once.
fn alone(script: &Script) -> Option<Duration> {
    let concerns_everybody = |(_, happening): &(u64, Happening)| match happening {
        Happening::Trouble(trouble, _) => trouble.is_global(),
        Happening::Edit(_) | Happening::Say(_) => true,
        _ => false,
    };
    let mut pause = 0;
    let quiet = script.steps.iter().map(|step| {
        pause += step.0;
        (pause, concerns_everybody(step))
    });
    let is_quiet =
        quiet.take_while(|(pause, _)| Duration::from_millis(*pause) < AT_FIRST).all(|(_, concerns)| !concerns);
    if script.first.state != State::Present || !is_quiet {
        return None;
    }
    let entries = script.first.entries.iter().filter(|entry| entry.host == FAVOURITE).cloned().collect::<Vec<Entry>>();
    let first = Asked { entries, state: State::Present, volume_policy: VolumePolicy::Retain };
    let alone = Script { first, steps: Vec::new(), ..script.clone() };
    let mut started = None;
    let outcome = on_paused_clock(async {
        let stage = Stage::new(&alone).await;
        started = stage.first_start(Duration::from_secs(5)).await;
        Ok(())
    });
    outcome.ok().and(started)
}

/// Another one each time.
fn any_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() % 1_000_000 * 1_000_000
}
