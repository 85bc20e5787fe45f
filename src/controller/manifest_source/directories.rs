//! Where something can happen that changes what a path leads to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links followed on the way to the file.
const MOST_LINKS: usize = 16;

/// Directories by their paths, which are absolute and lead through no link.
pub(super) type Directories = BTreeMap<PathBuf, Seen>;

/// What is known of a directory. Another directory in its place is another one to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    identity: Option<Identity>,
    /// The file or a link to it lies in it, rather than a directory that does.
    pub(super) closest: bool,
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = std::time::SystemTime;

/// The directories on the way to the file at `path`, an absolute one: its own, those of the links on the way, and of
/// each the one above, because a directory itself may be renamed away and back.
pub(super) fn directories(path: &Path) -> Directories {
    let mut found = Directories::new();
    let mut links = 0;
    let mut at = PathBuf::new();
    let mut rest = reversed(path);
    while let Some(name) = rest.pop() {
        if name == Path::new("..") {
            // After the links before it, what is above is what the path says.
            at.pop();
            continue;
        }
        let next = at.join(&name);
        match fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                note(&mut found, &at);
                rest.extend(reversed(&target));
            }
            _ => at = next,
        }
    }
    note(&mut found, at.parent().unwrap_or(&at));
    found
}

/// The components of a path, the last one first. One that is absolute begins anew where it is joined to another.
fn reversed(path: &Path) -> Vec<PathBuf> {
    let components = path.components().filter(|component| *component != Component::CurDir);
    components.rev().map(|component| PathBuf::from(component.as_os_str())).collect()
}

fn note(found: &mut Directories, directory: &Path) {
    for (above, directory) in directory.ancestors().take(2).enumerate() {
        let unseen = || Seen { identity: identity(directory), closest: false };
        found.entry(directory.to_owned()).or_insert_with(unseen).closest |= above == 0;
    }
}

#[cfg(unix)]
fn identity(directory: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(directory).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(directory: &Path) -> Option<Identity> {
    fs::metadata(directory).and_then(|meta| meta.created()).ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree {
        _directory: tempfile::TempDir,
        root: PathBuf,
    }

    impl Tree {
        fn with(directories: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().canonicalize().unwrap();
            for directory in directories {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            Self { _directory: directory, root }
        }

        fn link(&self, link: &str, target: &str) {
            symlink(target, self.root.join(link)).unwrap();
        }

        /// Those below the root, the closest with a star.
        fn of(&self, path: &str) -> Vec<String> {
            let found = directories(&self.root.join(path)).into_iter();
            let inside = found.filter_map(|(directory, seen)| {
                let name = directory.strip_prefix(&self.root).ok()?.to_str()?.to_owned();
                Some(if seen.closest { name + "*" } else { name })
            });
            inside.collect()
        }
    }

    #[test]
    fn of_a_file_they_are_its_own_and_the_one_above() {
        let tree = Tree::with(&["a/b/c"]);
        assert_eq!(tree.of("a/b/c/ksail.yaml"), ["a/b", "a/b/c*"]);
    }

    #[test]
    fn each_link_on_the_way_adds_those_it_lies_in() {
        let tree = Tree::with(&["project/..v1", "elsewhere/deep"]);
        tree.link("project/..data", "..v1");
        tree.link("project/ksail.yaml", "..data/ksail.yaml");
        assert_eq!(tree.of("project/ksail.yaml"), ["", "project*", "project/..v1*"]);
        tree.link("here", "elsewhere/deep");
        assert_eq!(tree.of("here/ksail.yaml"), ["*", "elsewhere", "elsewhere/deep*"]);
    }

    #[test]
    fn what_goes_up_after_a_link_goes_up_from_where_the_link_leads() {
        let tree = Tree::with(&["project", "elsewhere/deep"]);
        tree.link("project/link", "../elsewhere/deep");
        assert_eq!(tree.of("project/link/../ksail.yaml"), ["", "elsewhere*", "project*"]);
        assert_eq!(tree.of("project/./../project/ksail.yaml"), ["", "project*"]);
    }

    #[test]
    fn an_absolute_link_begins_at_the_root() {
        let tree = Tree::with(&["project", "elsewhere"]);
        let target = tree.root.join("elsewhere/ksail.yaml");
        tree.link("project/ksail.yaml", target.to_str().unwrap());
        assert_eq!(tree.of("project/ksail.yaml"), ["", "elsewhere*", "project*"]);
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let tree = Tree::with(&["project"]);
        tree.link("project/one", "two");
        tree.link("project/two", "one");
        assert!(tree.of("project/one/ksail.yaml").contains(&"project*".to_owned()));
    }

    #[test]
    fn another_directory_in_the_same_place_is_another_one() {
        let tree = Tree::with(&["project"]);
        let path = tree.root.join("project/ksail.yaml");
        let before = directories(&path);
        // Both exist at the same time, or the new one could get the number of the old one.
        fs::rename(tree.root.join("project"), tree.root.join("away")).unwrap();
        fs::create_dir(tree.root.join("project")).unwrap();
        assert_ne!(directories(&path), before);
        assert_eq!(directories(&path), directories(&path));
    }
}
