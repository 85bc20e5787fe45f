//! Tar archives, the form in which the engine takes and gives files of containers.

use std::collections::BTreeMap;
use std::io;

use tar::{Archive, Builder, EntryType, Header};

use crate::limit::ARCHIVE;

/// Packs files to be extracted at `/`: path, permission bits and content. The engine makes the directories that are
/// missing, and leaves those that are there as they are. `modified` is in seconds since 1970.
pub(crate) fn pack<'a>(files: impl Iterator<Item = (&'a str, u32, &'a [u8])>, modified: u64) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(modified);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path.trim_start_matches('/'), content)?;
    }
    archive.into_inner()
}

/// Packs files into a directory of their own, which only its owner may enter, and others beside it by their whole paths.
pub(crate) fn pack_private<'a>(
    directory: &str,
    files: impl Iterator<Item = (&'a str, u32, &'a [u8])>,
    others: impl Iterator<Item = (&'a str, u32, &'a [u8])>,
) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut files = files.peekable();
    if files.peek().is_some() {
        let mut entry = Header::new_ustar();
        entry.set_entry_type(EntryType::Directory);
        entry.set_mode(0o700);
        entry.set_size(0);
        archive.append_data(&mut entry, format!("{directory}/"), io::empty())?;
    }
    let files = files.map(|(name, mode, content)| (format!("{directory}/{name}"), mode, content));
    let others = others.map(|(path, mode, content)| (path.to_owned(), mode, content));
    for (path, mode, content) in files.chain(others) {
        let mut header = Header::new_ustar();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)?;
    }
    archive.into_inner()
}

/// The regular files of an archive by the last component of their path. Unpacked they are no larger than packed ones may
/// be: of a sparse file the archive says only how large it is.
pub(crate) fn files_in(archive: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let (mut files, meter) = (BTreeMap::new(), ARCHIVE.meter());
    for entry in Archive::new(archive).entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.insert(name, meter.read(entry)?);
    }
    Ok(files)
}

/// Whether an archive is that of a directory with nothing in it. One that cannot be read is not.
pub(crate) fn is_empty_directory(archive: &[u8]) -> bool {
    let mut archive = Archive::new(archive);
    let Ok(entries) = archive.entries() else { return false };
    let kinds: Vec<bool> = entries.map(|entry| entry.is_ok_and(|entry| entry.header().entry_type().is_dir())).collect();
    kinds == [true]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_limit_all_together() {
        let half = vec![b'x'; ARCHIVE.bytes() / 2 + 1];
        let archive =
            |count| pack(["/a", "/b"].iter().take(count).map(|path| (*path, 0o644, half.as_slice())), 0).unwrap();
        assert_eq!(files_in(&archive(1)).unwrap().len(), 1);
        let error = files_in(&archive(2)).unwrap_err().to_string();
        assert!(error.contains("16 MiB"), "{error}");
    }
}
