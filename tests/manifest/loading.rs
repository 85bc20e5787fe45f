use std::time::Duration;

use ksail::manifest::{ClusterName, Distribution, Host, Lifecycle, State, Upstream, VolumePolicy, parse_duration};
use secrecy::ExposeSecret;

use super::{HEAD, load, with_mirrors};

const FULL: &str = r#"# yaml-language-server: $schema=./ksail.schema.json
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: dev
spec:
  state: Absent
  distribution: K3d
  distributionConfig: k3d.yaml
  lifecycle: External
  connection: {kubeconfig: ~/.kube/config, context: k3d-dev, timeout: 5m}
  registries:
    image: registry:2
    volumePolicy: Delete
    mirrors:
      - host: docker.io
        upstream: https://registry-1.docker.io
        port: 5001
        listenAddress: 0.0.0.0
        fallback: false
        ttl: 1h30m
        credentials: {username: "${HUB_USER}", password: "${HUB_TOKEN}"}
      - host: localhost:5000
"#;

#[test]
fn every_field_is_read() {
    let manifest = load(FULL).unwrap();
    assert_eq!(manifest.name.as_str(), "dev");
    assert_eq!(manifest.state, State::Absent);
    assert_eq!(manifest.distribution, Distribution::K3d);
    assert_eq!(manifest.distribution_config.as_deref(), Some("k3d.yaml".as_ref()));
    assert_eq!(manifest.lifecycle, Lifecycle::External);
    assert_eq!(manifest.connection.kubeconfig.as_deref(), Some("~/.kube/config"));
    assert_eq!(manifest.connection.context.as_deref(), Some("k3d-dev"));
    assert_eq!(manifest.connection.timeout, Some(Duration::from_secs(300)));
    assert_eq!(manifest.registries.image, "registry:2");
    assert_eq!(manifest.registries.volume_policy, VolumePolicy::Delete);
    let [hub, push] = &manifest.registries.mirrors[..] else { panic!("two mirrors") };
    assert_eq!(hub.host.as_str(), "docker.io");
    assert_eq!(hub.upstream.as_ref().unwrap().as_str(), "https://registry-1.docker.io");
    assert_eq!(hub.port, Some(5001));
    assert_eq!(hub.listen_address.to_string(), "0.0.0.0");
    assert!(!hub.fallback);
    assert_eq!(hub.ttl, Duration::from_secs(5400));
    let credentials = hub.credentials.as_ref().unwrap();
    assert_eq!(credentials.username.expose_secret(), "ann");
    assert_eq!(credentials.password.expose_secret(), "s3cret-token");
    assert_eq!(push.upstream.as_ref().map(Upstream::as_str), None);
    assert_eq!(push.port, Some(5000));
}

#[test]
fn what_is_left_out_has_its_default() {
    let manifest = load(with_mirrors("    - {host: ghcr.io, upstream: https://ghcr.io}\n")).unwrap();
    assert_eq!(manifest.state, State::Present);
    assert_eq!(manifest.distribution, Distribution::Kind);
    assert_eq!(manifest.lifecycle, Lifecycle::Managed);
    assert_eq!(manifest.registries.image, "registry:3");
    assert_eq!(manifest.registries.volume_policy, VolumePolicy::Retain);
    let mirror = &manifest.registries.mirrors[0];
    assert_eq!((mirror.port, mirror.fallback, mirror.ttl), (None, true, Duration::ZERO));
    assert_eq!(mirror.listen_address.to_string(), "127.0.0.1");
    assert!(mirror.credentials.is_none());
}

#[test]
fn no_mirrors_can_be_written_in_five_ways() {
    let header = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\n";
    for rest in [
        "",
        "spec:\n",
        "spec: {registries: }\n",
        "spec: {registries: {mirrors: null}}\n",
        "spec: {registries: {mirrors: []}}\n",
    ] {
        let manifest = load(format!("{header}{rest}")).unwrap_or_else(|problems| panic!("{rest}: {problems}"));
        assert!(manifest.registries.mirrors.is_empty());
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_accepted() {
    let manifest = load(format!("\u{feff}{}", FULL.replace('\n', "\r\n"))).unwrap();
    assert_eq!(manifest.registries.mirrors.len(), 2);
}

#[test]
fn a_document_marker_and_comments_around_are_accepted() {
    load(format!("# mine\n---\n{FULL}...\n# end\n")).unwrap();
}

#[test]
fn a_manifest_of_ksail_go_loads_and_names_what_is_not_acted_on() {
    let manifest = load(
        "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: local, labels: {team: a}}\nspec:\n  distribution: Kind\n  distributionConfig: kind.yaml\n  sourceDirectory: k8s\n  connection:\n    kubeconfig: ~/.kube/config\n    context: kind-local\n    timeout: 5m\n  cni: Default\n  csi: Default\n  metricsServer: Enabled\n  localRegistry: Enabled\n  gitOpsEngine: Flux\n  options:\n    localRegistry: {hostPort: 5111}\n",
    )
    .unwrap();
    let expected = [
        "metadata.labels",
        "spec.sourceDirectory",
        "spec.cni",
        "spec.csi",
        "spec.metricsServer",
        "spec.localRegistry",
        "spec.gitOpsEngine",
        "spec.options",
    ];
    assert_eq!(manifest.not_acted_on, expected);
}

#[test]
fn anchors_and_aliases_work() {
    let manifest = load(with_mirrors(
        "    - &hub\n      host: docker.io\n      upstream: https://registry-1.docker.io\n      credentials: &login {username: \"${HUB_USER}\", password: \"${HUB_TOKEN}\"}\n    - host: ghcr.io\n      upstream: https://ghcr.io\n      credentials: *login\n",
    ))
    .unwrap();
    assert_eq!(manifest.registries.mirrors[1].credentials.as_ref().unwrap().username.expose_secret(), "ann");
}

#[test]
fn variables_expand_in_an_upstream_with_and_without_default() {
    let manifest = load(with_mirrors(
        "    - {host: ghcr.io, upstream: 'https://${MIRROR}:${PORT:-8443}'}\n    - {host: quay.io, upstream: 'https://${EMPTY:-quay.io}'}\n",
    ))
    .unwrap();
    let upstreams = manifest.registries.mirrors.iter().map(|mirror| mirror.upstream.as_ref().unwrap().as_str());
    assert_eq!(upstreams.collect::<Vec<_>>(), ["https://mirror.example.com:8443", "https://quay.io"]);
}

#[test]
fn variables_expand_nowhere_else() {
    let manifest = load(
        HEAD.replace("mirrors:\n", "mirrors: []\n").replace("spec:", "spec:\n  distributionConfig: ${MIRROR}.yaml"),
    )
    .unwrap();
    assert_eq!(manifest.distribution_config.unwrap().to_str(), Some("${MIRROR}.yaml"));
}

#[test]
fn credentials_with_two_empty_defaults_are_none() {
    let manifest = load(with_mirrors(
        "    - host: docker.io\n      upstream: https://registry-1.docker.io\n      credentials: {username: '${NO_USER:-}', password: '${NO_TOKEN:-}'}\n",
    ))
    .unwrap();
    assert!(manifest.registries.mirrors[0].credentials.is_none());
}

#[test]
fn a_robot_account_keeps_its_dollar() {
    let manifest = load(with_mirrors(
        "    - host: ghcr.io\n      upstream: https://ghcr.io\n      credentials: {username: robot$ci, password: '${HUB_TOKEN}'}\n",
    ))
    .unwrap();
    assert_eq!(manifest.registries.mirrors[0].credentials.as_ref().unwrap().username.expose_secret(), "robot$ci");
}

#[test]
fn one_port_on_two_addresses_is_no_clash() {
    load(with_mirrors(
        "    - {host: ghcr.io, upstream: https://ghcr.io, port: 5001}\n    - {host: quay.io, upstream: https://quay.io, port: 5001, listenAddress: 127.0.0.2}\n",
    ))
    .unwrap();
}

#[test]
fn a_push_registry_may_repeat_its_port() {
    let manifest = load(with_mirrors("    - {host: 'localhost:5000', port: 5000}\n")).unwrap();
    assert_eq!(manifest.registries.mirrors[0].port, Some(5000));
}

#[test]
fn good_hosts_parse() {
    for host in [
        "docker.io",
        "ghcr.io",
        "registry.k8s.io",
        "localhost:5000",
        "a-b.example.com:8443",
        "10.0.0.1:5000",
        "localhost",
        "registry:5000",
    ] {
        assert_eq!(host.parse::<Host>().unwrap().as_str(), host);
    }
}

#[test]
fn bad_hosts_do_not_parse() {
    for host in [
        "",
        ".",
        "..",
        "../etc",
        "a/..",
        "/",
        "a b.io",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a-.b",
        "a.b:",
        "a.b:0",
        "a.b:65536",
        "a.b:05",
        "a.b:+5",
        "a.b:5:6",
        "[::1]:5000",
        "ä.io",
        "a_b.io",
        "Docker.io",
        "docker.io\n",
        "_default",
        "foo",
        "docker.io\0",
        "a.b\\c",
    ] {
        assert!(host.parse::<Host>().is_err(), "{host:?}");
    }
}

#[test]
fn good_upstreams_parse() {
    for upstream in [
        "https://registry-1.docker.io",
        "http://registry:5000",
        "http://my_registry:5000",
        "https://[2001:db8::1]:443",
        "http://10.0.0.1",
    ] {
        assert_eq!(upstream.parse::<Upstream>().unwrap().as_str(), upstream);
    }
}

#[test]
fn bad_upstreams_do_not_parse() {
    for upstream in [
        "",
        "docker.io",
        "https://",
        "ftp://a.b",
        "https://a.b/",
        "https://a.b/v2",
        "https://a.b?x",
        "https://a.b#x",
        "https://u:p@a.b",
        "https://a b",
        "https://a.b:0",
        "https://[::1",
        "https://[x]",
        "https://[::1]x",
        "HTTPS://a.b",
        "https:/a.b",
        "https://a.b\n",
    ] {
        assert!(upstream.parse::<Upstream>().is_err(), "{upstream:?}");
    }
}

#[test]
fn durations_read_as_in_go_in_whole_seconds() {
    for (text, seconds) in [
        ("0s", 0),
        ("0ms", 0),
        ("5m", 300),
        ("168h", 604_800),
        ("1h30m", 5_400),
        ("1m0s", 60),
        ("2000ms", 2),
        ("1m3000ms", 63),
        ("2562047h", 9_223_369_200),
        ("9223372036s", 9_223_372_036),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        assert!(schema_takes(text), "{text}");
    }
    for text in ["", "5", "h", "5 m", "1.5h", "-5m", "7d", "5min", "m5", "500ms", "1ms", "1s500ms", "500ms500ms", "1us"]
    {
        assert!(parse_duration(text).is_err(), "{text}");
        assert!(!schema_takes(text), "{text}");
    }
    // Go counts nanoseconds in 64 bits with a sign; how long that is the schema cannot say.
    for text in ["99999999999999999999h", "2562048h", "9223372037s", "9223372036s1000ms", "18446744073709551615s1s"] {
        assert!(parse_duration(text).unwrap_err().to_string().ends_with("is too long"), "{text}");
    }
}

fn schema_takes(duration: &str) -> bool {
    let mirrors = serde_json::json!([{"host": "ghcr.io", "upstream": "https://ghcr.io", "ttl": duration}]);
    let spec = serde_json::json!({"connection": {"timeout": duration}, "registries": {"mirrors": mirrors}});
    let manifest = serde_json::json!(
        {"apiVersion": "ksail.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "dev"}, "spec": spec}
    );
    jsonschema::draft202012::is_valid(&ksail::manifest::schema(), &manifest)
}

#[test]
fn a_cluster_name_is_made_from_any_text() {
    for (text, name) in [
        ("My Project_2", "my-project-2"),
        ("", "dev"),
        ("--", "dev"),
        ("Ünï", "n"),
        (&"a-".repeat(40), &"a-".repeat(20)[..39]),
    ] {
        let nearest = ClusterName::nearest(text);
        assert_eq!(nearest.as_str(), name);
        assert!(nearest.as_str().parse::<ClusterName>().is_ok());
    }
}

#[test]
fn a_registry_to_push_to_may_have_a_name_of_its_own() {
    let manifest = load(with_mirrors(
        "    - host: registry.local\n      port: 5005\n    - host: images.example.com:5006\n    - host: other.local\n",
    ))
    .unwrap();
    let ports: Vec<_> =
        manifest.registries.mirrors.iter().map(|mirror| (mirror.upstream.is_some(), mirror.port)).collect();
    assert_eq!(ports, [(false, Some(5005)), (false, Some(5006)), (false, None)]);
}

#[test]
fn a_manifest_of_ksail_go_loads_and_its_context_names_the_cluster() {
    let text = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nspec:\n  distribution: Kind\n  distributionConfig: kind.yaml\n  \
                sourceDirectory: k8s\n  connection:\n    kubeconfig: ~/.kube/config\n    context: kind-local\n";
    let manifest = load(text).unwrap();
    assert_eq!(manifest.name.as_str(), "local");
    assert_eq!(manifest.not_acted_on, ["spec.sourceDirectory"]);
}
