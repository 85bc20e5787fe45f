//! A process of the test's own.

use std::process::{Child, ChildStderr, ChildStdout, Command};
use std::time::Duration;

use super::deadline::eventually;

/// Killed when dropped, if it has not ended.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program can be started"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it writes, if that is piped and nobody has taken it yet.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("it is piped")
    }

    /// What it complains of, if that is piped and nobody has taken it yet.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("it is piped")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the child can be asked").is_none()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn await_exit(&mut self, limit: Duration) -> Option<i32> {
        let ended = || match self.0.try_wait().expect("the child can be asked") {
            Some(status) => Ok(status.code()),
            None => Err("it runs".to_owned()),
        };
        eventually("the program ends", limit, ended).0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "process {process} takes SIG{name}");
}
