//! `ksail cluster …`

mod beside;
mod create;
mod delete;
mod document;
mod init;
mod list;
mod named;

use clap::Subcommand;

pub(super) use self::create::Arguments as Create;
pub(super) use self::delete::Arguments as Delete;
pub(super) use self::init::Arguments as Init;
use super::{Exit, Global};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write ksail.yaml and the configuration of kind or k3d
    Init(init::Arguments),
    /// Set `state: Present` in ksail.yaml, and apply it
    Create(create::Arguments),
    /// Set `state: Absent` in ksail.yaml, and apply it
    Delete(delete::Arguments),
    /// Show of which clusters there is something on the engine, kept volumes included
    #[command(visible_alias = "ls")]
    List(list::Arguments),
}

pub(super) async fn run(global: &Global, command: &Command) -> Result<u8, Exit> {
    match command {
        Command::Init(arguments) => init::run(global, arguments),
        Command::Create(arguments) => create::run(global, arguments).await,
        Command::Delete(arguments) => delete::run(global, arguments).await,
        Command::List(arguments) => list::run(global, arguments).await,
    }
}
