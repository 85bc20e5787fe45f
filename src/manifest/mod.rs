//! The file `ksail.yaml`: types, strict load with positions, and edits in place.
//!
//! ```text
//! bytes ──load──▶ text ──tree──▶ nodes with positions ──shape──▶ file (as written) ──rules──▶ Manifest
//!                                        └─────────────── problems, all of them at once ───────────┘
//! ```

mod atomic;
mod edit;
mod expand;
mod file;
mod find;
mod foreign;
mod in_place;
mod load;
mod named;
mod outline;
mod problems;
mod redact;
mod rules;
mod schema;
mod shape;
mod tree;
mod types;
mod values;
mod write;

pub use atomic::InPlace;
pub(crate) use atomic::{NotPlaced, Prepared, directory_of, sync_directory};
pub(crate) use edit::LIST_HEADING;
pub use edit::{Edit, EditError, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName, apply};
pub use expand::Environment;
pub(crate) use find::shown;
pub use find::{FILE_NAME, FindError, find};
pub use load::{load, load_contents, parse};
pub use named::Named;
pub use outline::{Listed, Outline};
pub use problems::{Problem, Problems};
pub(crate) use redact::sounds_secret;
pub use schema::schema;
pub use types::{
    Ca, Connection, Credentials, Distribution, Lifecycle, Manifest, Mirror, Proxy, ProxyUrl, Registries, State,
    THIS_MACHINE, VolumePolicy,
};
pub(crate) use values::PUBLIC;
pub use values::{ClusterName, Host, InvalidValue, Upstream, parse_duration};
pub(crate) use write::{EditLock, lock, not_placed, replace, synced};
pub use write::{Edited, edit_file};
