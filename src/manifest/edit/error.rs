//! Why an edit is not made.

use std::path::PathBuf;

use crate::manifest::find::shown;
use crate::manifest::problems::Problems;
use crate::manifest::values::Host;

/// In which way a file is written that is not edited: the reason in [`EditError::Refused`].
pub(super) type Refusal = String;

/// Why an edit was not made, or not to the end.
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
    #[error("{} cannot be read", shown(.path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be written; it is as it was.
    #[error("{} cannot be written{}; it is unchanged", shown(.path), write_hint(.source))]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It belongs to somebody else, who would lose it: only its owner and root can leave it to its owner.
    #[error(
        "{} belongs to another user, who does not let you write it; it is unchanged\nask them to allow it, as in 'chmod g+w', or edit as them",
        shown(.path)
    )]
    OfAnother {
        /// Which file.
        path: PathBuf,
    },
    /// The file has been changed, and a power cut may undo that.
    #[error(
        "{} has been changed, but its directory could not be brought to the disk: after a power cut it may be as it was before",
        shown(.path)
    )]
    NotSynced {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was written in place, and neither the new nor the old contents could be written to the end.
    #[error(
        "{} was written in place, and that failed half way: it may hold some of the old and some of the new; what it held before is whole in {}: copy that back",
        shown(.path),
        shown(.whole)
    )]
    HalfWritten {
        /// Which file.
        path: PathBuf,
        /// A file with what it held before.
        whole: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is being edited by another process; try again", shown(.path))]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// Someone wrote the file while it was being edited.
    #[error("{} was changed by someone else meanwhile and is left as they wrote it; try again", shown(.path))]
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
