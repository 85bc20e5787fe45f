//! `ksail schema`

use super::{Exit, OK, print};
use crate::manifest;

#[expect(clippy::unnecessary_wraps, reason = "the same signature for every verb")]
pub(super) fn run() -> Result<u8, Exit> {
    print(text());
    Ok(OK)
}

/// The schema as it is printed and written.
pub(super) fn text() -> String {
    format!("{:#}\n", manifest::schema())
}
