//! What cannot be written is no success, and a reader that has gone is no failure.

use std::fs::File;
use std::process::Stdio;

use crate::ran::Project;

const MANIFEST: &str = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  registries:\n    mirrors:\n      - {host: ghcr.io, upstream: https://ghcr.io, port: 5001}\n";

/// Commands that succeed and print, without an engine.
const PRINTING: &[&[&str]] = &[
    &["--help"],
    &["-h"],
    &["--version"],
    &["mirror", "--help"],
    &["schema"],
    &["validate"],
    &["completions", "bash"],
    &["completions", "zsh"],
    &["mirror", "list"],
    &["mirror", "list", "-o", "json"],
    &["mirror", "add", "quay.io", "--dry-run"],
    &["mirror", "add", "ghcr.io"],
    &["mirror", "set", "ghcr.io", "--fallback", "false"],
    &["mirror", "remove", "ghcr.io"],
    &["cluster", "init", "--force"],
];

#[test]
fn a_write_to_standard_output_that_fails_is_exit_1() {
    for arguments in PRINTING {
        let project = Project::with(MANIFEST);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let shown = project.shown(&project.command(arguments).stdout(full).output().unwrap());
        let said = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!(shown, format!("exit: 1\n--- stdout\n--- stderr\n{said}"), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    for arguments in PRINTING {
        let project = Project::with(MANIFEST);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let shown = project.shown(&project.command(arguments).stdout(Stdio::from(writer)).output().unwrap());
        assert_eq!(shown, "exit: 0\n--- stdout\n--- stderr\n", "{arguments:?}");
    }
}

#[test]
fn nobody_to_complain_to_changes_no_exit_code() {
    let project = Project::with(MANIFEST);
    let code = |arguments: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        project.command(arguments).stderr(full).output().unwrap().status.code()
    };
    assert_eq!(code(&["statsu"]), Some(2));
    assert_eq!(code(&["mirror", "remove", "quay.io"]), Some(2));
    assert_eq!(code(&["--host", "unix:///nowhere", "status"]), Some(1));
}
