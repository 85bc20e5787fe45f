//! Files that a command writes, and how it ends when one of them cannot be written.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BAD_INPUT, Exit, FAILED, note};
use crate::manifest::{
    self, Edit, EditError, EditLock, Edited, InPlace, NotPlaced, Prepared, directory_of, not_placed, shown,
    sync_directory, synced,
};

/// A file and what it is to hold.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) contents: String,
    /// What it held when it was decided to write it; `None` where there was none.
    pub(super) before: Option<Vec<u8>>,
}

/// A directory to write into, with those above it. What had to be made for that goes again unless it is kept.
#[derive(Debug)]
pub(super) struct Place {
    /// The deepest first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Makes what is missing.
    pub(super) fn open(directory: &Path) -> Result<Self, Exit> {
        let missing = directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let place = Self { made: missing.map(Path::to_owned).collect() };
        if !place.made.is_empty() {
            fs::create_dir_all(directory).map_err(|error| unchanged(directory, &error))?;
        }
        Ok(place)
    }

    /// Something was written: it stays.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in &self.made {
            // Somebody may have put something into it since.
            drop(fs::remove_dir(path));
        }
    }
}

/// A file that was written, and what it held before.
struct Written<'a> {
    file: &'a NewFile,
    target: PathBuf,
    before: Option<Vec<u8>>,
}

impl Written<'_> {
    /// As it was before, if it still is what was written.
    fn undo(&self) -> Result<(), NotPlaced> {
        match &self.before {
            None => Ok(fs::remove_file(&self.target)?),
            Some(before) => {
                let prepared = Prepared::beside(&self.target, before)?;
                if prepared.before() != Some(self.file.contents.as_bytes()) {
                    return Err(NotPlaced::Meanwhile);
                }
                prepared.put_in_place().map(drop)
            }
        }
    }
}

/// Writes them all, or none: where one cannot be written, those before it get back what they held. A file that is there
/// keeps its permissions and its owner.
pub(super) fn write_together<'a>(_: &EditLock, files: impl Iterator<Item = &'a NewFile>) -> Result<(), Exit> {
    let mut ready = Vec::new();
    for file in files {
        let prepared = Prepared::beside(&file.path, file.contents.as_bytes());
        let prepared = prepared.map_err(|error| stopped(&file.path, error, &[]))?;
        if prepared.before() != file.before.as_deref() {
            return Err(stopped(&file.path, NotPlaced::Meanwhile, &[]));
        }
        ready.push((file, prepared));
    }
    let mut done = Vec::new();
    for (file, prepared) in ready {
        let (target, before) = (prepared.target().to_owned(), prepared.before().map(<[u8]>::to_owned));
        match prepared.put_in_place() {
            Ok(in_place) => {
                tell_in_place(&file.path, in_place);
                done.push(Written { file, target, before });
            }
            Err(error) => return Err(stopped(&file.path, error, &done)),
        }
    }
    let directories: BTreeSet<_> = done.iter().map(|written| directory_of(&written.target)).collect();
    let all = directories.into_iter().try_for_each(sync_directory);
    done.first().map_or(Ok(()), |first| synced(&first.file.path, all)).map_err(refused)
}

/// Undoes what was done, and says why and what could not be undone.
fn stopped(path: &Path, error: NotPlaced, done: &[Written]) -> Exit {
    let stay = done.iter().rev().filter(|written| written.undo().is_err());
    let stay: Vec<_> = stay.map(|written| written.file.path.display().to_string()).collect();
    let others =
        (!stay.is_empty()).then(|| format!("{} could not be put back to what was there before", stay.join(", ")));
    let (exit, joined, state) = match error {
        NotPlaced::Unchanged(source) => (cannot_write(path, &source), "; ", "nothing was changed"),
        error => (refused(not_placed(path, error)), "\n", "no other file was changed"),
    };
    Exit { message: format!("{}{joined}{}", exit.message, others.as_deref().unwrap_or(state)), ..exit }
}

/// Why a file cannot be written, and what to do about it.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Exit {
    let (code, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (FAILED, ": the disk is full; make room and try again".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            (BAD_INPUT, ": look at the permissions of the file and of its directory".to_owned())
        }
        io::ErrorKind::ReadOnlyFilesystem => (BAD_INPUT, ": the file system is read-only".to_owned()),
        io::ErrorKind::NotFound if error.raw_os_error().is_some() => {
            (BAD_INPUT, ": there is no such directory".to_owned())
        }
        _ => (BAD_INPUT, format!(": {error}")),
    };
    Exit::new(code, format!("{} cannot be written{hint}", path.display()))
}

/// The same, where nothing has been written yet.
pub(super) fn unchanged(path: &Path, error: &io::Error) -> Exit {
    let exit = cannot_write(path, error);
    Exit { message: format!("{}; nothing was changed", exit.message), ..exit }
}

/// Edits the manifest, and says so where it was not replaced but written in place.
pub(super) fn edit(path: &Path, edits: &[Edit]) -> Result<Edited, Exit> {
    Ok(match manifest::edit_file(path, edits).map_err(refused)? {
        Edited::ChangedInPlace(why) => {
            tell_in_place(path, Some(why));
            Edited::Changed
        }
        edited => edited,
    })
}

/// A reader may have seen half of what was written, and whoever wonders about that should know why.
pub(super) fn tell_in_place(path: &Path, in_place: Option<InPlace>) {
    if let Some(why) = in_place {
        note(format!("{} was written in place: {why}", shown(path)));
    }
}

/// An edit that was refused, with its cause unless the message says it, and the exit code that goes with it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn refused(error: EditError) -> Exit {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = match &error {
        EditError::Write { source, .. } => Some(source.kind()),
        _ => None,
    };
    let code = match &error {
        EditError::NotSynced { .. } | EditError::HalfWritten { .. } => FAILED,
        _ if matches!(kind, Some(StorageFull | QuotaExceeded)) => FAILED,
        _ => BAD_INPUT,
    };
    match error.source() {
        Some(cause) if !matches!(kind, Some(StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem)) => {
            Exit::new(code, format!("{error}\n{cause}"))
        }
        _ => Exit::new(code, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_something_else_than_when_it_was_looked_at_stops_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let file = |name: &str, before: Option<&str>| NewFile {
            path: path(name),
            contents: "new".to_owned(),
            before: before.map(|text| text.as_bytes().to_vec()),
        };
        fs::write(path("ksail.yaml"), "theirs").unwrap();
        let lock = manifest::lock(directory.path(), directory.path()).unwrap();
        for before in [Some("as looked at"), None] {
            let exit = write_together(&lock, [file("kind.yaml", None), file("ksail.yaml", before)].iter()).unwrap_err();
            assert_eq!(
                exit.message.replace(&directory.path().display().to_string(), "DIR"),
                "DIR/ksail.yaml was changed by someone else meanwhile and is left as they wrote it; try again\nno other file was changed"
            );
            assert_eq!(fs::read_to_string(path("ksail.yaml")).unwrap(), "theirs");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_cannot_be_put_back_is_named_and_not_said_to_be_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let file = |name: &str| NewFile { path: path(name), contents: "new".to_owned(), before: Some(b"old".to_vec()) };
        let files = [file("kind.yaml"), file("k3d.yaml")];
        fs::write(path("kind.yaml"), "new").unwrap();
        fs::write(path("k3d.yaml"), "somebody else's").unwrap();
        let written = |file| Written { file, target: file.path.clone(), before: file.before.clone() };
        let error = NotPlaced::Unchanged(io::ErrorKind::StorageFull.into());
        let exit = stopped(Path::new("ksail.yaml"), error, &files.each_ref().map(written));
        assert_eq!(
            exit.message.replace(&directory.path().display().to_string(), "DIR"),
            "ksail.yaml cannot be written: the disk is full; make room and try again; DIR/k3d.yaml could not be put back to what was there before"
        );
        assert_eq!(fs::read_to_string(path("kind.yaml")).unwrap(), "old");
        assert_eq!(fs::read_to_string(path("k3d.yaml")).unwrap(), "somebody else's");
    }
}
