//! What is not labelled as this cluster's is never changed, whatever it is called.

use super::support::docker::Docker;
use super::support::manifest::{Mirror, manifest_in_state};
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

#[test]
fn objects_of_others_stay_byte_for_byte_what_they_were() {
    let _turn = beside_others();
    let neighbour = Scenario::new("foreign-neighbour");
    let upstream = Upstream::start(&neighbour.docker, "foreign-up");
    let neighbours = [Mirror::push(free_port()), Mirror::of("docker.io", upstream.url(), free_port())];
    neighbour.write(&neighbours);
    neighbour.apply();

    let scenario = Scenario::new("foreign");
    let (wanted, fine) = (Mirror::of("docker.io", upstream.url(), free_port()), Mirror::push(free_port()));
    let squatter = scenario.container_name(&wanted);
    let label = sweep::label();
    let docker = &scenario.docker;
    docker.run(&["run", "-d", "--pull", "never", "--name", &squatter, "--label", &label, "ksail-test/silent:1"]);
    let namesake = scenario.container_name(&fine);
    docker.run(&["network", "create", "--label", &label, &namesake]);
    docker.run(&["volume", "create", "--label", &label, &squatter]);
    // One that was stopped and has all but the label that counts.
    let lookalike = format!("ksail-{}-lookalike", scenario.cluster);
    docker.run(&[
        "create",
        "--pull",
        "never",
        "--name",
        &lookalike,
        "--label",
        &label,
        "--label",
        &format!("ksail.dev/cluster={}", scenario.cluster),
        "--label",
        "ksail.dev/host=lookalike.example",
        "registry:3",
    ]);

    let foreign = [
        vec!["container", squatter.as_str()],
        vec!["container", lookalike.as_str()],
        vec!["network", namesake.as_str()],
        vec!["volume", squatter.as_str()],
    ];
    let names = neighbour.expected(&neighbours);
    let theirs = names.iter().flat_map(|name| [vec!["container", name.as_str()], vec!["volume", name.as_str()]]);
    let all: Vec<Vec<&str>> = foreign.into_iter().chain(theirs).collect();
    let before = inspect_all(docker, &all);

    scenario.write(&[wanted.clone(), fine.clone()]);
    let applied = scenario.ksail(&["apply", "--timeout", "10s"]);
    assert_eq!(applied.code, 1, "a stranger's container is not waited for: {applied}");
    assert!(format!("{applied}").contains("NameConflict"), "{applied}");
    assert!(scenario.serves(&fine), "the other mirror is up: {applied}");
    assert_eq!(inspect_all(docker, &all), before, "after apply");

    let status = scenario.ksail(&["status", "-o", "json"]);
    let ready = condition(&status.json(), &wanted.host, "Ready");
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("False"), Some("NameConflict")), "{status}");

    for state in ["Absent", "Purged"] {
        scenario.write_text(&manifest_in_state(&scenario.cluster, state, &[wanted.clone(), fine.clone()]));
        let removed = scenario.ksail(&["apply", "--timeout", "10s"]);
        assert_eq!(inspect_all(docker, &all), before, "after {state}: {removed}");
    }
    assert!(scenario.container(&fine).is_none(), "our own was removed");
    let volumes = docker.volumes_labelled(&format!("ksail.dev/cluster={}", scenario.cluster));
    assert!(volumes.is_empty(), "and its volume purged: {volumes:?}");
}

fn inspect_all(docker: &Docker, objects: &[Vec<&str>]) -> Vec<String> {
    objects.iter().map(|object| docker.run(&[object[0], "inspect", object[1]])).collect()
}

fn condition(status: &serde_json::Value, host: &str, kind: &str) -> serde_json::Value {
    let empty = Vec::new();
    let mirrors = status["mirrors"].as_array().unwrap_or(&empty);
    let mirror = mirrors.iter().find(|mirror| mirror["host"] == host);
    let conditions = mirror.and_then(|mirror| mirror["conditions"].as_array()).unwrap_or(&empty);
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

#[test]
fn leaving_the_list_removes_the_container_and_keeps_the_volume_unless_told() {
    let _turn = beside_others();
    let scenario = Scenario::new("leaving");
    let (stays, leaves) = (Mirror::push(free_port()), Mirror::push(free_port()));
    let cluster = format!("ksail.dev/cluster={}", scenario.cluster);
    for (policy, kept) in [("Retain", true), ("Delete", false)] {
        let with_policy = |mirrors: &[Mirror]| {
            scenario.text(mirrors).replace("  registries:\n", &format!("  registries:\n    volumePolicy: {policy}\n"))
        };
        scenario.write_text(&with_policy(&[stays.clone(), leaves.clone()]));
        scenario.apply();
        let identity = scenario.running(&stays).identity();
        scenario.write_text(&with_policy(std::slice::from_ref(&stays)));
        scenario.apply();
        assert_eq!(scenario.containers(), scenario.expected(std::slice::from_ref(&stays)));
        let volumes = scenario.docker.volumes_labelled(&cluster);
        assert_eq!(volumes.contains(&scenario.container_name(&leaves)), kept, "{policy}: {volumes:?}");
        assert!(volumes.contains(&scenario.container_name(&stays)));
        assert_eq!(scenario.running(&stays).identity(), identity);
    }
}
