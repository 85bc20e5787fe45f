//! Collections in lines: what belongs to an entry beyond its own bytes.
//!
//! The words directly above an entry, in its own column, are its own, and so are the comments below it that are indented
//! deeper. An entry that somebody has commented out is nobody's but theirs, and so is a heading of the list.

use super::error::Refusal;
use super::lines::{Text, indented};
use super::written::{Like, New, Value, block_fields, flow_fields, scalar};
use crate::manifest::tree::{Kind, Node};

impl Text {
    /// A new last key of a mapping, with what is under it.
    pub(super) fn insert_key_in_block(
        &mut self,
        entries: &[(Node, Node)],
        path: &[&str],
        new: &New,
        step: usize,
        like: &Like,
    ) -> Result<(), Refusal> {
        let (Some((first, _)), Some((last, value))) = (entries.first(), entries.last()) else {
            return Err("a mapping is missing".to_owned());
        };
        let column = self.column(first.span.start);
        let end = self.own_end(if value.span.is_empty() { last } else { value }, column);
        self.insert_lines(end, &indented(&block_path(path, new, step, like), column));
        Ok(())
    }

    /// Takes a key out of a mapping, with its value and its comments.
    pub(super) fn remove_key_from_block(&mut self, entries: &[(Node, Node)], index: usize) -> Result<(), Refusal> {
        let (key, value) = &entries[index];
        let column = self.column(key.span.start);
        let end = self.own_end(if value.span.is_empty() { key } else { value }, column);
        let line = self.line_start(key.span.start);
        if self.text[line..key.span.start].trim().is_empty() {
            self.remove_lines(key.span.start..end, column, (index, entries.len()));
            return Ok(());
        }
        // It stands beside the dash, and the next key takes its place.
        let Some((next, _)) = entries.get(index + 1) else {
            return Err(format!("'{}' is all there is", key.text().unwrap_or_default()));
        };
        if self.text[end..next.span.start].contains('#') {
            return Err("a comment stands between the dash and the next key".to_owned());
        }
        self.text.replace_range(key.span.start..next.span.start, "");
        Ok(())
    }

    /// A new last item of a list that has some, written like `model`.
    pub(super) fn append_to_block(
        &mut self,
        items: &[Node],
        fields: &[(&'static str, Value)],
        step: usize,
        (model, like): (Option<&Node>, &Like),
    ) -> Result<(), Refusal> {
        let Some((last, before)) = items.split_last() else { return Err("the list is empty".to_owned()) };
        let dash = self.dash(last, before.last().map(|item| item.span.end))?;
        let column = self.column(dash);
        let lines = match model {
            Some(model) if model.is_flow() => {
                let gap = self.gap(dash);
                vec![format!("-{:gap$}{}", "", flow_fields(fields, like))]
            }
            Some(model) => {
                let width = self.column(model.span.start).saturating_sub(column).max(2);
                item_lines(fields, width, step, like)
            }
            None => item_lines(fields, 2, step, like),
        };
        let mut lines = indented(&lines, column);
        if self.are_set_apart(items) {
            lines.insert(0, String::new());
        }
        let end = self.own_end(last, column);
        self.insert_lines(end, &lines);
        Ok(())
    }

    /// Takes an item out of a list, with its comments.
    pub(super) fn remove_item_from_block(&mut self, items: &[Node], index: usize) -> Result<(), Refusal> {
        let dash = self.dash(&items[index], index.checked_sub(1).map(|before| items[before].span.end))?;
        let column = self.column(dash);
        let end = self.own_end(&items[index], column);
        self.remove_lines(dash..end, column, (index, items.len()));
        Ok(())
    }

    /// How many spaces stand after a dash.
    fn gap(&self, dash: usize) -> usize {
        let rest = &self.text[dash + 1..];
        (rest.len() - rest.trim_start_matches(' ').len()).max(1)
    }

    /// Whether a blank line stands between any two items.
    fn are_set_apart(&self, items: &[Node]) -> bool {
        let apart = |pair: &[Node]| {
            let between = &self.text[pair[0].span.end..pair[1].span.start];
            let whole_lines = between.rsplit_once('\n').map_or("", |(lines, _)| lines);
            whole_lines.lines().skip(1).any(|line| line.trim().is_empty())
        };
        items.len() > 1 && items.windows(2).all(apart)
    }

    /// Where the dash of an item stands.
    fn dash(&self, item: &Node, floor: Option<usize>) -> Result<usize, Refusal> {
        let mut line = self.line_start(item.span.start);
        loop {
            let text = &self.text[line..];
            let indent = text.len() - text.trim_start_matches(' ').len();
            if text[indent..].starts_with('-') && line + indent < item.span.start.max(line + indent + 1) {
                return Ok(line + indent);
            }
            match self.line_above(line) {
                Some(above) if floor.is_none_or(|floor| above.start >= floor) => line = above.start,
                _ => return Err("an item of the list does not begin with a dash of its own".to_owned()),
            }
        }
    }

    /// The end of the last line that belongs to a node in a block at `column`, deeper comments included.
    fn own_end(&self, node: &Node, column: usize) -> usize {
        let trimmed = self.text[node.span.start..node.span.end].trim_end().len();
        let mut end = self.line_end(node.span.start + trimmed);
        while let Some(below) = self.line_below(end) {
            let line = &self.text[below.clone()];
            let indent = line.len() - line.trim_start().len();
            if !line.trim_start().starts_with('#') || indent <= column {
                break;
            }
            end = below.end;
        }
        self.text[..end].trim_end_matches(['\n', '\r']).len()
    }
}

/// An item of a block list; `width` is that of the dash and the space after it.
pub(super) fn item_lines(fields: &[(&'static str, Value)], width: usize, step: usize, like: &Like) -> Vec<String> {
    let lines = block_fields(fields, step, like);
    let lines = lines.iter().enumerate();
    lines.map(|(index, line)| format!("{:width$}{line}", if index == 0 { "-" } else { "" })).collect()
}

/// Keys to make on the way to something new, and that.
fn block_path(path: &[&str], new: &New, step: usize, like: &Like) -> Vec<String> {
    let [key, rest @ ..] = path else { return block_of(path, new, step, like) };
    match (rest, new) {
        ([], New::Word(word)) => vec![format!("{}: {}", like.key(key), like.word(word))],
        ([], New::Value(Value::Fields(inner))) => {
            let lines = indented(&block_fields(inner, step, like), step);
            [format!("{}:", like.key(key))].into_iter().chain(lines).collect()
        }
        ([], New::Value(Value::Word(text))) => vec![format!("{}: {text}", like.key(key))],
        ([], New::Value(Value::Text(text))) => {
            vec![format!("{}: {}", like.key(key), scalar(text, like.style(key), false))]
        }
        _ => [format!("{}:", like.key(key))]
            .into_iter()
            .chain(indented(&block_of(rest, new, step, like), step))
            .collect(),
    }
}

/// What is under a key.
pub(super) fn block_of(path: &[&str], new: &New, step: usize, like: &Like) -> Vec<String> {
    match (path, new) {
        ([], New::List(fields)) => item_lines(fields, 2, step, like),
        ([], _) => Vec::new(),
        _ => block_path(path, new, step, like),
    }
}

/// How far this file indents one level.
pub(super) fn indent_step(text: &str, root: &Node) -> usize {
    let column = |node: &Node| node.span.start - text[..node.span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let nested = |parent: &Node| {
        let inner = parent.entries().iter().find(|(key, value)| {
            matches!(&value.kind, Kind::Mapping { flow: false, entries } if !entries.is_empty())
                && column(value) > column(key)
        });
        inner.map(|(key, value)| column(value) - column(key))
    };
    nested(root).or_else(|| root.get("spec").and_then(nested)).unwrap_or(2)
}
