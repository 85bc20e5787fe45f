//! The bench around the Docker engine of this machine.
//!
//! Everything made here carries the label `ksail-test-run=<process>.<its start>.<count>`. A bench removes what
//! carries its own value when it is dropped; the first one also removes what runs that died have left behind.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::models::{ContainerSummary, Network, NetworkCreateRequest, Volume};
use bollard::query_parameters::{
    KillContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptions,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions,
};
use ksail::engine::docker::Docker;
use ksail::engine::locate::{Address, locate};
use ksail::engine::{ContainerSpec, Engine};
use tokio::sync::OnceCell;

use crate::bench::{Bench, HeldPort, LOOPBACK};

const IMAGE: &str = "registry:3";
const WITH_PROGRAMS: &str = "ksail-test/silent:1";
const RUN: &str = "ksail-test-run";
const PREFIX: &str = "ksail-test-";

static BENCHES: AtomicU32 = AtomicU32::new(0);
static SWEPT: OnceCell<()> = OnceCell::const_new();

pub(crate) struct OnDocker {
    engine: Docker,
    world: World,
}

/// The engine as everybody else reaches it.
struct World {
    run: String,
}

impl OnDocker {
    pub(crate) async fn new() -> Self {
        let engine = Docker::new(address());
        engine.info().await.expect("these tests need a Docker engine");
        for image in [IMAGE, WITH_PROGRAMS] {
            let found = engine.inspect_image(image).await;
            found.unwrap_or_else(|_| panic!("these tests need {image}; tests/images/build makes it"));
        }
        SWEPT.get_or_init(sweep).await;
        let (process, started) = (std::process::id(), start_of(std::process::id()).unwrap_or_default());
        let run = format!("{process}.{started}.{}", BENCHES.fetch_add(1, Ordering::SeqCst));
        Self { engine, world: World { run } }
    }
}

fn address() -> Address {
    locate(None, &|name| std::env::var(name).ok(), std::env::home_dir().as_deref()).unwrap()
}

fn client() -> bollard::Docker {
    bollard::Docker::connect_with_host(&address().to_string()).unwrap()
}

impl Bench for OnDocker {
    type Engine = Docker;

    fn engine(&self) -> &Docker {
        &self.engine
    }

    fn image(&self) -> &str {
        IMAGE
    }

    fn image_with_programs(&self) -> &str {
        WITH_PROGRAMS
    }

    fn outsider(&self) -> Docker {
        Docker::new(address())
    }

    fn name(&self, what: &str) -> String {
        format!("{PREFIX}{}-{what}", self.world.run.replace('.', "-"))
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(RUN.to_owned(), self.world.run.clone())])
    }

    async fn create_network(&self, name: &str) -> String {
        let body = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(self.labels().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        client().create_network(body).await.unwrap().id
    }

    async fn pause(&self, container: &str) {
        client().pause_container(container).await.unwrap();
    }

    async fn kill(&self, container: &str) {
        client().kill_container(container, None::<KillContainerOptions>).await.unwrap();
    }

    fn crashing_spec(&self, what: &str) -> ContainerSpec {
        ContainerSpec { command: vec!["serve".to_owned(), "/no/such/file".to_owned()], ..self.spec(what) }
    }

    fn hold_port(&self) -> impl HeldPort {
        TcpListener::bind((LOOPBACK, 0)).unwrap()
    }
}

impl HeldPort for TcpListener {
    fn port(&self) -> u16 {
        self.local_addr().unwrap().port()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let run = std::mem::take(&mut self.run);
        // The runtime of the test may be about to end, so the clearing up has one of its own.
        let cleared = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clear(|value| value == run));
        });
        cleared.join().unwrap();
    }
}

/// Removes what runs have left behind whose process is gone.
async fn sweep() {
    clear(|run| {
        let mut parts = run.split('.');
        let process = parts.next().and_then(|process| process.parse().ok());
        let started = parts.next().and_then(|started| started.parse().ok());
        process.is_some_and(|process| started.is_some() && start_of(process) != started)
    })
    .await;
}

/// When a process started, in the kernel's own unit; `None` when there is no such process.
fn start_of(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program comes second, in brackets, and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The run in a name a bench has given: a volume that came along with a container has no labels.
fn run_in(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(4, '-');
    let run = [parts.next()?, parts.next()?, parts.next()?];
    run.iter().all(|part| part.parse::<u64>().is_ok()).then(|| run.join("."))
}

/// Removes every object whose run `is_over`.
async fn clear(is_over: impl Fn(&str) -> bool) {
    let docker = client();
    let with_run = HashMap::from([("label", vec![RUN])]);
    let over = |labels: &HashMap<String, String>| labels.get(RUN).is_some_and(|run| is_over(run));

    let all = ListContainersOptionsBuilder::default().all(true).filters(&with_run).build();
    for ContainerSummary { id, labels, .. } in docker.list_containers(Some(all)).await.unwrap() {
        if over(&labels.unwrap_or_default()) {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            // Another process may sweep at the same time.
            let _ = docker.remove_container(&id.unwrap(), Some(options)).await;
        }
    }
    let networks = ListNetworksOptionsBuilder::default().filters(&with_run).build();
    for Network { id, labels, .. } in docker.list_networks(Some(networks)).await.unwrap() {
        if over(&labels.unwrap_or_default()) {
            let _ = docker.remove_network(&id.unwrap()).await;
        }
    }
    let volumes = docker.list_volumes(None::<ListVolumesOptions>).await.unwrap().volumes;
    for Volume { name, labels, .. } in volumes.unwrap_or_default() {
        if over(&labels) || run_in(&name).is_some_and(|run| is_over(&run)) {
            let _ = docker.remove_volume(&name, None::<RemoveVolumeOptions>).await;
        }
    }
}
