//! Registries that other machines can reach are told, each once, by whoever acts on it.

use tokio::sync::watch;

use super::*;
use crate::manifest::load_contents;

const AT_HOME: &str = "{host: docker.io, upstream: \"https://registry-1.docker.io\", port: 5001}";
const EVERYWHERE: &str =
    "{host: docker.io, upstream: \"https://registry-1.docker.io\", port: 5001, listenAddress: 0.0.0.0}";
const WITH_CREDENTIALS: &str = "{host: ghcr.io, upstream: \"https://ghcr.io\", port: 5002, listenAddress: 192.0.2.7, credentials: {username: \"${WHO}\", password: \"${WHO}\"}}";
const FOR_PUSHES: &str = "{host: \"localhost:5009\", listenAddress: 0.0.0.0}";

fn asking(mirrors: &[&str]) -> Desired {
    let text = mirrors.iter().fold(manifest_text(&[]), |text, mirror| format!("{text}      - {mirror}\n"));
    let manifest = load_contents(Path::new("ksail.yaml"), Ok(text.into_bytes()), &|_| Some("me".to_owned())).unwrap();
    resolve(&manifest, &ResolveContext::default())
}

fn told(world: &World) -> Vec<String> {
    let events = world.recorder.0.lock().unwrap();
    let exposed = events.iter().filter_map(|event| match event {
        Event::Exposed(exposure) => Some(exposure.to_string()),
        _ => None,
    });
    exposed.collect()
}

#[tokio::test(start_paused = true)]
async fn an_apply_tells_once_what_other_machines_can_reach_and_what_that_gives_them() {
    let world = World::new();
    let controller = Controller { reread: None, ..world.controller() };
    let desired = asking(&[EVERYWHERE, WITH_CREDENTIALS, FOR_PUSHES]);
    controller.apply(desired.clone(), LONG_ENOUGH, &world.stop).await;
    assert_eq!(
        told(&world),
        [
            "docker.io listens on 0.0.0.0: other machines can read from it",
            "ghcr.io listens on 192.0.2.7: other machines can read from it, and whoever does reads private images with its credentials",
            "localhost:5009 listens on 0.0.0.0: other machines can read from it and push to it",
        ]
    );
    world.recorder.0.lock().unwrap().clear();
    let gone = Desired { state: crate::manifest::State::Absent, ..desired };
    controller.apply(gone, LONG_ENOUGH, &world.stop).await;
    controller.apply(asking(&[AT_HOME]), LONG_ENOUGH, &world.stop).await;
    assert!(told(&world).is_empty(), "{:?}", told(&world));
}

#[tokio::test(start_paused = true)]
async fn that_a_proxys_password_shows_is_told_once_for_all_who_go_through_it() {
    const THROUGH: &str = "proxy: {https: \"http://${WHO}:${WHO}@proxy:3128\"}}";
    let world = World::new();
    let controller = Controller { reread: None, ..world.controller() };
    let (one, other) = (
        "{host: docker.io, upstream: \"https://registry-1.docker.io\", ",
        "{host: ghcr.io, upstream: \"https://ghcr.io\", ",
    );
    let desired = asking(&[&format!("{one}{THROUGH}"), &format!("{other}{THROUGH}")]);
    controller.apply(desired, LONG_ENOUGH, &world.stop).await;
    assert_eq!(
        told(&world),
        [
            "docker.io and 1 more: the proxy's password shows in `docker inspect`; a proxy of this machine that adds it needs none, as http://host.docker.internal:3128"
        ]
    );
    world.recorder.0.lock().unwrap().clear();
    controller
        .apply(asking(&[&format!("{one}proxy: {{https: \"http://proxy:3128\"}}}}")]), LONG_ENOUGH, &world.stop)
        .await;
    assert!(told(&world).is_empty(), "{:?}", told(&world));
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_it_when_the_file_makes_it_so_and_not_again_as_long_as_it_is() {
    let world = World::new();
    let (asked, intents) = watch::channel(Intent::careful(asking(&[AT_HOME])));
    let (controller, stop) = (Controller { reread: None, ..world.controller() }, world.stop.clone());
    let watch = tokio::spawn(async move { drop(controller.reconcile(intents, &stop).await) });
    let saves = async |mirrors: &[&str]| {
        asked.send_replace(Intent::careful(asking(mirrors)));
        sleep(Duration::from_secs(2)).await;
    };
    sleep(Duration::from_secs(2)).await;
    assert_eq!(told(&world).len(), 0);
    saves(&[EVERYWHERE]).await;
    assert_eq!(told(&world).len(), 1);
    saves(&[EVERYWHERE, FOR_PUSHES]).await;
    assert_eq!(told(&world).len(), 2, "{:?}", told(&world));
    saves(&[AT_HOME, FOR_PUSHES]).await;
    assert_eq!(told(&world).len(), 2);
    saves(&[EVERYWHERE, FOR_PUSHES]).await;
    assert_eq!(told(&world).len(), 3, "it is so anew");
    world.stop.cancel();
    watch.await.unwrap();
}
