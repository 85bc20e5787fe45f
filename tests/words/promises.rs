//! README's promises name tests that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::literals::collect;

#[test]
fn every_promise_in_the_readme_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## What it promises\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    assert!(section.trim().lines().count() <= 20, "it is read at a glance");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(!rows.is_empty());

    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut files);
    }
    let sources: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for row in rows {
        let names: BTreeSet<&str> = row.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).collect();
        assert!(!names.is_empty(), "who holds it? {row}");
        for name in names {
            let is_there = sources.iter().any(|source| source.contains(&format!("fn {name}(")));
            assert!(is_there, "there is no test {name}: {row}");
        }
    }
}
