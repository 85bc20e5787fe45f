//! Those who listen to events, and when each event reaches them.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use crate::engine::{Event, Result};

/// What is said to a listener, and when it is heard.
#[derive(Debug, Clone)]
struct Said {
    not_before: Instant,
    /// Nothing, if the connection is closed.
    what: Option<Result<Event>>,
}

/// Everybody with an open stream.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<UnboundedSender<Said>>);

impl Listeners {
    pub(super) fn join(&mut self) -> BoxStream<'static, Result<Event>> {
        let (sender, said) = mpsc::unbounded_channel();
        self.0.push(sender);
        let hearing = Some(Hearing { said, heard_of: 0, waiting: BTreeMap::new() });
        stream::unfold(hearing, |hearing| async move {
            let mut hearing = hearing?;
            let what = hearing.next().await?;
            let goes_on = what.is_ok();
            Some((what, goes_on.then_some(hearing)))
        })
        .fuse()
        .boxed()
    }

    pub(super) fn tell(&mut self, event: Event, not_before: Instant) {
        let said = Said { not_before, what: Some(Ok(event)) };
        self.0.retain(|listener| listener.send(said.clone()).is_ok());
    }

    /// Closes every stream, with an error as its last word or without one. What is late by then is never heard.
    pub(super) fn close(&mut self, last_word: Option<Result<Event>>) {
        let said = Said { not_before: Instant::now(), what: last_word };
        for listener in self.0.drain(..) {
            // One that no longer listens has nothing to learn.
            let _ = listener.send(said.clone());
        }
    }
}

/// One listener's end.
struct Hearing {
    said: UnboundedReceiver<Said>,
    heard_of: u64,
    /// By when it is heard, and then by the order in which it was said.
    waiting: BTreeMap<(Instant, u64), Option<Result<Event>>>,
}

impl Hearing {
    /// Whatever is due first; nothing when the connection is closed.
    async fn next(&mut self) -> Option<Result<Event>> {
        // One who is flooded leaves others their turn, as around a socket.
        consume_budget().await;
        loop {
            while let Ok(said) = self.said.try_recv() {
                self.wait_for(said);
            }
            let said = match self.waiting.keys().next() {
                Some((due, _)) if *due <= Instant::now() => return self.waiting.pop_first()?.1,
                Some((due, _)) => timeout_at(*due, self.said.recv()).await,
                None => Ok(self.said.recv().await),
            };
            if let Ok(said) = said {
                self.wait_for(said?);
            }
        }
    }

    fn wait_for(&mut self, Said { not_before, what }: Said) {
        self.heard_of += 1;
        self.waiting.insert((not_before, self.heard_of), what);
    }
}
