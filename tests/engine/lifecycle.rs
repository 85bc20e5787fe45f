//! The cluster itself: made when its registries serve, deleted before they go, and never touched when it is there.
//!
//! What is run for it stands for kind and k3d: see `tests/support/stand-in/provisioner`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::support::deadline::{eventually, holds};
use super::support::docker::Container;
use super::support::http;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Finished, Scenario, free_port, text};
use super::support::stand_in::{StandIn, real_kind};
use super::support::sweep;
use super::support::watch::{Event, Watch};
use super::turns::beside_others;

/// A stand-in makes and removes its nodes within this.
const SOON: Duration = Duration::from_secs(30);
/// A cluster that somebody makes anew is as it should be within this, seen from outside.
const MADE_ANEW: Duration = Duration::from_secs(5);
/// What `spec.connection` says, and a configuration for the distribution's program.
const SETTINGS: &str = "  distributionConfig: cluster.yaml\n  connection: {kubeconfig: ~/.kube/dev, timeout: 90s}\n";

/// What differs between kind and k3d.
#[derive(Clone, Copy)]
struct Distribution {
    name: &'static str,
    program: &'static str,
    install: &'static str,
    certs: &'static str,
    /// What a creation that goes half-way leaves.
    first: fn(&str) -> String,
    /// The other containers of a whole cluster; the load balancer last.
    others: fn(&str) -> Vec<String>,
    create: fn(&str) -> String,
    delete: fn(&str) -> String,
    /// How long it waits for the cluster, as an argument.
    waits: &'static str,
    /// The first line of a creation.
    begins: fn(&str) -> String,
}

const KIND: Distribution = Distribution {
    name: "Kind",
    program: "kind",
    install: "https://kind.sigs.k8s.io/",
    certs: "/etc/containerd/certs.d",
    first: |cluster| format!("{cluster}-control-plane"),
    others: |cluster| vec![format!("{cluster}-worker")],
    create: |cluster| format!("kind create cluster --name {cluster}"),
    delete: |cluster| format!("kind delete cluster --name {cluster}"),
    waits: "--wait 90s",
    begins: |cluster| format!("Creating cluster \"{cluster}\" ..."),
};

const K3D: Distribution = Distribution {
    name: "K3d",
    program: "k3d",
    install: "https://k3d.io/",
    certs: "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    first: |cluster| format!("k3d-{cluster}-server-0"),
    others: |cluster| vec![format!("k3d-{cluster}-agent-0"), format!("k3d-{cluster}-serverlb")],
    create: |cluster| format!("k3d cluster create {cluster}"),
    delete: |cluster| format!("k3d cluster delete {cluster}"),
    waits: "--timeout 90s",
    begins: |_| "INFO[0000] Prep: Network".to_owned(),
};

/// A manifest that has ksail create and delete the cluster, with a mirror and a registry to push to.
struct Managed {
    scenario: Scenario,
    stand_in: StandIn,
    distribution: Distribution,
    mirrors: Vec<Mirror>,
    _upstream: Upstream,
}

impl Managed {
    fn new(name: &str, distribution: Distribution) -> Self {
        let name = format!("{name}-{}", distribution.program);
        let mut scenario = Scenario::new(&name);
        if distribution.program == "k3d" {
            scenario.network = format!("k3d-{}", scenario.cluster);
        }
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let mirrors = vec![Mirror::of("docker.io", upstream.url(), free_port()), Mirror::push(free_port())];
        let stand_in = StandIn::new(&scenario);
        let managed = Self { scenario, stand_in, distribution, mirrors, _upstream: upstream };
        managed.write("Managed", "Present", "");
        managed
    }

    fn write(&self, lifecycle: &str, state: &str, settings: &str) {
        let text = self.scenario.text(&self.mirrors).replace("state: Present", &format!("state: {state}")).replace(
            "  distribution: Kind\n  lifecycle: External\n",
            &format!("  distribution: {}\n  lifecycle: {lifecycle}\n{settings}", self.distribution.name),
        );
        self.scenario.write_text(&text);
    }

    fn cluster(&self) -> &str {
        &self.scenario.cluster
    }

    fn command(&self, args: &[&str], mode: &str) -> Command {
        let mut command = self.scenario.command(args);
        self.stand_in.equip(&mut command, mode);
        command.env("HOME", self.scenario.home.path());
        command
    }

    fn ksail(&self, args: &[&str], mode: &str) -> Finished {
        Finished::run(&mut self.command(args, mode))
    }

    /// ksail where neither program can be found.
    fn without_programs(&self, args: &[&str]) -> Finished {
        Finished::run(self.command(args, "").env("PATH", self.scenario.home.path()))
    }

    fn succeeds(&self, args: &[&str]) -> Finished {
        let finished = self.ksail(args, "");
        assert_eq!(finished.code, 0, "ksail {}: {finished}", args.join(" "));
        finished
    }

    /// What ksail has run, with its arguments.
    fn calls(&self) -> Vec<String> {
        let without_variables = |line: String| line.split('\t').next().unwrap_or_default().to_owned();
        self.stand_in.calls().into_iter().map(without_variables).collect()
    }

    fn create_call(&self) -> String {
        (self.distribution.create)(self.cluster())
    }

    fn delete_call(&self) -> String {
        (self.distribution.delete)(self.cluster())
    }

    fn first_node(&self) -> String {
        (self.distribution.first)(self.cluster())
    }

    /// Containers of a whole cluster.
    fn whole(&self) -> Vec<String> {
        sorted([vec![self.first_node()], (self.distribution.others)(self.cluster())].concat())
    }

    /// Containers of the cluster that there are.
    fn nodes(&self) -> Vec<String> {
        let mut nodes = self.scenario.docker.containers_labelled(&sweep::label());
        nodes.retain(|name| self.whole().contains(name));
        sorted(nodes)
    }

    /// Those that run containerd.
    fn node(&self, name: &str) -> Container {
        self.scenario.docker.container(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn hosts_toml(&self, node: &str, host: &str) -> Option<String> {
        let path = format!("{}/{host}/hosts.toml", self.distribution.certs);
        let read = self.scenario.docker.output(&["exec", node, "cat", &path]);
        read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned())
    }

    fn wired_nodes(&self) -> Vec<String> {
        let of_containerd = |name: &String| !name.ends_with("serverlb");
        self.whole().into_iter().filter(of_containerd).collect()
    }

    fn network_exists(&self) -> bool {
        self.scenario.docker.output(&["network", "inspect", &self.scenario.network]).status.success()
    }

    fn is_attached(&self, mirror: &Mirror) -> bool {
        let name = self.scenario.container_name(mirror);
        self.scenario.container(mirror).is_some_and(|found| found.aliases(&self.scenario.network).contains(&name))
    }

    /// The cluster is whole, its nodes are wired and the registries are on its network.
    fn is_up(&self) {
        assert_eq!(self.nodes(), self.whole());
        assert_eq!(self.scenario.converged(&self.mirrors), Ok(()));
        for mirror in &self.mirrors {
            assert!(self.is_attached(mirror), "{} is on the cluster's network", mirror.host);
            let name = self.scenario.container_name(mirror);
            for node in self.wired_nodes() {
                let file = self.hosts_toml(&node, &mirror.host).unwrap_or_default();
                assert!(file.contains(&format!("http://{name}:5000")), "{} on {node}: {file:?}", mirror.host);
            }
        }
    }

    /// Nothing is left of the cluster and of whatever worked on it; a network of k3d's goes with its cluster.
    fn cluster_is_gone(&self) {
        assert_eq!(self.nodes(), Vec::<String>::new());
        assert_eq!(self.programs(), Vec::<PathBuf>::new(), "no program runs");
        let keeps_network = self.distribution.program == "kind";
        assert!(keeps_network || !self.network_exists(), "the network has gone with the cluster");
    }

    fn registries_are_gone(&self) {
        assert_eq!(self.scenario.containers(), Vec::<String>::new());
    }

    fn volumes(&self) -> Vec<String> {
        sorted(self.scenario.docker.volumes_labelled(&format!("ksail.dev/cluster={}", self.cluster())))
    }

    fn registries_serve(&self) {
        assert_eq!(self.scenario.converged(&self.mirrors), Ok(()));
    }

    /// Processes that are stand-ins of this scenario, or were started by one.
    fn programs(&self) -> Vec<PathBuf> {
        let variable = format!("STAND_IN_LOG={}", text(&self.scenario.home.path().join("stand-in.log")));
        let is_ours = |process: &Path| {
            let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
            let is_ksail = fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("ksail"));
            !is_ksail && read("environ").split(|byte| *byte == 0).any(|pair| pair == variable.as_bytes())
        };
        let processes = fs::read_dir("/proc").expect("processes are listed").filter_map(Result::ok);
        processes.map(|entry| entry.path()).filter(|process| is_ours(process)).collect()
    }

    /// `ksail ARGS -o json`, once the creation hangs with one node made and everything else as it will be.
    fn hanging(&self, args: &[&str]) -> Watch {
        let mut running = Watch::start(self.command(&[args, &["-o", "json"]].concat(), "hang"));
        let begins = (self.distribution.begins)(self.cluster());
        running
            .await_event("the program's first line", SOON, |event| event.is("output") && event.text("line") == begins);
        eventually("the first node is there", SOON, || holds(self.nodes() == [self.first_node()], "none"));
        // Told while the program runs.
        assert!(running.is_running());
        running
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // Registries that are still on the network would keep it; the scenario removes everything else.
        for mirror in &self.mirrors {
            let _ = self.scenario.docker.output(&["rm", "-fv", &self.scenario.container_name(mirror)]);
        }
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The JSON events of a command that has ended.
fn events(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object per line")).collect()
}

fn is_action(event: &Value, name: &str) -> bool {
    event["event"] == "action" && event["action"] == name && event["result"] == "done"
}

/// Which of the events are so.
fn places(events: &[Value], is_so: impl Fn(&Value) -> bool) -> Vec<usize> {
    (0..events.len()).filter(|place| is_so(&events[*place])).collect()
}

fn is_output(event: &Value) -> bool {
    event["event"] == "output"
}

/// Of kind in every run; of k3d, which goes the same way, in the long tier.
macro_rules! of_kind_and_k3d {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn of_kind() {
                super::$name(super::KIND);
            }

            #[test]
            #[ignore = "long: tests/run --long"]
            fn of_k3d() {
                super::$name(super::K3D);
            }
        }
    )*};
}

of_kind_and_k3d! {
    what_the_program_says_is_shown_line_by_line_and_volumes_go_when_they_are_to
    a_cluster_whose_nodes_are_gone_already_can_be_deleted
    a_creation_that_fails_is_told_of_and_taken_back_and_the_registries_serve
    a_file_that_says_absent_stops_a_creation_that_is_under_way
    a_cluster_that_cannot_be_deleted_keeps_its_registries
    without_the_program_the_registries_come_and_go_and_the_cluster_is_left_as_it_is
    somebody_elses_cluster_is_neither_created_nor_deleted
    a_cluster_that_is_there_is_not_made_anew_because_something_differs
}

#[test]
fn kinds_cluster_is_created_when_the_registries_serve_and_deleted_before_they_go() {
    from_nothing_to_nothing(KIND);
}

#[test]
fn k3ds_cluster_is_created_when_the_registries_serve_and_deleted_before_they_go() {
    from_nothing_to_nothing(K3D);
}

fn from_nothing_to_nothing(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("life", distribution);
    managed.write("Managed", "Present", SETTINGS);
    let count = managed.mirrors.len();

    let created = managed.succeeds(&["cluster", "create", "-o", "json"]);
    let told = events(&created);
    let serving = places(&told, |event| is_action(event, "AwaitServing"));
    let output = places(&told, is_output);
    assert_eq!(serving.len(), count, "{created}");
    assert!(serving.iter().all(|place| *place < output[0]), "every registry serves first: {created}");
    assert!(output.iter().all(|place| told[*place]["cluster"] == managed.cluster()), "{created}");
    assert_eq!(told[output[0]]["line"], (distribution.begins)(managed.cluster()), "{created}");
    assert!(output.len() > 3, "each line for itself: {created}");
    managed.is_up();
    let when = |container: &Container, pointer: &str| -> Timestamp {
        container.inspected.pointer(pointer).and_then(Value::as_str).and_then(|at| at.parse().ok()).expect("a time")
    };
    let made = when(&managed.node(&managed.first_node()), "/Created");
    for mirror in &managed.mirrors {
        let started = when(&managed.scenario.running(mirror), "/State/StartedAt");
        assert!(started < made, "{} ran from {started} on, the node was made at {made}", mirror.host);
    }

    let config = managed.scenario.directory().join("cluster.yaml");
    let call = format!("{} --config {} {}", managed.create_call(), text(&config), distribution.waits);
    assert_eq!(managed.calls(), [call]);
    let kubeconfig = format!("\tKUBECONFIG={}", text(&managed.scenario.home.path().join(".kube/dev")));
    assert!(managed.stand_in.calls()[0].contains(&kubeconfig), "{:?}", managed.stand_in.calls());

    for again in [&["cluster", "create"][..], &["apply"]] {
        let again = managed.succeeds(again);
        assert!(again.stdout.contains("2 mirrors are Ready"), "{again}");
    }
    assert_eq!(managed.calls().len(), 1, "what is there is not created");

    let deleted = managed.succeeds(&["cluster", "delete", "-o", "json"]);
    let told = events(&deleted);
    let output = places(&told, is_output);
    let left = places(&told, |event| is_action(event, "DisconnectNetwork"));
    let gone = places(&told, |event| is_action(event, "RemoveContainer"));
    let cluster = places(&told, |event| is_action(event, "DeleteCluster"));
    assert_eq!((left.len(), cluster.len(), gone.len()), (count, 1, count), "{deleted}");
    assert!(left.iter().all(|place| *place < output[0]), "they leave the network first: {deleted}");
    assert!(gone.iter().all(|place| *place > cluster[0]), "and go last: {deleted}");
    managed.cluster_is_gone();
    managed.registries_are_gone();
    assert_eq!(managed.volumes().len(), count, "what they cached stays");
    assert_eq!(managed.calls()[1..], [managed.delete_call()]);

    managed.succeeds(&["cluster", "delete"]);
    assert_eq!(managed.calls().len(), 2, "what is gone is not deleted");
}

fn what_the_program_says_is_shown_line_by_line_and_volumes_go_when_they_are_to(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("text", distribution);
    let cluster = managed.cluster();
    let created = managed.succeeds(&["cluster", "create"]);
    let said = format!("cluster {cluster}: {}\n", (distribution.begins)(cluster));
    assert!(created.stdout.contains(&said), "{created}");
    let done = format!("cluster {cluster}: created with {}: ", distribution.program);
    assert!(created.stdout.contains(&done), "{created}");
    assert!(created.stdout.contains(&format!("cluster {cluster}: ClusterReady\n")), "{created}");
    assert!(created.stdout.contains("2 mirrors are Ready"), "{created}");
    assert_eq!(managed.calls(), [managed.create_call()], "no argument that nobody asked for");

    let deleted = managed.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    let done = format!("cluster {cluster}: deleted with {}: ", distribution.program);
    assert!(deleted.stdout.contains(&done), "{deleted}");
    managed.cluster_is_gone();
    managed.registries_are_gone();
    assert_eq!(managed.volumes(), Vec::<String>::new());
    managed.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(managed.calls(), [managed.create_call(), managed.delete_call()]);
}

#[test]
fn no_cluster_is_created_whose_nodes_would_run_no_container() {
    let _turn = beside_others();
    let managed = Managed::new("dead", KIND);
    managed.write("Managed", "Present", SETTINGS);
    let table = "[plugins.\"io.containerd.grpc.v1.cri\".registry";
    let config = format!(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\ncontainerdConfigPatches:\n  - |-\n    {table}]\n      \
         config_path = \"/etc/containerd/certs.d\"\n    {table}.mirrors.\"docker.io\"]\n      \
         endpoint = [\"http://mine:5000\"]\n"
    );
    let path = managed.scenario.directory().join("cluster.yaml");
    fs::write(&path, &config).expect("the directory is the test's own");
    let refused = managed.ksail(&["apply"], "");
    let words = refused.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(refused.code, 1, "{refused}");
    assert!(words.contains("sets registry.mirrors beside config_path"), "{refused}");
    assert_eq!(managed.calls(), Vec::<String>::new(), "kind is not even started");
    managed.registries_serve();

    let mirrors = config.find(&format!("    {table}.mirrors")).expect("it has them");
    fs::write(&path, &config[..mirrors]).expect("the directory is the test's own");
    managed.succeeds(&["apply"]);
    managed.is_up();
}

fn a_cluster_whose_nodes_are_gone_already_can_be_deleted(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("gone", distribution);
    managed.succeeds(&["apply"]);
    managed.scenario.docker.run(&[vec!["rm".to_owned(), "-fv".to_owned()], managed.wired_nodes()].concat());
    managed.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    managed.cluster_is_gone();
    managed.registries_are_gone();
    // The load balancer of k3d is still the cluster's; of kind's there is nothing left to delete.
    let deletions = managed.calls().len() - 1;
    assert_eq!(deletions, usize::from(distribution.program == "k3d"), "{:?}", managed.calls());
}

fn a_creation_that_fails_is_told_of_and_taken_back_and_the_registries_serve(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("fail", distribution);
    let words = "failed to create cluster: the first node is up, and the stand-in was told to fail";
    let failed = managed.ksail(&["apply", "-o", "json"], "fail");
    assert_eq!(failed.code, 1, "{failed}");
    let told = events(&failed);
    let action = told.iter().find(|event| event["action"] == "CreateCluster").expect("the creation is reported");
    assert_eq!(action["result"], "failed");
    assert!(action["message"].as_str().is_some_and(|message| message.contains(words)), "{action}");
    let condition = told.iter().rfind(|event| event["event"] == "condition" && event["type"] == "ClusterReady");
    let condition = condition.expect("the cluster's condition is told");
    assert_eq!((&condition["status"], &condition["reason"]), (&"False".into(), &"ProvisionerFailed".into()));
    assert!(condition["message"].as_str().is_some_and(|message| message.contains(words)), "{condition}");
    assert_eq!(managed.calls(), [managed.create_call(), managed.delete_call()], "tried once, and taken back");
    managed.cluster_is_gone();
    managed.registries_serve();

    let failed = managed.ksail(&["cluster", "create"], "fail");
    assert_eq!(failed.code, 1, "{failed}");
    let cluster = managed.cluster();
    // A line is broken where the window's edge would break it.
    let told = failed.stdout.replace("\n    ", " ");
    let could_not = format!("cluster {cluster}: could not create cluster {cluster} with {}: ", distribution.program);
    assert!(told.contains(&could_not) && told.contains(words), "{failed}");
    assert!(failed.stdout.contains("ClusterReady=False: ProvisionerFailed"), "{failed}");
    managed.cluster_is_gone();

    managed.succeeds(&["cluster", "create"]);
    managed.is_up();
}

#[test]
fn an_interrupted_apply_stops_kind_and_takes_back_what_it_did() {
    interrupted(KIND, "apply", 1);
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_interrupted_apply_stops_k3d_and_takes_back_what_it_did() {
    interrupted(K3D, "apply", 1);
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_interrupted_watch_stops_kind_and_takes_back_what_it_did() {
    interrupted(KIND, "watch", 0);
}

#[test]
fn an_interrupted_watch_stops_k3d_and_takes_back_what_it_did() {
    interrupted(K3D, "watch", 0);
}

fn interrupted(distribution: Distribution, command: &str, code: i32) {
    let _turn = beside_others();
    let managed = Managed::new(command, distribution);
    let mut running = managed.hanging(&[command]);
    if command == "watch" {
        await_attached(&managed);
    }
    running.signal("INT");
    assert_eq!(running.await_exit(SOON), Some(code), "{}", running.stderr());
    managed.cluster_is_gone();
    managed.registries_serve();
    assert_eq!(managed.calls(), [managed.create_call(), managed.delete_call()]);
}

/// A watch puts them on the cluster's network while the cluster is being made.
fn await_attached(managed: &Managed) {
    eventually("the registries are on the network", SOON, || {
        holds(managed.mirrors.iter().all(|mirror| managed.is_attached(mirror)), "not yet")
    });
}

fn a_file_that_says_absent_stops_a_creation_that_is_under_way(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("absent", distribution);
    let mut running = managed.hanging(&["watch"]);
    await_attached(&managed);
    managed.write("Managed", "Absent", "");
    eventually("cluster and registries are gone", SOON, || {
        let left = [managed.nodes(), managed.scenario.containers()].concat();
        holds(left.is_empty(), format!("{left:?}; {:#?}", running.since(0)))
    });
    running.settled_since(0, Duration::from_secs(1));
    managed.cluster_is_gone();
    assert_eq!(managed.calls(), [managed.create_call(), managed.delete_call()]);
    assert_eq!(running.stop(), Some(0));
}

fn a_cluster_that_cannot_be_deleted_keeps_its_registries(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("stays", distribution);
    managed.succeeds(&["apply"]);
    let up: Vec<_> = managed.mirrors.iter().map(|mirror| managed.scenario.running(mirror).identity()).collect();
    let failed = managed.ksail(&["cluster", "delete"], "fail-delete");
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stdout.contains("failed to delete cluster"), "{failed}");
    assert!(failed.stdout.contains("ClusterReady=False: ProvisionerFailed"), "{failed}");
    managed.is_up();
    let now: Vec<_> = managed.mirrors.iter().map(|mirror| managed.scenario.running(mirror).identity()).collect();
    assert_eq!(now, up, "they went on serving it");
    assert_eq!(managed.calls(), [managed.create_call(), managed.delete_call()], "tried once");

    managed.succeeds(&["cluster", "delete"]);
    managed.cluster_is_gone();
    managed.registries_are_gone();
}

fn without_the_program_the_registries_come_and_go_and_the_cluster_is_left_as_it_is(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("no-program", distribution);
    let tells = |finished: &Finished, to: &str| {
        assert_eq!(finished.code, 1, "{finished}");
        let cannot = format!("cannot {to} the cluster: {} is not on the PATH", distribution.program);
        for words in ["ClusterReady=False: ProvisionerNotFound", &cannot, distribution.install, "External"] {
            assert!(finished.stdout.contains(words), "{words:?} is in: {finished}");
        }
    };
    tells(&managed.without_programs(&["apply"]), "create");
    managed.registries_serve();
    assert_eq!(managed.nodes(), Vec::<String>::new());
    tells(&managed.without_programs(&["apply"]), "create");

    managed.succeeds(&["apply"]);
    managed.is_up();
    tells(&managed.without_programs(&["cluster", "delete"]), "delete");
    managed.registries_are_gone();
    assert_eq!(managed.nodes(), managed.whole());
    for (node, mirror) in managed.wired_nodes().iter().flat_map(|node| managed.mirrors.iter().map(move |m| (node, m))) {
        assert_eq!(managed.hosts_toml(node, &mirror.host), None, "{} on {node}", mirror.host);
    }
    assert_eq!(managed.calls(), [managed.create_call()]);

    managed.succeeds(&["cluster", "delete"]);
    managed.cluster_is_gone();
}

fn somebody_elses_cluster_is_neither_created_nor_deleted(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("external", distribution);
    managed.write("External", "Present", "");
    managed.succeeds(&["cluster", "create"]);
    managed.registries_serve();
    assert_eq!(managed.calls(), Vec::<String>::new());

    let words = (distribution.create)(managed.cluster());
    let words: Vec<&str> = words.split(' ').collect();
    let made = managed.stand_in.command(words[0], &words[1..], "").output().expect("the stand-in runs");
    assert!(made.status.success(), "{made:?}");
    managed.succeeds(&["apply"]);
    managed.is_up();
    managed.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    managed.registries_are_gone();
    assert_eq!(managed.nodes(), managed.whole());
    assert_eq!(managed.calls(), [managed.create_call()], "the one call is not ksail's");
}

fn a_cluster_that_is_there_is_not_made_anew_because_something_differs(distribution: Distribution) {
    let _turn = beside_others();
    let managed = Managed::new("differs", distribution);
    managed.succeeds(&["apply"]);
    let made = managed.node(&managed.first_node()).id();
    managed.write("Managed", "Present", SETTINGS);
    managed.succeeds(&["apply"]);

    managed.scenario.docker.run(&[&["stop", "-t", "1"][..], &to_words(&managed.whole())].concat());
    let stopped = managed.ksail(&["apply"], "");
    assert_eq!(stopped.code, 1, "{stopped}");
    assert!(stopped.stdout.contains("ClusterReady=False: ClusterStopped"), "{stopped}");
    let hint = stopped.stdout.split('\'').find(|words| words.starts_with("docker start"));
    let hint = hint.unwrap_or_else(|| panic!("it says how to start it: {stopped}"));
    let started = Command::new("sh").args(["-c", hint]).stdin(Stdio::null()).output().expect("sh runs");
    assert!(started.status.success(), "{hint}: {started:?}");
    eventually("with its nodes started it is as it should be", SOON, || {
        let applied = managed.ksail(&["apply"], "");
        holds(applied.code == 0, applied.to_string())
    });
    managed.is_up();
    assert_eq!(managed.node(&managed.first_node()).id(), made);
    assert_eq!(managed.calls(), [managed.create_call()]);
}

#[test]
fn half_a_cluster_does_not_pass_for_a_whole_one_and_an_api_server_that_comes_up_is_waited_for() {
    let _turn = beside_others();
    let managed = Managed::new("half", KIND);
    managed.succeeds(&["apply"]);
    let node = managed.first_node();
    let in_node = |words: &[&str]| managed.scenario.docker.run(&[&["exec", &node], words].concat());
    let says = |args: &[&str], words: &str| {
        let said = managed.ksail(args, "");
        assert_eq!(said.code, 1, "{said}");
        assert!(said.to_string().contains(words), "{said}");
    };
    // As SIGKILL leaves it, or as it is while somebody else makes it.
    in_node(&["mv", "/etc/kubernetes/admin.conf", "/etc/kubernetes/not-yet"]);
    says(&["status"], "ClusterIncomplete");
    says(&["diff"], "was made half-way");
    says(&["cluster", "create"], "'ksail cluster delete'");
    in_node(&["mv", "/etc/kubernetes/not-yet", "/etc/kubernetes/admin.conf"]);

    in_node(&["touch", "/run/kubectl/not-ready"]);
    says(&["status"], "ApiUnreachable");
    let late = managed.ksail(&["apply", "--timeout", "5s"], "");
    assert_eq!(late.code, 3, "{late}");
    assert!(late.to_string().contains("its API server to say that it is ready"), "{late}");
    let waits = thread::scope(|scope| {
        let waits = scope.spawn(|| managed.ksail(&["apply"], ""));
        let asked = || in_node(&["cat", "/run/kubectl/log"]).matches("/readyz").count();
        let before = asked();
        eventually("it has asked twice", SOON, || holds(asked() >= before + 2, "not yet"));
        in_node(&["rm", "/run/kubectl/not-ready"]);
        waits.join().expect("it ends")
    });
    assert_eq!(waits.code, 0, "{waits}");
    assert_eq!(managed.calls(), [managed.create_call()], "nobody made it anew");
}

fn to_words(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn a_watch_creates_the_cluster_and_tries_again_when_that_fails() {
    let _turn = beside_others();
    let managed = Managed::new("retry", KIND);
    let mut watch = Watch::start(managed.command(&["watch", "-o", "json"], "fail"));
    let again = |event: &Event| event.is("retry") && event.text("cluster") == managed.cluster();
    watch.await_event("another try is announced", SOON, again);
    let creations = || managed.calls().iter().filter(|call| **call == managed.create_call()).count();
    eventually("it is tried again", SOON, || {
        let told = || watch.since(0).iter().map(|event| event.json.to_string()).collect::<Vec<_>>().join("\n");
        if creations() > 1 { Ok(()) } else { Err(format!("{:?}\n{}\n{}", managed.calls(), told(), watch.stderr())) }
    });
    managed.registries_serve();
    assert_eq!(watch.stop(), Some(0));
    managed.cluster_is_gone();
    managed.registries_serve();
}

/// As fast as one types it on one line; ksail leaves it to whoever does so.
fn made_anew_by_hand(distribution: Distribution, rounds: usize) {
    let _turn = beside_others();
    let managed = Managed::new("by-hand", distribution);
    let mut watch = Watch::start(managed.command(&["watch", "-o", "json"], ""));
    let is_ready = |event: &Event| event.text("type") == "ClusterReady" && event.text("status") == "True";
    watch.await_event("the cluster is made", SOON, is_ready);
    let by_hand = |call: String| {
        let words: Vec<&str> = call.split(' ').collect();
        let done = managed.stand_in.command(words[0], &words[1..], "").output().expect("the stand-in runs");
        assert!(done.status.success(), "{call}: {done:?}");
    };
    for round in 0..rounds {
        let mark = watch.mark();
        by_hand(managed.delete_call());
        by_hand(managed.create_call());
        watch.await_event_since(mark, "the new one is ready", MADE_ANEW, is_ready);
        eventually("its nodes are wired", MADE_ANEW, || {
            let wired = |node: &String| managed.hosts_toml(node, "docker.io").is_some();
            holds(managed.wired_nodes().iter().all(wired), format!("round {round}"))
        });
    }
    watch.settled_since(0, Duration::from_secs(1));
    managed.is_up();
    let by_ksail = managed.calls().len() - 2 * rounds;
    assert_eq!(by_ksail, 1, "ksail made the first one and no other: {:?}", managed.calls());
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn kinds_cluster_that_is_made_anew_by_hand_beside_a_watch_is_wired_within_seconds() {
    made_anew_by_hand(KIND, 2);
}

#[test]
#[ignore = "long: tests/run --long"]
fn clusters_that_are_made_anew_by_hand_ten_times_beside_a_watch_are_wired_within_seconds() {
    made_anew_by_hand(KIND, 10);
    made_anew_by_hand(K3D, 10);
}

#[test]
fn k3ds_network_goes_with_the_cluster_that_somebody_deletes_or_that_could_not_be_made() {
    let _turn = beside_others();
    let managed = Managed::new("network", K3D);
    let failed = managed.ksail(&["cluster", "create"], "undo");
    assert_eq!(failed.code, 1, "{failed}");
    managed.cluster_is_gone();
    managed.registries_serve();

    managed.write("External", "Present", "");
    let watch = Watch::start(managed.command(&["watch", "-o", "json"], ""));
    let by_hand = |call: String| {
        let words: Vec<&str> = call.split(' ').collect();
        let done = managed.stand_in.command(words[0], &words[1..], "").output().expect("the stand-in runs");
        assert!(done.status.success(), "{call}: {done:?}");
    };
    let are_on_it = || holds(managed.mirrors.iter().all(|mirror| managed.is_attached(mirror)), "not all");
    by_hand(managed.create_call());
    eventually("they are on it", SOON, are_on_it);
    by_hand(managed.delete_call());
    eventually("it is gone", SOON, || holds(!managed.network_exists(), "it is there"));
    managed.registries_serve();
    by_hand(managed.create_call());
    eventually("they are on the next one", SOON, are_on_it);
    watch.settled_since(0, Duration::from_secs(1));
    drop(watch);

    // Nobody looks while it is deleted.
    by_hand(managed.delete_call());
    assert!(managed.network_exists(), "they are on it");
    managed.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    managed.cluster_is_gone();
    managed.registries_are_gone();
}

/// k3s renders its files anew at each start of a node, from the `registries.yaml` that the cluster was created with: what
/// `init` has written into `k3d.yaml`.
#[test]
fn what_k3s_renders_at_each_start_of_a_node_is_put_right_and_what_left_the_file_does_not_come_back() {
    const OF_K3S: &str = "# File generated by k3s. DO NOT EDIT.";
    let _turn = beside_others();
    let managed = Managed::new("renders", K3D);
    let (docker_io, pushed) = (&managed.mirrors[0], &managed.mirrors[1]);
    let endpoint = |mirror: &Mirror| format!("http://{}:5000", managed.scenario.container_name(mirror));
    let entry = |mirror: &Mirror| format!("      \"{}\":\n        endpoint: [\"{}\"]\n", mirror.host, endpoint(mirror));
    let mirrors: String = [docker_io, pushed].into_iter().map(entry).collect();
    let head = "apiVersion: k3d.io/v1alpha5\nkind: Simple\nregistries:\n  config: |\n    mirrors:\n";
    let config = managed.scenario.directory().join("k3d.yaml");
    fs::write(config, format!("{head}{mirrors}")).expect("it can be written");
    managed.write("Managed", "Present", "  distributionConfig: k3d.yaml\n");
    let mut watch = Watch::start(managed.command(&["watch", "-o", "json"], ""));
    watch.await_ready();
    let file = |node: &str, mirror: &Mirror| managed.hosts_toml(node, &mirror.host).unwrap_or_default();
    let are_wired = || {
        let is_wired = |node: &String| {
            let text = file(node, docker_io);
            text.starts_with("# Managed by ksail") && text.contains(&endpoint(docker_io))
        };
        holds(managed.wired_nodes().iter().all(is_wired), "not all")
    };
    eventually("k3s's idea of the upstream is put right", SOON, are_wired);
    for node in managed.wired_nodes() {
        let text = file(&node, pushed);
        assert!(text.starts_with(OF_K3S) && text.contains(&endpoint(pushed)), "kept as it is: {text}");
    }

    let does = |event: &Event, action: &str, node: &str| {
        event.is_action() && event.text("node") == node && event.text("action") == action
    };
    let restarted = watch.mark();
    for node in managed.wired_nodes() {
        managed.scenario.docker.run(&["restart", "-t", "0", &node]);
    }
    for node in managed.wired_nodes() {
        let writes = |event: &Event| does(event, "WriteNodeFiles", &node);
        watch.await_event_since(restarted, "and again after each start", SOON, writes);
    }
    eventually("on all of them", SOON, are_wired);
    watch.settled_since(0, Duration::from_secs(1));
    assert_eq!(managed.scenario.converged(&managed.mirrors), Ok(()));

    let left = [pushed.clone()];
    managed.scenario.write_text(&managed.scenario.text(&left).replace(
        "  distribution: Kind\n  lifecycle: External\n",
        "  distribution: K3d\n  lifecycle: Managed\n  distributionConfig: k3d.yaml\n",
    ));
    let are_gone = || holds(managed.wired_nodes().iter().all(|node| file(node, docker_io).is_empty()), "not all");
    eventually("they lead to what is no longer there", SOON, are_gone);
    let (restarted, first) = (watch.mark(), managed.first_node());
    managed.scenario.docker.run(&["restart", "-t", "0", &first]);
    let removes = |event: &Event| does(event, "RemoveNodeFiles", &first);
    watch.await_event_since(restarted, "each start brings them again", SOON, removes);
    watch.settled_since(restarted, Duration::from_secs(1));
    are_gone().expect("they stay away");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

/// Skipped, and said so, where `tests/setup --tests` could not fetch kind.
#[test]
fn the_real_kind_sees_the_clusters_that_ksail_sees_and_takes_the_file_that_init_writes() {
    let Some(kind) = real_kind() else {
        println!("skipped: the real kind is not here; tests/setup --tests says why");
        return;
    };
    let managed = Managed::new("real", KIND);
    let run = |args: &[&str]| {
        let mut command = Command::new(&kind);
        command.args(args).env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &managed.scenario.network);
        command.current_dir(managed.scenario.directory()).stdin(Stdio::null()).output().expect("kind runs")
    };
    let lines = |args: &[&str]| -> Vec<String> {
        sorted(String::from_utf8_lossy(&run(args).stdout).lines().map(str::to_owned).collect())
    };
    let cluster = managed.cluster();
    {
        let _turn = beside_others();
        managed.succeeds(&["apply"]);
        assert!(lines(&["get", "clusters"]).iter().any(|found| found == cluster));
        assert_eq!(lines(&["get", "nodes", "--name", cluster]), managed.whole());
        managed.succeeds(&["cluster", "delete"]);
        assert!(!lines(&["get", "clusters"]).iter().any(|found| found == cluster));
    }

    let directory = managed.scenario.directory();
    fs::remove_file(managed.scenario.file()).expect("there is a manifest");
    let init = ["cluster", "init", "--name", cluster, "--mirror-registry", "docker.io"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksail"));
    let written = Finished::run(command.args(init).current_dir(&directory));
    assert_eq!(written.code, 0, "{written}");
    let create = ["create", "cluster", "--config", "kind.yaml", "--image", "none:none"];
    let refused = |why: &str| {
        let output = run(&create);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{why:?} is in: {said}");
    };
    refused("failed to pull image \"none:none\"");
    let config = directory.join("kind.yaml");
    let text = fs::read_to_string(&config).expect("init has written it");
    fs::write(&config, text.replace("containerdConfigPatches", "containerdConfigPatch")).expect("it can be changed");
    refused("field containerdConfigPatch not found");
    assert!(!http::serves(managed.mirrors[0].host_port()), "nothing of the scenario is left");
}
