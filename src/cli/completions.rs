//! `ksail completions`, and what completes from the manifest.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell as Known};

use super::{Cli, Exit, FAILED, OK, print};
use crate::manifest::{Outline, PUBLIC, find};

/// The variable by which the scripts ask for candidates.
const ASKED_BY: &str = "KSAIL_COMPLETE";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Exit> {
    let shell = match arguments.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let cannot = |why: String| Exit::new(FAILED, format!("no completions for {shell}: {why}"));
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string()).ok_or_else(|| cannot("unknown shell".to_owned()))?;
    let mut script = Vec::new();
    let written = completer.write_registration(ASKED_BY, "ksail", "ksail", "ksail", &mut script);
    written.map_err(|error| cannot(error.to_string()))?;
    print(String::from_utf8_lossy(&script))?;
    Ok(OK)
}

/// Answers a shell that asks for candidates, and ends the program then.
pub(super) fn answer() {
    CompleteEnv::with_factory(Cli::command).var(ASKED_BY).complete();
}

/// Hosts in the manifest's list.
pub(super) fn listed_hosts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let mirrors = outline().map(|outline| outline.mirrors).unwrap_or_default();
    let fitting = mirrors.into_iter().filter(|mirror| mirror.host.as_str().starts_with(&*typed));
    fitting.map(|mirror| CompletionCandidate::new(mirror.host.as_str()).help(mirror.upstream.map(Into::into))).collect()
}

/// Well-known registries that are not in the list yet.
pub(super) fn well_known_hosts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let listed = outline().map(|outline| outline.mirrors).unwrap_or_default();
    let new = |host: &&&str| !listed.iter().any(|mirror| mirror.host.as_str() == **host);
    let fitting = PUBLIC.iter().filter(|host| host.starts_with(&*typed)).filter(new);
    fitting.map(CompletionCandidate::new).collect()
}

/// The manifest the command line being completed is about, if it can be read.
fn outline() -> Option<Outline> {
    let words: Vec<_> = env::args_os().collect();
    let after =
        words.windows(2).find(|pair| pair[0] == "-f" || pair[0] == "--file").map(|pair| PathBuf::from(&pair[1]));
    let inside = || words.iter().find_map(|word| word.to_str()?.strip_prefix("--file=").map(PathBuf::from));
    let path = find(after.or_else(inside).as_deref(), &env::current_dir().ok()?).ok()?;
    Outline::load(&path).ok()
}
