//! How values are written into a manifest.

use std::fmt::Write as _;

use saphyr_parser::ScalarStyle;

use super::change::{Edit, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName};
use crate::manifest::tree::{Kind, Node};
use crate::manifest::types::State;

/// The value of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Needs no quotes in any context.
    Word(String),
    /// Quoted where its context needs it.
    Text(String),
    /// A mapping inside.
    Fields(Vec<(&'static str, Value)>),
}

/// What is put under a key that does not exist yet.
pub(super) enum New<'a> {
    /// A word that needs no quotes of its own.
    Word(&'a str),
    /// A list with one mapping in it.
    List(&'a [(&'static str, Value)]),
    /// The value of a field.
    Value(&'a Value),
}

pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Present => "Present",
        State::Absent => "Absent",
        State::Purged => "Purged",
    }
}

pub(super) fn fields(entry: &MirrorEntry) -> Vec<(&'static str, Value)> {
    let host = ("host", Value::Text(entry.host.as_str().to_owned()));
    [host].into_iter().chain(entry.fields.iter().map(field)).collect()
}

pub(super) fn field(field: &MirrorField) -> (&'static str, Value) {
    let (name, value) = match field {
        MirrorField::Upstream(upstream) => (MirrorFieldName::Upstream, Value::Text(upstream.clone())),
        MirrorField::Port(port) => (MirrorFieldName::Port, Value::Word(port.to_string())),
        MirrorField::ListenAddress(address) => (MirrorFieldName::ListenAddress, Value::Text(address.to_string())),
        MirrorField::Fallback(fallback) => (MirrorFieldName::Fallback, Value::Word(fallback.to_string())),
        MirrorField::Ttl(ttl) => (MirrorFieldName::Ttl, Value::Text(ttl.clone())),
        MirrorField::Credentials { username, password } => {
            let pair = [("username", username), ("password", password)];
            let pair = pair.map(|(name, value)| (name, Value::Text(value.clone())));
            (MirrorFieldName::Credentials, Value::Fields(pair.to_vec()))
        }
    };
    (name.as_str(), value)
}

/// A text with the quotes its neighbours have, or those it needs.
pub(super) fn scalar(text: &str, like: Option<ScalarStyle>, flow: bool) -> String {
    match like {
        Some(ScalarStyle::SingleQuoted) => format!("'{}'", text.replace('\'', "''")),
        Some(ScalarStyle::DoubleQuoted) => double_quoted(text),
        _ if is_plain(text, flow) => text.to_owned(),
        _ => double_quoted(text),
    }
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing into a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Whether a text means itself without quotes: it reads back as the same text, also by the second parser.
fn is_plain(text: &str, flow: bool) -> bool {
    let wrapped = if flow { format!("[{text}]") } else { format!("- {text}") };
    let reads_back = matches!(serde_yaml::from_str::<Vec<serde_yaml::Value>>(&wrapped), Ok(items)
        if items == [serde_yaml::Value::String(text.to_owned())]);
    // A colon inside brackets is read differently by older parsers, unless it is within a word such as a URL.
    reads_back && text.chars().all(|c| !c.is_control() && !c.is_whitespace()) && !text.contains('#')
}

pub(super) fn flow_fields(fields: &[(&'static str, Value)], like: &Like) -> String {
    let inside: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}: {}", like.key(name), flow_value(name, value, like))).collect();
    let pad = if like.padded { " " } else { "" };
    format!("{{{pad}{}{pad}}}", inside.join(", "))
}

pub(super) fn flow_value(name: &str, value: &Value, like: &Like) -> String {
    match value {
        Value::Word(word) => word.clone(),
        Value::Text(text) => scalar(text, like.style(name), true),
        Value::Fields(fields) => flow_fields(fields, like),
    }
}

/// The lines of a mapping, without the indentation of their own level.
pub(super) fn block_fields(fields: &[(&'static str, Value)], step: usize, like: &Like) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Word(word) => lines.push(format!("{}: {word}", like.key(name))),
            Value::Text(text) => lines.push(format!("{}: {}", like.key(name), scalar(text, like.style(name), false))),
            Value::Fields(inner) => {
                lines.push(format!("{}:", like.key(name)));
                lines.extend(block_fields(inner, step, like).into_iter().map(|line| format!("{:step$}{line}", "")));
            }
        }
    }
    lines
}

/// How a neighbour is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Like {
    /// Style of each of its scalars, by field.
    pub(super) styles: Vec<(String, ScalarStyle)>,
    /// Style of its keys.
    pub(super) keys: Option<ScalarStyle>,
    /// `{ a: b }` rather than `{a: b}`.
    pub(super) padded: bool,
}

impl Like {
    /// How a mapping is written.
    pub(super) fn of(node: &Node) -> Self {
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
        Self { styles: styles.collect(), keys, padded }
    }

    /// Who quotes keys quotes values too.
    pub(super) fn style(&self, name: &str) -> Option<ScalarStyle> {
        self.styles.iter().find(|(field, _)| field == name).map(|(_, style)| *style).or(self.keys)
    }

    pub(super) fn key(&self, name: &str) -> String {
        scalar(name, self.keys, false)
    }

    pub(super) fn word(&self, word: &str) -> String {
        scalar(word, self.keys, false)
    }
}

/// What to paste where an edit is refused.
pub(super) fn snippet(edit: &Edit) -> String {
    let like = Like::default();
    let item = |lines: Vec<String>| {
        let lines = lines.iter().enumerate();
        let lines = lines.map(|(index, line)| format!("      {} {line}\n", if index == 0 { "-" } else { " " }));
        format!("spec:\n  registries:\n    mirrors:\n{}", lines.collect::<String>())
    };
    match edit {
        Edit::SetState(to) => format!("spec:\n  state: {}\n", state(*to)),
        Edit::AddMirror(entry) => item(block_fields(&fields(entry), 2, &like)),
        Edit::RemoveMirror(host) => format!("spec:\n  registries:\n    mirrors:      # without the entry of {host}\n"),
        Edit::SetMirror { host, changes } => {
            let mut lines = vec![format!("host: {host}")];
            for change in changes {
                match change {
                    MirrorChange::Set(changed) => lines.extend(block_fields(&[field(changed)], 2, &like)),
                    MirrorChange::Unset(name) => lines.push(format!("# without '{}'", name.as_str())),
                }
            }
            item(lines)
        }
    }
}
