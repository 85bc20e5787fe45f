//! `ksail man`

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::files::cannot_write;
use super::{Cli, Exit, OK};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to write them
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Exit> {
    let cannot = |error: std::io::Error| cannot_write(&arguments.dir, &error);
    fs::create_dir_all(&arguments.dir).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), &arguments.dir).map_err(cannot)?;
    Ok(OK)
}
