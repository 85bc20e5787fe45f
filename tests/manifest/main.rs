//! The manifest tests.
