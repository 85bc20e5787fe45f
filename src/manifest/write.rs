//! Edits the file on disk: one at a time, all or nothing.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::edit::{Edit, EditError, apply_to};

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
    let directory = target.parent().unwrap_or(Path::new("/"));
    // The directory itself is the lock: there is no file to leave behind or to be put there by someone else.
    let _lock = lock(directory, path)?;
    let before = fs::read(&target).map_err(read)?;
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
    let directory = target.parent().unwrap_or(Path::new("/"));
    let temporary = write_beside(target, directory, after).map_err(write)?;
    if fs::read(target).map_err(write)? != before {
        return Err(EditError::Changed { path: path.to_owned() });
    }
    temporary.persist(target).map_err(|error| write(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(write)
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

fn write_beside(target: &Path, directory: &Path, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let metadata = fs::metadata(target)?;
    if metadata.permissions().readonly() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is write-protected"));
    }
    let mut temporary = tempfile::Builder::new().prefix(".ksail.yaml.").tempfile_in(directory)?;
    temporary.write_all(contents)?;
    keep_owner(&metadata, &temporary)?;
    temporary.as_file().set_permissions(metadata.permissions())?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

#[cfg(unix)]
fn keep_owner(metadata: &fs::Metadata, temporary: &tempfile::NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let own = temporary.as_file().metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(temporary.as_file(), Some(metadata.uid()), Some(metadata.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
fn keep_owner(_: &fs::Metadata, _: &tempfile::NamedTempFile) -> io::Result<()> {
    Ok(())
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
