//! Runs the program in a directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// A directory to run in, called `project`.
pub(crate) struct Project {
    _outer: TempDir,
    pub(crate) path: PathBuf,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self::called("project")
    }

    pub(crate) fn called(name: &str) -> Self {
        let outer = tempfile::tempdir().unwrap();
        // Where temporary directories are behind a link, messages show the real path.
        let path = outer.path().canonicalize().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self { _outer: outer, path }
    }

    /// With a manifest in it.
    pub(crate) fn with(manifest: &str) -> Self {
        let project = Self::new();
        project.write("ksail.yaml", manifest);
        project
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// Every file and what it holds.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(&self.path).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.path().is_file());
        files
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    /// The program with these arguments, here, and with nothing of the caller's surroundings that changes what it says.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ksail"));
        command.args(arguments).current_dir(&self.path).stdin(Stdio::null());
        for name in ["KSAIL_LOG", "NO_COLOR", "CLICOLOR_FORCE", "KIND_EXPERIMENTAL_DOCKER_NETWORK", "HUB_TOKEN"] {
            command.env_remove(name);
        }
        command.env("COLUMNS", "80");
        command
    }

    /// Exit code, standard output and standard error of one run.
    pub(crate) fn ksail(&self, arguments: &[&str]) -> String {
        self.shown(&self.command(arguments).output().unwrap())
    }

    /// The same, of anything that was run.
    pub(crate) fn shown(&self, output: &Output) -> String {
        let text = format!(
            "exit: {}\n--- stdout\n{}--- stderr\n{}",
            output.status.code().map_or("signal".to_owned(), |code| code.to_string()),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        without_times(&text.replace(&self.path.display().to_string(), "[PROJECT]"))
    }

    /// Runs and insists on success; what it printed.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "ksail {arguments:?}\n{}", self.shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The program as user and group 65534, who may do what others may; whoever wants them to do less takes it away after this.
pub(crate) fn as_nobody(project: &Project, arguments: &[&str]) -> String {
    let outer = project.path.parent().unwrap();
    let program = outer.join("ksail");
    fs::copy(env!("CARGO_BIN_EXE_ksail"), &program).unwrap();
    fs::set_permissions(outer, fs::Permissions::from_mode(0o755)).unwrap();
    let command = project.command(arguments);
    let mut other = Command::new(program);
    other.args(command.get_args()).current_dir(&project.path).stdin(Stdio::null()).uid(65_534).gid(65_534);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    // A child that another test has just forked holds the copy open for writing until it is a program of its own.
    let output = loop {
        match other.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    project.shown(&output)
}

/// `(1.2s)` says another thing at every run.
fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('(') {
        let end = after.find(')').filter(|end| after[..*end].trim_end_matches('s').parse::<f64>().is_ok());
        shown = shown + before + if end.is_some() { "(0.0s)" } else { "(" };
        rest = end.map_or(after, |end| &after[end + 1..]);
    }
    shown + rest
}

/// Held by whoever needs the ports from 5001 up to stay as they are between finding one free and using it.
pub(crate) fn ports() -> MutexGuard<'static, ()> {
    static PORTS: Mutex<()> = Mutex::new(());
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
