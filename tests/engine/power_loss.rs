//! Whenever the power goes in the middle of a recreate, the engine starts at most one registry on a volume afterwards:
//! two that write to one volume spoil it.

use std::time::Duration;

use super::support::cut_off::{CutOff, apply_cut_off_after};
use super::support::deadline::{eventually, holds};
use super::support::docker::Container;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// More than a recreate takes.
const MOST_CHANGES: usize = 30;

#[test]
#[ignore = "long: tests/run --long"]
fn a_recreate_that_is_cut_off_at_any_call_has_one_container_that_the_engine_would_start_and_is_finished() {
    let _turn = beside_others();
    let scenario = Scenario::new("power");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "power-up");
    let image = Image::containing("power");
    upstream.push(&image, "team/app", "1.0");
    let mut mirror = Mirror::of("docker.io", upstream.url(), free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    image.fetch(mirror.host_port(), "team/app", "1.0").expect("through the mirror");
    scenario.await_cached(&mirror, &image, "team/app");

    let mut cuts = 0;
    while cut_off_after(cuts, &scenario, &mut mirror) {
        cuts += 1;
        assert!(cuts < MOST_CHANGES, "a recreate ends");
    }
    assert!(cuts >= 6, "create, stop, start, remove, set the policy, rename: {cuts}");
    upstream.stop();
    assert_eq!(image.fetch(mirror.host_port(), "team/app", "1.0"), Ok(()), "what was cached has survived all of it");
}

/// Kills a recreate after so many changes of the engine, and has the next apply finish it; `false` when it was over by
/// then.
fn cut_off_after(changes: usize, scenario: &Scenario, mirror: &mut Mirror) -> bool {
    mirror.port = Some(free_port());
    let mirror = std::slice::from_ref(mirror);
    scenario.write(mirror);
    let CutOff { is_cut_off, asked } = apply_cut_off_after(scenario, changes);
    let containers = on_volume(scenario, &mirror[0]);
    let count = |what: &dyn Fn(&Container) -> bool| containers.iter().filter(|container| what(container)).count();
    let started = count(&|container| container.restart_policy() != "no");
    let running = count(&|container| container.state() == "running");
    assert!(started <= 1 && running <= 1, "{started} would be started and {running} run after {changes} of {asked:#?}");

    scenario.apply();
    assert_eq!(scenario.converged(mirror), Ok(()), "after {changes} of {asked:#?}");
    let containers = on_volume(scenario, &mirror[0]);
    let policies: Vec<String> = containers.iter().map(Container::restart_policy).collect();
    assert_eq!(policies, ["always"], "after {changes} of {asked:#?}");
    eventually("nothing is left to do", Duration::from_secs(5), || {
        let diff = scenario.ksail(&["diff"]);
        holds(diff.code == 0, diff.to_string())
    });
    is_cut_off
}

/// Every container that has the mirror's volume, running or not.
fn on_volume(scenario: &Scenario, mirror: &Mirror) -> Vec<Container> {
    let filter = format!("volume={}", scenario.container_name(mirror));
    let ids = scenario.docker.lines(&["ps", "-aq", "--filter", &filter]);
    ids.iter().filter_map(|id| scenario.docker.container(id)).collect()
}
