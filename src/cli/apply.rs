//! `ksail apply`

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::SignedDuration;

use super::arguments::duration;
use super::surroundings::{around, claim, controller, load, manifest_path, stop_on_signals};
use super::{Exit, FAILED, Global, OK, Output, TIMED_OUT, complain, print, stdout};
use crate::controller::Applied;
use crate::desired::resolve;
use crate::event::Reporter;
use crate::execute::DEFAULT_CONCURRENCY;
use crate::manifest::{Lifecycle, Manifest};
use crate::report::{Json, Text, status_as_table};
use crate::status::Status;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    converging: Converging,
}

/// Registries are up in seconds, once their image is here.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The image of a node is a gigabyte, and what was begun is undone when time is up.
const TIMEOUT_WITH_CLUSTER: Duration = Duration::from_secs(15 * 60);

/// How long, how loud and how fast.
#[derive(Debug, Args)]
pub(super) struct Converging {
    /// Give up after this long (30s, 5m, 1h); otherwise 5m, or 15m where ksail creates the cluster
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Format; json is one object per line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
    /// Engine calls at once
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: usize,
    /// Let this file take over from another one that names the same cluster
    #[arg(long)]
    pub(super) adopt: bool,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let manifest = load(&path)?;
    claim(global, &path, &manifest.name, arguments.converging.adopt)?;
    converge(global, &manifest, &arguments.converging).await
}

/// Makes everything as the manifest says, shows progress, and tells how it ended.
pub(super) async fn converge(global: &Global, manifest: &Manifest, converging: &Converging) -> Result<u8, Exit> {
    let stop = stop_on_signals()?;
    let reporter: Arc<dyn Reporter> = match converging.output {
        Output::Text => Arc::new(Text::new(stdout(), false)),
        Output::Json => Arc::new(Json::new(stdout())),
    };
    let controller = controller(global, manifest, reporter, converging.concurrency)?;
    let started = Instant::now();
    let timeout = converging.timeout.unwrap_or(match manifest.lifecycle {
        Lifecycle::Managed => TIMEOUT_WITH_CLUSTER,
        Lifecycle::External => USUAL_TIMEOUT,
    });
    let applied = controller.apply(resolve(manifest, &around()), timeout, &stop).await;
    let show = |status: &Status| match converging.output {
        Output::Text => print(status_as_table(status, false)),
        Output::Json => {}
    };
    match applied {
        Applied::Converged(status) => {
            if converging.output == Output::Text {
                print(summary(&status, started.elapsed()));
            }
            Ok(OK)
        }
        Applied::Failed(status) => {
            show(&status);
            complain("not everything is as ksail.yaml says");
            Ok(FAILED)
        }
        Applied::TimedOut(status) => {
            status.iter().for_each(show);
            complain(format!("not converged within {:#}", SignedDuration::try_from(timeout).unwrap_or_default()));
            Ok(TIMED_OUT)
        }
        Applied::EngineAway(error) => Err(Exit::new(FAILED, error.to_string())),
        Applied::NoLock(error) => Err(Exit::new(FAILED, format!("cannot lock the cluster: {error}"))),
        Applied::Stopped => Err(Exit::new(FAILED, "stopped before everything was as ksail.yaml says")),
    }
}

fn summary(status: &Status, took: Duration) -> String {
    let took = format!("{:.1}s", took.as_secs_f64());
    match status.mirrors.len() {
        0 => format!("cluster {}: no mirrors, as ksail.yaml says ({took})\n", status.cluster),
        1 => format!("cluster {}: 1 mirror is Ready ({took})\n", status.cluster),
        n => format!("cluster {}: {n} mirrors are Ready ({took})\n", status.cluster),
    }
}
