//! Every rule of the manifest, broken, and how that is explained.

use std::fmt::Write as _;

use super::{load, with_mirrors};

fn refusal(text: impl AsRef<[u8]>) -> String {
    let problems = load(text).expect_err("this manifest breaks a rule");
    let rendered = problems.to_string();
    for secret in ["hunter2", "s3cret"] {
        assert!(!rendered.contains(secret), "a secret is shown:\n{rendered}");
        assert!(!problems.summary().contains(secret), "a secret is shown: {}", problems.summary());
    }
    rendered
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(refusal(""), @r#"
    error: ksail.yaml: the file is empty
     |
     = help: 'ksail cluster init' writes a new one; to remove every mirror write 'mirrors: []'
    "#);
}

#[test]
fn a_file_of_white_space_and_comments() {
    insta::assert_snapshot!(refusal(r"# nothing yet

   
"), @r#"
    error: ksail.yaml: the file says nothing
     |
     = help: 'ksail cluster init' writes a new one; to remove every mirror write 'mirrors: []'
    "#);
}

#[test]
fn a_file_that_is_only_null() {
    insta::assert_snapshot!(refusal(r"~
"), @r#"
    error: the manifest must be a mapping, not nothing
     --> ksail.yaml:1:1
      |
    1 | ~
      | ^
    "#);
}

#[test]
fn a_list_instead_of_a_manifest() {
    insta::assert_snapshot!(refusal(r"- a
- b
"), @r#"
    error: the manifest must be a mapping, not a list
     --> ksail.yaml:1:1
      |
    1 | - a
      | ^^^
    "#);
}

#[test]
fn two_documents() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
---
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
"), @r#"
    error: the file holds more than one YAML document
     --> ksail.yaml:4:1
      |
    4 | ---
      | ^^^
      |
      = help: keep one cluster in one file: remove this line and what follows it
    "#);
}

#[test]
fn a_missing_header() {
    insta::assert_snapshot!(refusal(r"metadata:
  name: dev
"), @r#"
    error: 'apiVersion' is missing
     --> ksail.yaml:1:1
      |
    1 | metadata:
      | ^
      |
      = help: add 'apiVersion: ksail.dev/v1alpha1'

    error: 'kind' is missing
     --> ksail.yaml:1:1
      |
    1 | metadata:
      | ^
      |
      = help: add 'kind: Cluster'
    "#);
}

#[test]
fn another_api_version_and_kind() {
    insta::assert_snapshot!(refusal(r"apiVersion: v1
kind: ConfigMap
metadata: {name: dev}
"), @r#"
    error: 'v1' is not a known apiVersion
     --> ksail.yaml:1:13
      |
    1 | apiVersion: v1
      |             ^^
      |
      = help: write 'apiVersion: ksail.dev/v1alpha1'

    error: 'ConfigMap' is not a known kind
     --> ksail.yaml:2:7
      |
    2 | kind: ConfigMap
      |       ^^^^^^^^^
      |
      = help: write 'kind: Cluster'
    "#);
}

#[test]
fn no_name() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
"), @r#"
    error: 'metadata.name' is missing
     --> ksail.yaml:1:1
      |
    1 | apiVersion: ksail.dev/v1alpha1
      | ^
      |
      = help: add 'metadata:' and below it, indented, 'name: dev'
    "#);
}

#[test]
fn metadata_without_a_name() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {}
"), @r#"
    error: 'metadata.name' is missing
     --> ksail.yaml:3:1
      |
    3 | metadata: {}
      | ^^^^^^^^ has no 'name'
      |
      = help: add 'metadata:' and below it, indented, 'name: dev'
    "#);
}

#[test]
fn a_name_with_capitals() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: My_Cluster}
"), @r#"
    error: 'M' is not allowed in a name (a-z, 0-9 and - are)
     --> ksail.yaml:3:18
      |
    3 | metadata: {name: My_Cluster}
      |                  ^^^^^^^^^^
      |
      = help: write 'my-cluster'
    "#);
}

#[test]
fn a_name_that_is_too_long() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: a-name-that-goes-on-and-on-and-on-and-on-and-on}
"), @r#"
    error: the name has 47 characters and may have 40
     --> ksail.yaml:3:18
      |
    3 | metadata: {name: a-name-that-goes-on-and-on-and-on-and-on-and-on}
      |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'a-name-that-goes-on-and-on-and-on-and-on'
    "#);
}

#[test]
fn a_name_that_is_a_number() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: 42}
"), @r#"
    error: 'name' must be text, not a number
     --> ksail.yaml:3:18
      |
    3 | metadata: {name: 42}
      |                  ^^
      |
      = help: put it in quotes: "42"
    "#);
}

#[test]
fn an_unknown_field_near_a_known_one() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstraem: https://registry-1.docker.io
      upstream: https://registry-1.docker.io
")), @r#"
    error: unknown field 'upstraem'
     --> ksail.yaml:9:7
      |
    9 |       upstraem: https://registry-1.docker.io
      |       ^^^^^^^^ did you mean 'upstream'?
    "#);
}

#[test]
fn an_unknown_field_like_no_other() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  replicas: 3
"), @r"
    error: unknown field 'replicas'
     --> ksail.yaml:5:3
      |
    5 |   replicas: 3
      |   ^^^^^^^^
      |
      = help: known in 'spec': connection, distribution, distributionConfig, lifecycle, registries, state
    ");
}

#[test]
fn an_unknown_field_at_the_top() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
frobnicate: 3
"), @r#"
    error: unknown field 'frobnicate'
     --> ksail.yaml:4:1
      |
    4 | frobnicate: 3
      | ^^^^^^^^^^
      |
      = help: known in the manifest: apiVersion, kind, metadata, spec
    "#);
}

#[test]
fn a_key_twice() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      port: 5001
      port: 5002
")), @r#"
    error: 'port' is here twice
      --> ksail.yaml:11:7
       |
    10 |       port: 5001
       |       ---- first here
    11 |       port: 5002
       |       ^^^^ remove one of the two
    "#);
}

#[test]
fn a_key_twice_inside_what_is_not_acted_on() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  options:
    kind: 1
    kind: 2
"), @r#"
    error: 'kind' is here twice
     --> ksail.yaml:7:5
      |
    6 |     kind: 1
      |     ---- first here
    7 |     kind: 2
      |     ^^^^ remove one of the two
    "#);
}

#[test]
fn a_value_of_an_enumeration_in_the_wrong_case() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  state: present
"), @r#"
    error: 'present' is not a value of 'state'
     --> ksail.yaml:5:10
      |
    5 |   state: present
      |          ^^^^^^^ did you mean 'Present'?
      |
      = help: write Present or Absent or Purged
    "#);
}

#[test]
fn a_value_that_is_in_no_enumeration() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  distribution: Minikube
"), @r#"
    error: 'Minikube' is not a value of 'distribution'
     --> ksail.yaml:5:17
      |
    5 |   distribution: Minikube
      |                 ^^^^^^^^
      |
      = help: write Kind or K3d
    "#);
}

#[test]
fn a_wrong_type_everywhere() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  state: 1
  connection: here
  registries:
    image: {}
    mirrors: {docker.io: https://registry-1.docker.io}
"), @r#"
    error: '1' is not a value of 'state'
     --> ksail.yaml:5:10
      |
    5 |   state: 1
      |          ^
      |
      = help: write Present or Absent or Purged

    error: 'connection' must be a mapping, not text
     --> ksail.yaml:6:15
      |
    6 |   connection: here
      |               ^^^^

    error: 'image' must be text, not a mapping
     --> ksail.yaml:8:12
      |
    8 |     image: {}
      |            ^^

    error: 'mirrors' must be a list, not a mapping
     --> ksail.yaml:9:14
      |
    9 |     mirrors: {docker.io: https://registry-1.docker.io}
      |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_item_that_is_text() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - docker.io
")), @r#"
    error: an item of 'mirrors' must be a mapping, not text
     --> ksail.yaml:8:7
      |
    8 |     - docker.io
      |       ^^^^^^^^^
    "#);
}

#[test]
fn an_empty_item() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    -
")), @r#"
    error: an item of 'mirrors' must be a mapping, not nothing
     --> ksail.yaml:8:6
      |
    8 |     -
      |      ^
    "#);
}

#[test]
fn a_port_in_quotes() {
    insta::assert_snapshot!(refusal(with_mirrors(r#"    - {host: docker.io, upstream: 'https://registry-1.docker.io', port: "5001"}
"#)), @r#"
    error: 'port' must be a whole number, not text
     --> ksail.yaml:8:73
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', port: "5001"}
      |                                                                         ^^^^^^
      |
      = help: write it without quotes: 5001
    "#);
}

#[test]
fn a_yes_that_should_be_true() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', fallback: yes}
")), @r#"
    error: 'fallback' must be true or false, not text
     --> ksail.yaml:8:77
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', fallback: yes}
      |                                                                             ^^^
      |
      = help: write true
    "#);
}

#[test]
fn a_host_with_a_scheme() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: https://docker.io/v2
      upstream: https://registry-1.docker.io
")), @r#"
    error: a host has no scheme
     --> ksail.yaml:8:13
      |
    8 |     - host: https://docker.io/v2
      |             ^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'docker.io'
    "#);
}

#[test]
fn a_host_that_is_a_pattern() {
    insta::assert_snapshot!(refusal(with_mirrors(r#"    - host: "*.docker.io"
      upstream: https://registry-1.docker.io
"#)), @r#"
    error: a host cannot be a pattern
     --> ksail.yaml:8:13
      |
    8 |     - host: "*.docker.io"
      |             ^^^^^^^^^^^^^
      |
      = help: containerd knows no wildcards: add one mirror per host
    "#);
}

#[test]
fn a_host_with_a_path() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io/library
      upstream: https://registry-1.docker.io
")), @r#"
    error: a host has no path
     --> ksail.yaml:8:13
      |
    8 |     - host: docker.io/library
      |             ^^^^^^^^^^^^^^^^^
      |
      = help: write 'docker.io'
    "#);
}

#[test]
fn a_host_that_climbs_out_of_its_directory() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: ..
      upstream: https://registry-1.docker.io
")), @r#"
    error: a host name has a letter or digit on both sides of every dot
     --> ksail.yaml:8:13
      |
    8 |     - host: ..
      |             ^^
    "#);
}

#[test]
fn a_host_with_a_space() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker io
      upstream: https://registry-1.docker.io
")), @r#"
    error: a space is not allowed in a host
     --> ksail.yaml:8:13
      |
    8 |     - host: docker io
      |             ^^^^^^^^^
      |
      = help: write HOST or HOST:PORT, such as docker.io or localhost:5000
    "#);
}

#[test]
fn a_host_with_capitals() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: GHCR.io
      upstream: https://ghcr.io
")), @r#"
    error: a host is written in lower case
     --> ksail.yaml:8:13
      |
    8 |     - host: GHCR.io
      |             ^^^^^^^
      |
      = help: write 'ghcr.io'
    "#);
}

#[test]
fn a_host_with_a_bad_port() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: registry.example.com:70000
      upstream: https://registry.example.com
")), @r#"
    error: '70000' is not a port
     --> ksail.yaml:8:13
      |
    8 |     - host: registry.example.com:70000
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: ports are 1 to 65535
    "#);
}

#[test]
fn a_host_without_dot_or_port() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: registry
      upstream: https://registry.example.com
")), @r#"
    error: image references take 'registry' for a folder of docker.io, not for a host
     --> ksail.yaml:8:13
      |
    8 |     - host: registry
      |             ^^^^^^^^
      |
      = help: write a host with a dot or a port, such as registry.example.com or localhost:5000
    "#);
}

#[test]
fn the_other_name_of_docker_hub() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: index.docker.io
      upstream: https://registry-1.docker.io
")), @r#"
    error: images of Docker Hub are pulled from docker.io
     --> ksail.yaml:8:13
      |
    8 |     - host: index.docker.io
      |             ^^^^^^^^^^^^^^^
      |
      = help: write 'docker.io'
    "#);
}

#[test]
fn no_host() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - upstream: https://registry-1.docker.io
")), @r#"
    error: the mirror has no 'host'
     --> ksail.yaml:8:7
      |
    8 |     - upstream: https://registry-1.docker.io
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: add what image references start with, such as 'host: docker.io'
    "#);
}

#[test]
fn a_host_twice() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
    - host: ghcr.io
      upstream: https://ghcr.io
    - host: docker.io
      upstream: https://mirror.gcr.io
")), @r#"
    error: the host 'docker.io' is here twice
      --> ksail.yaml:12:13
       |
     8 |     - host: docker.io
       |             --------- first here
    ...
    12 |     - host: docker.io
       |             ^^^^^^^^^
       |
       = help: remove one of the two mirrors
    "#);
}

#[test]
fn an_upstream_without_scheme() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: registry-1.docker.io
")), @r#"
    error: the upstream has no scheme
     --> ksail.yaml:9:17
      |
    9 |       upstream: registry-1.docker.io
      |                 ^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'https://registry-1.docker.io'
    "#);
}

#[test]
fn an_upstream_with_another_scheme() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: oci://registry-1.docker.io
")), @r#"
    error: 'oci' is not a scheme a registry is reached by
     --> ksail.yaml:9:17
      |
    9 |       upstream: oci://registry-1.docker.io
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'https://registry-1.docker.io'
    "#);
}

#[test]
fn an_upstream_with_a_path() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io/v2
")), @r#"
    error: an upstream is the root of a registry and has no path
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://registry-1.docker.io/v2
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'https://registry-1.docker.io': what follows is a part of the names of its images
    "#);
}

#[test]
fn an_upstream_with_a_slash_at_its_end() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io/
")), @r#"
    error: an upstream ends without a slash
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://registry-1.docker.io/
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'https://registry-1.docker.io'
    "#);
}

#[test]
fn an_upstream_with_a_query() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io?a=b
")), @r#"
    error: an upstream is the root of a registry and has no query
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://registry-1.docker.io?***
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write 'https://registry-1.docker.io'
    "#);
}

#[test]
fn an_upstream_with_a_password_in_it() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://ann:hunter2@registry-1.docker.io
")), @r#"
    error: an upstream carries no user name or password
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://***********@registry-1.docker.io
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: put them into 'credentials', as ${VARIABLES}
    "#);
}

#[test]
fn an_upstream_that_is_the_container_itself() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: http://localhost:5000
    - host: ghcr.io
      upstream: http://127.0.0.1:5000
")), @r#"
    error: inside the mirror's container this is the container itself
     --> ksail.yaml:9:17
      |
    9 |       upstream: http://localhost:5000
      |                 ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write a name or an address that containers reach, such as host.docker.internal

    error: inside the mirror's container this is the container itself
      --> ksail.yaml:11:17
       |
    11 |       upstream: http://127.0.0.1:5000
       |                 ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write a name or an address that containers reach, such as host.docker.internal
    "#);
}

#[test]
fn two_equal_ports() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 5001}
    - {host: ghcr.io, upstream: 'https://ghcr.io', port: 5001}
")), @r#"
    error: port 5001 is taken by 'docker.io'
     --> ksail.yaml:9:58
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 5001}
      |                                                                         ---- first here
    9 |     - {host: ghcr.io, upstream: 'https://ghcr.io', port: 5001}
      |                                                          ^^^^
      |
      = help: 5002 is the next one that no mirror has
    "#);
}

#[test]
fn a_port_that_overlaps_on_every_address() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 5000, listenAddress: 0.0.0.0}
    - host: localhost:5000
")), @r#"
    error: port 5000 is taken by 'docker.io'
     --> ksail.yaml:9:13
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 5000, listenAddress: 0.0.0.0}
      |                                                                         ---- first here
    9 |     - host: localhost:5000
      |             ^^^^^^^^^^^^^^
      |
      = help: 5001 is the next one that no mirror has
    "#);
}

#[test]
fn ports_out_of_range() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 0}
    - {host: ghcr.io, upstream: 'https://ghcr.io', port: 65536}
    - {host: quay.io, upstream: 'https://quay.io', port: -1}
    - {host: gcr.io, upstream: 'https://gcr.io', port: 99999999999999999999}
")), @r#"
    error: 0 is not a port
     --> ksail.yaml:8:73
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', port: 0}
      |                                                                         ^
      |
      = help: ports are 1 to 65535; leave the field out for a free one

    error: 65536 is not a port
     --> ksail.yaml:9:58
      |
    9 |     - {host: ghcr.io, upstream: 'https://ghcr.io', port: 65536}
      |                                                          ^^^^^
      |
      = help: ports are 1 to 65535

    error: -1 is not a port
      --> ksail.yaml:10:58
       |
    10 |     - {host: quay.io, upstream: 'https://quay.io', port: -1}
       |                                                          ^^
       |
       = help: ports are 1 to 65535

    error: 'port' must be a whole number, not text
      --> ksail.yaml:11:56
       |
    11 |     - {host: gcr.io, upstream: 'https://gcr.io', port: 99999999999999999999}
       |                                                        ^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_public_registry_without_its_upstream() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
")), @r#"
    error: 'docker.io' is a public registry, and this mirror of it has no 'upstream'
     --> ksail.yaml:8:13
      |
    8 |     - host: docker.io
      |             ^^^^^^^^^
      |
      = help: add 'upstream: https://registry-1.docker.io', or write 'host: localhost:5000' for a registry to push to
    "#);
}

#[test]
fn a_push_registry_without_a_port() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: localhost
      port: 5005
")), @r#"
    error: a registry to push to on this machine is localhost:PORT, not 'localhost'
     --> ksail.yaml:8:13
      |
    8 |     - host: localhost
      |             ^^^^^^^^^
      |
      = help: write 'localhost:5005'
    "#);
}

#[test]
fn a_push_registry_with_another_port() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: localhost:5000
      port: 5001
")), @r#"
    error: the port is 5001 here and 5000 in 'host'
     --> ksail.yaml:9:13
      |
    8 |     - host: localhost:5000
      |             -------------- the host says so here
    9 |       port: 5001
      |             ^^^^
      |
      = help: remove 'port': a registry to push to has the one in its host
    "#);
}

#[test]
fn half_a_pair_of_credentials() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials:
        username: ${HUB_USER}
    - host: ghcr.io
      upstream: https://ghcr.io
      credentials:
        password: ${HUB_TOKEN}
")), @r#"
    error: 'username' without 'password'
      --> ksail.yaml:11:9
       |
    11 |         username: ${HUB_USER}
       |         ^^^^^^^^
       |
       = help: add 'password: ${VARIABLE}'

    error: 'password' without 'username'
      --> ksail.yaml:15:9
       |
    15 |         password: ${HUB_TOKEN}
       |         ^^^^^^^^
       |
       = help: add 'username: ${VARIABLE}'
    "#);
}

#[test]
fn what_a_push_registry_cannot_have() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: localhost:5000
      ttl: 168h
      credentials: {username: ann, password: '${HUB_TOKEN}'}
")), @r#"
    error: 'ttl' is for the upstream, and this mirror has none
     --> ksail.yaml:9:7
      |
    9 |       ttl: 168h
      |       ^^^
      |
      = help: add 'upstream', or remove this

    error: 'credentials' is for the upstream, and this mirror has none
      --> ksail.yaml:10:7
       |
    10 |       credentials: {username: ***, password: '${HUB_TOKEN}'}
       |       ^^^^^^^^^^^
       |
       = help: add 'upstream', or remove this
    "#);
}

#[test]
fn a_literal_password() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials:
        username: ann
        password: hunter2
")), @r#"
    error: the password is not a reference to a variable
      --> ksail.yaml:12:19
       |
    12 |         password: *******
       |                   ^^^^^^^
       |
       = help: write ${NAME} or ${NAME:-default}, and put the password into the environment
    "#);
}

#[test]
fn a_literal_password_with_a_reference_in_it() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: {username: ann, password: 'hunter2${HUB_TOKEN}'}
")), @r#"
    error: the password is not a reference to a variable
      --> ksail.yaml:10:46
       |
    10 |       credentials: {username: ***, password: '*******${HUB_TOKEN}'}
       |                                              ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write ${NAME} or ${NAME:-default}, and put the password into the environment
    "#);
}

#[test]
fn a_variable_without_braces() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: {username: ann, password: $HUB_TOKEN}
")), @r#"
    error: the password is not a reference to a variable
      --> ksail.yaml:10:46
       |
    10 |       credentials: {username: ***, password: **********}
       |                                              ^^^^^^^^^^
       |
       = help: write ${NAME} or ${NAME:-default}, and put the password into the environment
    "#);
}

#[test]
fn an_unset_and_an_empty_variable() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials:
        username: ${NO_SUCH_USER}
        password: ${EMPTY}
")), @r#"
    error: the variable NO_SUCH_USER is not set
      --> ksail.yaml:11:19
       |
    11 |         username: ${NO_SUCH_USER}
       |                   ^^^^^^^^^^^^^^^
       |
       = help: set it, as in 'export NO_SUCH_USER=…', or write ${NO_SUCH_USER:-default}

    error: the variable EMPTY is set but empty
      --> ksail.yaml:12:19
       |
    12 |         password: ${EMPTY}
       |                   ^^^^^^^^
       |
       = help: set it, as in 'export EMPTY=…', or write ${EMPTY:-default}
    "#);
}

#[test]
fn a_reference_that_is_none() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://${MIRROR
    - host: ghcr.io
      upstream: https://${MIRROR:?please}
")), @r#"
    error: '${…' is not a reference to a variable
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://${MIRROR
      |                 ^^^^^^^^^^^^^^^^
      |
      = help: write ${NAME} or ${NAME:-default}

    error: '${MIRROR…}' is not a reference to a variable
      --> ksail.yaml:11:17
       |
    11 |       upstream: https://${MIRROR:?please}
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write ${NAME} or ${NAME:-default}
    "#);
}

#[test]
fn a_value_from_the_environment_that_does_not_fit_is_not_shown() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://${WEIRD}
")), @r#"
    error: with its variables filled in, this is not scheme://host[:port]
     --> ksail.yaml:9:17
      |
    9 |       upstream: https://${WEIRD}
      |                 ^^^^^^^^^^^^^^^^
      |
      = help: look at what the variables hold (it is not shown here, as it may be secret)
    "#);
}

#[test]
fn one_empty_default_of_two() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: {username: '${NO_USER:-}', password: '${HUB_TOKEN}'}
")), @r#"
    error: 'username' is empty and 'password' is not
      --> ksail.yaml:10:31
       |
    10 |       credentials: {username: '${NO_USER:-}', password: '${HUB_TOKEN}'}
       |                               ^^^^^^^^^^^^^^
       |
       = help: set both, or neither
    "#);
}

#[test]
fn an_address_that_is_none() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', listenAddress: everywhere}
")), @r#"
    error: 'everywhere' is not an IP address
     --> ksail.yaml:8:82
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', listenAddress: everywhere}
      |                                                                                  ^^^^^^^^^^
      |
      = help: write 127.0.0.1, 0.0.0.0 or another address of this machine
    "#);
}

#[test]
fn what_is_no_whole_number_of_seconds_is_refused_rather_than_rounded_to_for_ever_or_not_at_all() {
    let text = with_mirrors("    - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 500ms}\n");
    let text = text.replace("spec:\n", "spec:\n  connection: {timeout: 1s1500ms}\n");
    insta::assert_snapshot!(refusal(text), @r"
    error: '1500ms' is not a whole number of seconds
     --> ksail.yaml:6:25
      |
    6 |   connection: {timeout: 1s1500ms}
      |                         ^^^^^^^^
      |
      = help: write '2s'

    error: '500ms' is not a whole number of seconds
     --> ksail.yaml:9:57
      |
    9 |     - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 500ms}
      |                                                         ^^^^^
      |
      = help: write '1s'
    ");
    let text = with_mirrors("    - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 2562048h}\n");
    insta::assert_snapshot!(refusal(text), @r"
    error: '2562048h' is too long
     --> ksail.yaml:8:57
      |
    8 |     - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 2562048h}
      |                                                         ^^^^^^^^
      |
      = help: the longest is 2562047h (292 years)
    ");
}

#[test]
fn a_ttl_without_unit_and_one_in_days() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io', ttl: 168}
    - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 7d}
    - {host: quay.io, upstream: 'https://quay.io', ttl: a week}
    - {host: gcr.io, upstream: 'https://gcr.io', ttl: -5m}
")), @r#"
    error: 'ttl' must be text, not a number
     --> ksail.yaml:8:72
      |
    8 |     - {host: docker.io, upstream: 'https://registry-1.docker.io', ttl: 168}
      |                                                                        ^^^
      |
      = help: write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h

    error: a duration has no unit for days
     --> ksail.yaml:9:57
      |
    9 |     - {host: ghcr.io, upstream: 'https://ghcr.io', ttl: 7d}
      |                                                         ^^
      |
      = help: write '168h'

    error: 'a week' is not a duration
      --> ksail.yaml:10:57
       |
    10 |     - {host: quay.io, upstream: 'https://quay.io', ttl: a week}
       |                                                         ^^^^^^
       |
       = help: write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h

    error: '-5m' is negative
      --> ksail.yaml:11:55
       |
    11 |     - {host: gcr.io, upstream: 'https://gcr.io', ttl: -5m}
       |                                                       ^^^
       |
       = help: write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h
    "#);
}

#[test]
fn a_timeout_of_zero() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  connection: {timeout: 0s}
"), @r#"
    error: a timeout is longer than zero
     --> ksail.yaml:5:25
      |
    5 |   connection: {timeout: 0s}
      |                         ^^
      |
      = help: write a duration such as 5m, or leave the field out
    "#);
}

#[test]
fn empty_paths() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  distributionConfig: ''
  connection: {kubeconfig: '', context: ''}
"), @r#"
    error: the path is empty
     --> ksail.yaml:5:23
      |
    5 |   distributionConfig: ''
      |                       ^^
      |
      = help: leave the field out

    error: 'kubeconfig' is empty
     --> ksail.yaml:6:28
      |
    6 |   connection: {kubeconfig: '', context: ''}
      |                            ^^
      |
      = help: leave the field out

    error: 'context' is empty
     --> ksail.yaml:6:41
      |
    6 |   connection: {kubeconfig: '', context: ''}
      |                                         ^^
      |
      = help: leave the field out
    "#);
}

#[test]
fn an_image_that_is_none() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    image: https://docker.io/registry:3
"), @r#"
    error: an image has no scheme
     --> ksail.yaml:6:12
      |
    6 |     image: https://docker.io/registry:3
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write [HOST/]NAME[:TAG][@sha256:DIGEST], such as registry:3
    "#);
}

#[test]
fn an_image_with_a_space() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    image: registry 3
"), @r#"
    error: a space is not allowed in an image
     --> ksail.yaml:6:12
      |
    6 |     image: registry 3
      |            ^^^^^^^^^^
      |
      = help: write [HOST/]NAME[:TAG][@sha256:DIGEST], such as registry:3
    "#);
}

#[test]
fn an_image_in_capitals() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    image: Registry:3
"), @r#"
    error: 'Registry' is not in lower case, as image names are
     --> ksail.yaml:6:12
      |
    6 |     image: Registry:3
      |            ^^^^^^^^^^
      |
      = help: write [HOST/]NAME[:TAG][@sha256:DIGEST], such as registry:3
    "#);
}

#[test]
fn an_image_with_a_bad_tag() {
    insta::assert_snapshot!(refusal(r"apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    image: 'localhost:5000/registry:'
"), @r#"
    error: '' is not a tag
     --> ksail.yaml:6:12
      |
    6 |     image: 'localhost:5000/registry:'
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write [HOST/]NAME[:TAG][@sha256:DIGEST], such as registry:3
    "#);
}

#[test]
fn a_tab_for_indentation() {
    insta::assert_snapshot!(refusal("apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n\tstate: Present\n"), @r#"
    error: a tab cannot indent YAML
     --> ksail.yaml:5:1
      |
    5 |     state: Present
      | ^^^^ a tab
      |
      = help: indent with spaces
    "#);
}

#[test]
fn an_unquoted_reference_inside_braces() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: {username: ${HUB_USER}, password: ${HUB_TOKEN}}
")), @r#"
    error: inside { } a reference to a variable needs quotes
      --> ksail.yaml:10:31
       |
    10 |       credentials: {********* ${HUB_USER}* ********* ${HUB_TOKEN}}
       |                               ^^^^^^^^^^^
       |
       = help: write "${HUB_USER}"
    "#);
}

#[test]
fn a_list_item_out_of_line() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
     port: 5001
")), @r#"
    error: did not find expected key
      --> ksail.yaml:10:6
       |
    10 |      port: 5001
       |      ^
       |
       = help: indent this line like its neighbours
    "#);
}

#[test]
fn a_quote_that_is_never_closed() {
    insta::assert_snapshot!(refusal(with_mirrors(r#"    - host: "docker.io
      upstream: https://registry-1.docker.io
"#)), @r#"
    error: this quote is never closed
     --> ksail.yaml:8:13
      |
    8 |     - host: "docker.io
      |             ^
      |
      = help: end the text with the same quote
    "#);
}

#[test]
fn a_bracket_that_is_never_closed() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - {host: docker.io, upstream: 'https://registry-1.docker.io'
    - host: localhost:5000
")), @r#"
    error: did not find expected ',' or '}'
     --> ksail.yaml:9:5
      |
    9 |     - host: localhost:5000
      |     ^
      |
      = help: close the bracket, or put a comma between the values
    "#);
}

#[test]
fn an_unknown_alias() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: *hub
")), @r#"
    error: unknown anchor
     --> ksail.yaml:8:13
      |
    8 |     - host: *hub
      |             ^
      |
      = help: an alias '*name' stands for a value marked '&name' above it; a text that begins with '*' needs quotes
    "#);
}

#[test]
fn an_alias_inside_what_it_stands_for() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - &a
      host: docker.io
      credentials: *a
")), @r#"
    error: an alias inside what it stands for
      --> ksail.yaml:10:20
       |
    10 |       credentials: **
       |                    ^
    "#);
}

#[test]
fn a_merge_key() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - &base {host: docker.io, upstream: 'https://registry-1.docker.io'}
    - <<: *base
      host: ghcr.io
")), @r#"
    error: the merge key '<<' is not supported
     --> ksail.yaml:9:7
      |
    9 |     - <<: *base
      |       ^^
      |
      = help: write the fields out, or use an alias for a whole value: 'credentials: *hub'
    "#);
}

#[test]
fn a_tag() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: !!str docker.io
      upstream: https://registry-1.docker.io
")), @r#"
    error: YAML tags have no meaning here
     --> ksail.yaml:8:19
      |
    8 |     - host: !!str docker.io
      |                   ^^^^^^^^^
      |
      = help: remove the '!' and the word after it
    "#);
}

#[test]
fn a_colon_in_a_plain_value() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https: //registry-1.docker.io
")), @r#"
    error: mapping values are not allowed in this context
     --> ksail.yaml:9:22
      |
    9 |       upstream: https: //registry-1.docker.io
      |                      ^
      |
      = help: put a value with ': ' in it into quotes, or indent this line like its neighbours
    "#);
}

#[test]
fn a_syntax_error_beside_a_password_does_not_show_it() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      credentials: {password: hunter2, username: [ann}
")), @r#"
    error: did not find expected ',' or ']'
     --> ksail.yaml:9:54
      |
    9 |       credentials: {********* ******** ********* ****}
      |                                                      ^
      |
      = help: close the bracket, or put a comma between the values
    "#);
}

#[test]
fn what_is_wrong_behind_an_alias_shows_both_places() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: &c {username: ann, password: '${HUB_TOKEN}', extra: 1}
    - host: ghcr.io
      upstream: https://ghcr.io
      credentials: *c
")), @r#"
    error: unknown field 'extra'
      --> ksail.yaml:10:65
       |
    10 |       credentials: &c {username: ***, password: '${HUB_TOKEN}', extra: *}
       |                                                                 ^^^^^
       |
       = help: known in 'credentials': fromDocker, password, passwordFile, username, usernameFile
    "#);
}

#[test]
fn a_misspelt_password_is_not_shown() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: docker.io
      upstream: https://registry-1.docker.io
      credentials: {username: ann, passwort: hunter2}
")), @r#"
    error: unknown field 'passwort'
      --> ksail.yaml:10:36
       |
    10 |       credentials: {username: ***, passwort: *******}
       |                                    ^^^^^^^^ did you mean 'password'?
    "#);
}

#[test]
fn seven_problems_at_once() {
    insta::assert_snapshot!(refusal(with_mirrors(r"    - host: https://docker.io
      upstraem: https://registry-1.docker.io
      port: 0
    - host: ghcr.io
      upstream: ghcr.io
      ttl: forever
      fallback: nope
      listenAddress: x
")), @r#"
    error: a host has no scheme
     --> ksail.yaml:8:13
      |
    8 |     - host: https://docker.io
      |             ^^^^^^^^^^^^^^^^^
      |
      = help: write 'docker.io'

    error: unknown field 'upstraem'
     --> ksail.yaml:9:7
      |
    9 |       upstraem: https://registry-1.docker.io
      |       ^^^^^^^^ did you mean 'upstream'?

    error: 0 is not a port
      --> ksail.yaml:10:13
       |
    10 |       port: 0
       |             ^
       |
       = help: ports are 1 to 65535; leave the field out for a free one

    error: the upstream has no scheme
      --> ksail.yaml:12:17
       |
    12 |       upstream: ghcr.io
       |                 ^^^^^^^
       |
       = help: write 'https://ghcr.io'

    error: 'forever' is not a duration
      --> ksail.yaml:13:12
       |
    13 |       ttl: forever
       |            ^^^^^^^
       |
       = help: write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h

    error: 'fallback' must be true or false, not text
      --> ksail.yaml:14:17
       |
    14 |       fallback: nope
       |                 ^^^^

    error: 'x' is not an IP address
      --> ksail.yaml:15:22
       |
    15 |       listenAddress: x
       |                      ^
       |
       = help: write 127.0.0.1, 0.0.0.0 or another address of this machine
    "#);
}

#[test]
fn bytes_that_are_not_utf_8() {
    insta::assert_snapshot!(refusal(b"apiVersion: ksail.dev/v1alpha1\nkind: Cl\xFFster\n"), @r#"
    error: byte 39 of the file is not UTF-8
     --> ksail.yaml:2:9
      |
    2 | kind: Cl�ster
      |         ^
      |
      = help: save the file as UTF-8
    "#);
}

#[test]
fn a_file_in_utf_16() {
    let bytes: Vec<u8> = "\u{feff}kind: Cluster\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    insta::assert_snapshot!(refusal(bytes), @r#"
    error: byte 0 of the file is not UTF-8
     --> ksail.yaml:1:1
      |
    1 | ��k␀i␀n␀d␀:␀ ␀C␀l␀u␀s␀t␀e␀r␀
      | ^
      |
      = help: the file is UTF-16: save it as UTF-8
    "#);
}

#[test]
fn a_problem_in_a_file_with_byte_order_mark_and_carriage_returns() {
    let text = format!("\u{feff}{}", with_mirrors("    - host: docker.io\n      upstream: x\n").replace('\n', "\r\n"));
    insta::assert_snapshot!(refusal(text), @r#"
    error: the upstream has no scheme
     --> ksail.yaml:9:17
      |
    9 |       upstream: x 
      |                 ^
      |
      = help: write 'https://x'
    "#);
}

#[test]
fn columns_count_characters_not_bytes() {
    insta::assert_snapshot!(refusal(with_mirrors("    - {ttl: \"ü\", host: docker.io, upstream: https://ghcr.io}\n")), @r#"
    error: 'ü' is not a duration
     --> ksail.yaml:8:13
      |
    8 |     - {ttl: "ü", host: docker.io, upstream: https://ghcr.io}
      |             ^^^
      |
      = help: write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h
    "#);
}

#[test]
fn aliases_that_multiply_are_refused_in_time() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"]) {
        let aliases = vec![format!("*{last}"); 10].join(", ");
        writeln!(text, "{this}: &{this} [{aliases}]").unwrap();
    }
    let indented = text.replace('\n', "\n    ");
    let options = format!(
        "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: dev}}\nspec:\n  options:\n    {indented}\n"
    );
    insta::assert_snapshot!(refusal(options).lines().next().unwrap(), @"error: the aliases of this file expand to too many values");
}

#[test]
fn brackets_nested_without_end_are_refused() {
    insta::assert_snapshot!(refusal("[".repeat(100_000)).lines().next().unwrap(), @"error: did not find expected node content");
}

#[test]
fn a_file_that_cannot_be_read() {
    let missing = ksail::manifest::load("no/such/ksail.yaml".as_ref(), &|_| None).unwrap_err();
    insta::assert_snapshot!(missing, @r#"
    error: no/such/ksail.yaml: there is no such file
     |
     = help: 'ksail cluster init' writes one, '--file' names another
    "#);
    let directory = ksail::manifest::load("src".as_ref(), &|_| None).unwrap_err();
    insta::assert_snapshot!(directory, @r#"
    error: src: it is a directory
     |
     = help: name the file in it
    "#);
}

#[test]
fn the_summary_is_one_line() {
    let one =
        load(with_mirrors("    - host: docker.io\n      upstraem: x\n      upstream: https://registry-1.docker.io\n"));
    insta::assert_snapshot!(one.unwrap_err().summary(), @"ksail.yaml:9:7: unknown field 'upstraem'");
    let three = load(with_mirrors("    - host: docker.io\n      upstraem: x\n      port: 0\n      fallback: nope\n"));
    insta::assert_snapshot!(three.unwrap_err().summary(), @"ksail.yaml:9:7: unknown field 'upstraem' (and 2 more problems)");
    insta::assert_snapshot!(load("").unwrap_err().summary(), @"ksail.yaml: the file is empty");
}

#[test]
fn problems_tell_line_and_column() {
    let problems = load(with_mirrors("    - host: docker.io\n      upstream: x\n      port: 0\n")).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(9, 17), (10, 13)]);
    assert_eq!(problems.len(), 2);
}

#[test]
fn colour_is_only_in_the_coloured_rendering() {
    let problems = load("").unwrap_err();
    assert!(problems.render(true).contains('\u{1b}'));
    assert!(!problems.render(false).contains('\u{1b}'));
}

#[test]
fn a_field_with_a_slip_in_its_name_is_not_missing_as_well() {
    let summary = |text: String| load(text).unwrap_err().summary();
    let good = with_mirrors(
        "    - host: docker.io\n      upstream: https://registry-1.docker.io\n      ttl: 1h\n      credentials: {username: \"${HUB_USER}\", password: \"${HUB_TOKEN}\"}\n",
    );
    load(&good).unwrap();
    for (right, slip) in [
        ("upstream:", "upstraem"),
        ("host:", "hots"),
        ("metadata:", "metdata"),
        ("name:", "nmae"),
        ("username:", "usernmae"),
        ("password:", "passwrod"),
    ] {
        // No other problem: the summary would count it.
        let told = summary(good.replacen(right, &format!("{slip}:"), 1));
        assert!(told.ends_with(&format!("unknown field '{slip}'")), "{told}");
    }
}
