//! What registries have said of upstreams that cannot be asked from here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::engine::{Container, ContainerState, Engine, Exec, Executed, LogPart};
use crate::registry::{CacheCounters, Heard, READ_COUNTERS, Said, Word, is_served_from_cache};

/// Lines of a log that are read: what was said last is among them, however long the log is.
const LINES: u32 = 1000;
/// Counters that do not come in time are none.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// A log is not read more often.
const EVERY: Duration = Duration::from_secs(30);

/// What one run of a registry has said.
#[derive(Debug, Clone)]
pub struct Spoken {
    run: (String, Option<Timestamp>),
    read_at: Instant,
    /// Requests that it had answered from its upstream by then.
    fetched: u64,
    word: Option<Word>,
}

impl Spoken {
    /// Whether it was said in a container's current run.
    pub fn is_of(&self, container: &Container) -> bool {
        self.run == run_of(container)
    }

    /// Whether it is too early to read the log again.
    pub fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < EVERY
    }

    /// What it said last.
    pub fn word(&self) -> Option<&Word> {
        self.word.as_ref()
    }
}

/// Reads what registries have said last of their upstreams, by host. Those that ask nobody say nothing.
pub async fn listen<E: Engine>(
    engine: &E,
    registries: Vec<(String, Arc<Container>, Option<Spoken>)>,
) -> BTreeMap<String, Spoken> {
    let asking = registries.into_iter().filter(|(_, container, _)| {
        container.state == ContainerState::Running && !is_served_from_cache(&container.env)
    });
    let spoken = asking.map(|(host, container, before)| async move {
        let before = before.filter(|before| before.is_of(&container));
        (host, spoken(engine, &container, before.as_ref()).await)
    });
    join_all(spoken).await.into_iter().collect()
}

async fn spoken<E: Engine>(engine: &E, container: &Container, before: Option<&Spoken>) -> Spoken {
    let read_at = Instant::now();
    // What cannot be read says nothing.
    let log = engine.logs(&container.id, LogPart::Last(LINES)).await.unwrap_or_default();
    let Heard { mut word, given_at } = Heard::in_log(&log, container.started_at.unwrap_or_default());
    let mut fetched = before.map_or(0, |before| before.fetched);
    if let Some(at) = given_at {
        let by_now = counters(engine, &container.id).await.map_or(0, |counters| counters.misses);
        // At the first look it cannot be told whether it was fetched before an error or after it.
        if by_now > fetched && (before.is_some() || word.is_none()) {
            word = Some(Word { said: Said::Answered, at });
        }
        fetched = fetched.max(by_now);
    }
    let earlier = before.and_then(|before| before.word.clone());
    Spoken {
        run: run_of(container),
        read_at,
        fetched,
        word: word.into_iter().chain(earlier).max_by_key(|word| word.at),
    }
}

/// What a registry has counted of its work, by a program in its own container: that is served nowhere else.
pub async fn counters<E: Engine>(engine: &E, container: &str) -> Option<CacheCounters> {
    let read = Exec::reading(READ_COUNTERS).within(COUNTED_WITHIN);
    let answer = engine.exec(container, &read).await.ok().filter(Executed::succeeded)?;
    CacheCounters::from_expvar(answer.stdout.as_bytes())
}

fn run_of(container: &Container) -> (String, Option<Timestamp>) {
    (container.id.clone(), container.started_at)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::memory::Memory;
    use crate::engine::{Engine, Image};
    use crate::observed::tests::container;

    const REFUSED: &str = "time=\"2999-12-01T02:55:00Z\" level=error msg=\"response completed with error\" \
                           err.code=unknown err.detail=\"dial tcp: connection refused\"";
    const GIVEN: &str = "10.0.0.2 - - [01/Dec/2999:02:56:00 +0000] \"GET /v2/a/blobs/sha256:00 HTTP/1.1\" 200 1 \"\"";

    /// A registry that writes these lines and has fetched that often, as its counters say from then on.
    struct Registry {
        engine: Memory,
        container: Arc<Container>,
        fetched: Arc<Mutex<u64>>,
    }

    impl Registry {
        async fn new() -> Self {
            let engine = Memory::new();
            engine.add_image("other:1", Image::default());
            let id = engine.create_container(&container("r")).await.unwrap();
            engine.start_container(&id).await.unwrap();
            let container = Arc::new(engine.inspect_container(&id).await.unwrap());
            let fetched = Arc::new(Mutex::new(0));
            let counted = Arc::clone(&fetched);
            engine.on_exec(move |_, exec| {
                let misses = *counted.lock().unwrap();
                let page = format!(r#"{{"registry":{{"proxy":{{"blobs":{{"Hits":9,"Misses":{misses}}}}}}}}}"#);
                let is_asked = exec.command == READ_COUNTERS;
                is_asked.then(|| Executed { exit_code: 0, stdout: page, stderr: String::new() })
            });
            Self { engine, container, fetched }
        }

        async fn after(&self, line: &str, fetched: u64, before: Option<&Spoken>) -> Spoken {
            *self.fetched.lock().unwrap() = fetched;
            self.engine.say("r", line).unwrap();
            let mut spoken =
                listen(&self.engine, vec![("a".to_owned(), Arc::clone(&self.container), before.cloned())]).await;
            spoken.remove("a").unwrap()
        }
    }

    fn said(spoken: &Spoken) -> Option<Said> {
        spoken.word().map(|word| word.said)
    }

    #[tokio::test]
    async fn what_is_given_tells_of_the_upstream_only_if_it_was_fetched() {
        let registry = Registry::new().await;
        assert_eq!(said(&registry.after(GIVEN, 0, None).await), None, "it was there");
        assert_eq!(said(&registry.after(GIVEN, 1, None).await), Some(Said::Answered));
    }

    #[tokio::test]
    async fn an_error_stands_until_something_has_been_fetched_since_the_last_look() {
        let registry = Registry::new().await;
        let first = registry.after(REFUSED, 3, None).await;
        assert!(matches!(said(&first), Some(Said::Unreachable(_))));
        assert!(
            matches!(said(&registry.after(GIVEN, 3, None).await), Some(Said::Unreachable(_))),
            "before or after it"
        );
        let second = registry.after(GIVEN, 3, Some(&first)).await;
        let third = registry.after(GIVEN, 4, Some(&second)).await;
        assert_eq!(said(&third), Some(Said::Answered));
        assert_eq!(said(&registry.after("", 4, Some(&third)).await), Some(Said::Answered), "nothing else was said");
    }
}
