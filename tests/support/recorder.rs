//! A unix socket in front of the engine that writes down every call, and can keep those back that change something.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

/// One request line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Call {
    /// Whether it leaves the engine as it was.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// Records until dropped.
pub(crate) struct Recorder {
    directory: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    engine: PathBuf,
    calls: Mutex<Vec<Call>>,
    connections: Mutex<Vec<UnixStream>>,
    open: AtomicBool,
    gate: Mutex<Gate>,
    moved: Condvar,
}

/// What changes of the engine come through.
struct Gate {
    /// So many more.
    allowed: usize,
    /// Somebody waits.
    is_waited_at: bool,
}

impl Recorder {
    /// In front of the engine the environment names, which has to be on a unix socket.
    pub(crate) fn start() -> Self {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let engine = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let engine = PathBuf::from(engine.strip_prefix("unix://").expect("the tests need an engine on a unix socket"));
        let directory = TempDir::with_prefix("ksail-test-").expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).expect("a socket in it");
        let shared = Arc::new(Shared {
            engine,
            calls: Mutex::default(),
            connections: Mutex::default(),
            open: AtomicBool::new(true),
            gate: Mutex::new(Gate { allowed: usize::MAX, is_waited_at: false }),
            moved: Condvar::new(),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { directory, shared }
    }

    /// What to put into `DOCKER_HOST`.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.directory.path().join("engine.sock").display())
    }

    /// The calls so far, oldest first.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no recorder panics").clone()
    }

    /// Cuts every connection and takes no new one, as an engine that has gone.
    pub(crate) fn shut(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        for connection in self.shared.connections.lock().expect("no recorder panics").drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        self.shared.moved.notify_all();
    }

    /// Lets so many calls through that change the engine. The one after them waits, and never comes through when the
    /// recorder is shut.
    pub(crate) fn allow(&self, changes: usize) {
        *self.shared.gate.lock().expect("no recorder panics") = Gate { allowed: changes, is_waited_at: false };
        self.shared.moved.notify_all();
    }

    /// Whether a call waits that would change the engine.
    pub(crate) fn keeps_one_back(&self) -> bool {
        self.shared.gate.lock().expect("no recorder panics").is_waited_at
    }

    /// Takes connections again.
    pub(crate) fn open(&self) {
        self.shared.open.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        if shared.open.load(Ordering::SeqCst) {
            let shared = Arc::clone(shared);
            thread::spawn(move || serve(client, &shared));
        }
    }
}

/// Carries one connection, both ways at once; only the way to the engine is read as HTTP.
fn serve(client: UnixStream, shared: &Shared) -> Option<()> {
    let engine = UnixStream::connect(&shared.engine).ok()?;
    shared.connections.lock().expect("no recorder panics").extend([client.try_clone().ok()?, engine.try_clone().ok()?]);
    let (mut answers, mut back) = (engine.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut requests = BufReader::new(client);
    let mut engine = engine;
    while let Some(()) = forward_request(&mut requests, &mut engine, shared) {}
    let _ = engine.shutdown(std::net::Shutdown::Write);
    Some(())
}

impl Shared {
    /// Waits until a call may come through; `None` when it never may.
    fn pass(&self, call: &Call) -> Option<()> {
        if call.is_read() {
            return Some(());
        }
        let mut gate = self.gate.lock().expect("no recorder panics");
        while gate.allowed == 0 && self.open.load(Ordering::SeqCst) {
            gate.is_waited_at = true;
            gate = self.moved.wait(gate).expect("no recorder panics");
        }
        gate.allowed = gate.allowed.checked_sub(1)?;
        Some(())
    }
}

/// Forwards one request and records it; `None` when the client has gone.
fn forward_request(from: &mut impl BufRead, to: &mut impl Write, shared: &Shared) -> Option<()> {
    let request = read_line(from)?;
    let text = String::from_utf8_lossy(&request);
    let mut words = text.split_whitespace();
    let call = Call { method: words.next()?.to_owned(), path: words.next()?.to_owned() };
    shared.calls.lock().expect("no recorder panics").push(call.clone());
    shared.pass(&call)?;
    to.write_all(&request).ok()?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = forward_line(from, to)?.to_ascii_lowercase();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
    }
    if chunked { forward_chunks(from, to) } else { forward_bytes(from, to, length) }
}

fn forward_line(from: &mut impl BufRead, to: &mut impl Write) -> Option<String> {
    let line = read_line(from)?;
    to.write_all(&line).ok()?;
    Some(String::from_utf8_lossy(&line).into_owned())
}

fn read_line(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).ok().filter(|read| *read > 0)?;
    Some(line)
}

fn forward_bytes(from: &mut impl BufRead, to: &mut impl Write, length: u64) -> Option<()> {
    std::io::copy(&mut from.take(length), to).ok().filter(|copied| *copied == length).map(drop)
}

fn forward_chunks(from: &mut impl BufRead, to: &mut impl Write) -> Option<()> {
    loop {
        let line = forward_line(from, to)?;
        let size = u64::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        forward_bytes(from, to, size + 2)?;
        if size == 0 {
            return Some(());
        }
    }
}
