//! How a file gets other contents: whole beside its place first, and then into it by a rename, so that it is as it was or
//! as it is to be. Where a rename would take something from the file, it is written in place, with what it held kept whole
//! beside it until that is done.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::in_place::{Overwritten, overwrite};
use crate::limit::FILE;

/// Why a file was written in place rather than replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// It has several names, and a rename would change what one of them means.
    Linked,
    /// It belongs to somebody who lets others write it, and a rename would take it from them.
    OfAnother,
    /// Nothing may be put beside it.
    Alone,
    /// It is mounted where it is, as into a container, and a mount cannot be renamed over.
    Mounted,
}

impl fmt::Display for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linked => "it has more than one name (hard links), and all of them show the change",
            Self::OfAnother => "it belongs to somebody else, and still does",
            Self::Alone => "its directory takes no new file",
            Self::Mounted => "it is mounted where it is, so that it cannot be replaced",
        })
    }
}

/// Why contents did not get into their place, and so what is there now.
#[derive(Debug)]
pub(crate) enum NotPlaced {
    /// What was there is there, and whole.
    Unchanged(io::Error),
    /// The same: it belongs to somebody who does not let others write it, and a rename would take it from them.
    OfAnother,
    /// What was there is there, and it is no longer what was read before.
    Meanwhile,
    /// Neither the old nor the new contents may be whole there.
    Half {
        /// A file with the old contents.
        whole: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<io::Error> for NotPlaced {
    fn from(error: io::Error) -> Self {
        Self::Unchanged(error)
    }
}

/// Contents on the disk, beside the place they are for.
#[derive(Debug)]
pub(crate) struct Prepared {
    target: PathBuf,
    before: Option<Vec<u8>>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The new contents are in the temporary file.
    Rename { temporary: NamedTempFile },
    /// The old contents are in the copy.
    InPlace { file: File, copy: NamedTempFile, after: Vec<u8>, why: InPlace },
}

impl Prepared {
    /// Gets `contents` ready for `path`, or for the file that a symbolic link there leads to. A file that is there keeps
    /// its permissions and its owner; nothing of it is touched, and a `Prepared` that is dropped leaves nothing behind.
    pub(crate) fn beside(path: &Path, contents: &[u8]) -> Result<Self, NotPlaced> {
        let Some(existing) = metadata(path)? else {
            let temporary = written(create(directory_of(path), true)?, contents)?;
            return Ok(Self { target: path.to_owned(), before: None, way: Way::Rename { temporary } });
        };
        let target = fs::canonicalize(path)?;
        if existing.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is write-protected").into());
        }
        let before = FILE.read_file(&target)?;
        let way = if links(&existing) > 1 {
            in_place(&target, &before, contents, InPlace::Linked)?
        } else {
            by_rename(&target, &existing, &before, contents)?
        };
        Ok(Self { target, before: Some(before), way })
    }

    /// What the file held when this was prepared; `None` where there was none.
    pub(crate) fn before(&self) -> Option<&[u8]> {
        self.before.as_deref()
    }

    /// Where it goes.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Takes the place it is for, unless somebody else has written there since; says so where that was not by a rename.
    /// The name is on the disk after [`sync_directory`].
    pub(crate) fn put_in_place(self) -> Result<Option<InPlace>, NotPlaced> {
        let Self { target, before, way } = self;
        let Some(before) = before else {
            let Way::Rename { temporary } = way else { return Err(NotPlaced::Meanwhile) };
            return match temporary.persist_noclobber(&target) {
                Ok(_) => Ok(None),
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(NotPlaced::Meanwhile),
                Err(error) => Err(NotPlaced::Unchanged(error.error)),
            };
        };
        if FILE.read_file(&target)? != before {
            return Err(NotPlaced::Meanwhile);
        }
        match way {
            Way::Rename { temporary } => match temporary.persist(&target) {
                Ok(_) => Ok(None),
                Err(error) if error.error.kind() == io::ErrorKind::ResourceBusy => {
                    let after = FILE.read_file(error.file.path())?;
                    put_over(&before, in_place(&target, &before, &after, InPlace::Mounted)?)
                }
                Err(error) => Err(NotPlaced::Unchanged(error.error)),
            },
            way @ Way::InPlace { .. } => put_over(&before, way),
        }
    }
}

/// What is there, if it is a file that can be written to.
fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        Ok(existing) if !existing.is_file() => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
        Ok(existing) => Ok(Some(existing)),
        // A link that leads nowhere would be replaced by what it was to lead to.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a link to what is not there"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn by_rename(target: &Path, existing: &Metadata, before: &[u8], contents: &[u8]) -> Result<Way, NotPlaced> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    let temporary = match create(directory_of(target), false) {
        Ok(temporary) => temporary,
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            return in_place(target, before, contents, InPlace::Alone).map_err(|_| error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let temporary = written(temporary, contents)?;
    // A change of owner may take permissions away, so they come after it. An owner that this user namespace does not
    // know (`EINVAL`) cannot be given a file either.
    match keep_owner(existing, temporary.as_file()) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), PermissionDenied | InvalidInput) => {
            return in_place(target, before, contents, InPlace::OfAnother).map_err(|error| match error.kind() {
                PermissionDenied => NotPlaced::OfAnother,
                _ => error.into(),
            });
        }
        Err(error) => return Err(error.into()),
    }
    temporary.as_file().set_permissions(existing.permissions())?;
    temporary.as_file().sync_all()?;
    Ok(Way::Rename { temporary })
}

/// The old contents are put aside, and the file is opened, before anything is written to it.
fn in_place(target: &Path, before: &[u8], contents: &[u8], why: InPlace) -> io::Result<Way> {
    let file = OpenOptions::new().write(true).open(target)?;
    let copy = match create(directory_of(target), false) {
        Ok(copy) => copy,
        Err(_) => tempfile::Builder::new().prefix("ksail.").tempfile()?,
    };
    Ok(Way::InPlace { file, copy: written(copy, before)?, after: contents.to_owned(), why })
}

fn put_over(before: &[u8], way: Way) -> Result<Option<InPlace>, NotPlaced> {
    let Way::InPlace { mut file, copy, after, why } = way else { return Ok(None) };
    match overwrite(&mut file, before, &after) {
        Ok(()) => Ok(Some(why)),
        Err(Overwritten::Not(source)) => Err(NotPlaced::Unchanged(source)),
        Err(Overwritten::Half(source)) => {
            // What takes the copy away again is told not to; where that fails, the path is right until this ends.
            let whole = copy.path().to_owned();
            drop(copy.keep().map_err(std::mem::forget));
            Err(NotPlaced::Half { whole, source })
        }
    }
}

fn written(mut temporary: NamedTempFile, contents: &[u8]) -> io::Result<NamedTempFile> {
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// Directory of a file, also of one that is named without any.
pub(crate) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a directory are on the disk; some file systems have no such thing to wait for.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, Unsupported};
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => Ok(()),
        synced => synced,
    }
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

/// How many names a file has.
#[cfg(unix)]
fn links(existing: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    existing.nlink()
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
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

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

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
        let prepared = Prepared::beside(&link, b"after").unwrap();
        assert_eq!(prepared.before(), Some(&b"before"[..]));
        assert_eq!(prepared.target(), fs::canonicalize(&file).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert_eq!(prepared.put_in_place().unwrap(), None);
        assert_eq!(fs::read(&link).unwrap(), b"after");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(directory.path()), ["file", "link"]);
    }

    #[test]
    fn a_file_with_two_names_is_one_file_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("file"), directory.path().join("other"));
        fs::write(&file, "before and more").unwrap();
        fs::hard_link(&file, &other).unwrap();
        assert_eq!(Prepared::beside(&file, b"after").unwrap().put_in_place().unwrap(), Some(InPlace::Linked));
        assert_eq!(fs::read(&other).unwrap(), b"after");
        assert_eq!(fs::metadata(&file).unwrap().ino(), fs::metadata(&other).unwrap().ino());
        assert_eq!(names(directory.path()), ["file", "other"]);
    }

    #[test]
    fn what_is_not_put_in_place_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = Prepared::beside(&directory.path().join("file"), b"new").unwrap();
        assert_eq!(prepared.before(), None);
        drop(prepared);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_file_that_somebody_makes_or_writes_meanwhile_is_left_as_they_did() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for theirs in ["theirs", "theirs again"] {
            let prepared = Prepared::beside(&file, b"ours").unwrap();
            fs::write(&file, theirs).unwrap();
            assert!(matches!(prepared.put_in_place(), Err(NotPlaced::Meanwhile)));
            assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
        }
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("nowhere", &link).unwrap();
        let Err(NotPlaced::Unchanged(error)) = Prepared::beside(&link, b"new") else {
            panic!("it was taken for a file")
        };
        assert_eq!(error.to_string(), "it is a link to what is not there");
    }
}
