//! Edits the file on disk: one at a time, all or nothing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::atomic::{Owner, Prepared, directory_of, sync_directory};
use super::edit::{Edit, EditError, apply_to};
use crate::limit::FILE;

/// Longest wait for another edit of a file in the same directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an edit did to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// It says something else now.
    Changed,
    /// It said so already, and was not written.
    Unchanged,
}

/// Edits the manifest at `path`: under a lock, through a temporary file beside it, with its mode and owner.
///
/// A symbolic link stays one; the file it leads to is replaced. On any error the file is as it was.
pub fn edit_file(path: &Path, edits: &[Edit]) -> Result<Edited, EditError> {
    let read = |source| EditError::Read { path: path.to_owned(), source };
    let target = fs::canonicalize(path).map_err(read)?;
    // The directory itself is the lock: there is no file to leave behind or to be put there by someone else.
    let _lock = lock(directory_of(&target), path)?;
    let before = FILE.read_file(&target).map_err(read)?;
    let after = apply_to(path, &before, edits)?;
    if after == before {
        return Ok(Edited::Unchanged);
    }
    replace(path, &target, &before, &after)?;
    Ok(Edited::Changed)
}

/// Puts `after` where `target` is, if that still holds `before`; `path` is what the user calls it.
pub(crate) fn replace(path: &Path, target: &Path, before: &[u8], after: &[u8]) -> Result<(), EditError> {
    let write = |source| EditError::Write { path: path.to_owned(), source };
    if fs::metadata(target).map_err(write)?.permissions().readonly() {
        return Err(write(io::Error::new(io::ErrorKind::PermissionDenied, "the file is write-protected")));
    }
    let prepared = Prepared::beside(target, after, Owner::Kept).map_err(write)?;
    if FILE.read_file(target).map_err(write)? != before {
        return Err(EditError::Changed { path: path.to_owned() });
    }
    let written = prepared.put_in_place().map_err(write)?;
    sync_directory(directory_of(&written)).map_err(write)
}

/// Keeps other edits of files in a directory out until the handle is dropped.
pub(crate) fn lock(directory: &Path, path: &Path) -> Result<File, EditError> {
    let failed = |source| EditError::Write { path: path.to_owned(), source };
    let handle = File::open(directory).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(handle),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(EditError::Busy { path: path.to_owned() }),
            // Some network file systems have no locks; the check before the rename still notices another writer.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(handle),
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
        let error = replace(Path::new("ksail.yaml"), &path, b"as read", b"ours").unwrap_err();
        assert_eq!(
            error.to_string(),
            "ksail.yaml was changed by someone else meanwhile and is left as they wrote it; try again"
        );
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
