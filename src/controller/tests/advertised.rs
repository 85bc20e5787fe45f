//! The `ConfigMap` that tells tools of the registry to push to, whoever else has a hand in it.

use super::played::*;
use super::uncooperative::{asking_in_words, refusal};
use super::*;
use crate::distribution::registry_hosting::{Advertised, RegistryHosting};
use crate::engine::memory::Call;
use crate::engine::{Executed, PublishedPort};

const THEIRS: &str = r#"{"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}, "data": {}}"#;

/// An API server with room for one object. Until it is up it refuses.
#[derive(Clone, Default)]
struct Api {
    is_up: Arc<Mutex<bool>>,
    kept: Arc<Mutex<Option<String>>>,
}

impl Api {
    fn of(kind: &Kind) -> Self {
        let api = Self::default();
        let asked = api.clone();
        kind.world.engine.on_exec(move |_, exec| {
            let has = |word: &str| exec.command.iter().any(|given| given == word);
            if !has("kubectl") {
                return None;
            }
            let is_up = *asked.is_up.lock().unwrap();
            let mut kept = asked.kept.lock().unwrap();
            let stdout = match () {
                () if !is_up => String::new(),
                () if has("get") => kept.clone().unwrap_or_default(),
                () => {
                    *kept = has("apply").then(|| String::from_utf8_lossy(&exec.stdin).into_owned());
                    String::new()
                }
            };
            let stderr = if is_up { String::new() } else { "connection refused".to_owned() };
            Some(Executed { exit_code: i64::from(!is_up), stdout, stderr })
        });
        api
    }

    fn comes_up(&self) {
        *self.is_up.lock().unwrap() = true;
    }

    fn holds(&self, text: Option<&str>) {
        *self.kept.lock().unwrap() = text.map(str::to_owned);
    }

    fn text(&self) -> Option<String> {
        self.kept.lock().unwrap().clone()
    }

    fn says(&self, hosting: &RegistryHosting) -> bool {
        self.text().is_some_and(|text| Advertised::read(&text).says(hosting))
    }
}

/// A cluster of somebody else's, with a registry to push to.
fn external() -> Kind {
    let kind = Kind::that_works();
    kind.asks(asking_in_words(manifest_text(&[]) + "      - {host: \"localhost:5009\"}\n"));
    kind
}

fn hosting(kind: &Kind) -> RegistryHosting {
    kind.asked.borrow().desired.hosting.clone().unwrap()
}

/// Its node is there, and a watch has told it.
async fn told() -> (Kind, Api, RegistryHosting, JoinHandle<()>) {
    let kind = external();
    let (api, wanted) = (Api::of(&kind), hosting(&kind));
    api.comes_up();
    kind.stage.make_node();
    let watch = kind.watch();
    kind.world.until("it is told", |_| api.says(&wanted)).await;
    (kind, api, wanted, watch)
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_or_edited_by_hand_is_put_right_at_the_next_resync_and_at_once_by_apply() {
    let (kind, api, wanted, watch) = told().await;
    let right = api.text().unwrap();
    for wrong in [None, Some(right.replace("localhost:5009", "localhost:1"))] {
        api.holds(wrong.as_deref());
        // A resync, give or take its jitter.
        sleep(Duration::from_secs(35)).await;
        assert!(api.says(&wanted), "{:?}", api.text());
    }
    kind.world.stop.cancel();
    watch.await.unwrap();

    let kind = Kind { world: World { stop: CancellationToken::new(), ..kind.world }, ..kind };
    api.holds(None);
    let began = Instant::now();
    kind.apply().await;
    assert!(api.says(&wanted) && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_another_tool_has_written_meanwhile_is_neither_overwritten_nor_deleted() {
    let (kind, api, _, watch) = told().await;
    // ksail remembers its own.
    api.holds(Some(THEIRS));
    kind.asks(asking_in_words(manifest_text(&[])));
    let refused = |event: &Event| matches!(event, Event::Action(report) if report.action == "WithdrawRegistry" && matches!(report.result, ActionResult::Failed(_)));
    kind.world.until("it is looked at before it is touched", |world| world.recorder.has(refused)).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!(api.text().as_deref(), Some(THEIRS));
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_told_within_seconds_of_its_api_servers_first_answer() {
    for silent_for in [1, 7, 40, 100] {
        let kind = external();
        let (api, wanted) = (Api::of(&kind), hosting(&kind));
        let watch = kind.watch();
        sleep(Duration::from_secs(5)).await;
        kind.stage.make_node();
        sleep(Duration::from_secs(silent_for)).await;
        api.comes_up();
        let up = Instant::now();
        kind.world.until("it is told", |_| api.says(&wanted)).await;
        assert!(up.elapsed() < Duration::from_secs(5), "silent for {silent_for} s, told after {:?}", up.elapsed());
        kind.ends(watch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_cannot_run_is_not_advertised_until_it_can() {
    let kind = external();
    let (api, wanted) = (Api::of(&kind), hosting(&kind));
    api.comes_up();
    kind.stage.make_node();
    let port = PublishedPort { container_port: 80, host_address: "127.0.0.1".parse().unwrap(), host_port: 5009 };
    let holder = ContainerSpec { ports: vec![port], ..node("holder", "nobody's") };
    let holder = ContainerSpec { labels: BTreeMap::new(), ..holder };
    let outsider = kind.world.engine.outsider();
    let id = outsider.create_container(&holder).await.unwrap();
    outsider.start_container(&id).await.unwrap();
    let watch = kind.watch();
    let is_told = |event: &Event| {
        matches!(event, Event::Condition { condition, .. }
        if condition.reason == Reason::NotAdvertised && condition.message.contains("port 5009 is held by container holder"))
    };
    kind.world.until("why is told", |world| world.recorder.has(is_told)).await;
    sleep(Duration::from_secs(40)).await;
    assert_eq!(api.text(), None);
    outsider.remove_container(&id).await.unwrap();
    kind.world.until("it is told", |_| api.says(&wanted)).await;
    kind.ends(watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_cannot_be_looked_at_stays_advertised() {
    let (kind, api, wanted, watch) = told().await;
    let name = "ksail-dev-localhost-5009";
    let is_it = move |call: &Call| call.name == "inspect_container" && call.container.as_deref() == Some(name);
    kind.world.engine.fail(is_it, usize::MAX, refusal("layer does not exist"));
    kind.world.engine.outsider().restart_container(name, 0).await.unwrap();
    let is_told = |event: &Event| matches!(event, Event::Condition { condition, .. } if condition.message.contains("layer does not exist"));
    kind.world.until("that is told", |world| world.recorder.has(is_told)).await;
    sleep(Duration::from_secs(40)).await;
    assert!(api.says(&wanted), "{:?}", api.text());
    let withdrawn = kind.places(|event| is_action(event, "WithdrawRegistry"));
    assert!(withdrawn.is_empty(), "not even for a moment");
    kind.ends(watch).await;
}
