//! One test's cluster: a directory with a `ksail.yaml`, a name nobody else has, and the mirrors' containers.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::deadline::{eventually, holds};
use super::docker::{Container, Docker};
use super::image::Image;
use super::manifest::{Mirror, manifest_of};
use super::watch::Watch;
use super::{http, sweep};

/// How many there have been.
static SCENARIOS: AtomicU16 = AtomicU16::new(0);
/// The network that kind makes for all of its clusters.
pub(crate) const OF_KIND: &str = "kind";

/// Removes everything it and ksail made when it is dropped.
pub(crate) struct Scenario {
    pub(crate) docker: Docker,
    /// `metadata.name`.
    pub(crate) cluster: String,
    /// `spec.distribution`.
    distribution: &'static str,
    /// Parent of the directory the manifest is in.
    pub(crate) home: TempDir,
    /// The network that ksail takes for kind's; nobody has made it yet.
    pub(crate) network: String,
    /// Words before the program's name, to run it in another network namespace.
    pub(crate) within: Vec<String>,
    /// What every ksail has in its environment besides.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Scenario {
    pub(crate) fn new(name: &str) -> Self {
        Self::on(Docker::default(), name)
    }

    /// With a cluster of k3d's.
    pub(crate) fn of_k3d(name: &str) -> Self {
        let mut scenario = Self::new(name);
        scenario.distribution = "K3d";
        scenario
    }

    pub(crate) fn on(docker: Docker, name: &str) -> Self {
        sweep::once(&docker);
        // What has a scenario's name in its own goes with it: a number keeps one apart from another that begins like it.
        let number = SCENARIOS.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("{}-{number}-{name}", sweep::prefix());
        let home = TempDir::with_prefix("ksail-test-").expect("a temporary directory");
        fs::create_dir(home.path().join("project")).expect("a directory in it");
        let network = format!("{cluster}-kind");
        Self { docker, cluster, distribution: "Kind", home, network, within: Vec::new(), environment: BTreeMap::new() }
    }

    /// The directory with the manifest.
    pub(crate) fn directory(&self) -> PathBuf {
        self.home.path().join("project")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory().join("ksail.yaml")
    }

    /// Writes a manifest with these mirrors in place.
    pub(crate) fn write(&self, mirrors: &[Mirror]) {
        self.write_text(&self.text(mirrors));
    }

    pub(crate) fn write_text(&self, text: &str) {
        fs::write(self.file(), text).expect("the manifest can be written");
    }

    /// The manifest's text for these mirrors.
    pub(crate) fn text(&self, mirrors: &[Mirror]) -> String {
        manifest_of(self.distribution, &self.cluster, mirrors)
    }

    /// A command that runs ksail on this scenario's file and engine.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_ksail");
        let mut words = self.within.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(args).arg("-f").arg(self.file());
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        if self.network != OF_KIND {
            command.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &self.network);
        }
        if let Some(host) = self.docker.host() {
            command.env("DOCKER_HOST", host);
        }
        command.envs(&self.environment);
        command
    }

    pub(crate) fn ksail(&self, args: &[&str]) -> Finished {
        self.ksail_at(None, args)
    }

    /// Runs ksail against another address of the engine.
    pub(crate) fn ksail_at(&self, engine: Option<&str>, args: &[&str]) -> Finished {
        let host = engine.map(|engine| ("DOCKER_HOST", engine));
        self.ksail_with(host.as_slice(), args)
    }

    /// Runs ksail with these variables in its environment.
    pub(crate) fn ksail_with(&self, environment: &[(&str, &str)], args: &[&str]) -> Finished {
        let mut command = self.command(args);
        Finished::run(command.envs(environment.iter().copied()))
    }

    /// `ksail apply`, which has to succeed.
    pub(crate) fn apply(&self) -> Finished {
        let finished = self.ksail(&["apply"]);
        assert_eq!(finished.code, 0, "ksail apply: {finished}");
        finished
    }

    /// `ksail status -o json`.
    pub(crate) fn status(&self) -> Status {
        let finished = self.ksail(&["status", "-o", "json"]);
        Status { code: finished.code, json: finished.json() }
    }

    /// `ksail watch -o json`, once every mirror of the manifest is Ready.
    pub(crate) fn watch(&self) -> Watch {
        let watch = Watch::start(self.command(&["watch", "-o", "json"]));
        watch.await_ready();
        watch
    }

    pub(crate) fn container_name(&self, mirror: &Mirror) -> String {
        format!("ksail-{}-{}", self.cluster, mirror.slug())
    }

    pub(crate) fn container(&self, mirror: &Mirror) -> Option<Container> {
        self.docker.container(&self.container_name(mirror))
    }

    /// The mirror's container.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn running(&self, mirror: &Mirror) -> Container {
        self.container(mirror).unwrap_or_else(|| panic!("there is no container of {}", mirror.host))
    }

    /// Names of this cluster's containers, sorted.
    pub(crate) fn containers(&self) -> Vec<String> {
        let mut names = self.docker.containers_labelled(&format!("ksail.dev/cluster={}", self.cluster));
        names.sort();
        names
    }

    /// Names of the containers that these mirrors ask for, sorted.
    pub(crate) fn expected(&self, mirrors: &[Mirror]) -> Vec<String> {
        let mut names: Vec<String> = mirrors.iter().map(|mirror| self.container_name(mirror)).collect();
        names.sort();
        names
    }

    /// Whether exactly these mirrors exist and all of them serve.
    pub(crate) fn converged(&self, mirrors: &[Mirror]) -> Result<(), String> {
        let (found, wanted) = (self.containers(), self.expected(mirrors));
        if found != wanted {
            return Err(format!("containers {found:?}, wanted {wanted:?}"));
        }
        match mirrors.iter().find(|mirror| !self.serves(mirror)) {
            Some(mirror) => Err(format!("{} does not answer on port {}", mirror.host, mirror.host_port())),
            None => Ok(()),
        }
    }

    /// Whether the mirror answers `/v2/` on the host.
    pub(crate) fn serves(&self, mirror: &Mirror) -> bool {
        let port = mirror.host_port();
        let Some((program, words)) = self.within.split_first() else { return http::serves(port) };
        let ask = format!(
            r"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /v2/ HTTP/1.0\r\n\r\n' >&3 && timeout 1 head -n 1 <&3"
        );
        let answer = Command::new(program).args(words).args(["bash", "-c", &ask]).output();
        answer.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(" 200 "))
    }

    /// Waits until the mirror has stored the image: a registry answers a first pull before that.
    pub(crate) fn await_cached(&self, mirror: &Mirror, image: &Image, repository: &str) {
        let name = self.container_name(mirror);
        for digest in image.blob_digests() {
            let digest = digest.replace(':', "/");
            let layers = format!("/var/lib/registry/docker/registry/v2/repositories/{repository}/_layers");
            let link = format!("{name}:{layers}/{digest}/link");
            eventually("the blob is cached", Duration::from_secs(10), || {
                let copied = self.docker.output(&["cp", &link, "-"]);
                holds(copied.status.success(), String::from_utf8_lossy(&copied.stderr))
            });
        }
    }

    /// Makes the network that ksail takes for kind's.
    pub(crate) fn create_network(&self) {
        self.create_network_with(&[]);
    }

    pub(crate) fn create_network_with(&self, options: &[&str]) {
        let label = sweep::label();
        self.docker.run(&[&["network", "create", "--label", &label], options, &[&self.network]].concat());
    }

    /// Has ksail keep what it remembers from process to process in a directory of this scenario's.
    pub(crate) fn remembers_by_itself(&mut self) -> PathBuf {
        let directory = self.home.path().join("run");
        fs::create_dir_all(&directory).expect("a directory in it");
        self.environment.insert("XDG_RUNTIME_DIR".to_owned(), text(&directory).to_owned());
        directory
    }

    /// Has ksail find a directory as docker's own, with this `config.json` in it.
    pub(crate) fn docker_config(&mut self, json: &Value) {
        let directory = self.home.path().join("docker");
        fs::create_dir_all(&directory).expect("a directory in it");
        fs::write(directory.join("config.json"), json.to_string()).expect("it can be written");
        self.environment.insert("DOCKER_CONFIG".to_owned(), text(&directory).to_owned());
    }

    /// Has ksail find a program before all others on the `PATH`.
    pub(crate) fn program(&mut self, name: &str, script: &str) {
        let directory = self.home.path().join("programs");
        fs::create_dir_all(&directory).expect("a directory in it");
        // Not by this process: what another test starts meanwhile would hold the file open, and it could not be executed.
        let write = "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"";
        let file = directory.join(name);
        let written = Command::new("sh").args(["-c", write, "sh", text(&file), script]).status().expect("sh runs");
        assert!(written.success());
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
        self.environment.insert("PATH".to_owned(), path);
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        sweep::cluster(&self.docker, &self.cluster);
    }
}

/// A port of 127.0.0.1 that is free now, below those that the kernel and Docker hand out by themselves.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const SPAN: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() * 37 % u32::from(SPAN)).unwrap_or_default();
    loop {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % SPAN;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What `ksail status -o json` printed.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) code: i32,
    pub(crate) json: Value,
}

impl Status {
    /// Status, reason and message of a mirror's condition.
    pub(crate) fn of_mirror(&self, host: &str, kind: &str) -> (String, String, String) {
        condition(&self.mirror(host)["conditions"], kind)
    }

    /// Status, reason and message of a condition of a node.
    pub(crate) fn of_node(&self, node: &str, kind: &str) -> (String, String, String) {
        condition(&self.json["nodeConditions"][node], kind)
    }

    /// Status, reason and message of a condition of the cluster itself.
    pub(crate) fn of_cluster(&self, kind: &str) -> (String, String, String) {
        condition(&self.json["conditions"], kind)
    }

    /// Hits and misses of a mirror's cache.
    pub(crate) fn counters(&self, host: &str) -> (u64, u64) {
        let cache = &self.mirror(host)["cache"];
        let count = |what: &str| cache[what].as_u64().unwrap_or_else(|| panic!("{what} of {host}: {cache}"));
        (count("hits"), count("misses"))
    }

    pub(crate) fn mirror(&self, host: &str) -> Value {
        let mirrors = self.json["mirrors"].as_array();
        mirrors.and_then(|all| all.iter().find(|mirror| mirror["host"] == host)).cloned().unwrap_or_default()
    }
}

fn condition(conditions: &Value, kind: &str) -> (String, String, String) {
    let condition = conditions.as_array().and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    let text = |key: &str| condition.and_then(|found| found[key].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A ksail command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Finished {
    /// Runs a command to its end.
    pub(crate) fn run(command: &mut Command) -> Self {
        let begun = Instant::now();
        let output = command.stdin(Stdio::null()).output().expect("ksail runs");
        Self::of(&output, begun.elapsed())
    }

    fn of(output: &Output, took: Duration) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            took,
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {} after {:?}\n{}\n{}", self.code, self.took, self.stdout, self.stderr)
    }
}
