//! The house stays in order: no room of `src/` imports one that imports it, and no file one that imports it.
//!
//! A room is a folder of `src/`, or a file beside them. A file and the files below it are one house of their own: a
//! `mod.rs` names its parts, and they may use what it defines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who imports whom.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_two_rooms_import_each_other() {
    let files = files();
    assert!(files.len() > 100, "the sources are found");
    let imports = imports(&files, |module| module.split("::").next().unwrap_or_default().to_owned());
    assert_eq!(circle(&imports), None);
}

#[test]
fn no_two_files_import_each_other() {
    let files = files();
    let names: BTreeSet<String> = files.iter().map(|file| file.module.clone()).collect();
    // What an import names is a module, or something in one.
    let file_of = |module: &str| {
        let mut path = module;
        loop {
            match path.rsplit_once("::") {
                _ if names.contains(path) => return path.to_owned(),
                Some((above, _)) => path = above,
                None => return String::new(),
            }
        }
    };
    assert_eq!(circle(&imports(&files, file_of)), None);
}

#[test]
fn a_circle_is_found() {
    let files = [("a", "use crate::b::x;"), ("b", "use crate::{c::{self, y}, d};"), ("c", "fn f() { crate::a::z() }")];
    let files = files.map(|(module, text)| File { module: module.to_owned(), text: text.to_owned() });
    let found = imports(&files, |module| module.split("::").next().unwrap_or_default().to_owned());
    assert_eq!(circle(&found).unwrap(), "a -> b -> c -> a");
}

/// A source file, by its module's path below the crate.
struct File {
    module: String,
    text: String,
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path: PathBuf = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(File { module: module(path.strip_prefix(&root).unwrap()), text: without_tests(&path) });
            }
        }
    }
    // Tests see everything, and the crate's root names every room.
    files.retain(|file| !file.module.split("::").any(|part| part == "tests" || part == "lib"));
    files
}

fn module(path: &Path) -> String {
    let parts: Vec<&str> = path.with_extension("").iter().map(|part| part.to_str().unwrap()).map(leak).collect();
    parts.into_iter().filter(|part| *part != "mod").collect::<Vec<_>>().join("::")
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn without_tests(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source can be read");
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Imports between what `place` puts modules into.
fn imports(files: &[File], place: impl Fn(&str) -> String) -> Imports {
    let mut imports = Imports::new();
    for file in files {
        let from = place(&file.module);
        for module in mentioned(file) {
            let to = place(&module);
            let is_one_house = |above: &str, below: &str| below.starts_with(&format!("{above}::"));
            if to != from && !to.is_empty() && !is_one_house(&from, &to) && !is_one_house(&to, &from) {
                imports.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    imports
}

/// Every path below the crate that a file names, in an import or elsewhere.
fn mentioned(file: &File) -> BTreeSet<String> {
    let code: String = file
        .text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    let above = |levels: usize| {
        let parts: Vec<&str> = file.module.split("::").collect();
        parts[..parts.len().saturating_sub(levels)].join("::")
    };
    // In a `mod.rs`, `self` is what it is for its parts as `super`.
    let roots = [("crate::", String::new()), ("super::super::", above(2)), ("super::", above(1)), ("self::", above(0))];
    let mut found = BTreeSet::new();
    for (word, root) in roots {
        for (at, _) in code.match_indices(word) {
            let is_whole = code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
            if is_whole {
                paths(&code[at + word.len()..], &root, &mut found);
            }
        }
    }
    found
}

/// The paths that begin here: one, or each of a list in braces.
fn paths(text: &str, root: &str, found: &mut BTreeSet<String>) {
    let below = |name: &str| if root.is_empty() { name.to_owned() } else { format!("{root}::{name}") };
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &text[name.len()..];
    if let Some(list) = text.strip_prefix('{') {
        for part in parts_of(list) {
            paths(part.trim_start(), root, found);
        }
    } else if let Some(more) = rest.strip_prefix("::") {
        found.insert(below(&name));
        paths(more, &below(&name), found);
    } else if !name.is_empty() && name != "self" {
        found.insert(below(&name));
    }
}

/// What stands between the commas of a list, up to its closing brace.
fn parts_of(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[start..at]);
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// A way that leads back to where it began, if there is one.
fn circle(imports: &Imports) -> Option<String> {
    fn walk(imports: &Imports, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<String> {
        let here = way.last()?.clone();
        for next in imports.get(&here).into_iter().flatten() {
            if let Some(first) = way.iter().position(|place| place == next) {
                let round: Vec<&str> = way[first..].iter().chain([next]).map(String::as_str).collect();
                return Some(round.join(" -> "));
            }
            if !done.contains(next) {
                way.push(next.clone());
                if let Some(found) = walk(imports, way, done) {
                    return Some(found);
                }
                way.pop();
            }
        }
        done.insert(here);
        None
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|start| walk(imports, &mut vec![start.clone()], &mut done))
}

#[test]
fn nothing_is_read_without_a_limit() {
    let unlimited = ["fs::read(", "read_to_string(", "read_to_end("];
    let reads = |file: &File| file.module != "limit" && !file.module.starts_with("engine::memory");
    let found = files().into_iter().filter(reads).flat_map(|file| {
        let calls = unlimited.iter().filter(|call| file.text.contains(**call));
        calls.map(|call| format!("{}: {call}", file.module)).collect::<Vec<_>>()
    });
    assert_eq!(found.collect::<Vec<_>>(), Vec::<String>::new(), "see src/limit.rs");
}
