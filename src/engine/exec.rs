//! A program to run in a container, and what came of it.

use std::fmt;
use std::time::Duration;

/// How long a program may take unless [`Exec::within`] says otherwise.
const USUAL_LIMIT: Duration = Duration::from_secs(60);

/// A program to run in a container.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    /// The program, by path or by a name the container's own `PATH` has, and its arguments.
    /// They show in traces and in the engine's events: what is secret goes through `stdin`.
    pub command: Vec<String>,
    /// What it reads from its standard input, which then ends.
    pub stdin: Vec<u8>,
    /// How long it may take, the calls around it included.
    pub limit: Duration,
    /// Whether it can change anything. To the engine all programs are alike; this is for whoever counts changes.
    pub changes: bool,
}

impl Exec {
    /// A program that only looks, without input, for up to 60 s.
    pub fn reading(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { command, stdin: Vec::new(), limit: USUAL_LIMIT, changes: false }
    }

    /// A program that changes something, or may, without input, for up to 60 s.
    pub fn changing(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { changes: true, ..Self::reading(command) }
    }

    /// Gives it something to read.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Gives it more or less time.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

/// The input is counted, not shown: it may hold credentials.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("command", &self.command)
            .field("stdin", &format_args!("{} bytes", self.stdin.len()))
            .field("limit", &self.limit)
            .field("changes", &self.changes)
            .finish()
    }
}

/// How a program in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code; 126 or 127 when there is no such program.
    pub exit_code: i64,
    /// What it wrote to its standard output. What is not UTF-8 is replaced; more than 4 MiB of both outputs together are
    /// an error.
    pub stdout: String,
    /// What it wrote to its standard error, likewise.
    pub stderr: String,
}

impl Executed {
    /// Whether it ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.exit_code == 0
    }

    /// The last line of its standard error: programs say what matters last.
    pub fn last_words(&self) -> &str {
        self.stderr.trim().lines().next_back().unwrap_or("it said nothing")
    }

    /// Whether the container has no such program, or one that cannot be run.
    pub fn is_missing_program(&self) -> bool {
        matches!(self.exit_code, 126 | 127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_a_program_is_not_shown() {
        let exec = Exec::changing(["login"]).with_stdin("secret").within(Duration::from_secs(5));
        let shown = format!("{exec:?}");
        assert_eq!(shown, r#"Exec { command: ["login"], stdin: 6 bytes, limit: 5s, changes: true }"#);
    }
}
