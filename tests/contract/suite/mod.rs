//! The suite itself. Each test is one sentence about any engine.

#![allow(clippy::needless_pass_by_value)] // `assert_not_found(engine.call().await)` reads as the sentence it is.

pub(crate) mod containers;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod volumes;

use ksail::engine::EngineError;

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
