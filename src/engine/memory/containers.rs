//! Containers, from create to remove.

use std::collections::BTreeMap;

use super::files::Files;
use super::world::{BRIDGE, Kept, World, carries};
use crate::engine::{
    Container, ContainerSpec, ContainerState, ContainerSummary, Endpoint, EngineError, Label, LogDriver, LogPart,
    Mount, PublishedPort, Result, Traffic,
};

/// Exit code Docker notes for a container whose start failed.
const START_FAILED: i64 = 128;
/// Exit code of a process that was killed by signal 9.
const KILLED: i64 = 137;

impl World {
    pub(super) fn list_containers(&self, labels: &[Label<'_>]) -> Vec<ContainerSummary> {
        let matching = self.containers.values().map(|kept| &kept.container).filter(|c| carries(&c.labels, labels));
        self.in_order(matching.map(|container| ContainerSummary {
            id: container.id.clone(),
            name: container.name.clone(),
            labels: container.labels.clone(),
            image_id: container.image_id.clone(),
            state: container.state,
            ports: container.bound_ports.clone(),
            volumes: container.mounts.iter().filter_map(|mount| mount.volume.clone()).collect(),
            endpoints: container.endpoints.iter().map(|(name, at)| (name.clone(), attachment(at))).collect(),
        }))
    }

    pub(super) fn inspect_container(&self, wanted: &str) -> Result<Container> {
        Ok(self.kept(wanted)?.container.clone())
    }

    pub(super) fn create_container(&mut self, spec: &ContainerSpec) -> Result<String> {
        let image = self.inspect_image(&spec.image)?;
        if let Some(holder) = self.id_of_name(&spec.name) {
            return Err(name_taken(&spec.name, &holder));
        }
        // Volumes that come along are not older than their container, not even by the second in which they are made.
        let created_at = self.now();
        for (volume, _) in &spec.volumes {
            self.create_volume(volume, &BTreeMap::new());
        }
        let id = self.next_id('c');
        let bridge = Endpoint { network_id: String::new(), aliases: Vec::new(), address: None };
        let mut env = image.env;
        env.extend(spec.env.clone());
        let mut labels = image.labels;
        labels.extend(spec.labels.clone());
        let mut log = LogDriver { name: self.log_driver.clone(), options: BTreeMap::new() };
        if log.takes_limits() {
            log.options.clone_from(&spec.log_options);
        }
        let container = Container {
            id: id.clone(),
            name: spec.name.clone(),
            labels,
            image: spec.image.clone(),
            image_id: image.id,
            entrypoint: image.entrypoint,
            command: if spec.command.is_empty() { image.command } else { spec.command.clone() },
            env,
            extra_hosts: spec.extra_hosts.clone(),
            state: ContainerState::Created,
            exit_code: None,
            error: String::new(),
            created_at: Some(created_at),
            started_at: None,
            restart_policy: spec.restart_policy.clone(),
            log,
            ports: sorted(&spec.ports),
            bound_ports: Vec::new(),
            mounts: spec
                .volumes
                .iter()
                .map(|(volume, target)| Mount { volume: Some(volume.clone()), target: target.clone() })
                .collect(),
            endpoints: BTreeMap::from([(BRIDGE.to_owned(), bridge)]),
        };
        let files = Files::of_an_image(container.mounts.iter().map(|mount| mount.target.as_str()));
        self.containers.insert(id.clone(), Kept { container, files, log: Vec::new(), traffic: Traffic::default() });
        self.tell_container("create", &id, &[]);
        Ok(id)
    }

    pub(super) fn start_container(&mut self, wanted: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        let container = self.kept(&id)?.container.clone();
        match container.state {
            ContainerState::Running | ContainerState::Restarting => return Ok(()),
            ContainerState::Paused => {
                let message = "cannot start a paused container, try unpause instead".to_owned();
                return Err(EngineError::Conflict { message });
            }
            ContainerState::Removing | ContainerState::Dead => {
                let message = "container is marked for removal and cannot be started".to_owned();
                return Err(EngineError::Conflict { message });
            }
            ContainerState::Created | ContainerState::Exited => {}
        }
        let placed = self.bind_ports(&container).and_then(|ports| Ok((ports, self.join_networks(&container)?)));
        match placed {
            Ok((ports, endpoints)) => self.run(&id, ports, endpoints),
            Err(error) => {
                let container = &mut self.kept_mut(&id)?.container;
                container.error = error.to_string();
                if container.exit_code.is_none_or(|code| code == 0) && container.state != ContainerState::Created {
                    container.exit_code = Some(START_FAILED);
                }
                Err(error)
            }
        }
    }

    fn bind_ports(&self, container: &Container) -> Result<Vec<PublishedPort>> {
        let mut bound: Vec<PublishedPort> = Vec::new();
        for port in &container.ports {
            let host_port = match port.host_port {
                0 => self.free_port(port.host_address, &bound),
                asked => Some(asked).filter(|asked| !self.port_is_taken(port.host_address, *asked)),
            };
            let Some(host_port) = host_port else { return Err(port_taken(&container.name, port)) };
            bound.push(PublishedPort { host_port, ..*port });
        }
        Ok(sorted(&bound))
    }

    /// Endpoints as they are while the container runs, each with the id of an existing network and an address.
    fn join_networks(&mut self, container: &Container) -> Result<BTreeMap<String, Endpoint>> {
        let mut joined = BTreeMap::new();
        for (name, endpoint) in &container.endpoints {
            let network_id = self.network_of(name, endpoint)?.id.clone();
            let address = Some(self.next_address());
            joined.insert(name.clone(), Endpoint { network_id, address, ..endpoint.clone() });
        }
        Ok(joined)
    }

    fn run(&mut self, id: &str, ports: Vec<PublishedPort>, endpoints: BTreeMap<String, Endpoint>) -> Result<()> {
        let started_at = self.tick();
        let container = &mut self.kept_mut(id)?.container;
        container.state = ContainerState::Running;
        container.error.clear();
        container.exit_code = None;
        container.started_at = Some(started_at);
        container.bound_ports = ports;
        container.endpoints = endpoints;
        let name = container.name.clone();
        if let Some(greeting) = self.greeting.clone() {
            self.kept_mut(id)?.log.push(greeting);
        }
        self.tell_networks("connect", id);
        self.tell_mounts("mount", id);
        self.tell_container("start", id, &[]);
        match self.crashes.get(&name).copied() {
            Some(code) => self.crash(id, code),
            None => Ok(()),
        }
    }

    /// The process ends by itself, and the restart policy decides what becomes of the container.
    fn crash(&mut self, id: &str, code: i64) -> Result<()> {
        self.kept_mut(id)?.log.push(format!("panic: exiting with {code}"));
        self.end(id, code)?;
        let container = &mut self.kept_mut(id)?.container;
        let comes_back = match container.restart_policy.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => code != 0,
            _ => false,
        };
        if comes_back {
            container.state = ContainerState::Restarting;
        }
        Ok(())
    }

    /// The process is gone: ports and addresses are free again, the endpoints stay.
    fn end(&mut self, id: &str, code: i64) -> Result<()> {
        self.tell_container("die", id, &[("exitCode", &code.to_string())]);
        self.tell_networks("disconnect", id);
        self.tell_mounts("unmount", id);
        let container = &mut self.kept_mut(id)?.container;
        container.state = ContainerState::Exited;
        container.exit_code = Some(code);
        container.bound_ports.clear();
        for endpoint in container.endpoints.values_mut() {
            endpoint.address = None;
        }
        Ok(())
    }

    pub(super) fn stop_container(&mut self, wanted: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        let kept = self.kept(&id)?;
        if !kept.is_up() {
            return Ok(());
        }
        let code = match (kept.container.state, kept.container.exit_code) {
            // A frozen process cannot answer a signal, so the grace period runs out.
            (ContainerState::Paused, _) => KILLED,
            (ContainerState::Restarting, Some(code)) => code,
            _ => 0,
        };
        self.tell_container("kill", &id, &[("signal", "15")]);
        self.end(&id, code)?;
        self.tell_container("stop", &id, &[]);
        Ok(())
    }

    pub(super) fn restart_container(&mut self, wanted: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        self.stop_container(&id)?;
        self.start_container(&id)?;
        self.tell_container("restart", &id, &[]);
        Ok(())
    }

    pub(super) fn kill_container(&mut self, wanted: &str, code: i64) -> Result<()> {
        let id = self.container_id(wanted)?;
        if !self.kept(&id)?.is_up() {
            let message = format!("Cannot kill container: {wanted}: Container {id} is not running");
            return Err(EngineError::Conflict { message });
        }
        self.tell_container("kill", &id, &[("signal", "9")]);
        self.end(&id, code)
    }

    /// Lines have no time: those of a part are all that there are.
    pub(super) fn logs(&self, wanted: &str, part: LogPart) -> Result<String> {
        let log = &self.kept(wanted)?.log;
        let skip = match part {
            LogPart::Last(lines) => log.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX)),
            LogPart::Between(..) => 0,
        };
        Ok(log.iter().skip(skip).fold(String::new(), |text, line| text + line + "\n"))
    }

    pub(super) fn say(&mut self, wanted: &str, line: &str) -> Result<()> {
        self.kept_mut(wanted)?.log.push(line.to_owned());
        Ok(())
    }

    pub(super) fn traffic(&self, wanted: &str) -> Result<Option<Traffic>> {
        let kept = self.kept(wanted)?;
        Ok((kept.container.state == ContainerState::Running).then_some(kept.traffic))
    }

    pub(super) fn set_traffic(&mut self, wanted: &str, traffic: Traffic) -> Result<()> {
        self.kept_mut(wanted)?.traffic = traffic;
        Ok(())
    }

    pub(super) fn pause_container(&mut self, wanted: &str) -> Result<()> {
        let container = &mut self.kept_mut(wanted)?.container;
        if container.state != ContainerState::Running {
            return Err(EngineError::Conflict { message: format!("Container {} is not running", container.id) });
        }
        container.state = ContainerState::Paused;
        let id = container.id.clone();
        self.tell_container("pause", &id, &[]);
        Ok(())
    }

    pub(super) fn unpause_container(&mut self, wanted: &str) -> Result<()> {
        let container = &mut self.kept_mut(wanted)?.container;
        if container.state != ContainerState::Paused {
            return Err(EngineError::Conflict { message: format!("Container {} is not paused", container.id) });
        }
        container.state = ContainerState::Running;
        let id = container.id.clone();
        self.tell_container("unpause", &id, &[]);
        Ok(())
    }

    pub(super) fn rename_container(&mut self, wanted: &str, name: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        match self.id_of_name(name) {
            Some(holder) if holder == id => {
                let message = "Renaming a container with the same name as its current name".to_owned();
                return Err(EngineError::Refused { status: 400, message });
            }
            Some(holder) => return Err(name_taken(name, &holder)),
            None => {}
        }
        let old = std::mem::replace(&mut self.kept_mut(&id)?.container.name, name.to_owned());
        self.tell_container("rename", &id, &[("oldName", &format!("/{old}"))]);
        Ok(())
    }

    pub(super) fn update_restart_policy(&mut self, wanted: &str, policy: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        if !["no", "always", "unless-stopped", "on-failure"].contains(&policy) {
            return Err(EngineError::Refused { status: 400, message: format!("invalid restart policy '{policy}'") });
        }
        policy.clone_into(&mut self.kept_mut(&id)?.container.restart_policy);
        self.tell_container("update", &id, &[]);
        Ok(())
    }

    pub(super) fn remove_container(&mut self, wanted: &str) -> Result<()> {
        let id = self.container_id(wanted)?;
        if self.kept(&id)?.is_up() {
            self.kill_container(&id, KILLED)?;
        }
        self.tell_container("destroy", &id, &[]);
        self.containers.remove(&id);
        Ok(())
    }

    pub(super) fn set_crash_on_start(&mut self, name: &str, code: Option<i64>) {
        let Some(code) = code else {
            self.crashes.remove(name);
            return self.start_again(name);
        };
        self.crashes.insert(name.to_owned(), code);
    }

    /// The next attempt to restart a container that crashed.
    fn start_again(&mut self, name: &str) {
        let Ok(kept) = self.kept_mut(name) else { return };
        if kept.container.state == ContainerState::Restarting {
            kept.container.state = ContainerState::Exited;
            // A failed attempt is noted in the container.
            let _ = self.start_container(name);
        }
    }

    pub(super) fn set_state(&mut self, wanted: &str, state: ContainerState) -> Result<()> {
        let id = self.container_id(wanted)?;
        let container = &mut self.kept_mut(&id)?.container;
        if !matches!(state, ContainerState::Running | ContainerState::Paused) {
            container.bound_ports.clear();
            container.endpoints.values_mut().for_each(|endpoint| endpoint.address = None);
        }
        container.state = state;
        Ok(())
    }
}

/// No address is given twice, so it tells one attachment from another.
fn attachment(endpoint: &Endpoint) -> String {
    endpoint.address.map_or_else(String::new, |address| format!("{}/{address}", endpoint.network_id))
}

fn name_taken(name: &str, holder: &str) -> EngineError {
    EngineError::Conflict {
        message: format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        ),
    }
}

fn port_taken(name: &str, port: &PublishedPort) -> EngineError {
    EngineError::PortInUse {
        message: format!(
            "driver failed programming external connectivity on endpoint {name}: \
             Bind for {}:{} failed: port is already allocated",
            port.host_address, port.host_port
        ),
    }
}

fn sorted(ports: &[PublishedPort]) -> Vec<PublishedPort> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports
}
