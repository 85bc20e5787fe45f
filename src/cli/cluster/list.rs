//! `ksail cluster list`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde_json::json;
use tabwriter::TabWriter;

use super::super::{Exit, Global, OK, Output, print};
use super::named::{Named, all, hosts};
use crate::engine::ContainerState;
use crate::labels::{HOST, ROLE};
use crate::manifest::{ClusterName, shown};

#[derive(Debug, Args)]
#[command(after_help = "\
It needs no file: what there is says by its labels whose it is. 'ksail cluster delete --name NAME' removes it.")]
pub(in super::super) struct Arguments {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let clusters = all(global).await?;
    print(match arguments.output {
        Output::Json => {
            let all: Vec<_> = clusters.iter().map(|(cluster, named)| object(cluster, named)).collect();
            format!("{:#}\n", json!(all))
        }
        Output::Text if clusters.is_empty() => "No cluster has registries of ksail's on this engine.\n".to_owned(),
        Output::Text => clusters.iter().fold(table(&clusters), |text, (_, named)| text + &about_kept(named)),
    })?;
    Ok(OK)
}

fn table(clusters: &BTreeMap<ClusterName, Named>) -> String {
    let mut table = TabWriter::new(Vec::new()).padding(2);
    let mut rows = "CLUSTER\tREGISTRIES\tVOLUMES\tNODES\tMANIFEST\n".to_owned();
    for (cluster, named) in clusters {
        let runs = named.registries.iter().filter(|registry| registry.state == ContainerState::Running).count();
        let manifest = named.manifest.as_ref().map_or_else(|| "-".to_owned(), |path| shown(path).to_string());
        // Writing to a string does not fail.
        let _ = writeln!(
            rows,
            "{cluster}\t{runs}/{} running\t{}\t{}\t{manifest}",
            named.registries.len(),
            named.volumes.len(),
            named.nodes.len()
        );
    }
    let _ = std::io::Write::write_all(&mut table, rows.as_bytes());
    String::from_utf8_lossy(&table.into_inner().unwrap_or_default()).into_owned()
}

/// Volumes that nobody uses, which nothing else shows.
fn about_kept(named: &Named) -> String {
    let kept = named.volumes.iter().filter(|volume| named.is_kept(volume));
    kept.fold(String::new(), |mut text, volume| {
        let host = hosts(std::iter::once(&volume.labels)).into_iter().next().unwrap_or("-").to_owned();
        let _ = writeln!(text, "kept: volume {} of {host}", volume.name);
        text
    })
}

fn object(cluster: &ClusterName, named: &Named) -> serde_json::Value {
    let registries = named.registries.iter().map(|registry| {
        json!({
            "host": registry.labels.get(HOST),
            "role": registry.labels.get(ROLE),
            "container": registry.name,
            "state": registry.state.to_string(),
        })
    });
    let volumes = named
        .volumes
        .iter()
        .map(|volume| json!({"host": volume.labels.get(HOST), "name": volume.name, "kept": named.is_kept(volume)}));
    json!({
        "cluster": cluster.as_str(),
        "registries": registries.collect::<Vec<_>>(),
        "volumes": volumes.collect::<Vec<_>>(),
        "nodes": named.nodes.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "manifest": named.manifest,
    })
}
