//! Networks, and who is on them.

use super::world::{SUBNET, World, no_such_container};
use crate::engine::{Endpoint, EngineError, Network, Result};
use crate::labels::Labels;

impl World {
    pub(super) fn list_networks(&self) -> Vec<Network> {
        self.in_order(self.networks.values().cloned())
    }

    /// The network with this id or, if only one has it, this name.
    pub(super) fn network(&self, wanted: &str) -> Result<&Network> {
        if let Some(network) = self.networks.get(wanted) {
            return Ok(network);
        }
        let mut named = self.networks.values().filter(|network| network.name == wanted);
        match (named.next(), named.count()) {
            (Some(network), 0) => Ok(network),
            (Some(_), others) => Err(EngineError::Refused {
                status: 400,
                message: format!("network {wanted} is ambiguous ({} matches found on name)", others + 1),
            }),
            (None, _) => Err(EngineError::NotFound { message: format!("network {wanted} not found") }),
        }
    }

    pub(super) fn create_network(&mut self, name: &str, labels: Labels) -> String {
        let id = self.next_id('e');
        let (subnets, created_at) = (vec![SUBNET.to_owned()], Some(self.now()));
        self.networks
            .insert(id.clone(), Network { id: id.clone(), name: name.to_owned(), subnets, labels, created_at });
        self.tell_network("create", &id, name, None);
        id
    }

    pub(super) fn remove_network(&mut self, wanted: &str) -> Result<()> {
        let Network { id, name, .. } = self.network(wanted)?.clone();
        let mut endpoints = self.containers.values().flat_map(|kept| kept.container.endpoints.values());
        if endpoints.any(|endpoint| endpoint.network_id == id && endpoint.address.is_some()) {
            let message = format!("error while removing network: network {name} id {id} has active endpoints");
            return Err(EngineError::Conflict { message });
        }
        self.networks.remove(&id);
        self.tell_network("destroy", &id, &name, None);
        Ok(())
    }

    /// While the container is down, Docker 20.10 only takes notes: of an unknown network under whatever it was called,
    /// of a known one under its name, unless there is an endpoint of that name whose network still exists.
    pub(super) fn connect_network(&mut self, wanted: &str, container: &str, aliases: &[String]) -> Result<()> {
        let id = self.container_id(container)?;
        let mut endpoint = Endpoint { network_id: String::new(), aliases: aliases.to_vec(), address: None };
        let network = self.network(wanted).cloned();
        if !self.kept(&id)?.is_up() {
            let name = network.map_or_else(|_| wanted.to_owned(), |network| network.name);
            if !self.is_connected(&id, &name) {
                self.kept_mut(&id)?.container.endpoints.insert(name, endpoint);
            }
            return Ok(());
        }
        let network = network?;
        endpoint.network_id.clone_from(&network.id);
        endpoint.address = Some(self.next_address());
        let container = &mut self.kept_mut(&id)?.container;
        if container.endpoints.get(&network.name).is_some_and(|known| known.network_id == network.id) {
            let message = format!("endpoint with name {} already exists in network {}", container.name, network.name);
            return Err(EngineError::Conflict { message });
        }
        container.endpoints.insert(network.name.clone(), endpoint);
        self.tell_network("connect", &network.id, &network.name, Some(&id));
        Ok(())
    }

    /// Whether a container has an endpoint of that name on a network that exists.
    fn is_connected(&self, id: &str, name: &str) -> bool {
        let endpoint = self.containers.get(id).and_then(|kept| kept.container.endpoints.get(name));
        endpoint.is_some_and(|endpoint| self.network_of(name, endpoint).is_ok())
    }

    /// The network an endpoint is on; before its container first ran, only the name is known.
    pub(super) fn network_of(&self, name: &str, endpoint: &Endpoint) -> Result<&Network> {
        self.network(if endpoint.network_id.is_empty() { name } else { &endpoint.network_id })
    }

    pub(super) fn disconnect_network(&mut self, wanted: &str, container: &str, force: bool) -> Result<()> {
        let id = self.container_id(container)?;
        let up = self.kept(&id)?.is_up();
        let network = match self.network(wanted) {
            Ok(network) => Some(network.clone()),
            Err(error) if up && !force => return Err(error),
            Err(_) => None,
        };
        let name = network.as_ref().map_or(wanted, |network| &network.name);
        let kept = self.containers.get_mut(&id).ok_or_else(|| no_such_container(container))?;
        if kept.container.endpoints.remove(name).is_none() {
            let message = format!("container {id} is not connected to the network {name}");
            return Err(EngineError::NotFound { message });
        }
        if let (true, Some(network)) = (up, network) {
            self.tell_network("disconnect", &network.id, &network.name, Some(&id));
        }
        Ok(())
    }
}
