//! What KSail-Go and kind's script leave: a container that has an upstream's name on the cluster's network.

use super::ownership::Stranger;
use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};
use super::support::sweep;
use super::turns::beside_others;

#[test]
fn a_container_named_like_an_upstream_is_told_by_diff_apply_and_status_and_never_touched() {
    let _turn = beside_others();
    let scenario = Scenario::new("shadowed");
    scenario.create_network();
    let (docker, name, label) = (&scenario.docker, format!("{}.example", scenario.cluster), sweep::label());
    let run = ["run", "-d", "--pull", "never", "--label", &label, "--network", &scenario.network, "--name", &name];
    docker.run(&[run.as_slice(), &["ksail-test/silent:1"]].concat());
    let leftover = Stranger::of(docker, &name);
    scenario.write(&[Mirror::of("ghcr.io", &format!("https://{name}"), free_port())]);

    let line = format!("'docker rm -f {name}'");
    let diff = scenario.ksail(&["diff"]);
    assert!(diff.stdout.contains("warning: ghcr.io: ") && diff.stdout.contains(&line), "{diff}");
    let applied = scenario.ksail(&["apply", "--timeout", "3s"]);
    assert!(format!("{}{}", applied.stdout, applied.stderr).contains(&line), "{applied}");
    let (status, reason, message) = scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamShadowed"), "{message}");
    assert!(message.ends_with(&line), "{message}");
    leftover.is_untouched(docker, "diff, apply and status");

    docker.run(&["rm", "-f", &name]);
    assert_ne!(scenario.status().of_mirror("ghcr.io", "UpstreamReachable").1, "UpstreamShadowed");
    assert!(!scenario.ksail(&["diff"]).stdout.contains("warning"));
}
