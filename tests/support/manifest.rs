//! The text of a `ksail.yaml`.

use std::fmt::Write as _;

/// One entry of `spec.registries.mirrors`.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    pub(crate) host: String,
    pub(crate) upstream: Option<String>,
    pub(crate) port: Option<u16>,
    /// Further lines, without indentation.
    pub(crate) extra: Vec<String>,
}

impl Mirror {
    /// A pull-through cache.
    pub(crate) fn of(host: &str, upstream: &str, port: u16) -> Self {
        Self { host: host.to_owned(), upstream: Some(upstream.to_owned()), port: Some(port), extra: Vec::new() }
    }

    /// A push registry on `localhost:port`.
    pub(crate) fn push(port: u16) -> Self {
        Self { host: format!("localhost:{port}"), upstream: None, port: None, extra: Vec::new() }
    }

    /// The same mirror on another port.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self { port: Some(port), ..self.clone() }
    }

    pub(crate) fn with(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    /// The host as part of an object's name.
    pub(crate) fn slug(&self) -> String {
        self.host.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect()
    }

    /// The port on the host: the one given, or the one in the host.
    pub(crate) fn host_port(&self) -> u16 {
        let in_host = || self.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.port.or_else(in_host).expect("the tests give every mirror a port")
    }
}

/// A manifest for `cluster` with these mirrors.
pub(crate) fn manifest(cluster: &str, mirrors: &[Mirror]) -> String {
    manifest_in_state(cluster, "Present", mirrors)
}

/// A manifest for a cluster of another distribution than Kind.
pub(crate) fn manifest_of(distribution: &str, cluster: &str, mirrors: &[Mirror]) -> String {
    manifest(cluster, mirrors).replace("distribution: Kind", &format!("distribution: {distribution}"))
}

pub(crate) fn manifest_in_state(cluster: &str, state: &str, mirrors: &[Mirror]) -> String {
    let mut text = format!(
        "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {cluster}\nspec:\n  state: {state}\n  \
         distribution: Kind\n  lifecycle: External\n  registries:\n    mirrors:"
    );
    if mirrors.is_empty() {
        text.push_str(" []");
    }
    text.push('\n');
    for mirror in mirrors {
        let _ = writeln!(text, "      - host: {}", mirror.host);
        if let Some(upstream) = &mirror.upstream {
            let _ = writeln!(text, "        upstream: {upstream}");
        }
        if let Some(port) = mirror.port {
            let _ = writeln!(text, "        port: {port}");
        }
        for line in &mirror.extra {
            let _ = writeln!(text, "        {line}");
        }
    }
    text
}
