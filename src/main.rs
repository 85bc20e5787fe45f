//! The `ksail` program.

fn main() {}
