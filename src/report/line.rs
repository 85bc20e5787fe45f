//! A line for people, and the styles in it.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, fill};

use crate::printable::printable_message;

/// What fits into the smallest window that people keep open.
const COLUMNS: usize = 80;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const QUIET: Style = AnsiColor::BrightBlack.on_default();

/// Text whose only control sequences are these styles: everything it is made of is made printable on its way in.
///
/// Styles are written always; the stream it goes to strips them where they are not wanted.
#[derive(Debug, Default)]
pub(super) struct Line(String);

impl Line {
    pub(super) fn of(text: impl Display) -> Self {
        Self::default().then(text)
    }

    pub(super) fn then(mut self, text: impl Display) -> Self {
        self.0 += &printable_message(&text.to_string());
        self
    }

    /// What is as it should be.
    pub(super) fn good(self, text: impl Display) -> Self {
        self.styled(GOOD, text)
    }

    /// What is not.
    pub(super) fn bad(self, text: impl Display) -> Self {
        self.styled(BAD, text)
    }

    /// What matters less than the rest.
    pub(super) fn quiet(self, text: impl Display) -> Self {
        self.styled(QUIET, text)
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0 += &other.0;
        self
    }

    /// In lines of at most 80 columns, as far as spaces allow it; what is put on a line of its own is not the first.
    pub(super) fn wrapped(&self) -> String {
        let (first, rest) =
            self.0.split_once('\n').map_or((self.0.as_str(), None), |(first, rest)| (first, Some(rest)));
        let options = Options::new(COLUMNS)
            .subsequent_indent("    ")
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        let first = fill(first, options);
        rest.map_or(first.clone(), |rest| format!("{first}\n{rest}"))
    }

    fn styled(mut self, style: Style, text: impl Display) -> Self {
        self.0 += &style.render().to_string();
        self = self.then(text);
        self.0 += &style.render_reset().to_string();
        self
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
