//! The lines that wait to be written: how many there can be, and which are left out when there are more.

use std::collections::VecDeque;

use crate::event::{Importance, Key};

/// Lines that wait at most, besides the newest of each matter.
pub(super) const CAPACITY: usize = 1024;

/// Says how many lines were left out, in the format of the lines around it.
pub(super) type LeftOut = fn(usize) -> String;

/// Takes lines in without end and gives them out in order. When [`CAPACITY`] of them wait, lines that come are left out
/// until all those have been given out: one gap that is told of, not one after every other line.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Vec<u8>>,
    /// What came when there was no more room and may not be left out; without a key it never grows old.
    kept: Vec<(Option<Key>, Vec<u8>)>,
    left_out: usize,
    tell_left_out: LeftOut,
}

impl Backlog {
    pub(super) fn new(tell_left_out: LeftOut) -> Self {
        Self { waiting: VecDeque::new(), kept: Vec::new(), left_out: 0, tell_left_out }
    }

    pub(super) fn push(&mut self, importance: Importance, text: Vec<u8>) {
        let has_gap = self.left_out > 0 || !self.kept.is_empty();
        if !has_gap && self.waiting.len() < CAPACITY {
            self.waiting.push_back(text);
            return;
        }
        match importance {
            Importance::Progress => self.left_out += lines(&text),
            Importance::Newest(key) => {
                let key = Some(key);
                if let Some(older) = self.kept.iter().position(|(kept, _)| *kept == key) {
                    self.left_out += lines(&self.kept.remove(older).1);
                }
                self.kept.push((key, text));
            }
            Importance::Always => self.kept.push((None, text)),
        }
    }

    /// The next text to be written.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            let gap = std::mem::take(&mut self.left_out);
            self.waiting.extend((gap > 0).then(|| (self.tell_left_out)(gap).into_bytes()));
            self.waiting.extend(self.kept.drain(..).map(|(_, text)| text));
        }
        self.waiting.pop_front()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.tell_left_out);
    }
}

fn lines(text: &[u8]) -> usize {
    text.split_inclusive(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Subject;

    fn backlog() -> Backlog {
        Backlog::new(|lines| format!("{lines} left out"))
    }

    fn full() -> Backlog {
        let mut backlog = backlog();
        for number in 0..CAPACITY {
            progress(&mut backlog, &number.to_string());
        }
        backlog
    }

    fn progress(backlog: &mut Backlog, text: &str) {
        backlog.push(Importance::Progress, text.into());
    }

    fn condition(backlog: &mut Backlog, mirror: &str, what: &'static str, text: &str) {
        let key = Key { subject: Some(Subject::mirror(mirror)), what };
        backlog.push(Importance::Newest(key), text.into());
    }

    fn drained(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop()).map(|text| String::from_utf8(text).unwrap()).collect()
    }

    /// What is given out after the lines that filled it.
    fn after_the_full(backlog: &mut Backlog) -> Vec<String> {
        drained(backlog).split_off(CAPACITY)
    }

    #[test]
    fn lines_come_out_in_the_order_in_which_they_went_in() {
        let mut backlog = backlog();
        progress(&mut backlog, "a");
        condition(&mut backlog, "x", "Ready", "b");
        progress(&mut backlog, "c");
        condition(&mut backlog, "x", "Ready", "d");
        assert_eq!(drained(&mut backlog), ["a", "b", "c", "d"]);
    }

    #[test]
    fn however_many_lines_come_no_more_than_the_capacity_wait() {
        let mut backlog = full();
        for _ in 0..100_000 {
            progress(&mut backlog, "too many\n");
            condition(&mut backlog, "x", "Ready", "newest\n");
        }
        assert_eq!(backlog.waiting.len() + backlog.kept.len(), CAPACITY + 1);
    }

    #[test]
    fn what_is_left_out_is_counted_in_lines() {
        let mut backlog = full();
        progress(&mut backlog, "one\n");
        progress(&mut backlog, "two\nthree\n");
        assert_eq!(after_the_full(&mut backlog), ["3 left out"]);
    }

    #[test]
    fn of_a_matter_the_newest_is_kept_and_what_it_replaces_counts_as_left_out() {
        let mut backlog = full();
        condition(&mut backlog, "x", "Ready", "x not Ready\n");
        condition(&mut backlog, "y", "Ready", "y Ready\n");
        condition(&mut backlog, "x", "Serving", "x serves\n");
        condition(&mut backlog, "x", "Ready", "x Ready\n");
        assert_eq!(after_the_full(&mut backlog), ["1 left out", "y Ready\n", "x serves\n", "x Ready\n"]);
    }

    #[test]
    fn what_is_always_kept_is_replaced_by_nothing() {
        let mut backlog = full();
        backlog.push(Importance::Always, "a".into());
        backlog.push(Importance::Always, "b".into());
        assert_eq!(after_the_full(&mut backlog), ["a", "b"]);
    }

    #[test]
    fn nothing_overtakes_what_was_kept() {
        let mut backlog = full();
        condition(&mut backlog, "x", "Ready", "first");
        backlog.pop();
        condition(&mut backlog, "y", "Ready", "second");
        progress(&mut backlog, "left out");
        assert_eq!(drained(&mut backlog).split_off(CAPACITY - 1), ["1 left out", "first", "second"]);
    }

    #[test]
    fn after_a_gap_every_line_is_taken_again() {
        let mut backlog = full();
        progress(&mut backlog, "left out");
        drained(&mut backlog);
        progress(&mut backlog, "a");
        progress(&mut backlog, "b");
        assert_eq!(drained(&mut backlog), ["a", "b"]);
    }
}
