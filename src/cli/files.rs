//! Files that a command writes, and how it ends when one of them cannot be written.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BAD_INPUT, Exit, FAILED};
use crate::manifest::{EditError, Owner, Prepared};

/// A file and what it is to hold.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) contents: String,
}

/// Writes them all, or leaves everything as it was. A file that is there is replaced and keeps its permissions.
pub(super) fn write_together<'a>(files: impl Iterator<Item = &'a NewFile>) -> Result<(), Exit> {
    let mut ready = Vec::new();
    for NewFile { path, contents } in files {
        let prepared = Prepared::beside(path, contents.as_bytes(), Owner::Writer);
        ready.push((path, prepared.map_err(|error| cannot_write(path, &error))?));
    }
    let mut created = Vec::new();
    for (path, prepared) in ready {
        let is_new = prepared.is_new();
        match prepared.put_in_place() {
            Ok(written) if is_new => created.push(written),
            Ok(_) => {}
            Err(error) => {
                // What was there before is whole either way; only what this call has made goes again.
                for path in created {
                    drop(fs::remove_file(path));
                }
                return Err(cannot_write(path, &error));
            }
        }
    }
    Ok(())
}

/// Why a file was not written, and what to do about it.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Exit {
    let (code, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (FAILED, ": the disk is full; make room and try again".to_owned())
        }
        io::ErrorKind::PermissionDenied => (BAD_INPUT, ": look at the permissions of its directory".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => (BAD_INPUT, ": the file system is read-only".to_owned()),
        io::ErrorKind::NotFound => (BAD_INPUT, ": there is no such directory".to_owned()),
        _ => (BAD_INPUT, format!(": {error}")),
    };
    Exit::new(code, format!("{} cannot be written{hint}; nothing was changed", path.display()))
}

/// An edit that was refused, with its cause unless the message says it, and the exit code that goes with it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn refused(error: EditError) -> Exit {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = match &error {
        EditError::Write { source, .. } => Some(source.kind()),
        _ => None,
    };
    let code = if matches!(kind, Some(StorageFull | QuotaExceeded)) { FAILED } else { BAD_INPUT };
    match error.source() {
        Some(cause) if !matches!(kind, Some(StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem)) => {
            Exit::new(code, format!("{error}\n{cause}"))
        }
        _ => Exit::new(code, error.to_string()),
    }
}
