//! The cluster beside its mirrors, in virtual time: when it is created and deleted, and what is left alone meanwhile.

use super::played::Act::{
    Fails, FailsOnce, FailsWithout, HasListsRefused, MakesNode, NeverEnds, RemovesNode, Says, WaitsFor,
};
use super::played::*;
use super::uncooperative::{Said, asking_in_words, cut_off, refusal};
use super::*;
use crate::engine::memory::Call;
use crate::engine::{Executed, Image};
use crate::labels::{K3D_CLUSTER, K3D_NETWORK, K3D_ROLE, Labels, of_owner};
use crate::manifest::State;

#[tokio::test(start_paused = true)]
async fn a_cluster_is_created_once_when_its_mirrors_serve() {
    let kind = Kind::that_works();
    let Applied::Converged(status) = kind.apply().await else { panic!("not converged") };
    let (ready, reason, _) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::True, Reason::ClusterRunning));
    let serving = kind.places(|event| is_action(event, "AwaitServing"));
    let output = kind.places(|event| matches!(event, Event::Output { .. }));
    assert_eq!((serving.len(), output.len()), (MIRRORS.len(), 1));
    assert!(serving.iter().all(|place| *place < output[0]), "{serving:?} before {output:?}");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    assert_eq!(kind.said(MADE), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_fails_does_not_keep_the_cluster_from_being_created() {
    let kind = Kind::that_works();
    kind.world.engine.crash_on_start("ksail-dev-docker-io", Some(1));
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    assert_eq!(cluster_ready(&status).0, ConditionStatus::True);
    assert!(kind.has_node());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_appears_between_plan_and_creation_is_not_touched() {
    let kind = Kind { appears_after: Some("AwaitServing"), ..Kind::new(&[Fails("never")], &[Fails("never")]) };
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(kind.has_node());
    assert_eq!(kind.said("never"), 0, "the program was not run, neither to create nor to delete");
    let appeared = |event: &Event| matches!(event, Event::Action(report) if matches!(&report.result, ActionResult::Failed(why) if why.to_string().contains("appeared meanwhile")));
    assert!(kind.world.recorder.has(appeared));
}

#[tokio::test(start_paused = true)]
async fn apply_wires_the_nodes_while_the_program_is_still_at_work() {
    let kind = Kind::new(&[MakesNode, WaitsFor("wired")], &[Says("never")]);
    let let_it_end = async {
        kind.world.until("the node is wired", |_| kind.wired(NODE)).await;
        kind.says("wired");
    };
    let (applied, ()) = tokio::join!(kind.apply(), let_it_end);
    assert!(matches!(applied, Applied::Converged(_)), "{applied:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_somebody_creates_while_the_program_starts_is_not_deleted() {
    let refusal = "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"dev\"";
    let kind = Kind::new(&[MakesNode, Fails(refusal)], &[Says("never")]);
    let Applied::Converged(_) = kind.apply().await else { panic!("not converged") };
    assert!(kind.has_node(), "it is somebody else's, and as good as one of ours");
    assert_eq!(kind.said("never"), 0, "nothing was deleted");
}

#[tokio::test(start_paused = true)]
async fn apply_tries_a_creation_that_fails_once_and_deletes_what_it_left() {
    let kind = Kind::new(&[MakesNode, Fails("no space left")], &[RemovesNode]);
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    assert!(message.contains("no space left"), "{message}");
    assert_eq!((kind.said(MADE), kind.said(REMOVED), kind.has_node()), (1, 1, false));
    assert_eq!(kind.mirrors().len(), MIRRORS.len(), "they serve all the same");
    assert!(!kind.world.recorder.has(|event| matches!(event, Event::Retry { .. })), "nothing is announced");
    let is_stopped = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::ClusterStopped);
    assert!(!kind.world.recorder.has(is_stopped), "half-way it is not told to be stopped");
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_creation_left_is_tried_again_when_its_deletion_fails() {
    let delete = [FailsOnce("directory not empty"), RemovesNode];
    let kind = Kind::new(&[MakesNode, Fails("no space left")], &delete);
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said("directory not empty"), kind.said(REMOVED), kind.has_node()), (1, 1, false));
}

#[tokio::test(start_paused = true)]
async fn half_a_cluster_that_cannot_be_deleted_does_not_pass_for_a_whole_one() {
    let kind = Kind::new(&[MakesNode, Fails("no space left")], &[Fails("directory not empty")]);
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    let words = ["no space left", "what it left could not be deleted", "directory not empty"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    assert_eq!((kind.said("no space left"), kind.said("directory not empty")), (1, 3));
    assert!(kind.has_node());
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_deleting_what_a_creation_has_left_and_creates_it_then() {
    let create = [MakesNode, FailsWithout("healed", "no space left")];
    let kind = Kind::new(&create, &[FailsWithout("healed", "directory not empty"), RemovesNode]);
    kind.asks(managed_for_pushes());
    let watch = kind.watch();
    kind.world.until("another try than the creation's own", |_| kind.said("directory not empty") > 3).await;
    let of_cluster = |world: &World, is_so: &dyn Fn(&Condition) -> bool| {
        world.recorder.has(|event| {
            matches!(event, Event::Condition { condition, .. }
                if condition.kind == ConditionType::ClusterReady && is_so(condition))
        })
    };
    let is_true = |condition: &Condition| condition.status == ConditionStatus::True;
    let says_both = |condition: &Condition| {
        condition.message.contains("no space left") && condition.message.contains("directory not empty")
    };
    assert!(of_cluster(&kind.world, &says_both));
    assert!(!of_cluster(&kind.world, &is_true), "half a cluster does not pass for a whole one");
    assert_eq!(kind.said(MADE), 1);
    kind.says("healed");
    kind.world.until("it is there", |world| of_cluster(world, &is_true)).await;
    assert_eq!((kind.said(MADE), kind.said(REMOVED)), (2, 1));
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_being_deleted_says_so_and_since_when() {
    let kind = Kind::new(&[MakesNode], &[WaitsFor("go"), RemovesNode]);
    kind.apply().await;
    let watch = kind.watch();
    let ready = |world: &World| {
        let events = world.recorder.0.lock().unwrap();
        let last = events.iter().rev().find_map(|event| match event {
            Event::Condition { condition, .. } if condition.kind == ConditionType::ClusterReady => Some(condition),
            _ => None,
        });
        last.cloned().unwrap()
    };
    let watches = |world: &World| world.recorder.has(|event| matches!(event, Event::EngineFound(_)));
    kind.world.until("it is there", |world| watches(world) && ready(world).status == ConditionStatus::True).await;
    kind.settles().await;
    let asked = kind.world.engine.now();
    kind.asks_for("Absent");
    kind.world.until("it is being deleted", |world| ready(world).message == "it is being deleted").await;
    let told = ready(&kind.world);
    assert_eq!((told.status, told.reason), (ConditionStatus::False, Reason::Progressing));
    assert!(told.since >= asked, "{} >= {asked}", told.since);
    kind.says("go");
    kind.world.until("all is gone", |world| world.engine.snapshot().containers.is_empty()).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_stays_ready_while_it_is_told_of_its_registry() {
    let kind = Kind::that_works();
    kind.asks(managed_for_pushes());
    // The cluster says nothing yet, and cannot be told.
    kind.world.engine.on_exec(|_, exec| {
        let is_asked = exec.command.iter().any(|word| word == "get");
        let stderr = if is_asked { String::new() } else { "connection refused".to_owned() };
        Some(Executed { exit_code: i64::from(!is_asked), stdout: String::new(), stderr })
    });
    let watch = kind.watch();
    let refusals = |world: &World| {
        let is_refused =
            |event: &&Event| matches!(event, Event::Action(report) if report.action == "AdvertiseRegistry");
        world.recorder.0.lock().unwrap().iter().filter(is_refused).count()
    };
    kind.world.until("it was told and refused, twice", |world| refusals(world) > 1).await;
    kind.world.stop.cancel();
    watch.await.unwrap();
    let events = kind.world.recorder.0.lock().unwrap();
    let of_cluster = events.iter().filter_map(|event| match event {
        Event::Condition { condition, .. } if condition.kind == ConditionType::ClusterReady => Some(condition.status),
        _ => None,
    });
    let became: Vec<_> = of_cluster.skip_while(|status| *status != ConditionStatus::True).collect();
    assert_eq!(became, [ConditionStatus::True], "once, and for good");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_be_asked_for_a_moment_does_not_keep_what_is_left() {
    let kind = Kind::new(&[MakesNode, HasListsRefused, Fails("no space left")], &[RemovesNode]);
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said("no space left"), kind.said(REMOVED), kind.has_node()), (1, 1, false));
}

#[tokio::test(start_paused = true)]
async fn nobody_touches_a_cluster_while_it_is_being_deleted() {
    let create = [MakesNode, WaitsFor("wired"), Fails("no space left")];
    let kind = Kind::new(&create, &[Says("begun"), WaitsFor("go"), RemovesNode]);
    let engine = &kind.world.engine;
    let watch = kind.watch();
    kind.world.until("the node is there", |_| kind.has_node()).await;
    kind.says("wired");
    kind.world.until("the deletion has begun", |_| kind.said("begun") == 1).await;
    engine.clear_calls();
    engine.outsider().kill("ksail-dev-ghcr-io", 137).unwrap();
    let passes = |world: &World| world.engine.calls().iter().filter(|call| call.name == "list_containers").count();
    kind.world.until("a pass has seen it", |world| passes(world) > 0).await;
    kind.asks(managed(&MIRRORS[..1], "Present"));
    kind.world.until("another has", |world| passes(world) > 1).await;
    let touching = ["get_archive", "put_archive", "stat_path", "exec", "connect_network"];
    let touched = |call: &Call| touching.contains(&call.name);
    assert!(!engine.calls().iter().any(touched), "{:?}", engine.calls());
    assert!(passes(&kind.world) < 10, "it waits, and does not look again and again");

    kind.says("go");
    kind.world.until("the rest follows", |_| !kind.has_node() && kind.mirrors().len() == 1).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_node_is_told_to_end_the_others_are_left_alone_for_a_moment() {
    let kind = Kind::that_works();
    let engine = &kind.world.engine;
    let id = engine.outsider().create_container(&node("dev-worker", "worker")).await.unwrap();
    engine.outsider().start_container(&id).await.unwrap();
    let watch = kind.watch();
    kind.world.until("the worker is wired", |_| kind.wired("dev-worker")).await;
    let other = engine.outsider().create_container(&node(NODE, "control-plane")).await.unwrap();
    engine.outsider().start_container(&other).await.unwrap();
    kind.world.until("the other is wired", |_| kind.wired(NODE)).await;

    let touching = ["get_archive", "put_archive", "stat_path", "exec"];
    let touched = |world: &World| {
        let calls = world.engine.calls();
        calls.iter().any(|call| touching.contains(&call.name) && call.object == id)
    };
    // The patrol looks once a second: right after it has, with no pass under way, nobody would look for a while.
    kind.settles().await;
    engine.clear_calls();
    kind.world.until("the patrol has looked", touched).await;
    kind.settles().await;
    engine.clear_calls();
    let removed = Instant::now();
    engine.outsider().remove_container(&other).await.unwrap();
    kind.world.until("it is looked at again", touched).await;
    assert!(removed.elapsed() > Duration::from_millis(900), "{:?}: {:?}", removed.elapsed(), engine.calls());
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_creation_did_not_make_is_not_deleted() {
    let kind = Kind::new(&[Fails("no such image")], &[Says("never")]);
    let Applied::Failed(_) = kind.apply().await else { panic!("not failed") };
    assert_eq!((kind.said("no such image"), kind.said("never")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_watch_tries_again_later_and_later_until_the_creation_succeeds() {
    let kind = Kind::new(&[FailsWithout("healed", "no space left"), MakesNode], &[Says("never")]);
    let watch = kind.watch();
    kind.world.until("the third try", |_| kind.said("no space left") == 3).await;
    let before = kind.mirrors();
    let waits: Vec<Duration> = {
        let events = kind.world.recorder.0.lock().unwrap();
        let of_cluster = events.iter().filter_map(|event| match event {
            Event::Retry { subject: Subject::Cluster(_), after } => Some(*after),
            _ => None,
        });
        of_cluster.collect()
    };
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    kind.says("healed");
    let is_ready = |event: &Event| {
        matches!(event, Event::Condition { condition, .. }
            if condition.kind == ConditionType::ClusterReady && condition.status == ConditionStatus::True)
    };
    kind.world.until("the cluster is there", |world| world.recorder.has(is_ready)).await;
    assert_eq!(kind.mirrors(), before, "nothing happened to the mirrors meanwhile");
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_is_stopped_and_taken_back_when_ksail_is_or_when_the_file_says_absent() {
    for absent in [false, true] {
        let kind = Kind::new(&[MakesNode, NeverEnds], &[RemovesNode]);
        let watch = kind.watch();
        kind.world.until("the node is there", |_| kind.has_node()).await;
        if absent {
            kind.asks_for("Absent");
            kind.world.until("the mirrors are gone", |_| kind.mirrors().is_empty()).await;
        }
        kind.world.stop.cancel();
        watch.await.unwrap();
        assert_eq!((kind.said(MADE), kind.said(REMOVED), kind.has_node()), (1, 1, false));
        assert_eq!(kind.mirrors().len(), if absent { 0 } else { MIRRORS.len() });
    }
}

#[tokio::test(start_paused = true)]
async fn registries_leave_the_network_before_the_cluster_is_deleted_and_go_after_it() {
    let kind = Kind::that_works();
    kind.apply().await;
    kind.asks_for("Absent");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    let deletion = kind.places(|event| matches!(event, Event::Output { line, .. } if line == REMOVED));
    let left = kind.places(|event| is_action(event, "DisconnectNetwork"));
    let gone = kind.places(|event| is_action(event, "RemoveContainer"));
    assert_eq!((left.len(), deletion.len(), gone.len()), (MIRRORS.len(), 1, MIRRORS.len()));
    assert!(left.iter().all(|place| *place < deletion[0]), "{left:?} before {deletion:?}");
    assert!(gone.iter().all(|place| *place > deletion[0]), "{gone:?} after {deletion:?}");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    assert_eq!(kind.said(REMOVED), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_cannot_be_deleted_keeps_its_registries_until_it_can() {
    let kind = Kind::new(&[MakesNode], &[FailsWithout("healed", "in use"), RemovesNode]);
    kind.apply().await;
    let before = kind.mirrors();
    kind.asks_for("Absent");
    let watch = kind.watch();
    kind.world.until("the second try", |_| kind.said("in use") == 2).await;
    kind.world.until("they are back on the network", |_| kind.mirrors() == before).await;
    kind.says("healed");
    kind.world.until("all is gone", |world| world.engine.snapshot().containers.is_empty()).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_makes_nothing_is_run_once_by_apply_and_later_and_later_by_a_watch() {
    let kind = Kind::new(&[Says("tried")], &[Says("never")]);
    let Applied::Failed(status) = kind.apply().await else { panic!("not failed") };
    assert!((1..=3).contains(&kind.said("tried")), "{}", kind.said("tried"));
    let (ready, reason, message) = cluster_ready(&status);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::ProvisionerFailed));
    assert!(message.contains("memory://"), "which engine was asked is told: {message}");
    let before = kind.said("tried");
    let watch = kind.watch();
    sleep(Duration::from_secs(5)).await;
    let tried = kind.said("tried") - before;
    assert!((2..=4).contains(&tried), "{tried} times in five seconds");
    assert_eq!(kind.mirrors().len(), MIRRORS.len(), "they serve all the same");
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_failed_and_waits_for_a_cluster_in_backoff_is_not_looked_at_without_a_pause() {
    let passes = Passes::default();
    let _counting = passes.are_counted();
    let kind = Kind::new(&[MakesNode], &[Fails("in use")]);
    kind.apply().await;
    let refusal = EngineError::Refused { status: 500, message: "busy".to_owned() };
    kind.world.engine.fail(|call| call.name == "disconnect_network", 1, refusal);
    kind.asks_for("Absent");
    let watch = kind.watch();
    kind.world.until("the third try", |_| kind.said("in use") >= 3).await;
    kind.settles().await;
    let before = passes.so_far();
    kind.world.engine.clear_calls();
    sleep(Duration::from_millis(1500)).await;
    let (passes, calls) = (passes.so_far() - before, kind.world.engine.calls().len());
    assert!(passes < 15 && calls < 60, "{passes} passes and {calls} calls");
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_the_file_hands_over_is_created_at_once() {
    let kind = Kind::that_works();
    kind.asks(asking_in_words(manifest_text(&MIRRORS)));
    let watch = kind.watch();
    kind.world.until("the mirrors run", |_| kind.mirrors().len() == MIRRORS.len()).await;
    kind.settles().await;
    kind.asks_for("Present");
    let saved = Instant::now();
    kind.world.until("the node is there", |_| kind.has_node()).await;
    assert!(saved.elapsed() < Duration::from_secs(5), "{:?}", saved.elapsed());
    let is_missing = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.reason == Reason::ProvisionerNotFound);
    assert!(!kind.world.recorder.has(is_missing));
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_deleted_before_its_registries_have_been_looked_at() {
    let kind = Kind::that_works();
    kind.apply().await;
    kind.world.engine.delay(|call| call.name == "inspect_container", usize::MAX, Duration::from_millis(300));
    kind.asks_for("Absent");
    assert!(matches!(kind.apply().await, Applied::Converged(_)));
    let deletion = kind.places(|event| matches!(event, Event::Output { line, .. } if line == REMOVED));
    let left = kind.places(|event| is_action(event, "DisconnectNetwork"));
    assert_eq!((left.len(), deletion.len()), (MIRRORS.len(), 1));
    assert!(left.iter().all(|place| *place < deletion[0]), "{left:?} before {deletion:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_the_file_wants_back_while_its_deletion_is_prepared_stays() {
    let kind = Kind::that_works();
    kind.apply().await;
    let watch = kind.watch();
    kind.settles().await;
    kind.world.engine.delay(|call| call.name == "list_containers", usize::MAX, Duration::from_secs(2));
    kind.asks_for("Absent");
    let begins = |event: &Event| matches!(event, Event::ActionStarted(report) if report.action == "DeleteCluster");
    kind.world.until("it begins", |world| world.recorder.has(begins)).await;
    kind.asks_for("Present");
    sleep(Duration::from_secs(30)).await;
    assert_eq!((kind.said(REMOVED), kind.said(MADE), kind.has_node()), (0, 1, true));
    assert_eq!(kind.mirrors().len(), MIRRORS.len());
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_could_not_be_asked_is_asked_again_when_the_file_has_wanted_it_gone_meanwhile() {
    let kind = Kind::that_works();
    let said = Said::in_nodes_of(&kind.world);
    kind.world.engine.fail(|call| call.name == "exec", usize::MAX, cut_off());
    let pushes = managed_for_pushes();
    kind.asks(pushes.clone());
    let watch = kind.watch();
    kind.world.until("it was asked", |world| world.engine.calls().iter().any(|call| call.name == "exec")).await;
    kind.settles().await;
    kind.asks(Desired { state: State::Absent, ..pushes.clone() });
    kind.settles().await;
    kind.world.engine.clear_faults();
    kind.asks(pushes);
    kind.world.until("the cluster says so", |_| said.now().contains("localhost:5009")).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_api_server_does_not_answer_yet_is_asked_again_soon() {
    let kind = Kind::that_works();
    let said = Said::in_nodes_of(&kind.world);
    let asks = |call: &Call| call.name == "exec";
    kind.world.engine.fail(asks, usize::MAX, refusal("the connection to the server was refused"));
    kind.asks(managed_for_pushes());
    let watch = kind.watch();
    kind.world.until("it was asked", |world| world.engine.calls().iter().any(asks)).await;
    sleep(Duration::from_secs(3)).await;
    kind.world.engine.clear_faults();
    let answers = Instant::now();
    kind.world.until("the cluster says so", |_| said.now().contains("localhost:5009")).await;
    assert!(answers.elapsed() < Duration::from_secs(5), "{:?}", answers.elapsed());
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn only_registries_leave_k3ds_network_before_it_is_deleted_and_not_who_has_their_labels_from_elsewhere() {
    const NETWORK: &str = "k3d-dev";
    let labels = [(K3D_CLUSTER, "dev"), (K3D_ROLE, "server"), (K3D_NETWORK, NETWORK)];
    let labels: Labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let server = ContainerSpec { labels, ..node(NODE, "") };
    let create = [MakesNode, WaitsFor("joined"), Fails("no space left")];
    let kind = Kind::that_makes(server, &create, &[Says("begun"), WaitsFor("go"), RemovesNode]);
    let engine = &kind.world.engine;
    engine.create_network(NETWORK);
    let ours = of_owner("dev", "quay.io", "mirror");
    let image = Image { id: "sha256:committed".to_owned(), labels: ours.clone(), ..Image::default() };
    engine.add_image("committed:1", image);
    let outsider = engine.outsider();
    let impostors = [("ksail-dev-quay-io", "committed:1"), ("mine", "node:1")];
    for (name, image) in impostors {
        let spec = ContainerSpec { image: image.to_owned(), labels: ours.clone(), ..node(name, "") };
        let id = outsider.create_container(&spec).await.unwrap();
        outsider.start_container(&id).await.unwrap();
        outsider.connect_network(NETWORK, &id, &[]).await.unwrap();
    }
    let on_it = |world: &World, name: &str| {
        world.container(name).is_some_and(|container| container.endpoints.contains_key(NETWORK))
    };
    let mirrors = ["ksail-dev-docker-io", "ksail-dev-ghcr-io"];
    kind.asks(asked_of_k3d());
    let deleting = async {
        kind.world.until("they joined", |world| mirrors.iter().all(|name| on_it(world, name))).await;
        kind.says("joined");
        kind.world.until("what is left is being deleted", |_| kind.said("begun") == 1).await;
        assert!(!mirrors.iter().any(|name| on_it(&kind.world, name)), "k3d would leave the network behind");
        assert!(impostors.iter().all(|(name, _)| on_it(&kind.world, name)), "they are somebody else's");
        kind.says("go");
    };
    let (applied, ()) = tokio::join!(kind.apply(), deleting);
    assert!(matches!(applied, Applied::Failed(_)), "{applied:?}");
    assert!(!kind.has_node());
}

/// One with mirrors, which k3d makes.
fn asked_of_k3d() -> Desired {
    let text = manifest_text(&MIRRORS).replace("lifecycle: External", "lifecycle: Managed\n  distribution: K3d");
    asking_in_words(text)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_somebody_deletes_and_makes_anew_by_hand_is_theirs_to_make() {
    let kind = Kind::that_works();
    let watch = kind.watch();
    kind.world.until("it is there", |_| kind.wired(NODE)).await;
    for round in 1..=2 {
        kind.settles().await;
        let outsider = kind.world.engine.outsider();
        outsider.remove_container(NODE).await.unwrap();
        // As long as kind takes to get to it.
        sleep(Duration::from_millis(1_500)).await;
        assert!(!kind.has_node(), "round {round}: ksail was as quick as they");
        kind.stage.make_node();
        kind.world.until("the new node is wired", |_| kind.wired(NODE)).await;
        assert_eq!(kind.mirrors().len(), MIRRORS.len());
    }
    assert_eq!(kind.said(MADE), 1, "what ksail made");
    let gone = Instant::now();
    kind.world.engine.outsider().remove_container(NODE).await.unwrap();
    kind.world.until("nobody makes it, so that ksail does", |_| kind.said(MADE) == 2).await;
    assert!(gone.elapsed() < Duration::from_secs(4), "{:?}", gone.elapsed());
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_finds_a_nodes_name_taken_deletes_nothing() {
    const TAKEN: &str = "docker: Error response from daemon: Conflict. The container name \"/dev-control-plane\" is already in use by container \"0123\".";
    let kind = Kind::new(&[Fails(TAKEN)], &[RemovesNode]);
    let watch = kind.watch();
    kind.world.until("it was tried", |_| kind.said(TAKEN) == 1).await;
    // Theirs comes into being.
    kind.stage.make_node();
    kind.world.until("it is wired", |_| kind.wired(NODE)).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!((kind.said(TAKEN), kind.said(REMOVED), kind.has_node()), (1, 0, true));
    kind.ends(watch).await;
}
