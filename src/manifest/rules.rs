//! From the file as written to what it means, and every rule it breaks on the way.

mod beside;
mod credentials;
mod upstream;
mod way;

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::expand::{Environment, ExpandError, expand};
use super::file;
use super::foreign;
use super::problems::Problem;
use super::shape::is_misspelt;
use super::tree::{Kind, Node};
use super::types::{Connection, Manifest, Mirror, Proxy, Registries};
use super::values::{ClusterName, Host, InvalidValue, PUBLIC, Upstream, check_image, parse_duration};

/// The one version of the format.
pub(crate) const API_VERSION: &str = "ksail.dev/v1alpha1";
/// What the successor of KSail-Go calls it. Its files say the rest in other words, which [`foreign`] knows.
const LATER_API_VERSION: &str = "ksail.io/v1alpha1";
/// The one kind of object.
pub(crate) const KIND: &str = "Cluster";

/// Checks every rule; without a problem, the manifest is there.
pub(crate) fn apply(
    path: &Path,
    file: file::Manifest,
    root: &Node,
    environment: Environment,
    beside: Beside,
) -> (Option<Manifest>, Vec<Problem>) {
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut rules = Rules { environment, directory, beside, problems: Vec::new() };
    rules.header(&file, root);
    let spec = file.spec.unwrap_or_default();
    let context = spec.connection.as_ref().and_then(|connection| connection.context.as_deref());
    let name = rules.name(file.metadata.and_then(|metadata| metadata.name), context, root);
    let at = root.get("spec");
    let distribution_config = spec.distribution_config.map(PathBuf::from);
    if distribution_config.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        rules.report(
            at.and_then(|spec| spec.get("distributionConfig")),
            Problem::new("the path is empty").hint("leave the field out"),
        );
    }
    let connection = rules.connection(spec.connection.unwrap_or_default(), at.and_then(|spec| spec.get("connection")));
    let registries = spec.registries.unwrap_or_default();
    let registries = rules.registries(registries, name.as_ref(), at.and_then(|spec| spec.get("registries")));
    let manifest = name.map(|name| Manifest {
        path: path.to_owned(),
        name,
        state: spec.state.unwrap_or_default(),
        distribution: spec.distribution.unwrap_or_default(),
        distribution_config,
        lifecycle: spec.lifecycle.unwrap_or_default(),
        connection,
        registries,
        not_acted_on: foreign::not_acted_on(root),
    });
    rules.problems.extend(foreign::acted_on_elsewhere(root));
    (manifest, rules.problems)
}

/// kind and k3d name their contexts after the cluster: `kind-dev`, `k3d-dev`.
fn cluster_of_context(context: &str) -> Option<ClusterName> {
    let name = ["kind-", "k3d-"].iter().find_map(|prefix| context.strip_prefix(prefix))?;
    name.parse().ok()
}

/// Whether what a manifest refers to is looked at: files beside it, and what `docker login` stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// It is part of what the manifest means.
    Read,
    /// It is not asked for.
    Left,
}

struct Rules<'a> {
    environment: Environment<'a>,
    /// What paths are relative to.
    directory: PathBuf,
    beside: Beside,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn report(&mut self, at: Option<&Node>, problem: Problem) {
        let problem = match at {
            Some(node) => problem.at(node.span.clone()),
            None => problem.at(0..0),
        };
        self.problems.push(problem);
    }

    fn invalid(&mut self, at: Option<&Node>, error: InvalidValue) {
        let problem = Problem { hint: error.hint, ..Problem::new(error.problem) };
        self.report(at, problem);
    }

    fn parse<T: FromStr<Err = InvalidValue>>(&mut self, at: Option<&Node>, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.invalid(at, error)).ok()
    }

    fn duration(&mut self, at: Option<&Node>, text: &str) -> Option<Duration> {
        parse_duration(text).map_err(|error| self.invalid(at, error)).ok()
    }

    fn header(&mut self, file: &file::Manifest, root: &Node) {
        for (key, found, wanted) in [("apiVersion", &file.api_version, API_VERSION), ("kind", &file.kind, KIND)] {
            match found {
                Some(found) if found == wanted || (key == "apiVersion" && found == LATER_API_VERSION) => {}
                Some(found) => {
                    let problem = Problem::new(format!("'{found}' is not a known {key}"))
                        .hint(format!("write '{key}: {wanted}'"));
                    self.report(root.get(key), problem);
                }
                None if given(root.get(key)) => {}
                None => self.missing(root, key, &format!("'{key}: {wanted}'")),
            }
        }
    }

    /// Points at the key that should contain the missing one, or at the start of the file.
    fn missing(&mut self, parent: &Node, key: &str, add: &str) {
        let start = parent.span.start;
        let problem = Problem::new(format!("'{key}' is missing")).hint(format!("add {add}"));
        self.problems.push(problem.at(start..start + 1));
    }

    /// KSail-Go's manifests have no `metadata`; the context it writes names the cluster.
    fn name(&mut self, name: Option<String>, context: Option<&str>, root: &Node) -> Option<ClusterName> {
        let at = root.get("metadata").and_then(|metadata| metadata.get("name"));
        match (name, context.and_then(cluster_of_context)) {
            (Some(name), _) => self.parse(at, &name),
            (None, _) if given(at) || is_misspelt(root, "metadata") => None,
            (None, _) if root.get("metadata").is_some_and(|metadata| is_misspelt(metadata, "name")) => None,
            (None, Some(cluster)) => Some(cluster),
            (None, None) => {
                let problem = Problem::new("'metadata.name' is missing")
                    .hint("add 'metadata:' and below it, indented, 'name: dev'");
                match root.entry("metadata") {
                    Some((key, _)) => self.report(Some(key), problem.label("has no 'name'")),
                    None => self.problems.push(problem.at(root.span.start..root.span.start + 1)),
                }
                None
            }
        }
    }

    fn connection(&mut self, file: file::Connection, at: Option<&Node>) -> Connection {
        for (key, value) in [("kubeconfig", &file.kubeconfig), ("context", &file.context)] {
            if value.as_ref().is_some_and(String::is_empty) {
                self.report(
                    at.and_then(|at| at.get(key)),
                    Problem::new(format!("'{key}' is empty")).hint("leave the field out"),
                );
            }
        }
        let node = at.and_then(|at| at.get("timeout"));
        let timeout = file.timeout.and_then(|text| self.duration(node, &text));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            self.report(
                node,
                Problem::new("a timeout is longer than zero")
                    .hint("write a duration such as 5m, or leave the field out"),
            );
        }
        Connection { kubeconfig: file.kubeconfig, context: file.context, timeout }
    }

    fn registries(&mut self, file: file::Registries, cluster: Option<&ClusterName>, at: Option<&Node>) -> Registries {
        let proxy = file.proxy.map(|proxy| self.proxy(proxy, at.and_then(|at| at.get("proxy"))));
        if let Some(Err(error)) = file.image.as_deref().map(check_image) {
            self.invalid(at.and_then(|at| at.get("image")), error);
        }
        let nodes = at.and_then(|at| at.get("mirrors")).map(Node::items).unwrap_or_default();
        let mut mirrors = Vec::new();
        let mut kept = Vec::new();
        for (mirror, node) in file.mirrors.unwrap_or_default().into_iter().zip(nodes) {
            if let Some(mirror) = self.mirror(mirror, node, proxy.as_ref()) {
                self.is_not_its_own_upstream(&mirror, cluster, node);
                mirrors.push(mirror);
                kept.push(node);
            }
        }
        self.distinct_hosts(&mirrors, &kept);
        self.distinct_ports(&mirrors, &kept);
        Registries {
            image: file.image.unwrap_or_else(|| Registries::IMAGE.to_owned()),
            volume_policy: file.volume_policy.unwrap_or_default(),
            mirrors,
        }
    }

    /// The mirror if its host is good, whatever else is wrong, so that it counts among its neighbours.
    fn mirror(&mut self, file: file::Mirror, node: &Node, common: Option<&Proxy>) -> Option<Mirror> {
        let host_at = node.get("host");
        let host = match &file.host {
            Some(host) => self.parse::<Host>(host_at, host),
            None if given(host_at) || !matches!(node.target().kind, Kind::Mapping { .. }) => None,
            None if is_misspelt(node, "host") => None,
            None => {
                let problem = Problem::new("the mirror has no 'host'");
                self.report(
                    Some(node),
                    problem.hint("add what image references start with, such as 'host: docker.io'"),
                );
                None
            }
        };
        let port_at = node.get("port");
        let port = file.port.and_then(|port| self.port(port_at, port));
        let listen_address = file.listen_address.map_or(Some(Mirror::LISTEN_ADDRESS), |address| {
            let parsed = address.parse::<IpAddr>();
            if parsed.is_err() {
                let problem = Problem::new(format!("'{address}' is not an IP address"));
                self.report(
                    node.get("listenAddress"),
                    problem.hint("write 127.0.0.1, 0.0.0.0 or another address of this machine"),
                );
            }
            parsed.ok()
        });
        let ttl = file.ttl.and_then(|ttl| self.duration(node.get("ttl"), &ttl));
        let is_mirror = given(node.get("upstream")) || is_misspelt(node, "upstream");
        let upstream = file.upstream.and_then(|upstream| self.upstream(node.get("upstream"), &upstream));
        if !is_mirror {
            self.nothing_of_a_mirror(node);
        }
        let of_mirror = |at: &str| node.get(at).filter(|_| is_mirror);
        let credentials = file.credentials.filter(|_| is_mirror);
        let credentials =
            credentials.and_then(|file| self.credentials(file, node.get("credentials"), upstream.as_ref()));
        let proxy = of_mirror("proxy").and_then(|at| Some(self.proxy(file.proxy?, Some(at))));
        let ca = of_mirror("ca").and_then(|at| self.ca(&file.ca?, at));
        let host = host?;
        let port = if is_mirror { port } else { self.push_port(&host, port, node) };
        Some(Mirror {
            host,
            upstream,
            port,
            // An address that is none can only follow a problem.
            listen_address: listen_address.unwrap_or(Mirror::LISTEN_ADDRESS),
            fallback: file.fallback.unwrap_or(true),
            ttl: ttl.unwrap_or_default(),
            credentials,
            proxy: proxy.or_else(|| common.filter(|_| is_mirror).cloned()),
            ca,
        })
    }

    fn port(&mut self, at: Option<&Node>, port: i64) -> Option<u16> {
        match u16::try_from(port) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                let hint = match port {
                    0 => "ports are 1 to 65535; leave the field out for a free one",
                    _ => "ports are 1 to 65535",
                };
                self.report(at, Problem::new(format!("{port} is not a port")).hint(hint));
                None
            }
        }
    }

    /// Without an upstream it is a registry to push to, where these mean nothing.
    fn nothing_of_a_mirror(&mut self, node: &Node) {
        for field in ["ttl", "credentials", "proxy", "ca"] {
            if let Some((key, value)) = node.entry(field)
                && !value.is_null()
            {
                let problem = Problem::new(format!("'{field}' is for the upstream, and this mirror has none"));
                self.report(Some(key), problem.hint("add 'upstream', or remove this"));
            }
        }
    }

    fn push_port(&mut self, host: &Host, port: Option<u16>, node: &Node) -> Option<u16> {
        let host_at = node.get("host");
        if PUBLIC.contains(&host.name()) {
            let problem =
                Problem::new(format!("'{host}' is a public registry, and this mirror of it has no 'upstream'"));
            let hint = format!(
                "add 'upstream: {}', or write 'host: localhost:5000' for a registry to push to",
                Upstream::well_known(host)
            );
            self.report(host_at, problem.hint(hint));
            return port;
        }
        let own = match (host.name(), host.port()) {
            ("localhost", Some(own)) => own,
            ("localhost" | "127.0.0.1", own) => {
                let problem =
                    Problem::new(format!("a registry to push to on this machine is localhost:PORT, not '{host}'"));
                self.report(host_at, problem.hint(format!("write 'localhost:{}'", own.or(port).unwrap_or(5000))));
                return port;
            }
            // A name of somebody's own, which resolves to this machine for those who push.
            (_, own) => return port.or(own),
        };
        if let Some(port) = port.filter(|port| *port != own) {
            let mut problem = Problem::new(format!("the port is {port} here and {own} in 'host'"));
            if let Some(host_at) = host_at {
                problem = problem.related(host_at.span.clone(), "the host says so here");
            }
            self.report(node.get("port"), problem.hint("remove 'port': a registry to push to has the one in its host"));
        }
        Some(own)
    }

    fn expand(&mut self, at: Option<&Node>, written: &str) -> Option<String> {
        match expand(written, self.environment) {
            Ok(expanded) => Some(expanded),
            Err(error) => {
                let hint = match &error {
                    ExpandError::NotAReference { .. } => "write ${NAME} or ${NAME:-default}".to_owned(),
                    ExpandError::Unset { name } | ExpandError::Empty { name } => {
                        format!("set it, as in 'export {name}=…', or write ${{{name}:-default}}")
                    }
                };
                let problem = Problem::new(error.to_string()).hint(hint);
                let unset = !matches!(error, ExpandError::NotAReference { .. });
                self.report(at, if unset { problem.of_environment() } else { problem });
                None
            }
        }
    }

    fn distinct_hosts(&mut self, mirrors: &[Mirror], nodes: &[&Node]) {
        for (index, mirror) in mirrors.iter().enumerate() {
            if let Some(first) = mirrors[..index].iter().position(|other| other.host == mirror.host) {
                let problem = Problem::new(format!("the host '{}' is here twice", mirror.host));
                self.twice(
                    problem,
                    field(nodes[index], "host"),
                    field(nodes[first], "host"),
                    "remove one of the two mirrors",
                );
            }
        }
    }

    fn distinct_ports(&mut self, mirrors: &[Mirror], nodes: &[&Node]) {
        for (index, mirror) in mirrors.iter().enumerate() {
            let Some(port) = mirror.port else { continue };
            let clashes =
                |other: &Mirror| other.port == Some(port) && overlap(other.listen_address, mirror.listen_address);
            if let Some(first) = mirrors[..index].iter().position(clashes)
                && mirrors[first].host != mirror.host
            {
                let problem = Problem::new(format!("port {port} is taken by '{}'", mirrors[first].host));
                let at = |index: usize| {
                    if given(nodes[index].get("port")) {
                        field(nodes[index], "port")
                    } else {
                        field(nodes[index], "host")
                    }
                };
                let free = (port..=u16::MAX).find(|port| !mirrors.iter().any(|mirror| mirror.port == Some(*port)));
                let hint = free.map_or_else(
                    || "choose another one".to_owned(),
                    |free| format!("{free} is the next one that no mirror has"),
                );
                self.twice(problem, at(index), at(first), &hint);
            }
        }
    }

    fn twice(&mut self, problem: Problem, at: Range<usize>, first: Range<usize>, hint: &str) {
        self.problems.push(problem.at(at).related(first, "first here").hint(hint));
    }
}

fn field(node: &Node, key: &str) -> Range<usize> {
    node.get(key).unwrap_or(node).span.clone()
}

fn given(node: Option<&Node>) -> bool {
    node.is_some_and(|node| !node.is_null())
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}
