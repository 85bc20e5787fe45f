mod cluster;
mod modes;
mod nodes;
mod shadows;
mod shared_directory;
mod volumes;
mod way;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use insta::assert_snapshot;

use super::*;
use crate::desired::{ResolveContext, resolve};
use crate::engine::{Container, ContainerState, Endpoint, Image, LogDriver, Mount, Volume};
use crate::manifest::{self, Credentials, Manifest, Registries, State, Upstream, VolumePolicy};
use crate::names;
use crate::observed::{NetworkRef, OwnContainer, StartsAgain, Stranger};
use crate::probe::Serving;
use crate::registry::SecretFiles;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn mirror(host: &str, port: u16) -> manifest::Mirror {
    manifest::Mirror {
        host: host.parse().unwrap(),
        upstream: Some(format!("https://{host}").parse().unwrap()),
        port: Some(port),
        listen_address: manifest::Mirror::LISTEN_ADDRESS,
        fallback: true,
        ttl: Duration::ZERO,
        credentials: None,
        proxy: None,
        ca: None,
    }
}

fn manifest(mirrors: Vec<manifest::Mirror>) -> Manifest {
    Manifest {
        path: PathBuf::from("ksail.yaml"),
        name: "dev".parse().unwrap(),
        state: State::Present,
        distribution: manifest::Distribution::Kind,
        distribution_config: None,
        lifecycle: manifest::Lifecycle::External,
        connection: manifest::Connection::default(),
        registries: Registries { mirrors, ..Registries::default() },
        not_acted_on: Vec::new(),
    }
}

fn wanted(mirrors: Vec<manifest::Mirror>) -> Desired {
    resolve(&manifest(mirrors), &ResolveContext::default())
}

fn one() -> Desired {
    wanted(vec![mirror("ghcr.io", 5001)])
}

fn image() -> Image {
    Image {
        id: "sha256:1111111111111111".to_owned(),
        entrypoint: vec!["/entrypoint.sh".to_owned()],
        command: vec!["/etc/distribution/config.yml".to_owned()],
        env: BTreeMap::from([("OTEL_TRACES_EXPORTER".to_owned(), "none".to_owned())]),
        labels: BTreeMap::new(),
    }
}

/// An engine that has an image, the cluster's network, and nothing of ours.
fn nothing() -> Observed {
    let network = NetworkRef { id: "net1".to_owned(), name: "kind".to_owned() };
    Observed {
        networks: [(network.id.clone(), network.name.clone()), ("net0".to_owned(), "bridge".to_owned())].into(),
        network: Some(network),
        image: Some(image()),
        ..Observed::default()
    }
}

/// An engine in which everything is as desired.
fn converged(desired: &Desired) -> Observed {
    let mut observed = nothing();
    for mirror in desired.mirrors.values() {
        observed.containers.push(container_of(mirror));
        let labels = mirror.container.labels.clone();
        let volume = Volume { name: mirror.volume.clone(), labels, created_at: None };
        observed.volumes.insert(mirror.volume.clone(), volume);
    }
    observed
}

/// What inspect says, to be changed.
fn inside(found: &mut OwnContainer) -> &mut Container {
    std::sync::Arc::make_mut(&mut found.container)
}

fn container_of(mirror: &crate::desired::Mirror) -> OwnContainer {
    let spec = &mirror.container;
    let mut env = image().env;
    env.extend(spec.env.clone());
    let endpoint = Endpoint { network_id: "net1".to_owned(), aliases: vec![mirror.name.clone()], address: None };
    let container = Container {
        id: format!("id-{}", mirror.name),
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        image: spec.image.clone(),
        image_id: image().id,
        entrypoint: image().entrypoint,
        command: if spec.command.is_empty() { image().command } else { spec.command.clone() },
        env,
        extra_hosts: spec.extra_hosts.clone(),
        state: ContainerState::Running,
        exit_code: None,
        error: String::new(),
        created_at: None,
        started_at: None,
        restart_policy: spec.restart_policy.clone(),
        log: LogDriver { name: "json-file".to_owned(), options: spec.log_options.clone() },
        ports: spec.ports.clone(),
        bound_ports: spec.ports.clone(),
        mounts: spec
            .volumes
            .iter()
            .map(|(name, target)| Mount { volume: Some(name.clone()), target: target.clone() })
            .collect(),
        endpoints: BTreeMap::from([("kind".to_owned(), endpoint)]),
    };
    OwnContainer {
        container: container.into(),
        secrets: mirror.files.as_ref().map(SecretFiles::digest),
        major_version: None,
        lacks_shell: false,
        serving: Serving::Answers,
        starting: false,
        starts_again: StartsAgain::NotAsked,
    }
}

/// The plan for one mirror after something happened to its container.
fn after(drift: impl FnOnce(&mut OwnContainer)) -> String {
    let desired = one();
    let mut observed = converged(&desired);
    drift(&mut observed.containers[0]);
    plan(&desired, &observed).to_string()
}

/// The plan for one mirror whose container was made from another manifest.
fn made_from(other: &Desired) -> String {
    plan(&one(), &converged(other)).to_string()
}

fn exited(found: &mut OwnContainer, code: i64) {
    inside(found).state = ContainerState::Exited;
    inside(found).exit_code = Some(code);
    inside(found).bound_ports.clear();
    found.serving = Serving::Unknown;
}

fn asking(plan: &Plan) -> Vec<&str> {
    plan.asking().collect()
}

#[test]
fn nothing_to_do_is_an_empty_plan() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("docker.io", 5002)]);
    assert!(plan(&desired, &converged(&desired)).is_empty());
}

#[test]
fn a_missing_mirror_is_made_connected_and_started_in_that_order() {
    assert_snapshot!(plan(&one(), &nothing()), @r"
    ghcr.io
      create volume ksail-dev-ghcr-io: volume missing
      create container ksail-dev-ghcr-io: container missing
      connect ksail-dev-ghcr-io to network kind: container missing
      start ksail-dev-ghcr-io: container missing
      wait until ksail-dev-ghcr-io serves: container missing
    ");
}

#[test]
fn an_image_the_engine_does_not_have_is_pulled() {
    let plan = plan(&one(), &Observed { image: None, ..nothing() }).to_string();
    assert!(plan.starts_with("ghcr.io\n  pull image registry:3: not on the engine yet\n"), "{plan}");
}

#[test]
fn without_a_network_a_mirror_is_made_all_the_same() {
    let plan = plan(&one(), &Observed { network: None, ..nothing() }).to_string();
    assert!(plan.contains("start ksail-dev-ghcr-io") && !plan.contains("connect"), "{plan}");
}

#[test]
fn credentials_are_put_in_before_the_first_start() {
    let mut with = mirror("ghcr.io", 5001);
    with.credentials = Some(Credentials { username: "me".into(), password: "secret".into() });
    let plan = plan(&wanted(vec![with]), &nothing()).to_string();
    let at = |text: &str| plan.find(text).unwrap_or_else(|| panic!("{text} is not in {plan}"));
    assert!(at("create container") < at("put credentials into") && at("put credentials into") < at("start "));
    assert!(!plan.contains("secret"));
}

#[test]
fn changed_credentials_are_replaced_without_a_new_container() {
    let mut with = mirror("ghcr.io", 5001);
    with.credentials = Some(Credentials { username: "me".into(), password: "secret".into() });
    let desired = wanted(vec![with]);
    let mut observed = converged(&desired);
    observed.containers[0].secrets = None;
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      put credentials into ksail-dev-ghcr-io: credentials changed
      restart ksail-dev-ghcr-io: credentials changed
      wait until ksail-dev-ghcr-io serves: credentials changed
    ");
}

#[test]
fn a_changed_upstream_that_is_secret_is_named_as_what_changed() {
    let secret: Upstream = "https://hidden.example.com".parse::<Upstream>().unwrap().shown_as("https://${HUB}");
    for (credentials, cause) in [
        (None, "upstream changed; what came from the old upstream stays"),
        (
            Some(Credentials { username: "me".into(), password: "pw".into() }),
            "upstream or credentials changed; what came from the old upstream stays",
        ),
    ] {
        let desired =
            wanted(vec![manifest::Mirror { upstream: Some(secret.clone()), credentials, ..mirror("ghcr.io", 5001) }]);
        let mut observed = converged(&desired);
        observed.containers[0].secrets = None;
        let plan = plan(&desired, &observed).to_string();
        assert!(plan.contains(&format!("restart ksail-dev-ghcr-io: {cause}\n")), "{plan}");
    }
}

#[test]
fn a_stopped_container_is_started() {
    assert_snapshot!(after(|found| exited(found, 137)), @r"
    ghcr.io
      start ksail-dev-ghcr-io: container exited (137)
      wait until ksail-dev-ghcr-io serves: container exited (137)
    ");
}

#[test]
fn a_container_that_was_never_started_is_started() {
    assert_snapshot!(after(|found| { exited(found, 0); inside(found).state = ContainerState::Created; }), @r"
    ghcr.io
      start ksail-dev-ghcr-io: container never started
      wait until ksail-dev-ghcr-io serves: container never started
    ");
}

#[test]
fn a_paused_container_is_unpaused() {
    assert_snapshot!(after(|found| inside(found).state = ContainerState::Paused), @r"
    ghcr.io
      unpause ksail-dev-ghcr-io: container paused
      wait until ksail-dev-ghcr-io serves: container paused
    ");
}

#[test]
fn a_container_in_a_crash_loop_is_restarted() {
    assert_snapshot!(after(|found| { exited(found, 2); inside(found).state = ContainerState::Restarting; }), @r"
    ghcr.io
      restart ksail-dev-ghcr-io: container keeps exiting (2)
      wait until ksail-dev-ghcr-io serves: container keeps exiting (2)
    ");
}

#[test]
fn a_container_in_a_crash_loop_that_differs_is_removed_before_its_successor_is_made() {
    let desired = one();
    let mut observed = converged(&wanted(vec![mirror("ghcr.io", 5009)]));
    exited(&mut observed.containers[0], 2);
    inside(&mut observed.containers[0]).state = ContainerState::Restarting;
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: port changed 5009 -> 5001
      create container ksail-dev-ghcr-io: port changed 5009 -> 5001
      connect ksail-dev-ghcr-io to network kind: port changed 5009 -> 5001
      start ksail-dev-ghcr-io: port changed 5009 -> 5001
      wait until ksail-dev-ghcr-io serves: port changed 5009 -> 5001
    ");
}

#[test]
fn a_dead_container_is_replaced() {
    assert_snapshot!(after(|found| { exited(found, 1); inside(found).state = ContainerState::Dead; }), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: container dead
      create container ksail-dev-ghcr-io: container missing
      connect ksail-dev-ghcr-io to network kind: container missing
      start ksail-dev-ghcr-io: container missing
      wait until ksail-dev-ghcr-io serves: container missing
    ");
}

#[test]
fn a_hung_registry_is_restarted() {
    assert_snapshot!(after(|found| found.serving = Serving::Silent), @r"
    ghcr.io
      restart ksail-dev-ghcr-io: registry hangs: no answer to /v2/ within 2 s, nor within 8 s
      wait until ksail-dev-ghcr-io serves: registry hangs: no answer to /v2/ within 2 s, nor within 8 s
    ");
}

#[test]
fn a_registry_that_was_started_moments_ago_is_waited_for() {
    assert_snapshot!(after(|found| { found.serving = Serving::Refused; found.starting = true; }), @r"
    ghcr.io
      wait until ksail-dev-ghcr-io serves: container was started moments ago
    ");
}

#[test]
fn a_registry_that_does_not_listen_is_restarted() {
    let plan = after(|found| found.serving = Serving::Refused);
    assert!(plan.contains("restart ksail-dev-ghcr-io: registry does not answer /v2/"), "{plan}");
}

#[test]
fn a_registry_nobody_can_ask_from_here_is_left_alone() {
    assert_eq!(after(|found| found.serving = Serving::Unknown), "");
}

#[test]
fn a_detached_network_is_connected_in_place() {
    assert_snapshot!(after(|found| inside(found).endpoints.clear()), @r"
    ghcr.io
      connect ksail-dev-ghcr-io to network kind: not attached to the cluster's network
    ");
}

#[test]
fn a_lost_alias_is_given_back_by_connecting_anew() {
    assert_snapshot!(after(|found| inside(found).endpoints.get_mut("kind").unwrap().aliases.clear()), @r"
    ghcr.io
      disconnect ksail-dev-ghcr-io from network kind: network alias missing
      connect ksail-dev-ghcr-io to network kind: network alias missing
    ");
}

#[test]
fn a_network_that_was_made_anew_is_joined_before_the_start_it_would_prevent() {
    assert_snapshot!(after(|found| {
        inside(found).endpoints.get_mut("kind").unwrap().network_id = "gone".to_owned();
        exited(found, 137);
    }), @r"
    ghcr.io
      disconnect ksail-dev-ghcr-io from network kind: network kind was removed
      connect ksail-dev-ghcr-io to network kind: not attached to the cluster's network
      start ksail-dev-ghcr-io: container exited (137)
      wait until ksail-dev-ghcr-io serves: container exited (137)
    ");
}

#[test]
fn the_bridge_that_the_engine_made_anew_is_not_left() {
    let plan = after(|found| {
        let endpoint = Endpoint { network_id: "before".to_owned(), aliases: Vec::new(), address: None };
        inside(found).endpoints.insert("bridge".to_owned(), endpoint);
    });
    assert_eq!(plan, "");
}

#[test]
fn a_network_that_went_before_the_first_start_is_left() {
    let plan = after(|found| {
        exited(found, 0);
        inside(found).state = ContainerState::Created;
        let endpoint = Endpoint { network_id: String::new(), aliases: Vec::new(), address: None };
        inside(found).endpoints.insert("gone".to_owned(), endpoint);
    });
    assert!(plan.contains("disconnect ksail-dev-ghcr-io from network gone: network gone was removed"), "{plan}");
}

#[test]
fn one_of_several_networks_of_a_name_is_joined_after_the_start() {
    let mut observed = nothing();
    observed.networks.insert("net2".to_owned(), "kind".to_owned());
    assert_snapshot!(plan(&one(), &observed), @r"
    ghcr.io
      create volume ksail-dev-ghcr-io: volume missing
      create container ksail-dev-ghcr-io: container missing
      start ksail-dev-ghcr-io: container missing
      connect ksail-dev-ghcr-io to network kind: container missing
      wait until ksail-dev-ghcr-io serves: container missing
    ");
}

#[test]
fn a_changed_restart_policy_is_set_in_place() {
    assert_snapshot!(after(|found| inside(found).restart_policy = "no".to_owned()), @r"
    ghcr.io
      set the restart policy of ksail-dev-ghcr-io to always: restart policy changed to no
    ");
}

#[test]
fn a_renamed_container_gets_its_name_back() {
    assert_snapshot!(after(|found| inside(found).name = "mine".to_owned()), @r"
    ghcr.io
      rename mine to ksail-dev-ghcr-io: it was renamed behind ksail's back
    ");
}

#[test]
fn a_changed_port_recreates_and_the_old_one_serves_until_the_new_one_is_ready_to_start() {
    assert_snapshot!(made_from(&wanted(vec![mirror("ghcr.io", 5009)])), @r"
    ghcr.io
      create container ksail-dev-ghcr-io.next: port changed 5009 -> 5001
      connect ksail-dev-ghcr-io.next to network kind: port changed 5009 -> 5001
      stop ksail-dev-ghcr-io: port changed 5009 -> 5001
      start ksail-dev-ghcr-io.next: port changed 5009 -> 5001
      wait until ksail-dev-ghcr-io.next serves: port changed 5009 -> 5001
      remove container ksail-dev-ghcr-io: port changed 5009 -> 5001
      set the restart policy of ksail-dev-ghcr-io.next to always: port changed 5009 -> 5001
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: port changed 5009 -> 5001
    ");
}

#[test]
fn each_setting_that_cannot_be_changed_in_place_recreates_with_a_cause_of_its_own() {
    let change = |change: fn(&mut manifest::Mirror)| {
        let mut other = mirror("ghcr.io", 5001);
        change(&mut other);
        let plan = made_from(&wanted(vec![other]));
        plan.lines().nth(1).unwrap_or_default().trim().to_owned()
    };
    assert_snapshot!(change(|other| other.upstream = Some("https://old.example".parse().unwrap())),
        @"create container ksail-dev-ghcr-io.next: upstream changed https://old.example -> https://ghcr.io; what came from the old upstream stays");
    assert_snapshot!(change(|other| other.ttl = Duration::from_secs(60)),
        @"create container ksail-dev-ghcr-io.next: setting REGISTRY_PROXY_TTL changed 60s -> 0s");
    assert_snapshot!(change(|other| other.listen_address = "0.0.0.0".parse().unwrap()),
        @"create container ksail-dev-ghcr-io.next: listen address changed 0.0.0.0 -> 127.0.0.1");
    assert_snapshot!(change(|other| other.upstream = None),
        @"create container ksail-dev-ghcr-io.next: upstream added: now a pull-through mirror");
    assert_snapshot!(change(|other| other.port = None),
        @"create container ksail-dev-ghcr-io.next: port changed any -> 5001");
    assert_snapshot!(change(|other| other.credentials = Some(Credentials { username: "a".into(), password: "b".into() })),
        @"create container ksail-dev-ghcr-io.next: credentials removed");
}

#[test]
fn one_image_under_another_name_is_no_cause() {
    let names = ["docker.io/library/registry:3", "localhost/registry:3", "registry:3.0.0"];
    for name in names {
        let plan = after(|found| {
            let container = inside(found);
            container.image = name.to_owned();
            container.image_id = container.image_id.replace("sha256:", "");
        });
        assert_eq!(plan, "", "{name}");
    }
}

#[test]
fn each_thing_changed_on_the_container_itself_recreates() {
    let cause = |drift: fn(&mut Container)| {
        let plan = after(|found| drift(inside(found)));
        plan.lines().nth(1).unwrap_or_default().trim().split_once(": ").unwrap_or_default().1.to_owned()
    };
    assert_snapshot!(cause(|c| { c.image = "registry:2".to_owned(); c.image_id = "sha256:2222222222222222".to_owned(); }),
        @"image changed registry:2 -> registry:3");
    assert_snapshot!(cause(|c| c.image_id = "sha256:2222222222222222".to_owned()),
        @"image registry:3 changed 222222222222 -> 111111111111");
    assert_snapshot!(cause(|c| c.mounts.clear()), @"volume ksail-dev-ghcr-io not mounted");
    assert_snapshot!(cause(|c| { c.env.remove("REGISTRY_HTTP_ADDR"); }), @"setting REGISTRY_HTTP_ADDR missing");
    assert_snapshot!(cause(|c| { c.env.insert("REGISTRY_LOG_FORMATTER".to_owned(), "json".to_owned()); }),
        @"setting REGISTRY_LOG_FORMATTER not in ksail.yaml");
    let by_an_earlier = "made by an earlier ksail: log capped, debug port closed; cache kept";
    assert_eq!(
        cause(|c| {
            c.env.remove("REGISTRY_LOG_LEVEL");
        }),
        by_an_earlier
    );
    assert_eq!(
        cause(|c| {
            c.env.insert("REGISTRY_HTTP_DEBUG_ADDR".to_owned(), ":5001".to_owned());
        }),
        by_an_earlier
    );
    assert_eq!(cause(|c| c.log.options.clear()), by_an_earlier);
    assert_snapshot!(cause(|c| c.command = vec!["sh".to_owned()]), @"command not the image's: sh");
    assert_snapshot!(cause(|c| c.entrypoint = vec!["sh".to_owned()]), @"entrypoint not the image's: sh");
}

#[test]
fn variables_of_the_image_are_no_drift() {
    assert_eq!(
        after(|found| {
            inside(found).env.insert("SOMETHING_OF_THE_IMAGE".to_owned(), "1".to_owned());
        }),
        ""
    );
}

#[test]
fn an_interrupted_recreate_goes_on_where_it_stopped() {
    let desired = one();
    let mut observed = converged(&wanted(vec![mirror("ghcr.io", 5009)]));
    exited(&mut observed.containers[0], 2);
    let mut next = container_of(&desired.mirrors.values().next().unwrap().clone());
    inside(&mut next).name.push_str(".next");
    inside(&mut next).id = "id-next".to_owned();
    inside(&mut next).restart_policy = "no".to_owned();
    observed.containers.push(next);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      start ksail-dev-ghcr-io.next: port changed 5009 -> 5001
      wait until ksail-dev-ghcr-io.next serves: port changed 5009 -> 5001
      remove container ksail-dev-ghcr-io: port changed 5009 -> 5001
      set the restart policy of ksail-dev-ghcr-io.next to always: port changed 5009 -> 5001
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: port changed 5009 -> 5001
    ");
    observed.containers.remove(0);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      set the restart policy of ksail-dev-ghcr-io.next to always: an interrupted recreate goes on
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: an interrupted recreate goes on
    ");
}

#[test]
fn what_an_earlier_ksail_left_serving_half_way_gets_its_name_before_it_is_renewed() {
    let desired = one();
    let mut observed = converged(&desired);
    made_by_an_earlier_ksail(&mut observed.containers[0]);
    inside(&mut observed.containers[0]).name.push_str(".next");
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: an interrupted recreate goes on
    ");
}

#[test]
fn what_serves_half_way_is_kept_whatever_the_file_says_by_now() {
    let desired = one();
    // The old one fits again, and has been stopped; its successor serves.
    let mut observed = converged(&desired);
    exited(&mut observed.containers[0], 0);
    let mut next = container_of(&wanted(vec![mirror("ghcr.io", 5009)]).mirrors.into_values().next().unwrap());
    inside(&mut next).name.push_str(".next");
    inside(&mut next).id = "id-next".to_owned();
    observed.containers.push(next);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: an interrupted recreate goes on
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: an interrupted recreate goes on
    ");
}

#[test]
fn credentials_are_not_put_into_a_cache_that_may_not_be_restarted() {
    let with = |password: &str| {
        let credentials = Some(Credentials { username: "me".into(), password: password.into() });
        wanted(vec![manifest::Mirror { credentials, ..mirror("ghcr.io", 5001) }])
    };
    let mut observed = converged(&with("old"));
    observed.containers[0].starts_again = StartsAgain::No("https://ghcr.io: refused".to_owned());
    let waits = plan(&with("new"), &observed).to_string();
    assert!(waits.contains("blocked: credentials changed: waits") && !waits.contains("put credentials"), "{waits}");
    made_by_an_earlier_ksail(&mut observed.containers[0]);
    let waits = plan(&with("new"), &observed).to_string();
    assert!(waits.contains("blocked: credentials changed: waits"), "{waits}");
    inside(&mut observed.containers[0]).state = ContainerState::Paused;
    let unpaused = plan(&with("new"), &observed).to_string();
    assert!(unpaused.contains("unpause") && !unpaused.contains("put credentials"), "{unpaused}");
}

#[test]
fn a_host_whose_usual_name_is_anothers_already_has_one_of_its_own() {
    // Made before names of hosts with a dash had a suffix.
    let old = wanted(vec![mirror("registry-local:5000", 5001)]);
    let old = old.with_names(&names::Existing::named("registry-local:5000", "ksail-dev-registry-local-5000"));
    let mut observed = converged(&old);
    for gone in [false, true] {
        if gone {
            observed.containers.clear();
        }
        let both = wanted(vec![mirror("registry-local:5000", 5001), mirror("registry.local:5000", 5002)]);
        let both = both.with_names(&observed.names("dev"));
        let name = |host: &str| both.mirrors[&host.parse().unwrap()].name.clone();
        assert_eq!(name("registry-local:5000"), "ksail-dev-registry-local-5000");
        assert!(name("registry.local:5000").starts_with("ksail-dev-registry-local-5000-"));
        let added = &both.mirrors[&"registry.local:5000".parse().unwrap()];
        assert_eq!(added.aliases, std::slice::from_ref(&added.name), "the other one's name is not its alias");
        assert!(added.node_files["registry.local:5000"].text().contains(&added.name));
    }
}

#[test]
fn a_volume_of_another_name_on_a_container_of_ours_stays() {
    let purged = resolve(&Manifest { state: State::Purged, ..manifest(vec![]) }, &ResolveContext::default());
    let mut observed = converged(&one());
    inside(&mut observed.containers[0]).created_at = jiff::Timestamp::from_second(100).ok();
    inside(&mut observed.containers[0])
        .mounts
        .push(Mount { volume: Some("mine".to_owned()), target: "/data".to_owned() });
    observed.volumes.insert("mine".to_owned(), bare_volume("mine", 100));
    let plan = plan(&purged, &observed).to_string();
    assert!(plan.contains("remove volume ksail-dev-ghcr-io") && !plan.contains("mine"), "{plan}");
}

#[test]
fn a_leftover_that_is_of_no_use_is_removed() {
    let desired = one();
    let mut observed = converged(&desired);
    let mut next = observed.containers[0].clone();
    inside(&mut next).name.push_str(".next");
    inside(&mut next).id = "id-next".to_owned();
    observed.containers.push(next);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io.next: left over from an interrupted recreate
    ");
}

#[test]
fn a_taken_port_blocks_and_names_its_holder_and_a_free_one() {
    let desired = one();
    let mut observed = nothing();
    observed.free_ports.insert("ghcr.io".to_owned(), 5002);
    observed.strangers.insert(
        "web".to_owned(),
        Stranger { ports: vec![(LOCALHOST, 5001)], volumes: Vec::new(), networks: Vec::new(), cluster: None },
    );
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      blocked: port 5001 is held by container web; port 5002 is free
    ");
    let mut observed = nothing();
    observed.ports_taken.insert((LOCALHOST, 5001));
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      blocked: port 5001 is held by a process outside the engine
    ");
}

#[test]
fn a_change_to_a_taken_port_leaves_the_old_one_serving() {
    let desired = one();
    let mut observed = converged(&wanted(vec![mirror("ghcr.io", 5009)]));
    observed.strangers.insert(
        "web".to_owned(),
        Stranger { ports: vec![(LOCALHOST, 5001)], volumes: Vec::new(), networks: Vec::new(), cluster: None },
    );
    assert_eq!(plan(&desired, &observed).changes(), 0);
    exited(&mut observed.containers[0], 1);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      start ksail-dev-ghcr-io: container exited (1)
      wait until ksail-dev-ghcr-io serves: container exited (1)
      blocked: port 5001 is held by container web
    ");
}

#[test]
fn mirrors_that_swap_ports_wait_for_each_other() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let observed = converged(&wanted(vec![mirror("ghcr.io", 5002), mirror("quay.io", 5001)]));
    let plan = plan(&desired, &observed);
    let waits_for = |host: &str| {
        let steps = plan.sequences[&Subject::mirror(host)].steps.iter();
        steps.flat_map(|step| step.after.clone()).collect::<Vec<_>>()
    };
    let released = |host: &str, container: &str| {
        vec![Milestone::Released { holder: Subject::mirror(host), container: container.to_owned() }]
    };
    assert_eq!(waits_for("ghcr.io"), released("quay.io", "ksail-dev-quay-io"));
    assert_eq!(waits_for("quay.io"), released("ghcr.io", "ksail-dev-ghcr-io"));
}

#[test]
fn nobody_is_stopped_for_a_port_whose_holder_keeps_it() {
    let desired = wanted(vec![mirror("gcr.io", 5003), mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let ports = vec![mirror("gcr.io", 5001), mirror("ghcr.io", 5002), mirror("quay.io", 5004)];
    let mut observed = converged(&wanted(ports));
    let web = Stranger { ports: vec![(LOCALHOST, 5003)], volumes: Vec::new(), networks: Vec::new(), cluster: None };
    observed.strangers.insert("web".to_owned(), web);
    assert_snapshot!(plan(&desired, &observed), @r"
    gcr.io
      blocked: port 5003 is held by container web
    ghcr.io
      blocked: port 5001 is held by container ksail-dev-gcr-io
    quay.io
      blocked: port 5002 is held by container ksail-dev-ghcr-io
    ");
}

#[test]
fn a_mirror_whose_container_cannot_be_looked_at_is_left_alone_and_the_others_are_not() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let mut observed = converged(&desired);
    exited(&mut observed.containers[1], 1);
    observed.unreadable.insert("ghcr.io".to_owned(), "layer does not exist".to_owned());
    observed.containers.remove(0);
    assert_snapshot!(plan(&desired, &observed), @r"
    ghcr.io
      blocked: layer does not exist
    quay.io
      start ksail-dev-quay-io: container exited (1)
      wait until ksail-dev-quay-io serves: container exited (1)
    ");
    let mut nothing_wanted = wanted(Vec::new());
    nothing_wanted.state = State::Purged;
    let plan = plan(&nothing_wanted, &observed);
    assert!(!plan.sequences.contains_key(&Subject::Volume("ksail-dev-ghcr-io".to_owned())), "{plan}");
}

#[test]
fn a_strangers_container_of_our_name_is_never_touched() {
    let mut observed = nothing();
    observed.strangers.insert(
        "ksail-dev-ghcr-io".to_owned(),
        Stranger { ports: Vec::new(), volumes: Vec::new(), networks: Vec::new(), cluster: None },
    );
    assert_snapshot!(plan(&one(), &observed), @r"
    ghcr.io
      blocked: container ksail-dev-ghcr-io was not made by ksail and is left alone; rename or remove it
    ");
}

#[test]
fn a_strangers_volume_of_our_name_is_never_used() {
    const NAME: &str = "ksail-dev-ghcr-io";
    let blocked =
        "ghcr.io\n  blocked: volume ksail-dev-ghcr-io was not made by ksail and is left alone; rename or remove it\n";
    let mut labelled = nothing();
    let theirs = BTreeMap::from([("com.docker.compose.project".to_owned(), "theirs".to_owned())]);
    labelled.volumes.insert(NAME.to_owned(), Volume { name: NAME.to_owned(), labels: theirs, created_at: None });
    assert_eq!(plan(&one(), &labelled).to_string(), blocked);

    let mut mounted = nothing();
    mounted.volumes.insert(NAME.to_owned(), bare_volume(NAME, 0));
    let stranger = Stranger { ports: Vec::new(), volumes: vec![NAME.to_owned()], networks: Vec::new(), cluster: None };
    mounted.strangers.insert("web".to_owned(), stranger);
    assert_eq!(plan(&one(), &mounted).to_string(), blocked);
}

fn bare_volume(name: &str, created_at: i64) -> Volume {
    let created_at = jiff::Timestamp::from_second(created_at).ok();
    Volume { name: name.to_owned(), labels: BTreeMap::new(), created_at }
}

#[test]
fn a_volume_without_labels_that_only_our_container_is_on_is_adopted() {
    let desired = one();
    let mut observed = converged(&desired);
    observed.volumes.insert("ksail-dev-ghcr-io".to_owned(), bare_volume("ksail-dev-ghcr-io", 100));
    assert!(plan(&desired, &observed).is_empty());
    let mut empty = nothing();
    empty.volumes.insert("ksail-dev-ghcr-io".to_owned(), bare_volume("ksail-dev-ghcr-io", 100));
    let first = plan(&desired, &empty).to_string();
    assert!(first.contains("create container ksail-dev-ghcr-io") && !first.contains("volume"), "{first}");
}

#[test]
fn an_adopted_volume_is_purged_only_if_it_is_not_older_than_the_container() {
    let purged = resolve(&Manifest { state: State::Purged, ..manifest(vec![]) }, &ResolveContext::default());
    let removes = |volume_created: i64| {
        let mut observed = converged(&one());
        inside(&mut observed.containers[0]).created_at = jiff::Timestamp::from_millisecond(100_900).ok();
        observed.volumes.insert("ksail-dev-ghcr-io".to_owned(), bare_volume("ksail-dev-ghcr-io", volume_created));
        plan(&purged, &observed).to_string().contains("remove volume")
    };
    assert!(!removes(99) && removes(100) && removes(101));
}

/// As the first version made it: every setting of ours is another, and the log has no limit.
fn made_by_an_earlier_ksail(found: &mut OwnContainer) {
    for (name, _) in crate::registry::SHAPE {
        inside(found).env.remove(name);
    }
    inside(found).env.insert("REGISTRY_HTTP_DEBUG_ADDR".to_owned(), ":5001".to_owned());
    inside(found).log.options.clear();
    inside(found).labels.insert("ksail.dev/spec-hash".to_owned(), "0".to_owned());
}

#[test]
fn what_an_earlier_ksail_made_is_renewed_one_after_the_other_and_has_no_restart_policy_meanwhile() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let mut observed = converged(&desired);
    observed.containers.iter_mut().for_each(made_by_an_earlier_ksail);
    let plan = plan(&desired, &observed);
    let cause = "made by an earlier ksail: log capped, debug port closed; cache kept";
    assert!(plan.sequences.values().flat_map(|sequence| &sequence.steps).all(|step| step.cause == cause), "{plan}");
    assert_snapshot!(plan.to_string().replace(cause, "…"), @r"
    ghcr.io
      create container ksail-dev-ghcr-io.next: …
      connect ksail-dev-ghcr-io.next to network kind: …
      stop ksail-dev-ghcr-io: …
      start ksail-dev-ghcr-io.next: …
      wait until ksail-dev-ghcr-io.next serves: …
      remove container ksail-dev-ghcr-io: …
      set the restart policy of ksail-dev-ghcr-io.next to always: …
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: …
    quay.io
      create container ksail-dev-quay-io.next: …
      connect ksail-dev-quay-io.next to network kind: …
      stop ksail-dev-quay-io: …
      start ksail-dev-quay-io.next: …
      wait until ksail-dev-quay-io.next serves: …
      remove container ksail-dev-quay-io: …
      set the restart policy of ksail-dev-quay-io.next to always: …
      rename ksail-dev-quay-io.next to ksail-dev-quay-io: …
    ");
    assert!(plan.sequences.values().all(|sequence| sequence.renews));
    let created = plan.sequences[&Subject::mirror("ghcr.io")].steps.iter().find_map(|step| match &step.action {
        Action::CreateContainer { spec } => Some(spec.restart_policy.as_str()),
        _ => None,
    });
    assert_eq!(created, Some("no"));
}

#[test]
fn a_cache_that_would_not_start_again_is_asked_for_and_then_not_stopped() {
    type Told = (fn(&mut OwnContainer), &'static str);
    let desired = one();
    let away = || StartsAgain::No("https://ghcr.io: connection refused".to_owned());
    let drifts: [Told; 4] = [
        (made_by_an_earlier_ksail, "later: made by an earlier ksail: log capped, debug port closed; cache kept"),
        (|found| inside(found).ports[0].host_port = 5009, "blocked: port changed 5009 -> 5001"),
        (
            |found| found.serving = Serving::Silent,
            "blocked: registry hangs: no answer to /v2/ within 2 s, nor within 8 s",
        ),
        (|found| found.serving = Serving::Refused, "blocked: registry does not answer /v2/"),
    ];
    for (drift, told) in drifts {
        let mut observed = converged(&desired);
        drift(&mut observed.containers[0]);
        assert_eq!(asking(&plan(&desired, &observed)), ["ghcr.io"], "{told}");
        observed.containers[0].starts_again = away();
        let waits = "waits, because the registry would not start again: https://ghcr.io: connection refused";
        assert_eq!(plan(&desired, &observed).to_string(), format!("ghcr.io\n  {told}: {waits}\n"));
        observed.containers[0].starts_again = StartsAgain::Yes;
        assert!(plan(&desired, &observed).changes() > 0, "{told}");
    }
}

#[test]
fn two_containers_that_were_read_on_one_port_do_not_keep_the_plan_from_ending() {
    let desired = wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]);
    let mut observed = converged(&desired);
    inside(&mut observed.containers[0]).env.insert("REGISTRY_PROXY_TTL".to_owned(), "1s".to_owned());
    inside(&mut observed.containers[1]).bound_ports[0].host_port = 5001;
    let planned = plan(&desired, &observed);
    assert!(planned.sequences.contains_key(&Subject::mirror("ghcr.io")), "{planned}");
}

#[test]
fn what_does_not_run_or_is_no_cache_is_not_asked_for() {
    let desired = one();
    let mut stopped = converged(&desired);
    exited(&mut stopped.containers[0], 1);
    made_by_an_earlier_ksail(&mut stopped.containers[0]);
    assert_eq!(asking(&plan(&desired, &stopped)), [""; 0]);
    let push = wanted(vec![manifest::Mirror { upstream: None, ..mirror("localhost:5001", 5001) }]);
    let mut pushed = converged(&push);
    made_by_an_earlier_ksail(&mut pushed.containers[0]);
    assert_eq!(asking(&plan(&push, &pushed)), [""; 0]);
}

#[test]
fn what_exists_keeps_its_name_when_a_host_of_the_same_slug_comes_and_when_the_rule_gives_another() {
    let plain = |host: &str, name: &str| {
        let desired = wanted(vec![mirror(host, 5001)]);
        desired.with_names(&names::Existing::named(host, name))
    };
    // Made before names of hosts with a dash had a suffix.
    let observed = converged(&plain("registry-local:5000", "ksail-dev-registry-local-5000"));
    let desired = wanted(vec![mirror("registry-local:5000", 5001), mirror("registry.local:5001", 5002)]);
    assert!(desired.mirrors.values().all(|mirror| mirror.name != "ksail-dev-registry-local-5000"));
    let desired = desired.with_names(&observed.names("dev"));
    let old = &desired.mirrors[&"registry-local:5000".parse().unwrap()];
    assert_eq!(old.name, "ksail-dev-registry-local-5000");
    assert_eq!(old.container.volumes[0].0, old.name);
    assert_eq!(old.aliases[0], old.name);
    let planned = plan(&desired, &observed).to_string();
    assert!(!planned.contains("remove") && !planned.contains("stop "), "{planned}");
}

#[test]
fn a_mirror_that_left_the_file_goes_and_its_volume_stays() {
    let observed = converged(&wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]));
    assert_snapshot!(plan(&one(), &observed), @r"
    quay.io
      remove container ksail-dev-quay-io: not in ksail.yaml; its volume stays
    ");
}

#[test]
fn with_the_policy_delete_the_volume_goes_too() {
    let observed = converged(&wanted(vec![mirror("ghcr.io", 5001), mirror("quay.io", 5002)]));
    let desired = Desired { volume_policy: VolumePolicy::Delete, ..one() };
    assert_snapshot!(plan(&desired, &observed), @r"
    quay.io
      remove container ksail-dev-quay-io: not in ksail.yaml
    volume ksail-dev-quay-io
      remove volume ksail-dev-quay-io: not in ksail.yaml
    ");
}

#[test]
fn absent_keeps_volumes_and_purged_does_not() {
    let observed = converged(&one());
    let with =
        |state| resolve(&Manifest { state, ..manifest(vec![mirror("ghcr.io", 5001)]) }, &ResolveContext::default());
    assert_snapshot!(plan(&with(State::Absent), &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: state is Absent; its volume stays
    ");
    assert_snapshot!(plan(&with(State::Purged), &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: state is Purged
    volume ksail-dev-ghcr-io
      remove volume ksail-dev-ghcr-io: state is Purged
    ");
}
