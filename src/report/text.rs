//! Text for people: a line per thing that happened, a table for a status.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Zoned;
use tabwriter::TabWriter;

use super::writer::Writer;
use crate::event::{ActionReport, ActionResult, Event, Reporter};
use crate::manifest::shown;
use crate::outcome::Failure;
use crate::plan::{Plan, Subject};
use crate::status::{Condition, ConditionStatus, ConditionType, MirrorStatus, Reason, Status};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const QUIET: Style = AnsiColor::BrightBlack.on_default();

/// Reports a line per event. Styles are written always; the stream it writes to strips them where they are not wanted.
#[derive(Debug)]
pub struct Text {
    out: Writer,
    clock: bool,
    /// Mirrors whose upstream was told to be unreachable, and not that it is back.
    unreachable: Mutex<BTreeSet<String>>,
}

impl Text {
    /// Writes to `out`; with `clock` each line begins with the time of day.
    pub fn new(out: Writer, clock: bool) -> Self {
        Self { out, clock, unreachable: Mutex::default() }
    }

    /// That an upstream answers is worth a line only when it did not before.
    fn is_back(&self, event: &Event) -> Option<String> {
        let Event::Condition { subject, condition } = event else { return None };
        if condition.kind != ConditionType::UpstreamReachable {
            return None;
        }
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if condition.status == ConditionStatus::False {
            unreachable.insert(subject.to_string());
            return None;
        }
        let is_back = condition.status == ConditionStatus::True && unreachable.remove(&subject.to_string());
        is_back.then(|| format!("{subject}: upstream reachable: {}", condition.message))
    }
}

impl Reporter for Text {
    fn report(&self, event: &Event) {
        let Some(line) = self.is_back(event).or_else(|| line(event)) else { return };
        let time =
            if self.clock { format!("{QUIET}{}{QUIET:#} ", Zoned::now().strftime("%H:%M:%S")) } else { String::new() };
        self.out.push(event.importance(), format!("{time}{line}\n"));
    }
}

/// Says how many lines a reader was too slow for.
pub fn left_out_as_text(lines: usize) -> String {
    let s = if lines == 1 { "" } else { "s" };
    format!("{QUIET}… {lines} line{s} left out{QUIET:#}\n")
}

fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Watching { file, cluster } => format!(
            "watching {} for cluster {cluster}; Ctrl-C stops watching and leaves the registries running",
            shown(file)
        ),
        Event::ManifestLoaded { mirrors: 1 } => "manifest loaded: 1 mirror".to_owned(),
        Event::ManifestLoaded { mirrors } => format!("manifest loaded: {mirrors} mirrors"),
        Event::ManifestRejected { message } => {
            format!("{BAD}manifest not loaded; the last good one stays in force{BAD:#}\n{}", message.trim_end())
        }
        Event::ManifestPolled { file, reason } => {
            let name = file.file_name().unwrap_or_default().display();
            format!("{name}: no file events here ({reason}); it is read every second")
        }
        Event::EngineFound(info) => format!("{} {} at {}", info.name, info.version, info.address),
        Event::EngineLost { message } => format!("{BAD}engine lost{BAD:#}: {message}; trying again"),
        Event::EngineRefuses { message } => format!("{BAD}engine refuses{BAD:#}: {message}; trying again"),
        Event::Waiting { message } => message.clone(),
        Event::LeftBehind { subject } => {
            format!(
                "{BAD}{subject}: what its creation left may be there still{BAD:#}; `ksail cluster delete` deletes it"
            )
        }
        Event::Removing { what, after } => {
            let what: Vec<String> = what.iter().map(ToString::to_string).collect();
            format!("ksail.yaml does not ask for {} any more: to be removed in {}", what.join(", "), seconds(*after))
        }
        Event::Action(report) => action(report)?,
        Event::Pulling { image, progress } if progress.id.is_empty() || progress.total.is_none() => {
            let of = if progress.id.is_empty() { String::new() } else { format!(" {}", progress.id) };
            format!("{QUIET}pulling {image}:{of} {}{QUIET:#}", progress.status)
        }
        Event::Output { subject, line } => format!("{QUIET}{subject}: {line}{QUIET:#}"),
        Event::Condition { subject, condition } => self::condition(subject, condition)?,
        Event::Retry { subject, after } => format!("{subject}: trying again in {}", seconds(*after)),
        Event::ActionStarted(_) | Event::PassStarted { .. } | Event::PassFinished { .. } | Event::Pulling { .. } => {
            return None;
        }
    })
}

fn action(report: &ActionReport) -> Option<String> {
    let ActionReport { subject, text, cause, .. } = report;
    match &report.result {
        // That it serves shows in its condition.
        ActionResult::Done if report.action == "AwaitServing" => None,
        ActionResult::Done => {
            Some(format!("{subject}: {text}: {cause} {QUIET}({}){QUIET:#}", seconds(report.duration)))
        }
        ActionResult::Failed(failure) if report.action == "AwaitServing" => {
            Some(format!("{subject}: {BAD}{failure}{BAD:#}"))
        }
        ActionResult::Failed(failure) => {
            Some(format!("{subject}: {BAD}could not {text}{BAD:#}: {}", without_output(failure)))
        }
        ActionResult::Cancelled => {
            Some(format!("{subject}: {text}: given up, ksail was told to stop or the file changed"))
        }
    }
}

/// A failure in one line: what a program said has been shown as it came.
fn without_output(failure: &Failure) -> String {
    match failure {
        Failure::Provisioner(error) => error.in_short(),
        Failure::Remains { created, left } => {
            format!("{}; what it left could not be deleted: {}", created.in_short(), without_output(left))
        }
        failure => failure.to_string(),
    }
}

fn condition(subject: &Subject, condition: &Condition) -> Option<String> {
    let Condition { kind, reason, message, .. } = condition;
    let name = kind.as_str();
    match (kind, condition.status) {
        (ConditionType::Ready, _) if *reason == Reason::Progressing => None,
        (ConditionType::Ready, ConditionStatus::True) => Some(format!("{subject}: {GOOD}Ready{GOOD:#}")),
        (ConditionType::Ready, _) => Some(format!("{subject}: {BAD}not Ready{BAD:#}: {}: {message}", reason.as_str())),
        (ConditionType::UpstreamReachable, ConditionStatus::False) => {
            Some(format!("{subject}: upstream unreachable: {message}"))
        }
        (ConditionType::NetworkAttached, ConditionStatus::False) if *reason == Reason::NetworkNotFound => {
            Some(format!("{subject}: {message}"))
        }
        (ConditionType::ClusterReady, ConditionStatus::True) => Some(format!("{subject}: {GOOD}{name}{GOOD:#}")),
        (ConditionType::ClusterReady, _) if is_passing(*reason) => None,
        (ConditionType::ClusterReady, _) => {
            Some(format!("{subject}: {BAD}not {name}{BAD:#}: {}: {message}", reason.as_str()))
        }
        (ConditionType::RegistryAdvertised, ConditionStatus::False) if *reason == Reason::AdvertisedByOthers => {
            Some(format!("{subject}: {message}"))
        }
        _ => None,
    }
}

/// What its actions tell of themselves.
const fn is_passing(reason: Reason) -> bool {
    matches!(reason, Reason::ClusterMissing | Reason::ClusterLeft | Reason::ProvisionerFailed | Reason::Progressing)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// A plan, and what to make of it.
pub fn plan_as_text(plan: &Plan) -> String {
    if plan.is_empty() {
        // What it warns of is nothing that ksail does.
        return format!("{plan}Nothing to do.\n");
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let of_kind = |kind: &str| plan.sequences.keys().filter(|subject| subject.kind() == kind).count();
    let subjects = ["mirror", "volume", "node", "cluster"].map(|kind| (of_kind(kind), kind));
    let subjects = subjects.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| count(*n, kind));
    format!("{plan}\n{} for {}.\n", count(plan.changes(), "change"), subjects.collect::<Vec<_>>().join(", "))
}

/// A status as a table, with more columns when `wide`, and a line for everything that is not well.
pub fn status_as_table(status: &Status, wide: bool) -> String {
    if status.mirrors.is_empty() && status.leftovers.is_empty() {
        let none = format!("Cluster {}: state {}, no mirrors.\n", status.cluster, status.state);
        return none + &about_cluster(status, wide);
    }
    let mut table = TabWriter::new(Vec::new()).padding(2);
    let more = if wide { "\tUPSTREAM\tALIAS\tCONTAINER\tNETWORK\tNODES" } else { "" };
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
                ConditionType::Ready
                    | ConditionType::UpstreamReachable
                    | ConditionType::NetworkAttached
                    | ConditionType::NodesWired
            );
            // What Ready says already is not said twice.
            let ready = mirror.condition(ConditionType::Ready);
            let is_said =
                condition.kind != ConditionType::Ready && ready.is_some_and(|ready| ready.message == condition.message);
            telling && !is_said && condition.status == ConditionStatus::False
        };
        for condition in mirror.conditions.iter().filter(worth_saying) {
            let _ = writeln!(text, "{}: {}: {}", mirror.host, condition.reason.as_str(), condition.message);
        }
    }
    for (host, why) in &status.leftovers {
        let _ = writeln!(text, "{host}: still to be removed: {why}");
    }
    text + &about_cluster(status, wide)
}

/// A line for each condition of the cluster that does not hold; with `wide` for those that do as well.
fn about_cluster(status: &Status, wide: bool) -> String {
    let said = status.conditions.iter().filter(|condition| wide || condition.status != ConditionStatus::True);
    said.fold(String::new(), |mut text, Condition { kind, status: holds, reason, message, .. }| {
        let (kind, holds, reason) = (kind.as_str(), holds.as_str(), reason.as_str());
        let _ = writeln!(text, "cluster {}: {kind}={holds}: {reason}: {message}", status.cluster);
        text
    })
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
        let nodes = mirror.condition(ConditionType::NodesWired).map_or("-", |wired| wired.reason.as_str());
        let _ = write!(row, "\t{upstream}\t{}\t{container}\t{network}\t{nodes}", mirror.alias);
    }
    row
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use jiff::Timestamp;

    use super::*;

    #[test]
    fn lines_that_were_left_out_are_counted_for_people() {
        let plain = |lines| anstream::adapter::strip_str(&left_out_as_text(lines)).to_string();
        assert_eq!([plain(1), plain(312)], ["… 1 line left out\n", "… 312 lines left out\n"]);
    }

    #[test]
    fn that_an_upstream_answers_is_told_only_when_it_did_not_before() {
        let (mut read, out) = pipe().unwrap();
        let text = Text::new(Writer::start(out, left_out_as_text, |_| {}).unwrap(), false);
        let tell = |status, message: &str| {
            let kind = ConditionType::UpstreamReachable;
            let (reason, message) = (Reason::UpstreamAnswers, message.to_owned());
            let condition = Condition { kind, status, reason, message, since: Timestamp::UNIX_EPOCH };
            text.report(&Event::Condition { subject: Subject::mirror("docker.io"), condition });
        };
        tell(ConditionStatus::Unknown, "not tried yet");
        tell(ConditionStatus::True, "first");
        tell(ConditionStatus::False, "refused");
        tell(ConditionStatus::Unknown, "engine away");
        tell(ConditionStatus::True, "second");
        tell(ConditionStatus::True, "third");
        text.out.finish(Duration::from_secs(60));
        let mut written = String::new();
        read.read_to_string(&mut written).unwrap();
        assert_eq!(written, "docker.io: upstream unreachable: refused\ndocker.io: upstream reachable: second\n");
    }
}
