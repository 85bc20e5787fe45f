//! The examples: each is checked, and what can run without a cluster is run.

use std::fs;
use std::process::Command;

use ksail::distribution::{Followed, follow, generate, routes};
use ksail::manifest::{Host, Outline};
use serde::Deserialize;
use serde_yaml::Value;

use crate::on_the_engine::{EXTERNAL, World, free_port};
use crate::ran::{Project, repository};

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_distribution_configs_are_what_ksail_generates_and_follow_their_manifests() {
    for (directory, config) in [("kind", "kind.yaml"), ("k3d", "k3d.yaml"), ("ci", "kind.yaml")] {
        let manifest = format!("examples/{directory}/ksail.yaml");
        let outline = Outline::parse(manifest.as_ref(), text(&manifest).as_bytes()).unwrap();
        assert_eq!(outline.distribution_config.as_deref(), Some(config.as_ref()));
        let mirrors: Vec<(Host, bool)> =
            outline.mirrors.iter().map(|mirror| (mirror.host.clone(), mirror.upstream.is_none())).collect();
        let routes = routes(&outline.name, &mirrors);
        let written = text(&format!("examples/{directory}/{config}"));
        assert_eq!(follow(outline.distribution, &routes, &written), Followed::Same, "{directory}");
        assert_eq!(written, generate(outline.distribution, &outline.name, &routes), "{directory}");
    }
}

#[test]
fn flux_is_told_the_name_by_which_pods_reach_the_registry_of_the_kind_example() {
    let manifest = repository("examples/kind/ksail.yaml");
    let manifest = ksail::manifest::load(&manifest, &|_| None).unwrap();
    let desired = ksail::desired::resolve(&manifest, &ksail::desired::ResolveContext::default());
    let push = desired.mirrors.values().find(|mirror| mirror.upstream.is_none()).unwrap();
    let name = format!("{}:5000/", push.name);
    let mut told = 0;
    for document in serde_yaml::Deserializer::from_str(&text("examples/flux/sources.yaml")) {
        let spec = Value::deserialize(document).unwrap()["spec"].clone();
        let place = spec["url"].as_str().and_then(|url| url.strip_prefix("oci://")).or(spec["image"].as_str());
        assert!(place.unwrap().starts_with(&name), "{place:?} is at {name}");
        assert_eq!(spec["insecure"].as_bool(), Some(true));
        told += 1;
    }
    assert_eq!(told, 2);
}

#[test]
fn the_workflow_is_yaml_and_calls_ksail_with_arguments_it_knows() {
    let workflow: Value = serde_yaml::from_str(&text("examples/ci/workflow.yaml")).unwrap();
    let steps = workflow["jobs"]["test"]["steps"].as_sequence().unwrap();
    let project = Project::new();
    let mut calls = 0;
    for call in steps.iter().filter_map(|step| step["run"].as_str()?.strip_prefix("ksail ")) {
        calls += 1;
        let words: Vec<_> = call.split_whitespace().collect();
        project.succeeds(&[&words[..], &["--help"]].concat());
    }
    assert_eq!(calls, 3);
}

#[test]
fn the_job_runs_a_command_with_the_registries_up_and_removes_them_again() {
    let world = World::new();
    let project = Project::new();
    for file in ["ksail.yaml", "kind.yaml", "job.sh"] {
        fs::copy(repository("examples/ci").join(file), project.path.join(file)).unwrap();
    }
    let manifest = project.read("ksail.yaml").replace("name: ci", &format!("name: {}", world.cluster));
    let manifest = manifest.replace("https://registry-1.docker.io", &world.upstream());
    let manifest = manifest.replace("port: 5001", &format!("port: {}", free_port()));
    project.write("ksail.yaml", &manifest.replace("localhost:5005", &format!("localhost:{}", free_port())));
    let program = project.path.join("bin");
    fs::create_dir(&program).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ksail"), program.join("ksail")).unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let count = format!("echo \"up: $(docker ps -q --filter label=ksail.dev/cluster={} | wc -l)\"", world.cluster);
    let mut job = Command::new("sh");
    let output =
        job.args(["job.sh", "sh", "-c", &count]).env("PATH", path).current_dir(&project.path).output().unwrap();
    let shown = project.shown(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\nup: 2\n"), "{shown}");
    assert_eq!(world.containers(), Vec::<String>::new(), "{shown}");
    assert_eq!(project.read("ksail.yaml"), manifest_of(&project), "the committed file stays as it is");
}

fn manifest_of(project: &Project) -> String {
    let text = project.read("ksail.yaml");
    assert!(!text.contains("state:"), "{text}");
    text
}

#[test]
fn the_program_that_embeds_the_library_brings_registries_up() {
    let world = World::new();
    let project = Project::new();
    let port = free_port();
    let local = format!("localhost:{port}");
    let init = ["cluster", "init", "--name", &world.cluster, "--local-registry", &local];
    project.succeeds(&[&init, &EXTERNAL[..]].concat());
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--example", "embed", "--"]).arg(project.path.join("ksail.yaml"));
    // What cargo tells this test about itself would make it build everything anew for the other cargo.
    let told = |name: &str| name.starts_with("CARGO") && !matches!(name, "CARGO_HOME" | "CARGO_TARGET_DIR");
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        cargo.env_remove(name);
    }
    let output = cargo.current_dir(repository("")).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("localhost:{port} is at 127.0.0.1:{port}\n"),
        "{}",
        project.shown(&output)
    );
    assert_eq!(world.containers().len(), 1);
}
