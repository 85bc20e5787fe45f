//! Standard output and standard error of the commands that go on for a while: both are written by threads of their own,
//! so that nothing waits for whoever reads them.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anstream::AutoStream;
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::{Exit, FAILED, Output, complain};
use crate::event::{Importance, Key, Reporter};
use crate::printable::printable;
use crate::report::{Json, Text, Writer, Written, ended_as_json, left_out_as_json, left_out_as_text};

/// What is still to be read when a command has ended has this long.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The same for standard error, which comes after it: who is told to stop has ended within two seconds.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The writer to standard error, of a command that reports events.
static STDERR: OnceLock<Writer> = OnceLock::new();

/// Where a command reports events to.
pub(super) struct Reporting {
    stdout: Writer,
    output: Output,
    /// Each line begins with the time of day.
    clock: bool,
}

impl Reporting {
    /// From here on nothing waits for who reads standard output or standard error. `stop` is cancelled when nobody
    /// reads standard output any more.
    pub(super) fn begin(output: Output, clock: bool, stop: &CancellationToken) -> Result<Self, Exit> {
        let cannot = |error: io::Error| Exit::new(FAILED, format!("cannot prepare output: {error}"));
        let stderr = Writer::start(AutoStream::auto(io::stderr()), left_out_as_text, |_| {}).map_err(cannot)?;
        // A process runs one command.
        let _ = STDERR.set(stderr);
        let left_out = match output {
            Output::Text => left_out_as_text,
            Output::Json => left_out_as_json,
        };
        let on_broken_pipe = stop.clone();
        let failed = move |error: &io::Error| match error.kind() {
            ErrorKind::BrokenPipe => on_broken_pipe.cancel(),
            _ => complain(format!("cannot write to standard output: {error}")),
        };
        let stdout = Writer::start(AutoStream::auto(io::stdout()), left_out, failed).map_err(cannot)?;
        #[cfg(target_os = "linux")]
        notice_that_the_reader_is_gone(&stdout, stop).map_err(cannot)?;
        Ok(Self { stdout, output, clock })
    }

    pub(super) fn reporter(&self) -> Arc<dyn Reporter> {
        match self.output {
            Output::Text => Arc::new(Text::new(self.stdout.clone(), self.clock)),
            Output::Json => Arc::new(Json::new(self.stdout.clone())),
        }
    }

    /// Shows something to people, after everything that was reported.
    pub(super) fn show(&self, text: impl AsRef<str>) {
        if self.output == Output::Text {
            self.stdout.push(Importance::Always, printable(text.as_ref()).as_bytes());
        }
    }

    /// Tells programs how the command ends; people see what it complains about.
    pub(super) fn end(&self, code: u8, complaint: Option<&str>) {
        if self.output == Output::Json {
            self.stdout.push(Importance::Always, ended_as_json(code, complaint));
        }
    }

    /// Waits for the last lines to be written, for a second.
    pub(super) fn finish(&self) -> Written {
        self.stdout.finish(LAST_LINES)
    }
}

/// Otherwise only the next write would show it, and an idle watch writes nothing for days. Of other streams than pipes
/// it cannot be told.
#[cfg(target_os = "linux")]
fn notice_that_the_reader_is_gone(stdout: &Writer, stop: &CancellationToken) -> io::Result<()> {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::retry_on_intr;

    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if !pipe.metadata()?.file_type().is_fifo() {
        return Ok(());
    }
    let (stdout, stop) = (stdout.clone(), stop.clone());
    let notice = move || {
        // Asks for nothing: an error, which here is that the last reader has closed, is told always.
        let mut asked = [PollFd::new(&pipe, PollFlags::empty())];
        if retry_on_intr(|| poll(&mut asked, None)).is_ok() {
            stdout.abandon();
            stop.cancel();
        }
    };
    thread::Builder::new().name("reader".to_owned()).spawn(notice).map(drop)
}

/// Writes to standard error: at once, or where a command reports events, without waiting.
pub(super) fn to_stderr(importance: Importance, text: &[u8]) {
    // Nobody is left to tell when standard error is gone.
    match STDERR.get() {
        Some(stderr) => stderr.push(importance, text),
        None => drop(anstream::stderr().write_all(text)),
    }
}

/// Waits for the last words on standard error, for half a second.
pub(super) fn finish_stderr() {
    if let Some(stderr) = STDERR.get() {
        stderr.finish(LAST_WORDS);
    }
}

/// Standard error for tracing.
pub(super) struct Log;

/// One event of it.
pub(super) struct LogLine(Importance);

impl MakeWriter<'_> for Log {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine(Importance::Progress)
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> LogLine {
        let is_worth_keeping = *event.level() <= Level::WARN;
        // The name says where in the code it was written.
        let key = Key { subject: None, what: event.name() };
        LogLine(if is_worth_keeping { Importance::Newest(key) } else { Importance::Progress })
    }
}

impl Write for LogLine {
    /// Is given whole events.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        to_stderr(self.0.clone(), text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
