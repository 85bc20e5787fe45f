//! What is wrong with a manifest, pointing at the text.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::find::shown;
use crate::printable::{printable_in_place, printable_message};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 when the problem is not about a place in the file.
    pub line: usize,
    /// Column in characters, from 1; 0 when the problem is not about a place in the file.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    pub(crate) span: Option<Range<usize>>,
    pub(crate) label: Option<String>,
    pub(crate) related: Option<(Range<usize>, String)>,
    /// Whether it lies in what a variable holds and not in the file.
    pub(crate) of_environment: bool,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            line: 0,
            column: 0,
            message: message.into(),
            hint: None,
            span: None,
            label: None,
            related: None,
            of_environment: false,
        }
    }

    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    pub(crate) fn of_environment(self) -> Self {
        Self { of_environment: true, ..self }
    }

    /// Whatever it quotes.
    fn make_printable(&mut self) {
        let related = self.related.as_mut().map(|(_, label)| label);
        let texts = [Some(&mut self.message), self.hint.as_mut(), self.label.as_mut(), related];
        for text in texts.into_iter().flatten() {
            *text = printable_message(text);
        }
    }

    fn place(&self) -> String {
        if self.line == 0 { String::new() } else { format!(":{}:{}", self.line, self.column) }
    }
}

/// Everything that is wrong with a manifest, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    path: String,
    /// The text of the file with what may be secret covered.
    text: String,
    found: Vec<Problem>,
}

impl Problems {
    /// `text` must no longer contain anything secret, at unchanged positions.
    pub(crate) fn new(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        // A carriage return belongs to its line's end; a space has the same width.
        let text = printable_in_place(&text.replace('\r', " "));
        for problem in &mut problems {
            problem.make_printable();
            if let Some(span) = &mut problem.span {
                *span = visible(&text, span);
                (problem.line, problem.column) = line_and_column(&text, span.start);
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        Self { path: printable_message(&shown(path).to_string()), text, found: problems }
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// The first one in a line: `ksail.yaml:7:13: unknown field 'upstraem' (and 2 more problems)`.
    pub fn summary(&self) -> String {
        let Some(first) = self.found.first() else { return self.path.clone() };
        let more = match self.found.len() - 1 {
            0 => String::new(),
            1 => " (and 1 more problem)".to_owned(),
            more => format!(" (and {more} more problems)"),
        };
        format!("{}{}: {}{more}", self.path, first.place(), first.message)
    }

    /// All of them, each with the text underlined.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let reports = self.found.iter().map(|problem| renderer.render(&[self.group(problem)]));
        reports.collect::<Vec<_>>().join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let Some(span) = &problem.span else {
            let title = Level::ERROR.primary_title(format!("{}: {}", self.path, problem.message));
            return Group::with_title(title).elements(problem.hint.as_deref().map(|hint| Level::HELP.message(hint)));
        };
        let primary = AnnotationKind::Primary.span(span.clone()).label(problem.label.as_deref());
        let related = problem.related.as_ref();
        let related = related.map(|(span, label)| AnnotationKind::Context.span(span.clone()).label(label.as_str()));
        let snippet = Snippet::source(self.text.as_str()).path(self.path.as_str()).annotation(primary);
        Level::ERROR
            .primary_title(problem.message.as_str())
            .element(snippet.annotations(related))
            .elements(problem.hint.as_deref().map(|hint| Level::HELP.message(hint)))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// At most to the end of the first line, and at least one character where there is one.
fn visible(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor(text, span.start.min(text.len()));
    let line_end = text[start..].find('\n').map_or(text.len(), |end| start + end);
    let next = text[start..line_end].chars().next().map_or(start, |c| start + c.len_utf8());
    let end = floor(text, span.end.min(line_end)).max(next);
    start..start + text[start..end].trim_end().len().max(next - start)
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
