//! The suite itself. Each test is one sentence about any engine.

#![allow(clippy::needless_pass_by_value)] // `assert_not_found(engine.call().await)` reads as the sentence it is.

pub(crate) mod containers;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod volumes;

use ksail::engine::EngineError;

/// A tar archive of files, last modified when time began.
pub(crate) fn archive(files: &[(&str, u32, &str)]) -> Vec<u8> {
    archive_of(files, 0)
}

/// A tar archive of files by path, mode and content, last modified so many seconds after that.
pub(crate) fn archive_of(files: &[(&str, u32, &str)], modified: u64) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_mtime(modified);
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[track_caller]
pub(crate) fn assert_not_found<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::NotFound { .. })), "expected not found: {answer:?}");
}

#[track_caller]
pub(crate) fn assert_conflict<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::Conflict { .. })), "expected a conflict: {answer:?}");
}

#[track_caller]
pub(crate) fn assert_port_in_use<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::PortInUse { .. })), "expected a port in use: {answer:?}");
}

#[track_caller]
pub(crate) fn assert_bad_request<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::Refused { status: 400, .. })), "expected a bad request: {answer:?}");
}
