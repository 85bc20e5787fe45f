//! No file, however mangled, makes anything panic: it is refused with words, or it is taken.

use std::fs;
use std::path::{Path, PathBuf};

use ksail::desired::{ResolveContext, resolve};
use ksail::manifest::{
    Edit, Host, Manifest, MirrorChange, MirrorEntry, MirrorField, Outline, Problems, State, apply, parse,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What people write, and what they do not.
const PIECES: [&str; 44] = [
    "\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    "-",
    "- ",
    ":",
    ": ",
    "#",
    "'",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: *a",
    "!!map ",
    "|",
    ">-",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\u{feff}",
    "\u{0}",
    "\u{1b}]0;x\u{7}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "é",
    "🦀",
    "${",
    "${A}",
    "${A:-b}",
    "99999999999999999999",
    "-1",
    "1e309",
    "9223372036854775807s",
    "500ms",
    "host: ",
    "upstream: https://",
];

/// One change of the bytes.
#[derive(Debug, Clone)]
enum Mangling {
    Insert(prop::sample::Index, &'static str),
    Repeat(prop::sample::Index, &'static str, usize),
    Remove(prop::sample::Index, usize),
    Replace(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Double(prop::sample::Index, usize),
}

fn mangling() -> impl Strategy<Value = Mangling> {
    let at = any::<prop::sample::Index>;
    let piece = || prop::sample::select(&PIECES[..]);
    prop_oneof![
        4 => (at(), piece()).prop_map(|(at, piece)| Mangling::Insert(at, piece)),
        1 => (at(), piece(), 2..300_usize).prop_map(|(at, piece, times)| Mangling::Repeat(at, piece, times)),
        3 => (at(), 1..40_usize).prop_map(|(at, length)| Mangling::Remove(at, length)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mangling::Replace(at, byte)),
        1 => at().prop_map(Mangling::Cut),
        2 => (at(), 1..120_usize).prop_map(|(at, length)| Mangling::Double(at, length)),
    ]
}

fn mangled(bytes: &[u8], manglings: &[Mangling]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mangling in manglings {
        let at = |index: &prop::sample::Index| if bytes.is_empty() { 0 } else { index.index(bytes.len()) };
        let (from, to, new) = match mangling {
            Mangling::Insert(index, piece) => (at(index), at(index), piece.as_bytes().to_vec()),
            Mangling::Repeat(index, piece, times) => (at(index), at(index), piece.repeat(*times).into_bytes()),
            Mangling::Remove(index, length) => (at(index), at(index) + length, Vec::new()),
            Mangling::Replace(index, byte) => (at(index), at(index) + 1, vec![*byte]),
            Mangling::Cut(index) => (at(index), bytes.len(), Vec::new()),
            Mangling::Double(index, length) => {
                let end = (at(index) + length).min(bytes.len());
                (end, end, bytes[at(index)..end].to_vec())
            }
        };
        let to = to.min(bytes.len());
        bytes.splice(from..to, new);
    }
    bytes
}

/// The files of the corpus and the examples.
fn files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let paths = in_folder("tests/manifest/corpus")
        .chain(["ci", "k3d", "kind"].iter().map(|name| root.join("examples").join(name).join("ksail.yaml")));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn edits() -> Vec<Edit> {
    let host = |text: &str| text.parse::<Host>().unwrap();
    let upstream = || MirrorField::Upstream("https://quay.io".to_owned());
    vec![
        Edit::AddMirror(MirrorEntry { host: host("quay.io"), fields: vec![upstream(), MirrorField::Port(5009)] }),
        Edit::SetMirror { host: host("docker.io"), changes: vec![MirrorChange::Set(MirrorField::Port(5008))] },
        Edit::RemoveMirror(host("docker.io")),
        Edit::SetState(State::Purged),
    ]
}

/// What it says can be shown, and says something of every problem.
fn is_told(problems: &Problems) {
    assert!(problems.len() > 0 && problems.iter().all(|problem| !problem.message.is_empty()));
    for text in [problems.render(false), problems.summary()] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
    }
    problems.render(true);
}

fn can_be_reconciled(manifest: &Manifest) {
    let desired = resolve(manifest, &ResolveContext::default());
    assert!(desired.mirrors.len() <= manifest.registries.mirrors.len());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_500),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_file_makes_anything_panic(
        file in prop::sample::select(files()),
        manglings in prop::collection::vec(mangling(), 1..6),
    ) {
        let bytes = mangled(&file, &manglings);
        let path = Path::new("ksail.yaml");
        let environment = |name: &str| (name == "A").then(|| "b".to_owned());
        match parse(path, &bytes, &environment) {
            Ok(manifest) => can_be_reconciled(&manifest),
            Err(problems) => is_told(&problems),
        }
        if let Err(problems) = Outline::parse(path, &bytes) {
            is_told(&problems);
        }
        for edit in edits() {
            match apply(&bytes, std::slice::from_ref(&edit)) {
                // What was good to read is good to read after the edit.
                Ok(after) if Outline::parse(path, &bytes).is_ok() => {
                    prop_assert!(Outline::parse(path, &after).is_ok(), "{edit:?}: {}", String::from_utf8_lossy(&after));
                }
                Ok(_) => {}
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
