//! `ksail cluster init`

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_yaml::Value;

use crate::ran::{self, Project};

const INIT: [&str; 2] = ["cluster", "init"];

fn init(project: &Project, arguments: &[&str]) -> String {
    project.ksail(&[&INIT, arguments].concat())
}

/// Ports that happen to be free are not the same on every machine.
fn without_ports(text: &str) -> String {
    let line = |line: &str| match line.split_once("port: ").or_else(|| line.split_once("127.0.0.1:")) {
        Some((before, _)) => format!("{before}[PORT]"),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn ports(project: &Project) -> Vec<u64> {
    let manifest: Value = serde_yaml::from_str(&project.read("ksail.yaml")).unwrap();
    let mirrors = manifest["spec"]["registries"]["mirrors"].as_sequence().unwrap();
    mirrors.iter().filter_map(|mirror| mirror["port"].as_u64()).collect()
}

#[test]
fn writes_a_manifest_that_says_what_was_asked_for_and_no_more() {
    let project = Project::called("My Shop");
    let ran = init(
        &project,
        &[
            "--mirror-registry",
            "docker.io",
            "--mirror-registry",
            "ghcr.io=https://ghcr.example",
            "--local-registry",
            "localhost:5999",
        ],
    );
    assert_snapshot!(without_ports(&ran), @r"
    exit: 0
    --- stdout
    wrote ksail.yaml
    wrote ksail.schema.json
    wrote kind.yaml
      docker.io from https://registry-1.docker.io, at [PORT]
      ghcr.io from https://ghcr.example, at [PORT]
      localhost:5999 to push to
    Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so.
    --- stderr
    ");
    assert_snapshot!(without_ports(&project.read("ksail.yaml")), @r"
    # yaml-language-server: $schema=./ksail.schema.json
    # The registries beside the cluster my-shop. 'ksail watch' keeps them the way this file says.
    apiVersion: ksail.dev/v1alpha1
    kind: Cluster
    metadata:
      name: my-shop
    spec:
      distribution: Kind
      distributionConfig: kind.yaml
      registries:
        mirrors:
          # Pull-through caches: what images are called, where they come from, the port here.
          - host: docker.io
            upstream: https://registry-1.docker.io
            [PORT]
          - host: ghcr.io
            upstream: https://ghcr.example
            [PORT]
          # To push to: docker push localhost:5999/NAME:TAG
          - host: localhost:5999
    ");
    assert_snapshot!(project.read("kind.yaml"), @r#"
    # The cluster itself; https://kind.sigs.k8s.io/docs/user/configuration/ has all there is to set.
    kind: Cluster
    apiVersion: kind.x-k8s.io/v1alpha4
    name: my-shop
    containerdConfigPatches:
      # BEGIN ksail: these lines follow ksail.yaml; delete the two comments to take them over
      - |-
        [plugins."io.containerd.grpc.v1.cri".registry]
          config_path = "/etc/containerd/certs.d"
      # END ksail
    "#);
    assert_snapshot!(project.ksail(&["validate"]), @r"
    exit: 0
    --- stdout
    ksail.yaml: cluster my-shop, 3 mirrors: valid
    --- stderr
    ");
}

#[test]
fn for_k3d_writes_the_registries_that_k3s_reads() {
    let project = Project::new();
    project.succeeds(&[
        "cluster",
        "init",
        "--distribution",
        "k3d",
        "--mirror-registry",
        "docker.io",
        "--local-registry",
        "localhost:5999",
    ]);
    assert_eq!(project.names(), ["k3d.yaml", "ksail.schema.json", "ksail.yaml"]);
    assert_snapshot!(project.read("k3d.yaml"), @r#"
    # The cluster itself; https://k3d.io/stable/usage/configfile/ has all there is to set.
    apiVersion: k3d.io/v1alpha5
    kind: Simple
    metadata:
      name: project
    registries:
      config: |
        mirrors:
          # BEGIN ksail: these lines follow ksail.yaml; delete the two comments to take them over
          "docker.io":
            endpoint: ["http://ksail-project-docker-io:5000"]
          "localhost:5999":
            endpoint: ["http://ksail-project-localhost-5999:5000"]
          "127.0.0.1:5999":
            endpoint: ["http://ksail-project-localhost-5999:5000"]
          "ksail-project-localhost-5999:5000":
            endpoint: ["http://ksail-project-localhost-5999:5000"]
          # END ksail
    "#);
}

#[test]
fn every_flag_is_in_the_file_and_the_file_is_valid() {
    let project = Project::new();
    let flags = "--name shop --lifecycle External --image registry:2 --volume-policy Delete --kubeconfig ~/.kube/config \
                 --context kind-shop --connection-timeout 90s --distribution-config clusters.yaml";
    project.succeeds(&[&INIT[..], &flags.split_whitespace().collect::<Vec<_>>()].concat());
    assert_snapshot!(project.read("ksail.yaml"), @r"
    # yaml-language-server: $schema=./ksail.schema.json
    # The registries beside the cluster shop. 'ksail watch' keeps them the way this file says.
    apiVersion: ksail.dev/v1alpha1
    kind: Cluster
    metadata:
      name: shop
    spec:
      distribution: Kind
      distributionConfig: clusters.yaml
      lifecycle: External
      connection:
        kubeconfig: ~/.kube/config
        context: kind-shop
        timeout: 90s
      registries:
        image: registry:2
        volumePolicy: Delete
        # None yet: 'ksail mirror add docker.io' adds one.
        mirrors: []
    ");
    assert!(project.names().contains(&"clusters.yaml".to_owned()));
    project.succeeds(&["validate"]);
}

#[test]
fn values_that_yaml_would_take_for_something_else_are_quoted() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--context", "no # comment: here", "--kubeconfig", "C:\\kube\\config"]);
    let manifest: Value = serde_yaml::from_str(&project.read("ksail.yaml")).unwrap();
    assert_eq!(manifest["spec"]["connection"]["context"], "no # comment: here");
    assert_eq!(manifest["spec"]["connection"]["kubeconfig"], "C:\\kube\\config");
}

#[test]
fn the_second_time_nothing_changes() {
    let project = Project::new();
    let flags = ["--mirror-registry", "docker.io", "--local-registry", "localhost:5999"];
    init(&project, &flags);
    let before = project.files();
    assert_snapshot!(init(&project, &flags), @r"
    exit: 0
    --- stdout
    unchanged ksail.yaml
    unchanged ksail.schema.json
    unchanged kind.yaml
    Nothing to change.
    --- stderr
    ");
    assert_eq!(project.files(), before);
}

/// Listens on a port that another test may be probing just now.
fn hold(port: u16) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
    }
}

#[test]
fn ports_are_given_from_5001_up_and_those_in_use_or_listed_are_skipped() {
    let _alone = ran::ports();
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--mirror-registry", "docker.io"]);
    let first = ports(&project)[0];
    assert!(first >= 5001);
    let held = hold(u16::try_from(first).unwrap());
    let other = Project::new();
    let listed = format!("localhost:{}", first + 1);
    other.succeeds(&[
        "cluster",
        "init",
        "--mirror-registry",
        "docker.io",
        "--mirror-registry",
        "ghcr.io",
        "--local-registry",
        &listed,
    ]);
    let given = ports(&other);
    // Not necessarily above `first`: another test may have had a lower port for a moment.
    let taken = [first, first + 1];
    assert!(given.iter().take(2).all(|port| *port >= 5001 && !taken.contains(port)), "{first}, then {given:?}");
    assert_ne!(given[0], given[1]);
    drop(held);
}

#[test]
fn replaces_only_with_force_and_then_keeps_the_ports_of_mirrors_that_stay() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--mirror-registry", "docker.io"]);
    let edited = project.read("ksail.yaml").replace("port: ", "port: 4");
    project.write("ksail.yaml", &edited);
    let before = project.files();
    assert_snapshot!(init(&project, &["--mirror-registry", "ghcr.io", "--mirror-registry", "docker.io"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml is there already and says something else
    'ksail mirror add' changes it, '--force' replaces it, '--output DIR' writes elsewhere
    ");
    assert_eq!(project.files(), before, "a refusal leaves everything as it was");
    let ran = init(&project, &["--mirror-registry", "ghcr.io", "--mirror-registry", "docker.io", "--force"]);
    assert_snapshot!(without_ports(&ran), @r"
    exit: 0
    --- stdout
    replaced ksail.yaml
    unchanged ksail.schema.json
    unchanged kind.yaml
      ghcr.io from https://ghcr.io, at [PORT]
      docker.io from https://registry-1.docker.io, at [PORT]
    Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so.
    --- stderr
    ");
    assert!(ports(&project)[1] > 40_000);
}

#[test]
fn a_configuration_of_the_users_own_is_left_alone_with_a_hint() {
    let project = Project::new();
    project.write("k3d.yaml", "apiVersion: k3d.io/v1alpha5\nkind: Simple\n");
    let ran = init(&project, &["--distribution", "K3d", "--mirror-registry", "docker.io"]);
    assert_snapshot!(without_ports(&ran), @r#"
    exit: 0
    --- stdout
    wrote ksail.yaml
    wrote ksail.schema.json
    unchanged k3d.yaml
      docker.io from https://registry-1.docker.io, at [PORT]
    Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so.
    --- stderr
    note: k3d.yaml was left alone: it has no lines between '# BEGIN ksail' and '# END ksail'; below 'mirrors:' in 'registries.config' it should say
    "docker.io":
      endpoint: ["http://ksail-project-docker-io:5000"]
    "#);
    assert_eq!(project.read("k3d.yaml"), "apiVersion: k3d.io/v1alpha5\nkind: Simple\n");
}

#[test]
fn writes_into_another_directory_named_after_it() {
    let project = Project::new();
    assert_snapshot!(init(&project, &["--output", "envs/Staging_2"]), @r"
    exit: 0
    --- stdout
    wrote envs/Staging_2/ksail.yaml
    wrote envs/Staging_2/ksail.schema.json
    wrote envs/Staging_2/kind.yaml
    Next: 'ksail mirror add docker.io' adds a mirror.
    --- stderr
    ");
    assert!(project.read("envs/Staging_2/ksail.yaml").contains("\n  name: staging-2\n"));
}

#[test]
fn a_link_stays_a_link_and_permissions_stay_when_a_file_is_replaced() {
    let project = Project::new();
    project.write("real.yaml", "old");
    fs::set_permissions(project.path.join("real.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real.yaml", project.path.join("ksail.yaml")).unwrap();
    project.succeeds(&["cluster", "init", "--force"]);
    assert!(fs::symlink_metadata(project.path.join("ksail.yaml")).unwrap().is_symlink());
    assert!(project.read("real.yaml").starts_with("# yaml-language-server"));
    let mode = |name: &str| fs::metadata(project.path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("real.yaml"), 0o600);
    assert_eq!(mode("kind.yaml") & 0o133, 0, "readable, never writable by others");
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let project = Project::new();
    let refused = |arguments: &[&str]| {
        let ran = init(&project, arguments);
        assert!(ran.starts_with("exit: 2\n"), "{ran}");
        assert_eq!(project.names(), Vec::<String>::new(), "{ran}");
        ran.split_once("--- stderr\n").unwrap().1.to_owned()
    };
    assert_snapshot!(refused(&["--mirror-registry", "docker.io=registry-1.docker.io"]), @r"
    error: invalid value 'docker.io=registry-1.docker.io' for '--mirror-registry <HOST[=UPSTREAM]>': the upstream has no scheme; write 'https://registry-1.docker.io'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--mirror-registry", "https://docker.io"]), @r"
    error: invalid value 'https://docker.io' for '--mirror-registry <HOST[=UPSTREAM]>': a host has no scheme; write 'docker.io'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--mirror-registry", "localhost:5000"]), @r"
    error: invalid value 'localhost:5000' for '--mirror-registry <HOST[=UPSTREAM]>': 'localhost:5000' is a registry to push to; write --local-registry localhost:5000

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--local-registry", "5000"]), @r"
    error: invalid value '5000' for '--local-registry <HOST:PORT>': expected HOST:PORT; write localhost:5000

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--local-registry", "127.0.0.1:5000"]), @r"
    error: invalid value '127.0.0.1:5000' for '--local-registry <HOST:PORT>': a registry to push to has a name; write localhost:5000

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--mirror-registry", "docker.io", "--mirror-registry", "docker.io=https://a.example"]), @"error: docker.io is given twice; remove one --mirror-registry docker.io");
    assert_snapshot!(refused(&["--mirror-registry", "docker.io=http://localhost:5000"]), @r"
    error: inside the mirror's container this is the container itself
      --> ksail.yaml:14:19
       |
    14 |         upstream: http://localhost:5000
       |                   ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write a name or an address that containers reach, such as host.docker.internal
    with these flags ksail.yaml would be wrong; nothing was written
    ");
    assert_snapshot!(refused(&["--mirror-registry", "docker.io=${KSAIL_NOT_SET}"]), @r"
    error: the variable KSAIL_NOT_SET is not set
      --> ksail.yaml:14:19
       |
    14 |         upstream: ${KSAIL_NOT_SET}
       |                   ^^^^^^^^^^^^^^^^
       |
       = help: set it, as in 'export KSAIL_NOT_SET=…', or write ${KSAIL_NOT_SET:-default}
    with these flags ksail.yaml would be wrong; nothing was written
    ");
    assert_snapshot!(refused(&["--name", "My Shop"]), @r"
    error: invalid value 'My Shop' for '--name <NAME>': 'M' is not allowed in a name (a-z, 0-9 and - are); write 'my-shop'

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--distribution", "minikube"]), @r"
    error: invalid value 'minikube' for '--distribution <DISTRIBUTION>'
      [possible values: Kind, K3d]

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--connection-timeout", "5"]), @r"
    error: invalid value '5' for '--connection-timeout <DURATION>': '5' is not a duration; write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["--mirror", "docker.io"]), @r"
    error: unexpected argument '--mirror' found

      tip: a similar argument exists: '--mirror-registry'

    Usage: ksail cluster init --mirror-registry <HOST[=UPSTREAM]>

    For more information, try '--help'.
    ");
}

#[test]
fn a_directory_in_the_way_is_refused() {
    let project = Project::new();
    fs::create_dir(project.path.join("ksail.yaml")).unwrap();
    assert_snapshot!(init(&project, &["--force"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml cannot be written: Is a directory (os error 21); nothing was changed
    ");
    fs::create_dir(project.path.join("sub")).unwrap();
    project.write("file", "");
    assert_snapshot!(init(&project, &["--output", "file/sub"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: file/sub cannot be written: Not a directory (os error 20); nothing was changed
    ");
}

/// Whoever opens a pipe waits for somebody at its other end.
#[cfg(unix)]
#[test]
fn a_pipe_in_the_way_is_refused_and_not_waited_for() {
    for name in ["ksail.yaml", "kind.yaml"] {
        let project = Project::new();
        let made = std::process::Command::new("mkfifo").arg(project.path.join(name)).status().unwrap();
        assert!(made.success());
        let said = init(&project, &["--force"]);
        assert!(said.starts_with("exit: 2\n"), "{said}");
        assert!(
            said.contains(&format!("error: {name} cannot be written: it is not a file; nothing was changed")),
            "{said}"
        );
        assert_eq!(fs::read_dir(&project.path).unwrap().count(), 1);
    }
}

/// Runs a script as root of a mount namespace of its own, where a small or a read-only disk can be had.
fn on_a_disk(project: &Project, options: &str, script: &str) -> String {
    let mount = format!("mount -t tmpfs -o {options} none \"$PWD\" && cd \"$PWD\" && {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &mount]).current_dir(&project.path);
    command.env("KSAIL", env!("CARGO_BIN_EXE_ksail"));
    project.shown(&command.output().unwrap())
}

#[test]
fn a_full_disk_exits_1_and_leaves_nothing_behind() {
    let ran = on_a_disk(&Project::new(), "size=4k", "\"$KSAIL\" cluster init || { echo \"ended with $?\"; ls -A; }");
    assert_snapshot!(ran, @r"
    exit: 0
    --- stdout
    ended with 1
    --- stderr
    error: ksail.schema.json cannot be written: the disk is full; make room and try again; nothing was changed
    ");
}

#[test]
fn a_directory_that_cannot_be_written_to_exits_2() {
    let ran = on_a_disk(&Project::new(), "ro", "\"$KSAIL\" cluster init || { echo \"ended with $?\"; ls -A; }");
    assert_snapshot!(ran, @r"
    exit: 0
    --- stdout
    ended with 2
    --- stderr
    error: kind.yaml cannot be written: the file system is read-only; nothing was changed
    ");
}

/// The manifest is mounted over itself, read-only, which shows when it is its turn to be replaced and not before.
#[test]
fn when_one_file_cannot_be_replaced_those_before_it_get_back_what_they_held() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--name", "first"]);
    fs::remove_file(project.path.join("ksail.schema.json")).unwrap();
    let before = project.files();
    let script = "mount --bind ksail.yaml ksail.yaml; mount -o remount,ro,bind ksail.yaml; \"$KSAIL\" cluster init --name second --force";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).current_dir(&project.path);
    let output = command.env("KSAIL", env!("CARGO_BIN_EXE_ksail")).output().unwrap();
    assert_snapshot!(project.shown(&output), @r"
    exit: 2
    --- stdout
    --- stderr
    error: ksail.yaml cannot be written: the file system is read-only; nothing was changed
    ");
    assert_eq!(project.files(), before);
}

#[test]
fn directories_that_were_made_go_again_when_nothing_is_written_into_them() {
    let project = Project::new();
    assert!(
        init(&project, &["--output", "a/b/c", "--mirror-registry", "docker.io=${KSAIL_NOT_SET}"])
            .starts_with("exit: 2")
    );
    assert_eq!(fs::read_dir(&project.path).unwrap().count(), 0);
}

/// The files that a process has open, by name.
fn open_files(child: &std::process::Child) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten();
    entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}

#[test]
fn waits_for_an_edit_under_way_and_sees_what_that_has_written() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--mirror-registry", "docker.io"]);
    let lock = fs::File::open(&project.path).unwrap();
    lock.lock().unwrap();
    let mut command = project.command(&["cluster", "init", "--mirror-registry", "docker.io", "--force"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !open_files(&child).contains(&project.path) {
        assert!(child.try_wait().unwrap().is_none(), "it ended without asking for the lock");
        assert!(Instant::now() < deadline, "it does not ask for the lock");
        std::thread::sleep(Duration::from_millis(1));
    }
    let edited = project.read("ksail.yaml").replace("port: ", "port: 4");
    project.write("ksail.yaml", &edited);
    lock.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(ports(&project)[0] > 40_000, "it has read the file before it had the lock");
}

const KIND: &str = r#"kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: shop
nodes: [{role: control-plane}]
containerdConfigPatches:
  - |-
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
      endpoint = ["http://docker-io:5000", "https://registry-1.docker.io"]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."localhost:5999"]
      endpoint = ["http://kind-registry:5000"]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."kind-registry:5000"]
      endpoint = ["http://kind-registry:5000"]
"#;

#[test]
fn beside_a_kind_yaml_its_name_and_registries_are_taken_over_and_it_is_left_as_it_is() {
    let project = Project::new();
    project.write("kind.yaml", KIND);
    assert_snapshot!(without_ports(&init(&project, &[])), @r#"
    exit: 0
    --- stdout
    wrote ksail.yaml
    wrote ksail.schema.json
    unchanged kind.yaml
      docker.io from https://registry-1.docker.io, at [PORT]
      localhost:5999 to push to
    Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so.
    --- stderr
    note: kind.yaml was left alone: it has no lines between '# BEGIN ksail' and '# END ksail'; below 'containerdConfigPatches:' it should say
    - |-
      [plugins."io.containerd.grpc.v1.cri".registry]
        config_path = "/etc/containerd/certs.d"
    note: the name shop, docker.io, localhost:5999 come from kind.yaml, unless a flag says otherwise
    note: kind.yaml lists "kind-registry:5000" as well, which no mirror can stand for
    note: kind.yaml sets registry.mirrors, which containerd does not take beside the config_path that ksail needs: remove those lines, ksail.yaml has them now
    "#);
    assert_snapshot!(without_ports(&project.read("ksail.yaml")), @r"
    # yaml-language-server: $schema=./ksail.schema.json
    # The registries beside the cluster shop. 'ksail watch' keeps them the way this file says.
    apiVersion: ksail.dev/v1alpha1
    kind: Cluster
    metadata:
      name: shop
    spec:
      distribution: Kind
      distributionConfig: kind.yaml
      registries:
        mirrors:
          # Pull-through caches: what images are called, where they come from, the port here.
          - host: docker.io
            upstream: https://registry-1.docker.io
            [PORT]
          # To push to: docker push localhost:5999/NAME:TAG
          - host: localhost:5999
    ");
    assert_eq!(project.read("kind.yaml"), KIND);
    project.succeeds(&["validate"]);
    assert!(init(&project, &[]).contains("Nothing to change."));
    let flags = ["--name", "other", "--mirror-registry", "docker.io=https://mirror.example"];
    let other = Project::new();
    other.write("kind.yaml", KIND);
    init(&other, &flags);
    let manifest = other.read("ksail.yaml");
    assert!(manifest.contains("  name: other\n"), "{manifest}");
    assert!(manifest.contains("upstream: https://mirror.example\n") && manifest.contains("- host: localhost:5999\n"));
    assert_eq!(manifest.matches("- host:").count(), 2, "{manifest}");
}

#[test]
fn beside_a_k3d_yaml_alone_it_is_for_k3d_with_its_name_registries_and_network() {
    let project = Project::new();
    let config = "apiVersion: k3d.io/v1alpha5\nkind: Simple\nmetadata:\n  name: shop\nnetwork: corp\nregistries:\n  config: |\n    mirrors:\n      ghcr.io:\n        endpoint: [https://ghcr.io]\n";
    project.write("k3d.yaml", config);
    assert_snapshot!(without_ports(&init(&project, &[])), @r#"
    exit: 0
    --- stdout
    wrote ksail.yaml
    wrote ksail.schema.json
    unchanged k3d.yaml
      ghcr.io from https://ghcr.io, at [PORT]
    Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so.
    --- stderr
    note: k3d.yaml was left alone: it has no lines between '# BEGIN ksail' and '# END ksail'; below 'mirrors:' in 'registries.config' it should say
    "ghcr.io":
      endpoint: ["http://ksail-shop-ghcr-io:5000"]
    note: the name shop, ghcr.io come from k3d.yaml, unless a flag says otherwise
    note: k3d.yaml joins the cluster to the network "corp": the registries join it when its nodes are there
    "#);
    let manifest = project.read("ksail.yaml");
    assert!(
        manifest.contains("  name: shop\nspec:\n  distribution: K3d\n  distributionConfig: k3d.yaml\n"),
        "{manifest}"
    );
    assert_eq!(project.read("k3d.yaml"), config);
    assert_eq!(project.names(), ["k3d.yaml", "ksail.schema.json", "ksail.yaml"]);
}

#[test]
fn a_manifest_that_is_replaced_begins_without_what_the_configuration_lists() {
    let project = Project::new();
    project.write("kind.yaml", KIND);
    project.write("ksail.yaml", "");
    project.succeeds(&["cluster", "init", "--force"]);
    assert!(project.read("ksail.yaml").contains("  name: shop\n"));
    assert!(project.read("ksail.yaml").contains("mirrors: []"));
    assert!(!project.read("kind.yaml").contains("nodes:"), "it is replaced, as was asked for");
}

#[test]
fn a_name_that_no_manifest_can_have_is_refused_with_the_flag_that_gives_another() {
    let project = Project::new();
    project.write("kind.yaml", &KIND.replace("name: shop", "name: my.shop"));
    assert_snapshot!(init(&project, &[]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: kind.yaml calls the cluster "my.shop", and '.' is not allowed in a name (a-z, 0-9 and - are)
    name it with --name, which kind and k3d go by as well
    "#);
    assert_eq!(project.names(), ["kind.yaml"]);
    project.succeeds(&["cluster", "init", "--name", "my-shop"]);
}
