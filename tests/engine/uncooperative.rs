//! A world that does not cooperate costs little: what does not help is not done again and again, and nobody waits for
//! somebody else's fault. What is counted went through a recorder between ksail and the engine.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::deadline::{eventually, holds, within};
use super::support::manifest::Mirror;
use super::support::recorder::Recorder;
use super::support::registry::Upstream;
use super::support::scenario::{Finished, Scenario, free_port};
use super::support::stand_in::StandIn;
use super::support::sweep;
use super::support::watch::{Event, Watch};
use super::turns::beside_others;

/// Longest wait for what is to happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Everything is listed anew within this.
const LISTED: Duration = Duration::from_secs(60);

/// `ksail watch -o json`, with a recorder between it and the engine.
fn watch_through(recorder: &Recorder, scenario: &Scenario) -> Watch {
    let mut command = scenario.command(&["watch", "-o", "json"]);
    command.env("DOCKER_HOST", recorder.address());
    Watch::start(command)
}

fn creates(path: &str) -> bool {
    path.starts_with("/containers/create?")
}

fn starts(path: &str) -> bool {
    path.starts_with("/containers/") && (path.ends_with("/start") || path.contains("/restart"))
}

fn stops(path: &str) -> bool {
    path.starts_with("/containers/") && path.contains("/stop")
}

fn told(watch: &Watch, kind: &str) -> Vec<Event> {
    watch.since(0).into_iter().filter(|event| event.is(kind)).collect()
}

/// All that was told, a line each.
fn story(watch: &Watch) -> String {
    let lines: Vec<String> = watch.since(0).iter().map(|event| event.json.to_string()).collect();
    format!("{}\n{}", lines.join("\n"), watch.stderr())
}

fn never_lost_the_engine(watch: &Watch) {
    assert!(told(watch, "engineLost").is_empty(), "{}", story(watch));
}

/// What is told of the mirror with this reason, as soon as anything is.
fn await_reason(watch: &mut Watch, mark: usize, mirror: &Mirror, reason: &str) -> Event {
    watch.await_event_since(mark, reason, PATIENCE, |event| {
        event.is("condition") && event.text("mirror") == mirror.host && event.text("reason") == reason
    })
}

/// What was told last of the mirror's being Ready.
fn ready(watch: &Watch, mirror: &Mirror) -> (String, String) {
    let events = told(watch, "condition");
    let last = events.iter().rfind(|event| event.text("mirror") == mirror.host && event.text("type") == "Ready");
    last.map(|event| (event.text("status").to_owned(), event.text("message").to_owned())).unwrap_or_default()
}

/// Kills the mirror's registry and waits until it serves again.
fn is_repaired(scenario: &Scenario, mirror: &Mirror, limit: Duration) {
    let before = scenario.running(mirror).started_at();
    scenario.docker.run(&["kill", &scenario.container_name(mirror)]);
    eventually("it is repaired", limit, || {
        let started = scenario.running(mirror).started_at();
        holds(started != before && scenario.serves(mirror), format!("last started at {started}"))
    });
}

#[test]
fn an_engine_that_always_says_another_image_than_was_asked_for_makes_four_containers_at_most() {
    let _turn = beside_others();
    let scenario = Scenario::new("odd-image");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let recorder = Recorder::start();
    let image = scenario.docker.run(&["image", "inspect", "--format", "{{.Id}}", "registry:3"]);
    let another = format!("sha256:{}", "0123".repeat(16));
    let inspects =
        |path: &str| path.starts_with("/containers/") && path.ends_with("/json") && path != "/containers/json";
    let answers = recorder.when("GET", inspects).rewrite(&image, &another);

    let mut watch = watch_through(&recorder, &scenario);
    let repeated = await_reason(&mut watch, 0, &mirror, "Repeated");
    let created = recorder.count("POST", creates);
    assert!(created <= 4, "{created} were created: {}", story(&watch));
    assert!(created > 1 && answers.count() > 0, "it was tried to put it right");
    assert!(repeated.text("message").contains("image"), "the cause that does not go away: {}", repeated.json);
    eventually("the last one serves", PATIENCE, || holds(scenario.serves(&mirror), "no answer"));
    never_lost_the_engine(&watch);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    assert_eq!(scenario.containers(), scenario.expected(std::slice::from_ref(&mirror)), "nothing temporary is left");
}

#[test]
fn a_call_that_is_cut_off_every_time_is_tried_less_and_less_often_and_does_not_count_as_the_loss_of_the_engine() {
    let _turn = beside_others();
    let scenario = Scenario::new("odd-create");
    let [mirror, other] = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&[mirror.clone(), other.clone()]);
    let recorder = Recorder::start();
    let name = scenario.container_name(&mirror);
    let rule = recorder.when("POST", move |path| creates(path) && path.contains(&name)).cut();

    let mut watch = watch_through(&recorder, &scenario);
    eventually("it is tried again, three times", PATIENCE, || {
        let retries = told(&watch, "retry").iter().filter(|event| event.text("mirror") == mirror.host).count();
        holds(retries >= 3, format!("{retries} times; {}", story(&watch)))
    });
    let created = rule.count();
    assert!(created <= 4, "{created} tries: {}", story(&watch));
    watch.await_event("the other one is Ready", PATIENCE, |event| event.is_condition(&other.host, "Ready", "True"));
    assert!(scenario.container(&mirror).is_none());
    never_lost_the_engine(&watch);

    let mark = watch.mark();
    rule.lift();
    watch.await_event_since(mark, "it is Ready", PATIENCE, |event| event.is_condition(&mirror.host, "Ready", "True"));
    assert_eq!(scenario.converged(&[mirror, other]), Ok(()));
    never_lost_the_engine(&watch);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn an_engine_that_refuses_to_tell_its_events_is_listed_instead_and_that_is_told_once() {
    const WORDS: &str = "not allowed here";
    // In no turn: it waits.
    let scenario = Scenario::new("odd-events");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    let recorder = Recorder::start();
    let refused = recorder.when("GET", |path| path.starts_with("/events")).refuse(403, WORDS);

    let mut watch = watch_through(&recorder, &scenario);
    watch.await_ready();
    watch.await_event("the engine's words are told", PATIENCE, |event| event.json.to_string().contains(WORDS));
    is_repaired(&scenario, &mirrors[0], LISTED);
    let asked = refused.count();
    assert!((1..=3).contains(&asked), "asked {asked} times for events");
    let with_words = watch.since(0).into_iter().filter(|event| event.json.to_string().contains(WORDS));
    assert_eq!(with_words.count() + watch.stderr().matches(WORDS).count(), 1, "{}", story(&watch));
    never_lost_the_engine(&watch);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn a_container_that_cannot_be_looked_at_is_told_of_and_holds_up_no_other() {
    const WORDS: &str = "the disk below it has gone";
    let _turn = beside_others();
    let scenario = Scenario::new("odd-inspect");
    let mirrors = [Mirror::push(free_port()), Mirror::push(free_port())];
    scenario.write(&mirrors);
    scenario.apply();
    let [concerned, other] = mirrors;
    let untouched = scenario.running(&concerned);
    let recorder = Recorder::start();
    let paths = [untouched.id(), untouched.name()].map(|container| format!("/containers/{container}/json"));
    let rule = recorder.when("GET", move |path| paths.iter().any(|known| path == known)).refuse(500, WORDS);

    let mut watch = watch_through(&recorder, &scenario);
    let not_ready = |event: &Event| event.is_condition(&concerned.host, "Ready", "False");
    let told_of = |event: &Event| not_ready(event) && event.text("message").contains(WORDS);
    watch.await_event("it is told in the engine's words", PATIENCE, told_of);
    is_repaired(&scenario, &other, PATIENCE);
    assert!(rule.count() > 0);
    let (status, message) = ready(&watch, &concerned);
    assert!(status == "False" && message.contains(WORDS), "{status}: {message}");
    assert_eq!(scenario.running(&concerned).identity(), untouched.identity(), "what is not known is left alone");
    never_lost_the_engine(&watch);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn who_waits_for_the_port_of_a_mirror_that_cannot_move_is_left_as_it_is() {
    let _turn = beside_others();
    let scenario = Scenario::new("odd-port");
    let upstream = Upstream::start(&scenario.docker, "odd-port-up");
    let [first, second] = ["docker.io", "ghcr.io"].map(|host| Mirror::of(host, upstream.url(), free_port()));
    let third = Mirror::push(free_port());
    scenario.write(&[first.clone(), second.clone(), third.clone()]);
    scenario.apply();
    let identities = || [&first, &second].map(|mirror| scenario.running(mirror).identity());
    let before = identities();
    let taken = free_port();
    let (holder, label) = (format!("{}-holder", scenario.cluster), sweep::label());
    scenario.docker.line(&format!(
        "run -d --pull never --name {holder} --label {label} -p 127.0.0.1:{taken}:5000 ksail-test/silent:1"
    ));
    let recorder = Recorder::start();
    let mut watch = watch_through(&recorder, &scenario);
    watch.await_ready();

    let mark = watch.mark();
    scenario.write(&[first.at(taken), second.at(first.host_port()), third.clone()]);
    let in_use = await_reason(&mut watch, mark, &first, "PortInUse");
    assert!(in_use.text("message").contains(&holder), "it names the holder: {}", in_use.json);
    // For this one everything is planned anew, with the others as they are.
    let mark = watch.mark();
    is_repaired(&scenario, &third, PATIENCE);
    watch.await_event_since(mark, "that is over", PATIENCE, |event| event.is("passFinished"));
    assert_eq!(identities(), before, "{}", story(&watch));
    assert_eq!(recorder.count("POST", stops), 0, "{}", story(&watch));
    assert_eq!(recorder.count("POST", creates), 0, "{}", story(&watch));
    assert_eq!(ready(&watch, &first).0, "False");
    assert!(scenario.serves(&first) && scenario.serves(&second), "both serve where they did");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn a_registry_that_serves_and_dies_again_and_again_is_started_ten_times_a_minute_at_most() {
    const MOST: usize = 10;
    const MINUTE: Duration = Duration::from_secs(60);
    // Several times as long as a start that nothing holds up takes.
    const GIVEN_UP: Duration = Duration::from_secs(10);
    // In no turn: it waits.
    let scenario = Scenario::new("odd-dying");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let recorder = Recorder::start();
    let mut watch = watch_through(&recorder, &scenario);
    watch.await_ready();

    let kill = || scenario.docker.run(&["kill", &scenario.container_name(&mirror)]);
    let mut revivals: Vec<Instant> = Vec::new();
    kill();
    while let Some(now) = within(GIVEN_UP, || scenario.serves(&mirror).then(Instant::now)) {
        revivals.push(now);
        let of_a_minute = revivals.iter().filter(|at| at.elapsed() < MINUTE).count();
        assert!(of_a_minute <= MOST, "{of_a_minute} starts within a minute");
        kill();
    }
    let started = recorder.count("POST", starts);
    assert!((1..=MOST).contains(&started), "started {started} times, served {} times", revivals.len());
    assert_eq!(ready(&watch, &mirror).0, "False", "{}", story(&watch));
    let (status, reason, message) = scenario.status().of_mirror(&mirror.host, "Ready");
    assert_eq!(status, "False", "{reason}: {message}");
    never_lost_the_engine(&watch);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

/// Has ksail create and delete the cluster.
fn write_managed(scenario: &Scenario, mirrors: &[Mirror]) {
    scenario.write_text(&scenario.text(mirrors).replace("lifecycle: External", "lifecycle: Managed"));
}

#[test]
fn a_program_that_ends_well_and_makes_no_cluster_is_run_three_times_at_most_and_the_engine_is_named() {
    let _turn = beside_others();
    let scenario = Scenario::new("odd-kind");
    let mirror = Mirror::push(free_port());
    write_managed(&scenario, std::slice::from_ref(&mirror));
    let (recorder, stand_in) = (Recorder::start(), StandIn::new(&scenario));
    let mut apply = scenario.command(&["apply", "-o", "json", "--timeout", "30s"]);
    stand_in.equip(&mut apply, "nothing");
    let failed = Finished::run(apply.env("DOCKER_HOST", recorder.address()));

    let calls = stand_in.calls();
    assert!((1..=3).contains(&calls.len()), "run {} times: {failed}", calls.len());
    assert!(calls.iter().all(|call| call.starts_with("kind create cluster ")), "{calls:#?}");
    assert_eq!(failed.code, 1, "{failed}");
    // Where an engine is found goes without its address in JSON.
    assert!(failed.to_string().contains(&recorder.address()), "{failed}");
    assert_eq!(scenario.converged(&[mirror]), Ok(()), "the registry needs no cluster");
}

/// Every mirror runs once and at its port.
fn all_at_their_ports(scenario: &Scenario, mirrors: &[Mirror]) -> Result<(), String> {
    scenario.converged(mirrors)?;
    mirrors.iter().try_for_each(|mirror| {
        let bound = scenario.container(mirror).map(|container| container.bound()).unwrap_or_default();
        let at = ("127.0.0.1".to_owned(), mirror.host_port().to_string());
        holds(bound == [at], format!("{} is at {bound:?}, not at {}", mirror.host, mirror.host_port()))
    })
}

/// Waits until nothing has been changed through these recorders for so long.
fn await_quiet(recorders: &[&Recorder], quiet: Duration) {
    let writes =
        || recorders.iter().map(|recorder| recorder.calls().iter().filter(|call| !call.is_read()).count()).sum();
    let mut seen: (usize, Instant) = (writes(), Instant::now());
    eventually("nothing is changed any more", PATIENCE, || {
        let now = writes();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        holds(seen.1.elapsed() >= quiet, format!("{now} changes"))
    });
}

#[test]
fn two_watches_that_do_not_see_each_others_lock_lead_mirrors_round_a_ring_of_ports() {
    /// Longer than either waits before what has failed once or twice is tried again.
    const QUIET: Duration = Duration::from_secs(5);
    let _turn = beside_others();
    let scenario = Scenario::new("odd-two");
    let upstream = Upstream::start(&scenario.docker, "odd-two-up");
    let (hosts, ports) = (["docker.io", "ghcr.io", "quay.io"], [(); 3].map(|()| free_port()));
    let turned = |turns: usize| -> Vec<Mirror> {
        let hosts = hosts.iter().enumerate();
        hosts.map(|(place, host)| Mirror::of(host, upstream.url(), ports[(place + turns) % ports.len()])).collect()
    };
    scenario.write(&turned(0));
    let recorders = [Recorder::start(), Recorder::start()];
    let directories = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
    let mut watches: Vec<Watch> = Vec::new();
    for (recorder, directory) in recorders.iter().zip(&directories) {
        let mut command = scenario.command(&["watch", "-o", "json"]);
        command.env("DOCKER_HOST", recorder.address()).env_remove("XDG_STATE_HOME");
        command.env("XDG_RUNTIME_DIR", directory.path()).env("HOME", directory.path());
        watches.push(Watch::start(command));
    }
    watches.iter().for_each(Watch::await_ready);

    for turns in 1..=ports.len() {
        scenario.write(&turned(turns));
        eventually("all have moved on by one", LISTED, || all_at_their_ports(&scenario, &turned(turns)));
    }
    await_quiet(&[&recorders[0], &recorders[1]], QUIET);
    let last = turned(ports.len());
    assert_eq!(all_at_their_ports(&scenario, &last), Ok(()), "{:?}", scenario.containers());
    let diff = scenario.ksail(&["diff"]);
    assert_eq!(diff.code, 0, "{diff}");
    for watch in &mut watches {
        never_lost_the_engine(watch);
        assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    }
}

/// What tells that something went wrong.
fn is_error(event: &Event) -> bool {
    let kinds = ["engineLost", "manifestRejected", "retry"];
    kinds.iter().any(|kind| event.is(kind)) || (event.is_action() && event.text("result") == "failed")
}

#[test]
fn apply_and_cluster_delete_beside_a_watch_converge_with_it_and_make_it_tell_no_error() {
    let _turn = beside_others();
    let scenario = Scenario::new("odd-beside");
    let upstream = Upstream::start(&scenario.docker, "odd-beside-up");
    let stand_in = StandIn::new(&scenario);
    let command = |args: &[&str]| {
        let mut command = scenario.command(args);
        stand_in.equip(&mut command, "");
        command
    };
    let (cache, push) = (Mirror::of("docker.io", upstream.url(), free_port()), Mirror::push(free_port()));
    write_managed(&scenario, &[cache.clone(), push.clone()]);
    let mut watch = Watch::start(command(&["watch", "-o", "json"]));
    watch.await_ready();
    watch.await_event("the cluster is there", PATIENCE, |event| {
        event.text("type") == "ClusterReady" && event.text("status") == "True"
    });

    let mirrors = [cache.at(free_port()), push, Mirror::of("ghcr.io", upstream.url(), free_port())];
    write_managed(&scenario, &mirrors);
    let applied = Finished::run(&mut command(&["apply"]));
    assert_eq!(applied.code, 0, "{applied}");
    assert_eq!(all_at_their_ports(&scenario, &mirrors), Ok(()));

    let mark = watch.mark();
    let deleted = Finished::run(&mut command(&["cluster", "delete", "--delete-registry-volumes"]));
    assert_eq!(deleted.code, 0, "{deleted}");
    watch.settled_since(mark, Duration::from_secs(1));
    let label = format!("ksail.dev/cluster={}", scenario.cluster);
    let nodes = scenario.docker.containers_labelled(&format!("io.x-k8s.kind.cluster={}", scenario.cluster));
    let left = [nodes, scenario.containers(), scenario.docker.volumes_labelled(&label)].concat();
    assert_eq!(left, Vec::<String>::new(), "{}", story(&watch));
    let calls: Vec<String> =
        stand_in.calls().iter().map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(calls, ["kind create", "kind delete"]);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
    let errors: Vec<Event> = watch.since(0).into_iter().filter(is_error).collect();
    assert!(errors.is_empty() && watch.stderr().is_empty(), "{errors:?}: {}", story(&watch));
}
