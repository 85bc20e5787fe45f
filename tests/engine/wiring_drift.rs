//! Under `watch`, nodes that come and go and files that are changed on them end up as they should be, soon.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::support::deadline::{eventually, holds};
use super::support::manifest::Mirror;
use super::support::node::Node;
use super::support::scenario::{Scenario, free_port};
use super::support::watch::{Event, Watch};
use super::turns::alone;

const WIRED: Duration = Duration::from_secs(1);
const REPAIRED: Duration = Duration::from_secs(2);
const FOREIGN: &str = "# mine\nserver = \"https://elsewhere.example\"\n";

/// A running watch over two nodes and a registry to push to, which needs two files on each.
struct Watched {
    watch: Watch,
    nodes: Vec<Node>,
    mirror: Mirror,
    /// What the file says.
    wanted: String,
    /// How long `watch` took to bring everything up.
    coming_up: Duration,
    scenario: Scenario,
}

impl Watched {
    fn new(name: &str) -> Self {
        let scenario = Scenario::new(&format!("wires-{name}"));
        let mirror = Mirror::push(free_port());
        let nodes = vec![Node::kind(&scenario, "control-plane"), Node::kind(&scenario, "worker")];
        scenario.write(std::slice::from_ref(&mirror));
        let begun = Instant::now();
        let watch = scenario.watch();
        let coming_up = begun.elapsed();
        let wanted = nodes[1].hosts_toml(&mirror.host).expect("it is wired");
        Self { watch, nodes, mirror, wanted, coming_up, scenario }
    }

    /// All comes up in less than two seconds. An engine kept so busy by others that this took longer is given as much
    /// more time.
    fn at_this_speed(&self, limit: Duration) -> Duration {
        limit.mul_f64((self.coming_up.as_secs_f64() / 2.0).max(1.0))
    }

    /// The node that is tampered with.
    fn worker(&self) -> &Node {
        &self.nodes[1]
    }

    fn path(&self) -> String {
        self.worker().hosts_toml_path(&self.mirror.host)
    }

    fn directory(&self) -> String {
        self.path().replace("/hosts.toml", "")
    }

    /// The worker's file as this machine sees it.
    fn file(&self) -> PathBuf {
        self.worker().outside_path(&self.path())
    }

    /// What the worker's file may be changed to.
    fn edited(&self) -> String {
        self.wanted.replace("resolve", "push")
    }

    fn exec(&self, command: &[&str]) {
        let done = self.worker().exec(command);
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Does something to the worker's file, which has to be as it was soon after.
    fn is_put_right(&self, what: &str, change: impl FnOnce()) {
        let mark = self.watch.mark();
        change();
        let changed = Instant::now();
        let limit = self.at_this_speed(REPAIRED);
        let file = self.file();
        eventually(what, limit * 3, || {
            // It may be right because nobody has touched it yet: that it was written tells.
            let written = self.watch.since(mark).iter().any(|event| self.wrote(event));
            holds(written && fs::read_to_string(&file).is_ok_and(|text| text == self.wanted), "not yet")
        });
        let took = changed.elapsed();
        assert!(took <= limit, "{what}: right after {took:?}");
        self.settle(mark);
    }

    fn wrote(&self, event: &Event) -> bool {
        event.is_action() && event.text("node") == self.worker().name() && event.text("action") == "WriteNodeFiles"
    }

    /// Waits until the condition is as given; true is only so when nothing is under way.
    fn await_condition(&mut self, mark: usize, kind: &str, status: &str) -> Event {
        let (host, limit) = (self.mirror.host.clone(), self.at_this_speed(REPAIRED));
        self.watch.await_event_since(mark, &format!("{kind} is {status}"), limit, |event| {
            event.is_condition(&host, kind, status)
        })
    }

    /// Waits for the end of what began since `mark`, so that the next change meets a watch at rest.
    fn settle(&self, mark: usize) {
        self.watch.settled_since(mark, Duration::from_millis(300));
    }
}

#[test]
fn nodes_that_join_restart_and_go_are_followed() {
    let _turn = alone();
    let mut watched = Watched::new("nodes");
    let limit = watched.at_this_speed(WIRED);

    let mark = watched.watch.mark();
    let third = Node::kind(&watched.scenario, "worker");
    let name = third.name().to_owned();
    let written = watched.watch.await_event_since(mark, "the third node is wired", limit * 3, |event| {
        event.is_action() && event.text("node") == name
    });
    let took = written.at.saturating_duration_since(third.joined);
    assert!(took <= limit, "wired after {took:?}");
    assert_eq!(written.text("result"), "done", "{:?}", written.json);
    for host in [watched.mirror.host.clone(), format!("{}:5000", watched.scenario.container_name(&watched.mirror))] {
        assert_eq!(third.hosts_toml(&host).as_ref(), Some(&watched.wanted), "{host}");
    }
    watched.nodes.push(third);
    watched.settle(mark);
    let nodes = || watched.scenario.status().json["nodes"].as_array().map_or(0, Vec::len);
    assert_eq!(nodes(), 3);

    let mark = watched.watch.mark();
    watched.worker().restart();
    watched.settle(mark);
    assert_eq!(watched.worker().hosts_toml(&watched.mirror.host).as_ref(), Some(&watched.wanted), "after a restart");
    let status = watched.scenario.status();
    assert_eq!((status.code, nodes()), (0, 3), "{}", status.json);

    let mark = watched.watch.mark();
    let gone = watched.nodes.pop().expect("there are three");
    drop(gone);
    watched.settle(mark);
    let status = watched.scenario.status();
    assert_eq!((status.code, status.json["nodes"].as_array().map_or(0, Vec::len)), (0, 2), "{}", status.json);
    assert_eq!(status.of_mirror(&watched.mirror.host, "NodesWired").2, "2 nodes are wired");
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}

#[test]
fn a_file_that_is_changed_or_taken_away_by_docker_commands_is_put_right() {
    let _turn = alone();
    let mut watched = Watched::new("docker");
    let path = watched.path();
    watched.is_put_right("edited by docker cp", || {
        let mine = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(mine.path(), watched.edited()).expect("it can be written");
        let to = format!("{}:{path}", watched.worker().name());
        watched.scenario.docker.run(&["cp", mine.path().to_str().unwrap_or_default(), &to]);
    });
    watched.is_put_right("deleted", || watched.exec(&["rm", &path]));
    watched.is_put_right("its directory removed", || watched.exec(&["rm", "-r", &watched.directory()]));
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_file_is_put_right_whatever_docker_command_changes_it_or_takes_it_away() {
    let _turn = alone();
    let mut watched = Watched::new("docker-any");
    let path = watched.path();
    watched.is_put_right("edited by tee", || watched.worker().write(&path, &watched.edited()));
    watched.is_put_right("truncated", || watched.exec(&["truncate", "-s", "0", &path]));
    let all = watched.directory().rsplit_once('/').map_or("", |(all, _)| all).to_owned();
    watched.is_put_right("all directories removed", || watched.exec(&["rm", "-r", &all]));
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}

#[test]
fn a_file_that_a_process_in_the_node_changes_or_takes_away_is_put_right_although_no_event_tells() {
    let _turn = alone();
    let mut watched = Watched::new("process");
    let file = watched.file();
    watched.is_put_right("edited", || fs::write(&file, watched.edited()).unwrap());
    watched.is_put_right("deleted", || fs::remove_file(&file).unwrap());
    watched.is_put_right("its directory removed", || fs::remove_dir_all(file.parent().expect("it is in one")).unwrap());
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_file_is_put_right_whatever_a_process_does_to_it_although_no_event_tells() {
    let _turn = alone();
    let mut watched = Watched::new("process-any");
    let file = watched.file();
    let all = file.ancestors().nth(2).expect("it is in one of several").to_owned();
    watched.is_put_right("truncated", || fs::write(&file, "").unwrap());
    watched.is_put_right("cut off", || fs::write(&file, &watched.wanted[..10]).unwrap());
    watched.is_put_right("all directories removed", || fs::remove_dir_all(&all).unwrap());
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}

#[test]
fn a_file_of_somebody_else_is_reported_and_left_until_it_is_moved_away() {
    let _turn = alone();
    let mut watched = Watched::new("foreign");
    let (path, file) = (watched.path(), watched.file());
    let preferred = format!("{}_/hosts.toml", watched.directory().replace(':', "_"));
    for (in_the_way, moved_to) in [(path.as_str(), "/tmp/mine"), (preferred.as_str(), "/tmp/mine-too")] {
        let foreign = watched.worker().outside_path(in_the_way);
        let mark = watched.watch.mark();
        watched.worker().write(in_the_way, FOREIGN);
        let wired = watched.await_condition(mark, "NodesWired", "False");
        assert_eq!(wired.text("reason"), "NodeFileForeign", "{}", wired.json);
        let ready = watched.await_condition(mark, "Ready", "False");
        assert_eq!(ready.text("reason"), "NodeFileForeign", "{}", ready.json);
        watched.settle(mark);
        assert_eq!(fs::read_to_string(&foreign).unwrap(), FOREIGN, "byte for byte");
        let applied = watched.scenario.ksail(&["apply"]);
        assert_eq!(applied.code, 1, "{applied}");
        assert_eq!(fs::read_to_string(&foreign).unwrap(), FOREIGN, "byte for byte");

        let mark = watched.watch.mark();
        let directory = in_the_way.replace("/hosts.toml", "");
        let (away, moved) = if in_the_way == path { (in_the_way, moved_to) } else { (directory.as_str(), moved_to) };
        watched.exec(&["mv", away, moved]);
        watched.await_condition(mark, "NodesWired", "True");
        watched.await_condition(mark, "Ready", "True");
        assert_eq!(fs::read_to_string(&file).unwrap(), watched.wanted);
    }
    assert_eq!(watched.worker().read("/tmp/mine").as_deref(), Some(FOREIGN));
    assert_eq!(watched.worker().read("/tmp/mine-too/hosts.toml").as_deref(), Some(FOREIGN));
    assert_eq!(watched.watch.stop(), Some(0), "{}", watched.watch.stderr());
}
