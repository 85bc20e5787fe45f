//! The manifest as a source of triggers, however an editor saves it.
//!
//! What is watched are directories: the file's own (a watch on the file goes silent after the first rename-over
//! save), the ones its symbolic links lead through (Kubernetes swaps a linked directory), and the one above (the
//! directory itself may be renamed away and back). Any event there makes the file be read, once it is quiet; it is news
//! when its bytes are, or those of a file that it names. Where the system does not tell of every change, the file is read every second.

mod directories;
mod mounts;
#[cfg(test)]
mod tests;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::Environment;
use crate::digest;
use crate::event::{Event, Reporter};
use crate::limit::FILE;
use crate::manifest::Named;
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

/// What `docker login`'s helpers answer may be good for hours only, so they are asked again.
const LOGIN: Duration = Duration::from_secs(600);
/// Where what came of that could not be used it is sooner, after twice as long each time.
const LOGIN_AGAIN: Duration = Duration::from_secs(10);

/// What the file holds now, or why it cannot be read.
pub(super) type Contents = io::Result<Vec<u8>>;

/// Sends the file's contents whenever they are not what they were, beginning with what they are now. Whether they were
/// `refused` is told each time they were read. Ends when nobody listens.
pub(super) async fn run(
    path: PathBuf,
    reporter: Arc<dyn Reporter>,
    env: Environment,
    out: UnboundedSender<Contents>,
    refused: watch::Receiver<bool>,
) {
    follow(path, of_the_system, &*reporter, env, out, refused).await;
}

async fn follow<M>(
    path: PathBuf,
    make_watcher: M,
    reporter: &dyn Reporter,
    env: Environment,
    out: UnboundedSender<Contents>,
    mut refused: watch::Receiver<bool>,
) where
    M: Fn(Handler) -> notify::Result<BoxedWatcher>,
{
    // What is watched is told of by absolute paths.
    let path = std::path::absolute(&path).unwrap_or(path);
    let (events, mut happened) = unbounded_channel();
    let mut watches = Watches::new(make_watcher, events);
    let mut readings = Readings::default();
    let mut login = Login::now();
    let mut named = Named::default();
    let mut told_reason = None;
    let mut is_over = true;
    loop {
        let polled = watches.place(iter::once(&path).chain(&named.files));
        if let Some(reason) = polled.as_ref().filter(|reason| told_reason.as_ref() != Some(*reason)) {
            reporter.report(&Event::ManifestPolled { file: path.clone(), reason: reason.clone() });
            told_reason.clone_from(&polled);
        }
        // Read after the watches are in place, or a save in between is lost.
        let contents = read(path.clone()).await;
        let is_missing = contents.is_err();
        let now_named = contents.as_ref().ok().and_then(|bytes| Named::in_manifest(&path, bytes, &*env));
        // What is half written names nothing, and a file that is new to it is to be watched before it is read.
        if let Some(now_named) = now_named.filter(|now_named| *now_named != named) {
            named = now_named;
            watches.place(iter::once(&path).chain(&named.files));
        }
        if named.from_docker && login.due() <= Instant::now() {
            (login.count, login.asked_at) = (login.count + 1, Instant::now());
        }
        let version = Version::of(&contents, beside(named.files.clone()).await, login.count);
        let reading = readings.compare(version, is_over, Instant::now());
        if reading == Reading::News {
            login.asked_at = Instant::now();
            if out.send(contents).is_err() {
                return;
            }
        }
        let idle = match reading {
            Reading::Unsettled => QUIET,
            _ if is_missing => MISSING,
            _ if polled.is_some() => POLL,
            _ if named.from_docker => login.due().saturating_duration_since(Instant::now()).min(READ_ANYWAY),
            _ => READ_ANYWAY,
        };
        tokio::select! {
            () = out.closed() => return,
            Ok(()) = refused.changed() => {
                let is_refused = *refused.borrow_and_update();
                login.failed = if is_refused { login.failed + 1 } else { 0 };
                // What was about to be told of a save is found by reading.
                is_over = false;
            }
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

/// When what `docker login` stored is read again.
struct Login {
    /// How often it was due.
    count: u64,
    asked_at: Instant,
    /// How often in a row it could not be used.
    failed: u32,
}

impl Login {
    fn now() -> Self {
        Self { count: 0, asked_at: Instant::now(), failed: 0 }
    }

    fn due(&self) -> Instant {
        let pause = match self.failed.checked_sub(1) {
            None => LOGIN,
            Some(doubled) => LOGIN_AGAIN.saturating_mul(2_u32.saturating_pow(doubled)).min(LOGIN),
        };
        self.asked_at + pause
    }
}

/// What each of these files holds.
async fn beside(files: BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Held> {
    let read = move || {
        let held = files.into_iter().map(|file| {
            let held = held(&FILE.read_file(&file));
            (file, held)
        });
        held.collect()
    };
    spawn_blocking(read).await.unwrap_or_default()
}

/// By its digest: secrets are not kept for this.
type Held = Result<String, io::ErrorKind>;

fn held(contents: &Contents) -> Held {
    contents.as_ref().map(|bytes| digest::sha256(bytes)).map_err(io::Error::kind)
}

/// What is compared of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    manifest: Held,
    /// Files that it names.
    beside: BTreeMap<PathBuf, Held>,
    /// How often `docker login`'s helpers were to be asked.
    login: u64,
}

impl Version {
    fn of(manifest: &Contents, beside: BTreeMap<PathBuf, Held>, login: u64) -> Self {
        Self { manifest: held(manifest), beside, login }
    }
}

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
    fn compare(&mut self, version: Version, is_over: bool, now: Instant) -> Reading {
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
