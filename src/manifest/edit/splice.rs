//! One edit as one or two splices into the text.
//!
//! Positions come from the tree. What belongs to a value beyond its own bytes is decided here, in lines:
//! the comment lines directly above an entry are its own, and so are those below it that are indented deeper.

use std::ops::Range;

use saphyr_parser::ScalarStyle;

use super::written::{Like, Value, block_fields, field, flow_fields, flow_value, scalar};
use super::{MirrorChange, MirrorFieldName};
use crate::manifest::tree::{Kind, Node};
use crate::manifest::values::Host;

/// Why a file is not edited.
type Refusal = String;

/// The text being edited.
pub(super) struct Text {
    text: String,
    newline: &'static str,
}

/// What is put under a key that does not exist yet.
enum New<'a> {
    Word(&'a str),
    /// Keys to make on the way, and a list with one mapping in it.
    List(&'a [(&'static str, Value)]),
    Value(&'a Value),
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

    pub(super) fn set_state(&mut self, root: &Node, state: &str) -> Result<(), Refusal> {
        let step = indent_step(&self.text, root);
        let Some((key, spec)) = root.entry("spec") else {
            return self.insert_key(root, &["spec", "state"], &New::Word(state), step);
        };
        if let Some(old) = spec.get("state") {
            not_alias(spec)?;
            return self.replace_scalar(spec, "state", old, state);
        }
        if spec.is_null() {
            return self.fill_null((key, spec), &["state"], &New::Word(state), step, false);
        }
        let Kind::Mapping { flow: false, entries } = &spec.kind else {
            return self.insert_key(spec, &["state"], &New::Word(state), step);
        };
        // First in `spec`, where readers look for it, and above any comment that belongs to the next key.
        let column = entries.first().map_or(step, |(key, _)| self.column(key.span.start));
        let at = self.line_end(key.span.end);
        self.insert_lines(at, &[format!("{:column$}state: {state}", "")]);
        Ok(())
    }

    pub(super) fn add_mirror(&mut self, root: &Node, fields: &[(&'static str, Value)]) -> Result<(), Refusal> {
        let step = indent_step(&self.text, root);
        let mut parent = root;
        let mut path: &[&str] = &["spec", "registries", "mirrors"];
        while let [key, rest @ ..] = path {
            let Some((key_node, value)) = parent.entry(key) else {
                return self.insert_key(parent, path, &New::List(fields), step);
            };
            not_alias(value)?;
            if value.is_null() {
                let in_flow = is_flow(parent);
                return self.fill_null((key_node, value), rest, &New::List(fields), step, in_flow);
            }
            if rest.is_empty() {
                return self.append_item((parent, key_node, value), fields, step);
            }
            (parent, path) = (value, rest);
        }
        Ok(())
    }

    pub(super) fn remove_mirror(&mut self, root: &Node, host: &Host) -> Result<(), Refusal> {
        let (key, list) = mirrors(root)?;
        let index = position(list, host)?;
        let Kind::Sequence { flow, items } = &list.kind else {
            return Err("the list of mirrors is an alias".to_owned());
        };
        let spans: Vec<_> = items.iter().map(|item| item.span.clone()).collect();
        if *flow {
            self.remove_from_flow(&spans, index);
            return Ok(());
        }
        let dash = self.dash(&items[index], index.checked_sub(1).map(|before| items[before].span.end))?;
        let column = self.column(dash);
        let end = self.own_end(&items[index], column);
        if items.len() > 1 {
            self.remove_lines(dash..end, column, (index, items.len()));
            return Ok(());
        }
        self.remove_lines(dash..end, column, (0, 1));
        let after_key = self.end_of_code(key.span.end);
        self.text.insert_str(after_key, " []");
        Ok(())
    }

    pub(super) fn change_mirror(&mut self, root: &Node, host: &Host, change: &MirrorChange) -> Result<(), Refusal> {
        let step = indent_step(&self.text, root);
        let (_, list) = mirrors(root)?;
        let index = position(list, host)?;
        let mirror = &list.items()[index];
        not_alias(mirror)?;
        match change {
            MirrorChange::Unset(name) => self.remove_key(mirror, name.as_str()),
            MirrorChange::Set(changed) => {
                let (name, value) = field(changed);
                match (mirror.get(name), &value) {
                    (None, _) => self.insert_key(mirror, &[name], &New::Value(&value), step),
                    (Some(old), Value::Fields(inner)) => self.set_credentials(mirror, old, inner),
                    (Some(old), Value::Word(text) | Value::Text(text)) => self.replace_scalar(mirror, name, old, text),
                }
            }
        }
    }

    /// Both values in place where they are in place, otherwise one flow mapping for them.
    fn set_credentials(&mut self, mirror: &Node, old: &Node, inner: &[(&'static str, Value)]) -> Result<(), Refusal> {
        let values = inner.iter().map(|(name, value)| Some((*name, old.get(name)?, value)));
        let in_place = matches!(old.kind, Kind::Mapping { .. }).then(|| values.collect::<Option<Vec<_>>>()).flatten();
        if let Some(mut values) = in_place {
            values.sort_by_key(|(_, node, _)| std::cmp::Reverse(node.span.start));
            for (name, node, value) in values {
                if let Value::Text(text) = value {
                    self.replace_scalar(old, name, node, text)?;
                }
            }
            return Ok(());
        }
        if old.is_null() || matches!(old.kind, Kind::Alias(_)) {
            let text = flow_fields(inner, &Like::default());
            return self.put(mirror, MirrorFieldName::Credentials.as_str(), old, &text);
        }
        Err("its credentials are written unusually".to_owned())
    }

    fn replace_scalar(&mut self, parent: &Node, name: &str, old: &Node, text: &str) -> Result<(), Refusal> {
        let style = match &old.kind {
            Kind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } => {
                return Err(format!("'{name}' is a block of text"));
            }
            Kind::Scalar { style, .. } if !old.span.is_empty() => Some(*style),
            _ => None,
        };
        let bare = text.parse::<u16>().is_ok() || matches!(text, "true" | "false");
        let text = if bare { text.to_owned() } else { scalar(text, style, is_flow(parent)) };
        self.put(parent, name, old, &text)
    }

    /// Writes a value over the old one, which may be nothing at all.
    fn put(&mut self, parent: &Node, name: &str, old: &Node, text: &str) -> Result<(), Refusal> {
        if !old.span.is_empty() {
            self.text.replace_range(old.span.clone(), text);
            return Ok(());
        }
        let (key, _) = parent.entry(name).ok_or_else(|| format!("'{name}' is not there"))?;
        let at = self.after_colon(key)?;
        self.text.insert_str(at, &format!(" {text}"));
        Ok(())
    }

    fn after_colon(&self, key: &Node) -> Result<usize, Refusal> {
        let rest = &self.text[key.span.end..];
        let colon = rest.find(':').filter(|at| rest[..*at].trim().is_empty());
        colon.map(|at| key.span.end + at + 1).ok_or_else(|| "a key is written in two lines".to_owned())
    }

    /// A new last key of a mapping, with what is under it.
    fn insert_key(&mut self, parent: &Node, path: &[&str], new: &New, step: usize) -> Result<(), Refusal> {
        not_alias(parent)?;
        let like = like(parent);
        let Kind::Mapping { flow, entries } = &parent.kind else { return Err("a mapping is missing".to_owned()) };
        if *flow {
            let inside = flow_path(path, new, &like);
            let last = entries.last().map(|(key, value)| key.span.end.max(value.span.end));
            self.insert_in_flow(parent.span.clone(), last, &inside);
            return Ok(());
        }
        let (Some((first, _)), Some((last, value))) = (entries.first(), entries.last()) else {
            return Err("a mapping is missing".to_owned());
        };
        let column = self.column(first.span.start);
        let end = self.own_end(if value.span.is_empty() { last } else { value }, column);
        let lines = block_path(path, new, step, &like);
        self.insert_lines(end, &indented(&lines, column));
        Ok(())
    }

    /// Something in place of nothing: `registries:` or `registries: ~`.
    fn fill_null(
        &mut self,
        (key, old): (&Node, &Node),
        path: &[&str],
        new: &New,
        step: usize,
        in_flow: bool,
    ) -> Result<(), Refusal> {
        if old.anchored {
            return Err("it is nothing and has an anchor".to_owned());
        }
        let at = self.after_colon(key)?;
        if !old.span.is_empty() {
            let start = self.text[..old.span.start].trim_end_matches(' ').len();
            self.text.replace_range(start..old.span.end, "");
        }
        if in_flow {
            let text = flow_of(path, new, &Like::default());
            self.text.insert_str(at, &format!(" {text}"));
            return Ok(());
        }
        let column = self.column(key.span.start) + step;
        let lines = block_of(path, new, step, &Like::default());
        let end = self.line_end(at);
        self.insert_lines(end, &indented(&lines, column));
        Ok(())
    }

    fn append_item(
        &mut self,
        (parent, key, list): (&Node, &Node, &Node),
        fields: &[(&'static str, Value)],
        step: usize,
    ) -> Result<(), Refusal> {
        let Kind::Sequence { flow, items } = &list.kind else { return Err("'mirrors' is no list".to_owned()) };
        let model = items.iter().rev().find(|item| matches!(item.kind, Kind::Mapping { .. }));
        let like = model.map(like).unwrap_or_default();
        let Some(final_item) = items.last() else {
            if is_flow(parent) {
                self.insert_in_flow(list.span.clone(), None, &flow_fields(fields, &like));
                return Ok(());
            }
            if list.anchored {
                return Err("the empty list has an anchor".to_owned());
            }
            let start = self.after_colon(key)?;
            self.text.replace_range(start..list.span.end, "");
            let column = self.column(key.span.start) + step;
            let end = self.line_end(start);
            self.insert_lines(end, &indented(&item_lines(fields, 2, step, &like), column));
            return Ok(());
        };
        if *flow {
            self.insert_in_flow(list.span.clone(), Some(final_item.span.end), &flow_fields(fields, &like));
            return Ok(());
        }
        let before = items.len().checked_sub(2).map(|index| items[index].span.end);
        let dash = self.dash(final_item, before)?;
        let column = self.column(dash);
        let lines = match model {
            Some(model) if is_flow(model) => {
                let gap = self.gap(dash);
                vec![format!("-{:gap$}{}", "", flow_fields(fields, &like))]
            }
            Some(model) => {
                let width = self.column(model.span.start).saturating_sub(column).max(2);
                item_lines(fields, width, step, &like)
            }
            None => item_lines(fields, 2, step, &like),
        };
        let mut lines = indented(&lines, column);
        if self.are_set_apart(items) {
            lines.insert(0, String::new());
        }
        let end = self.own_end(final_item, column);
        self.insert_lines(end, &lines);
        Ok(())
    }

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

    fn remove_key(&mut self, mapping: &Node, name: &str) -> Result<(), Refusal> {
        let Kind::Mapping { flow, entries } = &mapping.kind else { return Err("a mapping is missing".to_owned()) };
        let Some(index) = entries.iter().position(|(key, _)| key.text() == Some(name)) else { return Ok(()) };
        let span = |(key, value): &(Node, Node)| key.span.start..key.span.end.max(value.span.end);
        if *flow {
            self.remove_from_flow(&entries.iter().map(span).collect::<Vec<_>>(), index);
            return Ok(());
        }
        let (key, value) = &entries[index];
        let column = self.column(key.span.start);
        let end = self.own_end(if value.span.is_empty() { key } else { value }, column);
        let line = self.line_start(key.span.start);
        if self.text[line..key.span.start].trim().is_empty() {
            self.remove_lines(key.span.start..end, column, (index, entries.len()));
            return Ok(());
        }
        // It stands beside the dash, and the next key takes its place.
        let Some((next, _)) = entries.get(index + 1) else { return Err(format!("'{name}' is all there is")) };
        if self.text[end..next.span.start].contains('#') {
            return Err("a comment stands between the dash and the next key".to_owned());
        }
        self.text.replace_range(key.span.start..next.span.start, "");
        Ok(())
    }

    /// Takes whole lines out, with the comment lines directly above, and one of two blank lines that would meet.
    fn remove_lines(&mut self, range: Range<usize>, column: usize, (index, of): (usize, usize)) {
        let mut start = self.line_start(range.start);
        let mut end = self.line_end(range.end);
        while let Some(above) = self.line_above(start) {
            let line = &self.text[above.clone()];
            let deeper = line.len() - line.trim_start().len() > column;
            // A deeper comment is the end of the entry above, if there is one.
            if !line.trim_start().starts_with('#') || (deeper && index > 0) {
                break;
            }
            start = above.start;
        }
        let blank = |range: &Range<usize>| self.text[range.clone()].trim().is_empty();
        let below = self.line_below(end);
        if let Some(above) = self.line_above(start).filter(&blank)
            && (below.as_ref().is_some_and(blank) || index + 1 == of)
        {
            start = above.start;
        }
        // At the end of a file that ends without a newline, it goes on ending without one.
        if end == self.text.len() && !self.text.ends_with('\n') {
            start = self.text[..start].trim_end_matches('\n').len().max(start.saturating_sub(1));
            start = start - usize::from(self.text[..start].ends_with('\r'));
            end = self.text.len();
        }
        self.text.replace_range(start..end, "");
    }

    fn remove_from_flow(&mut self, spans: &[Range<usize>], index: usize) {
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
        self.text.replace_range(range, "");
    }

    /// After the last element, on a line of its own if that one has a line of its own.
    fn insert_in_flow(&mut self, span: Range<usize>, last: Option<usize>, new: &str) {
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

    /// The byte after the comma that follows, if one does.
    fn comma_after(&self, at: usize) -> Option<usize> {
        let rest = &self.text[at..];
        let gap = rest.len() - rest.trim_start().len();
        rest[gap..].starts_with(',').then_some(at + gap + 1)
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

    /// Inserts lines after the line that `at` is in.
    fn insert_lines(&mut self, at: usize, lines: &[String]) {
        let at = self.line_end(at);
        let lines = lines.join(self.newline);
        let (newline, text) = (self.newline, &self.text[..at]);
        let new = if text.ends_with('\n') || text.is_empty() { lines + newline } else { format!("{newline}{lines}") };
        self.text.insert_str(at, &new);
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The byte after the newline of the line that `at` is in.
    fn line_end(&self, at: usize) -> usize {
        if at > 0 && self.text[..at].ends_with('\n') && self.line_start(at) == at {
            return at;
        }
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    fn line_above(&self, start: usize) -> Option<Range<usize>> {
        (start > 0).then(|| self.line_start(start - 1)..start)
    }

    fn line_below(&self, end: usize) -> Option<Range<usize>> {
        let more = end < self.text.len();
        more.then(|| end..self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline + 1))
    }

    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }

    /// The end of a line's code: before its comment and the space in front of that.
    fn end_of_code(&self, at: usize) -> usize {
        let line = &self.text[at..self.line_end(at)];
        let comment = [" #", "\t#"].iter().filter_map(|mark| line.find(mark)).min();
        let code = comment.map_or(line, |comment| &line[..comment]);
        at + code.trim_end().len()
    }
}

fn indented(lines: &[String], column: usize) -> Vec<String> {
    lines.iter().map(|line| format!("{:column$}{line}", "")).collect()
}

/// An item of a block list; `width` is that of the dash and the space after it.
fn item_lines(fields: &[(&'static str, Value)], width: usize, step: usize, like: &Like) -> Vec<String> {
    let lines = block_fields(fields, step, like);
    let lines = lines.iter().enumerate();
    lines.map(|(index, line)| format!("{:width$}{line}", if index == 0 { "-" } else { "" })).collect()
}

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

fn block_of(path: &[&str], new: &New, step: usize, like: &Like) -> Vec<String> {
    match (path, new) {
        ([], New::List(fields)) => item_lines(fields, 2, step, like),
        ([], _) => Vec::new(),
        _ => block_path(path, new, step, like),
    }
}

fn flow_path(path: &[&str], new: &New, like: &Like) -> String {
    match path {
        [key, rest @ ..] => format!("{}: {}", like.key(key), flow_of(rest, new, like)),
        [] => flow_of(path, new, like),
    }
}

fn flow_of(path: &[&str], new: &New, like: &Like) -> String {
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

fn like(node: &Node) -> Like {
    let styles = node.entries().iter().filter_map(|(key, value)| match &value.kind {
        Kind::Scalar { style, .. } => Some((key.text()?.to_owned(), *style)),
        _ => None,
    });
    let padded = match (&node.kind, node.entries().first()) {
        (Kind::Mapping { flow: true, .. }, Some((key, _))) => key.span.start == node.span.start + 2,
        _ => false,
    };
    let keys = node.entries().first().and_then(|(key, _)| match key.kind {
        Kind::Scalar { style, .. } => Some(style),
        _ => None,
    });
    Like { styles: styles.collect(), keys, padded }
}

fn is_flow(node: &Node) -> bool {
    matches!(&node.kind, Kind::Mapping { flow: true, .. } | Kind::Sequence { flow: true, .. })
}

fn not_alias(node: &Node) -> Result<(), Refusal> {
    match node.kind {
        Kind::Alias(_) => Err("an alias stands there".to_owned()),
        _ => Ok(()),
    }
}

fn mirrors(root: &Node) -> Result<(&Node, &Node), Refusal> {
    let mut node = root;
    for key in ["spec", "registries"] {
        node = node.get(key).ok_or_else(|| format!("'{key}' is missing"))?;
        not_alias(node)?;
    }
    let (key, list) = node.entry("mirrors").ok_or("'mirrors' is missing")?;
    not_alias(list)?;
    Ok((key, list))
}

fn position(list: &Node, host: &Host) -> Result<usize, Refusal> {
    let found = list.items().iter().position(|item| item.get("host").and_then(Node::text) == Some(host.as_str()));
    found.ok_or_else(|| format!("{host} is not in the list"))
}

/// How far this file indents one level.
fn indent_step(text: &str, root: &Node) -> usize {
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
