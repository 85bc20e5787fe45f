//! `ksail mirror …`

mod add;
mod list;
mod remove;
mod set;
mod settings;

use std::path::Path;

use clap::Subcommand;

use super::editing::{edit, preview, shown, tell};
use super::{Exit, Global, OK, print};
use crate::manifest::Edit;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a mirror, or a registry to push to, at the end of the list
    Add(add::Arguments),
    /// Change fields of a mirror
    Set(set::Arguments),
    /// Remove a mirror, with the comment directly above it
    #[command(visible_alias = "rm")]
    Remove(remove::Arguments),
    /// Print the list
    #[command(visible_alias = "ls")]
    List(list::Arguments),
}

pub(super) fn run(global: &Global, command: &Command) -> Result<u8, Exit> {
    match command {
        Command::Add(arguments) => add::run(global, arguments),
        Command::Set(arguments) => set::run(global, arguments),
        Command::Remove(arguments) => remove::run(global, arguments),
        Command::List(arguments) => list::run(global, arguments),
    }
}

/// Edits the files, or shows how they would change.
fn carry_out(path: &Path, edits: &[Edit], dry_run: bool) -> Result<u8, Exit> {
    if dry_run {
        print(preview(path, edits)?)?;
        return Ok(OK);
    }
    let lines = edit(path, edits)?;
    if lines.is_empty() {
        print(format!("{}: nothing to change\n", shown(path)))?;
    }
    tell(&lines)?;
    Ok(OK)
}
