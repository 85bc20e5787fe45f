//! One edit as one or two splices into the text. Positions come from the tree; whether a collection is written in
//! lines or in brackets decides who places the splice.

use saphyr_parser::ScalarStyle;

use super::block::{block_of, indent_step, item_lines};
use super::change::{MirrorChange, MirrorFieldName};
use super::error::Refusal;
use super::flow::{flow_of, flow_path};
use super::lines::{Text, indented};
use super::written::{Like, New, Value, field, flow_fields, scalar};
use crate::manifest::tree::{Kind, Node};
use crate::manifest::values::Host;

impl Text {
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
                let in_flow = parent.is_flow();
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
        if *flow {
            let spans: Vec<_> = items.iter().map(|item| item.span.clone()).collect();
            self.remove_from_flow(&spans, index);
            return Ok(());
        }
        self.remove_item_from_block(items, index)?;
        if items.len() == 1 {
            let after_key = self.end_of_code(key.span.end);
            self.text.insert_str(after_key, " []");
        }
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
        let text = if bare { text.to_owned() } else { scalar(text, style, parent.is_flow()) };
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
        let like = Like::of(parent);
        let Kind::Mapping { flow, entries } = &parent.kind else { return Err("a mapping is missing".to_owned()) };
        if !*flow {
            return self.insert_key_in_block(entries, path, new, step, &like);
        }
        let last = entries.last().map(|(key, value)| key.span.end.max(value.span.end));
        self.insert_in_flow(parent.span.clone(), last, &flow_path(path, new, &like));
        Ok(())
    }

    fn remove_key(&mut self, mapping: &Node, name: &str) -> Result<(), Refusal> {
        let Kind::Mapping { flow, entries } = &mapping.kind else { return Err("a mapping is missing".to_owned()) };
        let Some(index) = entries.iter().position(|(key, _)| key.text() == Some(name)) else { return Ok(()) };
        if !*flow {
            return self.remove_key_from_block(entries, index);
        }
        let span = |(key, value): &(Node, Node)| key.span.start..key.span.end.max(value.span.end);
        self.remove_from_flow(&entries.iter().map(span).collect::<Vec<_>>(), index);
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
        let like = model.map(Like::of).unwrap_or_default();
        if items.is_empty() && !parent.is_flow() {
            return self.begin_list((key, list), fields, step, &like);
        }
        if !*flow {
            return self.append_to_block(items, fields, step, (model, &like));
        }
        self.insert_in_flow(list.span.clone(), items.last().map(|item| item.span.end), &flow_fields(fields, &like));
        Ok(())
    }

    /// A list in lines in place of `[]`.
    fn begin_list(
        &mut self,
        (key, list): (&Node, &Node),
        fields: &[(&'static str, Value)],
        step: usize,
        like: &Like,
    ) -> Result<(), Refusal> {
        if list.anchored {
            return Err("the empty list has an anchor".to_owned());
        }
        let start = self.after_colon(key)?;
        self.text.replace_range(start..list.span.end, "");
        let column = self.column(key.span.start) + step;
        let end = self.after_heading(self.line_end(start));
        self.insert_lines(end, &indented(&item_lines(fields, 2, step, like), column));
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
