//! Keeps the store told: finds the engine, subscribes to its events, and has it listed whenever something may have been
//! missed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::backoff::delay;
use crate::engine::{self, Engine, EngineError, EngineInfo};
use crate::event::{Event, Reporter};
use crate::observed::Store;

/// Longest wait before an engine that is away is tried again: a restarted one is soon found.
const LONGEST: Duration = Duration::from_secs(5);
/// An engine that does not tell what happens is listed this often.
const POLL: Duration = Duration::from_secs(3);
/// And asked for its events again this often.
const ASK_FOR_EVENTS: Duration = Duration::from_secs(60);
/// Events that flowed for this long have not ended because somebody keeps them from flowing.
const FLOWED: Duration = Duration::from_secs(30);

/// Reflects an engine into a store, for ever.
pub(super) async fn run<E: Engine>(engine: E, store: Store, reporter: Arc<dyn Reporter>) {
    let mut reflector = Reflector { engine, store, reporter, has_told_refusal: false };
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let is_there = reflector.follow().await;
        failures = if is_there && begun.elapsed() >= FLOWED { 0 } else { failures + 1 };
        // A stream that has just ended is taken up at once, and one that ends again and again is not.
        if !is_there || failures > 1 {
            sleep(delay(&"events", failures).min(LONGEST)).await;
        }
    }
}

struct Reflector<E> {
    engine: E,
    store: Store,
    reporter: Arc<dyn Reporter>,
    /// That the engine does not tell its events was told.
    has_told_refusal: bool,
}

impl<E: Engine> Reflector<E> {
    /// Passes events on until they end; whether the engine was there.
    async fn follow(&mut self) -> bool {
        let info = match self.engine.info().await {
            Ok(info) => info,
            Err(error) => {
                self.store.disconnected(error);
                return false;
            }
        };
        // Subscribed first, listed second: what happens from here on is told, what happened before is listed.
        match self.engine.events().await {
            Ok(events) => {
                self.store.connected(info.clone(), false);
                match self.pass_on(events).await {
                    Some(refusal) => self.go_without(info, &refusal).await,
                    None => true,
                }
            }
            Err(error) if error.is_unavailable() && self.engine.info().await.is_err() => {
                self.store.disconnected(error);
                false
            }
            Err(error) => self.go_without(info, &error).await,
        }
    }

    /// Passes events on until they end; the engine's words when it refuses to tell any, which it may say late.
    async fn pass_on(
        &mut self,
        mut events: BoxStream<'static, Result<engine::Event, EngineError>>,
    ) -> Option<EngineError> {
        loop {
            tokio::select! {
                biased;
                // A read found nobody: whether that is so is asked anew.
                () = self.store.suspected() => return None,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        self.has_told_refusal = false;
                        self.store.on_event(&event);
                    }
                    Some(Err(error)) => return (!error.is_unavailable()).then_some(error),
                    None => return None,
                },
            }
        }
    }

    /// Does without events for a while; whether the engine was there.
    async fn go_without(&mut self, info: EngineInfo, refusal: &EngineError) -> bool {
        self.tell_refusal(refusal);
        self.store.connected(info, true);
        self.poll().await
    }

    /// Has the engine listed now and then, until its events are to be asked for again; whether it was there.
    async fn poll(&self) -> bool {
        let until = Instant::now() + ASK_FOR_EVENTS;
        while Instant::now() < until {
            let pause = until.min(Instant::now() + POLL);
            if timeout_at(pause, self.store.suspected()).await.is_ok() {
                return true;
            }
            self.store.resync(false);
        }
        true
    }

    fn tell_refusal(&mut self, error: &EngineError) {
        if !std::mem::replace(&mut self.has_told_refusal, true) {
            let message = format!(
                "the engine does not tell what happens: {error}; it is looked at every {} s instead",
                POLL.as_secs()
            );
            self.reporter.report(&Event::Waiting { message });
        }
    }
}
