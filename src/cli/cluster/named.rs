//! Clusters by what there is of them on the engine, whether there is a file or not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::context::{engine, in_force};
use super::super::{Exit, FAILED, Global};
use crate::engine::{ContainerSummary, Engine, EngineError, Volume};
use crate::labels::{CLUSTER, HOST, K3D_CLUSTER, KIND_CLUSTER, KSAIL, MANAGED_BY};
use crate::manifest::{self, ClusterName, Distribution, Manifest, State};

/// What there is of one cluster.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Its registries.
    pub(super) registries: Vec<ContainerSummary>,
    /// The volumes of its registries.
    pub(super) volumes: Vec<Volume>,
    /// Its nodes, and whose they are.
    pub(super) nodes: Vec<(String, Distribution)>,
    /// The file that keeps it.
    pub(super) manifest: Option<PathBuf>,
}

impl Named {
    /// Whether nobody uses a volume: its registry has gone, or never was.
    pub(super) fn is_kept(&self, volume: &Volume) -> bool {
        !self.registries.iter().any(|registry| registry.volumes.contains(&volume.name))
    }

    /// Kind is as good as any where there are no nodes.
    fn distribution(&self) -> Distribution {
        self.nodes.first().map_or(Distribution::Kind, |(_, distribution)| *distribution)
    }

    /// The manifest that has all of it removed: the registries, and with `Purged` what they hold. The cluster itself was
    /// made by somebody else, as far as anybody knows.
    pub(super) fn removed(&self, cluster: &ClusterName, state: State) -> Result<Manifest, Exit> {
        let distribution = self.distribution();
        let text = format!(
            "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: '{cluster}'\nspec:\n  state: {state:?}\n  \
             distribution: {distribution:?}\n  lifecycle: External\n"
        );
        // In no file.
        manifest::load_contents(Path::new(""), Ok(text.into_bytes()), &|_| None).map_err(Exit::problems)
    }
}

/// Every cluster that there is something of ksail's of.
pub(super) async fn all(global: &Global) -> Result<BTreeMap<ClusterName, Named>, Exit> {
    let (engine, _, address) = engine(global)?;
    let failed = |error: EngineError| Exit::new(FAILED, error.to_string());
    let ours = [(MANAGED_BY, Some(KSAIL))];
    let (containers, volumes) = futures_util::join!(engine.list_containers(&[]), engine.list_volumes(&ours));
    let (containers, volumes) = (containers.map_err(failed)?, volumes.map_err(failed)?);
    let mut clusters: BTreeMap<ClusterName, Named> = BTreeMap::new();
    let cluster_of = |labels: &BTreeMap<String, String>| labels.get(CLUSTER)?.parse::<ClusterName>().ok();
    for volume in volumes {
        if let Some(cluster) = cluster_of(&volume.labels) {
            clusters.entry(cluster).or_default().volumes.push(volume);
        }
    }
    let is_ours = |container: &ContainerSummary| container.labels.get(MANAGED_BY).is_some_and(|by| by == KSAIL);
    let (ours, others): (Vec<_>, Vec<_>) = containers.into_iter().partition(is_ours);
    for container in ours {
        if let Some(cluster) = cluster_of(&container.labels) {
            clusters.entry(cluster).or_default().registries.push(container);
        }
    }
    for (label, distribution) in [(KIND_CLUSTER, Distribution::Kind), (K3D_CLUSTER, Distribution::K3d)] {
        for container in &others {
            let cluster = container.labels.get(label).and_then(|name| name.parse::<ClusterName>().ok());
            if let Some(named) = cluster.and_then(|cluster| clusters.get_mut(&cluster)) {
                named.nodes.push((container.name.clone(), distribution));
            }
        }
    }
    for (cluster, named) in &mut clusters {
        named.registries.sort_by(|a, b| a.name.cmp(&b.name));
        named.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        named.nodes.sort_by(|a, b| a.0.cmp(&b.0));
        named.manifest = in_force(&address, cluster).ok().and_then(|record| record.keeper());
    }
    Ok(clusters)
}

/// The hosts of registries and volumes.
pub(super) fn hosts<'a>(labels: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeSet<&'a str> {
    labels.filter_map(|labels| labels.get(HOST).map(String::as_str)).collect()
}
