//! What other programs of this name write into the file: KSail-Go, what became of it (`ksail.io`), and the one before.
//!
//! What does no harm unread is accepted and named. What would be missed, a list of registries or which cluster this is,
//! is a problem whose hint says the same in today's words.

use super::problems::Problem;
use super::tree::Node;
use super::values::{Host, PUBLIC, Upstream};

/// What they act on and ksail does not.
const NOT_ACTED_ON: [(&str, &[&str]); 2] = [
    ("metadata", &["labels", "annotations", "namespace"]),
    (
        "spec",
        &[
            "sourceDirectory",
            "cni",
            "csi",
            "metricsServer",
            "gitOpsEngine",
            "localRegistry",
            "options",
            "editor",
            "certManager",
            "localRegistryOptions",
            "policyEngine",
            "workload",
            "provider",
            "chat",
            "ingressController",
            "gatewayController",
            "secretManager",
            "deploymentTool",
            "generator",
            "publication",
            "validation",
            "template",
            "cli",
            "cluster",
            "project",
            "mirrorRegistries",
        ],
    ),
];

/// Which of them a file has, as dotted paths.
pub(crate) fn not_acted_on(root: &Node) -> Vec<String> {
    let listed = NOT_ACTED_ON.iter().flat_map(|(parent, fields)| {
        let entries = root.get(parent).map(Node::entries).unwrap_or_default();
        let names = entries.iter().filter_map(|(key, _)| key.text());
        names.filter(|name| fields.contains(name)).map(move |name| format!("{parent}.{name}"))
    });
    listed.collect()
}

/// Whether a field is accepted and not acted on.
pub(crate) fn is_accepted(key: &str) -> bool {
    NOT_ACTED_ON.iter().any(|(_, fields)| fields.contains(&key))
}

/// What a file says in another program's words and nowhere in ksail's.
pub(crate) fn acted_on_elsewhere(root: &Node) -> Vec<Problem> {
    let Some(spec) = root.get("spec") else { return Vec::new() };
    let list = spec.get("mirrorRegistries").filter(|list| !list.items().is_empty());
    let mut problems: Vec<_> = list.map(|node| self::list(node, "mirrorRegistries")).into_iter().collect();
    problems.extend(["cluster", "project"].iter().filter_map(|parent| settings(spec, parent)));
    problems
}

/// A list of registries where ksail would miss it.
pub(crate) fn list(node: &Node, key: &str) -> Problem {
    let problem = Problem::new(format!("'{key}' is a list, as another KSail writes it, and ksail would miss it"));
    problem.at(node.span.clone()).hint(format!("write below 'spec', in its place:\n{}", mirrors(node.items())))
}

/// The same list in today's words. What may be secret is not in it.
fn mirrors(items: &[Node]) -> String {
    let entries: Vec<_> = items.iter().filter_map(Entry::read).collect();
    let mut lines = vec!["  registries:".to_owned(), "    mirrors:".to_owned()];
    for Entry { host, upstream, port, has_credentials } in &entries {
        lines.push(format!("      - host: {host}"));
        lines.extend(upstream.as_ref().map(|upstream| format!("        upstream: {upstream}")));
        lines.extend(port.map(|port| format!("        port: {port}")));
        if *has_credentials {
            lines.push("        credentials: {username: \"${USERNAME}\", password: \"${PASSWORD}\"}".to_owned());
        }
    }
    if entries.len() < items.len() {
        lines.push(format!("      # and {} more, whose address is not one", items.len() - entries.len()));
    }
    lines.join("\n")
}

/// One registry of such a list.
struct Entry {
    host: Host,
    upstream: Option<Upstream>,
    port: Option<u16>,
    has_credentials: bool,
}

impl Entry {
    /// `NAME=URL`, or a mapping with a name, a port and the URL of what it is a proxy of.
    fn read(item: &Node) -> Option<Self> {
        if let Some(text) = item.text() {
            let (name, url) = text.split_once('=').map_or((text, None), |(name, url)| (name, Some(url)));
            return Self::new(Some(name), url, None, false);
        }
        let text = |keys: &[&str]| keys.iter().find_map(|key| item.get(key)).and_then(Node::text);
        let url = item.get("proxy").and_then(|proxy| proxy.get("url")).and_then(Node::text);
        let url = url.or_else(|| text(&["upstream", "url"]));
        let port = text(&["hostPort", "port"]).and_then(|port| port.parse().ok());
        // The name is that of a container, unless it happens to be what images call the registry.
        let name = text(&["host", "name"]).filter(|name| url.is_none() || PUBLIC.contains(name));
        Self::new(name, url, port, item.get("username").is_some() || item.get("password").is_some())
    }

    fn new(name: Option<&str>, url: Option<&str>, port: Option<u16>, has_credentials: bool) -> Option<Self> {
        let named = name.and_then(|name| name.parse::<Host>().ok());
        let Some(url) = url else {
            let well_known = named.filter(|host| host.name() != "localhost" && port.is_none());
            return match (well_known, port) {
                (Some(host), _) => {
                    let upstream = Some(Upstream::well_known(&host));
                    Some(Self { host, upstream, port, has_credentials })
                }
                (None, Some(port)) => {
                    let host = format!("localhost:{port}").parse().ok()?;
                    Some(Self { host, upstream: None, port: None, has_credentials: false })
                }
                (None, None) => None,
            };
        };
        let upstream: Upstream = url.trim_end_matches('/').parse().ok()?;
        // Docker Hub answers under another name than images call it by.
        let called = match upstream.host() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            host => host,
        };
        let host = named.or_else(|| called.parse().ok())?;
        Some(Self { host, upstream: Some(upstream), port, has_credentials })
    }
}

/// What `cluster` or `project` says that belongs below `spec`, unless it is there as well.
fn settings(spec: &Node, parent: &str) -> Option<Problem> {
    let (key, inside) = spec.entry(parent)?;
    let mut lines = Vec::new();
    let lacking = |name: &str| spec.get(name).is_none_or(Node::is_null);
    let value = |names: &[&str]| names.iter().find_map(|name| inside.get(name)).filter(|node| !node.is_null());
    if let Some(node) = value(&["distribution"]).filter(|_| lacking("distribution")) {
        let Some(distribution) = node.text().and_then(distribution) else {
            let problem = Problem::new("ksail keeps the registries of kind and k3d clusters, and this is neither");
            return Some(problem.at(node.span.clone()).hint("see 'ksail cluster init --help'"));
        };
        lines.push(format!("  distribution: {distribution}"));
    }
    // The last of these became the path of ksail.yaml itself.
    let config = value(&["distributionConfig", "distributionConfigPath"])
        .or_else(|| value(&["configPath"]).filter(|node| node.text().is_some_and(|path| !path.contains("ksail"))));
    if let Some(path) = config.filter(|_| lacking("distributionConfig")).and_then(Node::text) {
        lines.push(format!("  distributionConfig: {}", path.trim_start_matches("./")));
    }
    if let Some(connection) = value(&["connection"]).filter(|_| lacking("connection")) {
        let fields = ["kubeconfig", "context", "timeout"].iter().filter_map(|name| Some((name, connection.get(name)?)));
        let fields: Vec<_> = fields.filter_map(|(name, node)| Some(format!("    {name}: {}", node.text()?))).collect();
        if !fields.is_empty() {
            lines.push("  connection:".to_owned());
            lines.extend(fields);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let problem = Problem::new(format!("'{parent}' says what ksail reads below 'spec' itself, and would miss"));
    Some(problem.at(key.span.clone()).hint(format!("write below 'spec', beside '{parent}':\n{}", lines.join("\n"))))
}

/// kind makes what they call vanilla or native, and k3d runs k3s.
fn distribution(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "kind" | "vanilla" | "native" => Some("Kind"),
        "k3d" | "k3s" => Some("K3d"),
        _ => None,
    }
}
