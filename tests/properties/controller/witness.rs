//! Sees passes, runs, calls and what is told, each with the virtual time at which it was, and finds what must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ksail::engine::EngineError;
use ksail::engine::memory::{Call, CallKind, Memory};
use ksail::event::{Event as Told, Reporter};
use tokio::time::Instant;
use tracing::Event;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::Registry;

use crate::nodes::NAMES;

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);
/// Runs of a subject in a minute, and in ten.
const RUNS: [(Duration, usize); 2] = [(MINUTE, 10), (TEN_MINUTES, 19)];
/// A second with both its ends.
const PASSES: usize = 21;
/// Calls at one moment: more than a hundred for each container that there is mean that it does not pass.
const AT_ONCE: usize = 2_000;
/// Lines that a failure shows.
const SHOWN: usize = 250;

/// Clones share it.
#[derive(Clone)]
pub(super) struct Witness(Arc<Mutex<Seen>>);

struct Seen {
    begun: Instant,
    passes: Vec<Instant>,
    /// By subject, when each began, and whether it was counted.
    runs: BTreeMap<String, Vec<(Instant, bool)>>,
    /// By name of the container.
    starts: BTreeMap<String, Vec<Instant>>,
    /// By name of a node, the containers of that name that something was done in.
    nodes: BTreeMap<String, BTreeSet<String>>,
    last_write: Option<(Instant, String)>,
    /// The moment of the last call, and how many there were at it.
    at_once: (Instant, usize),
    /// Names of volumes that nobody may remove, as of the last edits.
    wanted: Vec<(Instant, Option<BTreeSet<String>>)>,
    /// Names of volumes that somebody else has removed, until a registry is started on new ones: what the engine puts in
    /// their place for a container is nobody's and empty.
    lost: BTreeSet<String>,
    /// Whether the cluster is to be there, as of the last edits.
    wants_cluster: Vec<(Instant, bool)>,
    wrongs: Vec<String>,
    lines: Vec<String>,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            begun: Instant::now(),
            passes: Vec::new(),
            runs: BTreeMap::new(),
            starts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_write: None,
            at_once: (Instant::now(), 0),
            wanted: Vec::new(),
            lost: BTreeSet::new(),
            wants_cluster: Vec::new(),
            wrongs: Vec::new(),
            lines: Vec::new(),
        })))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees every call from now on: a fault that looks at each and strikes none.
    pub(super) fn watch(&self, engine: &Memory) {
        let witness = self.clone();
        let sees = move |call: &Call| {
            witness.seen().call(call);
            false
        };
        engine.fail(sees, usize::MAX, EngineError::Refused { status: 0, message: "never told".to_owned() });
    }

    /// Volumes that stay from now on: those of these names, or all; and whether the cluster does.
    pub(super) fn wants(&self, volumes: Option<BTreeSet<String>>, cluster: bool) {
        let (now, mut seen) = (Instant::now(), self.seen());
        seen.wanted.push((now, volumes));
        seen.wants_cluster.push((now, cluster));
    }

    /// Somebody else has removed a volume, with all that was in it.
    pub(super) fn loses(&self, volume: String) {
        self.seen().lost.insert(volume);
    }

    /// A whole cluster is about to be deleted.
    pub(super) fn sees_deletion(&self) {
        let mut seen = self.seen();
        if since_before_now(&seen.wants_cluster).iter().all(|(_, is_wanted)| *is_wanted) {
            seen.wrongs.push("the cluster is deleted: it is wanted".to_owned());
        }
    }

    pub(super) fn note(&self, what: &str) {
        self.seen().line(what);
    }

    /// When a container was started, the first time at this moment or later.
    pub(super) fn started(&self, container: &str, since: Instant) -> Option<Instant> {
        let seen = self.seen();
        seen.starts.get(container)?.iter().find(|at| **at >= since).copied()
    }

    pub(super) fn last_write(&self) -> Option<(Instant, String)> {
        self.seen().last_write.clone()
    }

    /// The first bound that was not kept, if one was not.
    pub(super) fn complaint(&self, edits: usize) -> Option<String> {
        let seen = self.seen();
        if let Some(wrong) = seen.wrongs.first() {
            return Some(wrong.clone());
        }
        if let Some(at) = more_than(PASSES, SECOND, &seen.passes) {
            return Some(format!("{} passes and more within the second from {:?} on", PASSES + 1, at - seen.begun));
        }
        for (subject, runs) in &seen.runs {
            let counted: Vec<Instant> = runs.iter().filter(|(_, is_counted)| *is_counted).map(|(at, _)| *at).collect();
            for (period, most) in RUNS {
                if let Some(at) = more_than(most, period, &counted) {
                    let since = at - seen.begun;
                    return Some(format!(
                        "{subject} ran {} times and more within {period:?} from {since:?} on",
                        most + 1
                    ));
                }
            }
            let free = runs.len() - counted.len();
            let nodes = seen.nodes_of(subject);
            if free > edits + nodes {
                return Some(format!("{subject} ran {free} times without paying, for {edits} edits and {nodes} nodes"));
            }
        }
        None
    }

    /// The last things that happened.
    pub(super) fn story(&self) -> String {
        let seen = self.seen();
        let skip = seen.lines.len().saturating_sub(SHOWN);
        seen.lines[skip..].iter().fold(String::new(), |mut story, line| {
            let _ = writeln!(story, "  {line}");
            story
        })
    }
}

/// When the first period of this length began in which there are more than `most`, its ends included.
fn more_than(most: usize, period: Duration, times: &[Instant]) -> Option<Instant> {
    times.windows(most + 1).find(|window| window[most] - window[0] <= period).map(|window| window[0])
}

impl Seen {
    fn line(&mut self, what: &str) {
        let at = self.begun.elapsed();
        self.lines.push(format!("{:>9.3} {what}", at.as_secs_f64()));
    }

    /// How many nodes there were that something was done in: those of a name, or those of the cluster.
    fn nodes_of(&self, subject: &str) -> usize {
        let is_its = |name: &str| subject == format!("node {name}") || subject.starts_with("cluster ");
        self.nodes.iter().filter(|(name, _)| is_its(name)).map(|(_, containers)| containers.len()).sum()
    }

    fn call(&mut self, call: &Call) {
        let at = Instant::now();
        self.at_once = if self.at_once.0 == at { (at, self.at_once.1 + 1) } else { (at, 1) };
        if self.at_once.1 > AT_ONCE {
            self.wrongs.push(format!("{AT_ONCE} calls and more at one moment: {call:?}"));
            panic!("time stands still");
        }
        if call.kind == CallKind::Read {
            return;
        }
        let Call { name, object, container, .. } = call;
        let now = Instant::now();
        let shown = container.as_ref().unwrap_or(object);
        let what = format!("{name} {shown}");
        self.line(&format!("      {what}"));
        self.last_write = Some((now, what.clone()));
        if *name == "start_container" {
            self.starts.entry(shown.clone()).or_default().push(now);
            self.lost.remove(shown.trim_end_matches(".next"));
        }
        let is_node = NAMES.iter().any(|(node, _)| node == shown);
        if is_node && matches!(*name, "put_archive" | "exec") {
            self.nodes.entry(shown.clone()).or_default().insert(object.clone());
        } else if is_node {
            self.wrongs.push(format!("{what}: nodes are not ksail's"));
        }
        let stays = |(_, wanted): &(Instant, Option<BTreeSet<String>>)| {
            wanted.as_ref().is_none_or(|names| names.contains(object))
        };
        if *name == "remove_volume" && since_before_now(&self.wanted).iter().all(stays) && !self.lost.contains(object) {
            self.wrongs.push(format!("{what}: it is wanted"));
        }
    }
}

/// What was asked for last, and what before: who decided at the moment of an edit did not know of it.
fn since_before_now<T>(asked: &[(Instant, T)]) -> &[(Instant, T)] {
    let now = Instant::now();
    &asked[asked.iter().rposition(|(since, _)| *since < now).unwrap_or(0)..]
}

impl Reporter for Witness {
    fn report(&self, event: &Told) {
        let what = match event {
            Told::Condition { subject, condition } => {
                format!(
                    "{subject}: {:?} {:?} {:?}: {}",
                    condition.kind, condition.status, condition.reason, condition.message
                )
            }
            Told::Action(report) => format!("    {} {}: {:?}", report.action, report.object, report.result),
            Told::ActionStarted(_) | Told::PassFinished { .. } => return,
            other => format!("{other:?}"),
        };
        self.seen().line(&what);
    }
}

/// The traces of the loop.
impl Layer<Registry> for Witness {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, Registry>) {
        let mut seen = self.seen();
        match event.metadata().target() {
            "ksail::pass" => seen.passes.push(Instant::now()),
            "ksail::run" => {
                let mut run = Run::default();
                event.record(&mut run);
                let free = if run.is_counted { "" } else { " (free)" };
                seen.line(&format!("  {} runs: {}{free}", run.subject, run.cause));
                seen.runs.entry(run.subject).or_default().push((Instant::now(), run.is_counted));
            }
            _ => {}
        }
    }
}

/// What the trace of a run says.
#[derive(Default)]
struct Run {
    subject: String,
    cause: String,
    is_counted: bool,
}

impl Visit for Run {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "subject" {
            self.subject = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "cause" {
            value.clone_into(&mut self.cause);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "is_counted" {
            self.is_counted = value;
        }
    }
}
