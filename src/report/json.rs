//! JSON: one object per line for events, one document for a plan or a status.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::writer::Writer;
use crate::desired::Desired;
use crate::engine::EngineInfo;
use crate::event::{ActionReport, ActionResult, Event, Reporter};
use crate::exposure::Exposure;
use crate::plan::{Plan, Subject};
use crate::printable::{printable, without_user_info};
use crate::status::{Condition, MirrorStatus, Status};

/// Reports events as one JSON object per line.
#[derive(Debug)]
pub struct Json(Writer);

impl Json {
    /// Writes to `out`.
    pub const fn new(out: Writer) -> Self {
        Self(out)
    }
}

impl Reporter for Json {
    fn report(&self, event: &Event) {
        if let Some(object) = object(event) {
            self.0.push(event.importance(), line(object));
        }
    }
}

/// Says how many lines a reader was too slow for.
pub fn left_out_as_json(lines: usize) -> String {
    format!("{}\n", json!({"event": "dropped", "lines": lines}))
}

/// The last line of a command that ends by itself: its exit code, and what it complains about.
pub fn ended_as_json(exit_code: u8, complaint: Option<&str>) -> String {
    let object = json!({"event": "ended", "exitCode": exit_code, "message": complaint});
    line(object)
}

/// A line for an object. What it says of URLs is covered before it is written: in the text a quote has a backslash before
/// it, which may stand at the end of a URL.
fn line(mut object: Value) -> String {
    cover(&mut object);
    format!("{}\n", printable(&object.to_string()))
}

fn cover(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_user_info(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(cover),
        Value::Object(fields) => fields.values_mut().for_each(cover),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Watching { file, cluster } => json!({"event": "watching", "file": file, "cluster": cluster}),
        Event::ManifestLoaded { mirrors } => json!({"event": "manifestLoaded", "mirrors": mirrors}),
        Event::ManifestRejected { message } => json!({"event": "manifestRejected", "message": message}),
        Event::ManifestPolled { file, reason } => json!({"event": "manifestPolled", "file": file, "reason": reason}),
        Event::EngineFound(info) => json!({"event": "engineFound", "name": info.name, "version": info.version}),
        Event::EngineLost { message } => json!({"event": "engineLost", "message": message}),
        Event::EngineRefuses { message } => json!({"event": "engineRefuses", "message": message}),
        Event::Waiting { message } => json!({"event": "waiting", "message": message}),
        Event::Stopping { under_way } => {
            let under_way: Vec<String> = under_way.iter().map(ToString::to_string).collect();
            json!({"event": "stopping", "underWay": under_way})
        }
        Event::LeftBehind { subject } => json!({"event": "leftBehind", subject.kind(): subject.name()}),
        Event::Exposed(shown @ Exposure::ProxyPassword(hosts)) => {
            let mirrors: Vec<&str> = hosts.iter().map(crate::manifest::Host::as_str).collect();
            json!({"event": "exposed", "mirrors": mirrors, "message": shown.to_string()})
        }
        Event::Exposed(Exposure::Reachable(exposure)) => {
            json!({"event": "exposed", "mirror": exposure.host.as_str(), "address": exposure.address.to_string(),
                   "takesPushes": exposure.takes_pushes, "hasCredentials": exposure.has_credentials,
                   "message": exposure.to_string()})
        }
        Event::Removing { what, after } => {
            let what: Vec<Value> = what.iter().map(|subject| json!({subject.kind(): subject.name()})).collect();
            json!({"event": "removing", "what": what, "afterMs": after.as_millis()})
        }
        Event::PassStarted { trigger } => json!({"event": "passStarted", "trigger": trigger}),
        Event::PassFinished { actions, failed, duration } => {
            json!({"event": "passFinished", "actions": actions, "failed": failed, "durationMs": duration.as_millis()})
        }
        Event::ActionStarted(_) => return None,
        Event::Action(report) => action(report),
        Event::Pulling { image, progress } => {
            json!({"event": "pulling", "image": image, "layer": progress.id, "status": progress.status,
                   "current": progress.current, "total": progress.total})
        }
        Event::Output { subject, line } => json!({"event": "output", subject.kind(): subject.name(), "line": line}),
        Event::Condition { subject, condition } => {
            json!({"event": "condition", subject.kind(): subject.name(), "type": condition.kind.as_str(),
                   "status": condition.status.as_str(), "reason": condition.reason.as_str(),
                   "message": condition.message})
        }
        Event::Retry { subject, after } => {
            json!({"event": "retry", subject.kind(): subject.name(), "afterMs": after.as_millis()})
        }
    })
}

fn action(report: &ActionReport) -> Value {
    let (result, message) = match &report.result {
        ActionResult::Done => ("done", None),
        ActionResult::Failed(failure) => ("failed", Some(failure.to_string())),
        ActionResult::Cancelled(why) => ("cancelled", Some(why.to_string())),
    };
    let (kind, name) = (report.subject.kind(), report.subject.name());
    let mut object = json!({"event": "action", kind: name, "action": report.action, "object": report.object,
                            "cause": report.cause, "result": result, "durationMs": report.duration.as_millis()});
    if let Some(message) = message {
        object["message"] = json!(message);
    }
    object
}

/// A plan as one document.
pub fn plan_as_json(desired: &Desired, plan: &Plan) -> Value {
    // A mirror goes by its host here, as in the manifest.
    let key = |subject: &Subject| if subject.host().is_some() { "host" } else { subject.kind() };
    let steps =
        plan.sequences.iter().flat_map(|(subject, sequence)| sequence.steps.iter().map(move |step| (subject, step)));
    let changes: Vec<_> = steps
        .map(|(subject, step)| {
            json!({key(subject): subject.name(), "action": step.action.name(), "object": step.action.object(), "cause": step.cause})
        })
        .collect();
    let blocked = plan
        .sequences
        .iter()
        .flat_map(|(subject, sequence)| sequence.obstacles.iter().map(move |obstacle| (subject, obstacle)));
    let blocked: Vec<_> = blocked
        .map(|(subject, obstacle)| json!({key(subject): subject.name(), "message": obstacle.to_string()}))
        .collect();
    let later = plan.sequences.iter().filter_map(|(subject, sequence)| Some((subject, sequence.postponed.as_ref()?)));
    let later: Vec<_> = later
        .map(|(subject, postponed)| json!({key(subject): subject.name(), "message": postponed.to_string()}))
        .collect();
    let shadows = plan.shadows.iter().map(|(host, shadow)| json!({"host": host, "message": shadow.to_string()}));
    let warnings: Vec<_> = shadows.collect();
    json!({"cluster": desired.cluster.as_str(), "changes": changes, "blocked": blocked, "later": later, "warnings": warnings})
}

/// A status as one document. `ready` is what `ksail status` exits 0 for, and everything that decides it is in the
/// document: the conditions of the cluster and of each mirror, and what is left to be removed.
pub fn status_as_json(status: &Status, engine: Option<&EngineInfo>) -> Value {
    let engine = engine.map(|info| json!({"name": info.name, "version": info.version, "address": info.address}));
    let conditions_of = |conditions: &Vec<Condition>| conditions.iter().map(condition).collect::<Vec<_>>();
    let nodes = status.node_conditions.iter();
    let node_conditions: BTreeMap<_, _> = nodes.map(|(name, conditions)| (name, conditions_of(conditions))).collect();
    json!({
        "cluster": status.cluster,
        "state": status.state,
        "engine": engine,
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "nodes": status.nodes,
        "nodeConditions": node_conditions,
        "mirrors": status.mirrors.iter().map(mirror).collect::<Vec<_>>(),
        "leftovers": status.leftovers.iter().map(leftover).collect::<Vec<_>>(),
        "ready": status.is_ready(),
    })
}

fn leftover((what, why): (&String, &String)) -> Value {
    json!({"what": what, "message": why})
}

fn mirror(mirror: &MirrorStatus) -> Value {
    let container = mirror.container.as_ref().map(|container| {
        json!({"id": container.id, "state": container.state.to_string(),
               "startedAt": container.started_at.map(|at| at.to_string())})
    });
    json!({
        "host": mirror.host,
        "role": mirror.role.as_str(),
        "name": mirror.name,
        "upstream": mirror.upstream,
        "port": mirror.port,
        "address": mirror.address,
        "alias": mirror.alias,
        "container": container,
        "cache": mirror.cache,
        "servedFromCacheSince": mirror.from_cache_since.map(|at| at.to_string()),
        "conditions": mirror.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn condition(condition: &Condition) -> Value {
    json!({
        "type": condition.kind.as_str(),
        "status": condition.status.as_str(),
        "reason": condition.reason.as_str(),
        "message": condition.message,
        "lastTransitionTime": condition.since.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_json_whatever_it_quotes() {
        for message in [
            r#"Get "https://auth.docker.io/token?scope=repository%3Aa%3Apull": dial tcp: no such host"#,
            r#"Get "https://user:hunter2@hub.test/v2/": \"refused\""#,
            "at C:\\ and \u{9b}31m a:b@c",
        ] {
            let line = ended_as_json(1, Some(message));
            let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(object["message"], without_user_info(message).as_ref());
            assert!(!line.contains("hunter2") && !line.contains('\u{9b}'), "{line}");
        }
    }

    #[test]
    fn lines_that_were_left_out_are_counted_for_programs() {
        assert_eq!(left_out_as_json(312), "{\"event\":\"dropped\",\"lines\":312}\n");
    }
}
