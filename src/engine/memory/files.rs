//! The file system of a container, as far as anybody has put something into it.

use std::collections::BTreeMap;

use crate::engine::PathStat;

/// Directories any image has.
const DIRECTORIES: [&str; 6] = ["/", "/etc", "/run", "/tmp", "/var", "/var/lib"];
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a file a program makes.
const FILE_MODE: u32 = 0o644;
/// What most file systems say of a directory.
const DIRECTORY_SIZE: u64 = 4096;

/// A file or directory in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Permission bits.
    pub mode: u32,
    /// Content; `None` for a directory.
    pub content: Option<Vec<u8>>,
}

/// Files and directories by absolute path.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    file: StoredFile,
    modified: String,
}

/// Why a file or directory is not removed or written, in the words of the C library.
pub(super) type Refusal = &'static str;

impl Files {
    /// The files of a fresh container: the directories any image has, and the targets of its mounts.
    pub(super) fn of_an_image<'a>(mounts: impl Iterator<Item = &'a str>) -> Self {
        let mut files = Self::default();
        for path in DIRECTORIES.into_iter().chain(mounts) {
            files.make_directories(path, "image");
        }
        files
    }

    pub(super) fn get(&self, path: &str) -> Option<&StoredFile> {
        self.0.get(path).map(|entry| &entry.file)
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.get(path).is_some_and(|file| file.content.is_none())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &StoredFile)> {
        self.0.iter().map(|(path, entry)| (path, &entry.file))
    }

    pub(super) fn stat(&self, path: &str) -> Option<PathStat> {
        let Entry { file, modified } = self.0.get(path)?;
        let size = file.content.as_ref().map_or(DIRECTORY_SIZE, |content| content.len() as u64);
        Some(PathStat { size, modified: modified.clone() })
    }

    /// Puts something in the place of whatever is there, and changes the directory it is in: files are replaced by
    /// removing the old one. A directory that is there stays, with what is in it.
    pub(super) fn put(&mut self, path: &str, file: StoredFile, modified: &str, now: &str) {
        self.make_directories(parent(path), now);
        if file.content.is_some() || !self.is_directory(path) {
            self.touch(parent(path), now);
        }
        self.0.insert(path.to_owned(), Entry { file, modified: modified.to_owned() });
    }

    /// Sets when something was modified.
    pub(super) fn touch(&mut self, path: &str, modified: &str) {
        if let Some(entry) = self.0.get_mut(path) {
            modified.clone_into(&mut entry.modified);
        }
    }

    /// What `rm` does to one path.
    pub(super) fn remove_file(&mut self, path: &str, now: &str) -> Result<(), Refusal> {
        match self.get(path) {
            None => Err(MISSING),
            Some(file) if file.content.is_none() => Err("Is a directory"),
            Some(_) => {
                self.remove(path, now);
                Ok(())
            }
        }
    }

    /// What `rmdir` does to one path.
    pub(super) fn remove_directory(&mut self, path: &str, now: &str) -> Result<(), Refusal> {
        match self.get(path) {
            None => Err(MISSING),
            Some(file) if file.content.is_some() => Err("Not a directory"),
            Some(_) if self.0.keys().any(|other| other != path && parent(other) == path) => Err("Directory not empty"),
            Some(_) => {
                self.remove(path, now);
                Ok(())
            }
        }
    }

    /// What a program does that opens a file to write it anew.
    pub(super) fn write(&mut self, path: &str, content: &[u8], now: &str) -> Result<(), Refusal> {
        if self.is_directory(path) {
            return Err("Is a directory");
        }
        if !self.is_directory(parent(path)) {
            return Err(MISSING);
        }
        let mode = match self.get(path) {
            Some(file) => file.mode,
            None => {
                self.touch(parent(path), now);
                FILE_MODE
            }
        };
        let file = StoredFile { mode, content: Some(content.to_vec()) };
        self.0.insert(path.to_owned(), Entry { file, modified: now.to_owned() });
        Ok(())
    }

    fn remove(&mut self, path: &str, now: &str) {
        self.0.remove(path);
        self.touch(parent(path), now);
    }

    fn make_directories(&mut self, path: &str, now: &str) {
        if self.0.contains_key(path) {
            return;
        }
        if path != "/" {
            self.make_directories(parent(path), now);
            self.touch(parent(path), now);
        }
        let directory = StoredFile { mode: DIRECTORY_MODE, content: None };
        self.0.insert(path.to_owned(), Entry { file: directory, modified: now.to_owned() });
    }
}

/// What `rm -f` overlooks.
pub(super) const MISSING: Refusal = "No such file or directory";

/// `/a/b` for `a/b/`, `/a//b`, `/a/./b`.
pub(super) fn absolute(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

/// The directory an absolute path is in.
fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(slash) => &path[..slash],
    }
}
