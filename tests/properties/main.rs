//! The properties tests.
