//! `ksail watch`

use std::sync::Arc;

use clap::Args;

use super::surroundings::{claim, controller, load, manifest_path, stop_on_signals};
use super::{Exit, FAILED, Global, OK, Output, stdout};
use crate::event::Reporter;
use crate::execute::DEFAULT_CONCURRENCY;
use crate::report::{Json, Text};

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
    claim(global, &path, &manifest.name, arguments.adopt)?;
    let stop = stop_on_signals()?;
    let reporter: Arc<dyn Reporter> = match arguments.output {
        Output::Text => Arc::new(Text::new(stdout(), true)),
        Output::Json => Arc::new(Json::new(stdout())),
    };
    let controller = controller(global, &manifest, reporter, arguments.concurrency)?;
    let watched = controller.watch(path, manifest, &stop).await;
    watched.map_err(|error| Exit::new(FAILED, format!("cannot lock the cluster: {error}")))?;
    Ok(OK)
}
