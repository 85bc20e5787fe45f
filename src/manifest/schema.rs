//! The JSON Schema of the manifest, for editors.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file;

/// Also what the loader checks the form of a file by, so that both know the same fields.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<file::Manifest>().to_value()
});

/// The JSON Schema (draft 2020-12) of the manifest, with descriptions, defaults and examples.
///
/// It knows the form of every field. Rules that span fields, such as two mirrors on one port, are the loader's alone.
pub fn schema() -> Value {
    SCHEMA.clone()
}
