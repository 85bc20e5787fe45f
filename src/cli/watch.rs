//! `ksail watch`

use clap::Args;

use super::context::{claim, controller, load, manifest_path, stop_on_signals};
use super::reporting::Reporting;
use super::{Exit, Global, OK, Output};
use crate::engine::ContainerState;
use crate::execute::DEFAULT_CONCURRENCY;
use crate::status::Status;

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
    let status = controller.watch(path, manifest, &stop).await;
    reporting.show(last_line(status.as_ref()));
    // Whoever could not read it all was told when it happened, or has gone, or has told this watch to stop.
    reporting.finish();
    Ok(OK)
}

/// What is left when nobody watches any more.
fn last_line(status: Option<&Status>) -> String {
    let containers = status.iter().flat_map(|status| &status.mirrors).filter_map(|mirror| mirror.container.as_ref());
    let removes = "'ksail cluster delete' removes";
    match containers.filter(|container| container.state == ContainerState::Running).count() {
        0 => "stopped\n".to_owned(),
        1 => format!("stopped; 1 registry keeps running ({removes} it)\n"),
        n => format!("stopped; {n} registries keep running ({removes} them)\n"),
    }
}
