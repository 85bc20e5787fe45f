//! `ksail cluster delete`

use clap::Args;

use super::super::apply::{Converging, converge};
use super::super::context::{claim, manifest_path};
use super::super::editing::{edit, outline, tell};
use super::super::{Exit, Global, OK, Output};
use crate::manifest::{Edit, State};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Remove the volumes of its registries as well (`state: Purged`)
    #[arg(long)]
    delete_registry_volumes: bool,
    #[command(flatten)]
    converging: Converging,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let in_force = claim(global, &path, &outline(&path)?.name, arguments.converging.adopt)?;
    let state = if arguments.delete_registry_volumes { State::Purged } else { State::Absent };
    let lines = edit(&path, &[Edit::SetState(state)])?;
    if arguments.converging.output == Output::Text {
        tell(&lines)?;
    }
    // What is to go needs no credentials: variables that are not set do not stand in the way.
    let code = converge(global, outline(&path)?.emptied(), &arguments.converging).await?;
    if code == OK {
        in_force.release();
    }
    Ok(code)
}
