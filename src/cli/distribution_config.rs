//! The distribution's configuration file follows the manifest, as far as it is ksail's to write.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{refused, tell_in_place};
use super::{BAD_INPUT, Exit};
use crate::distribution::{Followed, Route, follow, routes};
use crate::limit::FILE;
use crate::manifest::{self, Outline, directory_of, shown};

/// What an edit of the manifest means for the file.
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Other lines in its managed block.
    Lines { path: PathBuf, before: String, after: String },
    /// Something for its author to do.
    Note(String),
}

/// The routes of the mirrors in a manifest, as far as the distribution can be told of them: k3s always lets nodes go
/// around a mirror, so that those that must not be gone around are left to the files that ksail writes on the nodes.
pub(super) fn routes_of(outline: &Outline) -> Vec<Route> {
    let mirrors: Vec<_> =
        outline.mirrors.iter().map(|mirror| (mirror.host.clone(), mirror.upstream.is_none())).collect();
    let strict: Vec<&str> = outline
        .mirrors
        .iter()
        .filter(|mirror| mirror.upstream.is_some() && !mirror.fallback)
        .map(|mirror| mirror.host.as_str())
        .collect();
    let all = routes(&outline.name, &mirrors).into_iter();
    all.filter(|route| !strict.contains(&route.host.as_str())).collect()
}

/// What `outline`, the manifest at `manifest`, means for the file it names.
pub(super) fn change(manifest: &Path, outline: &Outline) -> Result<Change, Exit> {
    let Some(named) = &outline.distribution_config else { return Ok(Change::None) };
    let path = manifest.parent().unwrap_or(Path::new("")).join(named);
    let before = match FILE.read_text_file(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Change::Note(format!("{}, the distributionConfig, is not there", shown(&path))));
        }
        Err(error) => {
            return Err(Exit::new(
                BAD_INPUT,
                format!("{}, the distributionConfig, cannot be read: {error}", shown(&path)),
            ));
        }
    };
    Ok(match follow(outline.distribution, &routes_of(outline), &before) {
        Followed::Same => Change::None,
        Followed::Changed(after) => Change::Lines { path, before, after },
        Followed::Foreign { hint, lines } => {
            Change::Note(format!("{} was left alone: {hint}\n{}", shown(&path), lines.trim_end()))
        }
    })
}

/// Brings the file up to date with the manifest. The manifest is read under the lock its edits take, so that of two
/// edits at once the file follows the later one.
pub(super) fn bring_up_to_date(manifest: &Path) -> Result<Change, Exit> {
    let target = fs::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
    let lock = manifest::lock(directory_of(&target), manifest).map_err(refused)?;
    let outline = Outline::load(manifest).map_err(Exit::problems)?;
    let change = change(manifest, &outline)?;
    if let Change::Lines { path, before, after } = &change {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let in_place = manifest::replace(&lock, path, &target, before.as_bytes(), after.as_bytes()).map_err(refused)?;
        tell_in_place(path, in_place);
    }
    Ok(change)
}
