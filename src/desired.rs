//! What should exist, fully resolved from a manifest: names, labels, ports, files. Pure data, pure functions.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::distribution::hosts_toml::{self, HostsToml};
use crate::distribution::registry_hosting::RegistryHosting;
use crate::engine::{ContainerSpec, PublishedPort};
use crate::labels;
use crate::manifest::{
    self, ClusterName, Credentials, Distribution, Host, Lifecycle, Manifest, State, Upstream, VolumePolicy,
};

/// Port every registry listens on inside its container.
pub const REGISTRY_PORT: u16 = 5000;
/// Port of the registry's counters (`/debug/vars`) inside its container; not published.
pub const DEBUG_PORT: u16 = 5001;
/// Where a registry keeps its content.
pub const STORAGE: &str = "/var/lib/registry";
/// Directory of the files that carry secrets.
const SECRETS_DIR: &str = "ksail";
/// Longest container name: it is also a DNS label on the cluster's network.
const NAME_LIMIT: usize = 63;

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
    /// Name of its container, its volume and its network alias.
    pub name: String,
    /// Cache or push registry.
    pub role: Role,
    /// Where a cache gets what it does not have.
    pub upstream: Option<Upstream>,
    /// Its published port; port 0 is an ephemeral one.
    pub listen: PublishedPort,
    /// What its container is created from.
    pub container: ContainerSpec,
    /// Files that carry secrets, put into the container before it starts.
    pub files: Option<SecretFiles>,
    /// For the upstream.
    pub credentials: Option<Credentials>,
    /// What every node has below its directory of `hosts.toml` files, by the name of the directory there.
    pub node_files: BTreeMap<String, HostsToml>,
}

/// What a registry is for. A registry in proxy mode refuses pushes, so it is one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A pull-through cache of an upstream.
    Mirror,
    /// A registry people push to.
    Push,
}

impl Role {
    /// The value of the label [`labels::ROLE`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::Push => "push",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What around the manifest decides names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `KIND_EXPERIMENTAL_DOCKER_NETWORK`, which kind itself honours.
    pub kind_network: Option<String>,
}

impl Surroundings {
    /// Read from environment variables.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Self {
        Self { kind_network: env("KIND_EXPERIMENTAL_DOCKER_NETWORK").filter(|name| !name.is_empty()) }
    }
}

/// Turns a manifest into what should exist.
pub fn resolve(manifest: &Manifest, around: &Surroundings) -> Desired {
    let network = match manifest.distribution {
        Distribution::Kind => around.kind_network.clone().unwrap_or_else(|| "kind".to_owned()),
        Distribution::K3d => format!("k3d-{}", manifest.name),
    };
    let registries = &manifest.registries;
    let mirrors = match manifest.state {
        State::Absent | State::Purged => BTreeMap::new(),
        State::Present => {
            let mut names = names(&manifest.name, registries.mirrors.iter().map(|mirror| &mirror.host));
            let resolve_one = |mirror: &manifest::Mirror| {
                let name = names.remove(&mirror.host).unwrap_or_default();
                (mirror.host.clone(), resolve_mirror(&manifest.name, &registries.image, name, mirror))
            };
            registries.mirrors.iter().map(resolve_one).collect()
        }
    };
    let hosting = registries.mirrors.iter().find(|mirror| mirror.upstream.is_none()).and_then(|mirror| {
        let resolved = mirrors.get(&mirror.host)?;
        Some(RegistryHosting::of(&mirror.host, &resolved.name, manifest.distribution))
    });
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

fn resolve_mirror(cluster: &ClusterName, image: &str, name: String, mirror: &manifest::Mirror) -> Mirror {
    let role = if mirror.upstream.is_some() { Role::Mirror } else { Role::Push };
    let listen = PublishedPort {
        container_port: REGISTRY_PORT,
        host_address: mirror.listen_address,
        host_port: mirror.port.unwrap_or(0),
    };
    let secret = |upstream: &&Upstream| upstream.is_secret() || mirror.credentials.is_some();
    let upstream = mirror.upstream.as_ref().filter(secret);
    let files = upstream.map(|upstream| SecretFiles::new(upstream, mirror.credentials.as_ref()));
    let command = match files {
        Some(_) => vec!["serve".to_owned(), format!("/{SECRETS_DIR}/{}", SecretFiles::CONFIG)],
        None => Vec::new(),
    };
    let env = configuration(role, mirror.upstream.as_ref(), mirror.ttl);
    let mut container = ContainerSpec {
        name: name.clone(),
        image: image.to_owned(),
        command,
        env,
        labels: BTreeMap::new(),
        ports: vec![listen],
        volumes: vec![(name.clone(), STORAGE.to_owned())],
        // `unless-stopped` does not come back after a crash of the daemon.
        restart_policy: "always".to_owned(),
    };
    container.labels = labels_of(cluster, &mirror.host, role, &container);
    let node_files = hosts_toml::files(&mirror.host, &name, role, mirror.upstream.as_ref(), mirror.fallback);
    let (upstream, credentials) = (mirror.upstream.clone(), mirror.credentials.clone());
    Mirror { host: mirror.host.clone(), name, role, upstream, listen, container, files, credentials, node_files }
}

/// The registry's settings as environment variables: the names are the same in registry 2 and 3.
/// <https://distribution.github.io/distribution/about/configuration/>
fn configuration(role: Role, upstream: Option<&Upstream>, ttl: Duration) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(format!("REGISTRY_{name}"), value);
    set("HTTP_ADDR", format!(":{REGISTRY_PORT}"));
    set("HTTP_DEBUG_ADDR", format!(":{DEBUG_PORT}"));
    match (role, upstream) {
        (Role::Mirror, Some(upstream)) => {
            if !upstream.is_secret() {
                set("PROXY_REMOTEURL", upstream.to_string());
            }
            set("PROXY_TTL", format!("{}s", ttl.as_secs()));
            // With a helper set, registry 3 does not ask the upstream for /v2/ when it starts, so it starts
            // offline; a helper that does not exist means anonymous. Registry 2 ignores it.
            set("PROXY_EXEC_COMMAND", format!("/{SECRETS_DIR}/{}", SecretFiles::HELPER));
        }
        _ => {
            set("STORAGE_DELETE_ENABLED", "true".to_owned());
        }
    }
    env
}

fn labels_of(cluster: &ClusterName, host: &Host, role: Role, spec: &ContainerSpec) -> BTreeMap<String, String> {
    let ports: Vec<_> =
        spec.ports.iter().map(|port| (port.container_port, port.host_address, port.host_port)).collect();
    let mut labels = owner_labels(cluster, host, role);
    let spec_hash = hash(&json!([spec.name, spec.image, spec.command, ports, spec.volumes]).to_string());
    labels.insert(labels::SPEC_HASH.to_owned(), spec_hash);
    labels.insert(labels::CONFIG_HASH.to_owned(), hash(&json!(spec.env).to_string()));
    labels
}

fn owner_labels(cluster: &ClusterName, host: &Host, role: Role) -> BTreeMap<String, String> {
    [
        (labels::MANAGED_BY, labels::KSAIL),
        (labels::CLUSTER, cluster.as_str()),
        (labels::HOST, host.as_str()),
        (labels::ROLE, role.as_str()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

impl Mirror {
    /// Name of the container that replaces this mirror's while it is recreated. A dot never comes
    /// out of [`names`], so no mirror can have this name.
    pub fn next_name(&self) -> String {
        format!("{}.next", self.name)
    }

    /// Labels of its volume: those that say whose it is, and nothing that changes.
    pub fn volume_labels(&self, cluster: &ClusterName) -> BTreeMap<String, String> {
        owner_labels(cluster, &self.host, self.role)
    }

    /// `127.0.0.1:5001`, once the port is known.
    pub fn address(&self, port: u16) -> String {
        match self.listen.host_address {
            IpAddr::V6(address) => format!("[{address}]:{port}"),
            IpAddr::V4(address) => format!("{address}:{port}"),
        }
    }
}

/// Container names by host: `ksail-<cluster>-<slug>`, at most 63 characters, cut with a hash suffix;
/// hosts whose slugs are equal get hash suffixes, so that a name never depends on the list's order.
pub fn names<'a>(cluster: &ClusterName, hosts: impl Iterator<Item = &'a Host>) -> BTreeMap<Host, String> {
    let mut by_slug: BTreeMap<String, Vec<&Host>> = BTreeMap::new();
    for host in hosts {
        by_slug.entry(slug(host)).or_default().push(host);
    }
    let mut names = BTreeMap::new();
    for (slug, hosts) in by_slug {
        let shared = hosts.len() > 1;
        for host in hosts {
            let full = format!("ksail-{cluster}-{slug}");
            let name = if shared || full.len() > NAME_LIMIT {
                let suffix = &hash(host.as_str())[..8];
                let keep = full.len().min(NAME_LIMIT - suffix.len() - 1);
                format!("{}-{suffix}", full[..keep].trim_end_matches('-'))
            } else {
                full.trim_end_matches('-').to_owned()
            };
            names.insert(host.clone(), name);
        }
    }
    names
}

fn slug(host: &Host) -> String {
    let replace = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    host.as_str().chars().map(replace).collect()
}

/// First 16 hexadecimal digits of a SHA-256.
fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Files that carry an upstream's credentials, or an address that is secret itself, into a registry container, where neither `inspect`
/// nor a process list shows them.
#[derive(Clone)]
pub struct SecretFiles {
    files: BTreeMap<&'static str, (u32, SecretString)>,
}

impl SecretFiles {
    const CONFIG: &'static str = "registry.yml";
    const HELPER: &'static str = "credential-helper";
    const ANSWER: &'static str = "credentials.json";

    fn new(upstream: &Upstream, credentials: Option<&Credentials>) -> Self {
        // JSON is YAML. The environment adds everything that is not secret.
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": STORAGE}},
            "http": {"addr": format!(":{REGISTRY_PORT}")},
            "proxy": {"remoteurl": upstream.as_str()},
        });
        let mut files = BTreeMap::new();
        let mut add = |name, mode, text: String| files.insert(name, (mode, text.into()));
        let Some(credentials) = credentials else {
            add(Self::CONFIG, 0o400, config.to_string());
            return Self { files };
        };
        let (username, password) = (credentials.username.expose_secret(), credentials.password.expose_secret());
        config["proxy"]["username"] = json!(username);
        config["proxy"]["password"] = json!(password);
        // What registry 3 asks instead of reading the two fields above: the docker-credential-helper protocol.
        let answer = json!({"ServerURL": upstream.as_str(), "Username": username, "Secret": password});
        let helper =
            format!("#!/bin/sh\nread -r answer </{SECRETS_DIR}/{}\nprintf '%s\\n' \"$answer\"\n", Self::ANSWER);
        add(Self::CONFIG, 0o400, config.to_string());
        add(Self::ANSWER, 0o400, format!("{answer}\n"));
        add(Self::HELPER, 0o500, helper);
        Self { files }
    }

    /// Where the files are inside the container.
    pub fn directory() -> String {
        format!("/{SECRETS_DIR}")
    }

    /// Digest of names and contents, to compare with [`SecretFiles::digest_of`]. Never leaves the process.
    pub fn digest(&self) -> String {
        digest(self.files.iter().map(|(name, (_, text))| (*name, text.expose_secret().as_bytes())))
    }

    /// Digest of files read back from a container.
    pub fn digest_of(found: &BTreeMap<String, Vec<u8>>) -> String {
        digest(found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }

    /// The files as a tar archive to extract at `/`.
    pub fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut directory = tar::Header::new_ustar();
        directory.set_entry_type(tar::EntryType::Directory);
        directory.set_mode(0o700);
        directory.set_size(0);
        archive.append_data(&mut directory, format!("{SECRETS_DIR}/"), std::io::empty())?;
        for (name, (mode, text)) in &self.files {
            let bytes = text.expose_secret().as_bytes();
            let mut header = tar::Header::new_ustar();
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, format!("{SECRETS_DIR}/{name}"), bytes)?;
        }
        archive.into_inner()
    }
}

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

fn digest<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = Sha256::new();
    for (name, bytes) in files {
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    fn name_of(cluster_name: &str, hosts: &[&str], host: &str) -> String {
        let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        names(&cluster(cluster_name), hosts.iter()).remove(&host.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_name_is_the_cluster_and_the_hosts_slug() {
        assert_eq!(name_of("dev", &["docker.io"], "docker.io"), "ksail-dev-docker-io");
        assert_eq!(name_of("dev", &["localhost:5001"], "localhost:5001"), "ksail-dev-localhost-5001");
    }

    #[test]
    fn a_long_name_is_cut_with_a_hash_to_63_characters() {
        let host = format!("{}.example.com", "a".repeat(60));
        let name = name_of("dev", &[&host], &host);
        assert_eq!(name.len(), 63);
        assert_ne!(name, name_of("dev", &[&format!("{host}.org")], &format!("{host}.org")));
    }

    #[test]
    fn hosts_with_one_slug_get_different_names_that_do_not_depend_on_order() {
        let both = ["a-b.io", "a.b.io"];
        let first = name_of("dev", &both, "a-b.io");
        assert_ne!(first, name_of("dev", &both, "a.b.io"));
        assert_eq!(first, name_of("dev", &["a.b.io", "a-b.io"], "a-b.io"));
    }

    #[test]
    fn what_is_put_into_a_container_has_the_digest_that_is_compared_later() {
        let upstream: Upstream = "https://registry-1.docker.io".parse().unwrap();
        let credentials = Credentials { username: "me".into(), password: "0123".into() };
        let files = SecretFiles::new(&upstream, Some(&credentials));
        let found = crate::observed::files_in(&files.archive().unwrap()).unwrap();
        assert_eq!(SecretFiles::digest_of(&found), files.digest());
        let other = Credentials { username: "me".into(), password: "0124".into() };
        assert_ne!(SecretFiles::new(&upstream, Some(&other)).digest(), files.digest());
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
        };
        let resolved = resolve_mirror(&cluster("dev"), "registry:3", "ksail-dev-docker-io".to_owned(), &mirror);
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
        };
        let resolved = resolve_mirror(&cluster("dev"), "registry:3", "ksail-dev-docker-io".to_owned(), &mirror);
        assert!(!format!("{resolved:?}").contains("hidden"), "{resolved:?}");
        assert_eq!(resolved.upstream.unwrap().to_string(), "https://${HUB}");
        let files = crate::observed::files_in(&resolved.files.unwrap().archive().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&files["registry.yml"]).contains("https://hidden.example.com"));
        assert_eq!(files.len(), 1);
    }
}
