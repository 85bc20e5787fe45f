//! Which volume a mirror is on, and what becomes of another one.

use super::*;

const HOST: &str = "ghcr.io";
const NAME: &str = "ksail-dev-ghcr-io";

/// The same host as a registry to push to.
fn push(port: u16) -> manifest::Mirror {
    manifest::Mirror { upstream: None, ..mirror(HOST, port) }
}

/// What a mirror asked for is, in an engine that has something already.
fn on(observed: &Observed, mirror: manifest::Mirror, policy: VolumePolicy) -> Desired {
    Desired { volume_policy: policy, ..wanted(vec![mirror]).with_names(&observed.names("dev")) }
}

fn planned(observed: &Observed, mirror: manifest::Mirror, policy: VolumePolicy) -> String {
    plan(&on(observed, mirror, policy), observed).to_string()
}

/// The engine after a plan was executed that made `mirror` of what it had: volumes that nobody removes stay.
fn then(before: &Observed, mirror: manifest::Mirror, policy: VolumePolicy) -> Observed {
    let desired = on(before, mirror, policy);
    let plan = plan(&desired, before);
    let is_removed = |name: &str| plan.sequences.contains_key(&Subject::Volume(name.to_owned()));
    let mut after = converged(&desired);
    let left = before.volumes.iter().filter(|(name, _)| !is_removed(name));
    after.volumes.extend(left.map(|(name, volume)| (name.clone(), volume.clone())));
    after
}

#[test]
fn a_changed_upstream_keeps_the_volume_and_the_plan_says_that_what_came_from_the_old_one_stays() {
    let other = manifest::Mirror { upstream: Some("https://other.example".parse().unwrap()), ..mirror(HOST, 5001) };
    let plan = planned(&converged(&one()), other, VolumePolicy::Delete);
    let says = "upstream changed https://ghcr.io -> https://other.example; what came from the old upstream stays";
    assert!(plan.contains(says) && !plan.contains("volume"), "{plan}");
}

#[test]
fn an_upstream_that_becomes_a_secret_one_says_so_too_unless_it_is_the_same() {
    let secret = |url: &str| manifest::Mirror {
        upstream: Some(url.parse::<Upstream>().unwrap().shown_as("https://${HUB}")),
        ..mirror(HOST, 5001)
    };
    let plan = |url| planned(&converged(&one()), secret(url), VolumePolicy::Retain);
    let other = plan("https://hidden.example");
    assert!(other.contains("upstream changed https://ghcr.io -> https://${HUB}; what came from the old"), "{other}");
    let same = plan("https://ghcr.io");
    assert!(!same.contains("what came from the old") && same.contains("create container"), "{same}");
}

#[test]
fn another_role_starts_on_another_volume_and_the_old_one_stays_where_volumes_are_retained() {
    assert_snapshot!(planned(&converged(&one()), push(5001), VolumePolicy::Retain), @r"
    ghcr.io
      create volume ksail-dev-ghcr-io.push: upstream removed: now a push registry
      create container ksail-dev-ghcr-io.next: upstream removed: now a push registry
      connect ksail-dev-ghcr-io.next to network kind: upstream removed: now a push registry
      stop ksail-dev-ghcr-io: upstream removed: now a push registry
      start ksail-dev-ghcr-io.next: upstream removed: now a push registry
      wait until ksail-dev-ghcr-io.next serves: upstream removed: now a push registry
      remove container ksail-dev-ghcr-io: upstream removed: now a push registry; its volume stays
      set the restart policy of ksail-dev-ghcr-io.next to always: upstream removed: now a push registry
      rename ksail-dev-ghcr-io.next to ksail-dev-ghcr-io: upstream removed: now a push registry
    ");
}

#[test]
fn with_the_policy_delete_the_volume_of_the_old_role_goes_when_the_new_one_serves() {
    let observed = converged(&one());
    let plan = plan(&on(&observed, push(5001), VolumePolicy::Delete), &observed);
    let cause = "ghcr.io is a push registry now";
    assert!(plan.to_string().ends_with(&format!("volume {NAME}\n  remove volume {NAME}: {cause}\n")), "{plan}");
    let volume = &plan.sequences[&Subject::Volume(NAME.to_owned())];
    assert_eq!(volume.steps[0].after, [Milestone::Done(Subject::mirror(HOST))]);
}

#[test]
fn a_role_that_is_changed_back_finds_its_content_again() {
    let retain = VolumePolicy::Retain;
    let pushed = then(&converged(&one()), push(5001), retain);
    assert_eq!(pushed.volumes.keys().collect::<Vec<_>>(), [NAME, "ksail-dev-ghcr-io.push"]);
    assert_eq!(planned(&pushed, push(5001), retain), "", "it is done");
    assert_eq!(on(&pushed, mirror(HOST, 5001), retain).mirrors.values().next().unwrap().volume, NAME);
    let back = then(&pushed, mirror(HOST, 5001), retain);
    assert_eq!(planned(&back, mirror(HOST, 5001), retain), "");
    assert_eq!(on(&back, push(5001), retain).mirrors.values().next().unwrap().volume, "ksail-dev-ghcr-io.push");
    // Where the cache is deleted, the registry stays where it is.
    let delete = VolumePolicy::Delete;
    let pushed = then(&converged(&one()), push(5001), delete);
    assert_eq!(pushed.volumes.keys().collect::<Vec<_>>(), ["ksail-dev-ghcr-io.push"]);
    assert_eq!(planned(&pushed, push(5001), delete), "", "it is done");
}

#[test]
fn what_was_pushed_stays_where_an_earlier_ksail_has_changed_the_role_on_one_volume() {
    let pushed = wanted(vec![push(5001)]);
    let mut observed = converged(&pushed);
    observed.volumes.get_mut(NAME).unwrap().labels = one().mirrors.values().next().unwrap().container.labels.clone();
    for policy in [VolumePolicy::Retain, VolumePolicy::Delete] {
        assert_eq!(planned(&observed, push(5001), policy), "", "{policy:?}");
        let back = on(&observed, mirror(HOST, 5001), policy);
        assert_eq!(back.mirrors.values().next().unwrap().volume, "ksail-dev-ghcr-io.mirror");
    }
}

#[test]
fn a_volume_is_not_removed_while_the_registry_that_is_on_it_is_not() {
    let mut observed = converged(&one());
    observed.containers[0].container = {
        let mut paused = Container::clone(&observed.containers[0].container);
        paused.state = ContainerState::Paused;
        paused.into()
    };
    observed.ports_taken.insert((LOCALHOST, 5002));
    let plan = plan(&on(&observed, push(5002), VolumePolicy::Delete), &observed).to_string();
    assert!(
        plan.contains("unpause") && plan.contains("port 5002 is held") && !plan.contains("remove volume"),
        "{plan}"
    );
}

#[test]
fn a_cache_that_becomes_a_push_registry_does_not_wait_for_an_upstream_that_there_is_no_more() {
    let mut observed = converged(&one());
    for starts_again in [StartsAgain::NotAsked, StartsAgain::No("its upstream is away".to_owned())] {
        observed.containers[0].starts_again = starts_again;
        let plan = plan(&on(&observed, push(5001), VolumePolicy::Retain), &observed);
        assert_eq!(asking(&plan), Vec::<&str>::new());
        assert!(plan.to_string().contains("remove container"), "{plan}");
    }
}

#[test]
fn another_volume_of_the_same_role_is_somebodys_business() {
    let mut observed = converged(&one());
    let other = crate::names::beside_another(&"dev".parse().unwrap(), &HOST.parse().unwrap());
    let labels = observed.volumes[NAME].labels.clone();
    observed.volumes.insert(other.clone(), Volume { name: other, labels, created_at: None });
    assert_eq!(planned(&observed, mirror(HOST, 5001), VolumePolicy::Delete), "");
}

#[test]
fn a_volume_that_says_it_is_another_mirrors_is_not_used_whatever_its_name() {
    let mut observed = nothing();
    let labels = crate::labels::of_owner("dev", "quay.io", "mirror");
    observed.volumes.insert(NAME.to_owned(), Volume { name: NAME.to_owned(), labels, created_at: None });
    let plan = planned(&observed, mirror(HOST, 5001), VolumePolicy::Retain);
    assert!(plan.starts_with(&format!("ghcr.io\n  blocked: volume {NAME} ")), "{plan}");
}

/// A mirror whose volume the engine has made, and what came after it was recreated on another port.
fn recreated_on_a_bare_volume() -> (Observed, String) {
    let mut observed = converged(&one());
    observed.volumes.insert(NAME.to_owned(), bare_volume(NAME, 100));
    inside(&mut observed.containers[0]).created_at = Some(jiff::Timestamp::from_second(100).unwrap());
    let desired = on(&observed, mirror(HOST, 5002), VolumePolicy::Retain);
    let plan = plan(&desired, &observed);
    let steps = &plan.sequences[&Subject::mirror(HOST)].steps;
    let spec = steps.iter().find_map(|step| match &step.action {
        Action::CreateContainer { spec } => Some(spec.clone()),
        _ => None,
    });
    let mut after = converged(&desired);
    after.volumes = observed.volumes.clone();
    let container = inside(&mut after.containers[0]);
    container.labels = spec.unwrap().labels.clone();
    container.created_at = Some(jiff::Timestamp::from_second(500).unwrap());
    (after, plan.to_string())
}

#[test]
fn a_volume_that_the_engine_made_is_purged_however_often_its_container_was_recreated() {
    let (observed, first) = recreated_on_a_bare_volume();
    assert!(first.contains("create container") && !first.contains("volume"), "{first}");
    let purged = Desired { state: State::Purged, mirrors: BTreeMap::new(), ..one() };
    let plan_of = |observed: &Observed| plan(&purged, observed).to_string();
    assert!(plan_of(&observed).contains(&format!("remove volume {NAME}")), "{}", plan_of(&observed));
    // One that somebody has put in its place while nobody of ours was on it is theirs.
    let mut replaced = observed.clone();
    inside(&mut replaced.containers[0]).mounts[0].volume = Some(format!("{NAME}.push"));
    assert!(plan_of(&replaced).contains(&format!("remove volume {NAME}:")), "{}", plan_of(&replaced));
    replaced.volumes.insert(NAME.to_owned(), bare_volume(NAME, 400));
    assert!(!plan_of(&replaced).contains("remove volume"), "{}", plan_of(&replaced));
}

#[test]
fn a_volume_that_the_engine_made_is_known_by_who_is_on_it_where_its_time_changes_with_what_is_in_it() {
    let (mut observed, _) = recreated_on_a_bare_volume();
    // Docker 20.10, which says when the directory changed last.
    observed.volumes.insert(NAME.to_owned(), bare_volume(NAME, 300));
    let purged = Desired { state: State::Purged, mirrors: BTreeMap::new(), ..one() };
    let plan = plan(&purged, &observed).to_string();
    assert!(plan.contains(&format!("remove volume {NAME}")), "{plan}");
}

#[test]
fn a_volume_that_the_engine_made_for_the_other_role_goes_although_nobody_is_on_it_any_more() {
    let (mut observed, _) = recreated_on_a_bare_volume();
    let container = inside(&mut observed.containers[0]);
    container.mounts[0].volume = Some(format!("{NAME}.push"));
    container.labels.insert(crate::labels::ROLE.to_owned(), "push".to_owned());
    container.env.retain(|name, _| !name.starts_with("REGISTRY_PROXY_"));
    let of_push = crate::labels::of_owner("dev", HOST, "push");
    let beside = format!("{NAME}.push");
    observed.volumes.insert(beside.clone(), Volume { name: beside, labels: of_push, created_at: None });
    let plan = planned(&observed, push(5002), VolumePolicy::Delete);
    assert!(plan.contains(&format!("remove volume {NAME}: ghcr.io is a push registry now")), "{plan}");
    assert_eq!(planned(&observed, push(5002), VolumePolicy::Retain), "");
}

#[test]
fn a_cache_stays_on_its_volume_whatever_somebody_has_written_on_its_label() {
    let mut observed = converged(&one());
    let labels = &mut inside(&mut observed.containers[0]).labels;
    labels.insert(crate::labels::ROLE.to_owned(), "push".to_owned());
    let desired = on(&observed, mirror(HOST, 5001), VolumePolicy::Delete);
    assert_eq!(desired.mirrors.values().next().unwrap().volume, NAME);
    assert!(!plan(&desired, &observed).to_string().contains("volume"));
}

#[test]
fn what_a_container_says_of_its_predecessors_volume_is_no_cause_to_recreate_and_is_passed_on() {
    let (observed, _) = recreated_on_a_bare_volume();
    assert_eq!(planned(&observed, mirror(HOST, 5002), VolumePolicy::Retain), "");
    let pushed = plan(&on(&observed, push(5002), VolumePolicy::Delete), &observed);
    let mut steps = pushed.sequences[&Subject::mirror(HOST)].steps.iter();
    let passes_on = |step: &Step| matches!(&step.action, Action::CreateContainer { spec } if spec.labels.get(crate::labels::MADE_VOLUME).is_some_and(|made| made.starts_with(NAME)));
    assert!(steps.any(passes_on), "{pushed}");
    assert!(pushed.to_string().contains(&format!("remove volume {NAME}: ghcr.io is a push registry now")), "{pushed}");
}
