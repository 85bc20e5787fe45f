//! An engine in memory, for tests: what Docker 20.10 does, without Docker.
//!
//! It is deterministic (ids are counted, the clock is tokio's, and a start of a container moves it on) and needs no
//! runtime of its own, so it works under proptest with tokio's paused clock, where time passes only while a test waits.
//! `tests/contract` holds it to the behaviour of the real engine.
//!
//! A test plays the rest of the world through the inherent methods of [`Memory`], and through
//! [`Memory::outsider`] for everything that is an engine call.

mod archives;
mod calls;
mod containers;
mod events;
mod exec;
mod faults;
mod files;
mod images;
mod listeners;
mod networks;
mod programs;
mod snapshot;
mod volumes;
mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::BoxStream;
use jiff::Timestamp;

pub use self::calls::{Call, CallKind};
pub use self::files::StoredFile;
pub use self::snapshot::{ContainerSnapshot, Snapshot};

use self::faults::{Faults, Lie, Moment, Struck};
use self::world::World;
use super::{
    Container, ContainerSpec, ContainerState, ContainerSummary, Engine, EngineError, EngineInfo, Event, Exec, Executed,
    Image, Label, LogPart, Network, PathStat, PullProgress, Result, Traffic, Volume,
};

/// The engine in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    world: Arc<Mutex<World>>,
    outsider: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An engine with the default bridge network and nothing else.
    pub fn new() -> Self {
        Self { world: Arc::new(Mutex::new(World::new())), outsider: false }
    }

    /// Someone else's connection to the same engine: its calls are not recorded, and no fault of a call strikes
    /// them; the end of a program it ran is told.
    #[must_use]
    pub fn outsider(&self) -> Self {
        Self { world: Arc::clone(&self.world), outsider: true }
    }

    /// Puts an image into the store; an empty id becomes one derived from the reference.
    pub fn add_image(&self, reference: &str, image: Image) {
        self.lock().add_image(reference, image);
    }

    /// Removes an image from the store.
    pub fn remove_image(&self, reference: &str) {
        self.lock().remove_image(reference);
    }

    /// Makes a pull of `reference` succeed. A reference nobody made pullable is refused in Docker's words.
    pub fn pullable(&self, reference: &str) {
        self.lock().set_pull(reference, Ok(Image::default()));
    }

    /// Makes a pull of `reference` fail with `message`.
    pub fn unpullable(&self, reference: &str, message: &str) {
        self.lock().set_pull(reference, Err(message.to_owned()));
    }

    /// Creates a network, also when others of that name exist, and returns its id.
    pub fn create_network(&self, name: &str) -> String {
        self.create_labelled_network(name, BTreeMap::new())
    }

    /// The same, with labels.
    pub fn create_labelled_network(&self, name: &str, labels: BTreeMap<String, String>) -> String {
        self.lock().create_network(name, labels)
    }

    /// Containers have this log driver from now on; to begin with it is `json-file`.
    pub fn set_log_driver(&self, name: &str) {
        name.clone_into(&mut self.lock().log_driver);
    }

    /// Every process that starts from now on writes this line first, as registries say which version they are.
    pub fn greets_with(&self, line: &str) {
        self.lock().greeting = Some(line.to_owned());
    }

    /// The program in a container writes a line.
    pub fn say(&self, container: &str, line: &str) -> Result<()> {
        self.lock().say(container, line)
    }

    /// Some other process listens on this host port from now on.
    pub fn hold_port(&self, address: IpAddr, port: u16) {
        self.lock().held_ports.insert((address, port));
    }

    /// That other process is gone.
    pub fn release_port(&self, address: IpAddr, port: u16) {
        self.lock().held_ports.remove(&(address, port));
    }

    /// The container's process ends with `code` and is not started again (as after `docker kill`).
    pub fn kill(&self, container: &str, code: i64) -> Result<()> {
        self.lock().kill_container(container, code)
    }

    /// So much has been carried for a container by now.
    pub fn set_traffic(&self, container: &str, traffic: Traffic) -> Result<()> {
        self.lock().set_traffic(container, traffic)
    }

    /// Freezes a running container, as `docker pause` does.
    pub fn pause(&self, container: &str) -> Result<()> {
        self.lock().pause_container(container)
    }

    /// Puts a container into a state that no call leads to, such as [`ContainerState::Dead`].
    pub fn set_state(&self, container: &str, state: ContainerState) -> Result<()> {
        self.lock().set_state(container, state)
    }

    /// From now on every start of a container of this name answers `Ok` and its process ends at once with `code`:
    /// it has exited or, if its restart policy says so, is restarting. `None` makes it run again.
    pub fn crash_on_start(&self, name: &str, code: Option<i64>) {
        self.lock().set_crash_on_start(name, code);
    }

    /// Scripts the programs of all containers: `handler` is asked first with the container's name, and what it answers
    /// `None` to the engine runs itself: `rm [-f] PATH…`, `rmdir PATH…`, `tee PATH…` and `sleep SECONDS` (which takes no time, but is
    /// [`EngineError::Timeout`] when longer than its limit), also as `busybox rm …`. Everything else is not in the
    /// container and ends with 127. The handler must not call the engine.
    pub fn on_exec(&self, handler: impl Fn(&str, &Exec) -> Option<Executed> + Send + 'static) {
        self.lock().programs.script(handler);
    }

    /// Containers of this name have no such program (`rm`, `busybox`), unless the handler of [`Memory::on_exec`] has it.
    pub fn without_program(&self, container: &str, program: &str) {
        self.lock().programs.take_away(container, program);
    }

    /// The engine stops answering: every call is [`EngineError::Unavailable`], event streams end.
    pub fn go_away(&self) {
        self.lock().go_away();
    }

    /// The engine answers again; nothing in it changed meanwhile.
    pub fn come_back(&self) {
        self.lock().away = false;
    }

    /// The next `times` calls that `matches` accepts fail with `error` and have no effect.
    pub fn fail(&self, matches: impl Fn(&Call) -> bool + Send + 'static, times: usize, error: EngineError) {
        self.lock().faults.failures.add(matches, times, (Moment::Before, error));
    }

    /// The next `times` calls that `matches` accepts take effect, and then the answer is lost: they fail with `error`.
    pub fn fail_after(&self, matches: impl Fn(&Call) -> bool + Send + 'static, times: usize, error: EngineError) {
        self.lock().faults.failures.add(matches, times, (Moment::After, error));
    }

    /// The next `times` calls that `matches` accepts take that long before they have their effect or, if a fault strikes
    /// them as well, before they fail. What goes wrong with a call is decided when it is made.
    pub fn delay(&self, matches: impl Fn(&Call) -> bool + Send + 'static, times: usize, by: Duration) {
        self.lock().faults.delays.add(matches, times, by);
    }

    /// The next `times` containers that are inspected and that `matches` accepts are said to be what `change` makes of
    /// them; outsiders are told the truth.
    pub fn falsify(
        &self,
        matches: impl Fn(&Container) -> bool + Send + 'static,
        times: usize,
        change: impl Fn(&mut Container) + Send + Sync + 'static,
    ) {
        self.lock().faults.lies.add(matches, times, Lie::new(change));
    }

    /// The next `times` events that `matches` accepts are not told to anybody.
    pub fn lose_events(&self, matches: impl Fn(&Event) -> bool + Send + 'static, times: usize) {
        self.lock().faults.lost_events.add(matches, times, ());
    }

    /// The next `times` events that `matches` accepts, and that are not lost, are told twice.
    pub fn double_events(&self, matches: impl Fn(&Event) -> bool + Send + 'static, times: usize) {
        self.lock().faults.doubled_events.add(matches, times, ());
    }

    /// The next `times` events that `matches` accepts, and that are not lost, are told that much later. Others overtake
    /// them; those that are late by the same time keep their order.
    pub fn delay_events(&self, matches: impl Fn(&Event) -> bool + Send + 'static, times: usize, by: Duration) {
        self.lock().faults.late_events.add(matches, times, by);
    }

    /// Ends every open stream of events as [`Memory::end_events`] does, and nobody but an outsider gets another one: the
    /// answer is `error`, until this is called with `None`.
    pub fn refuse_events(&self, error: Option<EngineError>) {
        self.lock().refuse_events(error);
    }

    /// Ends every open stream of events, as if the engine had closed the connection; calls go on working. Events that
    /// are late by then are lost.
    pub fn end_events(&self) {
        self.lock().listeners.close(None);
    }

    /// Tells that many events of containers of strangers, in which programs end (as health checks do).
    pub fn flood(&self, events: usize) {
        self.lock().flood(events);
    }

    /// Tells an event that may or may not have happened.
    pub fn tell(&self, event: Event) {
        self.lock().tell(event);
    }

    /// Forgets every fault that has not struck yet, and refuses events no longer.
    pub fn clear_faults(&self) {
        self.lock().faults = Faults::default();
    }

    /// Every call since the start or the last [`Memory::clear_calls`], in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Starts counting anew.
    pub fn clear_calls(&self) {
        self.lock().calls.clear();
    }

    /// Everything in the engine, comparable.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }

    /// Sets the engine's clock, which began with the Unix epoch. From there it goes on as tokio's does, also when that
    /// is paused, and every start of a container moves it on by another millisecond.
    pub fn set_time(&self, now: Timestamp) {
        self.lock().set_time(now);
    }

    /// Answers lists in another order, one per seed, from now on; the usual order is newest first.
    pub fn shuffle(&self, seed: u64) {
        self.lock().order_seed = Some(seed);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One engine call. It yields before and after its effect: other tasks interleave as they do around a socket,
    /// and a task dropped in between has changed the engine without learning of it.
    async fn call<T>(&self, call: Call, effect: impl FnOnce(&mut World) -> Result<T> + Send) -> Result<T> {
        tokio::task::yield_now().await;
        let struck = self.strike(call);
        if let Some(delay) = struck.delay {
            tokio::time::sleep(delay).await;
        }
        let answer = self.fail_or_do(struck.failure, effect);
        tokio::task::yield_now().await;
        answer
    }

    /// Records a call, and what goes wrong with it.
    fn strike(&self, mut call: Call) -> Struck {
        if self.outsider {
            return Struck::default();
        }
        let mut world = self.lock();
        call.container = world.kept(&call.object).ok().map(|kept| kept.container.name.clone());
        let faults = &mut world.faults;
        let struck = Struck { delay: faults.delays.strike(&call), failure: faults.failures.strike(&call) };
        world.calls.push(call);
        struck
    }

    fn fail_or_do<T>(
        &self,
        failure: Option<(Moment, EngineError)>,
        effect: impl FnOnce(&mut World) -> Result<T>,
    ) -> Result<T> {
        let mut world = self.lock();
        if world.away {
            return Err(world::unavailable());
        }
        match failure {
            None => effect(&mut world),
            Some((Moment::Before, error)) => Err(error),
            Some((Moment::After, error)) => {
                effect(&mut world)?;
                Err(error)
            }
        }
    }
}

impl Engine for Memory {
    async fn info(&self) -> Result<EngineInfo> {
        self.call(Call::read("info", ""), |_| {
            Ok(EngineInfo {
                name: "Memory Engine".to_owned(),
                version: "20.10.24".to_owned(),
                api_version: "1.41".to_owned(),
                address: world::ADDRESS.to_owned(),
            })
        })
        .await
    }

    async fn list_containers(&self, labels: &[Label<'_>]) -> Result<Vec<ContainerSummary>> {
        self.call(Call::read("list_containers", ""), |world| Ok(world.list_containers(labels))).await
    }

    async fn inspect_container(&self, id: &str) -> Result<Container> {
        let call = Call::read("inspect_container", id);
        self.call(call, |world| {
            let mut container = world.inspect_container(id)?;
            if let Some(lie) = (!self.outsider).then(|| world.faults.lies.strike(&container)).flatten() {
                lie.tell(&mut container);
            }
            Ok(container)
        })
        .await
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String> {
        self.call(Call::write("create_container", &spec.name), |world| world.create_container(spec)).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.call(Call::write("start_container", id), |world| world.start_container(id)).await
    }

    async fn stop_container(&self, id: &str, _grace_seconds: u32) -> Result<()> {
        self.call(Call::write("stop_container", id), |world| world.stop_container(id)).await
    }

    async fn restart_container(&self, id: &str, _grace_seconds: u32) -> Result<()> {
        self.call(Call::write("restart_container", id), |world| world.restart_container(id)).await
    }

    async fn unpause_container(&self, id: &str) -> Result<()> {
        self.call(Call::write("unpause_container", id), |world| world.unpause_container(id)).await
    }

    async fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.call(Call::write("rename_container", id), |world| world.rename_container(id, name)).await
    }

    async fn update_restart_policy(&self, id: &str, policy: &str) -> Result<()> {
        self.call(Call::write("update_restart_policy", id), |world| world.update_restart_policy(id, policy)).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.call(Call::write("remove_container", id), |world| world.remove_container(id)).await
    }

    async fn put_archive(&self, id: &str, path: &str, tar: Vec<u8>) -> Result<()> {
        self.call(Call::write("put_archive", id), |world| world.put_archive(id, path, &tar)).await
    }

    async fn get_archive(&self, id: &str, path: &str) -> Result<Vec<u8>> {
        self.call(Call::read("get_archive", id), |world| world.get_archive(id, path)).await
    }

    async fn stat_path(&self, id: &str, path: &str) -> Result<PathStat> {
        self.call(Call::read("stat_path", id), |world| world.stat_path(id, path)).await
    }

    async fn exec(&self, id: &str, exec: &Exec) -> Result<Executed> {
        let call = if exec.changes { Call::write("exec", id) } else { Call::read("exec", id) };
        self.call(call, |world| world.exec(id, exec, !self.outsider)).await
    }

    async fn logs(&self, id: &str, part: LogPart) -> Result<String> {
        self.call(Call::read("logs", id), |world| world.logs(id, part)).await
    }

    async fn traffic(&self, id: &str) -> Result<Option<Traffic>> {
        self.call(Call::read("traffic", id), |world| world.traffic(id)).await
    }

    async fn list_networks(&self) -> Result<Vec<Network>> {
        self.call(Call::read("list_networks", ""), |world| Ok(world.list_networks())).await
    }

    async fn connect_network(&self, network: &str, container: &str, aliases: &[String]) -> Result<()> {
        let call = Call::write("connect_network", container);
        self.call(call, |world| world.connect_network(network, container, aliases)).await
    }

    async fn remove_network(&self, network: &str) -> Result<()> {
        self.call(Call::write("remove_network", network), |world| world.remove_network(network)).await
    }

    async fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let call = Call::write("disconnect_network", container);
        self.call(call, |world| world.disconnect_network(network, container, force)).await
    }

    async fn list_volumes(&self, labels: &[Label<'_>]) -> Result<Vec<Volume>> {
        self.call(Call::read("list_volumes", ""), |world| Ok(world.list_volumes(labels))).await
    }

    async fn inspect_volume(&self, name: &str) -> Result<Volume> {
        self.call(Call::read("inspect_volume", name), |world| world.inspect_volume(name)).await
    }

    async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        self.call(Call::write("create_volume", name), |world| {
            world.create_volume(name, labels);
            Ok(())
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.call(Call::write("remove_volume", name), |world| world.remove_volume(name)).await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Image> {
        self.call(Call::read("inspect_image", reference), |world| world.inspect_image(reference)).await
    }

    async fn pull_image(&self, reference: &str, progress: impl Fn(PullProgress) + Send + Sync) -> Result<()> {
        let call = Call::write("pull_image", reference);
        self.call(call, |world| world.pull_image(reference, &progress)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<Event>>> {
        self.call(Call::read("events", ""), |world| match &world.faults.refusal {
            Some(refusal) if !self.outsider => Err(refusal.clone()),
            _ => Ok(world.listeners.join()),
        })
        .await
    }

    fn now(&self) -> Timestamp {
        self.lock().now()
    }
}

#[cfg(test)]
mod tests;
