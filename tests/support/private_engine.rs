//! A Docker engine of the test's own, which it may stop and start.
//!
//! It has a network namespace of its own: in a shared one it would flush the rules of the machine's engine.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::deadline::{eventually, holds, within};
use super::docker::Docker;
use super::scenario::text;
use super::watch::signal;

const START: Duration = Duration::from_secs(60);
/// An address of the namespace itself: containers reach it through their gateway, and no engine takes it along.
const OUTSIDE: &str = "10.254.0.1";

/// Stopped, and all it had removed, when dropped.
pub(crate) struct PrivateEngine {
    directory: TempDir,
    /// A process that keeps the network namespace in being.
    namespace: Child,
    daemon: Option<Child>,
}

impl PrivateEngine {
    /// Starts an engine and gives it the images of the machine's own.
    pub(crate) fn start(images: &[&str]) -> Self {
        Self::start_with(images, &json!({}))
    }

    /// One whose containers can be `--privileged` on a machine that may not give all capabilities.
    pub(crate) fn within_bounds(images: &[&str]) -> Self {
        let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/runc-within-bounds");
        let runtimes = json!({"within-bounds": {"path": text(&runtime)}});
        Self::start_with(images, &json!({"runtimes": runtimes, "default-runtime": "within-bounds"}))
    }

    fn start_with(images: &[&str], settings: &Value) -> Self {
        let directory = TempDir::with_prefix("ksail-test-").expect("a temporary directory");
        // `setpriv` ends what it runs when this test does, however that ends.
        let namespace = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .expect("a network namespace can be made (this needs root)");
        let mut engine = Self { directory, namespace, daemon: None };
        engine.configure(settings.clone());
        engine.up();
        engine.load(images);
        engine
    }

    /// Words that run a command in the engine's network namespace.
    pub(crate) fn within(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.namespace.id()), "--".to_owned()]
    }

    /// Does something where the engine publishes its ports.
    pub(crate) fn inside_network<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(self.namespace.id(), act).expect("the namespace is kept in being")
    }

    /// Lets containers reach a port of the machine's own 127.0.0.1, at a port of the namespace's own or at any.
    pub(crate) fn open(&self, to: u16, at: Option<u16>) -> WayOut {
        let listener = self.inside_network(|| TcpListener::bind((OUTSIDE, at.unwrap_or_default())));
        WayOut::through(listener.expect("the address is the namespace's own"), to, self.namespace.id())
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::at(self.address())
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, mut settings: Value) {
        let driver = Docker::default().run(&["info", "--format", "{{.Driver}}"]);
        let places = [
            ("storage-driver", json!(driver)),
            ("data-root", json!(self.path("data"))),
            ("exec-root", json!(self.path("exec"))),
        ];
        for (name, value) in places {
            settings[name] = value;
        }
        fs::write(self.path("daemon.json"), settings.to_string()).expect("its directory is ours");
        eventually("the namespace", Duration::from_secs(10), || {
            let up = self.inside("ip").args(["link", "set", "lo", "up"]).output();
            holds(self.is_apart() && up.is_ok_and(|output| output.status.success()), "not there")
        });
        let given = self.inside("ip").args(["address", "add", &format!("{OUTSIDE}/32"), "dev", "lo"]).status();
        assert!(given.is_ok_and(|status| status.success()), "the namespace is given an address");
    }

    /// Whether the process that holds the namespace has left ours.
    fn is_apart(&self) -> bool {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        namespace(&self.namespace.id().to_string()) != namespace("self")
    }

    fn inside(&self, program: &str) -> Command {
        let words = self.within();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log file");
        let daemon = self
            .inside("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd"])
            .args(["--config-file", text(&self.path("daemon.json")), "--pidfile", text(&self.path("pid"))])
            .args(["--host", &self.address(), "--bip", "172.31.255.1/24"])
            // Where the machine runs a containerd of its own, dockerd uses that one.
            .args(["--containerd-namespace", &self.containerd_namespace()])
            .args(["--containerd-plugins-namespace", &format!("{}-plugins", self.containerd_namespace())])
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("dockerd is installed");
        self.daemon = Some(daemon);
        eventually("the private engine answers", START, || {
            let answers = self.docker().output(&["version", "--format", "{{.Server.Version}}"]).status.success();
            holds(answers, fs::read_to_string(self.path("log")).unwrap_or_default())
        });
    }

    fn containerd_namespace(&self) -> String {
        format!("ksail-test-{}", self.namespace.id())
    }

    /// Stops the daemon as a service manager does, and waits for its end.
    pub(crate) fn down(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(daemon.id(), "TERM");
            let _ = eventually("the private engine ends", START, || {
                daemon.try_wait().ok().flatten().ok_or_else(|| "it runs".to_owned())
            });
        }
    }

    fn load(&self, images: &[&str]) {
        if images.is_empty() {
            return;
        }
        let mut save = Docker::default()
            .command(&["save"])
            .args(images)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the docker command runs");
        let archive = save.stdout.take().expect("it is piped");
        let loaded = self.docker().command(&["load"]).stdin(archive).output().expect("the docker command runs");
        assert!(save.wait().is_ok_and(|status| status.success()), "docker save");
        assert!(loaded.status.success(), "docker load: {}", String::from_utf8_lossy(&loaded.stderr));
    }

    fn remove_containers(&self) {
        let docker = self.docker();
        let listed = docker.output(&["ps", "-aq"]).stdout;
        for container in String::from_utf8_lossy(&listed).lines() {
            let _ = docker.output(&["rm", "-fv", container]);
        }
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            self.remove_containers();
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

/// Does something in the network namespace that a process is in. Only one thread goes there, and it ends with that.
fn inside<T: Send>(process: u32, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    let go = || {
        let namespace = fs::File::open(format!("/proc/{process}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(act())
    };
    thread::scope(|scope| scope.spawn(go).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whatever connects inside the namespace is connected with a port of the machine. Nobody is there any more once it is
/// dropped.
pub(crate) struct WayOut {
    at: SocketAddr,
    namespace: u32,
    is_closed: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl WayOut {
    fn through(listener: TcpListener, to: u16, namespace: u32) -> Self {
        let at = listener.local_addr().expect("it is bound");
        let (is_closed, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let out = Self { at, namespace, is_closed: Arc::clone(&is_closed), connections: Arc::clone(&connections) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, onto) in [(&client, &server), (&server, &client)] {
                    let (Ok(mut from), Ok(mut onto)) = (from.try_clone(), onto.try_clone()) else { continue };
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut onto);
                        let _ = onto.shutdown(Shutdown::Write);
                    });
                }
                connections.lock().expect("nobody panics with it").push(client);
            }
        });
        out
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }
}

impl Drop for WayOut {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // It looks when somebody comes, and gives the port up.
        let refuses = || TcpStream::connect(self.at).is_err();
        let _ = within(START, || inside(self.namespace, refuses).unwrap_or(true).then_some(()));
        for connection in self.connections.lock().expect("nobody panics with it").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}
