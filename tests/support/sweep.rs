//! Names and labels that tie what a test makes to the test process, and the removal of what dead ones left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Once;

use super::docker::Docker;

const PREFIX: &str = "kt";
const LABEL: &str = "ksail-test.run";
const CLUSTER_LABEL: &str = "ksail.dev/cluster";

/// What every name made by this process begins with.
pub(crate) fn prefix() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// The label of every object made by the tests themselves.
pub(crate) fn label() -> String {
    format!("{LABEL}={}", std::process::id())
}

/// Removes, once per run, what runs that are no longer alive left behind.
pub(crate) fn once(docker: &Docker) {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let dead = |run: &str| !run.is_empty() && !Path::new("/proc").join(run).exists();
        let cluster_run = |cluster: &str| {
            let run: String = cluster.strip_prefix(PREFIX)?.chars().take_while(char::is_ascii_digit).collect();
            Some(run)
        };
        for (id, run) in labelled(docker, "ps", "{{.ID}}", LABEL) {
            remove_if(dead(&run), docker, &["rm", "-fv", &id]);
        }
        for (id, cluster) in labelled(docker, "ps", "{{.ID}}", CLUSTER_LABEL) {
            remove_if(cluster_run(&cluster).is_some_and(|run| dead(&run)), docker, &["rm", "-fv", &id]);
        }
        for (id, run) in labelled(docker, "network", "{{.ID}}", LABEL) {
            remove_if(dead(&run), docker, &["network", "rm", &id]);
        }
        for (name, run) in labelled(docker, "volume", "{{.Name}}", LABEL) {
            remove_if(dead(&run), docker, &["volume", "rm", &name]);
        }
        for (name, cluster) in labelled(docker, "volume", "{{.Name}}", CLUSTER_LABEL) {
            remove_if(cluster_run(&cluster).is_some_and(|run| dead(&run)), docker, &["volume", "rm", &name]);
        }
        for name in volumes_of_mirrors(docker, PREFIX) {
            let cluster = name.trim_start_matches("ksail-");
            remove_if(cluster_run(cluster).is_some_and(|run| dead(&run)), docker, &["volume", "rm", &name]);
        }
    });
}

/// Removes everything of one cluster and everything this process made with the cluster's name in its own.
pub(crate) fn cluster(docker: &Docker, name: &str) {
    let of_cluster = format!("{CLUSTER_LABEL}={name}");
    let ours = label();
    let named = |kind: &str, id: &str| {
        let all =
            listed(docker, kind, &ours, &format!("{id}\t{{{{.{}}}}}", if kind == "ps" { "Names" } else { "Name" }));
        all.into_iter().filter(|(_, called)| called.contains(name)).map(|(id, _)| id).collect::<Vec<_>>()
    };
    remove(docker, &["rm", "-fv"], [docker.containers_labelled(&of_cluster), named("ps", "{{.ID}}")].concat());
    let volumes =
        [docker.volumes_labelled(&of_cluster), named("volume", "{{.Name}}"), volumes_of_mirrors(docker, name)];
    remove(docker, &["volume", "rm"], volumes.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect());
    remove(docker, &["network", "rm"], named("network", "{{.ID}}"));
}

/// Volumes with the name of a mirror's, which may have no label: those the engine has made for a container, or a test.
fn volumes_of_mirrors(docker: &Docker, cluster: &str) -> Vec<String> {
    let prefix = format!("ksail-{cluster}");
    let named = docker.lines(&["volume", "ls", "--filter", &format!("name={prefix}"), "--format", "{{.Name}}"]);
    named.into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

/// Removes several objects by one command, which does them at once.
fn remove(docker: &Docker, command: &[&str], objects: Vec<String>) {
    if !objects.is_empty() {
        let command = command.iter().map(|word| (*word).to_owned());
        let _ = docker.output(&command.chain(objects).collect::<Vec<_>>());
    }
}

fn labelled(docker: &Docker, kind: &str, id: &str, label: &str) -> Vec<(String, String)> {
    listed(docker, kind, label, &format!("{id}\t{{{{.Label \"{label}\"}}}}"))
}

/// Pairs that `format` prints with a tab between them.
fn listed(docker: &Docker, kind: &str, label: &str, format: &str) -> Vec<(String, String)> {
    let filter = format!("label={label}");
    let mut args = if kind == "ps" { vec!["ps", "-a"] } else { vec![kind, "ls"] };
    args.extend(["--filter", &filter, "--format", format]);
    // Not `lines`: trimming would eat the tab of a last line with an empty second half.
    let output = docker.output(&args).stdout;
    let pair = |line: &str| line.split_once('\t').map(|(id, value)| (id.to_owned(), value.to_owned()));
    String::from_utf8_lossy(&output).lines().filter_map(pair).collect()
}

fn remove_if(condition: bool, docker: &Docker, args: &[&str]) {
    if condition {
        let _ = docker.output(args);
    }
}
