//! The proxy that a node's containerd asks in place of a mirror.
//!
//! kind gives a node the proxies of the machine that it is created on, k3d those of its `env:`; what is in the
//! environment of containerd counts. Addresses and networks in `NO_PROXY` are compared with addresses only, so that the
//! cluster's network in there does not help a mirror, which has a name.

use std::collections::BTreeMap;

use url::Host;

use crate::manifest::Distribution;
use crate::no_proxy::is_direct;
use crate::registry;

/// Where to say it on a node of kind: what is there wins over what kind itself gives to all services.
const DROP_IN: &str = "/etc/systemd/system/containerd.service.d/ksail.conf";

/// What a program's environment says of proxies for plain HTTP, as mirrors are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Without what it says of who asks.
    proxy: Option<String>,
    no_proxy: String,
}

impl ProxySettings {
    /// From environment variables.
    pub fn of(env: &BTreeMap<String, String>) -> Self {
        let first =
            |names: [&str; 2]| names.into_iter().filter_map(|name| env.get(name)).find(|value| !value.is_empty());
        Self {
            proxy: first(["HTTP_PROXY", "http_proxy"]).map(|url| without_who_asks(url)),
            no_proxy: first(["NO_PROXY", "no_proxy"]).cloned().unwrap_or_default(),
        }
    }

    /// From a process's `environ`, as the kernel shows it.
    pub fn of_process(environ: &str) -> Self {
        let pairs = environ.split('\0').filter_map(|pair| pair.split_once('='));
        Self::of(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Whether an environment is one that may have a proxy asked.
    pub fn are_in(env: &BTreeMap<String, String>) -> bool {
        // k3s hands those that begin with CONTAINERD_ to containerd.
        env.iter().any(|(name, value)| name.to_ascii_lowercase().ends_with("http_proxy") && !value.is_empty())
    }

    /// What is asked without a proxy, as `NO_PROXY` has it.
    pub fn no_proxy(&self) -> Option<&str> {
        Some(self.no_proxy.as_str()).filter(|said| !said.is_empty())
    }

    /// The proxy that is asked in place of the registry of this name.
    pub fn asked_for(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let host = Host::Domain(name.as_str());
        let is_direct = self.no_proxy.split(',').any(|entry| is_direct(entry, &host, registry::PORT));
        self.proxy.as_deref().filter(|_| !is_direct)
    }

    /// What is wrong when a proxy is asked in place of the registry `name`, and the lines to write, which are for `all`
    /// registries of the cluster.
    pub fn complaint<'a>(
        &'a self,
        distribution: Distribution,
        node: &str,
        name: &str,
        all: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let proxy = self.asked_for(name)?;
        let missing = all.into_iter().filter(|name| self.asked_for(name).is_some());
        let no_proxy = self.no_proxy().into_iter().chain(missing);
        let line = format!("NO_PROXY={}", no_proxy.collect::<Vec<_>>().join(","));
        let mend = match distribution {
            Distribution::Kind => format!(
                "in {DROP_IN} on the node, say Environment=\"{line}\" under [Service], then 'docker exec {node} systemctl daemon-reload' and 'docker exec {node} systemctl restart containerd'; or create the cluster again: kind gives its nodes the NO_PROXY that it is started with"
            ),
            Distribution::K3d => {
                format!("create the cluster again with '- envVar: {line}' beside HTTP_PROXY below 'env:' in k3d.yaml")
            }
        };
        Some(format!("containerd on {node} asks the proxy {proxy} in place of {name}:{}: {mend}", registry::PORT))
    }
}

/// `http://me:secret@proxy:3128/` as `http://proxy:3128`.
fn without_who_asks(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let at = rest.rsplit('@').next().unwrap_or(rest);
    let at = at.split(['/', '?', '#']).next().unwrap_or(at);
    format!("{scheme}://{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "ksail-dev-docker-io";

    fn settings(variables: &[(&str, &str)]) -> ProxySettings {
        ProxySettings::of(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_proxy_for_plain_http_is_asked_in_either_case_and_capitals_go_first() {
        assert_eq!(settings(&[("HTTP_PROXY", "http://a:1")]).asked_for(NAME), Some("http://a:1"));
        assert_eq!(settings(&[("http_proxy", "b:2")]).asked_for(NAME), Some("http://b:2"));
        let both = settings(&[
            ("HTTP_PROXY", "http://a:1"),
            ("http_proxy", "http://b:2"),
            ("NO_PROXY", ""),
            ("no_proxy", NAME),
        ]);
        assert_eq!(both.asked_for(NAME), None);
        assert_eq!(settings(&[("HTTPS_PROXY", "http://a:1"), ("ALL_PROXY", "http://a:1")]).asked_for(NAME), None);
        assert_eq!(settings(&[("HTTP_PROXY", "")]).asked_for(NAME), None);
        assert_eq!(ProxySettings::default().asked_for(NAME), None);
    }

    #[test]
    fn what_no_proxy_means_is_asked_directly() {
        let asked = |host: &str, no_proxy: &str| {
            settings(&[("HTTP_PROXY", "http://a:1"), ("NO_PROXY", no_proxy)]).asked_for(host).is_some()
        };
        for direct in ["*", NAME, "x, KSAIL-dev-docker-io ,y", "ksail-dev-docker-io:5000", "*:5000,*"] {
            assert!(!asked(NAME, direct), "{direct}");
        }
        for through in [
            "",
            ",",
            "ksail-dev",
            "docker-io",
            ".ksail-dev-docker-io",
            "ksail-dev-docker-io:80",
            "10.0.0.0/8",
            "172.18.0.2",
            "*:5000",
        ] {
            assert!(asked(NAME, through), "{through}");
        }
        for direct in ["example.com", ".example.com", "*.example.com", ".example.com:5000"] {
            assert!(!asked("hub.example.com", direct), "{direct}");
        }
        for through in ["ample.com", "*ample.com", "hub.example"] {
            assert!(asked("hub.example.com", through), "{through}");
        }
        assert!(asked("example.com", ".example.com") && asked("example.com", "*.example.com"));
    }

    #[test]
    fn who_asks_the_proxy_is_not_shown() {
        for url in ["http://me:hunter2@proxy:3128", "me:hunter2@proxy:3128", "http://me:hun@ter2@proxy:3128/x?y#z"] {
            let settings = settings(&[("HTTP_PROXY", url)]);
            assert_eq!(settings.asked_for(NAME), Some("http://proxy:3128"));
            assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        }
    }

    #[test]
    fn a_processs_environment_is_read_and_that_of_k3s_may_be_for_containerd() {
        let of_process = ProxySettings::of_process("PATH=/bin\0HTTP_PROXY=http://a:1\0NO_PROXY=x=y,z\0broken\0");
        assert_eq!(of_process, settings(&[("HTTP_PROXY", "http://a:1"), ("NO_PROXY", "x=y,z")]));
        let has = |name: &str| ProxySettings::are_in(&[(name.to_owned(), "a:1".to_owned())].into());
        assert!(has("HTTP_PROXY") && has("http_proxy") && has("CONTAINERD_HTTP_PROXY"));
        assert!(!has("HTTPS_PROXY") && !has("NO_PROXY"));
    }

    #[test]
    fn a_complaint_has_the_line_to_write_with_all_registries_of_the_cluster() {
        let settings =
            settings(&[("HTTP_PROXY", "http://me:hunter2@proxy:3128"), ("NO_PROXY", "10.96.0.0/16,ksail-dev-quay-io")]);
        let all = [NAME, "ksail-dev-ghcr-io", "ksail-dev-quay-io"];
        let complaint = |distribution| settings.complaint(distribution, "dev-worker", NAME, all).unwrap();
        insta::assert_snapshot!(complaint(Distribution::Kind), @r#"containerd on dev-worker asks the proxy http://proxy:3128 in place of ksail-dev-docker-io:5000: in /etc/systemd/system/containerd.service.d/ksail.conf on the node, say Environment="NO_PROXY=10.96.0.0/16,ksail-dev-quay-io,ksail-dev-docker-io,ksail-dev-ghcr-io" under [Service], then 'docker exec dev-worker systemctl daemon-reload' and 'docker exec dev-worker systemctl restart containerd'; or create the cluster again: kind gives its nodes the NO_PROXY that it is started with"#);
        insta::assert_snapshot!(complaint(Distribution::K3d), @"containerd on dev-worker asks the proxy http://proxy:3128 in place of ksail-dev-docker-io:5000: create the cluster again with '- envVar: NO_PROXY=10.96.0.0/16,ksail-dev-quay-io,ksail-dev-docker-io,ksail-dev-ghcr-io' beside HTTP_PROXY below 'env:' in k3d.yaml");
        assert_eq!(settings.complaint(Distribution::Kind, "dev-worker", "ksail-dev-quay-io", all), None);
    }
}
