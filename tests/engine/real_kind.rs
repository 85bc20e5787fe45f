//! The real kind, which goes through a whole creation: only what its nodes run stands for something (`tests/images/node`,
//! `real-*`), and their containerd does not.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::cri;
use super::support::deadline::{eventually, holds};
use super::support::docker::Docker;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::private_engine::{PrivateEngine, WayOut};
use super::support::registry::Upstream;
use super::support::scenario::{Finished, OF_KIND, Scenario, free_port, text};
use super::support::stand_in::real_kind;
use super::turns::beside_others;

/// Of containerd, on a node.
const CONFIG: &str = "/etc/containerd/config.toml";
const REPOSITORY: &str = "team/app";
/// What is done to a cluster is followed, and a node that starts has a containerd, within this.
const SOON: Duration = Duration::from_secs(20);
/// What `kind.yaml` needs where certs.d is not read by default, as `ksail cluster init` writes it.
const PATCH: &str = "containerdConfigPatches:\n- |-\n  [plugins.\"io.containerd.grpc.v1.cri\".registry]\n    \
                     config_path = \"/etc/containerd/certs.d\"\n";

/// A machine on which kind can make clusters, with an upstream that its registries reach.
struct Machine {
    scenario: Scenario,
    _upstream: Upstream,
    _way_out: WayOut,
    image: Image,
    /// Two caches and a registry to push to.
    mirrors: Vec<Mirror>,
    /// Goes last: it takes everything along.
    engine: PrivateEngine,
}

impl Machine {
    /// Nothing where the real kind is not to be had, which `tests/setup --tests` says.
    fn new(name: &str, node: &str, patch: &str) -> Option<Self> {
        let kind = real_kind()?;
        let engine = PrivateEngine::within_bounds(&["registry:3", node]);
        let upstream = Upstream::start(&Docker::default(), &format!("{name}-up"));
        let image = Image::containing(name);
        for tag in ["1", "2"] {
            upstream.push(&image, REPOSITORY, tag);
        }
        let way_out = engine.open(upstream.port, None);
        let mut scenario = Scenario::on(engine.docker(), name);
        scenario.within = engine.within();
        OF_KIND.clone_into(&mut scenario.network);
        let programs = kind.parent().expect("it is in a directory");
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        scenario.environment.insert("PATH".to_owned(), path);
        let kubeconfig = scenario.home.path().join("kubeconfig");
        scenario.environment.insert("KUBECONFIG".to_owned(), text(&kubeconfig).to_owned());
        let nodes =
            ["control-plane", "worker", "worker"].map(|role| format!("- {{role: {role}, image: \"{node}\"}}\n"));
        let nodes = nodes.concat();
        let config = format!("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}{patch}");
        fs::write(scenario.directory().join("kind.yaml"), config).expect("its directory is ours");
        let mirrors = vec![
            Mirror::of("docker.io", &way_out.url(), free_port()),
            Mirror::of("ghcr.io", &way_out.url(), free_port()),
            Mirror::push(free_port()),
        ];
        Some(Self { scenario, _upstream: upstream, _way_out: way_out, image, mirrors, engine })
    }

    fn write(&self, lifecycle: &str) {
        let lifecycle = format!("lifecycle: {lifecycle}\n  distributionConfig: kind.yaml");
        self.scenario.write_text(&self.scenario.text(&self.mirrors).replace("lifecycle: External", &lifecycle));
    }

    fn nodes(&self) -> Vec<String> {
        let label = format!("io.x-k8s.kind.cluster={}", self.scenario.cluster);
        let mut nodes = self.scenario.docker.containers_labelled(&label);
        nodes.sort();
        nodes
    }

    /// What a node says to a command.
    fn asks(&self, node: &str, words: &[&str]) -> String {
        self.scenario.docker.run(&[&["exec", node], words].concat())
    }

    /// Pulls as the node's kubelet would have it done.
    fn pull(&self, node: &str, reference: &str) -> Result<(), String> {
        let pid = self.scenario.docker.container(node).expect("it runs").pid();
        cri::pull(&format!("/proc/{pid}/root/run/containerd/containerd.sock"), reference)
    }

    /// All that was said, without what differs from run to run: names, ports, times, the order in which things that are done
    /// at the same time are told, and how kind takes its leave.
    fn story(&self, said: &Finished) -> String {
        let port = self.mirrors[2].host_port().to_string();
        let text = unwrapped(&said.stdout).replace(&self.scenario.cluster, "CLUSTER").replace(&port, "PORT");
        let directory = format!("{}/", self.scenario.directory().display());
        let text = text.replace(&directory, "");
        let is_chatter = |line: &str| {
            let of_kind = line.starts_with("cluster CLUSTER: ");
            let is_farewell = ["👋", "😊", "😅", "🙂", "cgroup v1"].iter().any(|sign| line.contains(sign));
            let is_blank = line.is_empty() || line.trim_end().ends_with(':');
            is_blank || (of_kind && is_farewell)
        };
        let without_time = |line: &str| match line.rsplit_once(" (") {
            _ if line.contains(": Deleted nodes: [") => "cluster CLUSTER: Deleted nodes: [NODES]\n".to_owned(),
            Some((what, took)) if took.ends_with("s)") => format!("{what} (TIME)\n"),
            _ => format!("{line}\n"),
        };
        let mut lines: Vec<String> = text.lines().filter(|line| !is_chatter(line)).map(without_time).collect();
        lines.sort();
        lines.concat() + &said.stderr
    }

    /// Runs kind by hand.
    fn kind(&self, args: &[&str]) {
        let mut words = self.scenario.within.iter();
        let mut command = Command::new(words.next().expect("nsenter"));
        command.args(words).arg("kind").args(args).args(["--name", &self.scenario.cluster]);
        command.envs(&self.scenario.environment).env("DOCKER_HOST", self.scenario.docker.host().expect("its socket"));
        let done = command.current_dir(self.scenario.directory()).stdin(Stdio::null()).output().expect("kind runs");
        assert!(done.status.success(), "kind {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }

    /// Every node had been wired when kubeadm came to it.
    fn was_wired_before_kubeadm(&self) {
        for node in self.nodes() {
            let wired = self.asks(&node, &["cat", "/kind/at-kubeadm"]);
            for mirror in &self.mirrors {
                assert!(wired.lines().any(|host| host == mirror.host), "{} on {node}: {wired}", mirror.host);
            }
        }
    }

    fn pulls_soon(&self, node: &str, reference: &str) {
        eventually(&format!("{reference} comes to {node}"), SOON, || self.pull(node, reference));
    }

    /// Takes a node away and puts another one of its name in its place, as kind runs them.
    fn replaces(&self, node: &str) {
        let docker = &self.scenario.docker;
        let image = docker.container(node).expect("it runs").image();
        docker.run(&["rm", "-fv", node]);
        let cluster = format!("io.x-k8s.kind.cluster={}", self.scenario.cluster);
        docker.run(&[
            "run",
            "-d",
            "--privileged",
            "--name",
            node,
            "--hostname",
            node,
            "--network",
            OF_KIND,
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            "--label",
            &cluster,
            "--label",
            "io.x-k8s.kind.role=worker",
            &image,
        ]);
        let patched = self.asks(&self.nodes()[0], &["cat", CONFIG]);
        self.asks(node, &["sh", "-c", "printf '%s' \"$1\" >\"$0\" && systemctl restart containerd", CONFIG, &patched]);
    }

    /// Does what the condition of a node says.
    fn follows_the_advice(&self, node: &str) {
        let (_, _, advice) = self.scenario.status().of_node(node, "ReadsHostsFiles");
        let (_, rest) =
            advice.split_once(&format!("in {CONFIG} on the node, say ")).unwrap_or_else(|| panic!("{advice}"));
        let (line, rest) = rest.split_once(" under [").unwrap_or_else(|| panic!("{advice}"));
        let (table, _) = rest
            .split_once("],")
            .or_else(|| rest.split_once("];"))
            .or_else(|| rest.split_once("] "))
            .unwrap_or_else(|| panic!("{advice}"));
        self.asks(node, &["sh", "-c", "printf '\\n[%s]\\n%s\\n' \"$1\" \"$2\" >>\"$0\"", CONFIG, table, line]);
        assert!(advice.contains(&format!("docker restart {node}")), "{advice}");
        self.scenario.docker.run(&["restart", node]);
    }

    /// Each node pulls through both caches, and what somebody has pushed.
    fn every_node_pulls(&self, tag: &str) {
        let pushed_to = &self.mirrors[2].host;
        let port = self.mirrors[2].host_port();
        self.engine.inside_network(|| self.image.push(port, "my/app", tag)).expect("it takes pushes");
        for node in self.nodes() {
            for reference in [
                format!("docker.io/{REPOSITORY}:1"),
                format!("ghcr.io/{REPOSITORY}:1"),
                format!("{pushed_to}/my/app:{tag}"),
            ] {
                self.pull(&node, &reference).unwrap_or_else(|error| panic!("{reference} on {node}: {error}"));
            }
        }
    }
}

/// Each thing that is told on a line of its own, however long.
fn unwrapped(text: &str) -> String {
    text.replace("\n    ", " ")
}

#[test]
fn the_real_kind_makes_a_cluster_whose_nodes_are_wired_before_kubeadm_runs_and_pull_through_the_mirrors() {
    let _turn = beside_others();
    let Some(machine) = Machine::new("real", "ksail-test/node:real", PATCH) else { return };
    machine.write("Managed");
    let created = machine.scenario.ksail(&["cluster", "create"]);
    assert_eq!(created.code, 0, "{created}");
    insta::assert_snapshot!(machine.story(&created), @r#"
    Next: 'ksail verify docker.io --image docker.io/library/alpine:3'
    cluster CLUSTER:  • Ensuring node image (ksail-test/node:real) 🖼️  ...
    cluster CLUSTER:  • Installing CNI 🔌  ...
    cluster CLUSTER:  • Installing StorageClass 💾  ...
    cluster CLUSTER:  • Joining worker nodes 🚜  ...
    cluster CLUSTER:  • Preparing nodes 📦 📦 📦   ...
    cluster CLUSTER:  • Starting control-plane 🕹️  ...
    cluster CLUSTER:  • Writing configuration 📜  ...
    cluster CLUSTER:  ✓ Ensuring node image (ksail-test/node:real) 🖼️
    cluster CLUSTER:  ✓ Installing CNI 🔌
    cluster CLUSTER:  ✓ Installing StorageClass 💾
    cluster CLUSTER:  ✓ Joining worker nodes 🚜
    cluster CLUSTER:  ✓ Preparing nodes 📦 📦 📦
    cluster CLUSTER:  ✓ Starting control-plane 🕹️
    cluster CLUSTER:  ✓ Writing configuration 📜
    cluster CLUSTER: 3 mirrors are Ready (TIME)
    cluster CLUSTER: ClusterReady
    cluster CLUSTER: Creating cluster "CLUSTER" ...
    cluster CLUSTER: Set kubectl context to "kind-CLUSTER"
    cluster CLUSTER: created with kind: no cluster of this name yet (TIME)
    cluster CLUSTER: kubectl cluster-info --context kind-CLUSTER
    cluster CLUSTER: told of localhost:PORT (local-registry-hosting): the cluster was not told yet (TIME)
    docker.io: Ready
    docker.io: connected to network kind: not attached to the cluster's network (TIME)
    docker.io: created its container: container missing (TIME)
    docker.io: created its volume: volume missing (TIME)
    docker.io: network kind does not exist yet; attached when it appears
    docker.io: started: container missing (TIME)
    ghcr.io: Ready
    ghcr.io: connected to network kind: not attached to the cluster's network (TIME)
    ghcr.io: created its container: container missing (TIME)
    ghcr.io: created its volume: volume missing (TIME)
    ghcr.io: network kind does not exist yet; attached when it appears
    ghcr.io: started: container missing (TIME)
    localhost:PORT: Ready
    localhost:PORT: connected to network kind: not attached to the cluster's network (TIME)
    localhost:PORT: created its container: container missing (TIME)
    localhost:PORT: created its volume: volume missing (TIME)
    localhost:PORT: network kind does not exist yet; attached when it appears
    localhost:PORT: started: container missing (TIME)
    node CLUSTER-control-plane: wrote hosts.toml for 127.0.0.1:PORT, docker.io, ghcr.io, ksail-CLUSTER-localhost-PORT:5000, localhost:PORT: hosts.toml missing (TIME)
    node CLUSTER-worker2: wrote hosts.toml for 127.0.0.1:PORT, docker.io, ghcr.io, ksail-CLUSTER-localhost-PORT:5000, localhost:PORT: hosts.toml missing (TIME)
    node CLUSTER-worker: wrote hosts.toml for 127.0.0.1:PORT, docker.io, ghcr.io, ksail-CLUSTER-localhost-PORT:5000, localhost:PORT: hosts.toml missing (TIME)
    "#);
    assert_eq!(machine.nodes().len(), 3);
    machine.was_wired_before_kubeadm();
    machine.every_node_pulls("1");
    assert_eq!(machine.scenario.status().code, 0);

    let deleted = machine.scenario.ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(deleted.code, 0, "{deleted}");
    insta::assert_snapshot!(machine.story(&deleted), @r#"
    cluster CLUSTER: Deleted nodes: [NODES]
    cluster CLUSTER: Deleting cluster "CLUSTER" ...
    cluster CLUSTER: deleted with kind: state is Purged (TIME)
    cluster CLUSTER: no mirrors, as ksail.yaml says (TIME)
    docker.io: disconnected from network kind: before the cluster is deleted (TIME)
    docker.io: removed its container: state is Purged (TIME)
    ghcr.io: disconnected from network kind: before the cluster is deleted (TIME)
    ghcr.io: removed its container: state is Purged (TIME)
    ksail.yaml: state is Purged
    localhost:PORT: disconnected from network kind: before the cluster is deleted (TIME)
    localhost:PORT: removed its container: state is Purged (TIME)
    volume ksail-CLUSTER-docker-io: removed: state is Purged (TIME)
    volume ksail-CLUSTER-ghcr-io: removed: state is Purged (TIME)
    volume ksail-CLUSTER-localhost-PORT: removed: state is Purged (TIME)
    "#);
    assert_eq!(machine.scenario.docker.lines(&["ps", "-aq"]), Vec::<String>::new());
    assert_eq!(machine.scenario.docker.lines(&["volume", "ls", "-q"]), Vec::<String>::new());
}

/// Made, changed and deleted by hand beside a watch, with the newer containerd.
#[test]
#[ignore = "long: tests/run --long"]
fn the_real_kinds_cluster_is_followed_whatever_somebody_does_to_it() {
    let _turn = beside_others();
    let Some(mut machine) = Machine::new("real-next", "ksail-test/node:real-next", PATCH) else { return };
    machine.write("External");
    let mut watch = machine.scenario.watch();
    machine.kind(&["create", "cluster", "--config", "kind.yaml"]);
    machine.was_wired_before_kubeadm();
    machine.every_node_pulls("1");
    assert_eq!(machine.scenario.status().code, 0);

    // A mirror comes, and goes.
    let nodes = machine.nodes();
    let worker = nodes.last().expect("there are three").clone();
    let upstream = machine.mirrors[0].upstream.clone().expect("a cache has one");
    machine.mirrors.push(Mirror::of("quay.io", &upstream, free_port()));
    machine.write("External");
    machine.pulls_soon(&worker, &format!("quay.io/{REPOSITORY}:1"));
    machine.mirrors.pop();
    machine.write("External");
    let hosts = |node: &str| machine.asks(node, &["ls", "/etc/containerd/certs.d"]);
    eventually("no node knows it", SOON, || {
        holds(machine.nodes().iter().all(|node| !hosts(node).contains("quay.io")), "not yet")
    });

    // A node starts again, and another one takes its place.
    machine.scenario.docker.run(&["restart", &worker]);
    machine.pulls_soon(&worker, &format!("docker.io/{REPOSITORY}:2"));
    machine.replaces(&worker);
    machine.pulls_soon(&worker, &format!("ghcr.io/{REPOSITORY}:2"));
    assert_eq!(machine.scenario.status().code, 0);

    machine.kind(&["delete", "cluster"]);
    let told = watch.settled_since(0, Duration::from_secs(1));
    let failed: Vec<_> =
        told.iter().filter(|event| event.text("result") == "failed").map(|event| &event.json).collect();
    assert_eq!(failed, Vec::<&serde_json::Value>::new());
    assert_eq!(machine.scenario.converged(&machine.mirrors), Ok(()));
    assert_eq!((watch.stop(), watch.stderr()), (Some(0), String::new()));
}

/// On each of the two containerds that need it.
#[test]
#[ignore = "long: tests/run --long"]
fn a_cluster_of_the_real_kind_without_the_patch_is_told_of_once_for_each_node_with_what_helps() {
    let _turn = beside_others();
    for image in ["ksail-test/node:real", "ksail-test/node:real-next"] {
        let Some(machine) = Machine::new("real-bare", image, "") else { return };
        machine.write("External");
        machine.kind(&["create", "cluster", "--config", "kind.yaml"]);
        let applied = machine.scenario.ksail(&["apply"]);
        assert_eq!(applied.code, 1, "{applied}");
        for node in machine.nodes() {
            let line = format!("node {node}: not ReadsHostsFiles: NodeConfigPathMissing");
            assert_eq!(unwrapped(&applied.stdout).matches(&line).count(), 1, "{applied}");
            machine.follows_the_advice(&node);
        }
        machine.scenario.apply();
        machine.every_node_pulls("1");
        machine.kind(&["delete", "cluster"]);
    }
}
