//! One pass at a time per cluster and engine, however many ksails run: an advisory file lock.
//!
//! Everything is looked up anew each time the lock is taken: the user's runtime directory goes when they log out, and
//! the engine's socket may be another one after a restart.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::private::{self, Private};
use crate::digest;
use crate::limit::FILE;
use crate::manifest::ClusterName;

/// How often a lock that another process holds is tried.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How the address of an engine begins that listens on a Unix socket.
const UNIX: &str = "unix://";

/// The lock of one cluster on one engine.
#[derive(Clone)]
pub struct ClusterLock {
    directory: Arc<dyn Fn() -> io::Result<PathBuf> + Send + Sync>,
    cluster: ClusterName,
    engine: String,
}

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Held {
    file: File,
}

impl ClusterLock {
    /// The lock in a directory that only this user can write to.
    pub fn new(directory: &Path, cluster: &ClusterName, engine: &str) -> Self {
        let directory = directory.to_owned();
        Self { directory: Arc::new(move || Ok(directory.clone())), cluster: cluster.clone(), engine: engine.to_owned() }
    }

    /// The lock in this user's own directory, as environment variables name it ([`private::directory`]). `engine` is its
    /// address.
    pub fn of_user(
        env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        cluster: &ClusterName,
        engine: &str,
    ) -> Self {
        let directory = Arc::new(move || private::directory(&env));
        Self { directory, cluster: cluster.clone(), engine: engine.to_owned() }
    }

    /// Acquires the lock if nobody holds it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or is not this user's alone, or the file in it is not.
    pub fn try_acquire(&self) -> io::Result<Option<Held>> {
        let mut file = self.open()?;
        match file.try_lock() {
            Ok(()) => {
                // Who waits wants to know for whom. Nothing depends on it.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Some(Held { file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Acquires the lock as soon as nobody else holds it.
    ///
    /// # Errors
    ///
    /// As [`ClusterLock::try_acquire`].
    pub async fn acquire(&self) -> io::Result<Held> {
        loop {
            if let Some(held) = self.try_acquire()? {
                return Ok(held);
            }
            sleep(TRY_AGAIN).await;
        }
    }

    /// The process that holds it, if it says so.
    pub fn holder(&self) -> Option<u32> {
        FILE.read_text(self.open().ok()?).ok()?.parse().ok()
    }

    fn open(&self) -> io::Result<File> {
        let directory = (self.directory)()?;
        private::make(&directory)?;
        let name = format!("{}-{}.lock", self.cluster, digest::short(&identity(&self.engine), 8));
        Private::open(&directory.join(name))
    }
}

impl fmt::Debug for ClusterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterLock")
            .field("cluster", &self.cluster)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever reads it next need not wonder whether that process still runs.
        let _ = self.file.set_len(0);
    }
}

/// What tells engines apart, whatever they are called: a socket by device and inode, which all links to it share; any
/// other address by itself. (`/info` has an id, of which Podman makes a new one each time.)
fn identity(engine: &str) -> String {
    let socket = engine.strip_prefix(UNIX).and_then(|path| identity_of_socket(Path::new(path)));
    socket.unwrap_or_else(|| engine.trim_end_matches('/').to_ascii_lowercase())
}

#[cfg(unix)]
fn identity_of_socket(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let socket = fs::metadata(path).ok()?;
    Some(format!("{}:{}", socket.dev(), socket.ino()))
}

#[cfg(not(unix))]
fn identity_of_socket(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(directory: &Path, cluster: &str) -> ClusterLock {
        ClusterLock::new(directory, &cluster.parse().unwrap(), "tcp://engine.example:2375")
    }

    #[test]
    fn one_cluster_is_locked_once_and_another_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path(), "dev").try_acquire().unwrap();
        assert!(held.is_some());
        assert!(lock(directory.path(), "dev").try_acquire().unwrap().is_none());
        assert!(lock(directory.path(), "test").try_acquire().unwrap().is_some());
        drop(held);
        assert!(lock(directory.path(), "dev").try_acquire().unwrap().is_some());
    }

    #[test]
    fn who_holds_it_is_in_it_and_nobody_when_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path(), "dev").try_acquire().unwrap();
        assert_eq!(lock(directory.path(), "dev").holder(), Some(std::process::id()));
        drop(held);
        assert_eq!(lock(directory.path(), "dev").holder(), None);
    }

    #[test]
    fn a_directory_that_has_gone_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let lock = lock(&home.path().join("ksail"), "dev");
        drop(lock.try_acquire().unwrap().unwrap());
        fs::remove_dir_all(home.path().join("ksail")).unwrap();
        assert!(lock.try_acquire().unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn one_socket_is_one_engine_whatever_leads_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, link) = (directory.path().join("docker.sock"), directory.path().join("link.sock"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let address = |path: &Path| format!("unix://{}", path.display());
        assert_eq!(identity(&address(&socket)), identity(&address(&link)));
        assert_ne!(identity(&address(&socket)), identity(&address(&directory.path().join("none.sock"))));
        assert_eq!(identity("tcp://Engine.example:2375/"), identity("tcp://engine.example:2375"));
    }
}
