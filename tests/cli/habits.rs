//! What people type who come from kubectl, compose, kind, k3d and git, and what meets them.

use std::fs;

use insta::assert_snapshot;

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
