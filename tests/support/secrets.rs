//! The search for secrets in everything that somebody may see.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::manifest::Mirror;
use super::scenario::{Finished, Scenario};
use super::watch::Watch;

/// What every command may show of a cluster as it is.
const COMMANDS: [&[&str]; 8] = [
    &["status", "-o", "json"],
    &["status", "-o", "wide"],
    &["status", "-o", "yaml"],
    &["diff", "-v"],
    &["validate"],
    &["mirror", "list", "-o", "json"],
    &["apply", "-vv"],
    &["apply", "-o", "json"],
];

/// What nobody may see, in all the forms in which it goes over a wire.
pub(crate) struct Secret {
    forms: Vec<String>,
    shows_in_environment: bool,
}

impl Secret {
    /// Of a user of an upstream.
    pub(crate) fn password(user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        Self { forms: vec![password.to_owned(), pair, STANDARD.encode(password)], shows_in_environment: false }
    }

    /// Of a user of a proxy. A registry takes it from its environment alone, where it cannot be hidden.
    pub(crate) fn proxy_password(user: &str, password: &str) -> Self {
        Self { shows_in_environment: true, ..Self::password(user, password) }
    }

    /// What an upstream gave for a password.
    pub(crate) fn token(token: &str) -> Self {
        Self { forms: vec![token.to_owned(), STANDARD.encode(token)], shows_in_environment: false }
    }
}

/// What was seen, and where.
pub(crate) struct Search {
    seen: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Search {
    /// All that the engine, the commands of ksail, and the files that it keeps show of a mirror that runs.
    pub(crate) fn of(scenario: &Scenario, mirror: &Mirror) -> Self {
        let (name, container) = (scenario.container_name(mirror), scenario.running(mirror));
        let docker = |words: &[&str]| {
            let output = scenario.docker.output(words);
            assert!(output.status.success(), "docker {}", words.join(" "));
            let both = [output.stdout, output.stderr].concat();
            (format!("docker {}", words.join(" ")), String::from_utf8_lossy(&both).into_owned())
        };
        let mut inspected = container.inspected.clone();
        let env = inspected.pointer_mut("/Config/Env").map(Value::take).unwrap_or_default();
        let mut seen = vec![
            ("docker inspect".to_owned(), inspected.to_string()),
            docker(&["volume", "inspect", &name]),
            docker(&["top", &name, "-eo", "pid,args"]),
            docker(&["logs", &name]),
        ];
        for words in COMMANDS {
            seen.push((format!("ksail {}", words.join(" ")), scenario.ksail(words).to_string()));
        }
        // The engine's own answers are in there, and of them the environment.
        let traced = scenario.ksail_with(&[("KSAIL_LOG", "trace")], &["apply"]).to_string();
        let environ = fs::read(format!("/proc/{}/environ", container.pid())).unwrap_or_default();
        let environment = vec![
            ("Env in docker inspect".to_owned(), env.to_string()),
            ("the environment of the registry".to_owned(), String::from_utf8_lossy(&environ).into_owned()),
            ("KSAIL_LOG=trace".to_owned(), traced),
        ];
        if let Some(directory) = scenario.environment.get("XDG_RUNTIME_DIR") {
            files_in(Path::new(directory), &mut seen);
        }
        Self { seen, environment }
    }

    /// And what a command has said.
    pub(crate) fn and_said(self, finished: &Finished) -> Self {
        self.and("a command", finished.to_string())
    }

    /// And what a watch has said so far, and shows of itself.
    pub(crate) fn and_watch(self, watch: &Watch) -> Self {
        let events: Vec<_> = watch.since(0).iter().map(|event| event.json.to_string()).collect();
        assert!(!events.is_empty());
        let arguments = fs::read(format!("/proc/{}/cmdline", watch.id())).unwrap_or_default();
        self.and("ksail watch", events.join("\n") + &watch.stderr())
            .and("the arguments of ksail watch", String::from_utf8_lossy(&arguments))
    }

    pub(crate) fn and(mut self, what: &str, text: impl Into<String>) -> Self {
        self.seen.push((what.to_owned(), text.into()));
        self
    }

    /// Nobody has seen any of them.
    pub(crate) fn finds_none_of(&self, secrets: &[Secret]) {
        for secret in secrets {
            let environment = self.environment.iter().filter(|_| !secret.shows_in_environment);
            for (what, text) in self.seen.iter().chain(environment) {
                for form in &secret.forms {
                    assert!(!text.contains(form), "{form} is in {what}: {text}");
                }
            }
        }
    }
}

/// All files below a directory.
fn files_in(directory: &Path, seen: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).expect("it is the test's own").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files_in(&path, seen);
        } else {
            let bytes = fs::read(&path).expect("it is the test's own");
            seen.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
