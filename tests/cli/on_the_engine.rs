//! From an empty directory to an empty engine, and edits while `watch` runs.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ran::{self, Project};

/// Longest wait for something that should happen within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every cluster of these tests is called, before the number of the process.
const PREFIX: &str = "kcli-";

/// These tests are about registries: no program is to be looked for, let alone run.
pub(crate) const EXTERNAL: [&str; 2] = ["--lifecycle", "External"];

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// A cluster of its own; whatever carries its label is removed with it.
pub(crate) struct World {
    pub(crate) cluster: String,
    /// Held and never looked at.
    ports: Option<MutexGuard<'static, ()>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let ports = ran::ports();
        let mut world = Self::beside_another();
        world.ports = Some(ports);
        world
    }

    /// For a test that has a world already.
    fn beside_another() -> Self {
        sweep();
        docker(&["image", "inspect", "registry:3"]);
        let count = WORLDS.fetch_add(1, Ordering::SeqCst);
        Self { cluster: format!("{PREFIX}{}-{count}", std::process::id()), ports: None }
    }

    fn label(&self) -> String {
        format!("label=ksail.dev/cluster={}", self.cluster)
    }

    /// `name id started` of every container of the cluster.
    pub(crate) fn containers(&self) -> Vec<String> {
        let ids = lines(&docker(&["ps", "-aq", "--no-trunc", "--filter", &self.label()]));
        if ids.is_empty() {
            return ids;
        }
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        // One that goes away in between is not there; docker still tells about the others.
        let format = ["inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Running}}"];
        let output = Command::new("docker").args([&format[..], &ids].concat()).output().unwrap();
        let mut found = lines(&String::from_utf8(output.stdout).unwrap());
        found.sort();
        found
    }

    fn running(&self) -> usize {
        self.containers().iter().filter(|line| line.ends_with(" true")).count()
    }

    fn volumes(&self) -> Vec<String> {
        lines(&docker(&["volume", "ls", "-q", "--filter", &self.label()]))
    }

    /// Address of a registry that plays the upstream.
    pub(crate) fn upstream(&self) -> String {
        let name = format!("{}-upstream", self.cluster);
        docker(&["run", "-d", "--pull", "never", "--name", &name, "registry:3"]);
        let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
        format!("http://{}:5000", docker(&["inspect", "--format", format, &name]).trim())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        remove(|cluster| cluster == self.cluster);
    }
}

/// A port nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().expect("docker is needed");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Removes what runs have left behind whose process is gone.
fn sweep() {
    remove(|cluster| {
        let process = cluster.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists())
    });
}

fn remove(is_over: impl Fn(&str) -> bool) {
    let gone = |kind: &[&str], list: &str| {
        for line in list.lines() {
            let Some((object, label)) = line.split_once(' ') else { continue };
            let cluster = if label.is_empty() { object.trim_end_matches("-upstream") } else { label };
            if is_over(cluster) {
                // Another test may be sweeping too.
                let _ = Command::new("docker").args([kind, &[object]].concat()).output();
            }
        }
    };
    let label = "{{.Label \"ksail.dev/cluster\"}}";
    gone(
        &["rm", "-fv"],
        &docker(&["ps", "-a", "--filter", &format!("name={PREFIX}"), "--format", &format!("{{{{.Names}}}} {label}")]),
    );
    gone(
        &["volume", "rm"],
        &docker(&[
            "volume",
            "ls",
            "--filter",
            &format!("name={PREFIX}"),
            "--format",
            &format!("{{{{.Name}}}} {label}"),
        ]),
    );
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn from_an_empty_directory_to_an_empty_engine_and_every_step_twice() {
    let world = World::new();
    let project = Project::new();
    let (mirror, local) = (format!("docker.io={}", world.upstream()), format!("localhost:{}", free_port()));
    let name = [&["cluster", "init"], &EXTERNAL[..], &["--name", &world.cluster]].concat();
    let init = [&name[..], &["--mirror-registry", &mirror, "--local-registry", &local]].concat();
    project.succeeds(&init);
    assert!(project.succeeds(&init).ends_with("\nNothing to change.\n"));
    project.succeeds(&["validate"]);
    project.succeeds(&["validate"]);
    for _ in 0..2 {
        let ran = project.ksail(&["diff"]);
        assert!(ran.starts_with("exit: 1\n"), "{ran}");
    }
    assert_eq!(world.containers(), Vec::<String>::new());

    let files = project.files();
    let created = project.succeeds(&["cluster", "create"]);
    assert!(created.contains("2 mirrors are Ready"), "{created}");
    assert!(created.ends_with("\nNext: 'ksail verify docker.io --image docker.io/library/alpine:3'\n"), "{created}");
    let (up, volumes) = (world.containers(), world.volumes());
    assert_eq!((world.running(), volumes.len()), (2, 2));
    project.succeeds(&["cluster", "create"]);
    assert_eq!(world.containers(), up, "the second create touches nothing");
    assert_eq!(project.succeeds(&["diff"]), "Nothing to do.\n");
    assert_eq!(project.files(), files, "state: Present is what no state means");

    let deleted = project.succeeds(&["cluster", "delete"]);
    assert!(deleted.starts_with("ksail.yaml: state is Absent\n"), "{deleted}");
    assert_eq!((world.containers().len(), world.volumes()), (0, volumes));
    let after = project.files();
    project.succeeds(&["cluster", "delete"]);
    assert_eq!(project.files(), after);

    project.succeeds(&["cluster", "create"]);
    assert_eq!(world.running(), 2);
    for _ in 0..2 {
        project.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
        assert_eq!((world.containers(), world.volumes()), (Vec::new(), Vec::new()));
        assert!(project.read("ksail.yaml").contains("state: Purged\n"));
    }
}

#[test]
fn create_adds_mirrors_first_and_says_everything_in_json_when_asked() {
    let world = World::new();
    let project = Project::new();
    let upstream = world.upstream();
    project
        .succeeds(&[&["cluster", "init", "--name", &world.cluster, "--distribution", "k3d"], &EXTERNAL[..]].concat());
    let (one, two) = (format!("docker.io={upstream}"), format!("ghcr.io={upstream}"));
    let create = ["cluster", "create", "--mirror-registry", &one, "--mirror-registry", &two, "-o", "json"];
    let events: Vec<Value> =
        project.succeeds(&create).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "passFinished"), "{events:?}");
    assert_eq!(world.running(), 2);
    assert!(project.read("k3d.yaml").contains(&format!("http://ksail-{}-ghcr-io:5000", world.cluster)));
    let (before, up) = (project.files(), world.containers());
    project.succeeds(&create);
    assert_eq!((project.files(), world.containers()), (before, up), "again nothing to change");
}

#[test]
fn delete_needs_no_variables_and_leaves_other_clusters_volumes() {
    let (world, other) = (World::new(), World::beside_another());
    let upstream = world.upstream();
    let project = Project::new();
    let neighbour = Project::new();
    for (world, project) in [(&world, &project), (&other, &neighbour)] {
        let mirror = format!("docker.io={upstream}");
        project.succeeds(
            &[&["cluster", "init", "--name", &world.cluster, "--mirror-registry", &mirror], &EXTERNAL[..]].concat(),
        );
        // Both chose the same free port.
        let port = format!("port: {}", free_port());
        let line = project.read("ksail.yaml").lines().find(|line| line.contains("port: ")).unwrap().trim().to_owned();
        project.write("ksail.yaml", &project.read("ksail.yaml").replace(&line, &port));
        project.succeeds(&["cluster", "create"]);
    }
    let (up, volumes) = (other.containers(), other.volumes());
    project.succeeds(&["mirror", "set", "docker.io", "--username", "${KSAIL_U}", "--password", "${KSAIL_P}"]);
    project.succeeds(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!((world.containers(), world.volumes()), (Vec::new(), Vec::new()));
    assert_eq!((other.containers(), other.volumes()), (up, volumes));
}

#[test]
fn an_engine_that_is_away_is_said_and_exits_1() {
    let project = Project::new();
    project.succeeds(&["cluster", "init", "--name", "away"]);
    let ran = project.ksail(&["cluster", "create", "--host", "unix:///nowhere/docker.sock"]);
    assert!(ran.starts_with("exit: 1\n") && ran.contains("/nowhere/docker.sock"), "{ran}");
}

/// `ksail watch -o json` and what it has said so far.
struct Watch {
    child: Child,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Watch {
    fn of(project: &Project) -> Self {
        let mut command = project.command(&["watch", "-o", "json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (out, said) = (BufReader::new(child.stdout.take().unwrap()), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, said }
    }

    fn said(&self, event: &str) -> Vec<Value> {
        self.said.lock().unwrap().iter().filter(|said| said["event"] == event).cloned().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It leaves the registries running; the world removes them.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watch_follows_edits_made_by_other_processes_and_nothing_flaps() {
    let world = World::new();
    let project = Project::new();
    let upstream = world.upstream();
    let mirror = format!("docker.io={upstream}");
    project.succeeds(
        &[&["cluster", "init", "--name", &world.cluster, "--mirror-registry", &mirror], &EXTERNAL[..]].concat(),
    );
    let watch = Watch::of(&project);
    until("the first mirror runs", || world.running() == 1 && !watch.said("passFinished").is_empty());
    let first = world.containers();

    project.succeeds(&["mirror", "add", &format!("ghcr.io={upstream}")]);
    until("the added mirror is Ready", || {
        let ready = |said: &Value| said["mirror"] == "ghcr.io" && said["type"] == "Ready" && said["status"] == "True";
        watch.said("condition").iter().any(ready)
    });
    project.succeeds(&["mirror", "remove", "ghcr.io"]);
    until("the removed mirror is gone", || world.containers().len() == 1);
    assert_eq!(world.containers(), first, "the mirror that stayed was not touched");

    project.succeeds(&["cluster", "delete"]);
    assert_eq!(world.containers(), Vec::<String>::new(), "delete returns when they are gone");
    project.succeeds(&["cluster", "create"]);
    assert_eq!(world.running(), 1, "create returns when they run");
    let up = world.containers();
    let passes = watch.said("passFinished").len();
    project.succeeds(&["mirror", "add", &format!("quay.io={upstream}")]);
    until("the watch goes on", || watch.said("passFinished").len() > passes && world.running() == 2);
    assert!(up.iter().all(|line| world.containers().contains(line)), "the mirror that stayed was not touched");

    let failed: Vec<_> = watch.said("action").into_iter().filter(|action| action["result"] != "done").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(watch.said("manifestRejected"), Vec::<Value>::new());
}
