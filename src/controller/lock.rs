//! One pass at a time per cluster and engine, however many ksails run: an advisory file lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::digest;
use crate::manifest::ClusterName;

/// How often a lock that another process holds is tried.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// The lock of one cluster on one engine.
#[derive(Debug, Clone)]
pub struct ClusterLock {
    path: PathBuf,
}

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

impl ClusterLock {
    /// The lock in a directory from [`directory`].
    pub fn new(directory: &Path, cluster: &ClusterName, engine: &str) -> Self {
        Self { path: directory.join(format!("{cluster}-{}.lock", digest::short(engine, 8))) }
    }

    /// Takes the lock if nobody holds it.
    pub fn try_take(&self) -> io::Result<Option<Held>> {
        let file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the lock as soon as nobody else holds it.
    pub async fn take(&self) -> io::Result<Held> {
        loop {
            if let Some(held) = self.try_take()? {
                return Ok(held);
            }
            sleep(TRY_AGAIN).await;
        }
    }
}

/// A directory that only this user can write to, made if need be: `$XDG_RUNTIME_DIR/ksail`, or
/// `~/.local/state/ksail`. Never one in a place all users share, where somebody could create it first.
pub fn directory(env: &dyn Fn(&str) -> Option<String>) -> io::Result<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime = set("XDG_RUNTIME_DIR").filter(|path| path.is_dir());
    let state = || set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let base = runtime.or_else(state).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "neither XDG_RUNTIME_DIR nor HOME is set; set one, ksail keeps its lock there",
        )
    })?;
    let directory = base.join("ksail");
    private(&directory).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
    Ok(directory)
}

#[cfg(unix)]
fn private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if fs::symlink_metadata(directory)?.file_type().is_symlink() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is a symbolic link; remove it"));
    }
    // Only its owner can.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(directory: &Path, cluster: &str) -> ClusterLock {
        ClusterLock::new(directory, &cluster.parse().unwrap(), "unix:///var/run/docker.sock")
    }

    #[test]
    fn one_cluster_is_locked_once_and_another_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path(), "dev").try_take().unwrap();
        assert!(held.is_some());
        assert!(lock(directory.path(), "dev").try_take().unwrap().is_none());
        assert!(lock(directory.path(), "test").try_take().unwrap().is_some());
        drop(held);
        assert!(lock(directory.path(), "dev").try_take().unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn the_directory_is_private_and_a_link_in_its_place_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.path().display().to_string());
        let made = directory(&env).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(&made).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &made).unwrap();
        assert!(directory(&env).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn without_a_place_of_its_own_there_is_no_lock() {
        assert!(directory(&|_| None).unwrap_err().to_string().contains("HOME"));
    }
}
