//! What is known of the registry image in a container: only a look into it tells.

use super::*;
use crate::observed::OwnContainer;
use crate::registry::LIFETIME;

/// A registry that has credentials, of a version.
async fn of_version(version: &str) -> Scene {
    let scene = Scene::new().await;
    says_when_it_starts(&scene, version);
    let mirror = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap();
    let mut spec = mirror.container.clone();
    spec.env.insert(LIFETIME.0.to_owned(), LIFETIME.1.to_owned());
    scene.outsider().remove_container(DOCKER).await.unwrap();
    scene.starts(&spec).await;
    scene
}

fn says_when_it_starts(scene: &Scene, version: &str) {
    scene.engine.greets_with(&format!("level=warning msg=\"No HTTP secret\" go.version=go1.19.8 version={version}"));
}

async fn seen(scene: &Scene) -> OwnContainer {
    let observed = scene.observer.observe(&scene.desired).await.unwrap();
    observed.containers.into_iter().find(|found| found.container.name == DOCKER).unwrap()
}

#[tokio::test]
async fn the_version_of_one_with_credentials_is_read_once_for_each_of_its_runs() {
    let scene = of_version("2.8.2+ds1").await;
    assert_eq!(seen(&scene).await.major_version, Some(2));
    assert_eq!(seen(&scene).await.major_version, Some(2));
    assert_eq!(scene.calls("logs"), 1, "what it said when it started does not change, and others are not asked");
    says_when_it_starts(&scene, "3.1.1");
    let outsider = scene.outsider();
    outsider.remove_container(DOCKER).await.unwrap();
    let spec = scene.desired.mirrors.values().find(|mirror| mirror.name == DOCKER).unwrap().container.clone();
    let env = spec.env.clone().into_iter().chain([(LIFETIME.0.to_owned(), LIFETIME.1.to_owned())]).collect();
    scene.starts(&ContainerSpec { env, ..spec }).await;
    assert_eq!(seen(&scene).await.major_version, Some(3));
    assert_eq!(scene.calls("logs"), 2);
}

#[tokio::test]
async fn a_registry_that_reads_its_credentials_with_a_shell_is_looked_for_one() {
    for (version, has_shell, lacks_shell) in
        [("3.1.1", true, false), ("3.1.1", false, true), ("2.8.2", false, false), ("unknown", false, false)]
    {
        let scene = of_version(version).await;
        if !has_shell {
            scene.engine.without_program(DOCKER, "sh");
        }
        for _ in 0..2 {
            assert_eq!(seen(&scene).await.lacks_shell, lacks_shell, "{version}, shell: {has_shell}");
        }
        let looks = usize::from(version.starts_with('3'));
        assert_eq!(scene.calls("stat_path"), looks, "{version}: once for each of its runs");
    }
}
