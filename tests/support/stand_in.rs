//! What stands for `kind` and `k3d`: see `tests/support/stand-in/provisioner`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::scenario::Scenario;
use super::sweep;

/// The stand-ins for one scenario, and the record of how they were called.
pub(crate) struct StandIn {
    network: String,
    log: PathBuf,
}

impl StandIn {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { network: scenario.network.clone(), log: scenario.home.path().join("stand-in.log") }
    }

    /// Has a command, and what it starts, find the stand-ins before the real ones. The mode is that of
    /// `STAND_IN_MODE`: `fail`, `hang`, `nothing`, `fail-delete`, or empty.
    pub(crate) fn equip(&self, command: &mut Command, mode: &str) {
        let mut path = OsString::from(directory());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command
            .env("PATH", path)
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &self.network)
            .env("STAND_IN_LABEL", sweep::label())
            .env("STAND_IN_LOG", &self.log)
            .env("STAND_IN_MODE", mode);
    }

    /// A command that calls a stand-in, as from a terminal: tests that run in the background of a script ignore `SIGINT`,
    /// and so would it.
    pub(crate) fn command(&self, program: &str, args: &[&str], mode: &str) -> Command {
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(directory().join(program)).args(args);
        self.equip(&mut command, mode);
        command
    }

    /// A line for every call so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

/// Holds the executables `kind` and `k3d`.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/stand-in")
}

/// The real kind, where `tests/setup --tests` could get it.
pub(crate) fn real_kind() -> Option<PathBuf> {
    let kind = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-tools").join("kind");
    kind.exists().then_some(kind)
}
