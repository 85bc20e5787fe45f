//! The one prober: whoever wants to know whether a registry answers asks it, and nobody else asks registries.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Probe, Question, Serving};
use crate::engine::Container;

/// A registry that is left in peace is asked this often, and several of them not at the same time.
const EVERY: Duration = Duration::from_secs(5);
/// Registries whose questions are told apart in time.
const SPREAD: u32 = 64;
/// Pause between two questions to a registry that starts, in its first second.
const STARTING: Duration = Duration::from_millis(25);
/// And the longest one afterwards.
const STILL_STARTING: Duration = Duration::from_millis(250);
const FIRST_SECOND: Duration = Duration::from_secs(1);
/// A published port that refuses for this long is looked into.
const SETTLED: SignedDuration = SignedDuration::from_secs(10);

/// One run of a container. A registry that hung in one run is not hung in the next.
type Run = (String, Option<Timestamp>);

/// Asks registries and remembers what they answered. Clones share both.
#[derive(Debug, Clone)]
pub struct Prober<P> {
    probe: P,
    shared: Arc<Shared>,
    /// [`Prober::run`] asks, and whoever wants to know is told what is known.
    is_run: bool,
}

#[derive(Debug, Default)]
struct Shared {
    registries: Mutex<BTreeMap<Run, Arc<Registry>>>,
    /// There is one that was never asked.
    joined: Notify,
}

/// What is known of one run of a registry.
#[derive(Debug)]
struct Registry {
    container: Container,
    answer: watch::Sender<Option<Serving>>,
    /// Held while it is asked: one question at a time.
    turn: tokio::sync::Mutex<()>,
    /// When it is to be asked next.
    next: Mutex<Instant>,
    /// Then the second question comes this long after the first, so that several registries do not fall into step.
    spread: Duration,
}

impl<P: Probe> Prober<P> {
    /// One that asks when it is asked, to the end.
    pub fn new(probe: P) -> Self {
        Self { probe, shared: Arc::default(), is_run: false }
    }

    /// One that is [run](Prober::run): it knows already, and keeps nobody waiting for a registry that may hang.
    #[must_use]
    pub fn that_is_run(self) -> Self {
        Self { is_run: true, ..self }
    }

    /// What asks, for ports and upstreams.
    pub fn probe(&self) -> &P {
        &self.probe
    }

    /// Whether the registry in a running container answers.
    pub async fn serving(&self, container: &Container) -> Serving {
        let registry = self.registry(container);
        if !self.is_run {
            return self.ask(&registry).await;
        }
        let mut answer = registry.answer.subscribe();
        // Fails only when the registry is gone, which is held here.
        let known = answer.wait_for(Option::is_some).await.ok().and_then(|answer| *answer);
        known.unwrap_or(Serving::Unknown)
    }

    /// Waits until the registry in a container that has just been started answers, or cannot be asked from here.
    pub async fn until_it_serves(&self, container: &Container) -> Serving {
        let registry = self.registry(container);
        let begun = Instant::now();
        let mut pause = STARTING;
        loop {
            match self.ask(&registry).await {
                answer @ (Serving::Answers | Serving::Unknown) => return answer,
                Serving::Refused | Serving::Silent | Serving::Overdue => {}
            }
            sleep(pause).await;
            if begun.elapsed() > FIRST_SECOND {
                pause = (pause * 3 / 2).min(STILL_STARTING);
            }
        }
    }

    /// Forgets all but these: they have ended.
    pub fn keep_only<'a>(&self, running: impl Iterator<Item = &'a Container>) {
        let runs: Vec<Run> = running.map(run_of).collect();
        self.registries().retain(|run, _| runs.contains(run));
    }

    /// Asks every registry it has heard of, for ever. One that does not answer, or does again, sends its container's name.
    pub async fn run(self, out: mpsc::UnboundedSender<String>) {
        let mut asked = FuturesUnordered::new();
        // One timer that is set anew: to make one for each turn of the loop wakes the runtime each time.
        let mut wake = pin!(sleep_until(Instant::now()));
        loop {
            for registry in self.due() {
                let prober = &self;
                asked.push(async move {
                    let before = *registry.answer.borrow();
                    let answer = prober.ask(&registry).await;
                    let is_news = before.unwrap_or(Serving::Answers) != answer;
                    (registry.container.name.clone(), is_news || matches!(answer, Serving::Silent | Serving::Refused))
                });
            }
            wake.as_mut().reset(self.next_due());
            tokio::select! {
                () = out.closed() => return,
                () = self.shared.joined.notified() => {}
                Some((container, is_news)) = asked.next(), if !asked.is_empty() => {
                    if is_news && out.send(container).is_err() {
                        return;
                    }
                }
                () = &mut wake => {}
            }
        }
    }

    /// One question, asked a second time with more patience where the first is not answered in time. Who wants to know
    /// meanwhile is told the same.
    async fn ask(&self, registry: &Registry) -> Serving {
        let mut others = registry.answer.subscribe();
        let container = &registry.container;
        let _turn = match registry.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                let turn = registry.turn.lock().await;
                let answer = others.has_changed().is_ok_and(|changed| changed).then(|| *others.borrow_and_update());
                if let Some(answer) = answer.flatten().filter(|answer| *answer != Serving::Overdue) {
                    return answer;
                }
                turn
            }
        };
        let answer = match self.probe.ask(container, Question::First).await {
            Serving::Silent => {
                registry
                    .answer
                    .send_if_modified(|answer| answer.is_none() && answer.replace(Serving::Overdue).is_none());
                self.probe.ask(container, Question::Again).await
            }
            Serving::Refused if self.is_elsewhere(container).await => Serving::Unknown,
            answer => answer,
        };
        registry.answer.send_replace(Some(answer));
        answer
    }

    /// Whether a port that the engine has published long since is free on this machine: the engine is on another one, or
    /// in another network, and only its socket is here.
    async fn is_elsewhere(&self, container: &Container) -> bool {
        let up = container.started_at.map(|start| Timestamp::now().duration_since(start));
        up.is_some_and(|up| up >= SETTLED) && !self.probe.is_published_here(container).await
    }

    fn registry(&self, container: &Container) -> Arc<Registry> {
        let mut registries = self.registries();
        let place = u32::try_from(registries.len()).unwrap_or_default() % SPREAD;
        let registry = registries.entry(run_of(container)).or_insert_with(|| {
            self.shared.joined.notify_one();
            Arc::new(Registry {
                container: container.clone(),
                answer: watch::Sender::new(None),
                turn: tokio::sync::Mutex::default(),
                next: Mutex::new(Instant::now()),
                spread: EVERY / 2 + EVERY / SPREAD * place,
            })
        });
        Arc::clone(registry)
    }

    /// Those whose turn it is: the new ones at once, the others when they were left in peace for long enough.
    fn due(&self) -> Vec<Arc<Registry>> {
        let now = Instant::now();
        let is_due = |registry: &&Arc<Registry>| {
            let mut next = registry.next();
            let is_due = *next <= now;
            if is_due {
                *next = now + if registry.answer.borrow().is_none() { registry.spread } else { EVERY };
            }
            is_due
        };
        self.registries().values().filter(is_due).cloned().collect()
    }

    fn next_due(&self) -> Instant {
        let next = self.registries().values().map(|registry| *registry.next()).min();
        next.unwrap_or_else(|| Instant::now() + EVERY)
    }

    fn registries(&self) -> std::sync::MutexGuard<'_, BTreeMap<Run, Arc<Registry>>> {
        self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn next(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run_of(container: &Container) -> Run {
    (container.id.clone(), container.started_at)
}
