//! A container that somebody made like a mirror's, by `docker`.

use std::collections::BTreeMap;

use super::support::docker::Container;

/// How to make it, before it is changed in one thing.
pub(crate) struct Impostor {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) publish: String,
    pub(crate) volume: String,
    pub(crate) restart: String,
    pub(crate) log: BTreeMap<String, String>,
    pub(crate) command: Vec<String>,
}

impl Impostor {
    pub(crate) fn of(original: &Container) -> Self {
        let (address, port) = original.bindings().first().cloned().expect("it publishes a port");
        let mut env = original.env();
        env.retain(|key, _| key.starts_with("REGISTRY_"));
        let mut labels = original.labels();
        labels.retain(|key, _| key.starts_with("ksail.dev/") && key != "ksail.dev/test-image");
        Self {
            name: original.name(),
            image: original.image(),
            labels,
            env,
            publish: format!("{address}:{port}:5000"),
            volume: format!("{}:/var/lib/registry", original.name()),
            restart: original.restart_policy(),
            log: original.log_options(),
            command: Vec::new(),
        }
    }

    /// Arguments of `docker` that create it.
    pub(crate) fn create(&self) -> Vec<String> {
        let mut args: Vec<String> = ["create", "--pull", "never", "--name", &self.name].map(str::to_owned).into();
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        self.labels.iter().for_each(|(key, value)| option("--label", format!("{key}={value}")));
        self.env.iter().for_each(|(key, value)| option("--env", format!("{key}={value}")));
        option("--publish", self.publish.clone());
        option("--volume", self.volume.clone());
        option("--restart", self.restart.clone());
        self.log.iter().for_each(|(key, value)| option("--log-opt", format!("{key}={value}")));
        args.push(self.image.clone());
        args.extend(self.command.iter().cloned());
        args
    }
}
