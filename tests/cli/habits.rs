//! What people type who come from kubectl, compose, kind, k3d and git, and what meets them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::on_the_engine::{EXTERNAL, World, free_port};
use crate::ran::Project;

const MANIFEST: &str = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: habits}\nspec:\n  registries:\n    \
                        mirrors:\n      - {host: docker.io, upstream: \"https://registry-1.docker.io\", port: 5001}\n";
/// Nobody listens there.
const AWAY: [&str; 2] = ["--host", "tcp://127.0.0.1:1"];

/// The line that says what is meant.
fn tip(typed: &[&str]) -> String {
    let said = Project::new().ksail(typed);
    assert!(said.starts_with("exit: 2\n"), "{said}");
    said.lines().find(|line| line.contains("tip:")).unwrap_or_else(|| panic!("no tip: {said}")).trim().to_owned()
}

/// Both mean the same: the same exit code, and the same words.
fn is_the_same(typed: &[&str], meant: &[&str]) {
    let said = |words: &[&str]| Project::with(MANIFEST).ksail(&[words, &AWAY].concat());
    assert_eq!(said(typed), said(meant), "{typed:?} is {meant:?}");
}

#[test]
fn verbs_of_other_tools_are_answered_with_the_one_that_does_that_here() {
    assert_eq!(tip(&["up"]), "tip: a similar subcommand exists: 'apply'");
    assert_eq!(tip(&["plan"]), "tip: a similar subcommand exists: 'diff'");
    assert_eq!(tip(&["down"]), "tip: a similar subcommand exists: 'cluster delete'");
}

#[test]
fn other_names_of_what_there_is_are_taken() {
    for other in ["ps", "ls", "get"] {
        is_the_same(&[other], &["status"]);
    }
    is_the_same(&["mirror", "ls"], &["mirror", "list"]);
    is_the_same(&["mirror", "rm", "docker.io"], &["mirror", "remove", "docker.io"]);
    is_the_same(&["completion", "bash"], &["completions", "bash"]);
    is_the_same(&["apply", "--dry-run"], &["diff"]);
    is_the_same(&["delete"], &["cluster", "delete"]);
    is_the_same(&["create"], &["cluster", "create"]);
}

#[test]
fn init_alone_is_cluster_init() {
    let files = |words: &[&str]| {
        let project = Project::new();
        project.succeeds(&[words, &["--name", "dev", "--mirror-registry", "docker.io"]].concat());
        project.files()
    };
    assert_eq!(files(&["init"]), files(&["cluster", "init"]));
}

#[test]
fn init_writes_where_it_is_told_to_and_a_directory_stands_for_the_file_in_it() {
    let written = |arguments: &[&str], variable: Option<&str>| {
        let project = Project::new();
        fs::create_dir(project.path.join("below")).unwrap();
        let words = [arguments, &["init", "--name", "dev", "--mirror-registry", "docker.io"]].concat();
        let output = project.command(&words).envs(variable.map(|file| ("KSAIL_FILE", file))).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let places = ["ksail.yaml", "below/ksail.yaml"].into_iter();
        places.filter(|place| project.path.join(place).exists()).collect::<Vec<_>>()
    };
    assert_eq!(written(&["-f", "below"], None), ["below/ksail.yaml"]);
    assert_eq!(written(&["-C", "below"], None), ["below/ksail.yaml"]);
    assert_eq!(written(&[], Some("below")), ["below/ksail.yaml"]);
    assert_eq!(written(&[], Some("")), ["ksail.yaml"]);
}

#[test]
fn options_that_say_what_apply_does_anyway_are_taken_with_a_word() {
    for option in ["--wait", "--prune", "--yes", "-y"] {
        let said = Project::with(MANIFEST).ksail(&[&["apply", option], &AWAY[..]].concat());
        assert!(said.contains("note: ksail apply waits, removes what is not in the file any more"), "{option}: {said}");
    }
}

#[test]
fn the_file_is_named_as_others_have_it_named() {
    let validates = |project: &Project, arguments: &[&str], variable: Option<&str>| {
        let mut command = project.command(&[arguments, &["validate"]].concat());
        command.envs(variable.map(|file| ("KSAIL_FILE", file)));
        project.shown(&command.output().unwrap())
    };
    let project = Project::new();
    fs::create_dir(project.path.join("below")).unwrap();
    project.write("below/ksail.yml", MANIFEST);
    let by_name = validates(&project, &["-f", "below/ksail.yml"], None);
    assert_snapshot!(by_name, @r#"
    exit: 0
    --- stdout
    below/ksail.yml: cluster habits, 1 mirror: valid
    --- stderr
    "#);
    assert_eq!(validates(&project, &["-f", "below"], None), by_name, "a directory stands for the file in it");
    assert_eq!(validates(&project, &[], Some("below/ksail.yml")), by_name);
    assert_eq!(validates(&project, &["-f", "below"], Some("elsewhere.yaml")), by_name, "what is typed comes first");
    let none = validates(&project, &[], Some(""));
    assert_eq!(none, validates(&project, &[], None), "an empty name is none");
    let from_there = validates(&project, &["-C", "below"], None);
    assert_eq!(from_there, by_name.replace("below/", ""));
    let nowhere = validates(&project, &["-C", "nowhere"], None);
    assert_snapshot!(nowhere, @r#"
    exit: 2
    --- stdout
    --- stderr
    error: --directory: cannot go to nowhere: No such file or directory (os error 2)
    "#);
}

#[test]
fn version_says_what_else_takes_part_and_what_is_not_there() {
    let project = Project::new();
    let said = |arguments: &[&str]| {
        let mut command = project.command(&[arguments, &AWAY].concat());
        project.shown(&command.env("PATH", &project.path).output().unwrap())
    };
    let text = said(&["version"]).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_snapshot!(text, @r#"
    exit: 0
    --- stdout
    ksail   VERSION
    engine  cannot reach the engine at tcp://127.0.0.1:1: Connection refused (os error 111)
    kind    not on the PATH
    k3d     not on the PATH
    --- stderr
    "#);
    let json = said(&["version", "-o", "json"]);
    assert!(json.contains("\"kind\": {") && json.contains("\"message\": \"not on the PATH\""), "{json}");
}

#[test]
fn the_list_and_what_is_wrong_with_the_file_are_told_to_programs_as_well() {
    let project = Project::with(MANIFEST);
    assert_snapshot!(project.ksail(&["mirror", "list", "-o", "yaml"]), @r"
    exit: 0
    --- stdout
    - credentials: false
      fallback: true
      host: docker.io
      listenAddress: 127.0.0.1
      port: 5001
      role: mirror
      ttl: 0s
      upstream: https://registry-1.docker.io
    --- stderr
    ");
    assert_snapshot!(project.ksail(&["mirror", "list", "-o", "name"]), @r"
    exit: 0
    --- stdout
    mirror/docker.io
    --- stderr
    ");
    assert_snapshot!(project.ksail(&["validate", "-o", "json"]), @r#"
    exit: 0
    --- stdout
    {
      "cluster": "habits",
      "errors": [],
      "file": "ksail.yaml",
      "mirrors": [
        "docker.io"
      ],
      "notActedOn": [],
      "valid": true,
      "warnings": []
    }
    --- stderr
    "#);
    project.write("ksail.yaml", &MANIFEST.replace("mirrors:", "mirors:"));
    assert_snapshot!(project.ksail(&["validate", "-o", "json"]), @r#"
    exit: 2
    --- stdout
    {
      "errors": [
        {
          "column": 5,
          "help": "did you mean 'mirrors'?",
          "line": 6,
          "message": "unknown field 'mirors'"
        }
      ],
      "file": "ksail.yaml",
      "valid": false
    }
    --- stderr
    "#);
}

#[test]
fn who_is_told_to_stop_watching_says_what_keeps_running() {
    let world = World::new();
    let (project, local) = (Project::new(), format!("localhost:{}", free_port()));
    let init = ["cluster", "init", "--name", &world.cluster, "--local-registry", &local];
    project.succeeds(&[&init[..], &EXTERNAL].concat());
    let mut watching = project.command(&["watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(&format!("{local}: Ready"))));
    assert!(Command::new("kill").args(["-INT", &watching.id().to_string()]).status().unwrap().success());
    let last = lines.last();
    assert_eq!(last.as_deref(), Some("stopped; 1 registry keeps running ('ksail cluster delete' removes it)"));
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}
