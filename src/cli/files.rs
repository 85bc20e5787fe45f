//! Files that a command writes, and how it ends when one of them cannot be written.

use std::error::Error as _;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{BAD_INPUT, Exit, FAILED};
use crate::manifest::EditError;

/// A file and what it is to hold.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) contents: String,
}

/// Writes them all, or leaves everything as it was. A file that is there is replaced and keeps its permissions.
pub(super) fn write_together<'a>(files: impl Iterator<Item = &'a NewFile>) -> Result<(), Exit> {
    let mut ready = Vec::new();
    for file in files {
        ready.push(prepare(file).map_err(|error| cannot_write(&file.path, &error))?);
    }
    let mut created = Vec::new();
    for (temporary, target, is_new) in ready {
        if let Err(error) = temporary.persist(&target) {
            // What was there before is whole either way; only what this call has made goes again.
            for path in created {
                drop(fs::remove_file(path));
            }
            return Err(cannot_write(&target, &error.error));
        }
        if is_new {
            created.push(target);
        }
    }
    Ok(())
}

/// The contents in a temporary file beside their place.
fn prepare(file: &NewFile) -> io::Result<(NamedTempFile, PathBuf, bool)> {
    let existing = fs::metadata(&file.path).ok();
    if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    let target = if existing.is_some() { fs::canonicalize(&file.path)? } else { file.path.clone() };
    let directory = target.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    let readable = readable();
    if let Some(permissions) = &readable {
        builder.permissions(permissions.clone());
    }
    let mut temporary = builder.prefix(".ksail.").tempfile_in(directory)?;
    temporary.write_all(file.contents.as_bytes())?;
    if let Some(existing) = &existing {
        temporary.as_file().set_permissions(existing.permissions())?;
    }
    temporary.as_file().sync_all()?;
    Ok((temporary, target, existing.is_none()))
}

/// What a new file may be used for; the user's umask takes away from it.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
fn readable() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable() -> Option<Permissions> {
    None
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
