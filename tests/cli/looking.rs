//! Looking at registries, restarting one, and what can be done about a cluster whose file is lost.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;

use crate::on_the_engine::{EXTERNAL, World, free_port};
use crate::ran::Project;

/// Longest wait for what should happen within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one registry to push to, at a port.
struct Scene {
    world: World,
    project: Project,
    port: u16,
    host: String,
}

impl Scene {
    fn new() -> Self {
        let (world, project, port) = (World::new(), Project::new(), free_port());
        let host = format!("localhost:{port}");
        let init = ["cluster", "init", "--name", &world.cluster, "--local-registry", &host];
        project.succeeds(&[&init[..], &EXTERNAL].concat());
        Self { world, project, port, host }
    }

    /// Without a network that a cluster of somebody else's could have.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", "kcli-none");
        command
    }

    fn ksail(&self, arguments: &[&str]) -> String {
        self.project.shown(&self.command(arguments).output().unwrap())
    }

    fn name(&self) -> String {
        format!("ksail-{}-localhost-{}", self.world.cluster, self.port)
    }

    /// Without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        text.replace(&self.world.cluster, "CLUSTER").replace(&self.port.to_string(), "PORT")
    }

    /// Asks the registry as a program of this name.
    fn asks(&self, path: &str, program: &str) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: r\r\nUser-Agent: {program}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1."), "{answer}");
    }
}

/// A command that goes on, and the lines it writes.
struct Going {
    child: Child,
    lines: Receiver<String>,
}

impl Going {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, (said, lines)) = (child.stdout.take().unwrap(), channel());
        let read = move |out: ChildStdout| {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        };
        std::thread::spawn(move || read(out));
        Self { child, lines }
    }

    /// The first line from here on that holds this.
    fn says(&self, wanted: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not say {wanted:?}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }

    fn ends(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

fn docker(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
}

#[test]
fn a_status_is_of_one_mirror_by_name_or_without_headings_and_says_what_nobody_is_about_to_change() {
    let scene = Scene::new();
    let (project, host) = (&scene.project, scene.host.as_str());
    let before = scene.plain(&scene.ksail(&["status", host]));
    assert_snapshot!(before, @r"
    exit: 1
    --- stdout
    CONDITION        STATUS   REASON            MESSAGE
    Ready            False    NotCreated        there is no container; 'ksail apply' makes one
    Running          False    ContainerMissing  there is no container
    Serving          False    NotRunning        container does not run
    NetworkAttached  False    NetworkNotFound   network kcli-none does not exist yet; attached when it appears
    NodesWired       Unknown  NoNodes           no node of the cluster runs
    --- stderr
    ");
    project.succeeds(&["apply"]);
    assert_snapshot!(scene.plain(&scene.ksail(&["status", host])), @r"
    exit: 0
    --- stdout
    CONDITION        STATUS   REASON            MESSAGE
    Ready            True     AsDesired         as ksail.yaml says
    Running          True     ContainerRunning  container runs
    Serving          True     Answering         registry answers /v2/
    NetworkAttached  False    NetworkNotFound   network kcli-none does not exist yet; attached when it appears
    NodesWired       Unknown  NoNodes           no node of the cluster runs
    --- stderr
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["status", "-o", "name"])), @r"
    exit: 0
    --- stdout
    mirror/localhost:PORT
    --- stderr
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["status", "--no-headers"])), @r"
    exit: 0
    --- stdout
    localhost:PORT  push  127.0.0.1:PORT  True   AsDesired  -     -
    localhost:PORT: NetworkNotFound: network kcli-none does not exist yet; attached when it appears
    --- stderr
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["status", "quay.io"])), @r"
    exit: 2
    --- stdout
    --- stderr
    error: quay.io is not in ksail.yaml, which lists localhost:PORT
    ");
    docker(&["kill", &scene.name()]);
    assert_snapshot!(scene.plain(&scene.ksail(&["status", host])), @r"
    exit: 1
    --- stdout
    CONDITION        STATUS   REASON           MESSAGE
    Ready            False    ContainerExited  container exited with code 137
    Running          False    ContainerExited  container exited with code 137
    Serving          False    NotRunning       container does not run
    NetworkAttached  False    NetworkNotFound  network kcli-none does not exist yet; attached when it appears
    NodesWired       Unknown  NoNodes          no node of the cluster runs
    --- stderr
    ");
    let document: Value =
        serde_json::from_slice(&scene.command(&["status", host, "-o", "json"]).output().unwrap().stdout).unwrap();
    assert_eq!(document["mirrors"].as_array().map(Vec::len), Some(1), "{document}");
}

#[test]
fn a_status_that_is_watched_is_shown_again_when_something_has_changed() {
    let scene = Scene::new();
    scene.project.succeeds(&["apply"]);
    let going = Going::of(scene.command(&["status", "--watch", "--no-headers"]));
    assert!(going.says(&scene.host).contains("AsDesired"));
    docker(&["kill", &scene.name()]);
    assert!(going.says(&format!("{} ", scene.host)).contains("ContainerExited"));
    let file = scene.project.read("ksail.yaml");
    scene.project.write("ksail.yaml", "kind: [");
    scene.project.write("ksail.yaml", &file);
    docker(&["start", &scene.name()]);
    assert!(going.says(&format!("{} ", scene.host)).contains("AsDesired"));
    docker_signal(&going.child);
    assert_eq!(going.ends().0, Some(0), "told to stop");
}

fn docker_signal(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

#[test]
fn a_log_holds_what_others_asked_for_and_not_that_ksail_asked_whether_it_is_there() {
    let scene = Scene::new();
    let (project, host) = (&scene.project, scene.host.as_str());
    assert_snapshot!(scene.plain(&scene.ksail(&["logs", host])), @r"
    exit: 1
    --- stdout
    --- stderr
    error: localhost:PORT has no container yet; 'ksail apply' makes one
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["logs", "quay.io"])), @r"
    exit: 2
    --- stdout
    --- stderr
    error: quay.io is not in ksail.yaml, which lists localhost:PORT
    ");
    project.succeeds(&["apply"]);
    project.ksail(&["status"]);
    assert_eq!(project.succeeds(&["logs", host, "--requests"]), "", "ksail alone has asked");
    let all = project.succeeds(&["logs", host]);
    assert!(all.contains("No HTTP secret provided") && !all.contains("GET /v2/"), "{all}");

    let going = Going::of(scene.command(&["logs", host, "--requests", "-f"]));
    scene.asks("/v2/", "somebody/1");
    assert!(going.says("somebody/1").contains("\"GET /v2/ HTTP/1.0\" 200"));
    project.ksail(&["status"]);
    scene.asks("/v2/library/app/manifests/1", "somebody/2");
    assert!(going.lines.recv_timeout(PATIENCE).unwrap().contains("somebody/2"), "the next line");
    docker(&["kill", &scene.name()]);
    let (code, said) = going.ends();
    assert_eq!((code, scene.plain(&said).as_str()), (Some(0), "note: ksail-CLUSTER-localhost-PORT has ended\n"));

    let requests = project.succeeds(&["logs", host, "--requests"]);
    assert_eq!(requests.lines().count(), 2, "{requests}");
}

#[test]
fn a_registry_is_restarted_when_somebody_asks_for_it_and_a_watch_lets_it_be() {
    let scene = Scene::new();
    let (project, host) = (&scene.project, scene.host.as_str());
    assert_snapshot!(scene.plain(&scene.ksail(&["restart", host])), @r"
    exit: 1
    --- stdout
    --- stderr
    error: localhost:PORT has no container to restart; 'ksail apply' makes one
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["restart", "quay.io"])), @r"
    exit: 2
    --- stdout
    --- stderr
    error: quay.io is not in ksail.yaml, which lists localhost:PORT
    ");
    let watch = Going::of(scene.command(&["watch", "-o", "json"]));
    watch.says("passFinished");
    let before = scene.world.containers();
    assert_snapshot!(scene.plain(&scene.ksail(&["restart", host])), @r"
    exit: 0
    --- stdout
    localhost:PORT: restarted: asked for (0.0s)
    localhost:PORT: serves again
    --- stderr
    ");
    let after = scene.world.containers();
    let id = |containers: &[String]| containers[0].split(' ').nth(1).unwrap().to_owned();
    assert_eq!(id(&before), id(&after));
    assert_ne!(before, after, "it was started anew");
    assert!(project.succeeds(&["diff"]).contains("Nothing to do"));
    docker_signal(&watch.child);
    let said: Vec<String> = watch.lines.iter().filter(|line| line.contains("\"event\":\"action\"")).collect();
    assert_eq!(said, Vec::<String>::new(), "the watch has done nothing");
    assert_eq!(watch.ends().0, Some(0));
}

#[test]
fn a_cluster_whose_file_is_lost_is_listed_and_deleted_by_its_name() {
    let scene = Scene::new();
    let (project, cluster) = (&scene.project, scene.world.cluster.as_str());
    project.succeeds(&["apply"]);
    let listed = || {
        let all = project.succeeds(&["cluster", "list"]);
        let ours: Vec<&str> = all.lines().filter(|line| line.contains(cluster)).collect();
        // The columns are as wide as the widest name, which may be another cluster's.
        let words = |line: &&str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        scene.plain(&ours.iter().map(words).collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(listed(), "CLUSTER 1/1 running 1 0 ksail.yaml");
    assert_snapshot!(scene.plain(&scene.ksail(&["cluster", "delete", "--name", cluster])), @r"
    exit: 2
    --- stdout
    --- stderr
    error: cluster CLUSTER is kept the way ksail.yaml says
    delete it there: ksail cluster delete -f ksail.yaml, or go past that file: --adopt
    ");
    assert_snapshot!(scene.plain(&scene.ksail(&["cluster", "delete", "--name", "kcli-no-such"])), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is nothing of ksail's of a cluster kcli-no-such; 'ksail cluster list' shows of which clusters there is something
    ");

    fs::remove_file(project.path.join("ksail.yaml")).unwrap();
    assert_eq!(listed(), "CLUSTER 1/1 running 1 0 -");
    let json: Value = serde_json::from_str(&project.succeeds(&["cluster", "list", "-o", "json"])).unwrap();
    let ours = json.as_array().unwrap().iter().find(|found| found["cluster"] == cluster).unwrap();
    assert_eq!((&ours["registries"][0]["state"], &ours["volumes"][0]["kept"]), (&"running".into(), &false.into()));
    assert_snapshot!(scene.plain(&scene.ksail(&["cluster", "delete", "--name", cluster])), @r"
    exit: 0
    --- stdout
    localhost:PORT: removed its container: state is Absent; its volume stays (0.0s)
    cluster CLUSTER: no registry is left (0.0s)
    --- stderr
    ");
    assert_eq!(listed(), "CLUSTER 0/0 running 1 0 -\nkept: volume ksail-CLUSTER-localhost-PORT of localhost:PORT");
    let purge = ["cluster", "delete", "--name", cluster, "--delete-registry-volumes"];
    assert_snapshot!(scene.plain(&scene.ksail(&purge)), @r"
    exit: 0
    --- stdout
    volume ksail-CLUSTER-localhost-PORT: removed: state is Purged (0.0s)
    cluster CLUSTER: no registry is left (0.0s)
    --- stderr
    ");
    assert_eq!(listed(), "");
    assert_eq!(project.names(), ["kind.yaml", "ksail.schema.json"], "no file was written");
}
