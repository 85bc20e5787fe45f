//! What the engine said, and when.
//!
//! Lists fill the store; afterwards an event marks the object that it names, and marked objects are read
//! ([`Observer`](super::Observer) does that, beside everything else). A snapshot is made of what is known, without
//! asking anybody. (kube-runtime calls the whole a reflector.)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::contents::{Answer, Contents, Sighting};
use super::control_plane::ControlPlane;
use super::object::Object;
use crate::desired::Desired;
use crate::engine::{EngineError, EngineInfo, Event};
use crate::subject::Subject;

/// What the engine said. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    contents: Mutex<Contents>,
    /// Something is to be read.
    marked: Notify,
    /// A read found the engine away.
    suspected: Notify,
    /// Counts what has been learned.
    version: watch::Sender<u64>,
}

/// Whether the engine is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Link {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up(EngineInfo),
    /// It does not: why.
    Down(EngineError),
}

impl Store {
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the contents and wakes who reads and who plans.
    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        let changed = {
            let mut contents = self.contents();
            let changed = change(&mut contents);
            contents.follow_up();
            changed
        };
        self.0.version.send_modify(|version| *version += 1);
        self.0.marked.notify_one();
        changed
    }

    /// What is asked for: it decides what has to be known. Names are those of what is new.
    pub fn set_desired(&self, desired: &Desired) {
        self.change(|contents| {
            let asks_for = |desired: &Desired| (desired.image.clone(), desired.lifecycle, desired.distribution);
            let before = contents.desired.replace(Arc::new(desired.clone()));
            match before {
                // The program that makes clusters is looked for beside the image.
                Some(before) if asks_for(&before) != asks_for(desired) => contents.await_list(Object::Image),
                Some(_) => {}
                // Whoever has not been listed yet is not missing.
                None => contents.awaited.extend(Object::LISTS),
            }
        });
    }

    /// The engine was found, and is to be listed. `is_polled` when it does not tell what happens.
    pub fn connected(&self, info: EngineInfo, is_polled: bool) {
        // Whoever suspected something did so before.
        let _ = self.suspected().now_or_never();
        self.change(|contents| {
            contents.link = Link::Up(info);
            contents.is_polled = is_polled;
            contents.list_anew();
        });
    }

    /// The engine does not answer.
    pub fn disconnected(&self, error: EngineError) {
        self.change(|contents| contents.link = Link::Down(error));
    }

    /// Everything is read again, and nothing planned before the lists are there.
    pub fn list_anew(&self) {
        self.change(Contents::list_anew);
    }

    /// One list of each kind, and a read of what differs; `deep` reads all of ours, and asks nodes everything anew.
    pub fn resync(&self, deep: bool) {
        self.change(|contents| contents.resync(deep));
    }

    /// Whether the engine is there.
    pub fn link(&self) -> Link {
        self.contents().link.clone()
    }

    /// Why lists cannot be read, and how often in a row that was tried.
    pub fn unlisted(&self) -> Option<(EngineError, u32)> {
        let contents = self.contents();
        let lists = Object::LISTS.iter().filter_map(|list| contents.unreadable.get(list));
        lists.max_by_key(|(_, tries)| *tries).cloned()
    }

    /// Somebody says that something has happened: what is concerned is to be read again.
    pub fn on_event(&self, event: &Event) {
        let is_marked = {
            let mut contents = self.contents();
            contents.on_event(event)
        };
        if is_marked {
            self.0.version.send_modify(|version| *version += 1);
            self.0.marked.notify_one();
        }
    }

    /// A sequence has begun: what happens to its subject is looked at when it has ended.
    pub fn began(&self, subject: &Subject) {
        self.contents().busy.insert(subject.clone());
    }

    /// A sequence has ended: what it was about is read again before anything else is done about it.
    pub fn ended(&self, subject: &Subject, is_done: bool) {
        self.change(|contents| {
            contents.busy.remove(subject);
            contents.invalidate(subject);
            if !is_done {
                // What stood in its way is where nobody looked.
                contents.marks.now(Object::Containers, Some(subject.clone()));
                contents.marks.now(Object::Image, Some(subject.clone()));
                contents.ports.clear();
            } else if contents.image.is_none() {
                // It was pulled.
                contents.marks.now(Object::Image, Some(subject.clone()));
            }
        });
    }

    /// Nobody looks into the cluster's nodes as long as this holds; who is looking goes on ([`Store::reads_nodes`]).
    pub fn exclude(&self, is_excluded: bool) {
        if self.contents().is_excluded != is_excluded {
            self.change(|contents| contents.is_excluded = is_excluded);
        }
    }

    /// Whether somebody looks into one of the cluster's nodes at this moment.
    pub fn reads_nodes(&self) -> bool {
        self.contents().marks.reads(Object::is_in_node)
    }

    /// Nodes, by id, that are about to end, or may be.
    pub fn ending_nodes(&self) -> BTreeSet<String> {
        self.contents().ending_nodes(Instant::now())
    }

    /// Whether everything that was to be read has been, as far as somebody waits for it.
    pub fn has_settled(&self) -> bool {
        let contents = self.contents();
        contents.is_complete() && contents.marks.held().next().is_none() && !contents.marks.reads(|_| true)
    }

    /// Whether the cluster is still to be asked, or is being asked, what it says of its registry. One whose API server
    /// does not answer has been asked.
    pub fn asks_cluster(&self) -> bool {
        let contents = self.contents();
        contents.marks.is_due(&Object::Hosting) || contents.error(&Object::Hosting).is_some()
    }

    /// Whether the cluster is about to become usable: its API server does not say that it is ready, and one of its nodes was
    /// started minutes ago.
    pub fn comes_up(&self) -> bool {
        let contents = self.contents();
        let is_silent = matches!(contents.control_plane(), ControlPlane::NotReady { .. });
        is_silent && contents.api_runs().iter().any(|run| contents.is_young(run))
    }

    /// When the last container of the cluster went, if one was seen to be there.
    pub fn cluster_went(&self) -> Option<Instant> {
        match self.contents().sighting {
            Sighting::Went(at) => Some(at),
            Sighting::Never | Sighting::There => None,
        }
    }

    /// Until when a cluster that somebody has deleted may be made anew, if that is not over.
    pub fn made_anew_until(&self) -> Option<Instant> {
        self.contents().made_anew_until(Instant::now())
    }

    /// When it will have shown whether nodes that were killed are being removed.
    pub fn leaves_until(&self) -> Option<Instant> {
        self.contents().leaves_until(Instant::now())
    }

    /// When the next node need no longer be left alone.
    pub fn left_alone_until(&self) -> Option<Instant> {
        self.contents().left_alone_until(Instant::now())
    }

    /// Whether the caches of these hosts would start again if they were stopped is to be known, and of no others.
    pub fn ask_whether_they_start_again(&self, hosts: &BTreeSet<String>) {
        if self.contents().ask_whether_they_start_again(hosts) {
            self.0.marked.notify_one();
        }
    }

    /// Fires when a container has ended, or may have; from now on.
    pub fn on_end(&self, container: &str) -> Arc<Notify> {
        Arc::clone(self.contents().on_end.entry(container.to_owned()).or_default())
    }

    /// Nobody wants to know that any more.
    pub fn forget_end(&self, container: &str) {
        self.contents().on_end.remove(container);
    }

    /// Whether the engine tells what happens.
    pub fn is_told(&self) -> bool {
        let contents = self.contents();
        matches!(contents.link, Link::Up(_)) && !contents.is_polled
    }

    /// What has happened since this was asked last, for people.
    pub fn drain_triggers(&self) -> Vec<String> {
        std::mem::take(&mut self.contents().triggers).into_iter().collect()
    }

    /// Changes whenever something was learned.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// A read found the engine away.
    pub fn suspect(&self) {
        self.0.suspected.notify_one();
    }

    /// Completes when a read found the engine away.
    pub async fn suspected(&self) {
        self.0.suspected.notified().await;
    }

    pub(super) async fn marked(&self) {
        self.0.marked.notified().await;
    }

    /// The next object to read; otherwise when there will be one.
    pub(super) fn next(&self) -> Result<Object, Option<Instant>> {
        self.contents().next()
    }

    pub(super) fn learn(&self, object: &Object, answer: Result<Answer, EngineError>) {
        self.change(|contents| {
            let since = contents.marks.done(object);
            match answer {
                Ok(answer) => {
                    contents.unreadable.remove(object);
                    contents.awaited.remove(object);
                    contents.learn(object, answer, since);
                }
                Err(error) => contents.could_not_read(object, error),
            }
        });
    }

    pub(super) fn put_back(&self, object: &Object, due: Instant) {
        self.contents().marks.put_back(object, due);
    }
}
