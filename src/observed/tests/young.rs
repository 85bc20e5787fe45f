//! Nodes that are being made: what containerd is told in them is not final.

use super::*;
use crate::distribution::containerd::RegistryConfig;

/// What a containerd of kind says of its settings: whether kind has patched its file.
fn dumps(scene: &Scene, is_patched: Arc<Mutex<bool>>) {
    scene.engine.on_exec(move |_, exec| {
        let stdout = match exec.command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["containerd", "config", "dump"] => {
                let path = if *is_patched.lock().unwrap() { HOSTS } else { "" };
                format!("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{path}\"\n")
            }
            ["containerd", "--version"] => "containerd containerd.io 1.7.24 abc".to_owned(),
            _ => return None,
        };
        Some(Executed { exit_code: 0, stdout, stderr: String::new() })
    });
}

async fn set_up(scene: &Scene, id: &str) {
    let archive = archive::pack([("etc/kubernetes/kubelet.conf", 0o600, &b"x"[..])].into_iter(), 0).unwrap();
    scene.outsider().put_archive(id, "/", archive).await.unwrap();
}

fn config(scene: &Scene) -> RegistryConfig {
    scene.observed().unwrap().nodes[0].registry_config.clone()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_kind_has_not_patched_yet_is_no_cause_for_alarm() {
    let scene = Scene::new().await;
    let is_patched = Arc::new(Mutex::new(false));
    dumps(&scene, Arc::clone(&is_patched));
    let id = scene.starts(&node(NODE, "control-plane")).await;
    scene.connects();
    let reading = scene.is_read(true);
    sleep(Duration::from_secs(2)).await;
    assert!(matches!(config(&scene), RegistryConfig::Unknown(_)), "{:?}", config(&scene));
    *is_patched.lock().unwrap() = true;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(config(&scene), RegistryConfig::Directory(HOSTS.to_owned()));
    set_up(&scene, &id).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(config(&scene), RegistryConfig::Directory(HOSTS.to_owned()));
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_set_up_or_not_young_any_more_is_told_of_without_anybody_waking_up_for_it() {
    let scene = Scene::new().await;
    dumps(&scene, Arc::default());
    let id = scene.starts(&node(NODE, "control-plane")).await;
    set_up(&scene, &id).await;
    scene.connects();
    let reading = scene.is_read(true);
    sleep(Duration::from_secs(2)).await;
    assert!(config(&scene).is_known_to_be_wrong(), "{:?}", config(&scene));
    reading.abort();

    let scene = Scene::new().await;
    dumps(&scene, Arc::default());
    scene.starts(&node(NODE, "control-plane")).await;
    scene.connects();
    let reading = scene.is_read(true);
    sleep(Duration::from_secs(20)).await;
    assert!(!config(&scene).is_known_to_be_wrong(), "{:?}", config(&scene));
    sleep(Duration::from_secs(40)).await;
    assert!(config(&scene).is_known_to_be_wrong(), "{:?}", config(&scene));
    let asked = scene.calls("exec");
    assert!(asked <= 20, "{asked} programs were run in it");
    reading.abort();
}
