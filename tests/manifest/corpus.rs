//! Files as people write them, times every edit: the lines that change, and no other.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ksail::manifest::{
    Edit, EditError, Host, MirrorChange, MirrorEntry, MirrorField, MirrorFieldName, State, apply, parse,
};
use similar::{ChangeTag, TextDiff};

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifest/corpus");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    files
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn hosts(bytes: &[u8]) -> Vec<Host> {
    let manifest = parse(Path::new("ksail.yaml"), bytes, &|_| Some("set".to_owned())).unwrap();
    manifest.registries.mirrors.into_iter().map(|mirror| mirror.host).collect()
}

fn quay() -> MirrorEntry {
    MirrorEntry {
        host: host("quay.io"),
        fields: vec![MirrorField::Upstream("https://quay.io".to_owned()), MirrorField::Port(5099)],
    }
}

fn private() -> MirrorEntry {
    let credentials =
        MirrorField::Credentials { username: "${GH_USER}".to_owned(), password: "${GH_TOKEN:-none}".to_owned() };
    let upstream = MirrorField::Upstream("https://${GH_HOST:-ghcr.example.com}".to_owned());
    MirrorEntry {
        host: host("ghcr.example.com"),
        fields: vec![upstream, MirrorField::Ttl("168h".to_owned()), credentials],
    }
}

fn edits(bytes: &[u8]) -> Vec<(String, Edit)> {
    let mut edits = vec![
        ("state Present".to_owned(), Edit::SetState(State::Present)),
        ("state Absent".to_owned(), Edit::SetState(State::Absent)),
        ("add quay.io".to_owned(), Edit::AddMirror(quay())),
        ("add localhost:5055".to_owned(), Edit::AddMirror(MirrorEntry::push(host("localhost:5055")))),
        ("add ghcr.example.com".to_owned(), Edit::AddMirror(private())),
    ];
    for host in hosts(bytes) {
        let set = |field| Edit::SetMirror { host: host.clone(), changes: vec![MirrorChange::Set(field)] };
        let credentials = MirrorField::Credentials { username: "${A}".to_owned(), password: "${B}".to_owned() };
        if !host.as_str().starts_with("localhost") {
            edits.push((format!("set {host} port"), set(MirrorField::Port(6001))));
            edits.push((format!("set {host} upstream"), set(MirrorField::Upstream("http://cache:5000".to_owned()))));
            edits.push((format!("set {host} ttl"), set(MirrorField::Ttl("1h30m".to_owned()))));
            edits.push((format!("set {host} fallback"), set(MirrorField::Fallback(false))));
            edits.push((format!("set {host} credentials"), set(credentials)));
        }
        edits.push((format!("set {host} listenAddress"), set(MirrorField::ListenAddress("0.0.0.0".parse().unwrap()))));
        let changes =
            [MirrorFieldName::Port, MirrorFieldName::Credentials, MirrorFieldName::Ttl].map(MirrorChange::Unset);
        edits.push((
            format!("unset {host} port, credentials and ttl"),
            Edit::SetMirror { host: host.clone(), changes: changes.to_vec() },
        ));
        edits.push((format!("remove {host}"), Edit::RemoveMirror(host)));
    }
    edits
}

/// The lines that differ, with their numbers, and every byte of them visible.
fn difference(before: &[u8], after: &[u8]) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let mut shown = String::new();
    for change in TextDiff::from_lines(before.as_ref(), after.as_ref()).iter_all_changes() {
        let (sign, line) = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => ('-', change.old_index()),
            ChangeTag::Insert => ('+', change.new_index()),
        };
        let text = change.value().replace('\r', "␍").replace('\t', "␉").replace('\u{feff}', "BOM");
        let text = text.strip_suffix('\n').map_or(format!("{text}∎"), str::to_owned);
        let text =
            format!("{}{}", text.trim_end_matches(' '), "·".repeat(text.len() - text.trim_end_matches(' ').len()));
        writeln!(shown, "  {sign}{:3} {text}", line.unwrap() + 1).unwrap();
    }
    if shown.is_empty() { "  nothing\n".to_owned() } else { shown }
}

#[test]
fn every_edit_of_every_file_changes_exactly_these_lines() {
    let mut shown = String::new();
    for path in corpus() {
        let before = std::fs::read(&path).unwrap();
        writeln!(shown, "\n=== {}", path.file_stem().unwrap().display()).unwrap();
        for (name, edit) in edits(&before) {
            let outcome = match apply(&before, &[edit]) {
                Ok(after) => difference(&before, &after),
                Err(EditError::Refused { reason, .. }) => format!("  refused: {reason}\n"),
                Err(EditError::WouldBreak(problems)) => format!("  would break: {}\n", problems.summary()),
                Err(error) => format!("  {error}\n"),
            };
            write!(shown, "{name}\n{outcome}").unwrap();
        }
    }
    insta::with_settings!({ snapshot_path => "corpus", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("edits", shown);
    });
}

#[test]
fn there_are_at_least_forty_files() {
    assert!(corpus().len() >= 40);
}

#[test]
fn adding_and_removing_gives_back_every_byte() {
    for path in corpus() {
        let before = std::fs::read(&path).unwrap();
        for entry in [quay(), private(), MirrorEntry::push(host("localhost:5055"))] {
            let Ok(added) = apply(&before, &[Edit::AddMirror(entry.clone())]) else { continue };
            let removed = apply(&added, &[Edit::RemoveMirror(entry.host.clone())]).unwrap();
            if hosts(&before).is_empty() && !String::from_utf8_lossy(&before).contains("mirrors: []") {
                continue;
            }
            let (removed, before) = (String::from_utf8(removed).unwrap(), String::from_utf8(before.clone()).unwrap());
            assert_eq!(removed, before, "{}", path.display());
        }
    }
}

#[test]
fn adding_and_removing_in_one_go_changes_nothing_at_all() {
    for path in corpus() {
        let before = std::fs::read(&path).unwrap();
        let edits = [Edit::AddMirror(quay()), Edit::RemoveMirror(host("quay.io"))];
        if let Ok(after) = apply(&before, &edits)
            && !hosts(&before).is_empty()
        {
            assert_eq!(after, before, "{}", path.display());
        }
    }
}

#[test]
fn an_edit_a_second_time_changes_nothing() {
    for path in corpus() {
        let before = std::fs::read(&path).unwrap();
        for (name, edit) in edits(&before) {
            let Ok(once) = apply(&before, std::slice::from_ref(&edit)) else { continue };
            match apply(&once, &[edit]) {
                Ok(twice) => assert_eq!(twice, once, "{} {name}", path.display()),
                Err(EditError::NoSuchMirror { .. }) => assert!(name.starts_with("remove")),
                Err(error) => panic!("{} {name}: {error}", path.display()),
            }
        }
    }
}
