//! The one prober: whoever wants to know whether a registry answers asks it, and nobody else asks registries.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Probe, Question, Serving, Uptime};
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
const SETTLED: Duration = Duration::from_secs(10);

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
    /// For how long it is up, where the engine says so.
    up: Option<Uptime>,
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

    /// What the registry in a running container answered last. One that nobody has heard of is asked soon.
    pub fn known(&self, container: &Container, up: Option<Uptime>) -> Option<Serving> {
        *self.registry(container, up).answer.borrow()
    }

    /// Whether the registry in a running container answers.
    pub async fn serving(&self, container: &Container, up: Option<Uptime>) -> Serving {
        let registry = self.registry(container, up);
        if !self.is_run {
            return self.ask(&registry).await;
        }
        let mut answer = registry.answer.subscribe();
        // Fails only when the registry is gone, which is held here.
        let known = answer.wait_for(Option::is_some).await.ok().and_then(|answer| *answer);
        known.unwrap_or(Serving::Unknown)
    }

    /// Whether the registry in a container that was found not to answer does by now, or cannot be asked from here.
    pub async fn answers_now(&self, container: &Container, up: Option<Uptime>) -> bool {
        match self.probe.ask(container, Question::First).await {
            Serving::Answers | Serving::Unknown => true,
            Serving::Refused => self.is_elsewhere(container, up).await,
            Serving::Silent | Serving::Overdue => false,
        }
    }

    /// Waits until the registry in a container that has just been started answers, or cannot be asked from here.
    pub async fn until_it_serves(&self, container: &Container, up: Option<Uptime>) -> Serving {
        let registry = self.registry(container, up);
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

    /// Asks every registry it has heard of, for ever. The name of a container is sent when its registry answers for the
    /// first time or differently, and whenever it does not.
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
                    let is_news = before != Some(answer);
                    (registry.container.name.clone(), is_news || matches!(answer, Serving::Silent | Serving::Refused))
                });
            }
            wake.as_mut().reset(self.next_due());
            tokio::select! {
                biased;
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
            Serving::Refused if self.is_elsewhere(container, registry.up).await => Serving::Unknown,
            answer => answer,
        };
        registry.answer.send_replace(Some(answer));
        let mut next = registry.next();
        *next = (*next).max(Instant::now() + EVERY / 2);
        answer
    }

    /// Whether a port that the engine has published long since is free on this machine: the engine is on another one, or
    /// in another network, and only its socket is here.
    async fn is_elsewhere(&self, container: &Container, up: Option<Uptime>) -> bool {
        up.is_some_and(|up| up.so_far() >= SETTLED) && !self.probe.is_published_here(container).await
    }

    fn registry(&self, container: &Container, up: Option<Uptime>) -> Arc<Registry> {
        let mut registries = self.registries();
        // The engine may publish it elsewhere when its networks change.
        let is_moved = |known: &Arc<Registry>| known.container.bound_ports != container.bound_ports;
        if registries.get(&run_of(container)).is_some_and(is_moved) {
            registries.remove(&run_of(container));
        }
        let place = u32::try_from(registries.len()).unwrap_or_default() % SPREAD;
        let registry = registries.entry(run_of(container)).or_insert_with(|| {
            self.shared.joined.notify_one();
            Arc::new(Registry {
                container: container.clone(),
                up,
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
            if *next > now {
                return false;
            }
            // One that takes its time to answer is not asked the next question meanwhile.
            let is_asked = registry.turn.try_lock().is_err();
            *next = now
                + match *registry.answer.borrow() {
                    _ if is_asked => STILL_STARTING,
                    None => registry.spread,
                    Some(_) => EVERY,
                };
            !is_asked
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::IpAddr;

    use super::super::{Ask, UpstreamAnswer};
    use super::*;
    use crate::desired::Route;
    use crate::engine::{ContainerState, LogDriver};

    /// Answers as it was told to, and writes down when and how it was asked.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        answers: VecDeque<Serving>,
        asked: Vec<(Instant, String, Question)>,
        is_published_here: bool,
    }

    impl Scripted {
        fn answering(answers: &[Serving]) -> Self {
            let scripted = Self::default();
            scripted.0.lock().unwrap().answers.extend(answers);
            scripted
        }

        fn asked(&self) -> Vec<(Instant, String, Question)> {
            self.0.lock().unwrap().asked.clone()
        }

        fn questions(&self) -> Vec<Question> {
            self.asked().into_iter().map(|(_, _, question)| question).collect()
        }
    }

    impl Probe for Scripted {
        async fn ask(&self, container: &Container, question: Question) -> Serving {
            let answer = {
                let mut script = self.0.lock().unwrap();
                script.asked.push((Instant::now(), container.name.clone(), question));
                script.answers.pop_front().unwrap_or(Serving::Answers)
            };
            match (answer, question) {
                (Serving::Silent, Question::First) => sleep(Duration::from_secs(2)).await,
                (Serving::Silent, Question::Again) => sleep(Duration::from_secs(8)).await,
                _ => {}
            }
            answer
        }

        async fn is_published_here(&self, _: &Container) -> bool {
            self.0.lock().unwrap().is_published_here
        }

        async fn port_is_taken(&self, _: IpAddr, _: u16) -> bool {
            false
        }

        async fn upstream(&self, _: &Route, _: Ask) -> UpstreamAnswer {
            UpstreamAnswer::Answers
        }
    }

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn up_for(seconds: i64) -> Uptime {
        Uptime::of(START, Timestamp::from_second(seconds).unwrap())
    }

    fn container(name: &str) -> Container {
        Container {
            id: format!("id of {name}"),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            image: String::new(),
            image_id: String::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            state: ContainerState::Running,
            exit_code: None,
            error: String::new(),
            created_at: Some(START),
            started_at: Some(START),
            restart_policy: "always".to_owned(),
            log: LogDriver::default(),
            ports: Vec::new(),
            extra_hosts: Vec::new(),
            bound_ports: Vec::new(),
            mounts: Vec::new(),
            endpoints: BTreeMap::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_that_is_late_is_asked_for_again_and_is_no_hang() {
        let probe = Scripted::answering(&[Serving::Silent, Serving::Answers]);
        assert_eq!(Prober::new(probe.clone()).serving(&container("a"), Some(up_for(60))).await, Serving::Answers);
        assert_eq!(probe.questions(), [Question::First, Question::Again]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_silent_twice_hangs() {
        let begun = Instant::now();
        let probe = Scripted::answering(&[Serving::Silent, Serving::Silent]);
        assert_eq!(Prober::new(probe).serving(&container("a"), Some(up_for(60))).await, Serving::Silent);
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_published_port_that_refuses_and_is_free_here_is_elsewhere_once_it_had_time_to_come_up() {
        let refusing = |is_published_here: bool| {
            let probe = Scripted::answering(&[Serving::Refused]);
            probe.0.lock().unwrap().is_published_here = is_published_here;
            Prober::new(probe)
        };
        assert_eq!(refusing(false).serving(&container("a"), Some(up_for(60))).await, Serving::Unknown);
        assert_eq!(refusing(true).serving(&container("a"), Some(up_for(60))).await, Serving::Refused);
        assert_eq!(
            refusing(false).serving(&container("a"), Some(up_for(1))).await,
            Serving::Refused,
            "it may still come up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_to_know_at_the_same_time_shares_one_question() {
        let probe = Scripted::answering(&[Serving::Silent, Serving::Answers]);
        let (prober, container) = (Prober::new(probe.clone()), container("a"));
        let asked = (0..5).map(|_| prober.serving(&container, Some(up_for(60))));
        assert_eq!(futures_util::future::join_all(asked).await, [Serving::Answers; 5]);
        assert_eq!(probe.questions().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn registries_are_asked_every_five_seconds_each_and_not_all_at_once() {
        let probe = Scripted::default();
        let prober = Prober::new(probe.clone()).that_is_run();
        let (out, mut news) = mpsc::unbounded_channel();
        let run = tokio::spawn(prober.clone().run(out));
        let containers: Vec<Container> = (0..32).map(|n| container(&format!("c{n}"))).collect();
        for container in &containers {
            assert_eq!(prober.serving(container, Some(up_for(60))).await, Serving::Answers);
        }
        sleep(Duration::from_secs(60)).await;
        let (asked, start) = (probe.asked(), Instant::now() - Duration::from_secs(50));
        let later: Vec<_> = asked.iter().filter(|(at, ..)| *at > start).collect();
        assert_eq!(later.len(), 32 * 10, "in the last fifty seconds");
        let instants: std::collections::BTreeSet<Instant> = later.iter().map(|(at, ..)| *at).collect();
        assert_eq!(instants.len(), later.len(), "no two at once");
        let told = std::iter::from_fn(|| news.try_recv().ok()).count();
        assert_eq!(told, 32, "that all is well is told once");
        run.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_looks_meanwhile_does_not_wait_for_one_that_may_hang_and_hears_when_it_does() {
        let probe = Scripted::answering(&[Serving::Silent, Serving::Silent]);
        let prober = Prober::new(probe).that_is_run();
        let (out, mut news) = mpsc::unbounded_channel();
        let run = tokio::spawn(prober.clone().run(out));
        let (begun, container) = (Instant::now(), container("a"));
        assert_eq!(prober.serving(&container, Some(up_for(60))).await, Serving::Overdue);
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!(news.recv().await.as_deref(), Some("a"));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(prober.serving(&container, Some(up_for(60))).await, Serving::Silent);
        // It answers again: that is news as well.
        assert_eq!(news.recv().await.as_deref(), Some("a"));
        assert_eq!(prober.serving(&container, Some(up_for(60))).await, Serving::Answers);
        run.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_starts_is_asked_until_it_answers() {
        let probe = Scripted::answering(&[Serving::Refused; 60]);
        let begun = Instant::now();
        assert_eq!(
            Prober::new(probe.clone()).until_it_serves(&container("a"), Some(up_for(0))).await,
            Serving::Answers
        );
        let asked = probe.asked();
        assert_eq!(asked.len(), 61);
        assert_eq!(asked[1].0 - asked[0].0, STARTING);
        assert_eq!(asked[60].0 - asked[59].0, STILL_STARTING);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_run_any_more_is_not_asked() {
        let probe = Scripted::default();
        let prober = Prober::new(probe.clone()).that_is_run();
        let (out, _news) = mpsc::unbounded_channel();
        let run = tokio::spawn(prober.clone().run(out));
        prober.serving(&container("a"), Some(up_for(60))).await;
        prober.keep_only(std::iter::empty());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(probe.questions().len(), 1);
        run.abort();
    }
}
