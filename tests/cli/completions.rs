//! `ksail completions`, `ksail man`

use std::process::Command;

use crate::ran::Project;

const MANIFEST: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    mirrors:
      - {host: docker.io, upstream: '${KSAIL_NOT_SET}'}
      - {host: ghcr.io, upstream: 'https://ghcr.io'}
      - {host: 'localhost:5000'}
";

/// What bash offers for the last of these words, when it asks the way its script does.
fn offered(project: &Project, words: &[&str]) -> Vec<String> {
    lines(&mut asking(project, words))
}

fn asking(project: &Project, words: &[&str]) -> Command {
    let mut command = project.command(&[&["--", "ksail"], words].concat());
    command.env("KSAIL_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_COMP_TYPE", "9");
    command
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn hosts_complete_from_the_file_whether_or_not_its_variables_are_set() {
    let project = Project::with(MANIFEST);
    assert_eq!(offered(&project, &["mirror", "remove", "d"]), ["docker.io"]);
    assert_eq!(offered(&project, &["mirror", "set", "l"]), ["localhost:5000"]);
    assert_eq!(offered(&project, &["verify", "d"]), ["docker.io"]);
    project.write("other.yaml", &MANIFEST.replace("docker.io", "dest.example"));
    for named in [&["-f", "other.yaml"][..], &["-fother.yaml"], &["--file", "other.yaml"], &["--file=other.yaml"]] {
        assert_eq!(offered(&project, &[named, &["mirror", "remove", "d"]].concat()), ["dest.example"], "{named:?}");
    }
    std::fs::create_dir(project.path.join("below")).unwrap();
    project.write("below/ksail.yaml", &MANIFEST.replace("docker.io", "deep.example"));
    for named in [&["-C", "below"][..], &["--directory=below"], &["-f", "below"]] {
        assert_eq!(offered(&project, &[named, &["mirror", "remove", "d"]].concat()), ["deep.example"], "{named:?}");
    }
}

#[test]
fn hosts_complete_from_the_file_that_the_environment_names() {
    let project = Project::new();
    project.write("other.yaml", MANIFEST);
    let offered = |file: &str| {
        let mut command = asking(&project, &["mirror", "remove", "d"]);
        lines(command.env("KSAIL_FILE", file))
    };
    assert_eq!(offered("other.yaml"), ["docker.io"]);
    assert_eq!(offered(""), Vec::<String>::new(), "that is none");
}

#[test]
fn registries_that_are_not_listed_yet_are_offered_for_adding() {
    let project = Project::with(MANIFEST);
    assert_eq!(offered(&project, &["mirror", "add", "q"]), ["quay.io"]);
    assert_eq!(offered(&project, &["mirror", "add", "d"]), Vec::<String>::new());
}

#[test]
fn without_a_file_completing_offers_nothing_and_fails_in_silence() {
    assert_eq!(offered(&Project::new(), &["mirror", "remove", "d"]), Vec::<String>::new());
}

#[test]
fn commands_complete() {
    assert_eq!(offered(&Project::new(), &["cluster", "c"]), ["create"]);
}

#[test]
fn every_shell_has_a_script_and_bash_takes_it() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.succeeds(&["completions", shell]);
        assert!(script.contains("KSAIL_COMPLETE"), "{shell}: {script}");
        if shell == "bash" {
            project.write("script", &script);
            let complete = "source ./script && complete -p ksail";
            let output = Command::new("bash").args(["-c", complete]).current_dir(&project.path).output().unwrap();
            assert!(output.status.success(), "{}", project.shown(&output));
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let project = Project::new();
    project.succeeds(&["man", "--dir", "."]);
    let pages = project.names();
    for page in ["ksail.1", "ksail-watch.1", "ksail-cluster-init.1", "ksail-mirror-add.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
    assert!(project.read("ksail-mirror-add.1").contains(".SH SYNOPSIS"));
}
