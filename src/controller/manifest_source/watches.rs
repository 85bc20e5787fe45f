//! What the system tells of directories, and why it does not.

use std::collections::BTreeSet;
use std::path::PathBuf;

use notify::{Error, ErrorKind, Event, EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::debug;

use super::directories::Directories;
use super::mounts::shared;

/// `EMFILE`: what `inotify_init(2)` answers to a user who may have no further instance.
const TOO_MANY: i32 = 24;

/// Takes in what happens.
pub(super) type Handler = Box<dyn FnMut(notify::Result<Event>) + Send>;
/// Watches directories until it is dropped.
pub(super) type BoxedWatcher = Box<dyn Watcher + Send>;

/// The system's own watcher.
pub(super) fn of_the_system(handler: Handler) -> notify::Result<BoxedWatcher> {
    Ok(Box::new(notify::recommended_watcher(handler)?))
}

/// Watches on the directories that lead to a file, and to those that it names.
pub(super) struct Watches<M> {
    make: M,
    events: mpsc::UnboundedSender<()>,
    directories: Directories,
    /// Dropped and made anew when a directory changes: a watch stays with the directory it was made for.
    watcher: Option<BoxedWatcher>,
    unwatched: BTreeSet<PathBuf>,
    shared: Option<String>,
}

impl<M: Fn(Handler) -> notify::Result<BoxedWatcher>> Watches<M> {
    /// Sends to `events` for whatever may have changed the file.
    pub(super) fn new(make: M, events: mpsc::UnboundedSender<()>) -> Self {
        Self { make, events, directories: Directories::new(), watcher: None, unwatched: BTreeSet::new(), shared: None }
    }

    /// Watches the directories that these paths lead through now; what could not be watched before is tried again.
    /// Returns why not every change raises an event, if so.
    pub(super) fn place<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) -> Option<String> {
        let mut directories = Directories::new();
        for (directory, seen) in paths.flat_map(|path| super::directories::directories(path)) {
            let closest = seen.closest;
            directories.entry(directory).or_insert(seen).closest |= closest;
        }
        if directories != self.directories {
            self.watcher = None;
            self.unwatched = directories.keys().cloned().collect();
            self.shared = closest(&directories).find_map(|directory| shared(directory));
            self.directories = directories;
        }
        let unwatched = self.watch().err().map(|error| reason(&error));
        let shared = || self.shared.as_ref().map(|kind| format!("on {kind} changes made elsewhere raise none"));
        unwatched.or_else(shared)
    }

    fn watch(&mut self) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert((self.make)(handler(&self.directories, self.events.clone()))?),
        };
        let mut result = Ok(());
        self.unwatched.retain(|directory| match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => false,
            Err(error) => {
                debug!(directory = %directory.display(), %error, "not watched");
                // The file in a directory that is gone is looked for in any case.
                if !matches!(error.kind, ErrorKind::PathNotFound) {
                    result = Err(Error { paths: vec![directory.clone()], ..error });
                }
                true
            }
        });
        result
    }
}

fn closest(directories: &Directories) -> impl Iterator<Item = &PathBuf> {
    directories.iter().filter(|(_, seen)| seen.closest).map(|(path, _)| path)
}

fn handler(directories: &Directories, events: mpsc::UnboundedSender<()>) -> Handler {
    let closest: Vec<PathBuf> = closest(directories).cloned().collect();
    Box::new(move |event| {
        let matters = match event {
            Ok(event) => matters(&event, &closest),
            // What else was to be told is lost.
            Err(error) => {
                debug!(%error, "a file event is lost");
                true
            }
        };
        if matters {
            // Fails only while everything ends.
            let _ = events.send(());
        }
    })
}

/// Reading the file raises access events, and to act on those would never end. Of a directory further up only what
/// happens to the one below is of interest. When the system has lost events, anything may have happened.
fn matters(event: &Event, closest: &[PathBuf]) -> bool {
    let lies_close = |path: &PathBuf| {
        closest.contains(path)
            || path.parent().is_some_and(|parent| closest.iter().any(|directory| directory == parent))
    };
    let lies_close = || event.paths.is_empty() || event.paths.iter().any(lies_close);
    event.need_rescan() || (!matches!(event.kind, EventKind::Access(_)) && lies_close())
}

/// Why something is not watched, in words that say what to do about it.
fn reason(error: &Error) -> String {
    match (&error.kind, error.paths.first()) {
        (ErrorKind::MaxFilesWatch, _) => "fs.inotify.max_user_watches is reached".to_owned(),
        (ErrorKind::Io(cause), None) if cfg!(target_os = "linux") && cause.raw_os_error() == Some(TOO_MANY) => {
            "fs.inotify.max_user_instances is reached".to_owned()
        }
        (ErrorKind::Io(cause), Some(directory)) => format!("{}: {cause}", directory.display()),
        _ => error.to_string(),
    }
}
