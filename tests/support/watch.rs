//! A running `ksail watch -o json`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::deadline::eventually;
use super::process::Process;
pub(crate) use super::process::signal;

/// One line of `ksail watch -o json`, and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) json: Value,
}

impl Event {
    /// Whether its `event` is `kind`.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.json["event"] == kind
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    /// Whether it reports that an engine call was made or tried.
    pub(crate) fn is_action(&self) -> bool {
        self.is("action")
    }

    /// Whether it says that this condition of a mirror is now so.
    pub(crate) fn is_condition(&self, mirror: &str, kind: &str, status: &str) -> bool {
        self.is("condition")
            && self.text("mirror") == mirror
            && self.text("type") == kind
            && self.text("status") == status
    }
}

/// Killed when dropped, if it has not ended.
pub(crate) struct Watch {
    process: Process,
    events: Arc<Mutex<Vec<Event>>>,
    stderr: Arc<Mutex<String>>,
}

impl Watch {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let events = Arc::new(Mutex::new(Vec::new()));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (out, err) = (process.stdout(), process.stderr());
        thread::spawn({
            let events = Arc::clone(&events);
            move || collect(out, &events)
        });
        thread::spawn({
            let stderr = Arc::clone(&stderr);
            move || {
                for line in BufReader::new(err).lines().map_while(Result::ok) {
                    let mut text = stderr.lock().expect("no reader panics");
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        });
        Self { process, events, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many events there have been: what [`Watch::since`] takes.
    pub(crate) fn mark(&self) -> usize {
        self.events.lock().expect("no reader panics").len()
    }

    /// Events after a mark.
    pub(crate) fn since(&self, mark: usize) -> Vec<Event> {
        self.events.lock().expect("no reader panics")[mark..].to_vec()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panics").clone()
    }

    /// The first event that `wanted` accepts, of those that have come and those that come within `limit`.
    pub(crate) fn await_event(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        self.await_event_since(0, what, limit, wanted)
    }

    pub(crate) fn await_event_since(
        &mut self,
        mark: usize,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        let poll = || {
            let events = self.since(mark);
            events.iter().find(|event| wanted(event)).cloned().ok_or_else(|| {
                let tail: Vec<String> = events.iter().map(|event| event.json.to_string()).collect();
                format!("{}\n{}", tail.join("\n"), self.stderr())
            })
        };
        eventually(what, limit, poll).0
    }

    /// Waits until a save of the manifest since `mark` has been followed by all that it asks for.
    pub(crate) fn await_followed(&mut self, mark: usize) {
        self.await_event_since(mark, "the manifest is loaded", Duration::from_secs(10), |event| {
            event.is("manifestLoaded")
        });
        // What ended before it was loaded was about something else.
        let loaded = self.since(mark).iter().position(|event| event.is("manifestLoaded")).unwrap_or_default();
        let mark = mark + loaded;
        self.await_event_since(mark, "it is followed", Duration::from_secs(20), |event| event.is("passFinished"));
    }

    /// Waits until every mirror of the manifest is Ready and no pass is under way.
    pub(crate) fn await_ready(&self) {
        eventually("every mirror is Ready", Duration::from_secs(30), || {
            let events = self.since(0);
            let count = |kind: &str| events.iter().filter(|event| event.is(kind)).count();
            let mirrors =
                events.iter().rev().find(|event| event.is("manifestLoaded")).map(|event| &event.json["mirrors"]);
            let ready: BTreeSet<&str> = events
                .iter()
                .filter(|event| {
                    event.is("condition") && event.text("type") == "Ready" && event.text("status") == "True"
                })
                .map(|event| event.text("mirror"))
                .collect();
            let settled = count("engineFound") > 0 && count("passStarted") == count("passFinished");
            if settled && mirrors.and_then(Value::as_u64) == Some(ready.len() as u64) {
                return Ok(());
            }
            Err(format!("{events:#?}\n{}", self.stderr()))
        });
    }

    /// Waits until there has been no event for `quiet`, and returns those since `mark`.
    pub(crate) fn settled_since(&self, mark: usize, quiet: Duration) -> Vec<Event> {
        let mut seen = (self.mark(), Instant::now());
        eventually("watch settles", Duration::from_secs(30), || {
            let now = self.mark();
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            if seen.1.elapsed() >= quiet { Ok(()) } else { Err(format!("{now} events")) }
        });
        self.since(mark)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn await_exit(&mut self, limit: Duration) -> Option<i32> {
        self.process.await_exit(limit)
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.await_exit(Duration::from_secs(20))
    }
}

fn collect(out: impl Read, events: &Mutex<Vec<Event>>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let at = Instant::now();
        let json = serde_json::from_str(&line).unwrap_or(Value::String(line));
        events.lock().expect("no reader panics").push(Event { at, json });
    }
}
