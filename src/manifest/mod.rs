//! The file `ksail.yaml`: types, strict load with positions, and edits in place.

mod stub;
mod types;
mod values;

pub use stub::*;
pub use types::{Connection, Credentials, Distribution, Lifecycle, Manifest, Mirror, Registries, State, VolumePolicy};
pub use values::{ClusterName, Host, InvalidValue, Upstream};
