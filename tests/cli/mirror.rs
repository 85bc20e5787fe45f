//! `ksail mirror …`

use insta::assert_snapshot;

use crate::ran::Project;

const MANIFEST: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: dev
spec:
  distribution: K3d
  distributionConfig: k3d.yaml
  registries:
    mirrors:
      # Rate limits.
      - host: docker.io   # the big one
        upstream: https://registry-1.docker.io
        port: 41001

      # To push to.
      - host: localhost:41000
";

/// A project whose k3d.yaml follows its manifest.
fn project() -> Project {
    let project = Project::with(MANIFEST);
    project.write(
        "k3d.yaml",
        "registries:\n  config: |\n    mirrors:\n      # BEGIN ksail\n      # END ksail\nagents: 1\n",
    );
    project.succeeds(&["mirror", "add", "docker.io"]);
    project
}

#[test]
fn add_appends_an_entry_and_k3d_yaml_follows() {
    let project = project();
    assert_snapshot!(project.ksail(&["mirror", "add", "ghcr.io", "--port", "41002"]), @r"
    exit: 0
    --- stdout
    ksail.yaml: ghcr.io added
    k3d.yaml: follows ksail.yaml
    --- stderr
    ");
    assert_eq!(
        project.read("ksail.yaml"),
        format!("{MANIFEST}\n      - host: ghcr.io\n        upstream: https://ghcr.io\n        port: 41002\n")
    );
    assert_snapshot!(project.read("k3d.yaml"), @r#"
    registries:
      config: |
        mirrors:
          # BEGIN ksail
          "docker.io":
            endpoint: ["http://ksail-dev-docker-io:5000"]
          "localhost:41000":
            endpoint: ["http://ksail-dev-localhost-41000:5000"]
          "127.0.0.1:41000":
            endpoint: ["http://ksail-dev-localhost-41000:5000"]
          "ksail-dev-localhost-41000:5000":
            endpoint: ["http://ksail-dev-localhost-41000:5000"]
          "ghcr.io":
            endpoint: ["http://ksail-dev-ghcr-io:5000"]
          # END ksail
    agents: 1
    "#);
}

#[test]
fn the_same_again_changes_nothing_and_something_else_is_refused() {
    let project = project();
    let before = project.files();
    assert_snapshot!(project.ksail(&["mirror", "add", "docker.io"]), @r"
    exit: 0
    --- stdout
    ksail.yaml: nothing to change
    --- stderr
    ");
    assert_snapshot!(project.ksail(&["mirror", "add", "docker.io=https://mirror.example"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: there is a mirror of docker.io already; change it with 'ksail mirror set docker.io'
    ");
    assert_snapshot!(project.ksail(&["mirror", "set", "docker.io", "--port", "41001"]), @r"
    exit: 0
    --- stdout
    ksail.yaml: nothing to change
    --- stderr
    ");
    assert_eq!(project.files(), before);
}

#[test]
fn add_and_remove_give_back_the_same_bytes() {
    let project = project();
    let before = project.files();
    project.succeeds(&["mirror", "add", "quay.io", "--ttl", "168h", "--fallback", "false"]);
    project.succeeds(&["mirror", "add", "localhost:41005"]);
    assert_ne!(project.files(), before);
    project.succeeds(&["mirror", "remove", "quay.io", "localhost:41005"]);
    assert_eq!(project.files(), before);
}

#[test]
fn every_field_has_a_flag() {
    let project = project();
    project.succeeds(&[
        "mirror",
        "add",
        "quay.io=https://quay.example:8443",
        "--port",
        "41003",
        "--listen-address",
        "0.0.0.0",
        "--fallback",
        "false",
        "--ttl",
        "168h",
        "--username",
        "${HUB_USER}",
        "--password",
        "${HUB_TOKEN}",
    ]);
    assert_snapshot!(project.read("ksail.yaml").strip_prefix(MANIFEST).unwrap(), @r"

    - host: quay.io
      upstream: https://quay.example:8443
      port: 41003
      listenAddress: 0.0.0.0
      fallback: false
      ttl: 168h
      credentials:
        username: ${HUB_USER}
        password: ${HUB_TOKEN}
    ");
    project.succeeds(&[
        "mirror",
        "set",
        "quay.io",
        "--upstream",
        "https://quay.io",
        "--port",
        "41004",
        "--unset",
        "credentials",
        "--unset",
        "ttl",
    ]);
    assert_snapshot!(project.read("ksail.yaml").strip_prefix(MANIFEST).unwrap(), @r"

    - host: quay.io
      upstream: https://quay.io
      port: 41004
      listenAddress: 0.0.0.0
      fallback: false
    ");
}

#[test]
fn a_dry_run_prints_what_would_change_in_both_files_and_changes_neither() {
    let project = project();
    let before = project.files();
    assert_snapshot!(project.ksail(&["mirror", "remove", "docker.io", "--dry-run"]), @r#"
    exit: 0
    --- stdout
    --- ksail.yaml
    +++ ksail.yaml
    @@ -7,10 +7,6 @@
       distributionConfig: k3d.yaml
       registries:
         mirrors:
    -      # Rate limits.
    -      - host: docker.io   # the big one
    -        upstream: https://registry-1.docker.io
    -        port: 41001
     
           # To push to.
           - host: localhost:41000
    --- k3d.yaml
    +++ k3d.yaml
    @@ -2,8 +2,6 @@
       config: |
         mirrors:
           # BEGIN ksail
    -      "docker.io":
    -        endpoint: ["http://ksail-dev-docker-io:5000"]
           "localhost:41000":
             endpoint: ["http://ksail-dev-localhost-41000:5000"]
           "127.0.0.1:41000":
    --- stderr
    "#);
    assert_snapshot!(project.ksail(&["mirror", "set", "docker.io", "--port", "41009", "--dry-run"]), @r"
    exit: 0
    --- stdout
    --- ksail.yaml
    +++ ksail.yaml
    @@ -10,7 +10,7 @@
           # Rate limits.
           - host: docker.io   # the big one
             upstream: https://registry-1.docker.io
    -        port: 41001
    +        port: 41009
     
           # To push to.
           - host: localhost:41000
    --- stderr
    ");
    assert_snapshot!(project.ksail(&["mirror", "add", "docker.io", "--dry-run"]), @r"
    exit: 0
    --- stdout
    --- stderr
    ");
    assert_eq!(project.files(), before);
}

#[test]
fn list_prints_the_list_as_it_is_written() {
    let project = project();
    project.succeeds(&[
        "mirror",
        "add",
        "ghcr.io=${HUB:-https://ghcr.io}",
        "--port",
        "41002",
        "--username",
        "${U}",
        "--password",
        "${P}",
    ]);
    assert_snapshot!(project.ksail(&["mirror", "list"]), @r"
    exit: 0
    --- stdout
    HOST             ROLE    PORT   UPSTREAM
    docker.io        mirror  41001  https://registry-1.docker.io
    localhost:41000  push    41000  -
    ghcr.io          mirror  41002  ${HUB:-https://ghcr.io}
    --- stderr
    ");
    assert_snapshot!(project.ksail(&["mirror", "list", "-o", "json"]), @r#"
    exit: 0
    --- stdout
    [
      {
        "credentials": false,
        "fallback": true,
        "host": "docker.io",
        "listenAddress": "127.0.0.1",
        "port": 41001,
        "role": "mirror",
        "ttl": "0s",
        "upstream": "https://registry-1.docker.io"
      },
      {
        "credentials": false,
        "fallback": true,
        "host": "localhost:41000",
        "listenAddress": "127.0.0.1",
        "port": 41000,
        "role": "push",
        "ttl": "0s",
        "upstream": null
      },
      {
        "credentials": true,
        "fallback": true,
        "host": "ghcr.io",
        "listenAddress": "127.0.0.1",
        "port": 41002,
        "role": "mirror",
        "ttl": "0s",
        "upstream": "${HUB:-https://ghcr.io}"
      }
    ]
    --- stderr
    "#);
}

#[test]
fn a_mirror_without_a_port_gets_the_next_free_one() {
    let project = project();
    project.succeeds(&["mirror", "add", "ghcr.io"]);
    let listed: serde_json::Value = serde_json::from_str(&project.succeeds(&["mirror", "list", "-o", "json"])).unwrap();
    let port = listed[2]["port"].as_u64().unwrap();
    assert!((5001..41_000).contains(&port), "{port}");
}

#[test]
fn a_k3d_yaml_the_user_took_over_is_left_alone_with_a_hint() {
    let project = project();
    let own = project.read("k3d.yaml").replace("# BEGIN ksail", "# mine").replace("# END ksail", "");
    project.write("k3d.yaml", &own);
    assert_snapshot!(project.ksail(&["mirror", "add", "ghcr.io", "--port", "41002"]), @r#"
    exit: 0
    --- stdout
    ksail.yaml: ghcr.io added
    --- stderr
    note: k3d.yaml was left alone: it has no lines between '# BEGIN ksail' and '# END ksail'; below 'mirrors:' in 'registries.config' it should say
    "docker.io":
      endpoint: ["http://ksail-dev-docker-io:5000"]
    "localhost:41000":
      endpoint: ["http://ksail-dev-localhost-41000:5000"]
    "127.0.0.1:41000":
      endpoint: ["http://ksail-dev-localhost-41000:5000"]
    "ksail-dev-localhost-41000:5000":
      endpoint: ["http://ksail-dev-localhost-41000:5000"]
    "ghcr.io":
      endpoint: ["http://ksail-dev-ghcr-io:5000"]
    "#);
    assert_eq!(project.read("k3d.yaml"), own);
}
