//! Which file is the manifest, and what its path is called in messages.

use std::env;
use std::io::ErrorKind;
use std::path::{self, Display, Path, PathBuf};

/// Name of the manifest.
pub const FILE_NAME: &str = "ksail.yaml";
/// Names that it is found by; where there are several the first is taken.
const NAMES: [&str; 2] = [FILE_NAME, "ksail.yml"];

/// No manifest was named and none was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error("there is no {FILE_NAME} in {} or a directory above it\n'ksail cluster init' writes one here; '--file PATH' names one elsewhere{}", .from.display(), misnamed_hint(.misnamed.as_deref()))]
    Nowhere {
        /// Where the search began.
        from: PathBuf,
        /// A file there that is called almost like a manifest.
        misnamed: Option<PathBuf>,
    },
    /// The closest one is no file. One further up is another cluster's, and not meant.
    #[error("{} {is}\nmend it or remove it; '--file PATH' names a manifest elsewhere", .path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
        /// What it is.
        is: String,
    },
}

fn misnamed_hint(misnamed: Option<&Path>) -> String {
    misnamed.map(|path| format!("; {} is there, and would be found as {FILE_NAME}", path.display())).unwrap_or_default()
}

/// The explicit path, taken from `directory`, and the manifest in it if it is a directory; otherwise `ksail.yaml` in that directory or the nearest one above it, as
/// git finds its root.
///
/// The path is absolute if `directory` is, as those are that a watcher reports.
pub fn find(explicit: Option<&Path>, directory: &Path) -> Result<PathBuf, FindError> {
    if let Some(path) = explicit {
        let path = directory.join(path);
        let path = if path.is_dir() { within(&path).unwrap_or_else(|| path.join(FILE_NAME)) } else { path };
        return Ok(path::absolute(&path).unwrap_or(path));
    }
    let Some(path) = directory.ancestors().find_map(within) else {
        return Err(FindError::Nowhere { from: directory.to_owned(), misnamed: misnamed(directory) });
    };
    let is = match path.metadata() {
        Ok(found) if found.is_file() => return Ok(path),
        Ok(found) if found.is_dir() => "is a directory".to_owned(),
        Ok(_) => "is not a file".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "is a link to what is not there".to_owned(),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    Err(FindError::NoFile { path, is })
}

fn within(directory: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| directory.join(name)).find(|path| path.symlink_metadata().is_ok())
}

/// A path as someone in the current directory would write it.
pub(crate) fn shown(path: &Path) -> Display<'_> {
    let here = env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).display()
}

fn misnamed(directory: &Path) -> Option<PathBuf> {
    ["ksail.json", "Ksail.yaml", ".ksail.yaml"].into_iter().map(|name| directory.join(name)).find(|path| path.is_file())
}
