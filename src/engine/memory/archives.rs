//! Files put into containers and read back, as tar archives.

use std::collections::BTreeMap;
use std::io::Read;

use super::snapshot::StoredFile;
use super::world::World;
use crate::engine::{EngineError, Result};

/// Directories any image has.
const DIRECTORIES: [&str; 6] = ["/", "/etc", "/run", "/tmp", "/var", "/var/lib"];
const DIRECTORY_MODE: u32 = 0o755;

impl StoredFile {
    fn directory() -> Self {
        Self { mode: DIRECTORY_MODE, content: None }
    }

    /// The files of a fresh container: the directories any image has, and the targets of its mounts.
    pub(super) fn directories_of_an_image<'a>(mounts: impl Iterator<Item = &'a str>) -> BTreeMap<String, Self> {
        let mut files = BTreeMap::new();
        for path in DIRECTORIES.into_iter().chain(mounts) {
            insert_with_parents(&mut files, path, Self::directory());
        }
        files
    }
}

impl World {
    pub(super) fn put_archive(&mut self, wanted: &str, path: &str, tar: &[u8]) -> Result<()> {
        let kept = self.kept_mut(wanted)?;
        let base = absolute(path);
        if kept.files.get(&base).is_none_or(|file| file.content.is_some()) {
            return Err(no_such_file(path, wanted));
        }
        extract(tar, &base, &mut kept.files).map_err(|error| cannot_archive(&error))
    }

    pub(super) fn get_archive(&self, wanted: &str, path: &str) -> Result<Vec<u8>> {
        let kept = self.kept(wanted)?;
        let top = absolute(path);
        if !kept.files.contains_key(&top) {
            return Err(no_such_file(path, wanted));
        }
        let parent = top.rfind('/').map_or("", |slash| &top[..slash]);
        let below = format!("{}/", top.trim_end_matches('/'));
        let mut archive = tar::Builder::new(Vec::new());
        for (path, file) in kept.files.iter().filter(|(path, _)| **path == top || path.starts_with(&below)) {
            let name = path[parent.len()..].trim_start_matches('/');
            append(&mut archive, name, file).map_err(|error| cannot_archive(&error))?;
        }
        archive.into_inner().map_err(|error| cannot_archive(&error))
    }
}

fn extract(tar: &[u8], base: &str, files: &mut BTreeMap<String, StoredFile>) -> std::io::Result<()> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = absolute(&format!("{base}/{}", entry.path()?.to_string_lossy()));
        let mode = entry.header().mode()? & 0o7777;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let content = (!entry.header().entry_type().is_dir()).then_some(content);
        insert_with_parents(files, &path, StoredFile { mode, content });
    }
    Ok(())
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, file: &StoredFile) -> std::io::Result<()> {
    let content = file.content.as_deref().unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_mode(file.mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    if file.content.is_some() {
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, name, content)
    } else {
        header.set_entry_type(tar::EntryType::Directory);
        archive.append_data(&mut header, format!("{}/", if name.is_empty() { "." } else { name }), content)
    }
}

fn insert_with_parents(files: &mut BTreeMap<String, StoredFile>, path: &str, file: StoredFile) {
    for (slash, _) in path.match_indices('/') {
        let parent = if slash == 0 { "/" } else { &path[..slash] };
        files.entry(parent.to_owned()).or_insert_with(StoredFile::directory);
    }
    files.insert(path.to_owned(), file);
}

/// `/a/b` for `a/b/`, `/a//b`, `/a/./b`.
fn absolute(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn no_such_file(path: &str, container: &str) -> EngineError {
    EngineError::NotFound { message: format!("Could not find the file {path} in container {container}") }
}

fn cannot_archive(error: &std::io::Error) -> EngineError {
    EngineError::Refused { status: 500, message: error.to_string() }
}
