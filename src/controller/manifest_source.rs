//! The manifest as a source of triggers, however an editor saves it.
//!
//! What is watched are directories: the file's own (a watch on the file goes silent after the first rename-over
//! save), the ones its symbolic links lead through (Kubernetes swaps a linked directory), and the one above (the
//! directory itself may be renamed away and back). Any event there makes the file be read, once it is quiet; it is news
//! when its bytes are. Where the system does not tell of every change, the file is read every second.

mod directories;
mod mounts;
#[cfg(test)]
mod tests;
mod watches;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use crate::event::{Event, Reporter};
use crate::limit::FILE;
use watches::{BoxedWatcher, Handler, Watches, of_the_system};

/// A save takes effect when nothing has happened for this long: until then it may not be over, or be one of a burst.
const QUIET: Duration = Duration::from_millis(50);
/// A burst that does not end is read this long after its first event.
const LONGEST: Duration = Duration::from_millis(400);
/// While the file is missing it is looked for this often: its directory may be a new one that nobody watches.
const MISSING: Duration = Duration::from_millis(250);
/// Where not every change raises an event, the file is read this often.
const POLL: Duration = Duration::from_secs(1);
/// Network and virtual machine mounts that are not known as such may deliver no event at all.
const READ_ANYWAY: Duration = Duration::from_secs(30);

/// What the file holds now, or why it cannot be read.
pub(super) type Contents = io::Result<Vec<u8>>;

/// Sends the file's contents whenever they are not what they were, beginning with what they are now. Ends when nobody
/// listens.
pub(super) async fn run(path: PathBuf, reporter: Arc<dyn Reporter>, out: UnboundedSender<Contents>) {
    follow(path, of_the_system, &*reporter, out).await;
}

async fn follow<M>(path: PathBuf, make_watcher: M, reporter: &dyn Reporter, out: UnboundedSender<Contents>)
where
    M: Fn(Handler) -> notify::Result<BoxedWatcher>,
{
    // What is watched is told of by absolute paths.
    let path = std::path::absolute(&path).unwrap_or(path);
    let (events, mut happened) = unbounded_channel();
    let mut watches = Watches::new(make_watcher, events);
    let mut readings = Readings::default();
    let mut told_reason = None;
    let mut is_over = true;
    loop {
        let polled = watches.place(&path);
        if let Some(reason) = polled.as_ref().filter(|reason| told_reason.as_ref() != Some(*reason)) {
            reporter.report(&Event::ManifestPolled { file: path.clone(), reason: reason.clone() });
            told_reason.clone_from(&polled);
        }
        // Read after the watches are in place, or a save in between is lost.
        let contents = read(path.clone()).await;
        let is_missing = contents.is_err();
        let reading = readings.compare(&contents, is_over, Instant::now());
        if reading == Reading::News && out.send(contents).is_err() {
            return;
        }
        let idle = match reading {
            Reading::Unsettled => QUIET,
            _ if is_missing => MISSING,
            _ if polled.is_some() => POLL,
            _ => READ_ANYWAY,
        };
        tokio::select! {
            () = out.closed() => return,
            has_happened = end_of_a_save(&mut happened, idle) => is_over = has_happened,
        }
    }
}

/// What the file holds. A file system that hangs holds nothing else up.
async fn read(path: PathBuf) -> io::Result<Vec<u8>> {
    spawn_blocking(move || FILE.read_file(&path)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Waits until something happens, but not longer than `idle`, and then for the end of it. Returns whether it happened.
async fn end_of_a_save(happened: &mut UnboundedReceiver<()>, idle: Duration) -> bool {
    if timeout(idle, happened.recv()).await.is_err() {
        return false;
    }
    let latest = Instant::now() + LONGEST;
    while Instant::now() < latest {
        let quiet = Instant::now() + QUIET;
        if timeout_at(quiet.min(latest), happened.recv()).await.is_err() {
            break;
        }
    }
    true
}

type Version = Result<Vec<u8>, io::ErrorKind>;

/// What has been read of the file.
#[derive(Default)]
struct Readings {
    told: Option<Version>,
    /// A change that no event announced, and since when. It may be half a save.
    unsettled: Option<(Version, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Known,
    News,
    /// To be read again in a moment.
    Unsettled,
}

impl Readings {
    fn compare(&mut self, contents: &Contents, is_over: bool, now: Instant) -> Reading {
        let version = match contents {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => Err(error.kind()),
        };
        let before = self.unsettled.take();
        if self.told.as_ref() == Some(&version) {
            return Reading::Known;
        }
        let holds = |(last, since): &(Version, Instant)| *last == version || now - *since >= LONGEST;
        if is_over || before.as_ref().is_some_and(holds) {
            self.told = Some(version);
            return Reading::News;
        }
        let since = before.map_or(now, |(_, since)| since);
        self.unsettled = Some((version, since));
        Reading::Unsettled
    }
}
