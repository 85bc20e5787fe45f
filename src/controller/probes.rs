//! Registries as a source of triggers: a hung one raises no event, so each is asked all the time.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::engine::Container;
use crate::manifest::Upstream;
use crate::observed::Serving;
use crate::probe::Probe;

/// A registry is asked this often, as long as all of them together stay under [`PER_SECOND`].
const EVERY: Duration = Duration::from_millis(250);
/// Questions a second to all registries together; each costs some fifty microseconds of processor time.
const PER_SECOND: u32 = 16;

/// One run of a container. A registry that hung in one run is not hung in the next.
type RunOf = (String, Option<Timestamp>);

/// What the last questions to running registries were answered with.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeMap<RunOf, Serving>>>);

impl Answers {
    fn get(&self, run: &RunOf) -> Option<Serving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).copied()
    }

    /// Notes an answer and says whether it is news: another than before, or not the one everybody expects.
    fn set(&self, run: RunOf, answer: Serving) -> bool {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, answer);
        before.unwrap_or(Serving::Answers) != answer
    }

    fn keep_only(&self, targets: &[Container]) {
        let runs: Vec<RunOf> = targets.iter().map(run_of).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|run, _| runs.contains(run));
    }
}

fn run_of(container: &Container) -> RunOf {
    (container.id.clone(), container.started_at)
}

/// Asks every target for ever; a registry whose answer is not the one before sends its container's name.
pub(super) async fn run<P: Probe>(
    probe: P,
    mut targets: tokio::sync::watch::Receiver<Vec<Container>>,
    answers: Answers,
    out: mpsc::UnboundedSender<String>,
) {
    let mut asked = FuturesUnordered::new();
    // One timer that is set anew: to make one for each turn of the loop wakes the runtime each time.
    let mut next = pin!(sleep_until(Instant::now()));
    loop {
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                answers.keep_only(&targets.borrow());
            }
            Some((container, answer)) = asked.next(), if !asked.is_empty() => {
                let container: Container = container;
                let known = targets.borrow().iter().any(|target| run_of(target) == run_of(&container));
                if known && answers.set(run_of(&container), answer) && out.send(container.name).is_err() {
                    return;
                }
            }
            () = &mut next => {
                let now: Vec<Container> = targets.borrow().clone();
                let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
                next.as_mut().reset(Instant::now() + EVERY.max(Duration::from_secs(1) / PER_SECOND * count));
                for container in now {
                    let probe = probe.clone();
                    asked.push(async move {
                        let answer = probe.serving(&container).await;
                        (container, answer)
                    });
                }
            }
        }
    }
}

/// A probe for the controller's passes, which does not wait for a registry that is known to be hung.
#[derive(Debug, Clone)]
pub(super) struct Informed<P> {
    pub(super) probe: P,
    pub(super) answers: Answers,
}

impl<P: Probe> Probe for Informed<P> {
    async fn serving(&self, container: &Container) -> Serving {
        match self.answers.get(&run_of(container)) {
            Some(Serving::Silent) => Serving::Silent,
            _ => self.probe.serving(container).await,
        }
    }

    async fn port_is_taken(&self, address: std::net::IpAddr, port: u16) -> bool {
        self.probe.port_is_taken(address, port).await
    }

    async fn upstream(&self, upstream: &Upstream) -> Result<(), String> {
        self.probe.upstream(upstream).await
    }
}
