//! The text of a new `ksail.yaml`: what was asked for, and no more.

use std::fmt::Write as _;
use std::time::Duration;

use crate::manifest::{ClusterName, Distribution, Host, LIST_HEADING, Lifecycle, VolumePolicy};

/// Name of the schema's file, beside the manifest.
pub(super) const SCHEMA: &str = "ksail.schema.json";

/// What the file is to say; what is `None` is left out, and has its default.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) name: ClusterName,
    pub(super) distribution: Distribution,
    pub(super) distribution_config: String,
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) kubeconfig: Option<String>,
    pub(super) context: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) image: Option<String>,
    pub(super) volume_policy: Option<VolumePolicy>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) push: Vec<Host>,
}

/// A pull-through cache in it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) host: Host,
    pub(super) upstream: String,
    pub(super) port: u16,
}

impl Document {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\
# yaml-language-server: $schema=./{SCHEMA}
# The registries beside the cluster {name}. 'ksail watch' keeps them the way this file says.
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: {name}
spec:
  distribution: {distribution:?}
  distributionConfig: {config}
",
            name = self.name,
            distribution = self.distribution,
            config = scalar(&self.distribution_config),
        );
        self.settings(&mut text);
        text.push_str("  registries:\n");
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _ = writeln!(text, "    {key}: {value}");
            }
        };
        line("image", self.image.as_deref().map(scalar));
        line("volumePolicy", self.volume_policy.map(|policy| format!("{policy:?}")));
        self.list(&mut text);
        text
    }

    fn settings(&self, text: &mut String) {
        if let Some(lifecycle) = self.lifecycle {
            let _ = writeln!(text, "  lifecycle: {lifecycle:?}");
        }
        let connection = [
            ("kubeconfig", self.kubeconfig.as_deref().map(scalar)),
            ("context", self.context.as_deref().map(scalar)),
            ("timeout", self.timeout.map(duration)),
        ];
        if connection.iter().any(|(_, value)| value.is_some()) {
            text.push_str("  connection:\n");
        }
        for (key, value) in connection {
            if let Some(value) = value {
                let _ = writeln!(text, "    {key}: {value}");
            }
        }
    }

    fn list(&self, text: &mut String) {
        if self.mirrors.is_empty() && self.push.is_empty() {
            text.push_str("    # None yet: 'ksail mirror add docker.io' adds one.\n    mirrors: []\n");
            return;
        }
        text.push_str("    mirrors:\n");
        for (index, Mirror { host, upstream, port }) in self.mirrors.iter().enumerate() {
            if index == 0 {
                let _ = writeln!(text, "      # {LIST_HEADING}");
            }
            let _ =
                writeln!(text, "      - host: {host}\n        upstream: {}\n        port: {port}", scalar(upstream));
        }
        for (index, host) in self.push.iter().enumerate() {
            if index == 0 {
                let _ = writeln!(text, "      # To push to: docker push {host}/NAME:TAG");
            }
            let _ = writeln!(text, "      - host: {host}");
        }
    }
}

/// A text as YAML, in quotes where it would mean something else without.
fn scalar(text: &str) -> String {
    let plain = serde_yaml::from_str::<Vec<serde_yaml::Value>>(&format!("- {text}"));
    match plain {
        Ok(read) if read == [serde_yaml::Value::String(text.to_owned())] => text.to_owned(),
        // A JSON string is a YAML one.
        _ => serde_json::Value::String(text.to_owned()).to_string(),
    }
}

/// Whole seconds, as the manifest takes them.
fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
