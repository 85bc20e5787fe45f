//! Which manifest is in force for a cluster: the last one that was applied, kept beside the lock. Two files that name
//! one cluster would undo each other's work.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::private::{self, Private};
use crate::digest;
use crate::limit::FILE;
use crate::manifest::{ClusterName, Outline};

/// The record of one cluster on one engine.
#[derive(Debug, Clone)]
pub struct InForce {
    path: PathBuf,
    cluster: ClusterName,
}

/// A manifest that was put in force.
#[derive(Debug, Clone)]
pub struct Claim {
    record: InForce,
    manifest: PathBuf,
}

impl Claim {
    /// The manifest that has taken over since, if one has.
    pub fn lost_to(&self) -> Option<PathBuf> {
        let recorded = FILE.read_text_file(&self.record.path).ok();
        let recorded = recorded.filter(|text| !text.is_empty());
        recorded.map(PathBuf::from).filter(|other| *other != self.manifest && !is_same_file(other, &self.manifest))
    }

    /// Nothing is in force any more: the cluster is gone.
    pub fn release(&self) {
        self.record.forget();
    }
}

/// Why a manifest is not put in force.
#[derive(Debug, thiserror::Error)]
pub enum NotInForce {
    /// Another one that is there, loads, and names the same cluster is in force.
    #[error("cluster {cluster} is kept the way {} says, and {} names it too\nname another cluster in one of them (metadata.name), or let this file take over: --adopt", other.display(), manifest.display())]
    Another {
        /// The cluster.
        cluster: ClusterName,
        /// The one in force.
        other: PathBuf,
        /// The one that was to be.
        manifest: PathBuf,
    },
    /// The record cannot be read or written.
    #[error("cannot record which file is in force: {0}")]
    NoRecord(#[from] io::Error),
}

impl InForce {
    /// The record in a directory that only this user can write to. `engine` is its address: unlike a lock, the record
    /// outlives a restart of the engine, which may make its socket anew.
    pub fn new(directory: &Path, cluster: &ClusterName, engine: &str) -> Self {
        let socket = engine.strip_prefix("unix://").and_then(|path| fs::canonicalize(path).ok());
        let engine = socket.map_or_else(|| engine.to_owned(), |path| path.display().to_string());
        let name = format!("{cluster}-{}.manifest", digest::short(&engine, 8));
        Self { path: directory.join(name), cluster: cluster.clone() }
    }

    /// Puts a manifest in force. A project that was moved goes on, and so does one whose other file is gone, broken, or
    /// about another cluster by now. With `adopt` whatever was in force is not any more.
    ///
    /// # Errors
    ///
    /// [`NotInForce::Another`] when another one is.
    pub fn claim(&self, manifest: &Path, adopt: bool) -> Result<Claim, NotInForce> {
        let manifest = fs::canonicalize(manifest)?;
        let recorded = self.read()?;
        let other = recorded.filter(|other| *other != manifest && !adopt && self.is_kept_by(other, &manifest));
        match other {
            Some(other) => Err(NotInForce::Another { cluster: self.cluster.clone(), other, manifest }),
            None => {
                self.write(&manifest)?;
                Ok(Claim { record: self.clone(), manifest })
            }
        }
    }

    /// The file that keeps this cluster, if one is in force that is there and names it.
    pub fn keeper(&self) -> Option<PathBuf> {
        let recorded = FILE.read_text_file(&self.path).ok().filter(|text| !text.is_empty()).map(PathBuf::from)?;
        Outline::load(&recorded).is_ok_and(|outline| outline.name == self.cluster).then_some(recorded)
    }

    /// No file is in force for this cluster any more.
    pub fn forget(&self) {
        // One that stays is no harm: what it names says that the cluster is to be absent, and `--adopt` goes past it.
        let _ = fs::remove_file(&self.path);
    }

    /// Whether a file is there, is another than `manifest`, and names this cluster.
    fn is_kept_by(&self, other: &Path, manifest: &Path) -> bool {
        !is_same_file(other, manifest) && Outline::load(other).is_ok_and(|outline| outline.name == self.cluster)
    }

    fn read(&self) -> io::Result<Option<PathBuf>> {
        private::make(self.path.parent().unwrap_or(Path::new("/")))?;
        match FILE.read_text(Private::open(&self.path)?) {
            Ok(text) => Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())),
            // Not a path that this version has written.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, manifest: &Path) -> io::Result<()> {
        let mut file = Private::open(&self.path)?;
        file.set_len(0)?;
        file.write_all(manifest.to_string_lossy().as_bytes())
    }
}

#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    id(a).is_some() && id(a) == id(b)
}

#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        home: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            Self { home: tempfile::tempdir().unwrap() }
        }

        fn manifest(&self, project: &str, cluster: &str) -> PathBuf {
            let directory = self.home.path().join(project);
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join("ksail.yaml");
            let text = format!("apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {cluster}}}\n");
            fs::write(&path, text).unwrap();
            path
        }

        fn claim(&self, manifest: &Path, adopt: bool) -> Result<(), String> {
            let directory = self.home.path().join("private");
            let record = InForce::new(&directory, &"dev".parse().unwrap(), "tcp://engine:2375");
            record.claim(manifest, adopt).map(drop).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn another_file_for_the_same_cluster_is_refused_with_both_paths_until_it_is_adopted() {
        let world = World::new();
        let (one, two) = (world.manifest("one", "dev"), world.manifest("two", "dev"));
        assert_eq!(world.claim(&one, false), Ok(()));
        assert_eq!(world.claim(&one, false), Ok(()), "again");
        let refused = world.claim(&two, false).unwrap_err();
        assert!(refused.contains("one/ksail.yaml") && refused.contains("two/ksail.yaml"), "{refused}");
        assert!(refused.contains("--adopt"), "{refused}");
        assert_eq!(world.claim(&two, true), Ok(()));
        assert!(world.claim(&one, false).is_err(), "the other one is in force now");
    }

    #[test]
    fn a_project_that_was_moved_goes_on() {
        let world = World::new();
        assert_eq!(world.claim(&world.manifest("here", "dev"), false), Ok(()));
        fs::rename(world.home.path().join("here"), world.home.path().join("there")).unwrap();
        assert_eq!(world.claim(&world.home.path().join("there/ksail.yaml"), false), Ok(()));
    }

    #[test]
    fn a_file_that_is_broken_or_about_another_cluster_by_now_keeps_nobody_out() {
        let world = World::new();
        let (one, two) = (world.manifest("one", "dev"), world.manifest("two", "dev"));
        assert_eq!(world.claim(&one, false), Ok(()));
        world.manifest("one", "other");
        assert_eq!(world.claim(&two, false), Ok(()));
        assert_eq!(world.claim(&world.manifest("one", "dev"), true), Ok(()));
        fs::write(&one, "kind: [").unwrap();
        assert_eq!(world.claim(&two, false), Ok(()));
    }

    #[test]
    fn who_was_in_force_hears_who_took_over_and_nobody_has_when_nothing_is_in_force() {
        let world = World::new();
        let (one, two) = (world.manifest("one", "dev"), world.manifest("two", "dev"));
        let record = InForce::new(&world.home.path().join("private"), &"dev".parse().unwrap(), "tcp://engine:2375");
        let claim = record.claim(&one, false).unwrap();
        assert_eq!(claim.lost_to(), None);
        let other = record.claim(&two, true).unwrap();
        assert_eq!(claim.lost_to(), Some(fs::canonicalize(&two).unwrap()));
        other.release();
        assert_eq!(claim.lost_to(), None);
    }

    #[test]
    fn a_cluster_is_kept_by_the_file_that_is_in_force_and_names_it() {
        let world = World::new();
        let one = world.manifest("one", "dev");
        let record = InForce::new(&world.home.path().join("private"), &"dev".parse().unwrap(), "tcp://engine:2375");
        assert_eq!(record.keeper(), None);
        record.claim(&one, false).unwrap();
        assert_eq!(record.keeper(), Some(fs::canonicalize(&one).unwrap()));
        world.manifest("one", "other");
        assert_eq!(record.keeper(), None, "it is about another cluster by now");
        world.manifest("one", "dev");
        record.forget();
        assert_eq!(record.keeper(), None);
    }

    #[cfg(unix)]
    #[test]
    fn another_way_to_the_same_file_is_the_same_file() {
        let world = World::new();
        let one = world.manifest("one", "dev");
        assert_eq!(world.claim(&one, false), Ok(()));
        let link = world.home.path().join("link.yaml");
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert_eq!(world.claim(&link, false), Ok(()));
        fs::hard_link(&one, world.home.path().join("hard.yaml")).unwrap();
        assert_eq!(world.claim(&world.home.path().join("hard.yaml"), false), Ok(()));
    }
}
