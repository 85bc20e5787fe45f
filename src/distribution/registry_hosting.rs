//! Where tools in a cluster find the registry to push to: the `ConfigMap` of KEP-1755.
//!
//! <https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry>

use serde_json::{Value, json};

use crate::manifest::{Distribution, Host};
use crate::registry;

/// Namespace of the `ConfigMap`; everybody may read it.
pub const NAMESPACE: &str = "kube-public";
/// Its name.
pub const NAME: &str = "local-registry-hosting";
/// The one key in it.
const KEY: &str = "localRegistryHosting.v1";
/// Label and value that say that ksail wrote it.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ksail");

/// The registry that tools are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryHosting {
    /// The host in the manifest.
    mirror: String,
    /// What people push to: an address that this machine resolves, whatever the registry is called.
    host: String,
    /// What nodes and pods reach it by.
    inside: String,
    help: &'static str,
}

impl RegistryHosting {
    /// For the push registry of this host, which people push to at `pushed_to`, with this network alias.
    pub fn of(mirror: &Host, pushed_to: String, name: &str, distribution: Distribution) -> Self {
        let help = match distribution {
            Distribution::Kind => "https://kind.sigs.k8s.io/docs/user/local-registry/",
            Distribution::K3d => "https://k3d.io/stable/usage/registries/",
        };
        Self { mirror: mirror.to_string(), host: pushed_to, inside: format!("{name}:{}", registry::PORT), help }
    }

    /// The host in the manifest.
    pub fn mirror(&self) -> &str {
        &self.mirror
    }

    /// What people push to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The value of the `ConfigMap`'s key: four fields of YAML.
    fn document(&self) -> String {
        let Self { host, inside, help, .. } = self;
        format!(
            "host: \"{host}\"\nhostFromContainerRuntime: \"{inside}\"\nhostFromClusterNetwork: \"{inside}\"\nhelp: \"{help}\"\n"
        )
    }

    /// The whole `ConfigMap`, as JSON for `kubectl apply`.
    pub fn config_map(&self) -> String {
        let (label, value) = MANAGED_BY;
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {label: value}},
            "data": {KEY: self.document()},
        })
        .to_string()
    }
}

/// What a cluster says of its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertised {
    /// Nothing.
    Nothing,
    /// What ksail wrote.
    Ours(String),
    /// What somebody else wrote.
    Foreign,
    /// It could not be asked.
    Unknown(String),
}

impl Advertised {
    /// From what `kubectl get --ignore-not-found --output json` prints.
    pub fn read(output: &str) -> Self {
        if output.trim().is_empty() {
            return Self::Nothing;
        }
        let Ok(found) = serde_json::from_str::<Value>(output) else {
            return Self::Unknown("kubectl did not print JSON".to_owned());
        };
        let (label, value) = MANAGED_BY;
        match found["metadata"]["labels"][label].as_str() {
            Some(by) if by == value => Self::Ours(found["data"][KEY].as_str().unwrap_or_default().to_owned()),
            _ => Self::Foreign,
        }
    }

    /// Whether it is just what it should be.
    pub fn says(&self, hosting: &RegistryHosting) -> bool {
        matches!(self, Self::Ours(document) if *document == hosting.document())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosting() -> RegistryHosting {
        of("localhost:5001", "ksail-dev-localhost-5001")
    }

    fn of(host: &str, name: &str) -> RegistryHosting {
        RegistryHosting::of(&host.parse().unwrap(), host.to_owned(), name, Distribution::Kind)
    }

    #[test]
    fn all_four_fields_of_the_kep_are_there() {
        let map: Value = serde_json::from_str(&hosting().config_map()).unwrap();
        assert_eq!(
            (map["metadata"]["namespace"].as_str(), map["kind"].as_str()),
            (Some("kube-public"), Some("ConfigMap"))
        );
        let fields: serde_yaml::Value =
            serde_yaml::from_str(map["data"]["localRegistryHosting.v1"].as_str().unwrap()).unwrap();
        let expected = "
            host: localhost:5001
            hostFromContainerRuntime: ksail-dev-localhost-5001:5000
            hostFromClusterNetwork: ksail-dev-localhost-5001:5000
            help: https://kind.sigs.k8s.io/docs/user/local-registry/";
        assert_eq!(fields, serde_yaml::from_str::<serde_yaml::Value>(expected).unwrap());
    }

    #[test]
    fn what_is_there_is_ours_by_its_label_only() {
        assert_eq!(Advertised::read("\n"), Advertised::Nothing);
        assert!(Advertised::read(&hosting().config_map()).says(&hosting()));
        let other = of("localhost:5002", "x");
        assert!(!Advertised::read(&other.config_map()).says(&hosting()));
        let foreign = hosting().config_map().replace("\"ksail\"", "\"ctlptl\"");
        assert_eq!(Advertised::read(&foreign), Advertised::Foreign);
        assert!(matches!(Advertised::read("error"), Advertised::Unknown(_)));
    }
}
