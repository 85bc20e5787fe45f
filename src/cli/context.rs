//! Where the manifest, the engine and the lock are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, mpsc};
use std::{env, io, process, thread};

use futures_util::future::OptionFuture;
use tokio::signal;
use tokio_util::sync::CancellationToken;

use super::{BAD_INPUT, Exit, FAILED, Global, say};
use crate::controller::{Claim, ClusterLock, Controller, InForce, NotInForce, Refused, Reread, private_directory};
use crate::desired::{ResolveContext, resolve};
use crate::docker_config;
use crate::engine::docker::{Docker, api_version};
use crate::engine::locate::{Address, docker_config_directory, locate};
use crate::event::Reporter;
#[cfg(unix)]
use crate::limit::FILE;
use crate::manifest::{self, ClusterName, Manifest};
use crate::observed::Observer;
use crate::probe::{EngineAt, FromHere, Prober};
use crate::provisioner::Provisioner;

/// The exit code of a program that a second SIGINT ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;
/// Tells kind whose engine to take: <https://kind.sigs.k8s.io/docs/user/rootless/>
const KIND_PROVIDER: &str = "KIND_EXPERIMENTAL_PROVIDER";

/// An environment variable; one that is not Unicode is as good as none.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Path of the manifest, an absolute one.
pub(super) fn manifest_path(global: &Global) -> Result<PathBuf, Exit> {
    let here =
        env::current_dir().map_err(|error| Exit::new(BAD_INPUT, format!("the current directory is gone: {error}")))?;
    manifest::find(global.file().as_deref(), &here).map_err(|error| Exit::new(BAD_INPUT, error.to_string()))
}

/// The manifest; everything wrong with it otherwise.
pub(super) fn load(path: &Path) -> Result<Manifest, Exit> {
    manifest::load(path, &variable).map_err(Exit::problems)
}

/// The engine, and how its containers are reached.
pub(super) fn engine(global: &Global) -> Result<(Docker, FromHere, String), Exit> {
    let home = env::home_dir();
    let address = located(global)?;
    let at = match &address {
        Address::Unix(_) | Address::Pipe(_) => EngineAt::ThisMachine,
        Address::Tcp(host) | Address::Tls { host, .. } => machine(host.rsplit_once(':').map_or(host, |(name, _)| name)),
        Address::Ssh(target) => machine(&target.host),
    };
    let text = address.to_string();
    let directory = docker_config_directory(&variable, home.as_deref());
    warn_of(directory.as_deref());
    let version = api_version(&variable).map_err(|error| Exit::new(BAD_INPUT, error))?;
    let engine = Docker::speaking(address, version).with_cli_config(directory);
    let probe = FromHere::new(at);
    // Where nothing can be kept nothing is remembered.
    Ok(match private_directory(&variable) {
        Ok(directory) => (engine, probe.remembering(Arc::new(Refused::in_directory(&directory))), text),
        Err(_) => (engine, probe, text),
    })
}

fn located(global: &Global) -> Result<Address, Exit> {
    let found = locate(global.host.as_deref(), &variable, env::home_dir().as_deref());
    found.map_err(|error| Exit::new(BAD_INPUT, error.to_string()))
}

/// Says once what of the docker CLI's configuration cannot be read, as the CLI itself does.
fn warn_of(directory: Option<&Path>) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        if let Some(complaint) = directory.and_then(docker_config::complaint) {
            say(format!("warning: {complaint}"));
        }
    });
}

/// A machine by its name or address.
fn machine(host: &str) -> EngineAt {
    match host {
        "localhost" | "127.0.0.1" | "[::1]" | "::1" => EngineAt::ThisMachine,
        host => EngineAt::Elsewhere(host.to_owned()),
    }
}

/// What besides the manifest decides what exists, whatever the engine.
pub(super) fn context() -> ResolveContext {
    ResolveContext::from_env(&variable)
}

/// The same for the engine of this command, whose containers the docker CLI would give proxies.
pub(super) fn context_of(global: &Global) -> Result<ResolveContext, Exit> {
    let (_, _, address) = engine(global)?;
    Ok(context_at(&address))
}

fn context_at(address: &str) -> ResolveContext {
    let directory = docker_config_directory(&variable, env::home_dir().as_deref());
    let proxies = directory.map(|directory| docker_config::proxies(&directory, address)).unwrap_or_default();
    ResolveContext { proxies, ..context() }
}

/// A controller for a manifest.
pub(super) fn controller(
    global: &Global,
    manifest: &Manifest,
    reporter: Arc<dyn Reporter>,
    concurrency: usize,
    claim: Option<Claim>,
) -> Result<Controller<Docker, FromHere>, Exit> {
    let (engine, probe, address) = engine(global)?;
    let provisioner = provisioner(global)?;
    let lock = ClusterLock::of_user(variable, &manifest.name, &address);
    let env = Arc::new(variable);
    let path = manifest.path.clone();
    let context = context_at(&address);
    let again = context.clone();
    let reread = move || {
        let manifest = manifest::load(&path, &variable).map_err(|problems| problems.render(false))?;
        Ok(resolve(&manifest, &again))
    };
    // What was made of labels stands in no file.
    let reread = (!manifest.path.as_os_str().is_empty()).then(|| Arc::new(reread) as Reread);
    Ok(Controller { engine, probe, provisioner, reporter, concurrency, lock, claim, reread, context, env })
}

/// The record of which manifest is in force for a cluster.
pub(super) fn in_force(address: &str, cluster: &ClusterName) -> Result<InForce, Exit> {
    let directory =
        private_directory(&variable).map_err(|error| Exit::new(FAILED, NotInForce::from(error).to_string()))?;
    Ok(InForce::new(&directory, cluster, address))
}

/// Puts a manifest in force for its cluster, unless another one is.
pub(super) fn claim(global: &Global, path: &Path, cluster: &ClusterName, adopt: bool) -> Result<Claim, Exit> {
    let (_, _, address) = engine(global)?;
    let refused = |error: NotInForce| match error {
        NotInForce::Another { .. } => Exit::new(BAD_INPUT, error.to_string()),
        NotInForce::NoRecord(_) => Exit::new(FAILED, error.to_string()),
    };
    in_force(&address, cluster)?.claim(path, adopt).map_err(refused)
}

/// What takes a snapshot for one command.
pub(super) fn observer(global: &Global) -> Result<Observer<Docker, FromHere>, Exit> {
    let (engine, probe, _) = engine(global)?;
    let provisioner = provisioner(global)?;
    Ok(Observer::new(engine, Prober::new(probe), provisioner))
}

/// Finds kind and k3d. They look for the engine as the docker CLI does; what that would not find they are told.
pub(super) fn provisioner(global: &Global) -> Result<Provisioner, Exit> {
    let address = located(global)?;
    let runtime = variable("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let is_rootless = runtime.is_some_and(|path| address.to_string().starts_with(&format!("unix://{path}/")));
    let is_found = global.host.is_none() && !is_rootless && !address.is_podmans();
    let mut engine = if is_found { Vec::new() } else { address.for_programs() };
    // kind takes Docker where both are there.
    if address.is_podmans() && variable(KIND_PROVIDER).is_none() {
        engine.push((KIND_PROVIDER, "podman".to_owned()));
    }
    let no_proxy = Provisioner::no_proxy_in(variable);
    Ok(Provisioner { path: env::var_os("PATH"), home: env::home_dir(), engine, no_proxy, played: None })
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does it.
#[cfg(unix)]
fn ignores_hang_ups() -> bool {
    const SIGHUP: u64 = 1;
    let status = FILE.read_text_file("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & SIGHUP != 0))
}

/// Cancelled by the first SIGINT, SIGTERM or SIGHUP; a second one ends the program at once. Both are heard by a thread
/// of their own, whatever keeps the program busy.
pub(super) fn stop_on_signals() -> Result<CancellationToken, Exit> {
    let cannot = |error: io::Error| Exit::new(FAILED, format!("cannot listen for signals: {error}"));
    let stop = CancellationToken::new();
    let (listening, listens) = mpsc::channel();
    let on_signal = stop.clone();
    let listener = thread::Builder::new().name("signals".to_owned());
    listener.spawn(move || listen_for_signals(&on_signal, &listening)).map_err(cannot)?;
    listens.recv().unwrap_or_else(|_| Err(io::Error::other("the listener has ended"))).map_err(cannot)?;
    Ok(stop)
}

/// Says when it listens, or why it cannot.
fn listen_for_signals(stop: &CancellationToken, listening: &mpsc::Sender<io::Result<()>>) {
    let listen = async {
        let mut signals = Signals::new()?;
        let _ = listening.send(Ok(()));
        signals.next().await;
        stop.cancel();
        // Counted here: a reader that is gone stops the program as well, and may have heard the same Ctrl-C.
        signals.next().await;
        process::exit(INTERRUPTED);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let listened: io::Result<()> = runtime.and_then(|runtime| runtime.block_on(listen));
    if let Err(error) = listened {
        // It was waited for.
        let _ = listening.send(Err(error));
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: signal::unix::Signal,
    terminate: signal::unix::Signal,
    /// A terminal that is closed would leave a cluster half made. Who was started by `nohup` goes on.
    hang_up: Option<signal::unix::Signal>,
}

#[cfg(windows)]
struct Signals {
    interrupt: signal::windows::CtrlC,
    terminate: signal::windows::CtrlBreak,
    hang_up: Option<signal::windows::CtrlClose>,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};

        let hang_up = (!ignores_hang_ups()).then(|| signal(SignalKind::hangup())).transpose()?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up })
    }

    #[cfg(windows)]
    fn new() -> io::Result<Self> {
        use signal::windows::{ctrl_break, ctrl_c, ctrl_close};

        Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_break()?, hang_up: Some(ctrl_close()?) })
    }

    async fn next(&mut self) {
        let hung_up = OptionFuture::from(self.hang_up.as_mut().map(|signal| async { signal.recv().await }));
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = hung_up => {}
        }
    }
}
