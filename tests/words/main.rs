//! Every word the program says, where a reviewer reads it in one place: `strings.snap` holds each text of `src/` as it is
//! written there, by room; `watch.snap` what `ksail watch` makes of each thing that can happen.
//!
//! `INSTA_UPDATE=always cargo test --test words` writes both anew; what changed is read in the diff of the commit.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that meets the unexpected should end there.

mod literals;
mod promises;
mod strings;
mod watch;
