//! The tests' own instruments, checked where nothing of ksail takes part.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_yaml::Value;

use super::support::deadline::eventually;
use super::support::docker::Docker;
use super::support::http;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::private_engine::PrivateEngine;
use super::support::recorder::Recorder;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};

#[test]
fn the_recorder_writes_down_every_call_of_a_connection_and_can_be_shut() {
    let recorder = Recorder::start();
    let docker = Docker::at(recorder.address());
    docker.run(&["volume", "ls"]);
    assert!(recorder.calls().iter().any(|call| call.is_read() && call.path.ends_with("/volumes")));
    let name = format!("{}-recorded", super::support::sweep::prefix());
    docker.run(&["volume", "create", "--label", &super::support::sweep::label(), &name]);
    docker.run(&["volume", "rm", &name]);
    let written: Vec<String> =
        recorder.calls().iter().filter(|call| !call.is_read()).map(|call| call.method.clone()).collect();
    assert_eq!(written, ["POST", "DELETE"]);
    recorder.shut();
    assert!(!docker.output(&["volume", "ls"]).status.success(), "nobody answers while it is shut");
    recorder.open();
    docker.run(&["volume", "ls"]);
}

#[test]
fn an_upstream_has_what_was_pushed_and_is_gone_once_stopped() {
    let docker = Docker::default();
    let upstream = Upstream::start(&docker, "instrument");
    let image = Image::containing("instrument");
    upstream.push(&image, "team/tool", "1.0");
    image.fetch(upstream.port, "team/tool", "1.0").expect("what was pushed");
    Image::containing("another").fetch(upstream.port, "team/tool", "1.0").expect_err("not what was not");
    upstream.stop();
    assert!(!http::serves(upstream.port));
}

#[test]
fn a_scenario_leaves_nothing_behind() {
    let docker = Docker::default();
    let (name, network) = {
        let scenario = Scenario::new("instrument-gone");
        scenario.create_network();
        let mirror = Mirror::push(free_port());
        let name = scenario.container_name(&mirror);
        let label = format!("ksail.dev/cluster={}", scenario.cluster);
        docker.run(&["volume", "create", "--label", &label, &name]);
        docker.run(&["create", "--pull", "never", "--name", &name, "--label", &label, "registry:3"]);
        (name, scenario.network.clone())
    };
    assert!(docker.container(&name).is_none());
    eventually("volume and network are gone", Duration::from_secs(2), || {
        let left = ["volume", "network"].into_iter().find(|kind| {
            let listed = docker.lines(&[kind, "ls", "--format", "{{.Name}}"]);
            listed.contains(&name) || listed.contains(&network)
        });
        left.map_or(Ok(()), |kind| Err(format!("a {kind} is left")))
    });
}

#[test]
fn a_private_engine_has_the_images_and_comes_back_with_its_containers() {
    let mut engine = PrivateEngine::start(&["registry:3"]);
    let docker = engine.docker();
    let mut scenario = Scenario::on(docker.clone(), "instrument-engine");
    scenario.within = engine.within();
    let mirror = Mirror::push(free_port());
    let publish = format!("127.0.0.1:{}:5000", mirror.host_port());
    let always =
        ["run", "-d", "--pull", "never", "--restart", "always", "--name", "private", "-p", &publish, "registry:3"];
    docker.run(&always);
    let answers = || if scenario.serves(&mirror) { Ok(()) } else { Err("no answer".to_owned()) };
    eventually("it serves in its namespace", Duration::from_secs(10), answers);
    assert!(!http::serves(mirror.host_port()), "and not in ours");
    assert!(Docker::default().container("private").is_none(), "the machine's engine knows nothing of it");
    engine.down();
    assert!(!docker.output(&["version"]).status.success());
    engine.up();
    eventually("it serves again", Duration::from_secs(20), answers);
}

#[test]
fn the_registry_image_is_laid_out_like_the_official_one_and_the_bare_one_has_nothing_of_that() {
    let yaml = |text: &str| -> Value { serde_yaml::from_str(text).expect("it is YAML") };
    let settings = |files: &BTreeMap<String, String>| -> [Value; 3] {
        let config = yaml(&files["etc/distribution/config.yml"]);
        let [log, delete, debug] = [&config["log"]["level"], &config["storage"]["delete"], &config["http"]["debug"]];
        [log.clone(), delete["enabled"].clone(), debug["addr"].clone()]
    };
    let programs = |files: &BTreeMap<String, String>| {
        ["/sh", "/wget"].map(|program| files.keys().any(|path| path.ends_with(program)))
    };
    let (entrypoint, official) = layout("registry:3");
    assert_eq!(entrypoint, r#"["/entrypoint.sh"]"#);
    assert!(official["entrypoint.sh"].starts_with("#!/bin/sh\n"), "{}", official["entrypoint.sh"]);
    assert_eq!(programs(&official), [true, true]);
    assert_eq!(settings(&official), ["debug", "true", ":5001"].map(yaml));

    let (entrypoint, bare) = layout("ksail-test/registry:bare");
    assert_eq!(entrypoint, r#"["registry"]"#);
    assert!(!bare.contains_key("entrypoint.sh"));
    assert_eq!(programs(&bare), [false, false]);
    assert_eq!(settings(&bare), ["", "", ""].map(yaml));
}

/// An image's entrypoint, and its files with the text in them.
fn layout(image: &str) -> (String, BTreeMap<String, String>) {
    let docker = Docker::default();
    let entrypoint = docker.run(&["image", "inspect", "--format", "{{json .Config.Entrypoint}}", image]);
    let container = docker.line(&format!("create --pull never --label {} {image}", super::support::sweep::label()));
    let exported = docker.output(&["export", &container]).stdout;
    docker.run(&["rm", "-v", &container]);
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&exported[..]).entries().expect("an archive") {
        let mut entry = entry.expect("a file in it");
        let (path, mut bytes) = (entry.path().expect("its path").display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).expect("what is in it");
        files.insert(path, String::from_utf8_lossy(&bytes).into_owned());
    }
    (entrypoint, files)
}

#[test]
fn set_up_without_an_engine_fails_and_says_why() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup");
    let output = Command::new(script).env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no engine answers at DOCKER_HOST=unix:///nonexistent/docker.sock"), "{said}");
}

#[test]
fn set_up_with_a_cargo_that_is_too_old_fails_and_says_which_rust_it_takes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cargo = directory.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\necho 'cargo 1.9.0 (0123456 2016-05-26)'\n").expect("a cargo of its own");
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("one that can be run");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("a PATH"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup");
    let output = Command::new(script).env("PATH", path).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let needed = concat!("ksail needs Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer");
    assert!(said.contains(needed) && said.contains("is 1.9.0"), "{said}");
}
