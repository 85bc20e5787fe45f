//! A line for people, and the styles in it.

use std::fmt::{self, Display};
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, fill};

use crate::printable::printable_message;

/// A space that no line ends at.
const KEPT: char = '\u{a0}';

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

    /// In lines of at most 80 columns, as far as spaces outside of quotes allow it: a command is to be copied as a whole.
    /// What stands below the first line has a form of its own.
    pub(super) fn wrapped(&self) -> String {
        let first = self.0.lines().next().unwrap_or_default();
        let options = Options::new(COLUMNS)
            .subsequent_indent("    ")
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        let wrapped = fill(&with_spaces_in_quotes(first, KEPT), options).replace(KEPT, " ");
        wrapped + &self.0[first.len()..]
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

/// The text with other spaces in what is quoted by `'` or a backtick. An apostrophe inside a word quotes nothing.
fn with_spaces_in_quotes(text: &str, space: char) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(quoted) = quoted(rest) {
        kept.push_str(&rest[..quoted.start]);
        kept.extend(rest[quoted.clone()].chars().map(|c| if c == ' ' { space } else { c }));
        rest = &rest[quoted.end..];
    }
    kept + rest
}

/// The first quotation, with its quotes.
fn quoted(text: &str) -> Option<Range<usize>> {
    let is_free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let opens = |(at, quote): &(usize, char)| matches!(quote, '\'' | '`') && is_free(text[..*at].chars().next_back());
    text.char_indices().filter(opens).find_map(|(start, quote)| {
        let closes = |end: &usize| is_free(text[*end..].chars().next());
        let mut ends = text[start + 1..].match_indices(quote).map(|(at, _)| start + 1 + at + 1);
        ends.find(closes).map(|end| start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str) -> Vec<String> {
        Line::of(text).wrapped().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_long_line_is_broken_at_spaces_and_goes_on_indented() {
        let long = "word ".repeat(30);
        let lines = wrapped(long.trim_end());
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS) && lines.len() == 2, "{lines:?}");
        assert!(lines[1].starts_with("    word"));
        assert_eq!(wrapped("short"), ["short"]);
    }

    #[test]
    fn a_command_is_never_broken() {
        for quote in ["'", "`"] {
            let command =
                format!("{quote}docker start $(docker ps -aq --filter label=io.x-k8s.kind.cluster=dev){quote}");
            let lines = wrapped(&format!("cluster dev: the cluster's nodes are all stopped; {command} starts them"));
            assert!(lines.iter().any(|line| line.contains(&command)), "{lines:?}");
        }
    }

    #[test]
    fn an_apostrophe_quotes_nothing() {
        let text = "the cluster's network is not the mirror's, and that is what somebody else's container is on";
        assert_eq!(with_spaces_in_quotes(text, '_'), text);
        assert_eq!(with_spaces_in_quotes("it's 'a b' and 'c", '_'), "it's 'a_b' and 'c");
    }

    #[test]
    fn what_it_is_made_of_steers_no_terminal_and_its_styles_stay() {
        let line = Line::of("a\u{1b}]0;b").bad("c\u{7}").to_string();
        assert_eq!(line, "a\\u001b]0;b\u{1b}[31mc\\u0007\u{1b}[0m");
    }
}
