//! Edits that are refused, and edits at once.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, Stdio};

use insta::assert_snapshot;

use crate::ran::{self, Project};

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
    assert_snapshot!(refused(&project, &["mirror", "set", "docker.io", "--ttl", "500ms"]), @r"
    error: invalid value '500ms' for '--ttl <DURATION>': '500ms' is not a whole number of seconds; write '1s'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&project, &["cluster", "init", "--force", "--connection-timeout", "500ms"]), @r"
    error: invalid value '500ms' for '--connection-timeout <DURATION>': '500ms' is not a whole number of seconds; write '1s'

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
            said.split_once("--> ").and_then(|(_, rest)| rest.split_once(":9:9")).map(|(name, _)| name.to_owned());
        name.unwrap_or(said)
    };
    for file in ["ksail.yaml", "./ksail.yaml", whole.to_str().unwrap()] {
        assert_eq!(called("", file), "ksail.yaml", "{file}");
    }
    assert_eq!(called("deeper", "../ksail.yaml"), "../ksail.yaml");
    assert_eq!(called("deeper", whole.to_str().unwrap()), "[PROJECT]/ksail.yaml");
}

/// As user and group 65534, who may read everything here and write what its mode lets others write.
#[test]
fn a_directory_that_may_not_be_written_to_is_refused() {
    let project = Project::with(MANIFEST);
    assert_snapshot!(ran::as_nobody(&project, &["mirror", "remove", "docker.io"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml cannot be written (look at the permissions of the file and of its directory); it is unchanged
    ");
    assert_eq!(project.read("ksail.yaml"), MANIFEST);
    assert_eq!(project.names(), ["ksail.yaml"]);
}

/// Owner, group and mode.
fn of(project: &Project, name: &str) -> (u32, u32, u32) {
    let found = fs::metadata(project.path.join(name)).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

#[test]
fn a_file_that_its_owner_lets_the_group_write_is_written_in_place_and_stays_theirs() {
    let project = Project::with(MANIFEST);
    let file = project.path.join("ksail.yaml");
    chown(&file, Some(1234), Some(65_534)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    let edit = |expected: &str| {
        fs::write(&file, MANIFEST).unwrap();
        let ran = ran::as_nobody(&project, &["mirror", "remove", "docker.io"]);
        assert_eq!(project.read("ksail.yaml"), MANIFEST.split_once("mirrors:").unwrap().0.to_owned() + "mirrors: []\n");
        assert_eq!(of(&project, "ksail.yaml"), (1234, 65_534, 0o664));
        assert_eq!(project.names(), ["ksail.yaml"]);
        assert_eq!(
            ran,
            format!(
                "exit: 0\n--- stdout\nksail.yaml: docker.io removed\n--- stderr\nnote: ksail.yaml was written in place: {expected}\n"
            )
        );
    };
    edit("its directory takes no new file");
    chown(&project.path, None, Some(65_534)).unwrap();
    fs::set_permissions(&project.path, fs::Permissions::from_mode(0o775)).unwrap();
    edit("it belongs to somebody else, and still does");
}

#[test]
fn a_file_that_a_rename_would_take_from_its_owner_is_refused() {
    let project = Project::with(MANIFEST);
    fs::set_permissions(&project.path, fs::Permissions::from_mode(0o777)).unwrap();
    let before = (project.files(), of(&project, "ksail.yaml"));
    assert_snapshot!(ran::as_nobody(&project, &["mirror", "remove", "docker.io"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml belongs to another user, who does not let you write it; it is unchanged
    ask them to allow it, as in 'chmod g+w', or edit as them
    ");
    assert_snapshot!(ran::as_nobody(&project, &["cluster", "init", "--force"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml belongs to another user, who does not let you write it; it is unchanged
    ask them to allow it, as in 'chmod g+w', or edit as them
    no other file was changed
    ");
    assert_eq!((project.files(), of(&project, "ksail.yaml")), before);
}

#[test]
fn both_names_of_a_hard_linked_file_show_the_edit() {
    let project = Project::with(MANIFEST);
    fs::hard_link(project.path.join("ksail.yaml"), project.path.join("other.yaml")).unwrap();
    let inode = fs::metadata(project.path.join("ksail.yaml")).unwrap().ino();
    assert_snapshot!(project.ksail(&["mirror", "add", "localhost:5999"]), @r"
    exit: 0
    --- stdout
    ksail.yaml: localhost:5999 added
    --- stderr
    note: ksail.yaml was written in place: it has more than one name (hard links), and all of them show the change
    ");
    assert_eq!(project.read("other.yaml"), format!("{MANIFEST}      - host: localhost:5999\n"));
    assert_eq!(fs::metadata(project.path.join("other.yaml")).unwrap().ino(), inode);
    assert_eq!(project.names(), ["ksail.yaml", "other.yaml"]);
}

/// As root of a mount namespace of its own, in the project's directory.
fn with_mounts(project: &Project, script: &str) -> String {
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).current_dir(&project.path);
    command.env("KSAIL", env!("CARGO_BIN_EXE_ksail")).env("MANIFEST", MANIFEST);
    project.shown(&command.output().unwrap())
}

#[test]
fn a_file_that_is_mounted_where_it_is_is_written_in_place_with_a_word_about_it() {
    let project = Project::with("");
    project.write("elsewhere.yaml", MANIFEST);
    let script = "mount --bind elsewhere.yaml ksail.yaml; \"$KSAIL\" mirror remove docker.io; \"$KSAIL\" cluster init --force; ls -A";
    let ran = with_mounts(&project, script);
    assert_snapshot!(ran, @r"
    exit: 0
    --- stdout
    ksail.yaml: docker.io removed
    replaced ksail.yaml
    wrote ksail.schema.json
    wrote kind.yaml
    Next: 'ksail mirror add docker.io' adds a mirror.
    elsewhere.yaml
    kind.yaml
    ksail.schema.json
    ksail.yaml
    --- stderr
    note: ksail.yaml was written in place: it is mounted where it is, so that it cannot be replaced
    note: ksail.yaml was written in place: it is mounted where it is, so that it cannot be replaced
    ");
    assert!(project.read("elsewhere.yaml").contains("mirrors: []"));
    assert_eq!(project.read("ksail.yaml"), "", "what is below the mount");
}

#[test]
fn a_full_disk_leaves_a_file_that_is_written_in_place_as_it_was() {
    let project = Project::new();
    let script = "mount -t tmpfs -o size=16k none \"$PWD\"; cd \"$PWD\"; printf '%s' \"$MANIFEST\" >ksail.yaml; ln ksail.yaml other; \
                  cp ksail.yaml before; cat /dev/zero >ballast 2>/dev/null || true; \"$KSAIL\" mirror add ghcr.io || echo \"ended with $?\"; \
                  cmp ksail.yaml before; cmp other before; ls -A";
    assert_snapshot!(with_mounts(&project, script), @r"
    exit: 0
    --- stdout
    ended with 1
    ballast
    before
    ksail.yaml
    other
    --- stderr
    error: ksail.yaml cannot be written (the disk is full: make room and try again); it is unchanged
    ");
}

#[test]
fn a_full_disk_exits_1_and_leaves_the_file_as_it_was() {
    let project = Project::new();
    // The manifest is longer than the page that is left on the disk, and the edit needs as much again.
    let script = "mount -t tmpfs -o size=16k none \"$PWD\"; cd \"$PWD\"; printf '%s' \"$MANIFEST\" >ksail.yaml; cp ksail.yaml before; \
                  cat /dev/zero >ballast 2>/dev/null || true; \"$KSAIL\" mirror add ghcr.io || echo \"ended with $?\"; cmp ksail.yaml before; ls -A";
    assert_snapshot!(with_mounts(&project, script), @r"
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
