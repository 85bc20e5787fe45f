//! Text for people: a line per thing that happened, a table for a status.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Zoned;
use jiff::tz::TimeZone;
use tabwriter::TabWriter;

use super::line::Line;
use super::told::{News, Told};
use super::writer::Writer;
use crate::event::{ActionReport, ActionResult, Event, Reporter};
use crate::manifest::shown;
use crate::outcome::Failure;
use crate::plan::{Plan, Subject};
use crate::status::{Condition, ConditionStatus, ConditionType, MirrorStatus, Reason, Status};

/// Reports a line per event that is news.
#[derive(Debug)]
pub struct Text {
    out: Writer,
    clock: bool,
    told: Mutex<Told>,
}

impl Text {
    /// Writes to `out`; with `clock` each line begins with the time of day.
    pub fn new(out: Writer, clock: bool) -> Self {
        Self { out, clock, told: Mutex::default() }
    }
}

impl Reporter for Text {
    fn report(&self, event: &Event) {
        let news = self.told.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
        let line = match (news, event) {
            (News::Old, _) => None,
            (News::UpstreamIsBack, Event::Condition { subject, condition }) => {
                Some(Line::of(format!("{subject}: upstream is back: {}", condition.message)))
            }
            (News::New | News::UpstreamIsBack, event) => line(event),
        };
        let Some(line) = line else { return };
        let clock = Zoned::now().strftime("%H:%M:%S ");
        let time = if self.clock { Line::default().quiet(clock) } else { Line::default() };
        let line = time.and(&line);
        // What a program says is shown as it comes.
        let text = if matches!(event, Event::Output { .. }) { line.to_string() } else { line.wrapped() };
        self.out.push(event.importance(), text + "\n");
    }
}

/// Says how many lines a reader was too slow for.
pub fn left_out_as_text(lines: usize) -> String {
    let s = if lines == 1 { "" } else { "s" };
    format!("{}\n", Line::default().quiet(format!("… {lines} line{s} left out")))
}

fn line(event: &Event) -> Option<Line> {
    Some(match event {
        Event::Watching { file, cluster } => {
            Line::of(format!("watching {} (cluster {cluster}); Ctrl-C leaves the registries running", shown(file)))
        }
        Event::ManifestLoaded { mirrors: 1 } => Line::of("ksail.yaml loaded: 1 mirror"),
        Event::ManifestLoaded { mirrors } => Line::of(format!("ksail.yaml loaded: {mirrors} mirrors")),
        Event::ManifestRejected { message } => {
            let line = Line::default().bad("ksail.yaml not loaded; the last good one stays in force");
            line.then("\n").then(message.trim_end())
        }
        Event::ManifestPolled { file, reason } => {
            let name = file.file_name().unwrap_or_default().display();
            Line::of(format!("{name}: no file events here ({reason}); it is read every second"))
        }
        Event::EngineFound(info) => Line::of(format!("{} {} at {}", info.name, info.version, info.address)),
        Event::EngineLost { message } => Line::default().bad("engine lost").then(format!(": {message}; trying again")),
        Event::EngineRefuses { message } => {
            Line::default().bad("engine refuses").then(format!(": {message}; trying again"))
        }
        Event::Waiting { message } => Line::of(message),
        Event::Stopping { under_way } => {
            let what: Vec<String> = under_way.iter().map(ToString::to_string).collect();
            let what = what.join(", ");
            let when = format!("once what is under way for {what} is finished or taken back");
            Line::of(format!("stopping {when}; Ctrl-C again ends at once"))
        }
        Event::LeftBehind { subject } => Line::default()
            .bad(format!("{subject}: what its creation left may be there still"))
            .then("; `ksail cluster delete` deletes it"),
        Event::Exposed(exposure) => Line::default().bad("warning").then(format!(": {exposure}")),
        Event::Removing { what, after } => {
            let what: Vec<String> = what.iter().map(ToString::to_string).collect();
            let (what, after) = (what.join(", "), seconds(*after));
            Line::of(format!("ksail.yaml does not ask for {what} any more: to be removed in {after}"))
        }
        Event::Action(report) => action(report)?,
        Event::Pulling { image, progress } if progress.id.is_empty() || progress.total.is_none() => {
            let of = if progress.id.is_empty() { String::new() } else { format!(" {}", progress.id) };
            Line::default().quiet(format!("pulling {image}:{of} {}", progress.status))
        }
        Event::Output { subject, line } => Line::default().quiet(format!("{subject}: {line}")),
        Event::Condition { subject, condition } => self::condition(subject, condition)?,
        Event::Retry { subject, after } => Line::of(format!("{subject}: trying again in {}", seconds(*after))),
        Event::ActionStarted(_) | Event::PassStarted { .. } | Event::PassFinished { .. } | Event::Pulling { .. } => {
            return None;
        }
    })
}

fn action(report: &ActionReport) -> Option<Line> {
    let ActionReport { subject, text, done, cause, .. } = report;
    let about = Line::of(format!("{subject}: "));
    match &report.result {
        // That it serves shows in its condition.
        ActionResult::Done if report.action == "AwaitServing" => None,
        ActionResult::Done => {
            let took = format!("({})", seconds(report.duration));
            Some(about.then(format!("{done}: {cause} ")).quiet(took))
        }
        ActionResult::Failed(failure) if report.action == "AwaitServing" => Some(about.bad(failure)),
        ActionResult::Failed(failure) => {
            Some(about.bad(format!("could not {text}")).then(": ").then(why(failure, text)))
        }
        ActionResult::Cancelled(why) => Some(about.then(format!("gave up: {text}: {why}"))),
    }
}

/// Why the action of this text failed: what it was is said, and what a program said has been shown as it came.
fn why(failure: &Failure, text: &str) -> String {
    match failure {
        Failure::Engine { what, error } if what.ends_with(text) => error.to_string(),
        Failure::InNode { what, said } if what.ends_with(text) => said.clone(),
        Failure::Provisioner(error) => error.in_short(),
        Failure::Remains { created, left } => {
            format!("{}; what it left could not be deleted: {}", created.in_short(), why(left, text))
        }
        failure => failure.to_string(),
    }
}

fn condition(subject: &Subject, condition: &Condition) -> Option<Line> {
    let Condition { kind, reason, message, .. } = condition;
    let name = kind.as_str();
    let about = Line::of(format!("{subject}: "));
    let why = format!(": {}: {message}", reason.as_str());
    match (kind, condition.status) {
        (ConditionType::Ready, _) if *reason == Reason::Progressing => None,
        (ConditionType::Ready, ConditionStatus::True) if *reason == Reason::ServingFromCache => {
            Some(about.good("Ready").then(": ").then(message))
        }
        (ConditionType::Ready, ConditionStatus::True) => Some(about.good("Ready")),
        (ConditionType::Ready, _) => Some(about.bad("not Ready").then(why)),
        (ConditionType::UpstreamReachable, ConditionStatus::False) => {
            Some(about.then(upstream(*reason)).then(": ").then(message))
        }
        (ConditionType::NetworkAttached, ConditionStatus::False) if *reason == Reason::NetworkNotFound => {
            Some(about.then(message))
        }
        (ConditionType::Reachable | ConditionType::ReadsHostsFiles | ConditionType::Wired, ConditionStatus::False)
            if *reason != Reason::Progressing =>
        {
            Some(about.bad(format!("not {name}")).then(why))
        }
        (ConditionType::Reachable | ConditionType::ReadsHostsFiles | ConditionType::Wired, ConditionStatus::True) => {
            Some(about.good(name))
        }
        (ConditionType::ClusterReady, ConditionStatus::True) => Some(about.good(name)),
        (ConditionType::ClusterReady, _) if is_passing(*reason) => None,
        (ConditionType::ClusterReady, _) => Some(about.bad(format!("not {name}")).then(why)),
        (ConditionType::RegistryAdvertised, ConditionStatus::False) if *reason == Reason::AdvertisedByOthers => {
            Some(about.then(message))
        }
        _ => None,
    }
}

/// An upstream from which nothing new can be had.
const fn upstream(reason: Reason) -> &'static str {
    match reason {
        Reason::UpstreamUnauthorized => "upstream refuses who asks",
        Reason::UpstreamUntrusted => "upstream not trusted",
        Reason::UpstreamRateLimited => "upstream rate-limited",
        Reason::UpstreamBroken => "upstream broken",
        Reason::UpstreamSilent => "upstream silent",
        Reason::ImageWithoutShell => "credentials not read",
        _ => "upstream unreachable",
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
        if let Some(since) = mirror.from_cache_since {
            let since = since.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M");
            let _ = writeln!(
                text,
                "{}: served from its cache, read-only, since {since}; it comes back with its upstream",
                mirror.host
            );
        }
        for condition in mirror.conditions.iter().filter(worth_saying) {
            let _ = writeln!(text, "{}: {}: {}", mirror.host, condition.reason.as_str(), condition.message);
        }
    }
    for (host, why) in &status.leftovers {
        let _ = writeln!(text, "{host}: still to be removed: {why}");
    }
    text + &about_nodes(status) + &about_cluster(status, wide)
}

/// Every condition of each of its mirrors.
pub fn conditions_as_table(status: &Status) -> String {
    let mut text = String::new();
    for mirror in &status.mirrors {
        let mut table = TabWriter::new(Vec::new()).padding(2);
        // Writing to a vector does not fail.
        let _ = writeln!(table, "CONDITION\tSTATUS\tREASON\tMESSAGE");
        for Condition { kind, status, reason, message, .. } in &mirror.conditions {
            let _ = writeln!(table, "{}\t{}\t{}\t{message}", kind.as_str(), status.as_str(), reason.as_str());
        }
        text += &String::from_utf8_lossy(&table.into_inner().unwrap_or_default());
    }
    text
}

/// A line for each condition of a node that does not hold: mirrors only name the node.
fn about_nodes(status: &Status) -> String {
    let all = status.node_conditions.iter();
    let said = all.flat_map(|(name, conditions)| conditions.iter().map(move |condition| (name, condition)));
    let said = said.filter(|(_, condition)| condition.status == ConditionStatus::False);
    said.fold(String::new(), |mut text, (name, Condition { kind, reason, message, .. })| {
        let _ = writeln!(text, "node {name}: {}=False: {}: {message}", kind.as_str(), reason.as_str());
        text
    })
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
    use super::*;

    #[test]
    fn lines_that_were_left_out_are_counted_for_people() {
        let plain = |lines| anstream::adapter::strip_str(&left_out_as_text(lines)).to_string();
        assert_eq!([plain(1), plain(312)], ["… 1 line left out\n", "… 312 lines left out\n"]);
    }
}
