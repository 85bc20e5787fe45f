//! `ksail watch`

use clap::Args;

use super::context::{claim, controller, load, manifest_path, stop_on_signals};
use super::reporting::Reporting;
use super::{Exit, Global, OK, Output};
use crate::execute::DEFAULT_CONCURRENCY;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Format; json is one object per line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Engine calls at once
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: usize,
    /// Let this file take over from another one that names the same cluster
    #[arg(long)]
    adopt: bool,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let manifest = load(&path)?;
    let claim = claim(global, &path, &manifest.name, arguments.adopt)?;
    let stop = stop_on_signals()?;
    let reporting = Reporting::begin(arguments.output, true, &stop)?;
    let controller = controller(global, &manifest, reporting.reporter(), arguments.concurrency, Some(claim))?;
    controller.watch(path, manifest, &stop).await;
    // Whoever could not read it all was told when it happened, or has gone, or has told this watch to stop.
    reporting.finish();
    Ok(OK)
}
