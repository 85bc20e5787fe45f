//! Figures to compare by, printed and never asserted: `cargo bench --bench figures [-- --quick | --once]`.
//!
//! The same registries are brought up from nothing, again with nothing to do, and with one of them missing: by
//! `ksail apply`, by a loop of `docker run`, by docker compose where it is installed, and by the bare API calls at
//! the best concurrency, which is the floor. Then `ksail watch` is left alone for a minute.
//! `--once` does everything once instead of three times, `--quick` less of it too.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "figures are printed")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

mod bare;
mod compose;
mod contender;
mod idle;
mod shell;

use std::time::Duration;

use contender::{Contender, Ksail, Stage};
use support::docker::Docker;
use support::manifest::Mirror;
use support::scenario::{Scenario, free_port};

/// How much of it to do.
struct Extent {
    sizes: &'static [usize],
    rounds: usize,
    idle: Duration,
    concurrencies: &'static [usize],
}

const FULL: Extent =
    Extent { sizes: &[1, 8, 32], rounds: 3, idle: Duration::from_secs(60), concurrencies: &[4, 8, 16] };
const QUICK: Extent = Extent { sizes: &[1, 4], rounds: 1, idle: Duration::from_secs(10), concurrencies: &[8] };

fn main() {
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    let extent = if asked("--quick") { QUICK } else { FULL };
    let extent = if asked("--once") { Extent { rounds: 1, ..extent } } else { extent };
    let engine = Docker::default().line("version --format {{.Server.Version}}");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Docker {engine}, {cores} cores; seconds until every registry answers, median of {}", extent.rounds);
    for size in extent.sizes {
        compare(*size, &extent);
    }
    idle::print(*extent.sizes.last().unwrap_or(&1), extent.idle);
}

/// One table: a row for each contender, a column for each stage.
fn compare(size: usize, extent: &Extent) {
    println!("\n{size} mirror{}", if size == 1 { "" } else { "s" });
    println!("{:<28}{:>14}{:>16}{:>14}", "", "from nothing", "nothing to do", "one missing");
    let scenario = Scenario::new(&format!("figures-{size}"));
    scenario.create_network();
    let mirrors: Vec<Mirror> = (0..size).map(|_| Mirror::push(free_port())).collect();
    scenario.write(&mirrors);
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Ksail), Box::new(shell::Shell)];
    contenders.extend(compose::Compose::installed().map(|compose| Box::new(compose) as Box<dyn Contender>));
    contenders
        .extend(extent.concurrencies.iter().map(|n| Box::new(bare::Bare { concurrency: *n }) as Box<dyn Contender>));
    // Round by round, so that a busy spell of the machine meets every contender alike.
    let mut times: Vec<[Vec<f64>; 3]> = contenders.iter().map(|_| Default::default()).collect();
    for _ in 0..extent.rounds {
        for (contender, times) in contenders.iter().zip(&mut times) {
            measure(contender.as_ref(), &scenario, &mirrors, times);
        }
    }
    for (contender, times) in contenders.iter().zip(times) {
        let [nothing, again, missing] = times.map(median);
        println!("{:<28}{nothing:>14.3}{again:>16.3}{missing:>14.3}", contender.name());
    }
}

/// One round of one contender, from nothing to nothing.
fn measure(contender: &dyn Contender, scenario: &Scenario, mirrors: &[Mirror], times: &mut [Vec<f64>; 3]) {
    contender::remove_all(scenario, mirrors);
    for (stage, times) in [Stage::FromNothing, Stage::NothingToDo, Stage::OneMissing].into_iter().zip(times) {
        if stage == Stage::OneMissing {
            scenario.docker.run(&["rm", "-f", &scenario.container_name(&mirrors[0])]);
        }
        times.push(contender::time(contender, stage, scenario, mirrors).as_secs_f64());
    }
    contender::remove_all(scenario, mirrors);
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
