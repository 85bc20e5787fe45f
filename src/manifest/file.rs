//! The file as written: every field may be missing, and nothing has been checked but its form.
//! The doc comments are the descriptions of the published JSON Schema.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::types::{Distribution, Lifecycle, State, VolumePolicy};
use super::values::DURATION;

/// The local OCI registries of one Kubernetes development cluster, kept running by ksail.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ksail.yaml", extend("required" = ["apiVersion", "kind"], "patternProperties" = {"^x-": true}))]
pub(crate) struct Manifest {
    /// Version of this format: `ksail.dev/v1alpha1`; `ksail.io/v1alpha1`, as `KSail` after KSail-Go writes it, is taken for the same.
    #[serde(rename = "apiVersion")]
    #[schemars(with = "String", regex(pattern = r"^ksail\.(dev|io)/v1alpha1$"), extend("examples" = ["ksail.dev/v1alpha1"]))]
    pub(crate) api_version: Option<String>,
    /// Kind of object.
    #[schemars(with = "String", extend("const" = "Cluster"))]
    pub(crate) kind: Option<String>,
    /// What the cluster is called.
    pub(crate) metadata: Option<Metadata>,
    /// What should exist.
    pub(crate) spec: Option<Spec>,
}

/// What the cluster is called.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"], "patternProperties" = {"^x-": true}))]
pub(crate) struct Metadata {
    /// Name of the cluster: a DNS label of at most 40 characters. Containers, volumes and network aliases are named after it.
    #[schemars(with = "String", length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), extend("examples" = ["dev"]))]
    pub(crate) name: Option<String>,
    /// Not acted on by ksail.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Not acted on by ksail.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    /// `KSail` after KSail-Go: namespace of its own object. Not acted on by ksail.
    pub(crate) namespace: Option<String>,
}

/// What should exist.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub(crate) struct Spec {
    /// Whether the cluster's registries should exist.
    #[schemars(extend("default" = "Present"))]
    pub(crate) state: Option<State>,
    /// What makes, or made, the cluster.
    #[schemars(extend("default" = "Kind"))]
    pub(crate) distribution: Option<Distribution>,
    /// The distribution's own configuration file, relative to this file.
    #[schemars(extend("examples" = ["kind.yaml", "k3d.yaml"]))]
    pub(crate) distribution_config: Option<String>,
    /// Who creates and deletes the cluster.
    #[schemars(extend("default" = "Managed"))]
    pub(crate) lifecycle: Option<Lifecycle>,
    /// How to reach the cluster's API.
    pub(crate) connection: Option<Connection>,
    /// The registries beside the cluster.
    pub(crate) registries: Option<Registries>,
    /// KSail-Go: folder of the manifests to apply. Not acted on by ksail.
    pub(crate) source_directory: Option<String>,
    /// KSail-Go: network plugin. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) cni: Option<serde_yaml::Value>,
    /// KSail-Go: storage plugin. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) csi: Option<serde_yaml::Value>,
    /// KSail-Go: metrics server. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) metrics_server: Option<serde_yaml::Value>,
    /// KSail-Go: `GitOps` engine. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) git_ops_engine: Option<serde_yaml::Value>,
    /// KSail-Go: its one local registry. Not acted on by ksail: write a mirror `host: localhost:PORT` without `upstream`.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) local_registry: Option<serde_yaml::Value>,
    /// KSail-Go: options of its parts. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) options: Option<serde_yaml::Value>,
    /// KSail-Go: command of an editor. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) editor: Option<serde_yaml::Value>,
    /// KSail-Go: certificates. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) cert_manager: Option<serde_yaml::Value>,
    /// KSail-Go: options of its one local registry. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) local_registry_options: Option<serde_yaml::Value>,
    /// `KSail` after KSail-Go: policies. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) policy_engine: Option<serde_yaml::Value>,
    /// `KSail` after KSail-Go: what it deploys. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) workload: Option<serde_yaml::Value>,
    /// `KSail` after KSail-Go: options of its providers. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) provider: Option<serde_yaml::Value>,
    /// `KSail` after KSail-Go: its assistant. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) chat: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: ingress. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) ingress_controller: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: gateway. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) gateway_controller: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: secrets. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) secret_manager: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: how it deploys. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) deployment_tool: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: what it generates. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) generator: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: what it publishes. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) publication: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: what it validates. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) validation: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: its templates. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) template: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: its commands. Not acted on by ksail.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) cli: Option<serde_yaml::Value>,
    /// `KSail` after KSail-Go: its cluster. Not acted on by ksail; 'distribution', 'distributionConfig' and 'connection' stand below 'spec'.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) cluster: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: its project. Not acted on by ksail; 'distribution' and 'distributionConfig' stand below 'spec'.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) project: Option<serde_yaml::Value>,
    /// `KSail` before KSail-Go: whether it has mirrors. A list of them is written below 'registries', as 'mirrors'.
    #[schemars(with = "Option<serde_json::Value>", extend("not" = {"type": "array", "minItems": 1}))]
    pub(crate) mirror_registries: Option<serde_yaml::Value>,
}

/// How to reach the cluster's API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub(crate) struct Connection {
    /// Path of the kubeconfig.
    #[schemars(extend("examples" = ["~/.kube/config"]))]
    pub(crate) kubeconfig: Option<String>,
    /// Context in the kubeconfig.
    #[schemars(extend("examples" = ["kind-dev", "k3d-dev"]))]
    pub(crate) context: Option<String>,
    /// Longest time to wait for the cluster, as 30s, 5m or 1h30m.
    #[schemars(regex(pattern = DURATION), extend("examples" = ["5m"]))]
    pub(crate) timeout: Option<String>,
}

/// The registries beside the cluster.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub(crate) struct Registries {
    /// Image of every registry container.
    #[schemars(length(min = 1), extend("default" = "registry:3", "examples" = ["registry:3", "registry:2"]))]
    pub(crate) image: Option<String>,
    /// What becomes of the volume of a mirror that leaves the list.
    #[schemars(extend("default" = "Retain"))]
    pub(crate) volume_policy: Option<VolumePolicy>,
    /// What every mirror goes through to reach its upstream. Without it, what the docker CLI would give a new container.
    pub(crate) proxy: Option<Proxy>,
    /// One registry each. An empty list, or none, removes every registry of this cluster.
    pub(crate) mirrors: Option<Vec<Mirror>>,
}

/// One registry: with an `upstream` a pull-through cache, without one a registry to push to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend(
    "required" = ["host"],
    "patternProperties" = {"^x-": true},
    "if" = {"required": ["upstream"], "properties": {"upstream": {"type": "string"}}},
    "else" = {"properties": {"host": {"not": {"enum": ["docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "quay.io", "registry.k8s.io", "localhost"]}}, "ttl": {"type": "null"}, "credentials": {"type": "null"}, "proxy": {"type": "null"}, "ca": {"type": "null"}}}
))]
pub(crate) struct Mirror {
    /// What image references say: HOST or HOST:PORT. A registry to push to on this machine is localhost:PORT.
    #[schemars(with = "String", regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?$"), extend("examples" = ["docker.io", "ghcr.io", "localhost:5000"]))]
    pub(crate) host: Option<String>,
    /// Where a pull-through cache gets what it does not have: <scheme://host[:port]>, without a path. ${VAR} and ${VAR:-default} are taken from the environment.
    #[schemars(regex(pattern = r"^(https?://[^/?#@\s]+|.*\$\{.*)$"), extend("examples" = ["https://registry-1.docker.io"]))]
    pub(crate) upstream: Option<String>,
    /// Port of this machine. Omitted: a free one of the engine's choice, or the one in a push registry's host.
    #[schemars(range(min = 1, max = 65535), extend("examples" = [5001]))]
    pub(crate) port: Option<i64>,
    /// Address of this machine to listen on.
    #[schemars(extend("default" = "127.0.0.1"))]
    pub(crate) listen_address: Option<String>,
    /// Whether nodes may go to the upstream themselves when the mirror fails.
    #[schemars(extend("default" = true))]
    pub(crate) fallback: Option<bool>,
    /// How long cached content stays, as 168h; 0s is for ever.
    #[schemars(regex(pattern = DURATION), extend("default" = "0s", "examples" = ["168h"]))]
    pub(crate) ttl: Option<String>,
    /// For the upstream.
    #[schemars(extend("anyOf" = [
        {"type": "null"},
        {"required": ["username", "password"]},
        {"required": ["username", "passwordFile"]},
        {"required": ["usernameFile", "password"]},
        {"required": ["usernameFile", "passwordFile"]},
        {"required": ["fromDocker"]},
    ]))]
    pub(crate) credentials: Option<Credentials>,
    /// What this mirror goes through, in place of the proxy of all of them; {} is none.
    pub(crate) proxy: Option<Proxy>,
    /// PEM file, relative to this file, of certificate authorities that the registry trusts besides those of its image.
    #[schemars(length(min = 1), extend("examples" = ["company-ca.pem"]))]
    pub(crate) ca: Option<String>,
}

/// What a registry goes through to reach its upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub(crate) struct Proxy {
    /// For upstreams at http://. ${VAR} and ${VAR:-default} are taken from the environment; a password can be nothing else.
    #[schemars(regex(pattern = PROXY), extend("examples" = ["http://proxy.example.com:3128"]))]
    pub(crate) http: Option<String>,
    /// For upstreams at https://. ${VAR} and ${VAR:-default} are taken from the environment; a password can be nothing else.
    #[schemars(regex(pattern = PROXY), extend("examples" = ["http://proxy.example.com:3128"]))]
    pub(crate) https: Option<String>,
    #[expect(clippy::struct_field_names, reason = "it is called like the variable")]
    /// Hosts, domains and ranges that are reached without it, as a list or with commas. What is local is added.
    #[serde(default)]
    #[schemars(schema_with = "texts", extend("examples" = [["registry.example.com", ".internal", "10.0.0.0/8"]]))]
    pub(crate) no_proxy: Option<serde_yaml::Value>,
}

/// What the address of a proxy is, unless it refers to variables.
const PROXY: &str = r"^([Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]+/?|.*\$\{.*)$";

/// A list of texts, or one text.
fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["array", "string", "null"], "items": {"type": "string"}})
}

/// Who the registry is to its upstream: user name and password from the environment or from files, or what `docker login`
/// stored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub(crate) struct Credentials {
    /// User name. ${VAR} and ${VAR:-default} are taken from the environment.
    #[schemars(extend("examples" = ["${HUB_USER}"]))]
    pub(crate) username: Option<String>,
    /// Password or token, as ${VAR} or ${VAR:-default} and nothing else.
    #[schemars(regex(pattern = r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"), extend("examples" = ["${HUB_TOKEN}"]))]
    pub(crate) password: Option<String>,
    /// File that holds the user name, relative to this file. A line end after it is no part of it.
    #[schemars(length(min = 1), extend("examples" = ["secrets/username"]))]
    pub(crate) username_file: Option<String>,
    /// File that holds the password or token, relative to this file. A line end after it is no part of it.
    #[schemars(length(min = 1), extend("examples" = ["secrets/password"]))]
    pub(crate) password_file: Option<String>,
    /// Whether what `docker login` stored for the upstream's host is used, credential helpers included.
    pub(crate) from_docker: Option<bool>,
}
