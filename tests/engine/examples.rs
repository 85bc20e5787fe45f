//! The examples do what they say.

use std::path::Path;
use std::process::{Command, Stdio};

use super::support::docker::Docker;
use super::turns::beside_one;

#[test]
fn the_quickstart_runs_twice_and_cleans_up_after_itself() {
    let _turn = beside_one();
    let docker = Docker::default();
    for round in ["first", "second"] {
        let printed = quickstart(&["--local-image"]);
        for shown in ["the same image came back", "library/hello-world@sha256:", "localhost:5005", "docker.io"] {
            assert!(printed.contains(shown), "{round} run shows {shown:?}: {printed}");
        }
    }
    let containers = docker.containers_labelled("ksail.dev/cluster=quickstart");
    assert_eq!(containers.len(), 3, "{containers:?}");

    quickstart(&["clean"]);
    let left = [
        docker.containers_labelled("ksail.dev/cluster=quickstart"),
        docker.volumes_labelled("ksail.dev/cluster=quickstart"),
        docker.lines(&["ps", "-aq", "--filter", "name=ksail-quickstart"]),
        docker.lines(&["images", "-q", "localhost:5005/quickstart/hello"]),
    ];
    assert_eq!(left.concat(), Vec::<String>::new());
}

fn quickstart(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart/run");
    let mut command = Command::new(script);
    command.args(args).env("KSAIL", env!("CARGO_BIN_EXE_ksail")).env("NO_COLOR", "1").stdin(Stdio::null());
    let output = command.output().expect("the script runs");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "run {}: {printed}", args.join(" "));
    printed
}
