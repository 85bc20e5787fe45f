//! Edits that are refused, and edits at once.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use insta::assert_snapshot;

use crate::ran::Project;

const MANIFEST: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: dev
spec:
  registries:
    mirrors:
      - host: docker.io
        upstream: https://registry-1.docker.io
";

/// What is said; the file is as it was.
fn refused(project: &Project, arguments: &[&str]) -> String {
    let before = project.files();
    let ran = project.ksail(arguments);
    assert!(ran.starts_with("exit: 2\n--- stdout\n--- stderr\n"), "{ran}");
    assert_eq!(project.files(), before);
    ran.split_once("--- stderr\n").unwrap().1.to_owned()
}

#[test]
fn a_bad_command_line_is_refused() {
    let project = Project::with(MANIFEST);
    assert_snapshot!(refused(&project, &["mirror", "add"]), @r"
    error: the following required arguments were not provided:
      <HOST[=UPSTREAM]>

    Usage: ksail mirror add <HOST[=UPSTREAM]>

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "docker.io=registry-1.docker.io"]), @r"
    error: invalid value 'docker.io=registry-1.docker.io' for '<HOST[=UPSTREAM]>': the upstream has no scheme; write 'https://registry-1.docker.io'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "localhost"]), @r"
    error: invalid value 'localhost' for '<HOST[=UPSTREAM]>': expected HOST:PORT; write localhost:5000, or another free port

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "ghcr.io", "--port", "0"]), @r"
    error: invalid value '0' for '--port <PORT>': 0 is not in 1..=65535

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "ghcr.io", "--ttl", "7d"]), @r"
    error: invalid value '7d' for '--ttl <DURATION>': a duration has no unit for days; write '168h'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "set", "docker.io"]), @r"
    error: the following required arguments were not provided:
      <--upstream <URL>|--port <PORT>|--listen-address <ADDRESS>|--fallback <BOOL>|--ttl <DURATION>|--username <${VARIABLE}>|--password <${VARIABLE}>|--unset <FIELD>>

    Usage: ksail mirror set [OPTIONS] <HOST>

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "set", "docker.io", "--username", "${U}"]), @r"
    error: the following required arguments were not provided:
      --password <${VARIABLE}>

    Usage: ksail mirror set [OPTIONS] <HOST>

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["mirror", "remove", "quay.io"]), @"error: there is no mirror of quay.io; there are docker.io");
    assert_snapshot!(refused(&project, &["mirror", "rename", "quay.io"]), @r"
    error: unrecognized subcommand 'rename'

      tip: a similar subcommand exists: 'remove'

    Usage: ksail mirror [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["cluster", "delete", "--timeout", "5"]), @r"
    error: invalid value '5' for '--timeout <DURATION>': write a number and a unit, as in 30s, 5m or 1h

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["cluster", "create", "--mirror-registry", "docker.io=https://other.example"]), @"error: there is a mirror of docker.io already; change it with 'ksail mirror set docker.io'");
}

#[test]
fn a_literal_password_is_refused_and_not_shown() {
    let project = Project::with(MANIFEST);
    let said = refused(&project, &["mirror", "set", "docker.io", "--username", "${U}", "--password", "hunter2"]);
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said, @r"
    error: --password names a variable and does not hold what is secret itself
    write --password '${NAME}', in single quotes so that the shell leaves it as it is
    ");
}

#[test]
fn an_edit_after_which_the_manifest_would_be_wrong_is_refused() {
    let project = Project::with(MANIFEST);
    assert_snapshot!(refused(&project, &["mirror", "set", "docker.io", "--unset", "upstream"]), @r"
    error: with this change the manifest would be wrong
    error: 'docker.io' is a public registry, and this mirror of it has no 'upstream'
     --> ksail.yaml:8:15
      |
    8 |       - host: docker.io
      |               ^^^^^^^^^
      |
      = help: add 'upstream: https://registry-1.docker.io', or write 'host: localhost:5000' for a registry to push to
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "localhost:5000", "--ttl", "1h"]), @r"
    error: with this change the manifest would be wrong
    error: 'ttl' is for the upstream, and this mirror has none
      --> ksail.yaml:11:9
       |
    11 |         ttl: 1h
       |         ^^^
       |
       = help: add 'upstream', or remove this
    ");
}

#[test]
fn create_with_a_variable_that_is_not_set_is_refused_before_the_file_is_edited() {
    let project = Project::with(&MANIFEST.replace("https://registry-1.docker.io", "${KSAIL_NOT_SET}"));
    assert_snapshot!(refused(&project, &["cluster", "create", "--mirror-registry", "ghcr.io"]), @r"
    error: the variable KSAIL_NOT_SET is not set
     --> ksail.yaml:9:19
      |
    9 |         upstream: ${KSAIL_NOT_SET}
      |                   ^^^^^^^^^^^^^^^^
      |
      = help: set it, as in 'export KSAIL_NOT_SET=…', or write ${KSAIL_NOT_SET:-default}
    ksail.yaml was not edited
    ");
}

#[test]
fn a_missing_file_is_refused() {
    let project = Project::new();
    for arguments in
        [&["mirror", "list"][..], &["mirror", "add", "docker.io"], &["cluster", "create"], &["cluster", "delete"]]
    {
        assert_eq!(refused(&project, arguments), refused(&project, &["validate"]), "{arguments:?}");
    }
    assert_snapshot!(refused(&project, &["mirror", "add", "docker.io"]), @r"
    error: there is no ksail.yaml in [PROJECT] or a directory above it
    'ksail cluster init' writes one here; '--file PATH' names one elsewhere
    ");
    assert_snapshot!(refused(&project, &["mirror", "add", "docker.io", "-f", "other.yaml"]), @r"
    error: other.yaml: there is no such file
     |
     = help: 'ksail cluster init' writes one, '--file' names another
    ");
}

#[test]
fn a_broken_file_is_refused_with_everything_that_is_wrong_with_it() {
    let project = Project::with(&MANIFEST.replace("upstream:", "upstraem:"));
    assert_snapshot!(refused(&project, &["mirror", "add", "ghcr.io"]), @r"
    error: unknown field 'upstraem'
     --> ksail.yaml:9:9
      |
    9 |         upstraem: https://registry-1.docker.io
      |         ^^^^^^^^ did you mean 'upstream'?
    ");
}

#[test]
fn a_file_is_called_what_someone_in_this_directory_would_call_it() {
    let project = Project::with(&MANIFEST.replace("upstream:", "upstraem:"));
    fs::create_dir(project.path.join("deeper")).unwrap();
    let whole = project.path.join("ksail.yaml");
    let called = |from: &str, file: &str| {
        let mut command = project.command(&["validate", "-f", file]);
        let output = command.current_dir(project.path.join(from)).output().unwrap();
        let said = project.shown(&output);
        let name =
            said.split_once("--> ").and_then(|(_, rest)| rest.split_once(":8:15")).map(|(name, _)| name.to_owned());
        name.unwrap_or(said)
    };
    for file in ["ksail.yaml", "./ksail.yaml", whole.to_str().unwrap()] {
        assert_eq!(called("", file), "ksail.yaml", "{file}");
    }
    assert_eq!(called("deeper", "../ksail.yaml"), "../ksail.yaml");
    assert_eq!(called("deeper", whole.to_str().unwrap()), "[PROJECT]/ksail.yaml");
}

/// As a user who may read everything here and write nothing.
#[test]
fn a_directory_that_may_not_be_written_to_is_refused() {
    let project = Project::with(MANIFEST);
    let program = project.path.join("ksail");
    fs::copy(env!("CARGO_BIN_EXE_ksail"), &program).unwrap();
    open_to_all(&project);
    let mut command = std::process::Command::new(program);
    command.args(["mirror", "remove", "docker.io"]).current_dir(&project.path).uid(65_534).gid(65_534);
    // A child that another test has just forked holds the copy open for writing until it is a program of its own.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    assert_snapshot!(project.shown(&output), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml cannot be written (look at the permissions of the file and of its directory); it is unchanged
    ");
    assert_eq!(project.read("ksail.yaml"), MANIFEST);
}

fn open_to_all(project: &Project) {
    use std::os::unix::fs::PermissionsExt;
    for path in [&project.path, project.path.parent().unwrap()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_full_disk_exits_1_and_leaves_the_file_as_it_was() {
    let project = Project::new();
    // The manifest is longer than the page that is left on the disk, and the edit needs as much again.
    let script = "mount -t tmpfs -o size=16k none \"$PWD\"; cd \"$PWD\"; printf '%s' \"$MANIFEST\" >ksail.yaml; cp ksail.yaml before; \
                  cat /dev/zero >ballast 2>/dev/null || true; \"$KSAIL\" mirror add ghcr.io || echo \"ended with $?\"; cmp ksail.yaml before; ls -A";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).current_dir(&project.path);
    command.env("KSAIL", env!("CARGO_BIN_EXE_ksail")).env("MANIFEST", MANIFEST);
    assert_snapshot!(project.shown(&command.output().unwrap()), @r"
    exit: 0
    --- stdout
    ended with 1
    ballast
    before
    ksail.yaml
    --- stderr
    error: ksail.yaml cannot be written (the disk is full: make room and try again); it is unchanged
    ");
}

fn spawn(project: &Project, arguments: &[&str]) -> Child {
    project.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn of_many_edits_at_once_none_is_lost_and_k3d_yaml_follows_all_of_them() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--distribution", "k3d", "--mirror-registry", "docker.io"]);
    let before = project.files();
    let hosts: Vec<_> = (0..12).map(|n| format!("r{n}.example")).collect();
    let all = |verb: &str, more: &[&str]| {
        let children: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(n, host)| {
                let port = (41_000 + n).to_string();
                let port: &[&str] = if more.is_empty() { &[] } else { &["--port", &port] };
                spawn(&project, &[&["mirror", verb, host], port].concat())
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    };
    all("add", &["--port"]);
    let (manifest, config) = (project.read("ksail.yaml"), project.read("k3d.yaml"));
    for host in &hosts {
        assert!(manifest.contains(&format!("host: {host}\n")), "{host} is lost:\n{manifest}");
        assert!(config.contains(&format!("\"{host}\":\n")), "{host} is not followed:\n{config}");
    }
    all("remove", &[]);
    assert_eq!(project.files(), before);
}
