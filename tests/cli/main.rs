//! The command line: what it prints, how it exits, and what it does to files.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that meets the unexpected should end there.

mod completions;
mod editing;
mod examples;
mod exposure;
mod habits;
mod help;
mod init;
mod looking;
mod mangled;
mod mirror;
mod on_the_engine;
mod ran;
mod root;
mod schema;
mod secrets;
mod writes;
