//! When a subject may start, with all that it needs.

use super::*;
use crate::desired::{ResolveContext, resolve};
use crate::distribution::containerd::RegistryConfig;
use crate::engine::{EngineError, Volume};
use crate::manifest::load_contents;
use crate::observed::{Hosting, Node};
use crate::outcome::{Ended, Failure, Outcome};
use crate::plan::{ClusterSpec, Milestone, Obstacle, Target};
use crate::provisioner::ProvisionError;

const CAUSE: &str = "port changed";

/// Everything that the answer depends on, to be changed at will.
#[expect(clippy::struct_excessive_bools, reason = "as the answer does")]
struct Scene {
    subjects: BTreeMap<Subject, Tracked>,
    plan: Plan,
    desired: Desired,
    observed: Observed,
    unsettled: BTreeSet<Subject>,
    cluster_is_asked: bool,
    removals: Removals,
    ending: BTreeSet<String>,
    nodes_are_read: bool,
    gives_up: bool,
    is_stopping: bool,
    goes_back: BTreeSet<Subject>,
    now: Instant,
}

impl Scene {
    /// The file asks for these mirrors.
    fn of(hosts: &[&str]) -> Self {
        let entry = |host: &&str| format!("      - {{host: {host}, upstream: \"https://r.{host}\"}}\n");
        let mirrors: String = hosts.iter().map(entry).collect();
        let text = format!(
            "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: dev}}\nspec:\n  lifecycle: Managed\n  registries:\n    mirrors:\n{mirrors}"
        );
        let manifest = load_contents(std::path::Path::new("ksail.yaml"), Ok(text.into_bytes()), &|_| None);
        let desired = resolve(&manifest.unwrap(), &ResolveContext::default());
        Self {
            subjects: BTreeMap::new(),
            plan: Plan::default(),
            desired,
            observed: Observed::default(),
            unsettled: BTreeSet::new(),
            cluster_is_asked: false,
            removals: Removals::AtOnce,
            ending: BTreeSet::new(),
            nodes_are_read: false,
            gives_up: false,
            is_stopping: false,
            goes_back: BTreeSet::new(),
            now: Instant::now(),
        }
    }

    /// Something is to be done for a subject.
    fn plans(mut self, subject: &Subject, action: Action, after: Vec<Milestone>) -> Self {
        let step = Step { after, ..Step::new(action, CAUSE) };
        self.plan.sequences.entry(subject.clone()).or_default().steps.push(step);
        self.tracks(subject);
        self
    }

    fn plans_to_stop(self, host: &str, after: Vec<Milestone>) -> Self {
        self.plans(&mirror(host), stop(host), after)
    }

    fn blocks(mut self, host: &str) -> Self {
        let obstacle = Obstacle::Unreadable { error: "layer does not exist".to_owned() };
        self.plan.sequences.insert(mirror(host), Sequence { obstacles: vec![obstacle], ..Sequence::default() });
        self.tracks(&mirror(host));
        self
    }

    fn renews(mut self, host: &str) -> Self {
        self.plan.sequences.get_mut(&mirror(host)).unwrap().renews = true;
        self
    }

    fn tracks(&mut self, subject: &Subject) -> &mut Tracked {
        let spec = super::super::subject::Spec::of(subject, &self.desired);
        self.subjects.entry(subject.clone()).or_insert_with(|| Tracked::new(spec))
    }

    fn runs(mut self, subject: &Subject) -> Self {
        let (now, kind) = (self.now, self.plan.sequences.get(subject).map(kind_of).unwrap_or_default());
        self.tracks(subject).start(CAUSE, kind, now);
        self
    }

    fn has_failed(mut self, subject: &Subject) -> Self {
        let error = EngineError::Refused { status: 500, message: "no space left".to_owned() };
        let ended = Ended::Failed(Failure::Engine { what: "cannot start".to_owned(), error });
        let now = self.now;
        let tracked = self.tracks(subject);
        tracked.start(CAUSE, Kind::default(), now);
        tracked.end(subject, &Outcome { ended, actions: 1, left: None }, now);
        self
    }

    fn asks<T>(&self, ask: impl FnOnce(&Readiness<'_>) -> T) -> T {
        ask(&Readiness {
            subjects: &self.subjects,
            plan: &self.plan,
            desired: &self.desired,
            observed: &self.observed,
            unsettled: &self.unsettled,
            cluster_is_asked: self.cluster_is_asked,
            removals: self.removals,
            ending: &self.ending,
            cluster_went: None,
            nodes_are_read: self.nodes_are_read,
            gives_up: self.gives_up,
            is_stopping: self.is_stopping,
            goes_back: &self.goes_back,
            now: self.now,
        })
    }

    /// After how long it may start.
    fn waits(&self, subject: &Subject) -> Result<Duration, Why> {
        self.asks(|readiness| readiness.ready_at(subject)).map(|at| at.saturating_duration_since(self.now))
    }

    /// How long its own state puts it off.
    fn backs_off(&self, subject: &Subject) -> Duration {
        match self.asks(|readiness| readiness.decide(subject)) {
            Decision::Wait { until: Some(until), .. } => until - self.now,
            other => panic!("{other:?}"),
        }
    }
}

const AT_ONCE: Result<Duration, Why> = Ok(Duration::ZERO);

fn mirror(host: &str) -> Subject {
    Subject::mirror(host)
}

fn cluster() -> Subject {
    Subject::Cluster("dev".to_owned())
}

fn node(name: &str) -> Subject {
    Subject::Node(name.to_owned())
}

fn target(name: &str) -> Target {
    Target { name: name.to_owned(), id: Some(format!("id of {name}")) }
}

fn stop(host: &str) -> Action {
    Action::StopContainer { container: target(host) }
}

fn write(name: &str) -> Action {
    Action::WriteNodeFiles { node: target(name), cluster: "dev".parse().unwrap(), files: BTreeMap::new() }
}

fn spec(scene: &Scene) -> ClusterSpec {
    ClusterSpec {
        name: scene.desired.cluster.clone(),
        distribution: scene.desired.distribution,
        program: "/usr/bin/kind".into(),
        provisioning: scene.desired.provisioning.clone(),
        direct: Vec::new(),
    }
}

fn join(host: &str) -> Action {
    let network = crate::observed::NetworkRef { id: "net1".to_owned(), name: "kind".to_owned() };
    Action::ConnectNetwork { container: target(host), network, aliases: Vec::new() }
}

fn released(host: &str) -> Vec<Milestone> {
    vec![Milestone::Released { holder: mirror(host), container: host.to_owned() }]
}

fn found(name: &str) -> Node {
    Node {
        id: format!("id of {name}"),
        name: name.to_owned(),
        addresses: Vec::new(),
        hosts_directory: "/etc/containerd/certs.d".to_owned(),
        hosts: BTreeMap::new(),
        registry_config: RegistryConfig::Unknown(String::new()),
        unreadable: None,
        proxy: crate::distribution::proxy::ProxySettings::default(),
    }
}

fn deletes_cluster(scene: Scene) -> Scene {
    let action = Action::DeleteCluster { cluster: Box::new(spec(&scene)) };
    scene.plans(&cluster(), action, Vec::new())
}

fn volume_named(name: String) -> Volume {
    Volume { name, labels: BTreeMap::new(), created_at: None }
}

#[test]
fn two_mirrors_that_swap_ports_and_three_in_a_ring_start_together() {
    for hosts in [&["a.io", "b.io"][..], &["a.io", "b.io", "c.io"]] {
        let next = hosts.iter().cycle().skip(1);
        let scene = hosts
            .iter()
            .zip(next)
            .fold(Scene::of(hosts), |scene, (host, holder)| scene.plans_to_stop(host, released(holder)));
        for host in hosts {
            assert_eq!(scene.waits(&mirror(host)), AT_ONCE, "{host} of {hosts:?}");
        }
        let scene = scene.has_failed(&mirror("b.io"));
        for host in hosts {
            let latest = Ok(scene.backs_off(&mirror("b.io")));
            assert_eq!(scene.waits(&mirror(host)), latest, "{host} of {hosts:?} goes with the one that waits longest");
        }
    }
}

#[test]
fn a_need_in_backoff_gives_its_own_moment_however_far_away_it_is() {
    let scene = Scene::of(&["a.io", "b.io", "c.io"]);
    let scene = scene.plans_to_stop("a.io", released("b.io")).plans_to_stop("b.io", released("c.io"));
    let scene = scene.plans_to_stop("c.io", Vec::new()).has_failed(&mirror("c.io"));
    let backs_off = scene.backs_off(&mirror("c.io"));
    assert!(backs_off > Duration::ZERO);
    for host in ["a.io", "b.io", "c.io"] {
        assert_eq!(scene.waits(&mirror(host)), Ok(backs_off), "{host}");
    }
}

#[test]
fn a_need_that_runs_is_blocked_or_is_being_read_gives_no_moment() {
    let waiting = || Scene::of(&["a.io", "b.io"]).plans_to_stop("a.io", released("b.io"));
    let runs = waiting().plans_to_stop("b.io", Vec::new()).runs(&mirror("b.io"));
    assert_eq!(runs.waits(&mirror("a.io")), Err(Why::Needs), "it runs");
    let nothing_left_to_do = waiting().runs(&mirror("b.io"));
    assert_eq!(nothing_left_to_do.waits(&mirror("a.io")), Err(Why::Needs), "it runs still");
    assert_eq!(waiting().blocks("b.io").waits(&mirror("a.io")), Err(Why::Needs), "it is blocked");
    let mut read = waiting().plans_to_stop("b.io", Vec::new());
    read.unsettled.insert(mirror("b.io"));
    assert_eq!(read.waits(&mirror("a.io")), Err(Why::Needs), "it is being read");
    assert_eq!(waiting().waits(&mirror("a.io")), AT_ONCE, "nobody holds it any more");
}

#[test]
fn who_only_waits_for_an_end_waits_for_those_that_run_and_not_for_those_in_backoff() {
    let ended = || vec![Milestone::Ended(mirror("a.io"))];
    let creates = |scene: Scene| {
        let action = Action::CreateCluster { cluster: Box::new(spec(&scene)) };
        scene.plans(&cluster(), action, ended())
    };
    let scene = creates(Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new()));
    assert_eq!(scene.waits(&cluster()), AT_ONCE, "they start together");
    assert_eq!(scene.has_failed(&mirror("a.io")).waits(&cluster()), AT_ONCE, "it goes on without");
    let scene = creates(Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new())).runs(&mirror("a.io"));
    assert_eq!(scene.waits(&cluster()), Err(Why::Needs), "it runs from an earlier pass");
    let mut scene = creates(Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new()));
    scene.unsettled.insert(mirror("a.io"));
    assert_eq!(scene.waits(&cluster()), Err(Why::Needs), "it would start in a moment");
}

#[test]
fn what_the_file_does_not_ask_for_any_more_goes_when_the_file_has_been_stable() {
    let volume = Subject::Volume("ksail-dev-b-io".to_owned());
    let remove_volume = || Action::RemoveVolume { volume: volume_named("ksail-dev-b-io".to_owned()) };
    let remove_files = || Action::RemoveNodeFiles {
        node: target("worker"),
        cluster: "dev".parse().unwrap(),
        paths: vec!["/etc/x".to_owned()],
        hosts: Vec::new(),
    };
    let withdraw =
        || Action::WithdrawRegistry { node: target("worker"), distribution: crate::manifest::Distribution::Kind };
    let one_left = || Scene::of(&["a.io"]);
    let none_left = || Scene::of(&[]);
    let second = Duration::from_secs(1);
    let rows: Vec<(&str, Scene, Subject, Duration)> = vec![
        ("a mirror that left the list", one_left().plans_to_stop("b.io", Vec::new()), mirror("b.io"), second),
        ("one that is in the list", one_left().plans_to_stop("a.io", Vec::new()), mirror("a.io"), Duration::ZERO),
        ("a volume", one_left().plans(&volume, remove_volume(), Vec::new()), volume.clone(), second * 10),
        ("a node's files", one_left().plans(&node("worker"), remove_files(), Vec::new()), node("worker"), second),
        (
            "files a node lacks",
            one_left().plans(&node("worker"), write("worker"), Vec::new()),
            node("worker"),
            Duration::ZERO,
        ),
        ("what the cluster says", one_left().plans(&cluster(), withdraw(), Vec::new()), cluster(), second),
        ("the last mirror", none_left().plans_to_stop("b.io", Vec::new()), mirror("b.io"), second * 10),
        ("the cluster", deletes_cluster(none_left()), cluster(), second * 10),
    ];
    for (row, mut scene, subject, stable_for) in rows {
        assert_eq!(scene.waits(&subject), AT_ONCE, "{row}: at once, when somebody has just said so");
        let changed = scene.now;
        scene.removals = Removals::Careful { since: changed };
        assert_eq!(scene.waits(&subject), Ok(stable_for), "{row}");
        scene.now = changed + stable_for * 7 / 10;
        assert_eq!(scene.waits(&subject), Ok(stable_for * 3 / 10), "{row}, later");
        scene.now = changed + stable_for;
        assert_eq!(scene.waits(&subject), AT_ONCE, "{row}, when it has been stable");
        scene.removals = Removals::Never;
        let expected = if stable_for.is_zero() { AT_ONCE } else { Err(Why::Removal) };
        assert_eq!(scene.waits(&subject), expected, "{row}, while the file does not load");
    }
}

#[test]
fn who_waits_for_what_a_removal_releases_waits_with_it() {
    let mut scene = Scene::of(&["mended.io"]);
    let changed = scene.now;
    scene.removals = Removals::Careful { since: changed };
    let scene = scene.plans_to_stop("mistyped.io", Vec::new()).plans_to_stop("mended.io", released("mistyped.io"));
    assert_eq!(scene.waits(&mirror("mended.io")), Ok(STABLE));
    assert_eq!(scene.waits(&mirror("mended.io")), scene.waits(&mirror("mistyped.io")), "as one");
}

#[test]
fn a_volume_that_goes_waits_for_its_mirror_and_a_mirror_for_its_volume_that_is_going() {
    let volume = Subject::Volume("ksail-dev-a-io".to_owned());
    let remove = || Action::RemoveVolume { volume: volume_named("ksail-dev-a-io".to_owned()) };
    let scene = Scene::of(&[]).plans_to_stop("a.io", Vec::new()).has_failed(&mirror("a.io"));
    let scene = scene.plans(&volume, remove(), vec![Milestone::Done(mirror("a.io"))]);
    assert_eq!(scene.waits(&volume), Ok(scene.backs_off(&mirror("a.io"))));
    let scene = Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new());
    assert_eq!(scene.waits(&mirror("a.io")), AT_ONCE);
    let scene = scene.runs(&volume);
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Needs), "it is in the list again");
}

#[test]
fn a_volume_that_goes_waits_while_a_container_is_listed_that_may_be_on_it() {
    let name = "ksail-dev-a-io";
    let subject = Subject::Volume(name.to_owned());
    let labels = crate::labels::of_owner("dev", "a.io", "mirror");
    let volume = Volume { labels, ..volume_named(name.to_owned()) };
    let mut scene = Scene::of(&[]).plans(&subject, Action::RemoveVolume { volume: volume.clone() }, Vec::new());
    scene.observed.volumes.insert(name.to_owned(), volume);
    assert_eq!(scene.waits(&subject), AT_ONCE);
    scene.unsettled.insert(mirror("b.io"));
    assert_eq!(scene.waits(&subject), AT_ONCE, "that is another one's");
    scene.unsettled.insert(mirror("a.io"));
    assert_eq!(scene.waits(&subject), Err(Why::Unsettled));
}

#[test]
fn while_the_cluster_is_being_deleted_nobody_touches_it_and_it_is_not_deleted_while_somebody_does() {
    let touching = |scene: Scene| {
        let scene = scene.plans(&mirror("a.io"), join("a.io"), Vec::new());
        scene.plans(&node("worker"), write("worker"), Vec::new()).plans_to_stop("b.io", Vec::new())
    };
    let hosts = ["a.io", "b.io"];
    let due = deletes_cluster(touching(Scene::of(&hosts)));
    let under_way = touching(deletes_cluster(Scene::of(&hosts)).runs(&cluster()));
    for (when, scene) in [("it is due", &due), ("it is under way", &under_way)] {
        assert_eq!(scene.waits(&mirror("a.io")), Err(Why::LeftAlone), "joins its network when {when}");
        assert_eq!(scene.waits(&node("worker")), Err(Why::LeftAlone), "writes into a node when {when}");
        assert_eq!(scene.waits(&mirror("b.io")), AT_ONCE, "has nothing to do with it when {when}");
    }
    assert_eq!(due.waits(&cluster()), AT_ONCE);
    let due = deletes_cluster(touching(Scene::of(&hosts))).runs(&node("worker"));
    assert_eq!(due.waits(&cluster()), Err(Why::LeftAlone), "somebody writes into a node");
    let due = deletes_cluster(touching(Scene::of(&hosts))).runs(&mirror("b.io"));
    assert_eq!(due.waits(&cluster()), AT_ONCE, "somebody does something else");
    let mut due = deletes_cluster(touching(Scene::of(&hosts)));
    due.nodes_are_read = true;
    assert_eq!(due.waits(&cluster()), Err(Why::LeftAlone), "somebody looks into a node");
    let mut due = deletes_cluster(touching(Scene::of(&hosts)));
    due.unsettled.insert(mirror("b.io"));
    assert_eq!(due.waits(&cluster()), Err(Why::Unsettled), "one may have to leave the network first");
    assert_eq!(
        due.runs(&mirror("b.io")).waits(&cluster()),
        AT_ONCE,
        "whoever is at work and touches it is waited for as such"
    );
}

#[test]
fn a_deletion_that_is_not_due_yet_keeps_nobody_away_from_the_cluster() {
    let scene = |removals: Removals| {
        let scene = Scene::of(&["a.io"]).plans(&mirror("a.io"), join("a.io"), Vec::new());
        Scene { removals, ..deletes_cluster(scene) }
    };
    let in_backoff = scene(Removals::AtOnce).has_failed(&cluster());
    assert_eq!(in_backoff.waits(&mirror("a.io")), AT_ONCE, "it failed");
    let not_yet = scene(Removals::Careful { since: Instant::now() });
    assert_eq!(not_yet.waits(&mirror("a.io")), AT_ONCE, "the file was just changed");
    assert_eq!(scene(Removals::Never).waits(&mirror("a.io")), AT_ONCE, "the file does not load");
    let given_up = (0..3).fold(scene(Removals::AtOnce), |scene, _| scene.has_failed(&cluster()));
    let given_up = Scene { gives_up: true, now: given_up.now + Duration::from_secs(60), ..given_up };
    assert_eq!(given_up.waits(&cluster()), Err(Why::GivenUp));
    assert_eq!(given_up.waits(&mirror("a.io")), AT_ONCE, "it was given up");
}

#[test]
fn a_node_that_is_about_to_end_is_left_alone_and_others_are_not() {
    let mut scene = Scene::of(&["a.io"]);
    scene.observed.nodes = ["one", "two"].map(found).into();
    let advertised = crate::distribution::registry_hosting::Advertised::Nothing;
    let hosting = Hosting { node_id: "id of one".to_owned(), node: "one".to_owned(), advertised };
    scene.observed.hosting = Some(hosting);
    scene.ending = BTreeSet::from(["id of one".to_owned()]);
    let withdraw = Action::WithdrawRegistry { node: target("one"), distribution: scene.desired.distribution };
    let scene = scene.plans(&node("one"), write("one"), Vec::new()).plans(&node("two"), write("two"), Vec::new());
    let scene = scene.plans(&cluster(), withdraw, Vec::new());
    assert_eq!(scene.waits(&node("one")), Err(Why::LeftAlone));
    assert_eq!(scene.waits(&node("two")), AT_ONCE);
    assert_eq!(scene.waits(&cluster()), Err(Why::LeftAlone), "its API server is there");
}

#[test]
fn what_the_cluster_says_is_not_changed_while_it_is_being_asked() {
    let scene = Scene::of(&["a.io"]);
    let withdraw = Action::WithdrawRegistry { node: target("one"), distribution: scene.desired.distribution };
    let scene = Scene { cluster_is_asked: true, ..scene.plans(&cluster(), withdraw, Vec::new()) };
    assert_eq!(scene.waits(&cluster()), Err(Why::Unsettled));
    let scene = Scene { cluster_is_asked: true, ..deletes_cluster(Scene::of(&[])) };
    assert_eq!(scene.waits(&cluster()), AT_ONCE, "to delete it nobody has to know");
}

#[test]
fn renewals_are_made_one_after_the_other() {
    let hosts = ["a.io", "b.io", "c.io"];
    let scene = || {
        let scene = hosts.iter().fold(Scene::of(&hosts), |scene, host| scene.plans_to_stop(host, Vec::new()));
        scene.renews("a.io").renews("b.io")
    };
    let all = |scene: &Scene| hosts.map(|host| scene.waits(&mirror(host)));
    assert_eq!(all(&scene()), [AT_ONCE, Err(Why::Turn), AT_ONCE], "the first, and whoever is not renewed");
    let failed = scene().has_failed(&mirror("a.io"));
    assert_eq!(all(&failed), [Err(Why::Turn), AT_ONCE, AT_ONCE], "the first that may");
    let given_up = (0..3).fold(scene(), |scene, _| scene.has_failed(&mirror("a.io")));
    let given_up = Scene { gives_up: true, now: given_up.now + Duration::from_secs(60), ..given_up };
    assert_eq!(all(&given_up), [Err(Why::GivenUp), AT_ONCE, AT_ONCE], "the first that was not given up");
    let mut read = scene();
    read.unsettled.insert(mirror("a.io"));
    assert_eq!(all(&read), [Err(Why::Unsettled), AT_ONCE, AT_ONCE], "the first of which everything is known");
    let scene = scene().renews("c.io").runs(&mirror("c.io"));
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Turn), "one is under way since an earlier pass");
}

#[test]
fn one_of_whom_something_is_to_be_read_or_asked_first_does_not_start() {
    let mut scene = Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new());
    scene.plan.sequences.get_mut(&mirror("a.io")).unwrap().asks = true;
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Unsettled), "whether it would start again");
    let mut scene = Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new());
    scene.unsettled.insert(mirror("a.io"));
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Unsettled), "what became of it");
}

#[test]
fn whoever_gives_up_does_not_start_what_was_tried_three_times() {
    let scene = (0..3)
        .fold(Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new()), |scene, _| scene.has_failed(&mirror("a.io")));
    let scene = Scene { now: scene.now + Duration::from_secs(60), ..scene };
    assert_eq!(scene.waits(&mirror("a.io")), AT_ONCE, "a watch never gives up");
    assert_eq!(Scene { gives_up: true, ..scene }.waits(&mirror("a.io")), Err(Why::GivenUp));
}

#[test]
fn whoever_is_about_to_end_begins_nothing_but_the_deletion_of_what_a_creation_has_left() {
    let scene = deletes_cluster(Scene::of(&["a.io"]).plans_to_stop("a.io", Vec::new()));
    let mut scene = Scene { is_stopping: true, removals: Removals::Never, ..scene };
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Stopping));
    assert_eq!(scene.waits(&cluster()), Err(Why::Stopping), "the file asks for that");
    scene.goes_back.insert(mirror("a.io"));
    assert_eq!(scene.waits(&mirror("a.io")), AT_ONCE, "it is given back to its upstream");
    scene.goes_back.clear();
    let (now, error) = (scene.now, ProvisionError::Stopped { command: "kind create cluster".to_owned() });
    let tracked = scene.tracks(&cluster());
    tracked.start("no cluster of this name yet", Kind::default(), now);
    tracked.end(&cluster(), &Outcome { ended: Ended::Cancelled, actions: 1, left: Some(error) }, now);
    assert_eq!(scene.waits(&cluster()), AT_ONCE, "half a cluster goes, whatever the file says");
    assert_eq!(scene.waits(&mirror("a.io")), Err(Why::Stopping));
}
