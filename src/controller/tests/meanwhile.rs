//! What somebody does between a look and the change that it leads to, in virtual time: what is there by then counts, by
//! its identity and not by its name.

use tokio::sync::watch;

use super::uncooperative::{asking_in_words, cut_off, refusal};
use super::*;
use crate::desired::Desired;
use crate::engine::ContainerSpec;
use crate::labels::of_owner;

const GHCR: &str = "ksail-dev-ghcr-io";
const FILE: &str = "/etc/containerd/certs.d/ghcr.io/hosts.toml";

fn asking(text: &str) -> Desired {
    asking_in_words(text.to_owned())
}

/// A controller that is told what to make true, and what happens meanwhile.
async fn meanwhile<F: Future<Output = ()>>(world: World, desired: Desired, happens: impl FnOnce(World) -> F) {
    let (asked, intents) = watch::channel(Intent::at_once(desired));
    let (controller, stop) = (world.controller(), world.stop.clone());
    let task = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
    happens(world).await;
    drop(asked);
    task.await.unwrap();
}

impl World {
    async fn begins_to(&self, call: &str) {
        self.until(&format!("{call} begins"), |world| world.engine.calls().iter().any(|made| made.name == call)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_somebody_makes_before_the_container_comes_is_not_used() {
    let theirs = [
        of_owner("dev", "quay.io", "mirror"),
        of_owner("other", "ghcr.io", "mirror"),
        BTreeMap::from([("mine".to_owned(), "yes".to_owned())]),
    ];
    for labels in theirs {
        for call in ["pull_image", "create_container"] {
            let world = World::new();
            world.engine.delay(move |made| made.name == call, 1, Duration::from_secs(2));
            meanwhile(world, asking(&manifest_text(&[("ghcr.io", 5001)])), async |world| {
                world.begins_to(call).await;
                let outsider = world.engine.outsider();
                // Nobody is told.
                world.engine.lose_events(|_| true, usize::MAX);
                let _ = outsider.remove_volume(GHCR).await;
                outsider.create_volume(GHCR, &labels).await.unwrap();
                sleep(Duration::from_secs(90)).await;
                let row = format!("{labels:?}, during {call}");
                let started = world.engine.calls().iter().any(|call| call.name == "start_container");
                assert!(world.container(GHCR).is_none() && !started, "{row}");
                assert_eq!(outsider.inspect_volume(GHCR).await.unwrap().labels, labels, "{row}");
                let refused = |event: &Event| matches!(event, Event::Action(report) if matches!(&report.result, ActionResult::Failed(why) if why.to_string().starts_with(&format!("volume {GHCR} was not made by ksail"))));
                assert!(world.recorder.has(refused), "{row}");
                world.stop.cancel();
            })
            .await;
        }
    }
}

/// Somebody makes a container of theirs, of which nobody is told, while the image for the mirror's is being pulled; `looks`
/// looks at what is there long after that, by the id of theirs.
async fn somebody_makes(
    image: (&str, crate::engine::Image),
    change: impl FnOnce(&mut ContainerSpec),
    looks: impl AsyncFnOnce(&World, &str),
) {
    let world = World::new();
    world.engine.add_image(image.0, image.1);
    world.engine.delay(|made| made.name == "pull_image", 1, Duration::from_secs(2));
    let desired = asking(&manifest_text(&[("ghcr.io", 5001)]));
    let mut theirs = desired.mirrors.values().next().unwrap().container.clone();
    image.0.clone_into(&mut theirs.image);
    change(&mut theirs);
    meanwhile(world, desired, async |world| {
        world.begins_to("pull_image").await;
        world.engine.lose_events(|_| true, usize::MAX);
        let id = world.engine.outsider().create_container(&theirs).await.unwrap();
        sleep(Duration::from_secs(90)).await;
        looks(&world, &id).await;
        world.stop.cancel();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_volume_that_somebody_elses_container_is_on_by_then_is_not_used() {
    let theirs = |spec: &mut ContainerSpec| {
        "theirs".clone_into(&mut spec.name);
        (spec.labels, spec.ports) = Default::default();
    };
    somebody_makes(("theirs:1", crate::engine::Image::default()), theirs, async |world, _| {
        assert!(world.container(GHCR).is_none());
        assert!(!world.engine.calls().iter().any(|call| call.name == "create_container" && call.object == GHCR));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_the_mirrors_name_that_inherited_its_labels_is_neither_used_nor_removed() {
    let labels = of_owner("dev", "ghcr.io", "mirror");
    let committed = crate::engine::Image { id: "sha256:c".to_owned(), labels, ..Default::default() };
    let left_alone = async |world: &World, id: &str| {
        let theirs = world.engine.outsider().inspect_container(id).await.unwrap();
        assert_eq!((theirs.name.as_str(), theirs.state), (GHCR, ContainerState::Created));
    };
    somebody_makes(("committed:1", committed), |_| {}, left_alone).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_the_mirrors_name_that_has_another_role_by_then_is_not_taken_for_what_was_to_be_created() {
    let other_role = |spec: &mut ContainerSpec| spec.labels = of_owner("dev", "ghcr.io", "push");
    somebody_makes(("theirs:1", crate::engine::Image::default()), other_role, async |world, id| {
        let starts_it = |call: &crate::engine::memory::Call| call.name == "start_container" && call.object == id;
        assert!(!world.engine.calls().iter().any(starts_it));
        // Once it has been seen it is replaced, as ours that is not what the file says.
        assert!(world.runs(GHCR));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_changes_leaves_its_volume_and_with_the_policy_delete_that_goes_when_the_new_one_serves() {
    let text = |entry: &str, policy: &str| {
        manifest_text(&[])
            .replace("  registries:\n", &format!("  registries:\n    volumePolicy: {policy}\n"))
            .replace("    mirrors:\n", &format!("    mirrors:\n      - {{host: registry.test, port: 5001{entry}}}\n"))
    };
    let name = "ksail-dev-registry-test";
    let (cache, push) = (", upstream: \"https://elsewhere.test\"", "");
    for policy in ["Retain", "Delete"] {
        let world = World::new();
        let (asked, intents) = watch::channel(Intent::careful(asking(&text(cache, policy))));
        let (controller, stop) = (world.controller(), world.stop.clone());
        let task = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
        world.until("the cache runs", |world| world.runs(name)).await;
        sleep(Duration::from_secs(1)).await;
        let beside = format!("{name}.push");
        asked.send_replace(Intent::careful(asking(&text(push, policy))));
        let is_on = |world: &World, volume: &str| {
            let container = world.container(name);
            container
                .is_some_and(|container| container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(volume)))
        };
        world.until("it is a push registry", |world| is_on(world, &beside)).await;
        assert!(world.has_volume(name), "not at once");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.has_volume(name), policy == "Retain", "{policy}");
        asked.send_replace(Intent::careful(asking(&text(cache, policy))));
        world.until("it is a cache again", |world| is_on(world, name)).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.has_volume(&beside), policy == "Retain", "{policy}");
        let pulls = world.engine.calls().iter().filter(|call| call.name == "pull_image").count();
        assert_eq!(pulls, 1, "what was pulled is there for every recreate");
        world.stop.cancel();
        task.await.unwrap();
    }
}

/// What somebody puts where a node's file of ksail's is or is to be, and whose the refusal says it is.
fn files_of_others() -> [(String, &'static str); 3] {
    let other: crate::manifest::ClusterName = "other".parse().unwrap();
    let other = Desired { cluster: other, ..asking(&manifest_text(&[("ghcr.io", 5001)])) };
    let other = other.with_names(&crate::names::Existing::named("ghcr.io", "ksail-other-ghcr-io"));
    let of_other_cluster = other.mirrors.values().next().unwrap().node_files["ghcr.io"].text().to_owned();
    let of_k3s = "# File generated by k3s. DO NOT EDIT.\nserver = \"https://ghcr.io/v2\"\n".to_owned();
    let mine = "server = \"https://mine.example\"\n".to_owned();
    [(of_other_cluster, "cluster other's"), (of_k3s, "k3s's"), (mine, "somebody else's")]
}

impl World {
    /// Puts a file into the node when an action has begun, before the executor looks there.
    async fn has_in_node_before(&self, action: &str, text: &str) {
        // Time enough to be quicker.
        self.engine.delay(|call| call.name == "get_archive", usize::MAX, Duration::from_millis(100));
        let begins = |event: &Event| matches!(event, Event::ActionStarted(report) if report.action == action);
        self.until(&format!("{action} begins"), |world| world.recorder.has(begins)).await;
        let file = crate::archive::pack([(FILE, 0o644, text.as_bytes())].into_iter(), 0).unwrap();
        self.engine.outsider().put_archive("dev-control-plane", "/", file).await.unwrap();
    }

    /// The text of the node's file.
    fn in_node(&self) -> Option<String> {
        let containers = self.engine.snapshot().containers.into_values();
        let node = containers.into_iter().find(|snapshot| snapshot.container.name == "dev-control-plane")?;
        Some(String::from_utf8(node.files.get(FILE)?.content.clone()?).unwrap())
    }

    /// Waits until a node's file was refused to be changed, and looks whether it is as it was.
    async fn refuses(&self, action: &str, text: &str, whose: &str) {
        let says = format!("{FILE} is {whose} by now");
        let refused = |event: &Event| matches!(event, Event::Action(report) if report.action == action && matches!(&report.result, ActionResult::Failed(why) if why.to_string().contains(&says)));
        self.until(&format!("{action}: {says}"), |world| world.recorder.has(refused)).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(self.in_node().as_deref(), Some(text), "{action}: {whose}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_puts_into_a_node_before_ksails_is_written_is_left_alone() {
    for (text, whose) in files_of_others() {
        let world = World::new();
        world.has_node().await;
        meanwhile(world, asking(&manifest_text(&[("ghcr.io", 5001)])), async |world| {
            world.has_in_node_before("WriteNodeFiles", &text).await;
            world.refuses("WriteNodeFiles", &text, whose).await;
            world.stop.cancel();
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_puts_in_the_place_of_ksails_before_that_is_removed_is_left_alone() {
    for (text, whose) in files_of_others() {
        let world = World::new();
        world.has_node().await;
        let (asked, intents) = watch::channel(Intent::at_once(asking(&manifest_text(&[("ghcr.io", 5001)]))));
        let (controller, stop) = (world.controller(), world.stop.clone());
        let task = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
        world.until("the node is wired", |world| world.in_node().is_some()).await;
        asked.send_replace(Intent::at_once(asking(&manifest_text(&[]))));
        world.has_in_node_before("RemoveNodeFiles", &text).await;
        world.refuses("RemoveNodeFiles", &text, whose).await;
        world.stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_refuses_is_not_said_to_be_lost() {
    for (error, is_refusal) in [(refusal("not authorized"), true), (cut_off(), false)] {
        let world = World::new();
        meanwhile(world, asking(&manifest_text(&[("ghcr.io", 5001)])), async |world| {
            world.until("the mirror runs", |world| world.runs(GHCR)).await;
            sleep(Duration::from_secs(1)).await;
            world.engine.fail(|call| call.name == "info", usize::MAX, error.clone());
            world.engine.end_events();
            let refused = |event: &Event| matches!(event, Event::EngineRefuses { message } if message.contains("not authorized"));
            let lost = |event: &Event| matches!(event, Event::EngineLost { .. });
            world.until("it is told", |world| world.recorder.has(refused) || world.recorder.has(lost)).await;
            assert_eq!((world.recorder.has(refused), world.recorder.has(lost)), (is_refusal, !is_refusal));
            let reason = if is_refusal { Reason::EngineRefused } else { Reason::EngineUnavailable };
            let says_so = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == reason && condition.kind == ConditionType::Ready);
            assert!(world.recorder.has(says_so));
            world.stop.cancel();
        })
        .await;
    }
}
