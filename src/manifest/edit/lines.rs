//! The text being edited, in lines and columns.

use std::ops::Range;

use super::comments::{Comment, comments};

/// The text being edited.
pub(super) struct Text {
    pub(super) text: String,
    newline: &'static str,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let newline = match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        Self { text: text.to_owned(), newline }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// Inserts lines after the line that `at` is in.
    pub(super) fn insert_lines(&mut self, at: usize, lines: &[String]) {
        let at = self.line_end(at);
        let lines = lines.join(self.newline);
        let (newline, text) = (self.newline, &self.text[..at]);
        let new = if text.ends_with('\n') || text.is_empty() { lines + newline } else { format!("{newline}{lines}") };
        self.text.insert_str(at, &new);
    }

    /// Takes whole lines out, with the words directly above them, and one of two blank lines that would meet. Entries
    /// that somebody has commented out stay, above and between.
    pub(super) fn remove_lines(&mut self, range: Range<usize>, column: usize, (index, of): (usize, usize)) {
        let mut start = self.words_above(self.line_start(range.start), column, index);
        let mut end = self.line_end(range.end);
        let mut kept = self.entries_commented_out(start..end);
        let blank = |range: &Range<usize>| self.text[range.clone()].trim().is_empty();
        let below = self.line_below(end);
        if kept.is_empty()
            && let Some(above) = self.line_above(start).filter(&blank)
            && (below.as_ref().is_some_and(blank) || index + 1 == of)
        {
            start = above.start;
        }
        // At the end of a file that ends without a newline, it goes on ending without one.
        if end == self.text.len() && !self.text.ends_with('\n') {
            if kept.is_empty() {
                start = self.text[..start].trim_end_matches('\n').len().max(start.saturating_sub(1));
                start = start - usize::from(self.text[..start].ends_with('\r'));
            }
            kept.truncate(kept.trim_end_matches(['\n', '\r']).len());
            end = self.text.len();
        }
        self.text.replace_range(start..end, &kept);
    }

    /// Where the words begin that stand directly above the line at `start`, in its own column, and are about it.
    fn words_above(&self, start: usize, column: usize, index: usize) -> usize {
        let mut run = Vec::new();
        let mut top = start;
        while let Some(above) =
            self.line_above(top).filter(|line| self.text[line.clone()].trim_start().starts_with('#'))
        {
            top = above.start;
            run.push(above);
        }
        run.reverse();
        let kinds = comments(run.iter().map(|line| &self.text[line.clone()]));
        let own = |(line, kind): &(&Range<usize>, Option<Comment>)| {
            let text = &self.text[(*line).clone()];
            let indent = text.len() - text.trim_start().len();
            // A deeper comment is the end of the entry above, if there is one.
            *kind == Some(Comment::Prose) && (indent == column || (indent > column && index == 0))
        };
        run.iter().zip(kinds).rev().take_while(own).last().map_or(start, |(line, _)| line.start)
    }

    /// The lines of entries that are commented out.
    fn entries_commented_out(&self, range: Range<usize>) -> String {
        let lines: Vec<_> = self.text[range].split_inclusive('\n').collect();
        let kinds = comments(lines.iter().copied());
        lines.iter().zip(kinds).filter(|(_, kind)| *kind == Some(Comment::Entry)).map(|(line, _)| *line).collect()
    }

    /// The end of the list's heading, if that is the line after the one that ends at `end`.
    pub(super) fn after_heading(&self, end: usize) -> usize {
        let heading =
            |line: &Range<usize>| comments([&self.text[line.clone()]].into_iter()) == [Some(Comment::Heading)];
        self.line_below(end).filter(heading).map_or(end, |line| line.end)
    }

    /// The first byte of the line that `at` is in.
    pub(super) fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The byte after the newline of the line that `at` is in.
    pub(super) fn line_end(&self, at: usize) -> usize {
        if at > 0 && self.text[..at].ends_with('\n') && self.line_start(at) == at {
            return at;
        }
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    /// The line before the one that begins at `start`.
    pub(super) fn line_above(&self, start: usize) -> Option<Range<usize>> {
        (start > 0).then(|| self.line_start(start - 1)..start)
    }

    /// The line after the one that ends at `end`.
    pub(super) fn line_below(&self, end: usize) -> Option<Range<usize>> {
        let more = end < self.text.len();
        more.then(|| end..self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline + 1))
    }

    /// How many characters stand before `at` in its line.
    pub(super) fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }

    /// The end of a line's code: before its comment and the space in front of that.
    pub(super) fn end_of_code(&self, at: usize) -> usize {
        let line = &self.text[at..self.line_end(at)];
        let comment = [" #", "\t#"].iter().filter_map(|mark| line.find(mark)).min();
        let code = comment.map_or(line, |comment| &line[..comment]);
        at + code.trim_end().len()
    }
}

/// Lines with so many spaces in front of each.
pub(super) fn indented(lines: &[String], column: usize) -> Vec<String> {
    lines.iter().map(|line| format!("{:column$}{line}", "")).collect()
}
