//! A unix socket in front of the engine that writes down every call, can keep those back that change something, and
//! misbehaves where it is told to.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::json;
use tempfile::TempDir;

use super::rule::{Calls, Fault, Rules};
use super::wire::{Body, Head};

/// One request line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Call {
    fn of(request: &Head) -> Option<Self> {
        let mut words = request.words().into_iter();
        Some(Self { method: words.next()?, path: words.next()? })
    }

    /// Whether it leaves the engine as it was.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// The path without the version of the API.
    pub(crate) fn asked_for(&self) -> &str {
        let is_version = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let version =
            self.path.strip_prefix("/v").and_then(|rest| rest.split('/').next()).filter(|text| is_version(text));
        version.map_or(self.path.as_str(), |version| &self.path["/v".len() + version.len()..])
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
    rules: Rules,
    connections: Mutex<Connections>,
    open: AtomicBool,
    gate: Mutex<Gate>,
    moved: Condvar,
}

/// Those that are open, both ends of each.
#[derive(Default)]
struct Connections {
    open: BTreeMap<u64, [UnixStream; 2]>,
    opened: u64,
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
            rules: Rules::default(),
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

    /// How many calls there were so far, those included that did not come through. The path is as for [`Recorder::when`].
    pub(crate) fn count(&self, method: &str, is_meant: impl Fn(&str) -> bool) -> usize {
        self.calls().iter().filter(|call| call.method == method && is_meant(call.asked_for())).count()
    }

    /// Begins a rule: `recorder.when("POST", |path| path.starts_with("/containers/create")).times(2).cut()`. The path has
    /// a query and no version of the API.
    pub(crate) fn when(
        &self,
        method: &'static str,
        is_meant: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Calls<'_> {
        self.shared.rules.when(method, is_meant)
    }

    /// Cuts every connection and takes no new one, as an engine that has gone.
    pub(crate) fn shut(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        for connection in self.shared.connections.lock().expect("no recorder panics").open.values().flatten() {
            let _ = connection.shutdown(Shutdown::Both);
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
            thread::spawn(move || shared.serve(&client));
        }
    }
}

impl Shared {
    /// Carries one connection, both ways at once: an answer may be without end, and nobody waits for it who has gone.
    fn serve(&self, client: &UnixStream) -> Option<()> {
        let engine = UnixStream::connect(&self.engine).ok()?;
        let number = self.connections.lock().expect("no recorder panics").add(client, &engine)?;
        let (expect, expected) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = Answers { from: BufReader::new(&engine), to: client, expected }.forward();
                let _ = client.shutdown(Shutdown::Both);
            });
            let mut requests = Requests { from: BufReader::new(client), client, to: &engine, expect };
            while let Some(()) = requests.forward_one(self) {}
            let _ = engine.shutdown(Shutdown::Write);
        });
        self.connections.lock().expect("no recorder panics").open.remove(&number);
        Some(())
    }

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

impl Connections {
    fn add(&mut self, client: &UnixStream, engine: &UnixStream) -> Option<u64> {
        self.opened += 1;
        self.open.insert(self.opened, [client.try_clone().ok()?, engine.try_clone().ok()?]);
        Some(self.opened)
    }
}

/// What is known of an answer before it comes.
struct Expected {
    has_body: bool,
    fate: Fate,
    /// Who waits for whether the engine goes over to something else than HTTP, when that was asked for.
    tell: Option<Sender<bool>>,
}

/// What becomes of an answer.
enum Fate {
    Given,
    Lost,
    Rewritten { from: String, to: String },
}

/// The way to the engine.
struct Requests<'a> {
    from: BufReader<&'a UnixStream>,
    client: &'a UnixStream,
    to: &'a UnixStream,
    /// For the way back, in the order of the requests.
    expect: Sender<Expected>,
}

impl Requests<'_> {
    /// `None` when there will be no further one.
    fn forward_one(&mut self, shared: &Shared) -> Option<()> {
        let head = Head::read(&mut self.from)?;
        let call = Call::of(&head)?;
        shared.calls.lock().expect("no recorder panics").push(call.clone());
        shared.pass(&call)?;
        let body = head.body().unwrap_or(Body::Length(0));
        let has_body = call.method != "HEAD";
        let fate = match shared.rules.fault_of(&call.method, call.asked_for()) {
            None => Fate::Given,
            Some(Fault::Late(by)) => {
                thread::sleep(by);
                Fate::Given
            }
            Some(Fault::CutAfter) => Fate::Lost,
            Some(Fault::Rewritten { from, to }) => Fate::Rewritten { from, to },
            Some(Fault::Cut) => {
                body.read(&mut self.from)?;
                let _ = self.client.shutdown(Shutdown::Both);
                return None;
            }
            Some(Fault::Refused { status, message }) => {
                body.read(&mut self.from)?;
                return self.refuse(status, &message, has_body);
            }
        };
        let (tell, upgraded) = head.header("upgrade").map(|_| mpsc::channel()).unzip();
        self.expect.send(Expected { has_body, fate, tell }).ok()?;
        head.write(&mut self.to)?;
        body.forward(&mut self.from, &mut self.to)?;
        if let Some(upgraded) = upgraded
            && upgraded.recv().ok()?
        {
            Body::UntilClosed.forward(&mut self.from, &mut self.to)?;
            return None;
        }
        Some(())
    }

    fn refuse(&mut self, status: u16, message: &str, has_body: bool) -> Option<()> {
        let body = json!({"message": message}).to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        let answer = if has_body { head + &body } else { head };
        self.client.write_all(answer.as_bytes()).ok()
    }
}

/// The way back.
struct Answers<'a> {
    from: BufReader<&'a UnixStream>,
    to: &'a UnixStream,
    expected: Receiver<Expected>,
}

impl Answers<'_> {
    /// Ends when the connection is to end.
    fn forward(mut self) -> Option<()> {
        loop {
            let head = Head::read(&mut self.from)?;
            let status = head.status()?;
            if status == 100 {
                head.write(&mut self.to)?;
                continue;
            }
            let Expected { has_body, fate, tell } = self.expected.recv().ok()?;
            let is_upgraded = status == 101;
            let _ = tell.map(|tell| tell.send(is_upgraded));
            let body = match status {
                _ if is_upgraded => Body::UntilClosed,
                204 | 304 => Body::Length(0),
                _ if !has_body => Body::Length(0),
                _ => head.body().unwrap_or(Body::UntilClosed),
            };
            match fate {
                Fate::Given => {
                    head.write(&mut self.to)?;
                    body.forward(&mut self.from, &mut self.to)?;
                }
                Fate::Lost => {
                    body.read(&mut self.from)?;
                    return None;
                }
                Fate::Rewritten { from, to } => {
                    let body = replaced(&body.read(&mut self.from)?, from.as_bytes(), to.as_bytes());
                    head.before(body.len()).write(&mut self.to)?;
                    self.to.write_all(&body).ok()?;
                }
            }
            if matches!(body, Body::UntilClosed) {
                return None;
            }
        }
    }
}

/// A text with every `from` in it replaced.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut new, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        new.extend_from_slice(&rest[..at]);
        new.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    new.extend_from_slice(rest);
    new
}
