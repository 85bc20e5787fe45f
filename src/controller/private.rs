//! Files that nobody but this user can put there, take away or redirect: the lock, and which manifest is in force.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Opens files in a private directory.
pub(super) struct Private;

/// A directory that only this user can write to: `$XDG_RUNTIME_DIR/ksail`, or `$XDG_STATE_HOME/ksail`, or
/// `~/.local/state/ksail`; the first whose place belongs to this user. Never one in a place that others can write to, where
/// somebody could create it first, or take it away. It need not exist yet.
///
/// A root that kept the variables of the user who became it leaves their directories alone, or they could not use
/// them any more, and has one of its own. Nor does it make a home that is not there: that would be nobody else's.
///
/// # Errors
///
/// When there is no such place, or others can write to it.
pub fn directory(env: &dyn Fn(&str) -> Option<String>) -> io::Result<PathBuf> {
    // A relative one would be another place in every directory: it does not count, as the XDG specification has it.
    let set = |name: &'static str| Some((name, env(name).map(PathBuf::from).filter(|path| path.is_absolute())?));
    let runtime = set("XDG_RUNTIME_DIR").filter(|(_, path)| path.is_dir());
    let state = set("XDG_STATE_HOME").filter(|(_, path)| !is_root() || path.is_dir());
    let home = set("HOME").filter(|(_, path)| path.is_dir()).map(|(name, path)| (name, path.join(".local/state")));
    for (variable, place) in [runtime, state, home].into_iter().flatten() {
        match standing(&place) {
            Standing::Ours => return Ok(place.join("ksail")),
            Standing::SomebodyElses => {}
            Standing::OpenTo(others) => return Err(refused(&others.in_words(variable))),
        }
    }
    if is_root() {
        return Ok(Path::new(OF_ROOT).join("ksail"));
    }
    let message =
        "neither XDG_RUNTIME_DIR nor HOME names a directory of this user's; set one, ksail keeps its lock there";
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Where root keeps what must not be in anybody's home.
const OF_ROOT: &str = if cfg!(target_os = "linux") { "/run" } else { "/var/run" };

/// Whose a place is.
#[cfg_attr(not(unix), allow(dead_code))] // Elsewhere nobody asks.
enum Standing {
    Ours,
    SomebodyElses,
    OpenTo(Others),
}

/// Others can write to a directory.
#[cfg_attr(not(unix), allow(dead_code))] // Elsewhere nobody asks.
struct Others {
    directory: PathBuf,
    mode: u32,
}

impl Others {
    fn in_words(&self, variable: &str) -> String {
        let Self { directory, mode } = self;
        let directory = directory.display();
        format!(
            "{variable} leads to {directory}, which others can write to (mode {mode:o}), and so to ksail's lock; run `chmod go-w {directory}`, or set XDG_RUNTIME_DIR to a directory that only this user can write to"
        )
    }
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
fn is_root() -> bool {
    own_id() == 0
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// Whose the closest directory is that exists, and whether others can put something there, or something in the place of
/// what leads there.
#[cfg(unix)]
fn standing(place: &Path) -> Standing {
    use std::os::unix::fs::MetadataExt;
    const STICKY: u32 = 0o1000;
    const BY_GROUP: u32 = 0o020;
    const BY_ALL: u32 = 0o002;
    let closest = place.ancestors().find_map(|directory| fs::canonicalize(directory).ok());
    let Some(closest) = closest else { return Standing::SomebodyElses };
    for directory in closest.ancestors() {
        let Ok(found) = fs::metadata(directory) else { return Standing::SomebodyElses };
        let others = || Standing::OpenTo(Others { directory: directory.to_owned(), mode: found.mode() & 0o7777 });
        if directory == closest {
            if found.uid() != own_id() {
                return Standing::SomebodyElses;
            }
            // Many systems give each user a group of the same number, with nobody else in it.
            let is_own_group = found.gid() == own_id();
            if found.mode() & BY_ALL != 0 || (found.mode() & BY_GROUP != 0 && !is_own_group) {
                return others();
            }
        } else if found.mode() & BY_ALL != 0 && found.mode() & STICKY == 0 {
            return others();
        }
    }
    Standing::Ours
}

#[cfg(not(unix))]
fn standing(_: &Path) -> Standing {
    Standing::Ours
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
        return Err(refused(
            "belongs to somebody else; remove it (`sudo rm -r`), or set XDG_RUNTIME_DIR to a directory of this user's",
        ));
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
    fn a_place_that_others_can_write_to_is_refused_with_what_to_set() {
        let home = tempfile::tempdir().unwrap();
        let of_home = |name: &str| (name == "HOME").then(|| home.path().join("me").display().to_string());
        let chmod = |directory: &Path, mode| fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        let state = home.path().join("me/.local/state");
        fs::create_dir_all(&state).unwrap();
        directory(&of_home).unwrap();
        for mode in [0o777, 0o1777, 0o702] {
            chmod(&state, mode);
            let refusal = directory(&of_home).unwrap_err().to_string();
            let chmod = format!("run `chmod go-w {}`", fs::canonicalize(&state).unwrap().display());
            assert!(refusal.contains("HOME leads to") && refusal.contains(&chmod), "{refusal}");
            assert!(refusal.contains(&format!("{mode:o}")) && refusal.contains("set XDG_RUNTIME_DIR"), "{refusal}");
        }
        chmod(&state, 0o755);
        // What leads there can be swapped by whoever can write to what it lies in, unless that is kept from them.
        chmod(&home.path().join("me"), 0o777);
        assert!(directory(&of_home).unwrap_err().to_string().contains("chmod go-w"));
        chmod(&home.path().join("me"), 0o1777);
        assert_eq!(directory(&of_home).unwrap(), state.join("ksail"));
    }

    #[test]
    fn a_group_may_write_to_it_that_is_the_users_own() {
        let home = tempfile::tempdir().unwrap();
        let of_home = |name: &str| (name == "HOME").then(|| home.path().display().to_string());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o775)).unwrap();
        std::os::unix::fs::chown(home.path(), None, Some(own_id())).unwrap();
        directory(&of_home).unwrap();
        if is_root() {
            std::os::unix::fs::chown(home.path(), None, Some(4242)).unwrap();
            assert!(directory(&of_home).unwrap_err().to_string().contains("mode 775"));
        }
    }

    #[test]
    fn a_relative_path_in_a_variable_is_no_place_since_it_is_another_one_in_every_directory() {
        let home = tempfile::tempdir().unwrap();
        let env = |name: &str| Some(if name == "HOME" { home.path().display().to_string() } else { ".".to_owned() });
        assert_eq!(directory(&env).unwrap(), home.path().join(".local/state/ksail"));
    }

    #[test]
    fn a_home_that_is_not_there_is_not_made() {
        let home = tempfile::tempdir().unwrap();
        let of_home = |name: &str| (name == "HOME").then(|| home.path().join("nobody").display().to_string());
        match directory(&of_home) {
            Ok(found) => assert_eq!(found, Path::new(OF_ROOT).join("ksail")),
            Err(error) => assert!(error.to_string().contains("set one"), "{error}"),
        }
    }

    #[test]
    fn without_a_place_of_its_own_only_root_has_a_directory() {
        let found = directory(&|_| None);
        if rustix::process::geteuid().is_root() {
            assert_eq!(found.unwrap(), Path::new(OF_ROOT).join("ksail"));
        } else {
            assert!(found.unwrap_err().to_string().contains("HOME"));
        }
    }
}
