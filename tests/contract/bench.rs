//! What the suite needs besides the engine itself: the rest of the world.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ksail::engine::{ContainerSpec, Engine, PublishedPort};

/// How long anything may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at while it is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A program of [`Bench::image_with_programs`] that writes `out` and, as an error, `err`, and ends with 3.
pub(crate) const SAYS: [&str; 4] = ["busybox", "sh", "-c", "echo out; echo err >&2; exit 3"];

/// One that writes what it reads.
pub(crate) const CAT: [&str; 2] = ["busybox", "cat"];

/// One that takes long.
pub(crate) const SLEEP: [&str; 3] = ["busybox", "sleep", "60"];

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An engine and the world around it. What a test makes through it is gone when the bench is dropped.
pub(crate) trait Bench: Sized {
    type Engine: Engine;

    fn engine(&self) -> &Self::Engine;
    /// An image that is in the store, and whose containers run until they are stopped.
    fn image(&self) -> &str;
    /// Another one, with `busybox`: its `rm`, `rmdir` and `tee`, and [`SAYS`], [`CAT`] and [`SLEEP`].
    fn image_with_programs(&self) -> &str;
    /// The engine as somebody else reaches it.
    fn outsider(&self) -> Self::Engine;
    /// A name no other test uses.
    fn name(&self, what: &str) -> String;
    /// Labels every object of a test carries.
    fn labels(&self) -> BTreeMap<String, String>;
    /// Creates a network, also when others have that name, and returns its id.
    fn create_network(&self, name: &str) -> impl Future<Output = String>;
    fn pause(&self, container: &str) -> impl Future<Output = ()>;
    fn kill(&self, container: &str) -> impl Future<Output = ()>;
    /// A container whose process ends with a failure as soon as it is started.
    fn crashing_spec(&self, what: &str) -> ContainerSpec;
    /// Lets another process listen on a port of the loopback address until the answer is dropped.
    fn hold_port(&self) -> impl HeldPort;

    /// What the suite creates containers from, unless it is about something else.
    fn spec(&self, what: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(what),
            image: self.image().to_owned(),
            command: Vec::new(),
            env: BTreeMap::new(),
            labels: self.labels(),
            ports: Vec::new(),
            volumes: Vec::new(),
            restart_policy: "no".to_owned(),
            log_options: BTreeMap::new(),
            extra_hosts: Vec::new(),
        }
    }

    /// A running container.
    fn running(&self, what: &str) -> impl Future<Output = String> {
        self.started(self.spec(what))
    }

    /// A running container with programs to run.
    fn with_programs(&self, what: &str) -> impl Future<Output = String> {
        self.started(ContainerSpec { image: self.image_with_programs().to_owned(), ..self.spec(what) })
    }

    fn started(&self, spec: ContainerSpec) -> impl Future<Output = String> {
        async move {
            let id = self.engine().create_container(&spec).await.unwrap();
            self.engine().start_container(&id).await.unwrap();
            id
        }
    }
}

/// A port some process listens on.
pub(crate) trait HeldPort {
    fn port(&self) -> u16;
}

pub(crate) fn ephemeral(container_port: u16) -> PublishedPort {
    published(container_port, 0)
}

pub(crate) fn published(container_port: u16, host_port: u16) -> PublishedPort {
    PublishedPort { container_port, host_address: LOOPBACK, host_port }
}
