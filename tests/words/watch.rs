//! What `ksail watch` makes of each thing that can happen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, pipe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use ksail::desired::{Desired, ResolveContext, resolve};
use ksail::engine::{EngineError, EngineInfo, PullProgress, Volume};
use ksail::event::{ActionReport, ActionResult, Event, Reporter};
use ksail::exposure::{Exposure, Reachable};
use ksail::manifest::{Distribution, parse};
use ksail::observed::{Foreign, NetworkRef};
use ksail::outcome::{Failure, GivenUp};
use ksail::plan::{Action, ClusterSpec, Obstacle, Postponed, Subject, Target};
use ksail::provisioner::ProvisionError;
use ksail::report::{Text, Writer, left_out_as_text};
use ksail::status::{Condition, ConditionStatus, ConditionType, Reason};

const MANIFEST: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata: {name: dev}
spec:
  registries:
    mirrors:
      - {host: docker.io, upstream: https://registry-1.docker.io, port: 5001, credentials: {username: '${A}', password: '${A}'}}
      - {host: localhost:5000}
";

fn desired() -> Desired {
    let environment = |_: &str| Some("secret".to_owned());
    let manifest = parse(Path::new("ksail.yaml"), MANIFEST.as_bytes(), &environment).unwrap();
    resolve(&manifest, &ResolveContext::default())
}

/// One of each, with what it is done for and why.
fn actions(desired: &Desired) -> Vec<(Subject, Action, &'static str)> {
    let mirror = desired.mirrors.values().next().unwrap();
    let cluster = || {
        Box::new(ClusterSpec {
            name: desired.cluster.clone(),
            distribution: Distribution::Kind,
            program: PathBuf::from("kind"),
            provisioning: desired.provisioning.clone(),
            direct: Vec::new(),
        })
    };
    let target = |name: &str| Target { name: name.to_owned(), id: None };
    let container = || target(&mirror.name);
    let node = || target("dev-control-plane");
    let network = || NetworkRef::named("kind");
    let hosts = || vec!["docker.io".to_owned()];
    let docker_io = || Subject::mirror("docker.io");
    let (of_node, of_cluster) =
        (|| Subject::Node("dev-control-plane".to_owned()), || Subject::Cluster("dev".to_owned()));
    let name = || mirror.name.clone();
    let labels = BTreeMap::new;
    let volume = Volume { name: name(), labels: labels(), created_at: None };
    let files: BTreeMap<_, _> =
        mirror.node_files.iter().map(|(host, toml)| (host.clone(), (String::new(), toml.clone()))).collect();
    let secrets = mirror.files.clone().unwrap();
    let hosting = desired.hosting.clone().unwrap();
    vec![
        (docker_io(), Action::PullImage { image: "registry:3".to_owned() }, "not on the engine yet"),
        (docker_io(), Action::CreateVolume { name: name(), labels: labels() }, "volume missing"),
        (docker_io(), Action::CreateContainer { spec: Box::new(mirror.container.clone()) }, "container missing"),
        (docker_io(), Action::PutFiles { container: container(), files: secrets }, "container missing"),
        (
            docker_io(),
            Action::ConnectNetwork { container: container(), network: network(), aliases: Vec::new() },
            "not attached to the cluster's network",
        ),
        (
            docker_io(),
            Action::DisconnectNetwork { container: container(), network: network() },
            "before the cluster is deleted",
        ),
        (docker_io(), Action::StartContainer { container: container() }, "container exited (137)"),
        (docker_io(), Action::StopContainer { container: container() }, "port changed 5001 -> 5002"),
        (
            docker_io(),
            Action::RestartContainer { container: container(), only_if_silent: true },
            "registry hangs: no answer to /v2/ within 2 s, nor within 8 s",
        ),
        (docker_io(), Action::UnpauseContainer { container: container() }, "container is paused"),
        (docker_io(), Action::RenameContainer { container: container(), to: name() }, "port changed 5001 -> 5002"),
        (
            docker_io(),
            Action::UpdateRestartPolicy { container: container(), policy: "always".to_owned() },
            "restart policy changed to no",
        ),
        (docker_io(), Action::RemoveContainer { container: container() }, "not in ksail.yaml; its volume stays"),
        (Subject::Volume(name()), Action::RemoveVolume { volume }, "state is Purged"),
        (docker_io(), Action::AwaitServing { container: container() }, "container missing"),
        (
            of_node(),
            Action::WriteNodeFiles { node: node(), cluster: desired.cluster.clone(), files },
            "hosts.toml missing",
        ),
        (
            of_node(),
            Action::RemoveNodeFiles {
                node: node(),
                cluster: desired.cluster.clone(),
                hosts: hosts(),
                paths: Vec::new(),
            },
            "not in ksail.yaml",
        ),
        (
            of_node(),
            Action::RemoveNodeDirectories { node: node(), paths: vec!["/etc/containerd/certs.d/docker.io".to_owned()] },
            "empty",
        ),
        (
            of_cluster(),
            Action::AdvertiseRegistry { node: node(), distribution: Distribution::Kind, hosting },
            "the cluster was not told yet",
        ),
        (of_cluster(), Action::WithdrawRegistry { node: node(), distribution: Distribution::Kind }, "state is Absent"),
        (of_cluster(), Action::CreateCluster { cluster: cluster() }, "no cluster of this name yet"),
        (of_cluster(), Action::DeleteCluster { cluster: cluster() }, "state is Absent"),
        (of_cluster(), Action::RemoveNetwork { network: network() }, "its cluster is gone"),
    ]
}

/// Fails to compile when there is an action that [`actions`] has not.
fn number(action: &Action) -> usize {
    match action {
        Action::PullImage { .. } => 0,
        Action::CreateVolume { .. } => 1,
        Action::CreateContainer { .. } => 2,
        Action::PutFiles { .. } => 3,
        Action::ConnectNetwork { .. } => 4,
        Action::DisconnectNetwork { .. } => 5,
        Action::StartContainer { .. } => 6,
        Action::StopContainer { .. } => 7,
        Action::RestartContainer { .. } => 8,
        Action::UnpauseContainer { .. } => 9,
        Action::RenameContainer { .. } => 10,
        Action::UpdateRestartPolicy { .. } => 11,
        Action::RemoveContainer { .. } => 12,
        Action::RemoveVolume { .. } => 13,
        Action::AwaitServing { .. } => 14,
        Action::WriteNodeFiles { .. } => 15,
        Action::RemoveNodeFiles { .. } => 16,
        Action::RemoveNodeDirectories { .. } => 17,
        Action::AdvertiseRegistry { .. } => 18,
        Action::WithdrawRegistry { .. } => 19,
        Action::CreateCluster { .. } => 20,
        Action::DeleteCluster { .. } => 21,
        Action::RemoveNetwork { .. } => 22,
    }
}

fn program_failed() -> ProvisionError {
    let last_words = vec!["Creating cluster \"dev\" ...".to_owned(), "ERROR: node(s) already exist".to_owned()];
    ProvisionError::Failed { command: "kind create cluster".to_owned(), how: "exited with 1".to_owned(), last_words }
}

fn failures() -> Vec<Failure> {
    let container = || "ksail-dev-docker-io".to_owned();
    let refused = || EngineError::Refused { status: 500, message: "no space left on device".to_owned() };
    let left = Failure::Engine { what: "cannot delete cluster dev with kind".to_owned(), error: refused() };
    vec![
        Failure::Engine { what: "cannot start ksail-dev-docker-io".to_owned(), error: refused() },
        Failure::NameTaken { kind: "container", name: container() },
        Failure::NetworkInUse { network: "k3d-dev".to_owned(), container: "web".to_owned() },
        Failure::Exits { container: container(), exit_code: Some(1), said: None },
        Failure::DoesNotServe { container: container() },
        Failure::Archive("no memory".to_owned()),
        Failure::InNode {
            what: "cannot start ksail-dev-docker-io".to_owned(),
            said: "rm: read-only file system".to_owned(),
        },
        Failure::Repeated { cause: "volume ksail-dev-docker-io is not mounted".to_owned(), times: 9 },
        Failure::Provisioner(program_failed()),
        Failure::Remains { created: program_failed(), left: Box::new(left) },
    ]
}

fn obstacles() -> Vec<Obstacle> {
    let name = || "ksail-dev-docker-io".to_owned();
    let node = || "dev-control-plane".to_owned();
    let file = |cluster: Option<&str>| Foreign {
        path: "/etc/containerd/certs.d/docker.io/hosts.toml".to_owned(),
        cluster: cluster.map(str::to_owned),
    };
    let postponed = || Postponed {
        cause: "made by an earlier ksail: log capped, debug port closed; cache kept".to_owned(),
        why: "connection refused".to_owned(),
    };
    vec![
        Obstacle::PortInUse { port: 5001, holder: Some("hog".to_owned()), next_free: Some(5002) },
        Obstacle::PortInUse { port: 5001, holder: None, next_free: None },
        Obstacle::NameConflict { kind: "container", name: name(), cluster: None },
        Obstacle::NameConflict { kind: "volume", name: name(), cluster: Some("other".to_owned()) },
        Obstacle::Unreadable { error: "container ksail-dev-docker-io cannot be looked at: timeout".to_owned() },
        Obstacle::UpstreamAway(postponed()),
        Obstacle::NodeFileForeign { node: node(), file: file(None) },
        Obstacle::NodeFileForeign { node: node(), file: file(Some("other")) },
        Obstacle::NodeIgnoresFiles {
            complaint: "containerd on dev-control-plane has no config_path and ignores hosts.toml files".to_owned(),
        },
        Obstacle::ProvisionerNotFound { program: "kind", install: "https://kind.sigs.k8s.io", to: "create" },
    ]
}

fn others() -> Vec<Event> {
    let mirror = || Subject::mirror("docker.io");
    let progress = |id: &str, status: &str| PullProgress {
        id: id.to_owned(),
        status: status.to_owned(),
        current: None,
        total: None,
    };
    let pulling =
        |id: &str, status: &str| Event::Pulling { image: "registry:3".to_owned(), progress: progress(id, status) };
    let exposed = |takes_pushes, has_credentials| {
        let (host, address) = ("docker.io".parse().unwrap(), "0.0.0.0".parse().unwrap());
        Event::Exposed(Exposure::Reachable(Reachable { host, address, takes_pushes, has_credentials }))
    };
    let engine = EngineInfo {
        name: "Docker Engine".to_owned(),
        version: "20.10.24".to_owned(),
        api_version: "1.41".to_owned(),
        address: "unix:///var/run/docker.sock".to_owned(),
    };
    vec![
        Event::Watching { file: PathBuf::from("ksail.yaml"), cluster: "dev".to_owned() },
        Event::ManifestLoaded { mirrors: 1 },
        Event::ManifestLoaded { mirrors: 3 },
        Event::ManifestRejected { message: "error: unknown field 'upstraem'\n --> ksail.yaml:14:9".to_owned() },
        Event::ManifestPolled {
            file: PathBuf::from("ksail.yaml"),
            reason: "fs.inotify.max_user_instances is reached".to_owned(),
        },
        Event::EngineFound(engine),
        Event::EngineLost {
            message: "cannot reach the engine at unix:///var/run/docker.sock: connection refused".to_owned(),
        },
        Event::EngineRefuses { message: "cannot list containers: permission denied".to_owned() },
        Event::Waiting { message: "another ksail (pid 812) works on this cluster; waiting for it".to_owned() },
        Event::Stopping { under_way: vec![mirror(), Subject::Cluster("dev".to_owned())] },
        Event::LeftBehind { subject: Subject::Cluster("dev".to_owned()) },
        exposed(false, false),
        exposed(true, false),
        exposed(false, true),
        Event::Removing { what: vec![mirror(), Subject::Cluster("dev".to_owned())], after: Duration::from_secs(10) },
        pulling("", "Pulling from library/registry"),
        pulling("0123456789ab", "Pull complete"),
        Event::Output {
            subject: Subject::Cluster("dev".to_owned()), line: " • Preparing nodes 📦  ...".to_owned()
        },
    ]
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: Reason, message: &str) -> Event {
    let condition = Condition { kind, status, reason, message: message.to_owned(), since: Timestamp::UNIX_EPOCH };
    Event::Condition { subject: Subject::mirror("docker.io"), condition }
}

fn of_node(event: Event) -> Event {
    let Event::Condition { condition, .. } = event else { return event };
    Event::Condition { subject: Subject::Node("dev-worker".to_owned()), condition }
}

fn conditions() -> Vec<Event> {
    use ConditionStatus::{False, True};
    use ConditionType::{ClusterReady, NetworkAttached, Ready, RegistryAdvertised, UpstreamReachable, Wired};
    vec![
        condition(Ready, True, Reason::AsDesired, "as ksail.yaml says"),
        condition(Ready, False, Reason::NotAnswering, "registry hangs: it does not answer /v2/"),
        condition(
            UpstreamReachable,
            False,
            Reason::UpstreamUnreachable,
            "https://registry-1.docker.io: connection refused; look at the port, and whether it runs",
        ),
        condition(
            UpstreamReachable,
            True,
            Reason::UpstreamAnswers,
            "https://registry-1.docker.io answers as a registry",
        ),
        condition(
            UpstreamReachable,
            False,
            Reason::UpstreamUnauthorized,
            "https://registry-1.docker.io: refuses the credentials (401), which are not sent again; set others",
        ),
        condition(
            NetworkAttached,
            False,
            Reason::NetworkNotFound,
            "network kind does not exist yet; the mirror is attached when it appears",
        ),
        of_node(condition(
            Wired,
            False,
            Reason::NodeFileForeign,
            "dev-worker: /etc/containerd/certs.d/docker.io/hosts.toml was not written by ksail and is left alone",
        )),
        of_node(condition(Wired, True, Reason::Wired, "its pulls go to the mirrors")),
        condition(ClusterReady, True, Reason::ClusterRunning, "its nodes run"),
        condition(
            ClusterReady,
            False,
            Reason::ClusterStopped,
            "not all of its nodes run; 'docker start dev-worker' starts the others",
        ),
        condition(
            RegistryAdvertised,
            False,
            Reason::AdvertisedByOthers,
            "local-registry-hosting in kube-public was not written by ksail and is left alone",
        ),
    ]
}

/// What a watch writes of the events, each told to somebody who has heard nothing before; the clock stands still.
fn told(events: &[Event]) -> String {
    let mut lines = String::new();
    let reachable = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.kind == ConditionType::UpstreamReachable);
    for (at, event) in events.iter().enumerate() {
        let (mut read, out) = pipe().unwrap();
        let writer = Writer::start(out, left_out_as_text, |_| {}).unwrap();
        let text = Text::new(writer.clone(), true);
        if at > 0 && reachable(event) && reachable(&events[at - 1]) {
            text.report(&events[at - 1]);
        }
        text.report(event);
        writer.finish(Duration::from_secs(60));
        let mut written = String::new();
        read.read_to_string(&mut written).unwrap();
        for line in anstream::adapter::strip_str(&written).to_string().lines() {
            let is_timed = line.get(2..3) == Some(":") && line.get(5..6) == Some(":");
            let _ = writeln!(lines, "{}", if is_timed { format!("12:00:00{}", &line[8..]) } else { line.to_owned() });
        }
    }
    lines
}

fn report(subject: &Subject, action: &Action, cause: &str, result: ActionResult) -> Event {
    Event::Action(ActionReport {
        result,
        duration: Duration::from_millis(420),
        ..ActionReport::of(subject, action, cause)
    })
}

#[test]
fn what_can_happen_is_told_in_lines_of_80_columns() {
    let desired = desired();
    let actions = actions(&desired);
    let numbers: Vec<usize> = actions.iter().map(|(_, action, _)| number(action)).collect();
    assert_eq!(numbers, (0..actions.len()).collect::<Vec<_>>());
    let done: Vec<_> =
        actions.iter().map(|(subject, action, cause)| report(subject, action, cause, ActionResult::Done)).collect();
    let (subject, start, cause) = &actions[6];
    let failed: Vec<_> =
        failures().into_iter().map(|failure| report(subject, start, cause, ActionResult::Failed(failure))).collect();
    let given_up = [GivenUp::Stopped, GivenUp::TimeIsUp, GivenUp::Outdated, GivenUp::CannotGoOn]
        .map(|why| report(subject, start, cause, ActionResult::Cancelled(why)));
    let retry = Event::Retry { subject: subject.clone(), after: Duration::from_millis(500) };
    let blocked: Vec<_> = obstacles()
        .iter()
        .map(|obstacle| {
            condition(ConditionType::Ready, ConditionStatus::False, Reason::PortInUse, &obstacle.to_string())
        })
        .collect();
    let text = [
        ("the file and the engine", told(&others())),
        ("what was done", told(&done)),
        ("what failed, and was given up", told(&[failed, given_up.to_vec()].concat())),
        ("conditions", told(&conditions())),
        ("what only somebody else can remove (its reason is PortInUse for all of them here)", told(&blocked)),
    ];
    assert_eq!(told(&[retry]), "", "whoever has heard of no failure hears of no other try");
    let text = text.iter().fold(String::new(), |text, (title, lines)| format!("{text}# {title}\n{lines}\n"));
    let long: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && line.chars().count() > 80).collect();
    assert!(long.is_empty(), "longer than 80 columns: {long:#?}");
    insta::with_settings!({
        snapshot_path => ".",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("watch", text);
    });
}
