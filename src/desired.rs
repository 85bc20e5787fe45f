//! What should exist, fully resolved from a manifest: names, labels, ports, files. Pure data, pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::distribution::hosts_toml::{self, HostsToml, Wiring};
use crate::distribution::registry_hosting::RegistryHosting;
use crate::docker_config::Proxies;
use crate::engine::{ContainerSpec, PublishedPort};
use crate::manifest::{
    self, Ca, ClusterName, Credentials, Distribution, Host, Lifecycle, Manifest, Proxy, ProxyUrl, State, Upstream,
    VolumePolicy,
};
use crate::registry::{self, HOST_GATEWAY, LIFETIME, LOG_CAP, Mode, Role, STORAGE, SecretFiles};
use crate::{labels, names};

/// What a manifest asks for.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The cluster it is about.
    pub cluster: ClusterName,
    /// As in the manifest.
    pub state: State,
    /// What makes the cluster's nodes.
    pub distribution: Distribution,
    /// Who creates and deletes the cluster.
    pub lifecycle: Lifecycle,
    /// What a cluster that ksail creates is created with.
    pub provisioning: Provisioning,
    /// Name of the cluster's network, unless its nodes say otherwise.
    pub network: String,
    /// What becomes of the volume of a mirror that leaves the list.
    pub volume_policy: VolumePolicy,
    /// Image of every registry.
    pub image: String,
    /// The mirrors by host; none unless the state is `Present`.
    pub mirrors: BTreeMap<Host, Mirror>,
    /// The registry that tools in the cluster are told of: the first push registry of the list.
    pub hosting: Option<RegistryHosting>,
}

/// What the distribution's program needs to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// The distribution's own configuration file.
    pub config: Option<PathBuf>,
    /// The kubeconfig to write to, `~` not expanded; otherwise where the program writes by itself.
    pub kubeconfig: Option<String>,
    /// How long to wait until the cluster is ready.
    pub timeout: Option<Duration>,
}

/// One mirror as it should be.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// What image references say.
    pub host: Host,
    /// Name of its container, and its first network alias.
    pub name: String,
    /// Name of its volume: the same, unless another role's content is in the one of that name.
    pub volume: String,
    /// What nodes may reach it by: its name, and the one that it would have if it were new.
    pub aliases: Vec<String>,
    /// Cache or push registry.
    pub role: Role,
    /// Where a cache gets what it does not have.
    pub upstream: Option<Upstream>,
    /// How it gets there.
    pub route: Option<Route>,
    /// Its published port; port 0 is an ephemeral one.
    pub listen: PublishedPort,
    /// How a cache is served.
    pub mode: Mode,
    /// What its container is created from.
    pub container: ContainerSpec,
    /// Files put into the container before it starts: what is secret, and whom it trusts.
    pub files: Option<SecretFiles>,
    /// For the upstream.
    pub credentials: Option<Credentials>,
    /// Whether nodes may go around it when it fails.
    pub fallback: bool,
    /// What every node has below its directory of `hosts.toml` files, by the name of the directory there.
    pub node_files: BTreeMap<String, HostsToml>,
}

/// How a registry reaches its upstream, and who it says it is.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it gets what it does not have.
    pub upstream: Upstream,
    /// What it goes through.
    pub proxy: Option<Proxy>,
    /// Whom it trusts besides.
    pub ca: Option<Ca>,
    /// Who it says it is.
    pub credentials: Option<Credentials>,
}

/// What around the manifest decides names, and what new containers are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolveContext {
    /// `KIND_EXPERIMENTAL_DOCKER_NETWORK`, which kind itself honours.
    pub kind_network: Option<String>,
    /// What the docker CLI sets in containers that it creates.
    pub proxies: Proxies,
}

impl ResolveContext {
    /// Read from environment variables.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let kind_network = env("KIND_EXPERIMENTAL_DOCKER_NETWORK").filter(|name| !name.is_empty());
        Self { kind_network, proxies: Proxies::default() }
    }

    /// What a mirror goes through of which the manifest does not say it.
    fn usual_proxy(&self) -> Option<Proxy> {
        let url = |text: &Option<String>| text.clone().map(ProxyUrl::new);
        let around = self.proxies.no_proxy.as_deref().unwrap_or_default().split(',').map(str::trim);
        let no_proxy = around.filter(|host| !host.is_empty()).map(str::to_owned).collect();
        let proxy = Proxy { http: url(&self.proxies.http), https: url(&self.proxies.https), no_proxy };
        Some(proxy).filter(|proxy| !proxy.is_none())
    }
}

/// Turns a manifest into what should exist, under the names that are given to what is new ([`Desired::with_names`]).
pub fn resolve(manifest: &Manifest, context: &ResolveContext) -> Desired {
    let network = match manifest.distribution {
        Distribution::Kind => context.kind_network.clone().unwrap_or_else(|| "kind".to_owned()),
        Distribution::K3d => names::k3d_network(&manifest.name),
    };
    let registries = &manifest.registries;
    let mut mirrors = match manifest.state {
        State::Absent | State::Purged => BTreeMap::new(),
        State::Present => {
            let resolve_one = |mirror: &manifest::Mirror| {
                (mirror.host.clone(), resolve_mirror(&manifest.name, &registries.image, mirror, context))
            };
            registries.mirrors.iter().map(resolve_one).collect()
        }
    };
    share_addresses(&mut mirrors);
    let first_push = registries.mirrors.iter().find(|mirror| mirror.upstream.is_none());
    let hosting = first_push.and_then(|mirror| hosting(mirrors.get(&mirror.host)?, manifest.distribution));
    let directory = manifest.path.parent().map(PathBuf::from).unwrap_or_default();
    Desired {
        cluster: manifest.name.clone(),
        state: manifest.state,
        distribution: manifest.distribution,
        lifecycle: manifest.lifecycle,
        provisioning: Provisioning {
            config: manifest.distribution_config.as_ref().map(|config| directory.join(config)),
            kubeconfig: manifest.connection.kubeconfig.clone(),
            timeout: manifest.connection.timeout,
        },
        network,
        volume_policy: registries.volume_policy,
        image: registries.image.clone(),
        mirrors,
        hosting,
    }
}

fn hosting(mirror: &Mirror, distribution: Distribution) -> Option<RegistryHosting> {
    let hosting = || RegistryHosting::of(&mirror.host, mirror.pushed_to(), &mirror.name, distribution);
    (mirror.role == Role::Push).then(hosting)
}

/// What is a mirror's own host is not what another one is reached by as well.
fn share_addresses(mirrors: &mut BTreeMap<Host, Mirror>) {
    let hosts: BTreeSet<String> = mirrors.keys().map(ToString::to_string).collect();
    for mirror in mirrors.values_mut() {
        let own = mirror.host.to_string();
        mirror.node_files.retain(|host, _| *host == own || !hosts.contains(host));
    }
}

fn resolve_mirror(cluster: &ClusterName, image: &str, mirror: &manifest::Mirror, context: &ResolveContext) -> Mirror {
    let role = if mirror.upstream.is_some() { Role::Mirror } else { Role::Push };
    let name = names::of(cluster, &mirror.host);
    let listen = PublishedPort {
        container_port: registry::PORT,
        host_address: mirror.listen_address,
        host_port: mirror.port.unwrap_or(0),
    };
    let route = mirror.upstream.clone().map(|upstream| Route {
        upstream,
        proxy: mirror.proxy.clone().or_else(|| context.usual_proxy()),
        ca: mirror.ca.clone(),
        credentials: mirror.credentials.clone(),
    });
    let files = files(mirror);
    let mut container = ContainerSpec {
        name: name.clone(),
        image: image.to_owned(),
        command: if files.as_ref().is_some_and(SecretFiles::configure) { SecretFiles::command() } else { Vec::new() },
        env: registry::settings(role, mirror.upstream.as_ref(), mirror.ttl),
        extra_hosts: Vec::new(),
        labels: labels::of_owner(cluster.as_str(), mirror.host.as_str(), role.as_str()),
        ports: vec![listen],
        volumes: vec![(name.clone(), STORAGE.to_owned())],
        // `unless-stopped` does not come back after a crash of the daemon.
        restart_policy: "always".to_owned(),
        log_options: LOG_CAP.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    if let Some(route) = &route {
        route.furnish(&mut container);
        let labelled = [
            (labels::PROXY, mirror.proxy.as_ref().map(ToString::to_string)),
            (labels::CA, mirror.ca.as_ref().map(|ca| ca.path.display().to_string())),
        ];
        let labelled = labelled.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?)));
        container.labels.extend(labelled);
    }
    let (upstream, credentials) = (mirror.upstream.clone(), mirror.credentials.clone());
    let mut mirror = Mirror {
        host: mirror.host.clone(),
        aliases: vec![name.clone()],
        volume: name.clone(),
        name,
        role,
        upstream,
        route,
        mode: Mode::Proxy,
        listen,
        container,
        files,
        credentials,
        fallback: mirror.fallback,
        node_files: BTreeMap::new(),
    };
    mirror.wire(cluster);
    mirror
}

/// What is put into its container.
fn files(mirror: &manifest::Mirror) -> Option<SecretFiles> {
    let is_secret = |upstream: &&Upstream| upstream.is_secret() || mirror.credentials.is_some();
    let upstream = mirror.upstream.as_ref().filter(is_secret);
    let secret = upstream.map(|upstream| SecretFiles::new(upstream, mirror.credentials.as_ref()));
    match &mirror.ca {
        Some(ca) => Some(secret.unwrap_or_default().with_ca(ca)),
        None => secret,
    }
}

impl Route {
    /// Gives a container what its registry needs to go this way, files apart.
    fn furnish(&self, container: &mut ContainerSpec) {
        if let Some(proxy) = &self.proxy {
            container.env.extend(registry::proxy_settings(proxy, &self.upstream));
        }
        if self.credentials.is_some() {
            container.env.insert(LIFETIME.0.to_owned(), LIFETIME.1.to_owned());
        }
        if registry::needs_host_gateway(&self.upstream, self.proxy.as_ref()) {
            container.extra_hosts.push(HOST_GATEWAY.to_owned());
        }
    }
}

impl Desired {
    /// The same under the names that hosts have already: what exists keeps its name for life.
    #[must_use]
    pub fn with_names(mut self, existing: &names::Existing) -> Self {
        let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, name) in &existing.names {
            holders.entry(name).or_default().push(host);
        }
        for mirror in self.mirrors.values_mut() {
            let holders = holders.get(mirror.name.as_str()).into_iter().flatten();
            let is_anothers = holders.into_iter().any(|host| *host != mirror.host.as_str());
            let own = existing.names.get(mirror.host.as_str()).cloned();
            let beside = || is_anothers.then(|| names::beside_another(&self.cluster, &mirror.host));
            let usual = std::mem::take(&mut mirror.aliases);
            if let Some(name) = own.or_else(beside).filter(|name| *name != mirror.name) {
                mirror.rename(&self.cluster, &name);
            }
            let volume = existing.volume(mirror.host.as_str(), &mirror.name, mirror.role);
            mirror.container.volumes = vec![(volume.clone(), STORAGE.to_owned())];
            mirror.volume = volume;
            // Nodes may have been told of the usual name, in the distribution's own file, before anything existed.
            let others = usual.into_iter().filter(|alias| *alias != mirror.name && !is_anothers);
            mirror.aliases = [mirror.name.clone()].into_iter().chain(others).collect();
        }
        share_addresses(&mut self.mirrors);
        let advertised = self.hosting.as_ref().map(|hosting| hosting.mirror().to_owned());
        let mirror = advertised.and_then(|host| self.mirrors.values().find(|mirror| mirror.host.as_str() == host));
        self.hosting = mirror.and_then(|mirror| hosting(mirror, self.distribution));
        self
    }
}

impl Desired {
    /// The same, with the caches of these hosts served from their volumes alone.
    #[must_use]
    pub fn served_from_cache(mut self, hosts: &BTreeSet<String>) -> Self {
        for mirror in self.mirrors.values_mut().filter(|mirror| hosts.contains(mirror.host.as_str())) {
            mirror.serve_from_cache();
        }
        self
    }
}

impl Mirror {
    /// Nothing that is for the upstream is left in the container: a registry that has it asks.
    fn serve_from_cache(&mut self) {
        if self.role == Role::Mirror {
            self.mode = Mode::Cache;
            registry::serve_from_cache(&mut self.container.env);
            self.container.command.clear();
            self.container.labels.remove(labels::CA);
            self.files = None;
        }
    }

    /// Name of the container that replaces this mirror's while it is recreated.
    pub fn next_name(&self) -> String {
        names::next(&self.name)
    }

    fn rename(&mut self, cluster: &ClusterName, name: &str) {
        name.clone_into(&mut self.name);
        name.clone_into(&mut self.container.name);
        self.wire(cluster);
    }

    fn wire(&mut self, cluster: &ClusterName) {
        self.node_files = hosts_toml::files(&Wiring {
            cluster,
            host: &self.host,
            name: &self.name,
            role: self.role,
            upstream: self.upstream.as_ref(),
            fallback: self.fallback,
            port: self.port(),
        });
    }

    /// Its published port, unless the engine chooses it.
    fn port(&self) -> Option<u16> {
        Some(self.listen.host_port).filter(|port| *port != 0)
    }

    /// What people on this machine push to.
    fn pushed_to(&self) -> String {
        let address = self.listen.host_address;
        match self.port() {
            Some(port) if address.is_loopback() || address.is_unspecified() => format!("localhost:{port}"),
            Some(port) => self.address(port),
            None => self.host.to_string(),
        }
    }

    /// `127.0.0.1:5001`, once the port is known.
    pub fn address(&self, port: u16) -> String {
        match self.listen.host_address {
            IpAddr::V6(address) => format!("[{address}]:{port}"),
            IpAddr::V4(address) => format!("{address}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    #[test]
    fn secrets_show_neither_in_debug_output_nor_in_what_inspect_shows() {
        let upstream: Upstream = "https://registry-1.docker.io".parse().unwrap();
        let mirror = manifest::Mirror {
            host: "docker.io".parse().unwrap(),
            upstream: Some(upstream),
            port: Some(5001),
            listen_address: manifest::Mirror::LISTEN_ADDRESS,
            fallback: true,
            ttl: Duration::ZERO,
            credentials: Some(Credentials { username: "some-user".into(), password: "hunter2".into() }),
            proxy: None,
            ca: None,
        };
        let resolved = resolve_mirror(&cluster("dev"), "registry:3", &mirror, &ResolveContext::default());
        let shown = format!("{resolved:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("some-user"), "{shown}");
    }

    #[test]
    fn an_upstream_from_a_variable_is_put_in_as_a_file_and_shown_as_it_is_written() {
        let upstream: Upstream = "https://hidden.example.com".parse().unwrap();
        let mirror = manifest::Mirror {
            host: "docker.io".parse().unwrap(),
            upstream: Some(upstream.shown_as("https://${HUB}")),
            port: None,
            listen_address: manifest::Mirror::LISTEN_ADDRESS,
            fallback: true,
            ttl: Duration::ZERO,
            credentials: None,
            proxy: None,
            ca: None,
        };
        let resolved = resolve_mirror(&cluster("dev"), "registry:3", &mirror, &ResolveContext::default());
        assert!(!format!("{resolved:?}").contains("hidden"), "{resolved:?}");
        assert_eq!(resolved.upstream.unwrap().to_string(), "https://${HUB}");
        let files = crate::archive::files_in(&resolved.files.unwrap().archive().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&files["registry.yml"]).contains("https://hidden.example.com"));
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn tools_are_told_of_an_address_that_this_machine_resolves() {
        let advertised = |host: &str, port, listen_address: &str| {
            let text = format!(
                "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: dev}}\nspec:\n  registries:\n    mirrors:\n      - {{host: {host}, port: {port}, listenAddress: {listen_address}}}\n"
            );
            let path = std::path::Path::new("ksail.yaml");
            let manifest = manifest::load_contents(path, Ok(text.into_bytes()), &|_| None).unwrap();
            let desired = resolve(&manifest, &ResolveContext::default());
            let again = desired.clone().with_names(&names::Existing::default());
            assert_eq!(desired.hosting, again.hosting);
            desired.hosting.unwrap().host().to_owned()
        };
        assert_eq!(advertised("localhost:5001", 5001, "127.0.0.1"), "localhost:5001");
        assert_eq!(advertised("kind-registry:5000", 5001, "127.0.0.1"), "localhost:5001");
        assert_eq!(advertised("kind-registry:5000", 5001, "0.0.0.0"), "localhost:5001");
        assert_eq!(advertised("kind-registry:5000", 5001, "192.0.2.7"), "192.0.2.7:5001");
    }
}
