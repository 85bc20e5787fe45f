//! The command line: arguments, where things are, exit codes. One file per verb; only this module and `reporting` print.

mod apply;
mod arguments;
mod cluster;
mod completions;
mod context;
mod diff;
mod distribution_config;
mod editing;
mod files;
mod logs;
mod man;
mod mirror;
mod not_parsed;
mod ports;
mod reporting;
mod restart;
mod schema;
mod status;
mod validate;
mod verify;
mod version;
mod watch;

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::event::Importance;
use crate::manifest::Problems;
use crate::printable::{printable, printable_message};

/// Nothing to complain about.
const OK: u8 = 0;
/// Mirrors are not as they should be; for `diff`, that there is something to do.
const FAILED: u8 = 1;
/// A bad manifest, or a bad command line.
const BAD_INPUT: u8 = 2;
/// Time was up.
const TIMED_OUT: u8 = 3;

/// Keeps local OCI registries running the way ksail.yaml says.
///
/// Pull-through mirrors of docker.io, ghcr.io and the like, and registries to push to, as containers joined to the
/// network of a kind or k3d cluster. ksail.yaml says which; `ksail watch` keeps them so.
#[derive(Debug, Parser)]
#[command(name = "ksail", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The manifest that a variable names, as `--file` does; an empty one is as good as none.
fn file_of_environment() -> Option<PathBuf> {
    env::var_os("KSAIL_FILE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Heading of the options every command takes.
const GLOBAL: &str = "Global options";

/// Options every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The manifest; otherwise `KSAIL_FILE`, or ksail.yaml in this directory or the closest one above
    #[arg(short, long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    file: Option<PathBuf>,
    /// Do all that from this directory, as git does
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    directory: Option<PathBuf>,
    /// Address of the engine, as for docker; otherwise found as the docker CLI finds it
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = GLOBAL)]
    host: Option<String>,
    /// Say more on standard error; twice for every engine call
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    verbose: u8,
    /// No colours (`NO_COLOR` does the same)
    #[arg(long, global = true, help_heading = GLOBAL)]
    no_color: bool,
}

impl Global {
    /// The manifest that is named, if one is.
    fn file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(file_of_environment)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write ksail.yaml, or change its state and apply that
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Add, change, remove or print entries of the list in ksail.yaml
    #[command(subcommand)]
    Mirror(mirror::Command),
    /// Reconcile until stopped: follow the file, repair what breaks
    Watch(watch::Arguments),
    /// Reconcile once and wait until every mirror is Ready
    Apply(apply::Arguments),
    /// Print what apply would do
    Diff(diff::Arguments),
    /// Show the mirrors and their conditions
    #[command(visible_alias = "ps", aliases = ["ls", "get"])]
    Status(status::Arguments),
    /// Restart a mirror's registry, and wait until it serves
    Restart(restart::Arguments),
    /// Print what a mirror's registry says
    ///
    /// Its own words, without the lines about ksail's asking every few seconds whether it is there.
    Logs(logs::Arguments),
    /// Prove that the cluster's nodes pull through the mirrors
    ///
    /// An image is pulled on each node with containerd's own client, and has to show in the mirror's log. Where it does
    /// not, the first hop that does not work is named: node file, DNS, proxy, connect, mirror, upstream or credentials.
    Verify(verify::Arguments),
    /// Check the manifest, without an engine
    Validate(validate::Arguments),
    /// Print the JSON Schema of ksail.yaml
    Schema,
    /// Print the completions of a shell
    ///
    /// bash, in ~/.bashrc:                  source <(ksail completions bash)
    /// zsh, in ~/.zshrc:                    source <(ksail completions zsh)
    /// fish, in ~/.config/fish/config.fish: ksail completions fish | source
    #[command(verbatim_doc_comment, alias = "completion")]
    Completions(completions::Arguments),
    /// Print the versions of ksail, of the engine, and of kind and k3d
    Version(version::Arguments),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Arguments),
    /// The same as 'ksail cluster init'
    #[command(hide = true)]
    Init(cluster::Init),
    /// The same as 'ksail cluster create'
    #[command(hide = true)]
    Create(cluster::Create),
    /// The same as 'ksail cluster delete'
    #[command(hide = true)]
    Delete(cluster::Delete),
}

/// How events and documents are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Parses the arguments, does what they say, and tells how it went.
pub fn main() -> ExitCode {
    completions::answer();
    let cli = match Cli::try_parse_from(logs::followed(env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return ended(not_parsed::tell(error, &arguments())),
    };
    if cli.global.no_color {
        ColorChoice::Never.write_global();
    }
    if let Some(directory) = &cli.global.directory
        && let Err(error) = env::set_current_dir(directory)
    {
        let message = format!("--directory: cannot go to {}: {error}", directory.display());
        return ended(Err(Exit::new(BAD_INPUT, message)));
    }
    start_tracing(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ended(Err(Exit::new(FAILED, format!("cannot start: {error}"))));
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Calls still under way in other threads (name look-ups) are not waited for.
    runtime.shutdown_background();
    ended(outcome)
}

/// The arguments as they were typed, as far as they are Unicode.
fn arguments() -> Vec<String> {
    env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

async fn run(cli: Cli) -> Result<u8, Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Cluster(command) => cluster::run(global, &command).await,
        Command::Watch(arguments) => watch::run(global, &arguments).await,
        Command::Apply(arguments) => apply::run(global, &arguments).await,
        Command::Diff(arguments) => diff::run(global, &arguments).await,
        Command::Status(arguments) => status::run(global, &arguments).await,
        Command::Restart(arguments) => restart::run(global, &arguments).await,
        Command::Logs(arguments) => logs::run(global, &arguments).await,
        Command::Verify(arguments) => verify::run(global, &arguments).await,
        Command::Validate(arguments) => validate::run(global, &arguments),
        Command::Mirror(command) => mirror::run(global, &command),
        Command::Schema => schema::run(),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Version(arguments) => version::run(global, &arguments).await,
        Command::Man(arguments) => man::run(&arguments),
        Command::Init(arguments) => cluster::run(global, &cluster::Command::Init(arguments)).await,
        Command::Create(arguments) => cluster::run(global, &cluster::Command::Create(arguments)).await,
        Command::Delete(arguments) => cluster::run(global, &cluster::Command::Delete(arguments)).await,
    }
}

/// Tells what there is to tell, and waits until it is written.
fn ended(outcome: Result<u8, Exit>) -> ExitCode {
    let code = outcome.unwrap_or_else(|exit| {
        exit.tell();
        exit.code
    });
    reporting::finish_stderr();
    ExitCode::from(code)
}

/// A command that ends early: its exit code, and what to tell about it.
#[derive(Debug)]
struct Exit {
    code: u8,
    /// What is wrong with the manifest, when that is why.
    problems: Option<Box<Problems>>,
    /// What else there is to say; the whole of it without problems.
    message: String,
}

impl Exit {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, problems: None, message: message.into() }
    }

    /// A manifest that does not load.
    fn problems(problems: Problems) -> Self {
        Self { code: BAD_INPUT, problems: Some(Box::new(problems)), message: String::new() }
    }

    /// Says what it means: above what is wrong in words, below problems.
    fn meaning(self, what: &str) -> Self {
        let message = if self.message.is_empty() { what.to_owned() } else { format!("{what}: {}", self.message) };
        Self { message, ..self }
    }

    /// The whole of it, without colours.
    fn text(&self) -> String {
        let problems = self.problems.as_ref().map(|problems| problems.render(false)).unwrap_or_default();
        [problems.trim_end(), &self.message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn tell(&self) {
        if let Some(problems) = &self.problems {
            let text = problems.render(color_on_stderr());
            reporting::to_stderr(Importance::Always, format!("{}\n", text.trim_end()).as_bytes());
        }
        match (&self.problems, self.message.as_str()) {
            (Some(_), "") => {}
            (Some(_), message) => say(message),
            (None, message) => complain(message),
        }
    }
}

/// Writes an error to standard error.
fn complain(message: impl AsRef<str>) {
    say(format!("error: {}", message.as_ref()));
}

/// Writes something worth knowing, which is no error, to standard error.
fn note(message: impl AsRef<str>) {
    say(format!("note: {}", message.as_ref()));
}

fn say(text: impl AsRef<str>) {
    reporting::to_stderr(Importance::Always, format!("{}\n", printable_message(text.as_ref().trim_end())).as_bytes());
}

/// Writes to standard output; a reader that has gone away (`ksail status | head -1`) is not an error.
///
/// # Errors
///
/// When it cannot be written: whoever asked for it has not got it.
fn print(text: impl AsRef<str>) -> Result<(), Exit> {
    written(write(&printable(text.as_ref())))
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn written(outcome: io::Result<()>) -> Result<(), Exit> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Exit::new(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn color_on_stderr() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

fn start_tracing(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "ksail=info,warn",
        _ => "ksail=debug,warn",
    };
    // What it calls an error is an answer here: of an upstream that this machine does not trust either.
    let level = format!("{level},rustls_platform_verifier=off");
    let filter = EnvFilter::try_from_env("KSAIL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(reporting::Log)
        .with_ansi(std::io::stderr().is_terminal() && color_on_stderr())
        .with_target(false)
        .init();
}
