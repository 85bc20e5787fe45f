//! The manifest as a source of triggers, however an editor saves it.
//!
//! What is watched are directories: the file's own (a watch on the file goes silent after the first rename-over
//! save), the ones its symbolic links lead through (Kubernetes swaps a linked directory), and the one above (the
//! directory itself may be renamed away and back). Any event there makes the file be read; it is news when its bytes are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// Events this close together are one save, or a burst of them.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is read this long after its first event.
const LONGEST: Duration = Duration::from_millis(400);
/// While the file is missing it is looked for this often: its directory may be a new one that nobody watches.
const MISSING: Duration = Duration::from_millis(250);
/// Network and virtual machine mounts may deliver no event at all.
const READ_ANYWAY: Duration = Duration::from_secs(30);
/// Links followed on the way to the file.
const MOST_LINKS: usize = 16;

/// What the file holds now, or why it cannot be read.
pub(super) type Contents = io::Result<Vec<u8>>;

/// Sends the file's contents whenever they are not what they were, beginning with what they are now. Ends when nobody listens.
pub(super) async fn run(path: PathBuf, out: mpsc::UnboundedSender<Contents>) {
    let (events, mut happened) = mpsc::unbounded_channel();
    let mut watching = Watching::default();
    let mut last: Option<Result<Vec<u8>, io::ErrorKind>> = None;
    loop {
        watching.follow(&path, &events);
        // Read after the watches are in place, or a save in between is lost.
        let contents = tokio::fs::read(&path).await;
        let now = contents.as_ref().map(Clone::clone).map_err(io::Error::kind);
        let missing = now.is_err();
        if last.as_ref() != Some(&now) {
            last = Some(now);
            if out.send(contents).is_err() {
                return;
            }
        }
        let at_the_latest = Instant::now() + if missing { MISSING } else { READ_ANYWAY };
        let (mut until, mut first) = (at_the_latest, None);
        loop {
            tokio::select! {
                () = out.closed() => return,
                Some(()) = happened.recv() => {
                    let now = Instant::now();
                    until = at_the_latest.min(now + QUIET).min(*first.get_or_insert(now) + LONGEST);
                }
                () = sleep_until(until) => break,
            }
        }
    }
}

type Directories = BTreeMap<PathBuf, Seen>;

/// What is known of a watched directory. Another directory in its place is another one to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    identity: Option<Identity>,
    /// The file or a link to it lies in it, rather than a directory that does.
    closest: bool,
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = std::time::SystemTime;

#[derive(Default)]
struct Watching {
    directories: Directories,
    /// Dropped and made anew when a directory changes: a watch stays with the directory it was made for.
    watcher: Option<RecommendedWatcher>,
}

impl Watching {
    fn follow(&mut self, path: &Path, events: &mpsc::UnboundedSender<()>) {
        let directories = directories(path);
        if self.watcher.is_some() && directories == self.directories {
            return;
        }
        let events = events.clone();
        let closest: Vec<PathBuf> =
            directories.iter().filter(|(_, seen)| seen.closest).map(|(path, _)| path.clone()).collect();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| matters(&event, &closest)) {
                // Fails only while everything ends.
                let _ = events.send(());
            }
        });
        self.watcher = match watcher {
            Ok(mut watcher) => {
                for directory in directories.keys() {
                    if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                        debug!(directory = %directory.display(), %error, "not watched");
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                debug!(%error, "no file events; the file is read every {} s", READ_ANYWAY.as_secs());
                None
            }
        };
        self.directories = directories;
    }
}

/// Reading the file raises access events, and to act on those would never end. Of a directory further up only what
/// happens to the one below is of interest.
fn matters(event: &notify::Event, closest: &[PathBuf]) -> bool {
    let lies_close = |path: &PathBuf| {
        closest.contains(path)
            || path.parent().is_some_and(|parent| closest.iter().any(|directory| directory == parent))
    };
    !matches!(event.kind, EventKind::Access(_)) && (event.paths.is_empty() || event.paths.iter().any(lies_close))
}

/// The directories in which something can happen that changes what `path` leads to.
fn directories(path: &Path) -> Directories {
    let mut found = Directories::new();
    let mut note = |directory: &Path, closest: bool| {
        let seen = found.entry(directory.to_owned()).or_insert_with(|| Seen { identity: identity(directory), closest });
        seen.closest |= closest;
    };
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        for (above, directory) in path.ancestors().skip(1).take(2).enumerate() {
            note(directory, above == 0);
        }
        // Each link on the way can be swapped, and lies in a directory of its own.
        let Some((link, rest)) = first_link(&path) else { break };
        let Ok(target) = std::fs::read_link(&link) else { break };
        let parent = link.parent().map(Path::to_owned).unwrap_or_default();
        note(&parent, true);
        // `components` drops the slash that joining an empty rest leaves.
        path = parent.join(target).join(rest).components().collect();
    }
    found
}

/// The first component of a path that is a symbolic link, and what comes after it.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    let link = ancestors
        .into_iter()
        .find(|ancestor| std::fs::symlink_metadata(ancestor).is_ok_and(|meta| meta.is_symlink()))?;
    Some((link.to_owned(), path.strip_prefix(link).ok()?.to_owned()))
}

#[cfg(unix)]
fn identity(directory: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(directory).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(directory: &Path) -> Option<Identity> {
    std::fs::metadata(directory).and_then(|meta| meta.created()).ok()
}
