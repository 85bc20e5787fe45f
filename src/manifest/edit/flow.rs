//! Collections in brackets: `{a: b}` and `[a, b]`.

use std::ops::Range;

use super::lines::Text;
use super::written::{Like, New, flow_fields, flow_value};

impl Text {
    /// After the last element, on a line of its own if that one has a line of its own.
    pub(super) fn insert_in_flow(&mut self, span: Range<usize>, last: Option<usize>, new: &str) {
        let Some(last) = last else {
            self.text.replace_range(span.start + 1..span.end - 1, new);
            return;
        };
        let comma = self.comma_after(last);
        let line = self.line_start(last);
        let lead = &self.text[line..last];
        let column = lead.len() - lead.trim_start().len();
        let own_line = line > span.start && self.text[last..span.end].contains('\n');
        let trailing = if comma.is_some() { "," } else { "" };
        if own_line {
            let end = self.line_end(comma.unwrap_or(last));
            self.insert_lines(end, &[format!("{:column$}{new}{trailing}", "")]);
            if comma.is_none() {
                self.text.insert(last, ',');
            }
        } else if let Some(comma) = comma {
            self.text.insert_str(comma, &format!(" {new},"));
        } else {
            self.text.insert_str(last, &format!(", {new}"));
        }
    }

    /// Takes one of these elements out, with its comma, and with its lines where it has lines of its own.
    pub(super) fn remove_from_flow(&mut self, spans: &[Range<usize>], index: usize) {
        let span = spans[index].clone();
        let comma = self.comma_after(span.end);
        let lines = self.line_start(span.start)..self.line_end(comma.unwrap_or(span.end));
        let before = self.text[lines.start..span.start].trim();
        let after = self.text[comma.unwrap_or(span.end)..lines.end].trim();
        if before.is_empty() && (after.is_empty() || after.starts_with('#')) && spans.len() > 1 {
            let column = self.column(span.start);
            let previous =
                index.checked_sub(1).filter(|_| comma.is_none()).and_then(|index| self.comma_after(spans[index].end));
            self.remove_lines(span.start..lines.end.saturating_sub(1).max(span.end), column, (index, spans.len()));
            if let Some(previous) = previous {
                self.text.replace_range(previous - 1..previous, "");
            }
            return;
        }
        let range = match (spans.get(index + 1), index.checked_sub(1)) {
            (Some(next), _) => span.start..next.start,
            (None, Some(previous)) => spans[previous].end..span.end,
            (None, None) => span.start..comma.unwrap_or(span.end),
        };
        // Only space, commas and comments stand between two elements, and no comment of another goes along.
        if !self.text[range.start..span.start].contains('#') && !self.text[span.end..range.end].contains('#') {
            self.text.replace_range(range, "");
            return;
        }
        self.text.replace_range(span.start..comma.unwrap_or(span.end), "");
        let previous = index.checked_sub(1).filter(|_| comma.is_none() && index + 1 == spans.len());
        if let Some(comma) = previous.and_then(|previous| self.comma_after(spans[previous].end)) {
            self.text.replace_range(comma - 1..comma, "");
        }
    }

    /// The byte after the comma that follows, if one does.
    fn comma_after(&self, at: usize) -> Option<usize> {
        let rest = &self.text[at..];
        let gap = rest.len() - rest.trim_start().len();
        rest[gap..].starts_with(',').then_some(at + gap + 1)
    }
}

/// Keys to make on the way to something new, and that, as an entry of a mapping.
pub(super) fn flow_path(path: &[&str], new: &New, like: &Like) -> String {
    match path {
        [key, rest @ ..] => format!("{}: {}", like.key(key), flow_of(rest, new, like)),
        [] => flow_of(path, new, like),
    }
}

/// The same, as a value.
pub(super) fn flow_of(path: &[&str], new: &New, like: &Like) -> String {
    match (path, new) {
        ([], New::Word(word)) => like.word(word),
        ([], New::List(fields)) => format!("[{}]", flow_fields(fields, like)),
        ([], New::Value(value)) => flow_value("", value, like),
        _ => {
            let pad = if like.padded { " " } else { "" };
            format!("{{{pad}{}{pad}}}", flow_path(path, new, like))
        }
    }
}
