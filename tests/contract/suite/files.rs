//! Files, in and out as tar archives.

use std::collections::BTreeMap;
use std::io::Read;

use ksail::engine::{Engine, EngineError, Exec};

use super::{archive, archive_of, assert_not_found};
use crate::bench::Bench;

/// Mode and content of every regular file.
fn files(tar: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            files.insert(path, (entry.header().mode().unwrap() & 0o777, content));
        }
    }
    files
}

fn one(path: &str, mode: u32, content: &str) -> BTreeMap<String, (u32, String)> {
    BTreeMap::from([(path.to_owned(), (mode, content.to_owned()))])
}

pub(crate) async fn what_was_put_is_read_back(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.put_archive(&id, "/", archive(&[("ksail/registry.yml", 0o400, "version: 0.1\n")])).await.unwrap();
    let read = engine.get_archive(&id, "/ksail/registry.yml").await.unwrap();
    assert_eq!(files(&read), one("registry.yml", 0o400, "version: 0.1\n"));

    engine.start_container(&id).await.unwrap();
    engine.put_archive(&id, "/ksail", archive(&[("registry.yml", 0o600, "version: 0.2\n")])).await.unwrap();
    let read = engine.get_archive(&id, "/ksail/registry.yml").await.unwrap();
    assert_eq!(files(&read), one("registry.yml", 0o600, "version: 0.2\n"));
}

pub(crate) async fn a_directory_is_read_with_what_is_below_it(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    let put = archive(&[("certs.d/ghcr.io/hosts.toml", 0o644, "a"), ("certs.d/docker.io/hosts.toml", 0o644, "b")]);
    engine.put_archive(&id, "/etc", put).await.unwrap();
    let read = files(&engine.get_archive(&id, "/etc/certs.d").await.unwrap());
    let mut expected = one("certs.d/ghcr.io/hosts.toml", 0o644, "a");
    expected.extend(one("certs.d/docker.io/hosts.toml", 0o644, "b"));
    assert_eq!(read, expected);
}

pub(crate) async fn a_file_survives_a_restart_but_not_a_recreate(bench: impl Bench) {
    let engine = bench.engine();
    let spec = bench.spec("c");
    let id = engine.create_container(&spec).await.unwrap();
    engine.put_archive(&id, "/", archive(&[("ksail/file", 0o644, "kept")])).await.unwrap();
    engine.start_container(&id).await.unwrap();
    engine.restart_container(&id, 1).await.unwrap();
    let read = engine.get_archive(&id, "/ksail/file").await.unwrap();
    assert_eq!(files(&read), one("file", 0o644, "kept"));

    engine.remove_container(&id).await.unwrap();
    let id = engine.create_container(&spec).await.unwrap();
    assert_not_found(engine.get_archive(&id, "/ksail/file").await);
}

pub(crate) async fn a_missing_path_is_not_found(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    assert_not_found(engine.get_archive(&id, "/no/such/file").await);
    assert_not_found(engine.put_archive(&id, "/no/such/directory", archive(&[("file", 0o644, "")])).await);
}

pub(crate) async fn an_empty_archive_is_fine_and_a_torn_one_is_refused(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.put_archive(&id, "/", Vec::new()).await.unwrap();
    let mut torn = archive(&[("ksail/file", 0o644, "content")]);
    torn.truncate(100);
    let refused = engine.put_archive(&id, "/", torn).await;
    assert!(matches!(refused, Err(EngineError::Refused { .. })), "{refused:?}");
    assert_not_found(engine.get_archive(&id, "/ksail/file").await);
}

pub(crate) async fn what_is_at_a_path_is_told_without_reading_it(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    engine.put_archive(&id, "/", archive(&[("ksail/registry.yml", 0o400, "version: 0.1\n")])).await.unwrap();
    let file = engine.stat_path(&id, "/ksail/registry.yml").await.unwrap();
    assert_eq!(file.size, 13);
    assert_ne!(engine.stat_path(&id, "/ksail").await.unwrap(), file);
    engine.stat_path(&id, "/").await.unwrap();
    assert_eq!(engine.stat_path(&id, "/ksail/registry.yml").await.unwrap(), file, "looking changes nothing");

    let missing = engine.stat_path(&id, "/ksail/no-such-file").await;
    assert!(missing.as_ref().is_err_and(|error| error.to_string().contains("/ksail/no-such-file")), "{missing:?}");
    assert_not_found(missing);
    assert_not_found(engine.stat_path(&bench.name("nobody"), "/").await);
}

pub(crate) async fn a_file_that_is_replaced_has_the_time_its_archive_gives_it(bench: impl Bench) {
    let engine = bench.engine();
    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    let put = async |content: &str, modified: u64| {
        engine.put_archive(&id, "/", archive_of(&[("ksail/file", 0o644, content)], modified)).await.unwrap();
        engine.stat_path(&id, "/ksail/file").await.unwrap()
    };
    let first = put("one", 1000).await;
    assert_eq!(put("two", 1000).await, first, "size and time are all that is compared");
    assert_ne!(put("two", 2000).await, first);
    assert_ne!(put("three", 1000).await, first);
}

pub(crate) async fn a_file_that_a_program_edits_was_modified_since(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.with_programs("c").await;
    engine.put_archive(&id, "/", archive(&[("ksail/file", 0o600, "one")])).await.unwrap();
    let look = async |path: &str| engine.stat_path(&id, path).await.unwrap();
    let (file, directory) = (look("/ksail/file").await, look("/ksail").await);
    let tee = Exec::changing(["busybox", "tee", "/ksail/file"]).with_stdin("two");
    assert!(engine.exec(&id, &tee).await.unwrap().succeeded());
    assert_ne!(look("/ksail/file").await, file);
    assert_eq!(look("/ksail").await, directory, "no entry came or went");
    let read = engine.get_archive(&id, "/ksail/file").await.unwrap();
    assert_eq!(files(&read), one("file", 0o600, "two"));
}

pub(crate) async fn a_directory_changes_when_an_entry_comes_or_goes_or_is_replaced(bench: impl Bench) {
    let engine = bench.engine();
    let id = bench.with_programs("c").await;
    let look = async || engine.stat_path(&id, "/ksail").await.unwrap();
    engine
        .put_archive(&id, "/", archive(&[("ksail/file", 0o644, "one"), ("ksail/below/file", 0o644, "")]))
        .await
        .unwrap();
    let first = look().await;
    engine.put_archive(&id, "/", archive(&[("ksail/below/file", 0o644, "further down")])).await.unwrap();
    assert_eq!(look().await, first, "only its own entries count");

    engine.put_archive(&id, "/", archive(&[("ksail/file", 0o644, "two")])).await.unwrap();
    let replaced = look().await;
    assert_ne!(replaced, first);
    engine.put_archive(&id, "/", archive(&[("ksail/other/file", 0o644, "")])).await.unwrap();
    let more = look().await;
    assert_ne!(more, replaced);
    engine.exec(&id, &Exec::changing(["busybox", "rm", "/ksail/file"])).await.unwrap();
    assert_ne!(look().await, more);
}
