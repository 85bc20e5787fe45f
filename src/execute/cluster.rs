//! Creating and deleting a cluster with its distribution's program.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::executor::Executor;
use crate::distribution::existing::rules_itself_out;
use crate::distribution::{create_arguments, delete_arguments, is_of_cluster, node_layout, provisioner};
use crate::engine::{ContainerSummary, Engine, EngineError};
use crate::event::Event;
use crate::labels::{CLUSTER, K3D_NETWORK, KSAIL, MANAGED_BY, is_ours};
use crate::limit::FILE;
use crate::manifest::Distribution;
use crate::observed::{NetworkRef, is_a_mirrors, is_k3ds};
use crate::outcome::Failure;
use crate::plan::{Action, ClusterSpec, Subject, Target};
use crate::probe::Probe;
use crate::provisioner::ProvisionError;

/// The engine has this long to finish a node that a program asked for and was ended before it heard of it: a second is
/// twice what that takes on a loaded machine.
const COMES_WITHIN: Duration = Duration::from_secs(1);
/// Whoever waits for the end of a creation that has failed does not wait longer for what is in nobody's way.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

impl<E: Engine, P: Probe> Executor<E, P> {
    /// Creates a cluster where there is none. What a run that failed or was stopped has left is for the next sequence
    /// of this subject to delete.
    pub(super) async fn create_cluster(
        &self,
        subject: &Subject,
        cluster: &ClusterSpec,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let ClusterSpec { name, distribution, provisioning, .. } = cluster;
        if let Some(config) = &provisioning.config
            && FILE.read_text_file(config).is_ok_and(|text| rules_itself_out(*distribution, &text))
        {
            return Err(ProvisionError::DeadNodes { config: config.clone() }.into());
        }
        let arguments = create_arguments(*distribution, name, provisioning.config.as_deref(), provisioning.timeout);
        let created = self.provision(subject, cluster, &arguments, stop).await;
        match created {
            Ok(()) if !self.exists(cluster).await? => {
                let engine = self.engine.info().await.map(|info| info.address).unwrap_or_default();
                let program = provisioner(*distribution).name;
                let command = format!("{program} {}", arguments.join(" "));
                Err(ProvisionError::MadeNothing { command, cluster: name.to_string(), engine }.into())
            }
            Ok(()) => Ok(()),
            Err(failure) if failure.says_it_exists() => {
                Err(ProvisionError::Appeared { cluster: name.to_string() }.into())
            }
            Err(failure) => {
                if matches!(failure, ProvisionError::Stopped { .. }) {
                    // What the program asked the engine for last may come into being after it has been ended.
                    sleep(COMES_WITHIN).await;
                }
                self.clear_network_of(cluster).await;
                Err(failure.into())
            }
        }
    }

    /// Whether nobody has created the cluster since it was looked for.
    pub(super) async fn is_still_missing(&self, cluster: &ClusterSpec) -> Result<bool, Failure> {
        if self.exists(cluster).await? {
            return Err(ProvisionError::Appeared { cluster: cluster.name.to_string() }.into());
        }
        Ok(true)
    }

    /// Deletes a cluster. The program is not stopped half-way: nobody has use for half a cluster. Nodes that are gone
    /// already are no obstacle to either program.
    pub(super) async fn delete_cluster(
        &self,
        subject: &Subject,
        cluster: &ClusterSpec,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        // A network that somebody is still on stays, and the cluster goes all the same.
        let _ = self.leave_network_of(cluster).await;
        let arguments = delete_arguments(cluster.distribution, &cluster.name);
        if cancel.is_cancelled() {
            let command = format!("{} {}", provisioner(cluster.distribution).name, arguments.join(" "));
            return Err(ProvisionError::Stopped { command }.into());
        }
        Ok(self.provision(subject, cluster, &arguments, &CancellationToken::new()).await?)
    }

    /// Takes registries off the network that is deleted with the cluster: k3d leaves one behind that somebody is on. They
    /// join it as soon as it is there, which is while the cluster is being created.
    async fn leave_network_of(&self, cluster: &ClusterSpec) -> Result<(), EngineError> {
        let of_cluster = self.containers_of(cluster).await?;
        let Some(name) = of_cluster.iter().find_map(|container| container.labels.get(K3D_NETWORK)) else {
            return Ok(());
        };
        self.leave(&NetworkRef::named(name), cluster).await
    }

    /// Takes this cluster's registries off a network.
    async fn leave(&self, network: &NetworkRef, cluster: &ClusterSpec) -> Result<(), EngineError> {
        let ours = [(MANAGED_BY, Some(KSAIL)), (CLUSTER, Some(cluster.name.as_str()))];
        for container in self.engine.list_containers(&ours).await? {
            // Labels alone may come from an image that was made of a mirror's container.
            if !is_a_mirrors(&container, cluster.name.as_str()) || self.inherits_labels(&container, cluster).await? {
                continue;
            }
            let target = Target { name: container.name, id: Some(container.id.clone()) };
            let action = Action::DisconnectNetwork { container: target, network: network.clone() };
            self.change(&action, &container.id).await?;
        }
        Ok(())
    }

    /// A program that has undone its creation leaves the network that registries have joined meanwhile. Where that cannot
    /// be removed it is in nobody's way.
    async fn clear_network_of(&self, cluster: &ClusterSpec) {
        if cluster.distribution != Distribution::K3d {
            return;
        }
        let cleared = async {
            if self.exists(cluster).await.unwrap_or(true) {
                return Ok(());
            }
            let networks = self.engine.list_networks().await;
            let networks =
                networks.map_err(|error| Failure::Engine { what: "cannot list networks".to_owned(), error })?;
            let Some(network) = networks.into_iter().find(|found| is_k3ds(found, cluster.distribution, &cluster.name))
            else {
                return Ok(());
            };
            let network = NetworkRef { id: network.id, name: network.name };
            let left = self.leave(&network, cluster).await;
            left.map_err(|error| Failure::Engine { what: format!("cannot leave network {}", network.name), error })?;
            self.remove_network(&network).await
        };
        match timeout(CLEARED_WITHIN, cleared).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(cluster = %cluster.name, %error, "its network stays"),
            Err(_) => debug!(cluster = %cluster.name, "its network stays: the engine does not answer"),
        }
    }

    /// Removes a network that nobody is on, which the engine is asked right before. It would remove one that a container
    /// is on which does not run, and that could not be started any more.
    pub(super) async fn remove_network(&self, network: &NetworkRef) -> Result<(), Failure> {
        let refused = |error| Failure::Engine { what: format!("cannot remove network {}", network.name), error };
        if let Some(container) = self.somebody_on(network).await.map_err(refused)? {
            return Err(Failure::NetworkInUse { network: network.name.clone(), container });
        }
        match self.engine.remove_network(&network.id).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            removed => removed.map_err(refused),
        }
    }

    /// The name of a container that is on a network, whether it runs or not.
    async fn somebody_on(&self, network: &NetworkRef) -> Result<Option<String>, EngineError> {
        for container in self.engine.list_containers(&[]).await? {
            match self.engine.inspect_container(&container.id).await {
                Ok(found) if network.endpoint_of(&found).is_some() => return Ok(Some(container.name)),
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn inherits_labels(&self, container: &ContainerSummary, of: &ClusterSpec) -> Result<bool, EngineError> {
        match self.engine.inspect_image(&container.image_id).await {
            Ok(image) => Ok(is_ours(&image.labels, of.name.as_str())),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn exists(&self, cluster: &ClusterSpec) -> Result<bool, Failure> {
        let found = self.containers_of(cluster).await;
        let found = found.map_err(|error| Failure::Engine { what: "cannot look for the cluster".to_owned(), error })?;
        Ok(!found.is_empty())
    }

    async fn containers_of(&self, cluster: &ClusterSpec) -> Result<Vec<ContainerSummary>, EngineError> {
        let label = (node_layout(cluster.distribution).cluster_label, Some(cluster.name.as_str()));
        let mut found = self.engine.list_containers(&[label]).await?;
        found.retain(|container| is_of_cluster(&container.labels, cluster.distribution, &cluster.name));
        Ok(found)
    }

    async fn provision(
        &self,
        subject: &Subject,
        cluster: &ClusterSpec,
        arguments: &[String],
        stop: &CancellationToken,
    ) -> Result<(), ProvisionError> {
        let kubeconfig = cluster.provisioning.kubeconfig.as_deref();
        let tell = |line: &str| {
            self.reporter.report(&Event::Output { subject: subject.clone(), line: line.to_owned() });
        };
        self.provisioner.run(&cluster.program, arguments, kubeconfig, &cluster.direct, stop, tell).await
    }
}
