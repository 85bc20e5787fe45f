//! `ksail schema`

use super::{Exit, OK, print};
use crate::manifest;

pub(super) fn run() -> Result<u8, Exit> {
    print(text())?;
    Ok(OK)
}

/// The schema as it is printed and written.
pub(super) fn text() -> String {
    format!("{:#}\n", manifest::schema())
}
