//! Files put into containers and read back, as tar archives.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;

use super::files::{Files, StoredFile, absolute};
use super::world::World;
use crate::engine::{EngineError, PathStat, Result};

impl World {
    pub(super) fn put_archive(&mut self, wanted: &str, path: &str, tar: &[u8]) -> Result<()> {
        let id = self.container_id(wanted)?;
        let now = self.next_change();
        let kept = self.kept_mut(&id)?;
        let base = absolute(path);
        if !kept.files.is_directory(&base) {
            return Err(no_such_file(path, wanted));
        }
        extract(tar, &base, &now, &mut kept.files).map_err(|error| cannot_archive(&error))?;
        self.tell_container("extract-to-dir", &id, &[]);
        Ok(())
    }

    pub(super) fn get_archive(&self, wanted: &str, path: &str) -> Result<Vec<u8>> {
        let kept = self.kept(wanted)?;
        let top = absolute(path);
        if kept.files.get(&top).is_none() {
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

    pub(super) fn stat_path(&self, wanted: &str, path: &str) -> Result<PathStat> {
        let kept = self.kept(wanted)?;
        // Of the programs of an image this one is looked for as a file.
        let is_shell = path == "/bin/sh" && self.programs.has(&kept.container.name, "sh");
        let of_image = || is_shell.then(|| PathStat { size: 0, modified: String::new() });
        kept.files.stat(&absolute(path)).or_else(of_image).ok_or_else(|| no_such_file(path, wanted))
    }
}

fn extract(tar: &[u8], base: &str, now: &str, files: &mut Files) -> std::io::Result<()> {
    let mut directories = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = absolute(&format!("{base}/{}", entry.path()?.to_string_lossy()));
        let mode = entry.header().mode()? & 0o7777;
        let modified = time_of(entry.header())?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let content = (!entry.header().entry_type().is_dir()).then_some(content);
        if content.is_none() {
            directories.insert(path.clone(), modified.clone());
        }
        files.put(&path, StoredFile { mode, content }, &modified, now);
    }
    // Last, as Docker does it: what comes into a directory does not change the time the archive gives it.
    for (path, modified) in directories {
        files.touch(&path, &modified);
    }
    Ok(())
}

fn time_of(header: &tar::Header) -> std::io::Result<String> {
    let seconds = header.mtime()?;
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    Ok(time.map_or_else(|| seconds.to_string(), |time| time.to_string()))
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

fn no_such_file(path: &str, container: &str) -> EngineError {
    EngineError::NotFound { message: format!("Could not find the file {path} in container {container}") }
}

fn cannot_archive(error: &std::io::Error) -> EngineError {
    EngineError::Refused { status: 500, message: error.to_string() }
}
