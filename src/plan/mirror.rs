//! The sequence of one mirror.

use std::collections::BTreeSet;

use super::action::{Action, Step, Target};
use super::cluster::{CLUSTER_IS_GONE, network_to_remove};
use super::difference::{Difference, WHAT_STAYS, difference};
use super::{Milestone, Obstacle, Postponed, Sequence, Subject};
use crate::desired::{Desired, Mirror};
use crate::engine::{Container, ContainerSpec, ContainerState};
use crate::labels::{self, is_of_mirror};
use crate::manifest::{Upstream, VolumePolicy};
use crate::observed::{DEFAULT_BRIDGE, NetworkRef, NetworkUse, Observed, OwnContainer, StartsAgain};
use crate::probe::Serving;
use crate::registry::{LIFETIME, Mode, Role, STORAGE, asks_for_credentials_again, is_served_from_cache};

/// Restart policy of a container whose predecessor is on the same volume: two registries must not write to one volume,
/// and after a loss of power the engine starts all that ask for it.
const NEVER: &str = "no";
/// The cause of what a recreate has left to do that was cut off after the old container had gone.
const INTERRUPTED: &str = "an interrupted recreate goes on";
/// The cause of most of a first pass.
const MISSING: &str = "container missing";

/// What leads from the containers a mirror has to the one it should have. `keepers` are containers of other mirrors that
/// will not give up their ports.
pub(super) fn sequence(
    desired: &Desired,
    mirror: &Mirror,
    observed: &Observed,
    keepers: &BTreeSet<String>,
) -> Sequence {
    let mut builder = Builder {
        desired,
        mirror,
        observed,
        keepers,
        steps: Vec::new(),
        obstacle: unreadable(mirror, observed).or_else(|| name_conflict(mirror, desired, observed)),
        postponed: None,
        asks: false,
        is_shape: false,
        renews: false,
    };
    if builder.obstacle.is_none() {
        builder.build(&Containers::of(mirror, observed));
    }
    builder.finish()
}

fn unreadable(mirror: &Mirror, observed: &Observed) -> Option<Obstacle> {
    let error = observed.unreadable.get(mirror.host.as_str())?;
    Some(Obstacle::Unreadable { error: error.clone() })
}

fn name_conflict(mirror: &Mirror, desired: &Desired, observed: &Observed) -> Option<Obstacle> {
    let next = mirror.next_name();
    let taken = [&mirror.name, &next].into_iter().find_map(|name| Some((name, observed.strangers.get(name)?)));
    if let Some((name, stranger)) = taken {
        return Some(Obstacle::NameConflict {
            kind: "container",
            name: name.clone(),
            cluster: stranger.cluster.clone(),
        });
    }
    let volume = observed.volumes.get(&mirror.volume)?;
    let is_its = is_of_mirror(&volume.labels, desired.cluster.as_str(), mirror.host.as_str());
    if is_its || observed.is_adopted(volume) {
        return None;
    }
    let cluster = volume.labels.get(labels::CLUSTER).cloned();
    Some(Obstacle::NameConflict { kind: "volume", name: volume.name.clone(), cluster })
}

/// The containers that carry a mirror's label, by the part they play.
struct Containers<'a> {
    /// The one that has its name.
    main: Option<&'a OwnContainer>,
    /// The one that was about to replace it.
    next: Option<&'a OwnContainer>,
    /// Those that were given other names behind our back.
    renamed: Vec<&'a OwnContainer>,
}

impl<'a> Containers<'a> {
    fn of(mirror: &Mirror, observed: &'a Observed) -> Self {
        let next_name = mirror.next_name();
        let mut containers = Self { main: None, next: None, renamed: Vec::new() };
        let ours = |found: &&OwnContainer| {
            found.container.labels.get(labels::HOST).map(String::as_str) == Some(mirror.host.as_str())
        };
        for found in observed.containers.iter().filter(ours) {
            match &found.container.name {
                name if *name == mirror.name => containers.main = Some(found),
                name if *name == next_name => containers.next = Some(found),
                _ => containers.renamed.push(found),
            }
        }
        containers
    }
}

struct Builder<'a> {
    desired: &'a Desired,
    mirror: &'a Mirror,
    observed: &'a Observed,
    keepers: &'a BTreeSet<String>,
    steps: Vec<Step>,
    obstacle: Option<Obstacle>,
    postponed: Option<Postponed>,
    /// Whether a cache that is to be stopped would start again has to be asked first.
    asks: bool,
    /// Nothing but the container's shape differs.
    is_shape: bool,
    /// A registry that serves is stopped for that.
    renews: bool,
}

impl<'a> Builder<'a> {
    /// What the manifest asks for and has to wait is in the way; what only this version of ksail would do differently
    /// is not.
    fn finish(self) -> Sequence {
        let waits = self.postponed.clone().filter(|_| !self.is_shape).map(Obstacle::UpstreamAway);
        Sequence {
            steps: self.steps,
            obstacles: self.obstacle.or(waits).into_iter().collect(),
            postponed: self.postponed.filter(|_| self.is_shape),
            asks: self.asks,
            renews: self.renews,
        }
    }

    fn build(&mut self, containers: &Containers<'_>) {
        let fits = |found: &&OwnContainer| !is_ending(found) && self.difference(found).is_none();
        let (main, ending) = match containers.main {
            Some(main) if is_ending(main) => (None, Some(main)),
            main => (main, None),
        };
        // One that serves alone has its name first, and is then replaced as any other.
        let serves_alone = |found: &&OwnContainer| is_up(found) && !main.is_some_and(is_up);
        let is_of_use =
            |found: &&OwnContainer| serves_alone(found) || (fits(found) && main.is_none_or(|main| !fits(&main)));
        let next = containers.next.filter(is_of_use);
        let renamed = || {
            let mut renamed = containers.renamed.iter().copied();
            renamed.clone().find(fits).or_else(|| renamed.find(serves_alone))
        };
        let renamed = if main.is_none() && next.is_none() { renamed() } else { None };
        let in_the_way = |found: &&&OwnContainer| !renamed.is_some_and(|renamed| std::ptr::eq(renamed, **found));

        let is_survivor =
            main.zip(next).is_some_and(|(main, next)| serves_alone(&next) && (fits(&main) || !fits(&next)));

        if let Some(leftover) = containers.next.filter(|_| next.is_none()) {
            self.push(remove(leftover), "left over from an interrupted recreate");
        }
        for double in containers.renamed.iter().filter(in_the_way) {
            self.push(remove(double), "a second container for this mirror");
        }
        if let Some(ending) = ending {
            self.push(remove(ending), &format!("container {}", ending.container.state));
        }
        match (main, next.or(renamed)) {
            (Some(main), Some(next)) if is_survivor => {
                self.push(remove(main), INTERRUPTED);
                self.repair(next);
                self.push(rename(target(&next.container), &self.mirror.name), INTERRUPTED);
            }
            (Some(main), next) => match self.difference(main) {
                None => self.repair(main),
                Some(difference) => self.replace_if_it_may_stop(main, next, &difference),
            },
            (None, Some(spare)) => {
                let cause = if renamed.is_some() { "it was renamed behind ksail's back" } else { INTERRUPTED };
                self.repair(spare);
                if self.obstacle.is_none() {
                    self.push(rename(target(&spare.container), &self.mirror.name), cause);
                }
            }
            (None, None) if self.port_is_taken() => {}
            (None, None) => self.create(MISSING),
        }
    }

    fn difference(&self, found: &OwnContainer) -> Option<Difference> {
        difference(self.mirror, &found.container, self.observed.image.as_ref())
    }

    /// From nothing. Nothing is undone when a step fails: what is there already is mended by the next pass.
    fn create(&mut self, cause: &str) {
        self.prepare(cause);
        let container = new_target(&self.mirror.name);
        self.push(Action::CreateContainer { spec: Box::new(self.mirror.container.clone()) }, cause);
        self.prepare_start(&container, cause);
        self.start(&container, cause);
    }

    fn replace_if_it_may_stop(&mut self, main: &OwnContainer, next: Option<&OwnContainer>, difference: &Difference) {
        self.is_shape = matches!(difference, Difference::Shape(_));
        if self.may_stop(main, difference.cause()) {
            self.renews = self.is_shape && is_up(main);
            return self.replace(main, next, difference.cause());
        }
        self.repair(main);
    }

    /// Whether a registry may be stopped for a cause. A cache that serves and would not start again, because its
    /// upstream is away, keeps serving: what is to be changed waits until the upstream answers.
    fn may_stop(&mut self, found: &OwnContainer, cause: &str) -> bool {
        // A registry to push to starts without any upstream, and nobody can be asked for one that there is no more.
        let asks_upstream = is_cache(&found.container) && !is_served_from_cache(&found.container.env);
        let serves =
            is_up(found) && asks_upstream && self.mirror.role == Role::Mirror && self.mirror.mode == Mode::Proxy;
        match &found.starts_again {
            _ if !serves => true,
            StartsAgain::Yes => true,
            StartsAgain::NotAsked => {
                self.asks = true;
                true
            }
            StartsAgain::No(why) => {
                self.postponed = Some(Postponed { cause: cause.to_owned(), why: why.clone() });
                false
            }
        }
    }

    /// Recreates: the old container serves until its successor is ready to start, and again if that does not serve.
    fn replace(&mut self, main: &OwnContainer, next: Option<&OwnContainer>, cause: &str) {
        if !holds_port(main, self.mirror) && self.port_is_taken() {
            // What it served before is better than nothing.
            self.repair(main);
            return;
        }
        if main.container.state == ContainerState::Restarting && next.is_none() {
            // It does not serve, so nothing is lost, and the engine takes long to stop a container that keeps exiting.
            self.push(remove(main), &self.cause_of_leaving(main, cause));
            return self.create(cause);
        }
        self.prepare(cause);
        let old = target(&main.container);
        let next_name = self.mirror.next_name();
        let new = if let Some(next) = next {
            self.prepare_start_again(next, cause);
            target(&next.container)
        } else {
            let new = new_target(&next_name);
            let mut spec = self.mirror.container.clone();
            next_name.clone_into(&mut spec.name);
            NEVER.clone_into(&mut spec.restart_policy);
            let spec = Box::new(self.successor_of(main, spec));
            let undo = vec![Action::RemoveContainer { container: new.clone() }];
            self.push_undoable(Action::CreateContainer { spec }, cause, undo);
            self.prepare_start(&new, cause);
            new
        };
        let was_up = !matches!(main.container.state, ContainerState::Created | ContainerState::Exited);
        if was_up {
            let undo = vec![
                Action::StartContainer { container: old.clone() },
                Action::AwaitServing { container: old.clone() },
            ];
            self.push_undoable(Action::StopContainer { container: old.clone() }, cause, undo);
        }
        let start = Action::StartContainer { container: new.clone() };
        let after = self.holders_of_port(&[&main.container.name, &next_name]);
        let undo = vec![Action::RemoveContainer { container: new.clone() }];
        self.steps.push(Step { undo, after, ..Step::new(start, cause) });
        self.join_ambiguous_network(&new, cause);
        self.push(Action::AwaitServing { container: new.clone() }, cause);
        self.push(Action::RemoveContainer { container: old }, &self.cause_of_leaving(main, cause));
        let policy = self.mirror.container.restart_policy.clone();
        self.push(Action::UpdateRestartPolicy { container: new.clone(), policy }, cause);
        self.push(rename(new, &self.mirror.name), cause);
    }

    /// Another role starts on another volume: what a cache fetched is nothing that was pushed.
    fn cause_of_leaving(&self, main: &OwnContainer, cause: &str) -> String {
        let was_on =
            main.container.mounts.iter().find(|mount| mount.target == STORAGE).and_then(|mount| mount.volume.as_ref());
        let is_left = was_on.is_some_and(|volume| *volume != self.mirror.volume);
        let stays = is_left && self.desired.volume_policy == VolumePolicy::Retain;
        if stays { format!("{cause}; its volume stays") } else { cause.to_owned() }
    }

    /// A container that follows another one knows of the volume that the engine made for that one. (Not where that one
    /// goes first: somebody could put another volume in its place.)
    fn successor_of(&self, main: &OwnContainer, mut spec: ContainerSpec) -> ContainerSpec {
        let made = self.observed.made_volume(&main.container);
        spec.labels.extend(made.map(|(label, volume)| (label.to_owned(), volume)));
        spec
    }

    /// What a new container needs to exist.
    fn prepare(&mut self, cause: &str) {
        if self.observed.image.is_none() {
            self.push(Action::PullImage { image: self.desired.image.clone() }, "not on the engine yet");
        }
        if !self.observed.volumes.contains_key(&self.mirror.volume) {
            let labels = labels::of_volume(&self.mirror.container.labels);
            let cause = if cause == MISSING { "volume missing" } else { cause };
            self.push(Action::CreateVolume { name: self.mirror.volume.clone(), labels }, cause);
        }
    }

    /// What a new container needs before it starts.
    fn prepare_start(&mut self, container: &Target, cause: &str) {
        if let Some(files) = &self.mirror.files {
            self.push(Action::PutFiles { container: container.clone(), files: files.clone() }, cause);
        }
        if let Some(network) = self.network_to_join().filter(|network| !self.is_ambiguous(network)) {
            let action = self.connect(container, network);
            self.push(action, cause);
        }
    }

    /// The cluster's network, unless nobody of the cluster is on it any more, or yet.
    fn network_to_join(&self) -> Option<&'a NetworkRef> {
        self.observed.network.as_ref().filter(|_| self.observed.network_use == NetworkUse::Used)
    }

    /// Docker refuses to start a new container that was connected to one of several networks of one name,
    /// by id or not. It can be connected once it runs.
    fn is_ambiguous(&self, network: &NetworkRef) -> bool {
        self.observed.networks.values().filter(|name| **name == network.name).count() > 1
    }

    /// The same for one that was left half-way.
    fn prepare_start_again(&mut self, found: &OwnContainer, cause: &str) {
        self.leave_stale_networks(found);
        if let (Some(files), true) = (&self.mirror.files, self.secrets_differ(found)) {
            self.push(Action::PutFiles { container: target(&found.container), files: files.clone() }, cause);
        }
        if found.container.restart_policy != NEVER {
            let action = Action::UpdateRestartPolicy { container: target(&found.container), policy: NEVER.to_owned() };
            self.push(action, cause);
        }
        self.join_network(found);
    }

    /// Everything that can be put right without a new container.
    fn repair(&mut self, found: &OwnContainer) {
        let container = target(&found.container);
        self.leave_stale_networks(found);
        let secrets_differ = self.secrets_differ(found);
        // An upstream that holds a secret is in those files as well.
        let may_be_upstream = self.mirror.upstream.as_ref().is_some_and(Upstream::is_secret);
        let cause = match self.mirror.credentials {
            _ if self.authorities_differ(found) => "certificate authorities changed",
            Some(_) if may_be_upstream => &format!("upstream or credentials changed; {WHAT_STAYS}"),
            None if may_be_upstream => &format!("upstream changed; {WHAT_STAYS}"),
            _ => "credentials changed",
        };
        let is_read_anew = self.reads_anew(found) && found.container.state == ContainerState::Running;
        let cause = if is_read_anew { "credentials changed" } else { cause };
        // Files are read at the start: they are put in when that is next, and not for one that may not be stopped.
        let is_next = secrets_differ
            && !is_read_anew
            && match found.container.state {
                ContainerState::Running => self.may_stop(found, cause),
                ContainerState::Paused => false,
                _ => true,
            };
        if let (Some(files), true) = (&self.mirror.files, is_next || is_read_anew) {
            self.push(Action::PutFiles { container: container.clone(), files: files.clone() }, cause);
        }
        // Credentials that wait are asked for by the manifest, whatever else differs.
        self.is_shape &= is_next || is_read_anew || !secrets_differ;
        self.join_network(found);
        if found.container.restart_policy != self.mirror.container.restart_policy {
            let policy = self.mirror.container.restart_policy.clone();
            let cause = match found.container.restart_policy.as_str() {
                NEVER if found.container.name == self.mirror.next_name() => INTERRUPTED.to_owned(),
                other => format!("restart policy changed to {other}"),
            };
            self.push(Action::UpdateRestartPolicy { container: container.clone(), policy }, &cause);
        }
        match found.container.state {
            ContainerState::Running if is_next => self.restart(found, cause),
            ContainerState::Running => self.repair_running(found, &container),
            ContainerState::Paused => {
                self.push(Action::UnpauseContainer { container: container.clone() }, "container paused");
                self.push(Action::AwaitServing { container }, "container paused");
            }
            ContainerState::Restarting => {
                self.restart(found, &format!("container keeps exiting{}", exit_code(&found.container)));
            }
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead | ContainerState::Removing => {
                if self.obstacle.is_none() && self.port_is_taken() {
                    return;
                }
                let cause = match found.container.state {
                    ContainerState::Created => "container never started".to_owned(),
                    _ => format!("container exited{}", exit_code(&found.container)),
                };
                self.start(&container, &cause);
            }
        }
    }

    fn repair_running(&mut self, found: &OwnContainer, container: &Target) {
        match found.serving {
            Serving::Answers | Serving::Unknown | Serving::Overdue => {}
            Serving::Refused if found.starting => {
                self.push(Action::AwaitServing { container: container.clone() }, "container was started moments ago");
            }
            Serving::Refused => self.restart_unless_it_answers(found, "registry does not answer /v2/"),
            Serving::Silent => {
                self.restart_unless_it_answers(found, "registry hangs: no answer to /v2/ within 2 s, nor within 8 s");
            }
        }
    }

    fn start(&mut self, container: &Target, cause: &str) {
        let after = self.holders_of_port(&[&container.name]);
        self.steps.push(Step { after, ..Step::new(Action::StartContainer { container: container.clone() }, cause) });
        self.join_ambiguous_network(container, cause);
        self.push(Action::AwaitServing { container: container.clone() }, cause);
    }

    fn join_ambiguous_network(&mut self, container: &Target, cause: &str) {
        let is_known = |step: &Step| matches!(step.action, Action::ConnectNetwork { .. });
        let network = self.network_to_join().filter(|network| self.is_ambiguous(network));
        if let Some(network) = network.filter(|_| container.id.is_none() && !self.steps.iter().any(is_known)) {
            let action = self.connect(container, network);
            self.push(action, cause);
        }
    }

    fn restart(&mut self, found: &OwnContainer, cause: &str) {
        self.restart_if(found, false, cause);
    }

    fn restart_unless_it_answers(&mut self, found: &OwnContainer, cause: &str) {
        self.restart_if(found, true, cause);
    }

    fn restart_if(&mut self, found: &OwnContainer, silent: bool, cause: &str) {
        if !self.may_stop(found, cause) {
            return;
        }
        let container = &target(&found.container);
        self.push(Action::RestartContainer { container: container.clone(), only_if_silent: silent }, cause);
        self.push(Action::AwaitServing { container: container.clone() }, cause);
    }

    /// A container does not start while one of its networks has been removed.
    fn leave_stale_networks(&mut self, found: &OwnContainer) {
        for (name, endpoint) in &found.container.endpoints {
            let is_called_so = || self.observed.networks.values().any(|network| network == name);
            let exists = match endpoint.network_id.as_str() {
                // Until a container first runs, the engine knows its networks by name alone.
                "" => is_called_so(),
                // At each of its starts the engine makes its own bridge anew, and joins containers to it itself.
                id => self.observed.networks.contains_key(id) || (name == DEFAULT_BRIDGE && is_called_so()),
            };
            if !exists {
                let network = NetworkRef::named(name);
                let action = Action::DisconnectNetwork { container: target(&found.container), network };
                self.push(action, &format!("network {name} was removed"));
            }
        }
    }

    fn join_network(&mut self, found: &OwnContainer) {
        if let Some(network) = network_to_remove(self.desired, self.observed) {
            let container = target(&found.container);
            if network.endpoint_of(&found.container).is_some() {
                self.push(Action::DisconnectNetwork { container, network: network.clone() }, CLUSTER_IS_GONE);
            }
            return;
        }
        let Some(network) = self.network_to_join() else { return };
        let has_all = |aliases: &[String]| self.mirror.aliases.iter().all(|alias| aliases.contains(alias));
        let cause = match network.endpoint_of(&found.container) {
            None => "not attached to the cluster's network",
            Some(endpoint) if !has_all(&endpoint.aliases) => {
                let action =
                    Action::DisconnectNetwork { container: target(&found.container), network: network.clone() };
                self.push(action, "network alias missing");
                "network alias missing"
            }
            Some(_) => return,
        };
        let action = self.connect(&target(&found.container), network);
        self.push(action, cause);
    }

    fn connect(&self, container: &Target, network: &NetworkRef) -> Action {
        Action::ConnectNetwork {
            container: container.clone(),
            network: network.clone(),
            aliases: self.mirror.aliases.clone(),
        }
    }

    fn secrets_differ(&self, found: &OwnContainer) -> bool {
        self.mirror.files.as_ref().is_some_and(|files| found.secrets.as_ref() != Some(&files.digest()))
    }

    fn authorities_differ(&self, found: &OwnContainer) -> bool {
        let ca = self.mirror.files.as_ref().and_then(|files| files.digest().ca);
        ca.is_some() && found.secrets.as_ref().and_then(|found| found.ca.clone()) != ca
    }

    /// Nothing but credentials differ, and the registry asks for those again while it runs.
    fn reads_anew(&self, found: &OwnContainer) -> bool {
        let (Some(files), Some(secrets)) = (&self.mirror.files, &found.secrets) else { return false };
        let wanted = files.digest();
        let is_told =
            found.container.env.contains_key(LIFETIME.0) && found.major_version.is_some_and(asks_for_credentials_again);
        is_told && *secrets != wanted && secrets.at_start == wanted.at_start
    }

    /// Whether someone holds the port who will not give it up; says so if so.
    fn port_is_taken(&mut self) -> bool {
        let (address, port) = (self.mirror.listen.host_address, self.mirror.listen.host_port);
        if port == 0 {
            return false;
        }
        let keeper = || self.others_on_port(&[]).map(|other| &other.name).find(|name| self.keepers.contains(*name));
        let holder = self.observed.holder_of(address, port).or_else(|| keeper().map(String::as_str));
        let taken = holder.is_some() || self.observed.ports_taken.contains(&(address, port));
        if taken {
            let next_free = self.observed.free_ports.get(self.mirror.host.as_str()).copied();
            self.obstacle = Some(Obstacle::PortInUse { port, holder: holder.map(str::to_owned), next_free });
        }
        taken
    }

    /// The cluster's other containers that hold this mirror's port now and give it up in the same plan.
    fn holders_of_port(&self, own: &[&str]) -> Vec<Milestone> {
        let released = |other: &Container| {
            let holder = Subject::mirror(other.labels.get(labels::HOST).unwrap_or(&other.name));
            Milestone::Released { holder, container: other.name.clone() }
        };
        self.others_on_port(own).map(released).collect()
    }

    fn others_on_port<'b>(&'b self, own: &'b [&str]) -> impl Iterator<Item = &'b Container> {
        let port = self.mirror.listen.host_port;
        let holds =
            move |container: &Container| container.bound_ports.iter().any(|bound| port != 0 && bound.host_port == port);
        let containers = self.observed.containers.iter().map(|found| &*found.container);
        containers.filter(move |other| holds(other) && !own.contains(&other.name.as_str()))
    }

    fn push(&mut self, action: Action, cause: &str) {
        self.steps.push(Step::new(action, cause));
    }

    fn push_undoable(&mut self, action: Action, cause: &str, undo: Vec<Action>) {
        self.steps.push(Step { undo, ..Step::new(action, cause) });
    }
}

/// Whether a container was made for a pull-through cache.
fn is_cache(container: &Container) -> bool {
    container.labels.get(labels::ROLE).map(String::as_str) == Some(Role::Mirror.as_str())
}

/// Whether a container's registry serves, or would as soon as it is unpaused.
fn is_up(found: &OwnContainer) -> bool {
    matches!(found.container.state, ContainerState::Running | ContainerState::Paused)
}

/// Whether the engine has given a container up, or was told to.
fn is_ending(found: &OwnContainer) -> bool {
    matches!(found.container.state, ContainerState::Dead | ContainerState::Removing)
}

fn holds_port(found: &OwnContainer, mirror: &Mirror) -> bool {
    found.container.bound_ports.iter().any(|bound| bound.host_port == mirror.listen.host_port)
}

fn exit_code(container: &Container) -> String {
    container.exit_code.map(|code| format!(" ({code})")).unwrap_or_default()
}

fn target(container: &Container) -> Target {
    Target { name: container.name.clone(), id: Some(container.id.clone()) }
}

fn new_target(name: &str) -> Target {
    Target { name: name.to_owned(), id: None }
}

fn remove(found: &OwnContainer) -> Action {
    Action::RemoveContainer { container: target(&found.container) }
}

fn rename(container: Target, to: &str) -> Action {
    Action::RenameContainer { container, to: to.to_owned() }
}
