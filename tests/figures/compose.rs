//! Docker compose, as its plugin or as the program of its own.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::contender::{Contender, Stage};
use crate::support::manifest::Mirror;
use crate::support::scenario::Scenario;
use crate::support::sweep;

/// `docker compose up -d`.
pub(crate) struct Compose {
    words: &'static [&'static str],
    version: String,
}

impl Compose {
    /// The one that is installed, the plugin before the older program.
    pub(crate) fn installed() -> Option<Self> {
        let ways: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        ways.into_iter().find_map(|words| {
            let answer = Command::new(words[0]).args(&words[1..]).args(["version", "--short"]).output().ok()?;
            let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            answer.status.success().then_some(Self { words, version })
        })
    }
}

impl Contender for Compose {
    fn name(&self) -> String {
        format!("{} {} up -d", self.words.join(" "), self.version)
    }

    fn bring_up(&self, _: Stage, scenario: &Scenario, mirrors: &[Mirror]) {
        let file = scenario.directory().join("compose.yaml");
        fs::write(&file, project(scenario, mirrors)).expect("its directory is ours");
        let done = Command::new(self.words[0])
            .args(&self.words[1..])
            .args(["--project-name", &scenario.cluster, "--file"])
            .arg(&file)
            .args(["up", "-d"])
            .env("COMPOSE_PARALLEL_LIMIT", "64")
            .output()
            .expect("compose runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn project(scenario: &Scenario, mirrors: &[Mirror]) -> String {
    let label = sweep::label();
    let (mut services, mut volumes) = (String::new(), String::new());
    for mirror in mirrors {
        let (name, port) = (scenario.container_name(mirror), mirror.host_port());
        let _ = write!(
            services,
            "  {name}:\n    container_name: {name}\n    image: registry:3\n    restart: always\n    \
             labels: [\"{label}\"]\n    ports: [\"127.0.0.1:{port}:5000\"]\n    \
             volumes: [\"{name}:/var/lib/registry\"]\n    networks: [default, cluster]\n"
        );
        let _ = write!(volumes, "  {name}:\n    name: {name}\n    labels: [\"{label}\"]\n");
    }
    // Compose knows no default bridge; its own network takes that place.
    format!(
        "version: \"3.7\"\nservices:\n{services}volumes:\n{volumes}networks:\n  default:\n    labels: [\"{label}\"]\n  \
         cluster:\n    external: true\n    name: {}\n",
        scenario.network
    )
}
