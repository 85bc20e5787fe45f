//! What is to be read: a set of objects, however often one of them is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::object::Object;
use crate::subject::Subject;

/// An object that the engine talks of without end is read this often and not more.
const AT_MOST_EVERY: Duration = Duration::from_millis(50);
/// Who needs an object that the engine talks of without end waits this long, and then takes it as it was read last: a
/// container that keeps exiting is told of with every start, and each of them takes the engine a third of a second.
const HOLDS_AT_MOST: Duration = Duration::from_millis(500);
/// What the engine has not talked of for so long has come to rest: longer than one read of it and the pause before the
/// next restart take together.
const COME_TO_REST: Duration = Duration::from_secs(1);
/// More marked objects than this are read as a list.
const FLOOD: usize = 1_000;

/// Objects that are to be read, and those that are being read.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marked: BTreeMap<Object, Mark>,
    reading: BTreeMap<Object, Reading>,
    last: BTreeMap<Object, Instant>,
    /// Those that the engine talks of without end.
    restless: BTreeMap<Object, Restless>,
}

/// The engine talks of an object again before it has been read, or soon after: with a read of a third of a second
/// between two restarts it is one or the other from one time to the next.
#[derive(Debug, Clone, Copy)]
struct Restless {
    /// When it had been read for the first time of many.
    since: Instant,
    /// When the engine talked of it last.
    told: Instant,
}

impl Restless {
    fn has_come_to_rest(&self) -> bool {
        self.told.elapsed() >= COME_TO_REST
    }
}

/// Why an object is to be read, and when.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// Who is not started before it has been read: what is known of them is outdated.
    pub(super) holds: BTreeSet<Subject>,
    /// Not before.
    pub(super) due: Instant,
}

#[derive(Debug)]
struct Reading {
    mark: Mark,
    since: Instant,
}

impl Marks {
    /// The engine told of it: it is to be read, soon, but not without a pause since the last time.
    pub(super) fn soon(&mut self, object: Object, holds: Option<Subject>) {
        self.restless.retain(|_, restless| !restless.has_come_to_rest());
        if let Some(restless) = self.restless.get_mut(&object) {
            restless.told = Instant::now();
        }
        let due = self.last.get(&object).map_or_else(Instant::now, |last| *last + AT_MOST_EVERY);
        self.mark(object, Mark { holds: holds.into_iter().collect(), due });
    }

    /// It is to be read at once; who is held (something was done to it) waits for that however restless it is.
    pub(super) fn now(&mut self, object: Object, holds: Option<Subject>) {
        if holds.is_some() {
            self.restless.remove(&object);
        }
        self.later(object, holds, Instant::now());
    }

    /// It is to be read later, and nobody waits for it.
    pub(super) fn at(&mut self, object: Object, due: Instant) {
        self.later(object, None, due);
    }

    /// It is to be read later, and its subject waits for it.
    pub(super) fn later(&mut self, object: Object, holds: Option<Subject>, due: Instant) {
        self.mark(object, Mark { holds: holds.into_iter().collect(), due });
    }

    /// The earlier moment wins, and who is held stays held.
    fn mark(&mut self, object: Object, mut mark: Mark) {
        if self.marked.len() >= FLOOD && !self.marked.contains_key(&object) && matches!(object, Object::Container(_)) {
            self.mark(Object::Containers, mark);
            return;
        }
        let known = self.marked.entry(object).or_insert_with(|| mark.clone());
        known.due = known.due.min(mark.due);
        known.holds.append(&mut mark.holds);
    }

    /// Takes the first that may be read now; otherwise says when the next may.
    pub(super) fn next(&mut self, may_be_read: impl Fn(&Object, &Mark) -> bool) -> Result<Object, Option<Instant>> {
        let now = Instant::now();
        let free = |(object, mark): &(&Object, &Mark)| !self.reading.contains_key(*object) && may_be_read(object, mark);
        let free = self.marked.iter().filter(free);
        let Some(object) = free.clone().find(|(_, mark)| mark.due <= now).map(|(object, _)| object.clone()) else {
            return Err(free.map(|(_, mark)| mark.due).min());
        };
        if let Some(mark) = self.marked.remove(&object) {
            self.last.insert(object.clone(), now);
            self.reading.insert(object.clone(), Reading { mark, since: now });
        }
        Ok(object)
    }

    /// It has been read: since when what was read is true.
    pub(super) fn done(&mut self, object: &Object) -> Instant {
        let now = Instant::now();
        self.last.retain(|_, last| *last + AT_MOST_EVERY > now);
        let since = self.reading.remove(object).map_or(now, |reading| reading.since);
        if self.marked.contains_key(object) {
            self.restless.entry(object.clone()).or_insert(Restless { since: now, told: now });
        }
        since
    }

    /// It was not read after all, and is to be later; who was held is held on.
    pub(super) fn put_back(&mut self, object: &Object, due: Instant) {
        let holds = self.reading.remove(object).map(|reading| reading.mark.holds).unwrap_or_default();
        self.mark(object.clone(), Mark { holds, due });
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Object) -> bool) {
        self.marked.retain(|object, _| keep(object));
        self.restless.retain(|object, _| keep(object));
    }

    pub(super) fn contains(&self, object: &Object) -> bool {
        self.marked.contains_key(object) || self.reading.contains_key(object)
    }

    /// Whether it is to be read now, or is being read.
    pub(super) fn is_due(&self, object: &Object) -> bool {
        let now = Instant::now();
        self.reading.contains_key(object) || self.marked.get(object).is_some_and(|mark| mark.due <= now)
    }

    /// Whether something is being read of which this is true.
    pub(super) fn reads(&self, is_so: impl Fn(&Object) -> bool) -> bool {
        self.reading.keys().any(is_so)
    }

    /// Who is held.
    pub(super) fn held(&self) -> impl Iterator<Item = &Subject> {
        let reading = self.reading.iter().map(|(object, reading)| (object, &reading.mark));
        let now = Instant::now();
        let holds = move |(object, _): &(&Object, &Mark)| {
            self.restless.get(*object).is_none_or(|restless| now.duration_since(restless.since) < HOLDS_AT_MOST)
        };
        self.marked.iter().chain(reading).filter(holds).flat_map(|(_, mark)| &mark.holds)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn container() -> Object {
        Object::Container("id".to_owned())
    }

    fn mirror() -> Subject {
        Subject::mirror("docker.io")
    }

    /// It is read, and the engine talks of it meanwhile, for so long.
    async fn read_while_it_is_talked_of(marks: &mut Marks, takes: Duration) {
        advance(AT_MOST_EVERY).await;
        assert_eq!(marks.next(|_, _| true), Ok(container()));
        marks.soon(container(), Some(mirror()));
        advance(takes).await;
        marks.done(&container());
    }

    /// It is read within so long, and nothing is told of it meanwhile.
    async fn read(marks: &mut Marks, takes: Duration) {
        advance(AT_MOST_EVERY).await;
        assert_eq!(marks.next(|_, _| true), Ok(container()));
        advance(takes).await;
        marks.done(&container());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_engine_talks_of_without_end_holds_nobody_for_long() {
        let mut marks = Marks::default();
        marks.soon(container(), Some(mirror()));
        let third = Duration::from_millis(270);
        for _ in 0..2 {
            read_while_it_is_talked_of(&mut marks, third).await;
            assert_eq!(marks.held().count(), 1);
        }
        read_while_it_is_talked_of(&mut marks, third).await;
        assert_eq!(marks.held().count(), 0);
        // Read completely before the engine talks of it again: it is no quieter for that.
        for _ in 0..5 {
            read(&mut marks, third).await;
            marks.soon(container(), Some(mirror()));
            assert_eq!(marks.held().count(), 0);
        }
        // It comes to rest: what is told of it next holds again.
        read(&mut marks, COME_TO_REST).await;
        marks.soon(container(), Some(mirror()));
        assert_eq!(marks.held().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_to_a_restless_object_holds_until_it_has_been_read() {
        let mut marks = Marks::default();
        marks.soon(container(), Some(mirror()));
        for _ in 0..3 {
            read_while_it_is_talked_of(&mut marks, Duration::from_millis(270)).await;
        }
        assert_eq!(marks.held().count(), 0);
        marks.now(container(), Some(mirror()));
        assert_eq!(marks.held().count(), 1);
        advance(HOLDS_AT_MOST * 10).await;
        assert_eq!(marks.held().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_read_holds_however_long_that_takes() {
        let mut marks = Marks::default();
        marks.now(container(), Some(mirror()));
        advance(HOLDS_AT_MOST * 10).await;
        assert_eq!(marks.held().count(), 1);
        assert_eq!(marks.next(|_, _| true), Ok(container()));
        advance(HOLDS_AT_MOST * 10).await;
        assert_eq!(marks.held().count(), 1);
    }
}
