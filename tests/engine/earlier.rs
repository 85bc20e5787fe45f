//! Mirrors as the first version of ksail made them (commit 360c19d), by `docker` alone: what an upgrade meets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, text};

const STORAGE: &str = "/var/lib/registry";

/// What a mirror was made of.
pub(crate) struct Earlier<'a> {
    scenario: &'a Scenario,
    mirror: &'a Mirror,
    image: &'a str,
    /// For the upstream: user and password.
    credentials: Option<(&'a str, &'a str)>,
}

impl<'a> Earlier<'a> {
    pub(crate) fn of(scenario: &'a Scenario, mirror: &'a Mirror) -> Self {
        Self { scenario, mirror, image: "registry:3", credentials: None }
    }

    pub(crate) fn on_image(self, image: &'a str) -> Self {
        Self { image, ..self }
    }

    pub(crate) fn with_credentials(self, user: &'a str, password: &'a str) -> Self {
        Self { credentials: Some((user, password)), ..self }
    }

    /// Makes its volume and its container, in the order of then, and starts it.
    pub(crate) fn make(&self) {
        let (docker, name) = (&self.scenario.docker, self.name());
        let label = |(key, value): (String, String)| ["--label".to_owned(), format!("{key}={value}")];
        let volume = ["volume", "create"].map(str::to_owned).into_iter();
        docker.run(&volume.chain(self.owner().into_iter().flat_map(label)).chain([name.clone()]).collect::<Vec<_>>());

        let mut create: Vec<String> = ["create", "--pull", "never", "--name", &name].map(str::to_owned).into();
        create.extend(self.labels().into_iter().flat_map(label));
        create.extend(self.env().iter().flat_map(|(key, value)| ["--env".to_owned(), format!("{key}={value}")]));
        create.extend(["--publish".to_owned(), format!("127.0.0.1:{}:5000", self.mirror.host_port())]);
        create.extend(["--mount".to_owned(), format!("type=volume,source={name},target={STORAGE}")]);
        create.extend(["--restart", "always", self.image].map(str::to_owned));
        create.extend(self.command());
        docker.run(&create);
        self.put_files();
        docker.run(&["network", "connect", "--alias", &name, &self.scenario.network, &name]);
        docker.run(&["start", &name]);
    }

    fn name(&self) -> String {
        self.scenario.container_name(self.mirror)
    }

    fn owner(&self) -> BTreeMap<String, String> {
        let role = if self.mirror.upstream.is_some() { "mirror" } else { "push" };
        let owner =
            [("managed-by", "ksail"), ("cluster", &self.scenario.cluster), ("host", &self.mirror.host), ("role", role)];
        owner.map(|(key, value)| (format!("ksail.dev/{key}"), value.to_owned())).into()
    }

    /// With the digests by which that version knew what had changed.
    fn labels(&self) -> BTreeMap<String, String> {
        let (name, ports) = (self.name(), [(5000, "127.0.0.1", self.mirror.host_port())]);
        let spec = json!([name, self.image, self.command(), ports, [(&name, STORAGE)]]);
        let mut labels = self.owner();
        labels.insert("ksail.dev/spec-hash".to_owned(), hash(&spec.to_string()));
        labels.insert("ksail.dev/config-hash".to_owned(), hash(&json!(self.env()).to_string()));
        labels
    }

    fn env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: &str| env.insert(format!("REGISTRY_{name}"), value.to_owned());
        set("HTTP_ADDR", ":5000");
        set("HTTP_DEBUG_ADDR", ":5001");
        match &self.mirror.upstream {
            Some(upstream) => {
                set("PROXY_REMOTEURL", upstream);
                set("PROXY_TTL", "0s");
                set("PROXY_EXEC_COMMAND", "/ksail/credential-helper");
            }
            None => {
                set("STORAGE_DELETE_ENABLED", "true");
            }
        }
        env
    }

    fn command(&self) -> Vec<String> {
        self.credentials.map(|_| ["serve", "/ksail/registry.yml"].map(str::to_owned).into()).unwrap_or_default()
    }

    fn put_files(&self) {
        let (Some((user, password)), Some(upstream)) = (self.credentials, &self.mirror.upstream) else { return };
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": STORAGE}},
            "http": {"addr": ":5000"},
            "proxy": {"remoteurl": upstream, "username": user, "password": password},
        });
        let answer = json!({"ServerURL": upstream, "Username": user, "Secret": password});
        let helper = "#!/bin/sh\nread -r answer </ksail/credentials.json\nprintf '%s\\n' \"$answer\"\n";
        let directory = self.scenario.home.path().join("ksail");
        fs::create_dir(&directory).expect("a directory of the test's own");
        for (name, mode, content) in [
            ("registry.yml", 0o400, config.to_string()),
            ("credentials.json", 0o400, format!("{answer}\n")),
            ("credential-helper", 0o500, helper.to_owned()),
        ] {
            let file = directory.join(name);
            fs::write(&file, content).expect("it can be written");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is the test's own");
        }
        self.scenario.docker.run(&["cp", text(&directory), &format!("{}:/", self.name())]);
    }
}

/// First 16 hexadecimal digits of a SHA-256.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..8].iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
