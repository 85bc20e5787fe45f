//! Edits the file on disk: one at a time, all or nothing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::atomic::{InPlace, NotPlaced, Prepared, directory_of, sync_directory};
use super::edit::{Edit, EditError, apply_to};
use crate::limit::FILE;

/// Longest wait for another edit of a file in the same directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// That nobody else edits files in a directory as long as this is there. Whatever reads a file to write it asks for one.
#[derive(Debug)]
pub(crate) struct EditLock {
    _directory: File,
}

/// What an edit did to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// It says something else now.
    Changed,
    /// It says something else now, and was written in place.
    ChangedInPlace(InPlace),
    /// It said so already, and was not written.
    Unchanged,
}

/// Edits the manifest at `path`: under a lock, through a temporary file beside it, with its mode and owner, or in place
/// where that is not possible.
///
/// A symbolic link stays one; the file it leads to is replaced. Every error says what the file is like.
pub fn edit_file(path: &Path, edits: &[Edit]) -> Result<Edited, EditError> {
    let read = |source| EditError::Read { path: path.to_owned(), source };
    let target = fs::canonicalize(path).map_err(read)?;
    // The directory itself is the lock: there is no file to leave behind or to be put there by someone else.
    let lock = lock(directory_of(&target), path)?;
    let before = FILE.read_file(&target).map_err(read)?;
    let after = apply_to(path, &before, edits)?;
    if after == before {
        return Ok(Edited::Unchanged);
    }
    Ok(replace(&lock, path, &target, &before, &after)?.map_or(Edited::Changed, Edited::ChangedInPlace))
}

/// Puts `after` where `target` is, if that still holds `before`; `path` is what the user calls it.
pub(crate) fn replace(
    _: &EditLock,
    path: &Path,
    target: &Path,
    before: &[u8],
    after: &[u8],
) -> Result<Option<InPlace>, EditError> {
    let prepared = Prepared::beside(target, after).map_err(|error| not_placed(path, error))?;
    if prepared.before() != Some(before) {
        return Err(EditError::Changed { path: path.to_owned() });
    }
    let in_place = prepared.put_in_place().map_err(|error| not_placed(path, error))?;
    synced(path, sync_directory(directory_of(target)))?;
    Ok(in_place)
}

/// The error for the user, who calls the file `path`.
pub(crate) fn not_placed(path: &Path, error: NotPlaced) -> EditError {
    let path = path.to_owned();
    match error {
        NotPlaced::Unchanged(source) => EditError::Write { path, source },
        NotPlaced::OfAnother => EditError::OfAnother { path },
        NotPlaced::Meanwhile => EditError::Changed { path },
        NotPlaced::Half { whole, source } => EditError::HalfWritten { path, whole, source },
    }
}

/// The file has its new contents whether or not its directory could be brought to the disk.
pub(crate) fn synced(path: &Path, outcome: io::Result<()>) -> Result<(), EditError> {
    outcome.map_err(|source| EditError::NotSynced { path: path.to_owned(), source })
}

/// Keeps other edits of files in a directory out until the handle is dropped.
pub(crate) fn lock(directory: &Path, path: &Path) -> Result<EditLock, EditError> {
    let failed = |source| EditError::Write { path: path.to_owned(), source };
    let handle = File::open(directory).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(EditLock { _directory: handle }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(EditError::Busy { path: path.to_owned() }),
            // Some network file systems have no locks; the check before the rename still notices another writer.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(EditLock { _directory: handle }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    // EBADF (9): NFS wants a writable handle for an exclusive lock, which a directory cannot give.
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_someone_else_wrote_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ksail.yaml");
        fs::write(&path, "theirs").unwrap();
        let lock = lock(directory.path(), &path).unwrap();
        let error = replace(&lock, Path::new("ksail.yaml"), &path, b"as read", b"ours").unwrap_err();
        assert_eq!(
            error.to_string(),
            "ksail.yaml was changed by someone else meanwhile and is left as they wrote it; try again"
        );
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_directory_that_cannot_be_synced_does_not_make_a_changed_file_an_unchanged_one() {
        let error = synced(Path::new("ksail.yaml"), Err(io::Error::other("I/O error"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ksail.yaml has been changed, but its directory could not be brought to the disk: after a power cut it may be as it was before"
        );
    }

    #[test]
    fn a_file_written_by_half_is_said_to_be_so_with_the_place_of_its_old_contents() {
        let half = NotPlaced::Half { whole: ".ksail.x".into(), source: io::Error::other("I/O error") };
        assert_eq!(
            not_placed(Path::new("ksail.yaml"), half).to_string(),
            "ksail.yaml was written in place, and that failed half way: it may hold some of the old and some of the new; \
             what it held before is whole in .ksail.x: copy that back"
        );
    }
}
