//! `ksail completions`, and what completes from the manifest.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell as Known};

use super::{Cli, Exit, FAILED, OK, file_of_environment, print};
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
    let words: Vec<OsString> = env::args_os().collect();
    let directory = env::current_dir().ok()?.join(value_of(&words, "-C", "--directory").unwrap_or_default());
    let file = value_of(&words, "-f", "--file").or_else(file_of_environment);
    Outline::load(&find(file.as_deref(), &directory).ok()?).ok()
}

/// What an option is given, in the four ways to write that.
fn value_of(words: &[OsString], short: &str, long: &str) -> Option<PathBuf> {
    let after = words.windows(2).find(|pair| pair[0] == short || pair[0] == long).map(|pair| PathBuf::from(&pair[1]));
    let inside = |word: &OsString| {
        let word = word.to_str()?;
        let value = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        value.or_else(|| word.strip_prefix(short).filter(|rest| !rest.is_empty())).map(PathBuf::from)
    };
    after.or_else(|| words.iter().find_map(inside))
}
