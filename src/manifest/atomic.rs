//! A file is written as a whole or not at all: beside its place first, and then into it by a rename.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Whose a file is once it has been written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// That of the file that was there.
    Kept,
    /// Whoever writes it.
    Writer,
}

/// Contents on the disk, beside the place they are for.
#[derive(Debug)]
pub(crate) struct Prepared {
    temporary: NamedTempFile,
    target: PathBuf,
    is_new: bool,
}

impl Prepared {
    /// Writes `contents` beside `path`, or beside the file that a symbolic link there leads to. A file that is there
    /// gives its permissions; nothing of it is touched, and a `Prepared` that is dropped leaves nothing behind.
    pub(crate) fn beside(path: &Path, contents: &[u8], owner: Owner) -> io::Result<Self> {
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let target = if existing.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let mut temporary = create(directory_of(&target), existing.is_none())?;
        temporary.write_all(contents)?;
        if let Some(existing) = &existing {
            // A change of owner may take permissions away, so they come after it.
            if owner == Owner::Kept {
                keep_owner(existing, temporary.as_file())?;
            }
            temporary.as_file().set_permissions(existing.permissions())?;
        }
        temporary.as_file().sync_all()?;
        Ok(Self { temporary, target, is_new: existing.is_none() })
    }

    /// Whether there is no such file yet.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes the place it is for, whose path is returned. On an error what was there is whole.
    pub(crate) fn put_in_place(self) -> io::Result<PathBuf> {
        self.temporary.persist(&self.target).map_err(|error| error.error)?;
        Ok(self.target)
    }
}

/// Directory of a file, also of one that is named without any.
pub(crate) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a directory are on the disk.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all())
}

fn create(directory: &Path, for_new_file: bool) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // Otherwise for its owner only, until it has the permissions of the file it replaces.
    if let Some(permissions) = readable().filter(|_| for_new_file) {
        builder.permissions(permissions);
    }
    builder.prefix(".ksail.").tempfile_in(directory)
}

/// What a new file may be used for; the user's umask takes away from it.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
fn readable() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable() -> Option<Permissions> {
    None
}

#[cfg(unix)]
fn keep_owner(existing: &Metadata, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (existing.uid(), existing.gid()) {
        fchown(file, Some(existing.uid()), Some(existing.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
fn keep_owner(_: &Metadata, _: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_keeps_its_permissions_and_a_link_to_it_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        let prepared = Prepared::beside(&link, b"after", Owner::Kept).unwrap();
        assert!(!prepared.is_new());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert_eq!(prepared.put_in_place().unwrap(), fs::canonicalize(&file).unwrap());
        assert_eq!(fs::read(&link).unwrap(), b"after");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(directory.path()), ["file", "link"]);
    }

    #[test]
    fn what_is_not_put_in_place_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = Prepared::beside(&directory.path().join("file"), b"new", Owner::Writer).unwrap();
        assert!(prepared.is_new());
        drop(prepared);
        assert!(names(directory.path()).is_empty());
    }
}
