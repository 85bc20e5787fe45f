//! The engine as the `docker` command shows it: an eye that shares no code with ksail.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;

/// An engine, by address; `None` is the one the environment names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Docker {
    host: Option<String>,
}

impl Docker {
    pub(crate) fn at(host: impl Into<String>) -> Self {
        Self { host: Some(host.into()) }
    }

    /// The address, if it is not simply the environment's.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub(crate) fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    pub(crate) fn output<S: AsRef<str>>(&self, args: &[S]) -> Output {
        self.command(args).output().expect("the docker command runs")
    }

    /// Runs `docker ARGS` and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub(crate) fn run<S: AsRef<str>>(&self, args: &[S]) -> String {
        let output = self.output(args);
        let words: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        assert!(output.status.success(), "docker {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// [`Docker::run`], with words that have no spaces in them.
    pub(crate) fn line(&self, words: &str) -> String {
        self.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn lines(&self, args: &[&str]) -> Vec<String> {
        self.run(args).lines().map(str::to_owned).collect()
    }

    /// A container by name, if there is one.
    pub(crate) fn container(&self, name: &str) -> Option<Container> {
        let output = self.output(&["container", "inspect", name]);
        if !output.status.success() {
            return None;
        }
        let mut found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("docker inspect prints JSON");
        found.pop().map(|inspected| Container { inspected })
    }

    /// Names of all containers, running or not, with this label.
    pub(crate) fn containers_labelled(&self, label: &str) -> Vec<String> {
        self.lines(&["ps", "-a", "--filter", &format!("label={label}"), "--format", "{{.Names}}"])
    }

    pub(crate) fn volumes_labelled(&self, label: &str) -> Vec<String> {
        self.lines(&["volume", "ls", "--filter", &format!("label={label}"), "--format", "{{.Name}}"])
    }
}

/// What `docker inspect` says of a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    pub(crate) inspected: Value,
}

impl Container {
    fn text(&self, pointer: &str) -> String {
        self.inspected.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(crate) fn id(&self) -> String {
        self.text("/Id")
    }

    pub(crate) fn name(&self) -> String {
        self.text("/Name").trim_start_matches('/').to_owned()
    }

    /// `running`, `paused`, `exited` …
    pub(crate) fn state(&self) -> String {
        self.text("/State/Status")
    }

    pub(crate) fn started_at(&self) -> String {
        self.text("/State/StartedAt")
    }

    pub(crate) fn pid(&self) -> u64 {
        self.inspected.pointer("/State/Pid").and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn restart_policy(&self) -> String {
        self.text("/HostConfig/RestartPolicy/Name")
    }

    pub(crate) fn image(&self) -> String {
        self.text("/Config/Image")
    }

    /// Options of its log driver.
    pub(crate) fn log_options(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.inspected.pointer("/HostConfig/LogConfig/Config").cloned().unwrap_or_default())
            .unwrap_or_default()
    }

    /// Id and start time: what stays when nobody touches a container.
    pub(crate) fn identity(&self) -> (String, String) {
        (self.id(), self.started_at())
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.inspected.pointer("/Config/Labels").cloned().unwrap_or_default())
            .unwrap_or_default()
    }

    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let pairs: Vec<String> =
            serde_json::from_value(self.inspected.pointer("/Config/Env").cloned().unwrap_or_default())
                .unwrap_or_default();
        pairs.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// Its address on a network that it is on.
    pub(crate) fn address_on(&self, network: &str) -> String {
        let endpoint = self.inspected.pointer("/NetworkSettings/Networks").and_then(|all| all.get(network));
        let address = endpoint.and_then(|endpoint| endpoint["IPAddress"].as_str());
        address.unwrap_or_else(|| panic!("{} is on {network}", self.name())).to_owned()
    }

    pub(crate) fn aliases(&self, network: &str) -> Vec<String> {
        let endpoint = self.inspected.pointer("/NetworkSettings/Networks").and_then(|all| all.get(network));
        serde_json::from_value(endpoint.and_then(|e| e.get("Aliases")).cloned().unwrap_or_default()).unwrap_or_default()
    }

    /// `(address, port)` pairs that the container asks for on the host, for port 5000 inside.
    pub(crate) fn bindings(&self) -> Vec<(String, String)> {
        self.host_ports("/HostConfig/PortBindings/5000~1tcp")
    }

    /// `(address, port)` pairs bound on the host now.
    pub(crate) fn bound(&self) -> Vec<(String, String)> {
        self.host_ports("/NetworkSettings/Ports/5000~1tcp")
    }

    fn host_ports(&self, pointer: &str) -> Vec<(String, String)> {
        let field = |binding: &Value, key: &str| binding[key].as_str().unwrap_or_default().to_owned();
        self.inspected
            .pointer(pointer)
            .and_then(Value::as_array)
            .map(|all| all.iter().map(|b| (field(b, "HostIp"), field(b, "HostPort"))).collect())
            .unwrap_or_default()
    }

    /// `(type, volume name, target)` of everything mounted.
    pub(crate) fn mounts(&self) -> Vec<(String, String, String)> {
        let field = |mount: &Value, key: &str| mount[key].as_str().unwrap_or_default().to_owned();
        self.inspected["Mounts"]
            .as_array()
            .map(|all| all.iter().map(|m| (field(m, "Type"), field(m, "Name"), field(m, "Destination"))).collect())
            .unwrap_or_default()
    }
}
