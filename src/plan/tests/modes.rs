//! A cache whose upstream is away is served from its volume.

use super::*;
use crate::registry::is_proxy;

fn from_cache(desired: Desired) -> Desired {
    desired.served_from_cache(&["ghcr.io".to_owned()].into())
}

fn created(plan: &Plan) -> &crate::engine::ContainerSpec {
    let steps = plan.sequences.values().flat_map(|sequence| &sequence.steps);
    let mut specs = steps.filter_map(|step| match &step.action {
        Action::CreateContainer { spec } => Some(&**spec),
        _ => None,
    });
    specs.next().expect("one is created")
}

#[test]
fn a_cache_whose_upstream_is_away_is_served_read_only_under_the_same_name_on_the_same_volume() {
    let planned = plan(&from_cache(one()), &converged(&one()));
    let spec = created(&planned);
    assert!(!is_proxy(&spec.env, &spec.command), "{:?}", spec.env);
    assert_eq!(spec.env["REGISTRY_STORAGE_MAINTENANCE_READONLY"], r#"{"enabled":true}"#);
    let proxy = one().mirrors.into_values().next().unwrap().container;
    assert_eq!((&spec.labels, &spec.ports, &spec.volumes), (&proxy.labels, &proxy.ports, &proxy.volumes));
    // One writes to the volume at a time: the one that does so far ends first.
    assert_snapshot!(planned, @r"
    ghcr.io
      create container ksail-dev-ghcr-io.next: upstream away: served from its cache
      connect ksail-dev-ghcr-io.next to network kind: upstream away: served from its cache
      stop ksail-dev-ghcr-io: upstream away: served from its cache
      start ksail-dev-ghcr-io.next: upstream away: served from its cache
      wait until ksail-dev-ghcr-io.next serves: upstream away: served from its cache
      remove container ksail-dev-ghcr-io: upstream away: served from its cache
      set the restart policy of ksail-dev-ghcr-io.next to always: upstream away: served from its cache
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: upstream away: served from its cache
    ");
}

#[test]
fn nobody_is_asked_whether_a_cache_would_start_again_that_is_stopped_because_it_would_not() {
    let mut observed = converged(&one());
    observed.containers[0].starts_again = StartsAgain::No("https://ghcr.io: connection refused".to_owned());
    let planned = plan(&from_cache(one()), &observed);
    assert!(planned.changes() > 0 && planned.asking().next().is_none(), "{planned}");
}

#[test]
fn one_that_is_served_so_is_as_desired_until_its_upstream_answers() {
    let observed = converged(&from_cache(one()));
    assert_eq!(observed.served_from_cache(), ["ghcr.io".to_owned()].into());
    assert!(plan(&from_cache(one()), &observed).is_empty());
    let back = plan(&one(), &observed);
    assert!(back.to_string().contains("upstream answers again") && back.asking().next().is_none(), "{back}");
    assert!(is_proxy(&created(&back).env, &[]));
}

#[test]
fn what_the_file_changes_meanwhile_is_changed_without_its_upstream() {
    let observed = converged(&from_cache(one()));
    let moved = from_cache(wanted(vec![mirror("ghcr.io", 5009)]));
    let planned = plan(&moved, &observed);
    assert!(
        planned.to_string().contains("port changed 5001 -> 5009") && planned.asking().next().is_none(),
        "{planned}"
    );
    let elsewhere =
        manifest::Mirror { upstream: Some("https://other.example".parse().unwrap()), ..mirror("ghcr.io", 5001) };
    assert!(plan(&from_cache(wanted(vec![elsewhere])), &observed).is_empty(), "it asks neither");
}

#[test]
fn one_with_credentials_has_none_of_them_while_it_asks_nobody() {
    let credentials = || Some(Credentials { username: "me".into(), password: "hunter2".into() });
    let desired = wanted(vec![manifest::Mirror { credentials: credentials(), ..mirror("ghcr.io", 5001) }]);
    let planned = plan(&from_cache(desired.clone()), &converged(&desired));
    assert!(!planned.to_string().contains("credentials"), "{planned}");
    assert!(created(&planned).command.is_empty());
    let back = plan(&desired, &converged(&from_cache(desired.clone())));
    assert!(back.to_string().contains("put credentials"), "{back}");
}

#[test]
fn a_cache_that_keeps_exiting_without_its_upstream_gives_way_to_one_that_serves() {
    let mut observed = converged(&one());
    inside(&mut observed.containers[0]).state = ContainerState::Restarting;
    assert_snapshot!(plan(&from_cache(one()), &observed), @r"
    ghcr.io
      remove container ksail-dev-ghcr-io: upstream away: served from its cache
      create container ksail-dev-ghcr-io: upstream away: served from its cache
      connect ksail-dev-ghcr-io to network kind: upstream away: served from its cache
      start ksail-dev-ghcr-io: upstream away: served from its cache
      wait until ksail-dev-ghcr-io serves: upstream away: served from its cache
    ");
}

#[test]
fn a_registry_to_push_to_has_no_upstream_to_lose() {
    let push = || wanted(vec![manifest::Mirror { upstream: None, ..mirror("ghcr.io", 5001) }]);
    assert!(plan(&from_cache(push()), &converged(&push())).is_empty());
}
