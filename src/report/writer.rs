//! Writes on a thread of its own, so that nobody waits for whoever reads.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::backlog::{Backlog, LeftOut};
use crate::event::Importance;

/// A stream that somebody else made non-blocking (a terminal is shared) is tried again after this.
const BUSY: Duration = Duration::from_millis(10);

/// Takes text at once and writes it when it can. What a reader is too slow for is left out by its [`Importance`].
///
/// Clones write to the same stream.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    error: Option<io::Error>,
    is_abandoned: bool,
    is_finishing: bool,
    /// The thread writes no more.
    has_ended: bool,
}

/// What became of everything that was to be written.
#[derive(Debug)]
pub enum Written {
    /// It was written.
    All,
    /// Nobody reads any more, and nobody missed the rest.
    ReaderGone,
    /// There was not enough time: whoever reads is slow, or stuck.
    Unread,
    /// Some of it was not written, for this reason at first.
    Failed(io::Error),
}

impl Writer {
    /// Starts the thread that writes to `out`.
    ///
    /// `left_out` says how many lines were left out. `failed` is told, by that thread, when writing fails for another
    /// reason than the time before. After [`ErrorKind::BrokenPipe`] nothing more is written; after anything else
    /// writing goes on with the next line.
    ///
    /// # Errors
    ///
    /// When the system has no thread to give.
    pub fn start(
        out: impl Write + Send + 'static,
        left_out: fn(usize) -> String,
        failed: impl FnMut(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::new(left_out)), changed: Condvar::new() });
        let writing = Arc::clone(&shared);
        thread::Builder::new().name("writer".to_owned()).spawn(move || writing.run(out, failed))?;
        Ok(Self(shared))
    }

    /// Takes whole lines, with their ends.
    pub fn push(&self, importance: Importance, text: impl Into<Vec<u8>>) {
        let mut state = self.0.lock();
        if state.is_abandoned || state.has_ended {
            return;
        }
        state.backlog.push(importance, text.into());
        self.0.changed.notify_all();
    }

    /// Discards what waits and what comes: there is nobody who reads it.
    pub fn abandon(&self) {
        self.0.lock().abandon();
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub fn finish(&self, limit: Duration) -> Written {
        let mut state = self.0.lock();
        state.is_finishing = true;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_timeout_while(state, limit, |state| !state.has_ended && !state.is_abandoned);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.error.take() {
            _ if state.is_abandoned => Written::ReaderGone,
            Some(error) => Written::Failed(error),
            None if state.has_ended => Written::All,
            None => Written::Unread,
        }
    }
}

impl State {
    fn new(left_out: LeftOut) -> Self {
        let backlog = Backlog::new(left_out);
        Self { backlog, error: None, is_abandoned: false, is_finishing: false, has_ended: false }
    }

    fn abandon(&mut self) {
        self.is_abandoned = true;
        self.backlog.clear();
    }
}

impl Shared {
    /// Whoever panicked while holding it was not in the middle of anything.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: impl Write, mut failed: impl FnMut(&io::Error)) {
        let mut last = None;
        while let Some(text) = self.next() {
            let Err(error) = write(&mut out, &text) else { continue };
            if last.replace(error.kind()) != Some(error.kind()) {
                failed(&error);
            }
            self.take_note(error);
        }
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Waits for something to write; there will be nothing more when it returns nothing.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            match state.backlog.pop() {
                _ if state.is_abandoned => return None,
                Some(text) => return Some(text),
                None if state.is_finishing => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn take_note(&self, error: io::Error) {
        let mut state = self.lock();
        if error.kind() == ErrorKind::BrokenPipe {
            state.abandon();
        }
        state.error.get_or_insert(error);
    }
}

fn write(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let mut rest = text;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) => pause(error)?,
        }
    }
    while let Err(error) = out.flush() {
        pause(error)?;
    }
    Ok(())
}

/// Nothing but errors that pass.
fn pause(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => {}
        ErrorKind::WouldBlock => thread::sleep(BUSY),
        _ => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::super::backlog::CAPACITY;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Passes on what is written, each time when it is told to.
    struct Gate {
        reached: Sender<()>,
        open: Receiver<()>,
        passed: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.reached.send(());
            // A test that has ended opens nothing any more.
            self.open.recv().map_err(|_| io::Error::other("closed for good"))?;
            self.passed.send(bytes.to_vec()).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer whose thread stands before a gate with `first` in its hands, what opens it, and what passes it.
    fn gated(first: &str) -> (Writer, Sender<()>, Receiver<Vec<u8>>) {
        let ((reached, at_gate), (key, open), (passed, seen)) = (channel(), channel(), channel());
        let writer = Writer::start(Gate { reached, open, passed }, left_out, |_| {}).unwrap();
        writer.push(Importance::Progress, first);
        at_gate.recv().unwrap();
        (writer, key, seen)
    }

    fn open(key: &Sender<()>, times: usize) {
        (0..times).for_each(|_| key.send(()).unwrap());
    }

    fn left_out(lines: usize) -> String {
        format!("{lines} left out\n")
    }

    /// Fails with each of these in turn, then takes everything.
    struct Failing {
        errors: Vec<ErrorKind>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.errors.is_empty() {
                return Err(self.errors.remove(0).into());
            }
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes two lines past these errors: what was written, how it ended, and the errors that were told.
    fn failing(errors: &[ErrorKind]) -> (Vec<u8>, Written, Vec<ErrorKind>) {
        let ((written, seen), (tell, told)) = (channel(), channel());
        let out = Failing { errors: errors.to_vec(), written };
        let writer = Writer::start(out, left_out, move |error| tell.send(error.kind()).unwrap()).unwrap();
        writer.push(Importance::Always, "a\n");
        writer.push(Importance::Always, "b\n");
        let ended = writer.finish(PATIENCE);
        // Ends with the thread, which holds the other ends.
        (seen.iter().flatten().collect(), ended, told.iter().collect())
    }

    #[test]
    fn a_writer_that_is_stuck_holds_nobody_up_and_what_it_missed_is_counted() {
        let (writer, key, seen) = gated("first\n");
        for number in 0..CAPACITY + 312 {
            writer.push(Importance::Progress, format!("{number}\n"));
        }
        open(&key, CAPACITY + 2);
        let lines: Vec<_> = seen.iter().take(CAPACITY + 2).map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(lines[..2], ["first\n", "0\n"]);
        assert_eq!(lines[CAPACITY..], [format!("{}\n", CAPACITY - 1), "312 left out\n".to_owned()]);
        assert!(matches!(writer.finish(PATIENCE), Written::All));
    }

    #[test]
    fn a_writer_that_is_stuck_has_its_time_to_finish_and_no_more() {
        let (writer, _key, seen) = gated("stuck\n");
        let limit = Duration::from_millis(50);
        let begun = Instant::now();
        assert!(matches!(writer.finish(limit), Written::Unread));
        assert!(begun.elapsed() >= limit);
        assert!(seen.try_recv().is_err());
    }

    #[test]
    fn a_writer_that_comes_loose_while_it_is_waited_for_writes_everything() {
        let (writer, key, seen) = gated("a\n");
        writer.push(Importance::Always, "b\n");
        let finishing = thread::spawn(move || writer.finish(PATIENCE));
        open(&key, 2);
        assert!(matches!(finishing.join().unwrap(), Written::All));
        assert_eq!(seen.iter().flatten().collect::<Vec<_>>(), b"a\nb\n");
    }

    #[test]
    fn a_stuck_writer_that_nobody_reads_any_more_is_not_waited_for() {
        let (writer, _key, _seen) = gated("a\n");
        writer.abandon();
        writer.push(Importance::Always, "b\n");
        assert!(matches!(writer.finish(PATIENCE), Written::ReaderGone));
    }

    #[test]
    fn a_reader_that_is_gone_is_told_of_and_ends_the_writing() {
        let (written, ended, told) = failing(&[ErrorKind::BrokenPipe]);
        assert!(written.is_empty() && matches!(ended, Written::ReaderGone), "{ended:?}");
        assert_eq!(told, [ErrorKind::BrokenPipe]);
    }

    #[test]
    fn an_error_is_told_once_and_writing_goes_on() {
        let (written, ended, told) = failing(&[ErrorKind::StorageFull]);
        assert_eq!((written.as_slice(), told.as_slice()), (&b"b\n"[..], &[ErrorKind::StorageFull][..]));
        assert!(matches!(ended, Written::Failed(error) if error.kind() == ErrorKind::StorageFull));
        let (written, _, told) = failing(&[ErrorKind::StorageFull, ErrorKind::StorageFull]);
        assert_eq!((written.as_slice(), told.as_slice()), (&b""[..], &[ErrorKind::StorageFull][..]));
    }

    #[test]
    fn a_stream_that_is_busy_is_tried_again() {
        let (written, ended, told) = failing(&[ErrorKind::WouldBlock, ErrorKind::Interrupted]);
        assert!(matches!(ended, Written::All), "{ended:?}");
        assert_eq!((written.as_slice(), told.len()), (&b"a\nb\n"[..], 0));
    }
}
