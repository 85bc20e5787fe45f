//! Reads a manifest: bytes to text, text to tree, tree to file, file to meaning.

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::expand::Environment;
use super::problems::{Problem, Problems};
use super::redact::redacted;
use super::rules::Beside;
use super::tree::{self, Kind, Node};
use super::types::Manifest;
use super::{file, rules, shape};
use crate::limit::FILE;

/// Reads and checks the manifest at `path`. `environment` looks up `${VAR}`.
pub fn load(path: &Path, environment: Environment) -> Result<Manifest, Problems> {
    load_contents(path, FILE.read_file(path), environment)
}

/// Checks what reading the manifest at `path` gave.
pub fn load_contents(
    path: &Path,
    contents: io::Result<Vec<u8>>,
    environment: Environment,
) -> Result<Manifest, Problems> {
    match contents {
        Ok(bytes) => parse(path, &bytes, environment),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Checks a manifest; `path` itself is only named, never read. Files that the manifest names are, and what `docker login`
/// stored, where it asks for that.
pub fn parse(path: &Path, bytes: &[u8], environment: Environment) -> Result<Manifest, Problems> {
    let text = text(path, bytes)?;
    let fail = |root: Option<&Node>, problems| Problems::new(path, &redacted(text, root), problems);
    let document = tree::without_empty_documents(text);
    let root = read_tree(document).map_err(|problem| fail(None, vec![*problem]))?;
    let (as_written, mut problems) = shape::check(&root);
    if !matches!(root.target().kind, Kind::Mapping { .. }) {
        return Err(fail(Some(&root), problems));
    }
    let (manifest, broken) = rules::apply(path, as_written.clone(), &root, environment, Beside::Read);
    problems.extend(broken);
    if problems.is_empty() {
        problems.extend(second_opinion(document, &as_written, &root));
    }
    match manifest {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        _ => Err(fail(Some(&root), problems)),
    }
}

/// The file as written and its tree, for an edit: every rule holds but those about what variables hold.
pub(crate) fn parse_written(path: &Path, bytes: &[u8]) -> Result<(file::Manifest, Node), Problems> {
    let text = text(path, bytes)?;
    let document = tree::without_empty_documents(text);
    let root = read_tree(document).map_err(|problem| Problems::new(path, &redacted(text, None), vec![*problem]))?;
    let (as_written, mut problems) = shape::check(&root);
    if problems.is_empty() {
        problems = rules::apply(path, as_written.clone(), &root, &|_| None, Beside::Left).1;
        problems.retain(|problem| !problem.of_environment);
        problems.extend(second_opinion(document, &as_written, &root));
    }
    if problems.is_empty() {
        return Ok((as_written, root));
    }
    Err(Problems::new(path, &redacted(text, Some(&root)), problems))
}

/// Two parsers that disagree would let an edit, or a mirror, differ from what its author reads.
fn second_opinion(text: &str, as_written: &file::Manifest, root: &Node) -> Option<Problem> {
    let read = serde_yaml::from_str(text).map(shape::without_extensions).and_then(serde_yaml::from_value);
    match read {
        Ok(read) if file::Manifest::eq(&read, as_written) => None,
        Ok(_) => Some(
            Problem::new("YAML 1.1 and YAML 1.2 read this file differently")
                .at(root.span.clone())
                .hint("put unusual values into quotes"),
        ),
        Err(error) => Some(syntax_problem(text, &error)),
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problems {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::new("there is no such file").hint("'ksail cluster init' writes one, '--file' names another")
        }
        io::ErrorKind::PermissionDenied => {
            Problem::new("it may not be read by this user").hint("look at its permissions")
        }
        io::ErrorKind::IsADirectory => Problem::new("it is a directory").hint("name the file in it"),
        _ => Problem::new(format!("it cannot be read: {error}")),
    };
    Problems::new(path, "", vec![problem])
}

/// The text without its byte order mark.
fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Problems> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let lossy = String::from_utf8_lossy(bytes);
        let utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
        let problem = Problem::new(format!("byte {at} of the file is not UTF-8")).at(at..at + 1);
        let problem =
            problem.hint(if utf16 { "the file is UTF-16: save it as UTF-8" } else { "save the file as UTF-8" });
        Problems::new(path, &redacted(&lossy, None), vec![problem])
    })
}

fn read_tree(text: &str) -> Result<Node, Box<Problem>> {
    let empty = || {
        let found = if text.is_empty() { "the file is empty" } else { "the file says nothing" };
        Problem::new(found).hint("'ksail cluster init' writes a new one; to remove every mirror write 'mirrors: []'")
    };
    // serde_yaml stops at a depth and checks all syntax without following an alias, so it goes first.
    if let Err(error) = IgnoredAny::deserialize(serde_yaml::Deserializer::from_str(text)) {
        return Err(Box::new(match tree::second_document(text) {
            Some(at) if error.location().is_none() => Problem::new("the file holds more than one YAML document")
                .at(at..at + 3)
                .hint("keep one cluster in one file: remove this line and what follows it"),
            _ => syntax_problem(text, &error),
        }));
    }
    match Node::read(text) {
        Ok(Some(root)) => Ok(root),
        Ok(None) => Err(Box::new(empty())),
        Err(error) => Err(Box::new(Problem::new(error.reason).at(error.at..error.at))),
    }
}

/// A syntax error in words for people who do not know how a YAML parser works.
fn syntax_problem(text: &str, error: &serde_yaml::Error) -> Problem {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default().to_owned();
    let Some(at) = error.location().map(|location| byte_at(text, location.line(), location.column())) else {
        return Problem::new(words).at(0..0);
    };
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let indentation = &line[..line.len() - line.trim_start().len()];
    if let Some(tab) = indentation.find('\t') {
        let problem = Problem::new("a tab cannot indent YAML").at(line_start + tab..line_start + indentation.len());
        return problem.label("a tab").hint("indent with spaces");
    }
    if text[..at].ends_with('$') && text[at..].starts_with('{') {
        let name: String = text[at + 1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let problem = Problem::new("inside { } a reference to a variable needs quotes").at(at - 1..at + 2 + name.len());
        return problem.hint(format!("write \"${{{name}}}\""));
    }
    if words.contains("unexpected end of stream")
        && let Err(tree::NoTree { at, .. }) = Node::read(text)
    {
        return Problem::new("this quote is never closed").at(at..at + 1).hint("end the text with the same quote");
    }
    let hint = if words.contains("mapping values are not allowed") {
        Some("put a value with ': ' in it into quotes, or indent this line like its neighbours")
    } else if words.contains("expected key") || words.contains("expected '-' indicator") {
        Some("indent this line like its neighbours")
    } else if words.contains("cannot start any token") || words.contains("alphabetic or numeric character") {
        Some("put the value into quotes")
    } else if words.contains("unknown anchor") {
        Some("an alias '*name' stands for a value marked '&name' above it; a text that begins with '*' needs quotes")
    } else if words.contains("expected ',' or") {
        Some("close the bracket, or put a comma between the values")
    } else {
        None
    };
    Problem { hint: hint.map(str::to_owned), ..Problem::new(words).at(at..at) }
}

fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let offset =
        text[start..].char_indices().nth(column.saturating_sub(1)).map_or(text.len() - start, |(byte, _)| byte);
    start + offset
}
