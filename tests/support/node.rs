//! Nodes of a cluster with nothing in them but what pulls images: a real containerd and its own client.
//!
//! `tests/images/build` makes what they run. A stand-in for `kubectl` in them keeps what is applied as a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use super::deadline::{eventually, holds};
use super::docker::{Container, Docker};
use super::scenario::Scenario;
use super::sweep;

const UP: Duration = Duration::from_secs(30);
/// Containerd waits without end for a registry that accepts and does not answer.
const PULL_SECONDS: &str = "60";
/// Where the images of the nodes' pods are.
const NAMESPACE: &str = "k8s.io";

/// What differs between the nodes of kind and of k3d.
struct Layout {
    image: &'static str,
    /// Where containerd looks for `HOST/hosts.toml`.
    certs: &'static str,
    /// Containerd's socket.
    address: &'static str,
    /// The file that `kubectl` needs on the node, as `--kubeconfig`.
    kubeconfig: &'static str,
    name: fn(&str, &str, usize) -> String,
    labels: fn(&Scenario, &str) -> Vec<String>,
}

const KIND: Layout = Layout {
    image: "ksail-test/node:kind",
    certs: "/etc/containerd/certs.d",
    address: "/run/containerd/containerd.sock",
    kubeconfig: "/etc/kubernetes/admin.conf",
    // The first of a role has no number, the others count from 2.
    name: |cluster, role, index| match index {
        0 => format!("{cluster}-{role}"),
        _ => format!("{cluster}-{role}{}", index + 1),
    },
    labels: |scenario, role| {
        vec![format!("io.x-k8s.kind.cluster={}", scenario.cluster), format!("io.x-k8s.kind.role={role}")]
    },
};

const KIND_NEXT: Layout = Layout { image: "ksail-test/node:kind-next", ..KIND };

const K3S: Layout = Layout {
    image: "ksail-test/node:k3s",
    certs: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    address: "/run/k3s/containerd/containerd.sock",
    kubeconfig: "/etc/rancher/k3s/k3s.yaml",
    name: |cluster, role, index| format!("k3d-{cluster}-{role}-{index}"),
    labels: |scenario, role| {
        vec![
            "app=k3d".to_owned(),
            format!("k3d.cluster={}", scenario.cluster),
            format!("k3d.role={role}"),
            format!("k3d.cluster.network={}", scenario.network),
        ]
    },
};

/// A node of the scenario's cluster, on the scenario's network. Removed when dropped.
pub(crate) struct Node {
    docker: Docker,
    name: String,
    layout: Layout,
    /// When the engine said that it runs; containerd answers a little later.
    pub(crate) joined: Instant,
}

impl Node {
    /// A node of kind, with the containerd of this machine's release.
    pub(crate) fn kind(scenario: &Scenario, role: &str) -> Self {
        Self::start(scenario, role, KIND)
    }

    /// A node of kind, with a newer containerd where one can be had.
    pub(crate) fn kind_next(scenario: &Scenario, role: &str) -> Self {
        Self::start(scenario, role, KIND_NEXT)
    }

    /// A node of k3d.
    pub(crate) fn k3s(scenario: &Scenario, role: &str) -> Self {
        Self::start(scenario, role, K3S)
    }

    /// A node of kind that has a directory of this machine where its `hosts.toml` files are.
    pub(crate) fn kind_on(scenario: &Scenario, role: &str, certs: &Path) -> Self {
        let mount = format!("--volume={}:{}", certs.display(), KIND.certs);
        Self::start_with(scenario, role, KIND, &[&mount], &[])
    }

    /// A node of kind with these variables in its environment, and its containerd with those of its `own` besides.
    pub(crate) fn kind_told(scenario: &Scenario, role: &str, environment: &[&str], own: &[&str]) -> Self {
        let given = environment.iter().flat_map(|variable| ["--env", variable]);
        let options: Vec<&str> = ["--entrypoint", "env"].into_iter().chain(given).collect();
        Self::start_with(scenario, role, KIND, &options, &[own, &["containerd"]].concat())
    }

    fn start(scenario: &Scenario, role: &str, layout: Layout) -> Self {
        Self::start_with(scenario, role, layout, &[], &[])
    }

    fn start_with(scenario: &Scenario, role: &str, layout: Layout, more: &[&str], command: &[&str]) -> Self {
        let docker = scenario.docker.clone();
        if !docker.output(&["network", "inspect", &scenario.network]).status.success() {
            scenario.create_network();
        }
        let names = (0..).map(|index| (layout.name)(&scenario.cluster, role, index));
        let name = { names }.find(|name| docker.container(name).is_none()).expect("numbers do not end");
        let labels = (layout.labels)(scenario, role).into_iter().chain([sweep::label()]);
        let labels: Vec<String> = labels.map(|label| format!("--label={label}")).collect();
        // Unpacking an image mounts: the capability allows that, and AppArmor does not where there is one.
        let options = [
            "--cap-add=SYS_ADMIN",
            "--security-opt=apparmor=unconfined",
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            "--restart=on-failure:1",
        ];
        let mut args = vec!["run", "-d", "--pull=never", "--name", &name, "--hostname", &name];
        args.extend(["--network", &scenario.network]);
        args.extend(more);
        args.extend(options.into_iter().chain(labels.iter().map(String::as_str)).chain([layout.image]));
        args.extend(command);
        docker.run(&args);
        let node = Self { docker, name, layout, joined: Instant::now() };
        node.await_up();
        node
    }

    fn await_up(&self) {
        eventually("the node's containerd answers", UP, || {
            let answer = self.ctr(&["version"]);
            holds(answer.status.success(), String::from_utf8_lossy(&answer.stderr))
        });
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command in the node.
    pub(crate) fn exec(&self, command: &[&str]) -> Output {
        self.docker.output(&[&["exec", &self.name], command].concat())
    }

    /// Containerd's own client, which is ended when it takes too long.
    fn ctr(&self, args: &[&str]) -> Output {
        let client = ["timeout", PULL_SECONDS, "ctr", "--address", self.layout.address, "--namespace", NAMESPACE];
        self.exec(&[&client, args].concat())
    }

    /// `kubectl` in the node, as the cluster's administrator.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Output {
        let kubeconfig = format!("--kubeconfig={}", self.layout.kubeconfig);
        self.exec(&[&["kubectl", &kubeconfig], args].concat())
    }

    /// A file's text, if there is one.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let read = self.exec(&["cat", path]);
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() || said.contains("No such file"), "cat {path} in {}: {said}", self.name);
        read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned())
    }

    /// Writes a file, and the directories it is in.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1""#;
        let mut writing = self
            .docker
            .command(&["exec", "-i", &self.name, "sh", "-c", script, "sh", path])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the docker command runs");
        let mut input = writing.stdin.take().expect("it is piped");
        input.write_all(text.as_bytes()).expect("docker reads it");
        drop(input);
        assert!(writing.wait().is_ok_and(|status| status.success()), "{path} is written in {}", self.name);
    }

    /// A path in it as this machine sees it: nothing done there raises an event of the engine.
    pub(crate) fn outside_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.containerd_pid()))
    }

    /// The path of a host's `hosts.toml`.
    pub(crate) fn hosts_toml_path(&self, host: &str) -> String {
        format!("{}/{host}/hosts.toml", self.layout.certs)
    }

    pub(crate) fn hosts_toml(&self, host: &str) -> Option<String> {
        self.read(&self.hosts_toml_path(host))
    }

    /// Pulls and unpacks as the node's kubelet would have containerd do; the error is what the client said.
    pub(crate) fn pull(&self, reference: &str) -> Result<(), String> {
        let mut args = vec!["images", "pull", "--hosts-dir", self.layout.certs, "--snapshotter", "native"];
        if self.pulls_by_the_daemon() {
            args.push("--local");
        }
        args.push(reference);
        let pulled = self.ctr(&args);
        // 128 + SIGTERM
        if pulled.status.code() == Some(143) {
            return Err(format!("not within {PULL_SECONDS} s"));
        }
        holds(pulled.status.success(), String::from_utf8_lossy(&pulled.stderr))
    }

    /// Whether the client leaves pulling to the daemon unless told otherwise (containerd 2). The daemon knows no
    /// platform to unpack for but that of its own snapshotter.
    fn pulls_by_the_daemon(&self) -> bool {
        let help = self.ctr(&["images", "pull", "--help"]);
        String::from_utf8_lossy(&help.stdout).contains("--local")
    }

    /// Namespaces of containerd that hold anything.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let listed = self.ctr(&["namespaces", "list", "--quiet"]);
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
    }

    /// References of the images the node has.
    fn images(&self) -> Vec<String> {
        let listed = self.ctr(&["images", "list", "--quiet"]);
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn has_image(&self, reference: &str) -> bool {
        self.images().iter().any(|image| image == reference)
    }

    /// Removes every image with its content, so that the next pull fetches all of it.
    pub(crate) fn forget_images(&self) {
        let images = self.images();
        if !images.is_empty() {
            let references = images.iter().map(String::as_str);
            let removed = self.ctr(&["images", "remove", "--sync"].into_iter().chain(references).collect::<Vec<_>>());
            assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        }
    }

    fn container(&self) -> Container {
        self.docker.container(&self.name).expect("the node's container is there")
    }

    /// Containerd's process id on the machine; another one after a restart.
    /// Runs `ip` where the node's network is.
    pub(crate) fn ip(&self, args: &[&str]) {
        let place = format!("--net=/proc/{}/ns/net", self.containerd_pid());
        let done =
            std::process::Command::new("nsenter").arg(place).arg("ip").args(args).output().expect("nsenter runs");
        assert!(done.status.success(), "ip {args:?}: {done:?}");
    }

    pub(crate) fn containerd_pid(&self) -> u64 {
        self.container().pid()
    }

    /// Stops and starts the node, and waits until it is up.
    pub(crate) fn restart(&self) {
        self.docker.run(&["restart", "-t", "5", &self.name]);
        self.await_up();
    }

    pub(crate) fn stop(&self) {
        self.docker.run(&["stop", "-t", "5", &self.name]);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.docker.output(&["rm", "-fv", &self.name]);
    }
}
