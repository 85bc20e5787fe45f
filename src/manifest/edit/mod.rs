//! Edits of the manifest that leave every other byte as it is.
//!
//! Each edit is one splice into the text, placed by the tree that knows where every value stands.
//! The result is read again and compared with what was meant; unless they are equal, nothing is changed.

mod block;
mod change;
mod comments;
mod error;
mod flow;
mod lines;
mod splice;
mod written;

use std::path::Path;

pub use change::{Edit, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName};
pub(crate) use comments::LIST_HEADING;
pub use error::EditError;
use error::Refusal;
use lines::Text;

use super::file;
use super::find::FILE_NAME;
use super::load::parse_written;
use super::problems::Problems;
use super::tree::Node;
use super::values::Host;

/// The text of a manifest after the edits, one after the other.
pub fn apply(bytes: &[u8], edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    apply_to(Path::new(FILE_NAME), bytes, edits)
}

/// The same, where problems name `path`.
pub(crate) fn apply_to(path: &Path, bytes: &[u8], edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    let (mark, mut text) = split_mark(bytes, path)?;
    let (before, mut root) = parse_written(path, text.as_bytes()).map_err(EditError::Manifest)?;
    let mut file = before.clone();
    for edit in edits {
        let mut meant = file.clone();
        intend(&mut meant, edit)?;
        if meant == file {
            continue;
        }
        let refused = |reason: String| EditError::Refused { reason, snippet: written::snippet(edit) };
        let edited = splice(&text, &root, edit).map_err(refused)?;
        let (read, tree) = parse_written(path, edited.as_bytes()).map_err(|problems| match Node::read(&edited) {
            Ok(_) => EditError::WouldBreak(problems),
            Err(_) => refused(not_yaml(&problems)),
        })?;
        if read != meant {
            return Err(refused("an alias or an anchor in it would make the result mean something else".to_owned()));
        }
        (text, root, file) = (edited, tree, read);
    }
    if file == before {
        return Ok(bytes.to_owned());
    }
    Ok([mark, text.as_bytes()].concat())
}

/// An edit that leaves no YAML is not the user's mistake, so the parser's words are not for them.
fn not_yaml(problems: &Problems) -> String {
    if problems.iter().any(|problem| problem.message.contains("unknown anchor")) {
        return "an alias elsewhere uses what would go away".to_owned();
    }
    "the result would not be YAML".to_owned()
}

fn split_mark<'a>(bytes: &'a [u8], path: &Path) -> Result<(&'a [u8], String), EditError> {
    let (mark, rest) = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (&bytes[..3], rest),
        None => (&bytes[..0], bytes),
    };
    match std::str::from_utf8(rest) {
        Ok(text) => Ok((mark, text.to_owned())),
        // Reading it says what is wrong better than this error would.
        Err(_) => match parse_written(path, bytes) {
            Err(problems) => Err(EditError::Manifest(problems)),
            Ok(_) => Ok((mark, String::from_utf8_lossy(rest).into_owned())),
        },
    }
}

/// What the file should mean after the edit.
fn intend(file: &mut file::Manifest, edit: &Edit) -> Result<(), EditError> {
    let current = file.spec.as_ref().and_then(|spec| spec.state).unwrap_or_default();
    let spec = match edit {
        Edit::SetState(state) if *state == current => return Ok(()),
        _ => file.spec.get_or_insert_default(),
    };
    match edit {
        Edit::SetState(state) => spec.state = Some(*state),
        Edit::AddMirror(entry) => {
            let mirror = as_written(entry);
            let mirrors = spec.registries.get_or_insert_default().mirrors.get_or_insert_default();
            match mirrors.iter().find(|other| other.host == mirror.host) {
                Some(other) if *other == mirror => {}
                Some(_) => return Err(EditError::Exists { host: entry.host.clone() }),
                None => mirrors.push(mirror),
            }
        }
        Edit::SetMirror { host, changes } => {
            let mirrors = spec.registries.get_or_insert_default().mirrors.get_or_insert_default();
            let index = position(mirrors, host)?;
            for change in changes {
                change_field(&mut mirrors[index], change);
            }
        }
        Edit::RemoveMirror(host) => {
            let mirrors = spec.registries.get_or_insert_default().mirrors.get_or_insert_default();
            let index = position(mirrors, host)?;
            mirrors.remove(index);
        }
    }
    Ok(())
}

fn position(mirrors: &[file::Mirror], host: &Host) -> Result<usize, EditError> {
    let index = mirrors.iter().position(|mirror| mirror.host.as_deref() == Some(host.as_str()));
    index.ok_or_else(|| EditError::NoSuchMirror {
        host: host.clone(),
        hosts: mirrors.iter().filter_map(|mirror| mirror.host.clone()).collect(),
    })
}

fn as_written(entry: &MirrorEntry) -> file::Mirror {
    let mut mirror = file::Mirror { host: Some(entry.host.as_str().to_owned()), ..file::Mirror::default() };
    for field in &entry.fields {
        change_field(&mut mirror, &MirrorChange::Set(field.clone()));
    }
    mirror
}

fn change_field(mirror: &mut file::Mirror, change: &MirrorChange) {
    match change.clone() {
        MirrorChange::Set(MirrorField::Upstream(upstream)) => mirror.upstream = Some(upstream),
        MirrorChange::Set(MirrorField::Port(port)) => mirror.port = Some(i64::from(port)),
        MirrorChange::Set(MirrorField::ListenAddress(address)) => mirror.listen_address = Some(address.to_string()),
        MirrorChange::Set(MirrorField::Fallback(fallback)) => mirror.fallback = Some(fallback),
        MirrorChange::Set(MirrorField::Ttl(ttl)) => mirror.ttl = Some(ttl),
        MirrorChange::Set(MirrorField::Credentials { username, password }) => {
            mirror.credentials = Some(file::Credentials {
                username: Some(username),
                password: Some(password),
                ..file::Credentials::default()
            });
        }
        MirrorChange::Unset(MirrorFieldName::Upstream) => mirror.upstream = None,
        MirrorChange::Unset(MirrorFieldName::Port) => mirror.port = None,
        MirrorChange::Unset(MirrorFieldName::ListenAddress) => mirror.listen_address = None,
        MirrorChange::Unset(MirrorFieldName::Fallback) => mirror.fallback = None,
        MirrorChange::Unset(MirrorFieldName::Ttl) => mirror.ttl = None,
        MirrorChange::Unset(MirrorFieldName::Credentials) => mirror.credentials = None,
    }
}

/// The edited text, or why this file cannot be edited.
fn splice(text: &str, root: &Node, edit: &Edit) -> Result<String, Refusal> {
    let mut text = Text::new(text);
    match edit {
        Edit::SetState(state) => text.set_state(root, written::state(*state))?,
        Edit::AddMirror(entry) => text.add_mirror(root, &written::fields(entry))?,
        Edit::RemoveMirror(host) => text.remove_mirror(root, host)?,
        Edit::SetMirror { host, changes } => {
            for change in changes {
                let tree = Node::read(text.as_str()).map_err(|_| "an alias elsewhere uses what would go away")?;
                let tree = tree.ok_or_else(|| "nothing would be left".to_owned())?;
                text.change_mirror(&tree, host, change)?;
            }
        }
    }
    Ok(text.into_string())
}
