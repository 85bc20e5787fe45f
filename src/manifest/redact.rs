//! The text of the file without what may be secret in it, for showing it beside a message.

use std::ops::Range;

use super::tree::{Kind, Node};
use crate::printable::{cover, secrets, without_user_info};

/// The text with every literal secret covered by `*`, byte for byte.
pub(crate) fn redacted(text: &str, root: Option<&Node>) -> String {
    let mut covered = Vec::new();
    match root {
        Some(root) => in_tree(text, root, false, &mut covered),
        None => in_lines(text, &mut covered),
    }
    let mut shown = text.to_owned();
    for range in covered {
        cover(&mut shown, range);
    }
    without_user_info(&shown).into_owned()
}

/// Whether a name is that of something secret.
pub(crate) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "token", "secret", "credential", "auth", "user"].iter().any(|word| key.contains(word))
}

fn in_tree(text: &str, node: &Node, secret: bool, covered: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Scalar { .. } if secret => covered.push(node.span.clone()),
        Kind::Alias(target) if secret => in_tree(text, target, secret, covered),
        // A password may hold spaces and quotes: the scalar is one value.
        Kind::Scalar { .. } => covered.extend(secrets(text, node.span.clone())),
        Kind::Alias(_) => {}
        Kind::Sequence { items, .. } => items.iter().for_each(|item| in_tree(text, item, secret, covered)),
        Kind::Mapping { entries, .. } => {
            for (key, value) in entries {
                in_tree(text, value, secret || key.text().is_some_and(sounds_secret), covered);
            }
        }
    }
}

/// Where the text is not YAML: all that follows a key which sounds secret, and the lines indented below it.
fn in_lines(text: &str, covered: &mut Vec<Range<usize>>) {
    let mut start = 0;
    let mut secret_indent = None;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let indent = line.len() - line.trim_start().len();
        if line.trim().is_empty() {
            continue;
        }
        match line.split_once(':') {
            Some((key, _)) if sounds_secret(key) => {
                secret_indent = Some(indent);
                covered.push(range.start + key.len() + 1..range.end);
            }
            _ if secret_indent.is_some_and(|secret| indent > secret) => covered.push(range),
            _ => {
                secret_indent = None;
                let word =
                    ["pass", "token", "secret"].iter().filter_map(|word| line.to_ascii_lowercase().find(word)).min();
                covered.extend(word.map(|at| range.start + at..range.end));
                covered.extend(secrets(text, range));
            }
        }
    }
}
