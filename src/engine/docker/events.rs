//! The event stream.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;

use super::READ;
use super::connection::Connection;
use crate::engine::{EngineError, Event, EventKind, Result};
use crate::limit::{ENGINE_ANSWER, ENGINE_MESSAGE};

/// What changes an object or may have: a program that ran in a container may have changed its files, and so has who put
/// some there. Left out is what only looks at one (archives read, mounts), and that a program was created or started.
/// A health check is a program to Docker and is told like any other.
/// `died`, `remove` and `exec_died` are Podman's words for `die`, `destroy` and `exec_die`.
const ACTIONS: [&str; 19] = [
    "create",
    "start",
    "restart",
    "die",
    "died",
    "stop",
    "kill",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "connect",
    "disconnect",
    "destroy",
    "remove",
    "exec_die",
    "exec_died",
    "extract-to-dir",
];

pub(super) async fn subscribe(connection: &Arc<Connection>) -> Result<BoxStream<'static, Result<Event>>> {
    let link = connection.link().await?;
    // bollard sends the request when the stream is first polled. By asking for everything since now, by the engine's
    // clock, nothing is missed in between.
    let (client, meter) = link.client(ENGINE_ANSWER);
    let now = match tokio::time::timeout(READ, client.info()).await {
        Ok(Ok(info)) => info.system_time.and_then(|time| time.parse::<Timestamp>().ok()),
        Ok(Err(error)) => return Err(connection.failed(&link, "info", error, &meter)),
        Err(_) => return Err(EngineError::Timeout { call: "info".to_owned(), seconds: READ.as_secs() }),
    };
    let mut options = EventsOptionsBuilder::default()
        .filters(&HashMap::from([("type", vec!["container", "network", "volume"]), ("event", ACTIONS.to_vec())]));
    if let Some(now) = now {
        options = options.since(&format!("{}.{:09}", now.as_second(), now.subsec_nanosecond()));
    }
    // The limit is for the first answer; how long the engine is silent afterwards is its own affair.
    let (client, meter) = link.client(ENGINE_MESSAGE);
    let messages = client.with_timeout(READ).events(Some(options.build())).boxed();
    let listening = Some((messages, Arc::clone(connection), link, meter));
    Ok(stream::unfold(listening, |listening| async move {
        let (mut messages, connection, link, meter) = listening?;
        loop {
            match messages.next().await {
                Some(Ok(message)) => {
                    meter.refill();
                    if let Some(event) = event(message).filter(|event| !is_own_exec(event, &connection)) {
                        return Some((Ok(event), Some((messages, connection, link, meter))));
                    }
                }
                Some(Err(error)) => {
                    connection.lost(&link);
                    return Some((Err(connection.failed(&link, "events", error, &meter)), None));
                }
                None => {
                    connection.lost(&link);
                    return None;
                }
            }
        }
    })
    .fuse()
    .boxed())
}

/// Whether it tells the end of a program that this very connection ran.
fn is_own_exec(event: &Event, connection: &Connection) -> bool {
    event.action == "exec_die" && event.attributes.get("execID").is_some_and(|id| connection.ran(id))
}

fn event(message: EventMessage) -> Option<Event> {
    let kind = match message.typ? {
        EventMessageTypeEnum::CONTAINER => EventKind::Container,
        EventMessageTypeEnum::NETWORK => EventKind::Network,
        EventMessageTypeEnum::VOLUME => EventKind::Volume,
        _ => return None,
    };
    let action = match message.action?.as_str() {
        "died" => "die".to_owned(),
        "remove" => "destroy".to_owned(),
        "exec_died" => "exec_die".to_owned(),
        action => action.to_owned(),
    };
    let actor = message.actor.unwrap_or_default();
    let attributes = actor.attributes.unwrap_or_default().into_iter().collect();
    Some(Event { kind, action, id: actor.id.unwrap_or_default(), attributes })
}
