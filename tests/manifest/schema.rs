//! The published schema takes what the loader takes.

use ksail::manifest::schema;
use serde_json::{Value, json};

use super::{load, with_mirrors};

fn is_valid(manifest: &Value) -> bool {
    jsonschema::draft202012::is_valid(&schema(), manifest)
}

fn as_json(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// A manifest with this in `spec`.
fn with_spec(spec: &Value) -> Value {
    json!({"apiVersion": "ksail.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "dev"}, "spec": spec})
}

fn with_mirror(mirror: &Value) -> Value {
    with_spec(&json!({"registries": {"mirrors": [mirror]}}))
}

#[test]
fn the_schema_is_this() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("schema", serde_json::to_string_pretty(&schema()).unwrap());
    });
}

#[test]
fn the_schema_is_one_of_its_draft() {
    assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::draft202012::meta::validate(&schema()).unwrap();
}

#[test]
fn every_field_is_described() {
    fn check(schema: &Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(field["description"].is_string(), "{path} has no description");
            check(field, &path);
            check(&field["items"], &path);
        }
    }
    check(&schema(), "");
}

#[test]
fn every_field_validates() {
    let mirror = json!({
        "host": "docker.io", "upstream": "https://registry-1.docker.io", "port": 5001, "listenAddress": "127.0.0.1",
        "fallback": true, "ttl": "0s", "credentials": {"username": "${HUB_USER}", "password": "${HUB_TOKEN:-none}"},
    });
    let manifest = with_spec(&json!({
        "state": "Present", "distribution": "Kind", "distributionConfig": "kind.yaml", "lifecycle": "Managed",
        "connection": {"kubeconfig": "~/.kube/config", "context": "kind-dev", "timeout": "5m"},
        "registries": {"image": "registry:3", "volumePolicy": "Retain", "proxy": {"http": "http://p:3128", "https": "http://${HUB_USER}:${HUB_TOKEN}@p:3128", "noProxy": "a,b"}, "mirrors": [mirror, {"host": "localhost:5000"}]},
        "sourceDirectory": "k8s", "cni": "Default", "csi": "Default", "metricsServer": "Enabled",
        "gitOpsEngine": "None", "localRegistry": "Enabled", "options": {"kind": {"a": [1]}},
    }));
    assert!(is_valid(&manifest));
    load(manifest.to_string().replace("${HUB_TOKEN:-none}", "${HUB_TOKEN}")).unwrap();
}

#[test]
fn every_value_of_an_enumeration_validates_and_no_other() {
    for (field, values) in [
        ("state", ["Present", "Absent", "Purged"].as_slice()),
        ("distribution", &["Kind", "K3d"]),
        ("lifecycle", &["Managed", "External"]),
    ] {
        for value in values {
            assert!(is_valid(&with_spec(&json!({field: value}))), "{field}: {value}");
        }
        assert!(!is_valid(&with_spec(&json!({field: "Other"}))), "{field}");
    }
}

#[test]
fn what_the_loader_refuses_for_its_form_does_not_validate() {
    for manifest in [
        json!({}),
        json!({"apiVersion": "v1", "kind": "Cluster", "metadata": {"name": "dev"}}),
        json!({"apiVersion": "ksail.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "Dev"}}),
        with_spec(&json!({"replicas": 1})),
        with_spec(&json!({"connection": {"timeout": "soon"}})),
        with_mirror(&json!({"upstream": "https://ghcr.io"})),
        with_mirror(&json!({"host": "https://ghcr.io", "upstream": "https://ghcr.io"})),
        with_mirror(&json!({"host": "*.io", "upstream": "https://ghcr.io"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io/v2"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "ghcr.io"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "port": 0})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "port": 65536})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "port": "5001"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "ttl": "7d"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "upstraem": "x"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "credentials": {"username": "a"}})),
        with_mirror(
            &json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "credentials": {"username": "a", "password": "b"}}),
        ),
        with_mirror(&json!({"host": "ghcr.io"})),
        with_mirror(&json!({"host": "localhost:5000", "ttl": "1h"})),
        with_mirror(&json!({"host": "localhost:5000", "proxy": {}})),
        with_mirror(&json!({"host": "localhost:5000", "ca": "ca.pem"})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "ca": ""})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "proxy": {"http": "socks5://p:1"}})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "proxy": {"noProxy": [1]}})),
        with_mirror(&json!({"host": "ghcr.io", "upstream": "https://ghcr.io", "credentials": {"passwordFile": "p"}})),
    ] {
        assert!(!is_valid(&manifest), "validates: {manifest}");
        assert!(load(manifest.to_string()).is_err(), "loads: {manifest}");
    }
}

#[test]
fn nothing_in_place_of_a_list_or_a_mapping_validates() {
    assert!(is_valid(&with_spec(&json!(null))));
    assert!(is_valid(&with_spec(&json!({"registries": null}))));
    assert!(is_valid(&with_spec(&json!({"registries": {"mirrors": null}}))));
}

#[test]
fn what_is_written_in_more_than_one_form_validates() {
    for mirror in [
        json!({"proxy": {}}),
        json!({"proxy": null, "ca": null}),
        json!({"proxy": {"https": "${PROXY}", "noProxy": ["a", ".b"]}, "ca": "ca.pem"}),
        json!({"credentials": {"usernameFile": "u", "passwordFile": "p"}}),
        json!({"credentials": {"username": "u", "passwordFile": "p"}}),
        json!({"credentials": {"fromDocker": true}}),
    ] {
        let mut whole = json!({"host": "ghcr.io", "upstream": "https://ghcr.io"});
        whole.as_object_mut().unwrap().extend(mirror.as_object().unwrap().clone());
        assert!(is_valid(&with_mirror(&whole)), "{mirror}");
    }
}

#[test]
fn a_manifest_with_variables_validates() {
    let text = with_mirrors(
        "    - {host: ghcr.io, upstream: 'https://${GH:-ghcr.io}'}\n    - {host: quay.io, upstream: '${QUAY}'}\n",
    );
    assert!(is_valid(&as_json(&text)));
}

#[test]
fn every_file_of_the_corpus_validates() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifest/corpus");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(is_valid(&as_json(text.trim_start_matches('\u{feff}'))), "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 40);
}
