//! The `ksail` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ksail::cli::main()
}
