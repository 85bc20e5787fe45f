//! `ksail schema`, and what validates against it.

use std::fs;

use serde_json::Value;

use crate::ran::{Project, repository};

const EVERY_FIELD: &str = "
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: dev
  labels: {team: shop}
  annotations: {note: none}
  namespace: default
spec:
  state: Purged
  distribution: K3d
  distributionConfig: k3d.yaml
  lifecycle: External
  connection: {kubeconfig: ~/.kube/config, context: k3d-dev, timeout: 5m}
  registries:
    image: registry:2
    volumePolicy: Delete
    proxy: {http: 'http://proxy:3128', https: 'http://ann:${HUB_PASSWORD:-none}@proxy:3128', noProxy: [.internal]}
    mirrors:
      - host: docker.io
        upstream: https://registry-1.docker.io
        port: 5001
        listenAddress: 127.0.0.1
        fallback: false
        ttl: 168h
        credentials: {username: '${HUB_USER:-ann}', password: '${HUB_PASSWORD:-none}', usernameFile: ~, passwordFile: ~, fromDocker: false}
        proxy: {http: 'http://proxy:3128', https: ~, noProxy: 'a.example,10.0.0.0/8'}
        ca: ~
      - host: localhost:5000
  sourceDirectory: k8s
  cni: Default
  csi: Default
  metricsServer: Enabled
  gitOpsEngine: None
  localRegistry: Enabled
  options: {kind: {}}
  editor: code --wait
  certManager: Enabled
  localRegistryOptions: {hostPort: 5111}
  policyEngine: None
  workload: {sourceDirectory: k8s}
  provider: {}
  chat: {model: auto}
  cluster: {cni: Default}
  ingressController: None
  gatewayController: None
  secretManager: None
  deploymentTool: Flux
  generator: {overwrite: false}
  publication: {}
  validation: {}
  template: {}
  cli: {}
  project: {mirrorRegistries: true}
  mirrorRegistries: []
";

fn errors(schema: &Value, manifest: &str) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let manifest: Value = serde_yaml::from_str(manifest).unwrap();
    validator.iter_errors(&manifest).map(|error| format!("{}: {error}", error.instance_path)).collect()
}

fn schema() -> Value {
    serde_json::from_str(&Project::new().succeeds(&["schema"])).unwrap()
}

#[test]
fn the_schema_is_one_by_its_own_standard() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::draft202012::meta::validate(&schema).unwrap();
}

#[test]
fn every_field_validates_and_a_wrong_one_does_not() {
    let schema = schema();
    assert_eq!(errors(&schema, EVERY_FIELD), Vec::<String>::new());
    Project::with(EVERY_FIELD).succeeds(&["validate"]);
    let wrong = [
        ("port: 5001", "port: high"),
        ("upstream:", "upstraem:"),
        ("Purged", "Gone"),
        ("168h", "7d"),
        ("name: dev", "name: Dev"),
    ];
    for (right, wrong) in wrong {
        assert_ne!(errors(&schema, &EVERY_FIELD.replace(right, wrong)), Vec::<String>::new(), "{wrong}");
    }
}

/// Walks the schema beside a manifest: a field of the schema that [`EVERY_FIELD`] does not have would go untested.
fn missing(schema: &Value, manifest: &Value, at: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        match manifest.get(name) {
            Some(value) => missing(field, value, &format!("{at}.{name}"), found),
            None => found.push(format!("{at}.{name}")),
        }
    }
    let first = manifest.as_array().and_then(|items| items.first());
    if let (Some(items), Some(first)) = (schema.get("items"), first) {
        missing(items, first, &format!("{at}[]"), found);
    }
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        missing(alternative, manifest, at, found);
    }
}

#[test]
fn no_field_of_the_schema_is_left_out_above_and_each_has_a_description() {
    let manifest: Value = serde_yaml::from_str(EVERY_FIELD).unwrap();
    let mut found = Vec::new();
    missing(&schema(), &manifest, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_init_writes_names_the_schema_beside_it_and_validates() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--mirror-registry", "docker.io", "--local-registry", "localhost:5999"]);
    assert!(project.read("ksail.yaml").starts_with("# yaml-language-server: $schema=./ksail.schema.json\n"));
    assert_eq!(project.read("ksail.schema.json"), project.succeeds(&["schema"]));
    assert_eq!(errors(&schema(), &project.read("ksail.yaml")), Vec::<String>::new());
}

#[test]
fn every_example_validates() {
    let schema = schema();
    let directories = fs::read_dir(repository("examples")).unwrap().map(|entry| entry.unwrap().path());
    let manifests: Vec<_> = directories.map(|path| path.join("ksail.yaml")).filter(|path| path.is_file()).collect();
    assert!(manifests.len() >= 3, "{manifests:?}");
    for path in manifests {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(errors(&schema, &text), Vec::<String>::new(), "{}", path.display());
        Project::new().succeeds(&["validate", "-f", path.to_str().unwrap()]);
    }
}
