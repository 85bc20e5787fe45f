//! k3d makes a network for each cluster and removes it with that, unless somebody is on it: registries are.

use super::played::Act::{Fails, MakesNode, RemovesNode, WaitsFor};
use super::played::*;
use super::uncooperative::asking_in_words;
use super::*;
use crate::labels::{K3D_CLUSTER, K3D_NETWORK, K3D_ROLE, Labels, OF_K3D};
use crate::outcome::Failure;

const NETWORK: &str = "k3d-dev";
const REGISTRIES: [&str; 2] = ["ksail-dev-docker-io", "ksail-dev-ghcr-io"];
/// Whoever has made nothing but a network by then does not make a cluster.
const FORGOTTEN: Duration = Duration::from_secs(5 * 60);
/// Whoever makes a cluster anew has begun to by then.
const MADE_ANEW: Duration = crate::observed::MADE_ANEW_WITHIN;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn asking(state: &str, lifecycle: &str) -> Desired {
    let text =
        manifest_text(&MIRRORS).replace("External", &format!("{lifecycle}\n  distribution: K3d\n  state: {state}"));
    asking_in_words(text)
}

fn server() -> ContainerSpec {
    ContainerSpec {
        labels: labels(&[(K3D_CLUSTER, "dev"), (K3D_ROLE, "server"), (K3D_NETWORK, NETWORK)]),
        ..node(NODE, "")
    }
}

/// A world that asks for a cluster of k3d's in this way.
fn asks(lifecycle: &str, create: &[Act]) -> Kind {
    let kind = Kind::that_makes(server(), create, &[RemovesNode]);
    kind.asks(asking("Present", lifecycle));
    kind
}

/// As `k3d cluster create` makes it: a network where there is none, and then what is on it.
async fn create(world: &World) -> String {
    let outsider = world.engine.outsider();
    if !has_network(world) {
        world.engine.create_labelled_network(NETWORK, labels(&[OF_K3D]));
    }
    let id = outsider.create_container(&server()).await.unwrap();
    outsider.connect_network(NETWORK, &id, &[]).await.unwrap();
    outsider.start_container(&id).await.unwrap();
    id
}

/// And `k3d cluster delete`, which does not insist.
async fn delete(world: &World, id: &str) {
    let outsider = world.engine.outsider();
    outsider.remove_container(id).await.unwrap();
    let _ = outsider.remove_network(NETWORK).await;
}

fn has_network(world: &World) -> bool {
    world.engine.snapshot().networks.values().any(|network| network.name == NETWORK)
}

/// How many of them run.
fn registries(world: &World) -> usize {
    let runs = |name: &&str| world.container(name).is_some_and(|found| found.state == ContainerState::Running);
    REGISTRIES.into_iter().filter(runs).count()
}

fn are_on_it(world: &World) -> bool {
    let is_on_it = |name: &str| world.container(name).is_some_and(|found| found.endpoints.contains_key(NETWORK));
    REGISTRIES.into_iter().all(is_on_it)
}

#[tokio::test(start_paused = true)]
async fn it_goes_when_somebody_has_deleted_the_cluster_and_registries_go_on_without_it() {
    let kind = asks("External", &[]);
    let watch = kind.watch();
    let id = create(&kind.world).await;
    kind.world.until("they joined", are_on_it).await;
    delete(&kind.world, &id).await;
    assert!(has_network(&kind.world), "they are on it");
    kind.world.until("it is gone", |world| !has_network(world)).await;
    kind.settles().await;
    assert_eq!(registries(&kind.world), 2);
    for host in ["docker.io", "ghcr.io"] {
        assert_eq!(kind.world.ready(host).unwrap().status, ConditionStatus::True);
    }

    create(&kind.world).await;
    kind.world.until("they join the next one", are_on_it).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn it_stays_when_the_cluster_is_made_anew_at_once_and_before_its_first_container_is_there() {
    let kind = asks("External", &[]);
    let watch = kind.watch();
    // Images are pulled between the two.
    kind.world.engine.create_labelled_network(NETWORK, labels(&[OF_K3D]));
    sleep(Duration::from_secs(4 * 60)).await;
    assert!(has_network(&kind.world), "somebody is about to use it");
    let mut id = create(&kind.world).await;
    kind.world.until("they joined", are_on_it).await;
    for _ in 0..3 {
        delete(&kind.world, &id).await;
        sleep(MADE_ANEW / 2).await;
        id = create(&kind.world).await;
        sleep(MADE_ANEW * 2).await;
        assert!(are_on_it(&kind.world));
    }
    let left = |event: &Event| is_action(event, "DisconnectNetwork") || is_action(event, "RemoveNetwork");
    assert!(!kind.world.recorder.has(left), "nobody had to leave it");
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_a_ksail_which_ended_has_left_and_not_removed_goes_when_it_is_old() {
    let kind = asks("External", &[]);
    kind.world.engine.create_labelled_network(NETWORK, labels(&[OF_K3D]));
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(has_network(&kind.world) && !are_on_it(&kind.world));
    sleep(FORGOTTEN).await;
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(!has_network(&kind.world));
}

#[tokio::test(start_paused = true)]
async fn what_a_deletion_by_hand_has_left_goes_with_the_rest() {
    for state in ["Absent", "Purged"] {
        let kind = asks("External", &[]);
        let id = create(&kind.world).await;
        let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
        assert!(are_on_it(&kind.world));
        delete(&kind.world, &id).await;
        kind.asks(asking(state, "Managed"));
        let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
        assert!(!has_network(&kind.world) && registries(&kind.world) == 0, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_is_on_stays() {
    let kind = asks("External", &[]);
    let id = create(&kind.world).await;
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    let outsider = kind.world.engine.outsider();
    let other = outsider.create_container(&ContainerSpec { labels: Labels::new(), ..node("mine", "") }).await.unwrap();
    outsider.connect_network(NETWORK, &other, &[]).await.unwrap();
    outsider.start_container(&other).await.unwrap();
    delete(&kind.world, &id).await;
    kind.asks(asking("Purged", "Managed"));
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(has_network(&kind.world) && registries(&kind.world) == 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_container_of_somebody_elses_is_on_stays_so_that_it_can_be_started() {
    let kind = asks("External", &[]);
    let watch = kind.watch();
    let id = create(&kind.world).await;
    kind.world.until("they joined", are_on_it).await;
    let outsider = kind.world.engine.outsider();
    let other = outsider.create_container(&ContainerSpec { labels: Labels::new(), ..node("mine", "") }).await.unwrap();
    outsider.connect_network(NETWORK, &other, &[]).await.unwrap();
    delete(&kind.world, &id).await;
    sleep(MADE_ANEW * 3).await;
    let stays = Failure::NetworkInUse { network: NETWORK.to_owned(), container: "mine".to_owned() };
    let says_so =
        |event: &Event| matches!(event, Event::Action(report) if report.result == ActionResult::Failed(stays.clone()));
    assert!(kind.world.recorder.has(says_so) && has_network(&kind.world));
    assert!(!kind.world.recorder.has(|event| is_action(event, "RemoveNetwork")), "it is not said to be removed");
    outsider.remove_container(&other).await.unwrap();
    sleep(FORGOTTEN).await;
    kind.world.until("it is gone", |world| !has_network(world)).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_fails_and_undoes_itself_leaves_none() {
    let kind = asks("Managed", &[MakesNode, WaitsFor("joined"), RemovesNode, Fails("no space left")]);
    kind.world.engine.create_labelled_network(NETWORK, labels(&[OF_K3D]));
    let failing = async {
        kind.world.until("they joined", are_on_it).await;
        kind.says("joined");
    };
    let (applied, ()) = tokio::join!(kind.apply(), failing);
    assert!(matches!(applied, Applied::Failed(_)), "{applied:?}");
    assert!(!has_network(&kind.world), "k3d could not remove it");
    assert_eq!(registries(&kind.world), 2);
}
