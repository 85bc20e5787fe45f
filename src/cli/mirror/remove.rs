//! `ksail mirror remove`

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::super::arguments::host;
use super::super::completions::listed_hosts;
use super::super::context::manifest_path;
use super::super::{Exit, Global};
use super::carry_out;
use crate::manifest::{Edit, Host};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Which mirrors
    #[arg(required = true, value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    hosts: Vec<Host>,
    /// Print a unified diff and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let edits: Vec<_> = arguments.hosts.iter().cloned().map(Edit::RemoveMirror).collect();
    carry_out(&path, &edits, arguments.dry_run)
}
