//! Edits of the manifest, and what goes with them.

use std::path::Path;

use similar::TextDiff;

use super::arguments::{MirrorRegistry, Registry};
use super::distribution_config::{Change, bring_up_to_date, change};
use super::files::{self, refused};
use super::ports::FreePorts;
use super::{Exit, note, print};
use crate::limit::FILE;
pub(super) use crate::manifest::shown;
use crate::manifest::{self, Edit, EditError, Edited, MirrorEntry, MirrorField, Outline};

/// Tells what became of the files.
pub(super) fn tell(lines: &[String]) -> Result<(), Exit> {
    print(lines.iter().fold(String::new(), |text, line| text + line + "\n"))
}

/// What became of the files, a line each; none when they say so already.
pub(super) fn edit(path: &Path, edits: &[Edit]) -> Result<Vec<String>, Exit> {
    let edited = files::edit(path, edits)?;
    let mut lines = match edited {
        Edited::Changed | Edited::ChangedInPlace(_) => vec![format!("{}: {}", shown(path), described(edits))],
        Edited::Unchanged => Vec::new(),
    };
    let followed = bring_up_to_date(path).map_err(|exit| match edited {
        Edited::Changed | Edited::ChangedInPlace(_) => {
            exit.meaning(&format!("{} was edited, and its distributionConfig could not follow", shown(path)))
        }
        Edited::Unchanged => exit,
    })?;
    match followed {
        Change::None => {}
        Change::Lines { path, .. } => lines.push(format!("{}: follows ksail.yaml", shown(&path))),
        Change::Note(text) => note(text),
    }
    Ok(lines)
}

/// What the edits would change, as a unified diff of every file; nothing is written.
pub(super) fn preview(path: &Path, edits: &[Edit]) -> Result<String, Exit> {
    let before = read(path)?;
    let after = manifest::apply(&before, edits).map_err(refused)?;
    let (old, new) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));
    let mut diff = unified(path, &old, &new);
    let outline = Outline::parse(path, &after).map_err(Exit::problems)?;
    match change(path, &outline)? {
        Change::None => {}
        Change::Lines { path, before, after } => diff += &unified(&path, &before, &after),
        Change::Note(text) => note(text),
    }
    Ok(diff)
}

/// Refuses edits after which the manifest could not be used, variables included.
pub(super) fn check(path: &Path, edits: &[Edit]) -> Result<(), Exit> {
    let after = manifest::apply(&read(path)?, edits).map_err(refused)?;
    let checked = manifest::parse(path, &after, &super::context::variable);
    checked.map(drop).map_err(|problems| Exit::problems(problems).meaning(&format!("{} was not edited", shown(path))))
}

fn read(path: &Path) -> Result<Vec<u8>, Exit> {
    FILE.read_file(path).map_err(|source| refused(EditError::Read { path: path.to_owned(), source }))
}

fn unified(path: &Path, before: &str, after: &str) -> String {
    let name = shown(path).to_string();
    TextDiff::from_lines(before, after).unified_diff().header(&name, &name).to_string()
}

/// The edits in a few words.
fn described(edits: &[Edit]) -> String {
    let one = |edit: &Edit| match edit {
        Edit::SetState(state) => format!("state is {state:?}"),
        Edit::AddMirror(entry) => format!("{} added", entry.host),
        Edit::SetMirror { host, .. } => format!("{host} changed"),
        Edit::RemoveMirror(host) => format!("{host} removed"),
    };
    edits.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The entry a registry on the command line becomes.
pub(super) fn entry(registry: &Registry, port: Option<u16>) -> MirrorEntry {
    match registry {
        Registry::Local(local) => MirrorEntry::push(local.host.clone()),
        Registry::Mirror(MirrorRegistry { host, upstream }) => {
            let fields = [Some(MirrorField::Upstream(upstream.clone())), port.map(MirrorField::Port)];
            MirrorEntry { host: host.clone(), fields: fields.into_iter().flatten().collect() }
        }
    }
}

/// The ports beside those in the list.
pub(super) fn free_ports(outline: &Outline) -> FreePorts {
    FreePorts::beside(outline.mirrors.iter().filter_map(|mirror| mirror.port))
}

/// The outline of a manifest; everything wrong with it otherwise.
pub(super) fn outline(path: &Path) -> Result<Outline, Exit> {
    Outline::load(path).map_err(Exit::problems)
}
