//! The engine as a source of triggers: its events, and whether it is there at all.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::backoff::Delays;
use crate::engine::{Engine, EngineError, EngineInfo, Event};

/// Longest wait before an engine that is away is tried again: a restarted one is soon found.
const LONGEST: Duration = Duration::from_secs(5);

/// What the engine source says.
#[derive(Debug)]
pub(super) enum FromEngine {
    /// It answers, and events flow from now on. What happened before is unknown.
    Found(EngineInfo),
    /// It does not answer, or has stopped sending events.
    Lost(EngineError),
    /// Something happened.
    Happened(Event),
}

/// Subscribes to events for ever, anew whenever the stream ends. Ends when nobody listens.
pub(super) async fn run<E: Engine>(engine: E, out: mpsc::UnboundedSender<FromEngine>) {
    let mut delays = Delays::new();
    while !out.is_closed() {
        let error = match subscribe(&engine, &out).await {
            Ok(()) => {
                delays = Delays::new();
                EngineError::Unavailable {
                    address: "its address".to_owned(),
                    reason: "the stream of events ended".to_owned(),
                }
            }
            Err(error) => error,
        };
        if out.send(FromEngine::Lost(error)).is_err() {
            return;
        }
        tokio::time::sleep(delays.next().min(LONGEST)).await;
    }
}

/// Passes events on until the stream ends; an error means that it never began.
async fn subscribe<E: Engine>(engine: &E, out: &mpsc::UnboundedSender<FromEngine>) -> Result<(), EngineError> {
    // Subscribed first: what happens from here on is seen, what happened before is observed.
    let info = engine.info().await?;
    let mut events = engine.events().await?;
    if out.send(FromEngine::Found(info)).is_err() {
        return Ok(());
    }
    while let Some(Ok(event)) = events.next().await {
        if out.send(FromEngine::Happened(event)).is_err() {
            break;
        }
    }
    Ok(())
}
