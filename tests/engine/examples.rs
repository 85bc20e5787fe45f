//! The examples do what they say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::docker::Docker;
use super::support::private_engine::PrivateEngine;
use super::turns::beside_others;

/// What a run of the quickstart ends with, whatever it runs on.
const SHOWN: [&str; 4] = ["the same image came back", "library/hello-world@sha256:", "localhost:5005", "docker.io"];

#[test]
fn the_quickstart_runs_twice_and_cleans_up_after_itself() {
    let _turn = beside_others();
    let docker = Docker::default();
    for round in ["first", "second"] {
        let printed = finished(quickstart(&[]));
        for shown in SHOWN {
            assert!(printed.contains(shown), "{round} run shows {shown:?}: {printed}");
        }
    }
    let containers = docker.containers_labelled("ksail.dev/cluster=quickstart");
    assert_eq!(containers.len(), 3, "{containers:?}");

    finished(quickstart(&["clean"]));
    assert_eq!(left_on(&docker), Vec::<String>::new());
    assert!(docker.output(&["image", "inspect", "registry:3"]).status.success(), "it was there before");
}

#[test]
fn where_registry_3_cannot_be_pulled_the_quickstart_says_so_and_goes_on_with_one_it_builds() {
    let _turn = beside_others();
    // An engine without images or a way out.
    let engine = PrivateEngine::start(&[]);
    let docker = engine.docker();
    // Packages come from where the test runs: the engine's namespace has no way out.
    let programs = tempfile::tempdir().expect("a temporary directory");
    let apt = programs.path().join("apt-get");
    let outside = format!("--net=/proc/{}/ns/net", std::process::id());
    fs::write(&apt, format!("#!/bin/sh\nexec nsenter {outside} -- /usr/bin/apt-get \"$@\"\n")).expect("a script");
    fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).expect("one that can be run");
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").expect("a PATH"));
    let run = |args: &[&str]| {
        let script = quickstart(args);
        let mut command = Command::new("nsenter");
        command.args(&engine.within()[1..]).arg(script.get_program()).args(script.get_args());
        command.envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("DOCKER_HOST", docker.host().expect("an address")).env("PATH", &path).stdin(Stdio::null());
        finished(command)
    };

    let printed = run(&[]);
    for shown in SHOWN.into_iter().chain(["the engine says: Error", "built from Debian's packages"]) {
        assert!(printed.contains(shown), "it shows {shown:?}: {printed}");
    }
    let printed = run(&["clean"]);
    assert_eq!(left_on(&docker), Vec::<String>::new(), "{printed}");
    assert_eq!(docker.lines(&["images", "-q"]), Vec::<String>::new(), "{printed}");
}

/// What there is of the quickstart's that `clean` has to remove.
fn left_on(docker: &Docker) -> Vec<String> {
    let left = [
        docker.containers_labelled("ksail.dev/cluster=quickstart"),
        docker.volumes_labelled("ksail.dev/cluster=quickstart"),
        docker.lines(&["ps", "-aq", "--filter", "name=ksail-quickstart"]),
        docker.lines(&["images", "-q", "localhost:5005/quickstart/hello"]),
    ];
    left.concat()
}

fn quickstart(args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart/run");
    let mut command = Command::new(script);
    command.args(args).env("KSAIL", env!("CARGO_BIN_EXE_ksail")).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn finished(mut command: Command) -> String {
    let output = command.output().expect("the script runs");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}
