//! The bench around the engine in memory.

use std::collections::BTreeMap;

use ksail::engine::memory::Memory;
use ksail::engine::{ContainerSpec, Exec, Executed, Image};

use crate::bench::{Bench, CAT, HeldPort, LOOPBACK, SAYS};

const IMAGE: &str = "registry:3";
const SOME_PORT: u16 = 40_000;

pub(crate) struct OnMemory {
    engine: Memory,
}

impl OnMemory {
    pub(crate) fn new() -> Self {
        let engine = Memory::new();
        let image = Image {
            id: String::new(),
            entrypoint: vec!["/entrypoint.sh".to_owned()],
            command: vec!["/etc/distribution/config.yml".to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            labels: BTreeMap::from([("of-the-image".to_owned(), "yes".to_owned())]),
        };
        engine.add_image(IMAGE, image);
        engine.on_exec(|_, exec| program(exec));
        Self { engine }
    }
}

/// The programs that the engine in memory does not have itself.
fn program(exec: &Exec) -> Option<Executed> {
    let ended = |exit_code, stdout: &[u8], stderr: &str| {
        let stdout = String::from_utf8_lossy(stdout).into_owned();
        Some(Executed { exit_code, stdout, stderr: stderr.to_owned() })
    };
    match &exec.command {
        command if *command == SAYS => ended(3, b"out\n", "err\n"),
        command if *command == CAT => ended(0, &exec.stdin, ""),
        _ => None,
    }
}

impl Bench for OnMemory {
    type Engine = Memory;

    fn engine(&self) -> &Memory {
        &self.engine
    }

    fn image(&self) -> &str {
        IMAGE
    }

    fn image_with_programs(&self) -> &str {
        IMAGE
    }

    fn outsider(&self) -> Memory {
        self.engine.outsider()
    }

    fn name(&self, what: &str) -> String {
        what.to_owned()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("ksail-test-run".to_owned(), "memory".to_owned())])
    }

    async fn create_network(&self, name: &str) -> String {
        self.engine.create_labelled_network(name, self.labels())
    }

    async fn pause(&self, container: &str) {
        self.engine.pause(container).unwrap();
    }

    async fn kill(&self, container: &str) {
        self.engine.kill(container, 137).unwrap();
    }

    fn crashing_spec(&self, what: &str) -> ContainerSpec {
        let spec = self.spec(what);
        self.engine.crash_on_start(&spec.name, Some(1));
        spec
    }

    fn hold_port(&self) -> impl HeldPort {
        self.engine.hold_port(LOOPBACK, SOME_PORT);
        Held { engine: self.engine.clone() }
    }
}

struct Held {
    engine: Memory,
}

impl HeldPort for Held {
    fn port(&self) -> u16 {
        SOME_PORT
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.release_port(LOOPBACK, SOME_PORT);
    }
}
