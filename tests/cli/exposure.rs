//! Registries that other machines can reach: said by every command that acts on it.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

const MANIFEST: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: exposed}
spec:
  lifecycle: External
  registries:
    mirrors:
      - host: ghcr.io
        upstream: https://ghcr.io
        port: 5002
        listenAddress: 0.0.0.0
        credentials: {username: '${WHO}', password: '${WHO}'}
";
const WARNING: &str = "ghcr.io listens on 0.0.0.0: other machines can read from it, and whoever does reads private images with its credentials";

/// What a command says on its standard output; its engine is not there.
fn said(words: &[&str]) -> String {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("ksail.yaml"), MANIFEST).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksail"));
    command.args(words).args(["--host", "unix:///nonexistent.sock"]).current_dir(home.path()).env_clear();
    command.envs([("HOME", home.path().as_os_str()), ("WHO", "me".as_ref()), ("NO_COLOR", "1".as_ref())]);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn what_other_machines_can_reach_is_said_once_by_every_command_that_acts_on_it() {
    for words in [&["apply"][..], &["cluster", "create"], &["validate"]] {
        // A line is broken where the window's edge would break it.
        let said = said(words).replace("\n    ", " ");
        assert_eq!(said.matches(&format!("warning: {WARNING}\n")).count(), 1, "{words:?}: {said}");
    }
    let json = said(&["apply", "-o", "json"]);
    let line = json.lines().find(|line| line.contains(r#""event":"exposed""#)).unwrap();
    assert!(line.contains(r#""hasCredentials":true"#) && line.contains(WARNING), "{line}");
    // It acts on nothing of the kind any more.
    assert!(!said(&["cluster", "delete"]).contains("listens on"));
}
