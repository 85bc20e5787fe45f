//! `ksail validate`

use std::fmt::Write;

use super::context::{context, load, manifest_path};
use super::{Exit, Global, OK, print};
use crate::desired::resolve;
use crate::exposure::exposures;
use crate::manifest;

pub(super) fn run(global: &Global) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let manifest = load(&path)?;
    let mirrors = match manifest.registries.mirrors.len() {
        1 => "1 mirror".to_owned(),
        n => format!("{n} mirrors"),
    };
    let mut text = format!("{}: cluster {}, {mirrors}: valid\n", manifest::shown(&path), manifest.name);
    // Writing to a string does not fail.
    if !manifest.not_acted_on.is_empty() {
        let _ = writeln!(text, "accepted, but not acted on by ksail: {}", manifest.not_acted_on.join(", "));
    }
    for exposure in exposures(&resolve(&manifest, &context())) {
        let _ = writeln!(text, "warning: {exposure}");
    }
    print(text)?;
    Ok(OK)
}
