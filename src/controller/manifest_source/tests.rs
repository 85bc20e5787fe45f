//! A real file and watchers that tell what a test says, in virtual time; one case with the system's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use notify::event::{Flag, ModifyKind};
use notify::{ErrorKind, EventKind, RecursiveMode, Watcher, WatcherKind};
use tokio::task::JoinHandle;

use super::*;

/// What the system says, shared by all watchers it makes.
#[derive(Default)]
struct System {
    /// Why there is no watcher, if so.
    refuses: Mutex<Option<fn() -> notify::Error>>,
    unwatchable: Mutex<BTreeSet<PathBuf>>,
    handler: Mutex<Option<Handler>>,
}

impl System {
    fn make(self: &Arc<Self>, handler: Handler) -> notify::Result<BoxedWatcher> {
        if let Some(error) = *self.refuses.lock().unwrap() {
            return Err(error());
        }
        *self.handler.lock().unwrap() = Some(handler);
        Ok(Box::new(Told(Arc::clone(self))))
    }

    fn tells(&self, event: notify::Result<notify::Event>) {
        (self.handler.lock().unwrap().as_mut().unwrap())(event);
    }
}

/// A watcher that tells what the test makes the system tell.
struct Told(Arc<System>);

impl Watcher for Told {
    fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
        Err(notify::Error::generic("made by the system"))
    }

    fn watch(&mut self, path: &Path, _: RecursiveMode) -> notify::Result<()> {
        if self.0.unwatchable.lock().unwrap().contains(path) {
            return Err(notify::Error::new(ErrorKind::MaxFilesWatch));
        }
        Ok(())
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl Reporter for Reasons {
    fn report(&self, event: &Event) {
        if let Event::ManifestPolled { reason, .. } = event {
            self.0.lock().unwrap().push(reason.clone());
        }
    }
}

struct Followed {
    directory: tempfile::TempDir,
    reasons: Arc<Reasons>,
    news: UnboundedReceiver<Contents>,
    refused: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    /// A file that holds `first`, once that is known.
    async fn on(system: &Arc<System>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::at(directory, Path::to_owned, system).await
    }

    /// The same, called by another path.
    async fn at(directory: tempfile::TempDir, called: impl Fn(&Path) -> PathBuf, system: &Arc<System>) -> Self {
        let system = Arc::clone(system);
        Self::with(directory, called, move |handler| system.make(handler)).await
    }

    async fn with<M>(directory: tempfile::TempDir, called: impl Fn(&Path) -> PathBuf, make: M) -> Self
    where
        M: Fn(Handler) -> notify::Result<BoxedWatcher> + Send + Sync + 'static,
    {
        let path = called(&directory.path().join("ksail.yaml"));
        let reasons = Arc::<Reasons>::default();
        let refused = watch::Sender::default();
        let (out, news) = unbounded_channel();
        fs::write(directory.path().join("ksail.yaml"), "first").unwrap();
        let task = tokio::spawn({
            let reasons = Arc::clone(&reasons);
            let refused = refused.subscribe();
            async move { follow(path, make, &*reasons, Arc::new(|_| None), out, refused).await }
        });
        let mut followed = Self { directory, reasons, news, refused, task };
        assert_eq!(followed.next().await, "first");
        followed
    }

    fn save(&self, text: &str) {
        fs::write(self.directory.path().join("ksail.yaml"), text).unwrap();
    }

    async fn next(&mut self) -> String {
        String::from_utf8(self.news.recv().await.unwrap().unwrap()).unwrap()
    }

    /// How long it takes until a save is known, of which the system tells nothing.
    async fn follows(&mut self, text: &str) -> Duration {
        let saved = Instant::now();
        self.save(text);
        assert_eq!(self.next().await, text);
        saved.elapsed()
    }

    fn reasons(&self) -> Vec<String> {
        self.reasons.0.lock().unwrap().clone()
    }
}

fn no_instance() -> notify::Error {
    io::Error::from_raw_os_error(24).into()
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_watcher_the_file_is_read_every_second_and_that_is_said_once() {
    let system = Arc::<System>::default();
    *system.refuses.lock().unwrap() = Some(no_instance);
    let mut followed = Followed::on(&system).await;
    for text in ["second", "third", "fourth"] {
        let took = followed.follows(text).await;
        assert!(took <= POLL + QUIET, "{took:?}");
    }
    let reasons = followed.reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    if cfg!(target_os = "linux") {
        assert_eq!(reasons, ["fs.inotify.max_user_instances is reached"]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_one_of_the_directories_cannot_be_watched_it_is_read_every_second_as_well() {
    let system = Arc::<System>::default();
    let directory = tempfile::tempdir().unwrap();
    let above = directory.path().canonicalize().unwrap().parent().unwrap().to_owned();
    system.unwatchable.lock().unwrap().insert(above);
    let mut followed = Followed::at(directory, Path::to_owned, &system).await;
    let took = followed.follows("second").await;
    assert!(took <= POLL + QUIET, "{took:?}");
    assert_eq!(followed.reasons(), ["fs.inotify.max_user_watches is reached"]);
}

#[tokio::test(start_paused = true)]
async fn once_there_are_events_again_it_is_read_no_more_than_before() {
    let system = Arc::<System>::default();
    *system.refuses.lock().unwrap() = Some(no_instance);
    let mut followed = Followed::on(&system).await;
    followed.follows("second").await;
    *system.refuses.lock().unwrap() = None;
    // One look makes the watcher; from then on the next one comes when something is told.
    followed.follows("third").await;
    let took = followed.follows("fourth").await;
    assert!(took + POLL > READ_ANYWAY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn events_that_the_system_has_lost_cause_a_look() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    let overflow = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
    for (text, event) in [("second", Ok(overflow)), ("third", Err(notify::Error::generic("it broke")))] {
        let saved = Instant::now();
        followed.save(text);
        system.tells(event);
        assert_eq!(followed.next().await, text);
        assert_eq!(saved.elapsed().as_millis(), QUIET.as_millis(), "{text}");
    }
    assert!(followed.reasons().is_empty());
}

#[tokio::test(start_paused = true)]
async fn half_a_save_between_two_looks_is_not_taken_for_one() {
    let system = Arc::<System>::default();
    *system.refuses.lock().unwrap() = Some(no_instance);
    let mut followed = Followed::on(&system).await;
    followed.save("sec");
    // The next look has seen half of it when the rest comes.
    tokio::time::sleep(POLL + QUIET / 2).await;
    assert!(followed.news.is_empty());
    followed.follows("second").await;
}

/// An event about the file, as the system has them for every write.
fn written(followed: &Followed) -> notify::Event {
    let file = followed.directory.path().canonicalize().unwrap().join("ksail.yaml");
    notify::Event::new(EventKind::Modify(ModifyKind::Any)).add_path(file)
}

#[tokio::test(start_paused = true)]
async fn halves_of_a_save_that_are_less_than_the_quiet_time_apart_are_read_as_one() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    followed.save("sec");
    system.tells(Ok(written(&followed)));
    tokio::time::sleep(QUIET * 9 / 10).await;
    followed.save("second");
    system.tells(Ok(written(&followed)));
    let saved = Instant::now();
    assert_eq!(followed.next().await, "second");
    assert_eq!(saved.elapsed().as_millis(), QUIET.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_burst_without_end_is_read_in_the_middle_of_it() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    followed.save("second");
    let begun = Instant::now();
    while followed.news.is_empty() {
        assert!(begun.elapsed() <= LONGEST + QUIET, "{:?}", begun.elapsed());
        system.tells(Ok(written(&followed)));
        tokio::time::sleep(QUIET / 2).await;
    }
    assert_eq!(followed.next().await, "second");
    assert!(begun.elapsed() >= LONGEST, "{:?}", begun.elapsed());
}

/// A manifest with this line in its only mirror.
fn naming(line: &str) -> String {
    format!("spec:\n  registries:\n    mirrors:\n      - host: ghcr.io\n        {line}\n")
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_manifest_names_is_followed_as_the_manifest_is() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let token = elsewhere.path().join("token");
    let text = naming(&format!("credentials: {{username: me, passwordFile: {}}}", token.display()));
    assert!(followed.follows(&text).await <= READ_ANYWAY + QUIET);
    for held in ["one", "two"] {
        let changed = Instant::now();
        fs::write(&token, held).unwrap();
        system.tells(Ok(notify::Event::new(EventKind::Modify(ModifyKind::Any)).add_path(token.clone())));
        assert_eq!(followed.next().await, text);
        assert!(changed.elapsed() <= LONGEST, "{:?}", changed.elapsed());
    }
    let changed = Instant::now();
    fs::remove_file(&token).unwrap();
    assert_eq!(followed.next().await, text);
    assert!(changed.elapsed() <= READ_ANYWAY + LONGEST, "without an event: {:?}", changed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_docker_login_stored_is_read_again_every_ten_minutes() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    let text = naming("credentials: {fromDocker: true}");
    followed.follows(&text).await;
    let begun = Instant::now();
    for _ in 0..3 {
        let next = timeout(2 * LOGIN, followed.next()).await;
        assert_eq!(next.expect("it is read again"), text);
    }
    let took = begun.elapsed();
    assert!(took <= 3 * (LOGIN + QUIET + LONGEST) && took >= 3 * LOGIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_docker_login_did_not_give_is_asked_for_again_soon_and_less_and_less_often() {
    let system = Arc::<System>::default();
    let mut followed = Followed::on(&system).await;
    let text = naming("credentials: {fromDocker: true}");
    followed.follows(&text).await;
    for pause in [10, 20, 40, 80, 160, 320, 600, 600] {
        let (pause, refused) = (Duration::from_secs(pause), Instant::now());
        followed.refused.send_replace(true);
        let next = timeout(2 * LOGIN, followed.next()).await;
        assert_eq!(next.expect("it is read again"), text);
        let took = refused.elapsed();
        assert!(took >= pause && took <= pause + QUIET + LONGEST, "{pause:?}: {took:?}");
    }
    followed.refused.send_replace(false);
    assert!(timeout(LOGIN * 9 / 10, followed.next()).await.is_err(), "what it gave is good for a while");
}

#[test]
fn a_file_that_never_comes_to_rest_is_taken_all_the_same() {
    let mut readings = Readings::default();
    let begun = Instant::now();
    let version = |text: &str| Version::of(&Ok(text.into()), BTreeMap::new(), 0);
    let mut take = |text: &str, after| readings.compare(version(text), false, begun + after);
    assert_eq!(take("1", Duration::ZERO), Reading::Unsettled);
    assert_eq!(take("2", QUIET), Reading::Unsettled);
    assert_eq!(take("3", LONGEST), Reading::News);
    assert_eq!(take("3", LONGEST + POLL), Reading::Known);
}

#[cfg(unix)]
#[tokio::test]
async fn a_relative_path_is_watched_as_well_as_any() {
    let from_here = |path: &Path| {
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        up.join(path.strip_prefix("/").unwrap())
    };
    let mut followed = Followed::with(tempfile::tempdir().unwrap(), from_here, of_the_system).await;
    // Without an event nobody would read it for half a minute.
    let took = followed.follows("second").await;
    assert!(took < READ_ANYWAY / 2, "{took:?}");
    assert!(followed.reasons().is_empty());
}
