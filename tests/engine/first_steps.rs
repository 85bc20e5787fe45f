//! The README's own way from nothing to a proof: `init`, `create`, and what `create` says comes next.

use super::support::image::Image;
use super::support::registry::Upstream;
use super::support::scenario::{Finished, Scenario, free_port};
use super::support::stand_in::StandIn;
use super::turns::beside_others;

#[test]
fn what_create_says_comes_next_proves_the_mirror() {
    let _turn = beside_others();
    let scenario = Scenario::new("first-steps");
    let upstream = Upstream::start(&scenario.docker, "first-steps-up");
    // What a first image of docker.io is called there.
    upstream.push(&Image::containing("first-steps"), "library/alpine", "3");
    let stand_in = StandIn::new(&scenario);
    let ksail = |args: &[&str]| {
        let mut command = scenario.command(args);
        stand_in.equip(&mut command, "");
        Finished::run(&mut command)
    };
    let (mirror, push) = (format!("docker.io={}", upstream.url()), format!("localhost:{}", free_port()));
    let init =
        ["cluster", "init", "--name", &scenario.cluster, "--mirror-registry", &mirror, "--local-registry", &push];
    let written = ksail(&init);
    assert_eq!(written.code, 0, "{written}");
    // The one that it gives is free for this machine's people, not for other tests.
    let moved = ksail(&["mirror", "set", "docker.io", "--port", &free_port().to_string()]);
    assert_eq!(moved.code, 0, "{moved}");
    let created = ksail(&["cluster", "create"]);
    assert_eq!(created.code, 0, "{created}");
    let next = created.stdout.lines().find_map(|line| line.strip_prefix("Next: 'ksail ")?.strip_suffix('\''));
    let next: Vec<&str> = next.unwrap_or_else(|| panic!("it says what comes next: {created}")).split(' ').collect();
    assert_eq!(next[..2], ["verify", "docker.io"], "{created}");
    let proven = ksail(&next);
    assert_eq!(proven.code, 0, "{proven}");
    assert!(proven.stdout.contains("proven: docker.io/library/alpine:3 came through the mirror"), "{proven}");
    let deleted = ksail(&["cluster", "delete", "--delete-registry-volumes"]);
    assert_eq!(deleted.code, 0, "{deleted}");
}
