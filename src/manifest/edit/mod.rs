//! Edits of the manifest that leave every other byte as it is.
//!
//! Each edit is one splice into the text, placed by the tree that knows where every value stands.
//! The result is read again and compared with what was meant; unless they are equal, nothing is changed.

mod splice;
mod written;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::file;
use super::find::FILE_NAME;
use super::load::parse_written;
use super::problems::Problems;
use super::tree::Node;
use super::types::State;
use super::values::{Host, Upstream};
use splice::Text;

/// One change to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets `spec.state`.
    SetState(State),
    /// Adds a mirror at the end of the list. The same one again changes nothing.
    AddMirror(MirrorEntry),
    /// Changes fields of a mirror.
    SetMirror {
        /// Which one.
        host: Host,
        /// What, in this order.
        changes: Vec<MirrorChange>,
    },
    /// Removes a mirror, with the comment lines directly above it.
    RemoveMirror(Host),
}

/// A mirror to add; its fields are written in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorEntry {
    /// `host`.
    pub host: Host,
    /// The rest.
    pub fields: Vec<MirrorField>,
}

impl MirrorEntry {
    /// A pull-through cache.
    pub fn mirror(host: Host, upstream: &Upstream) -> Self {
        Self { host, fields: vec![MirrorField::Upstream(upstream.as_str().to_owned())] }
    }

    /// A registry to push to, when the host is `localhost:PORT`.
    pub fn push(host: Host) -> Self {
        Self { host, fields: Vec::new() }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, field: MirrorField) -> Self {
        self.fields.push(field);
        self
    }
}

/// A field of a mirror and its value as the file is to say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorField {
    /// `upstream`; may hold `${VAR}`.
    Upstream(String),
    /// `port`.
    Port(u16),
    /// `listenAddress`.
    ListenAddress(IpAddr),
    /// `fallback`.
    Fallback(bool),
    /// `ttl`, such as `168h`.
    Ttl(String),
    /// `credentials`, both as `${VAR}`.
    Credentials {
        /// `username`.
        username: String,
        /// `password`.
        password: String,
    },
}

/// A field of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorFieldName {
    /// `upstream`
    Upstream,
    /// `port`
    Port,
    /// `listenAddress`
    ListenAddress,
    /// `fallback`
    Fallback,
    /// `ttl`
    Ttl,
    /// `credentials`
    Credentials,
}

impl MirrorFieldName {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Port => "port",
            Self::ListenAddress => "listenAddress",
            Self::Fallback => "fallback",
            Self::Ttl => "ttl",
            Self::Credentials => "credentials",
        }
    }
}

/// What happens to one field of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorChange {
    /// It gets this value.
    Set(MirrorField),
    /// It is taken out.
    Unset(MirrorFieldName),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The manifest breaks rules already.
    #[error("the manifest has to be right before it can be edited\n{0}")]
    Manifest(Problems),
    /// The manifest would break rules after the edit; the positions are those of the edited text.
    #[error("with this change the manifest would be wrong\n{0}")]
    WouldBreak(Problems),
    /// A mirror of that host is in the list, with other settings.
    #[error("there is a mirror of {host} already; change it with 'ksail mirror set {host}'")]
    Exists {
        /// Which one.
        host: Host,
    },
    /// No mirror of that host is in the list.
    #[error("there is no mirror of {host}{}", known(.hosts))]
    NoSuchMirror {
        /// Which one.
        host: Host,
        /// Those in the list.
        hosts: Vec<String>,
    },
    /// The file is written in a way that cannot be edited safely.
    #[error(
        "the file is written in a way that ksail does not edit: {reason}\nchange it by hand; it should then say\n\n{snippet}"
    )]
    Refused {
        /// Which way.
        reason: String,
        /// What to paste.
        snippet: String,
    },
    /// The file could not be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be written; it is as it was.
    #[error("{} cannot be written{}; it is unchanged", .path.display(), write_hint(.source))]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is being edited by another process; try again", .path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// Someone wrote the file while it was being edited.
    #[error("{} was changed by someone else meanwhile and is left as they wrote it; try again", .path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
}

fn known(hosts: &[String]) -> String {
    if hosts.is_empty() { "; the list is empty".to_owned() } else { format!("; there are {}", hosts.join(", ")) }
}

fn write_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            " (the disk is full: make room and try again)"
        }
        std::io::ErrorKind::PermissionDenied => " (look at the permissions of the file and of its directory)",
        std::io::ErrorKind::ReadOnlyFilesystem => " (the file system is read-only)",
        _ => "",
    }
}

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
            mirror.credentials = Some(file::Credentials { username: Some(username), password: Some(password) });
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
fn splice(text: &str, root: &Node, edit: &Edit) -> Result<String, String> {
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
