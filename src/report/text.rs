//! Text for people: a line per thing that happened, a table for a status.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Zoned;
use tabwriter::TabWriter;

use super::{ActionReport, ActionResult, Event, Reporter};
use crate::plan::Plan;
use crate::status::{Condition, ConditionStatus, ConditionType, MirrorStatus, Reason, Status};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const QUIET: Style = AnsiColor::BrightBlack.on_default();

/// Writes a line per event. Styles are written always; the stream it writes to strips them where they are not wanted.
#[derive(Debug)]
pub struct Text<W> {
    out: Mutex<W>,
    clock: bool,
}

impl<W: Write + Send> Text<W> {
    /// Writes to `out`; with `clock` each line begins with the time of day.
    pub fn new(out: W, clock: bool) -> Self {
        Self { out: Mutex::new(out), clock }
    }
}

impl<W: Write + Send> Reporter for Text<W> {
    fn report(&self, event: &Event) {
        let Some(line) = line(event) else { return };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let time =
            if self.clock { format!("{QUIET}{}{QUIET:#} ", Zoned::now().strftime("%H:%M:%S")) } else { String::new() };
        // Nobody is left to tell when standard output is gone; mirrors are kept up all the same.
        let _ = writeln!(out, "{time}{line}").and_then(|()| out.flush());
    }
}

fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Watching { file, cluster } => format!(
            "watching {} for cluster {cluster}; Ctrl-C stops watching and leaves the registries running",
            file.display()
        ),
        Event::ManifestLoaded { mirrors: 1 } => "manifest loaded: 1 mirror".to_owned(),
        Event::ManifestLoaded { mirrors } => format!("manifest loaded: {mirrors} mirrors"),
        Event::ManifestRejected { message } => {
            format!("{BAD}manifest not loaded; the last good one stays in force{BAD:#}\n{}", message.trim_end())
        }
        Event::EngineFound(info) => format!("{} {} at {}", info.name, info.version, info.address),
        Event::EngineLost { message } => format!("{BAD}engine lost{BAD:#}: {message}; trying again"),
        Event::Waiting { message } => message.clone(),
        Event::Action(report) => action(report)?,
        Event::Pulling { image, progress } if progress.id.is_empty() || progress.total.is_none() => {
            let of = if progress.id.is_empty() { String::new() } else { format!(" {}", progress.id) };
            format!("{QUIET}pulling {image}:{of} {}{QUIET:#}", progress.status)
        }
        Event::Condition { mirror, condition } => self::condition(mirror, condition)?,
        Event::Retry { mirror, after } => format!("{mirror}: trying again in {}", seconds(*after)),
        Event::ActionStarted(_) | Event::PassStarted { .. } | Event::PassFinished { .. } | Event::Pulling { .. } => {
            return None;
        }
    })
}

fn action(report: &ActionReport) -> Option<String> {
    let ActionReport { mirror, text, cause, .. } = report;
    match &report.result {
        // That it serves shows in its condition.
        ActionResult::Done if report.action == "AwaitServing" => None,
        ActionResult::Done => Some(format!("{mirror}: {text}: {cause} {QUIET}({}){QUIET:#}", seconds(report.duration))),
        ActionResult::Failed(message) if report.action == "AwaitServing" => {
            Some(format!("{mirror}: {BAD}{message}{BAD:#}"))
        }
        ActionResult::Failed(message) => Some(format!("{mirror}: {BAD}could not {text}{BAD:#}: {message}")),
        ActionResult::Cancelled => {
            Some(format!("{mirror}: {text}: given up, ksail was told to stop or the file changed"))
        }
    }
}

fn condition(mirror: &str, condition: &Condition) -> Option<String> {
    let Condition { kind, reason, message, .. } = condition;
    match (kind, condition.status) {
        (ConditionType::Ready, _) if *reason == Reason::Progressing => None,
        (ConditionType::Ready, ConditionStatus::True) => Some(format!("{mirror}: {GOOD}Ready{GOOD:#}")),
        (ConditionType::Ready, _) => Some(format!("{mirror}: {BAD}not Ready{BAD:#}: {}: {message}", reason.as_str())),
        (ConditionType::UpstreamReachable, ConditionStatus::False) => {
            Some(format!("{mirror}: upstream unreachable: {message}"))
        }
        (ConditionType::NetworkAttached, ConditionStatus::False) if *reason == Reason::NetworkNotFound => {
            Some(format!("{mirror}: {message}"))
        }
        _ => None,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// A plan, and what to make of it.
pub fn plan_as_text(plan: &Plan) -> String {
    if plan.is_empty() {
        return "Nothing to do.\n".to_owned();
    }
    let (changes, mirrors) = (plan.changes(), plan.sequences.len());
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{plan}\n{} for {}.\n", count(changes, "change"), count(mirrors, "mirror"))
}

/// A status as a table, with more columns when `wide`, and a line for everything that is not well.
pub fn status_as_table(status: &Status, wide: bool) -> String {
    if status.mirrors.is_empty() && status.leftovers.is_empty() {
        return format!("Cluster {} is {} and has no mirrors.\n", status.cluster, status.state);
    }
    let mut table = TabWriter::new(Vec::new()).padding(2);
    let more = if wide { "\tUPSTREAM\tALIAS\tCONTAINER\tNETWORK" } else { "" };
    // Writing to a vector does not fail.
    let _ = writeln!(table, "HOST\tROLE\tADDRESS\tREADY\tREASON\tHITS\tMISSES{more}");
    for mirror in &status.mirrors {
        let _ = writeln!(table, "{}", row(mirror, wide));
    }
    let table = table.into_inner().unwrap_or_default();
    let mut text =
        String::from_utf8_lossy(&table).lines().map(str::trim_end).fold(String::new(), |text, line| text + line + "\n");
    for mirror in &status.mirrors {
        let worth_saying = |condition: &&Condition| {
            let telling = matches!(
                condition.kind,
                ConditionType::Ready | ConditionType::UpstreamReachable | ConditionType::NetworkAttached
            );
            telling && condition.status == ConditionStatus::False
        };
        for condition in mirror.conditions.iter().filter(worth_saying) {
            let _ = writeln!(text, "{}: {}: {}", mirror.host, condition.reason.as_str(), condition.message);
        }
    }
    for (host, why) in &status.leftovers {
        let _ = writeln!(text, "{host}: still to be removed: {why}");
    }
    text
}

fn row(mirror: &MirrorStatus, wide: bool) -> String {
    let dash = || "-".to_owned();
    let ready = mirror.condition(ConditionType::Ready);
    let (hits, misses) =
        mirror.cache.map_or((dash(), dash()), |cache| (cache.hits.to_string(), cache.misses.to_string()));
    let mut row = [
        mirror.host.clone(),
        mirror.role.to_string(),
        mirror.address.clone().unwrap_or_else(dash),
        ready.map_or_else(dash, |ready| ready.status.as_str().to_owned()),
        ready.map_or_else(dash, |ready| ready.reason.as_str().to_owned()),
        hits,
        misses,
    ]
    .join("\t");
    if wide {
        let upstream = mirror.upstream.as_deref().unwrap_or("-");
        let container = mirror.container.as_ref().map_or_else(dash, |container| container.state.to_string());
        let network = mirror.condition(ConditionType::NetworkAttached).map_or("-", |attached| attached.reason.as_str());
        let _ = write!(row, "\t{upstream}\t{}\t{container}\t{network}", mirror.alias);
    }
    row
}
