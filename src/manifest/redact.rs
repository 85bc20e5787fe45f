//! The text of the file without what may be secret in it, for showing it beside a message.

use std::ops::Range;

use super::tree::{Kind, Node};

/// The text with every literal secret covered by `*`, byte for byte.
pub(crate) fn redacted(text: &str, root: Option<&Node>) -> String {
    let mut covered = Vec::new();
    match root {
        Some(root) => in_tree(root, false, &mut covered),
        None => in_lines(text, &mut covered),
    }
    let mut shown = text.to_owned();
    for range in covered {
        cover(&mut shown, range);
    }
    cover_user_info(&mut shown);
    shown
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "token", "secret", "credential", "auth", "user"].iter().any(|word| key.contains(word))
}

fn in_tree(node: &Node, secret: bool, covered: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Scalar { .. } if secret => covered.push(node.span.clone()),
        Kind::Alias(target) if secret => in_tree(target, secret, covered),
        Kind::Scalar { .. } | Kind::Alias(_) => {}
        Kind::Sequence { items, .. } => items.iter().for_each(|item| in_tree(item, secret, covered)),
        Kind::Mapping { entries, .. } => {
            for (key, value) in entries {
                in_tree(value, secret || key.text().is_some_and(is_secret), covered);
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
            Some((key, _)) if is_secret(key) => {
                secret_indent = Some(indent);
                covered.push(range.start + key.len() + 1..range.end);
            }
            _ if secret_indent.is_some_and(|secret| indent > secret) => covered.push(range),
            _ => {
                secret_indent = None;
                let word =
                    ["pass", "token", "secret"].iter().filter_map(|word| line.to_ascii_lowercase().find(word)).min();
                covered.extend(word.map(|at| range.start + at..range.end));
            }
        }
    }
}

/// Keeps `${NAME}`, quotes, the keys of a flow mapping's punctuation, and all white space.
fn cover(text: &mut String, range: Range<usize>) {
    let mut shown = String::with_capacity(range.len());
    let mut rest = &text[range.clone()];
    while let Some(first) = rest.chars().next() {
        let name = rest
            .strip_prefix("${")
            .map_or(0, |inside| inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len()));
        if name > 0 {
            let kept = &rest[..2 + name];
            shown.push_str(kept);
            rest = &rest[2 + name..];
            for mark in ["}", ":-"] {
                if let Some(tail) = rest.strip_prefix(mark) {
                    shown.push_str(mark);
                    rest = tail;
                    break;
                }
            }
            continue;
        }
        if first.is_whitespace() || matches!(first, '"' | '\'' | '{' | '}') {
            shown.push(first);
        } else {
            shown.extend(std::iter::repeat_n('*', first.len_utf8()));
        }
        rest = &rest[first.len_utf8()..];
    }
    text.replace_range(range, &shown);
}

/// `https://user:password@host`, wherever it stands.
fn cover_user_info(text: &mut String) {
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at + 3) {
        let end =
            text[at..].find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).map_or(text.len(), |end| at + end);
        if let Some(sign) = text[at..end].rfind('@') {
            cover(text, at..at + sign);
        }
        from = at;
    }
}
