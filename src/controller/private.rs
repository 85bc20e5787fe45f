//! Files that nobody but this user can put there, take away or redirect: the lock, and which manifest is in force.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Opens files in a private directory.
pub(super) struct Private;

/// A directory that only this user can write to: `$XDG_RUNTIME_DIR/ksail`, or `$XDG_STATE_HOME/ksail`, or
/// `~/.local/state/ksail`; the first whose place belongs to this user. Never one in a place all users share, where
/// somebody could create it first. It need not exist yet.
///
/// A root that kept the variables of the user who became it leaves their directories alone, or they could not use
/// them any more, and has one of its own.
///
/// # Errors
///
/// When there is no such place.
pub fn directory(env: &dyn Fn(&str) -> Option<String>) -> io::Result<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime = set("XDG_RUNTIME_DIR").filter(|path| path.is_dir());
    let home = || set("HOME").map(|home| home.join(".local/state"));
    let mut places = runtime.into_iter().chain(set("XDG_STATE_HOME")).chain(home());
    let place = places.find(|place| is_own_place(place)).or_else(of_root);
    place.map(|place| place.join("ksail")).ok_or_else(|| {
        let message =
            "neither XDG_RUNTIME_DIR nor HOME names a directory of this user's; set one, ksail keeps its lock there";
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// Makes a directory private to this user, with those above it.
///
/// # Errors
///
/// When it is a link or somebody else's.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    make_private(directory).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))
}

impl Private {
    /// Opens a file to read and write, made if need be.
    ///
    /// # Errors
    ///
    /// When it is a link, or not this user's alone.
    pub(super) fn open(path: &Path) -> io::Result<File> {
        open_private(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

#[cfg(unix)]
fn own_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(unix)]
fn of_root() -> Option<PathBuf> {
    (own_id() == 0).then(|| PathBuf::from("/run"))
}

#[cfg(not(unix))]
fn of_root() -> Option<PathBuf> {
    None
}

/// Whether the closest directory that exists belongs to this user.
#[cfg(unix)]
fn is_own_place(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let closest = place.ancestors().find_map(|directory| fs::metadata(directory).ok());
    closest.is_some_and(|directory| directory.uid() == own_id())
}

#[cfg(not(unix))]
fn is_own_place(_: &Path) -> bool {
    true
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let found = fs::symlink_metadata(directory)?;
    if found.file_type().is_symlink() {
        return Err(refused("is a symbolic link; remove it"));
    }
    if found.uid() != own_id() {
        return Err(refused("belongs to somebody else; set XDG_RUNTIME_DIR or HOME to a directory of this user's"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(unix)]
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(no_link);
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 || found.uid() != own_id() {
        return Err(refused("is not a file of this user's alone; remove it"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(unix)]
fn refused(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(not(unix))]
fn open_private(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn in_home(home: &Path) -> io::Result<PathBuf> {
        let env = |name: &str| (name == "HOME").then(|| home.display().to_string());
        let directory = directory(&env)?;
        make(&directory)?;
        Ok(directory)
    }

    #[test]
    fn the_directory_is_private_and_a_link_in_its_place_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let made = in_home(home.path()).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o777)).unwrap();
        make(&made).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(&made).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), &made).unwrap();
        assert!(make(&made).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed_and_a_file_with_another_name_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let directory = in_home(home.path()).unwrap();
        let elsewhere = home.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        symlink(&elsewhere, directory.join("link.lock")).unwrap();
        assert!(Private::open(&directory.join("link.lock")).is_err());
        fs::hard_link(&elsewhere, directory.join("hard.lock")).unwrap();
        assert!(Private::open(&directory.join("hard.lock")).unwrap_err().to_string().contains("alone"));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        let open_to_all = directory.join("open.lock");
        fs::write(&open_to_all, "").unwrap();
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o666)).unwrap();
        Private::open(&open_to_all).unwrap();
        assert_eq!(fs::metadata(&open_to_all).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn without_a_place_of_its_own_only_root_has_a_directory() {
        let found = directory(&|_| None);
        if rustix::process::geteuid().is_root() {
            assert_eq!(found.unwrap(), Path::new("/run/ksail"));
        } else {
            assert!(found.unwrap_err().to_string().contains("HOME"));
        }
    }
}
