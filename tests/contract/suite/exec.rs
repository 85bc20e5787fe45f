//! Programs in running containers.

use std::time::Duration;

use ksail::engine::{Engine, EngineError, Exec};

use super::{archive, assert_conflict, assert_not_found};
use crate::bench::{Bench, CAT, PATIENCE, POLL, SAYS, SLEEP};

pub(crate) async fn a_program_answers_its_output_its_complaints_and_its_exit_code(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let executed = bench.engine().exec(&id, &Exec::reading(SAYS)).await.unwrap();
    assert_eq!((executed.stdout.as_str(), executed.stderr.as_str(), executed.exit_code), ("out\n", "err\n", 3));
    assert!(!executed.succeeded() && !executed.is_missing_program());
}

pub(crate) async fn the_input_of_a_program_reaches_it_and_ends(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let engine = bench.engine();
    // More than pipes and sockets hold: who writes everything before reading anything hangs here.
    let long = "a line of text\n".repeat(100_000);
    for input in ["", "no newline at the end", &long] {
        let executed = engine.exec(&id, &Exec::reading(CAT).with_stdin(input)).await.unwrap();
        assert!(executed.succeeded(), "{executed:?}");
        assert!(executed.stdout == input, "{} bytes of {}", executed.stdout.len(), input.len());
    }
}

pub(crate) async fn input_nobody_reads_is_fine(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let exec = Exec::reading(SAYS).with_stdin(vec![b'x'; 1_000_000]);
    assert_eq!(bench.engine().exec(&id, &exec).await.unwrap().exit_code, 3);
}

pub(crate) async fn a_missing_program_is_126_or_127(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    for command in [["no-such-program", "x"], ["/no/such/program", "x"]] {
        for exec in [Exec::reading(command), Exec::reading(command).with_stdin("input")] {
            let executed = bench.engine().exec(&id, &exec).await.unwrap();
            assert!(executed.is_missing_program() && !executed.succeeded(), "{executed:?}");
            assert!(executed.stdout.contains(command[0]), "the engine says which: {executed:?}");
        }
    }
}

pub(crate) async fn a_container_that_does_not_run_runs_no_program(bench: impl Bench) {
    let engine = bench.engine();
    let cat = Exec::reading(CAT);
    assert_not_found(engine.exec(&bench.name("nobody"), &cat).await);
    let id = bench.with_programs("c").await;
    bench.pause(&id).await;
    assert_conflict(engine.exec(&id, &cat).await);
    engine.unpause_container(&id).await.unwrap();
    assert!(once_awake(async || engine.exec(&id, &cat).await).await.succeeded());
    engine.stop_container(&id, 1).await.unwrap();
    assert_conflict(engine.exec(&id, &cat).await);
}

/// What a call answers that an engine refuses while a container is paused. Docker takes one that was woken for paused
/// again when containerd's own word of the pause comes late, until its word of the end does (`ProcessEvent` in moby's
/// `daemon/monitor.go`). Whoever is refused tries again.
async fn once_awake<T>(call: impl AsyncFn() -> Result<T, EngineError>) -> T {
    let until_then = async {
        loop {
            match call().await {
                Err(EngineError::Conflict { message }) if message.contains("paused") => {}
                answer => return answer.unwrap(),
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, until_then).await.expect("it is woken")
}

pub(crate) async fn a_program_that_takes_too_long_is_a_timeout(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let limit = Duration::from_secs(1);
    let late = bench.engine().exec(&id, &Exec::reading(SLEEP).within(limit)).await;
    assert_eq!(late, Err(EngineError::Timeout { call: "exec".to_owned(), seconds: 1 }));
}

pub(crate) async fn a_file_is_removed(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let engine = bench.engine();
    engine.put_archive(&id, "/", archive(&[("ksail/a", 0o644, "a"), ("ksail/b", 0o644, "b")])).await.unwrap();
    let rm = async |arguments: &[&str]| {
        let command = [&["busybox", "rm"], arguments].concat();
        engine.exec(&id, &Exec::changing(command)).await.unwrap()
    };
    assert!(rm(&["/ksail/a"]).await.succeeded());
    assert_not_found(engine.stat_path(&id, "/ksail/a").await);
    engine.stat_path(&id, "/ksail/b").await.unwrap();

    let missing = rm(&["/ksail/a"]).await;
    assert_eq!(missing.exit_code, 1);
    assert!(missing.stderr.contains("No such file or directory"), "{missing:?}");
    assert_eq!(rm(&["-f", "/ksail"]).await.exit_code, 1, "a directory is not removed by force");
    assert!(rm(&["-f", "/ksail/a", "/ksail/b"]).await.succeeded());
    assert_not_found(engine.stat_path(&id, "/ksail/b").await);
}

pub(crate) async fn a_directory_is_removed_only_when_it_is_empty(bench: impl Bench) {
    let id = bench.with_programs("c").await;
    let engine = bench.engine();
    engine.put_archive(&id, "/", archive(&[("ksail/below/a", 0o644, "a")])).await.unwrap();
    let run = async |command: &[&str]| engine.exec(&id, &Exec::changing(command.iter().copied())).await.unwrap();
    let refused = run(&["busybox", "rmdir", "/ksail/below"]).await;
    assert_eq!(refused.exit_code, 1);
    assert!(refused.stderr.contains("Directory not empty"), "{refused:?}");
    engine.stat_path(&id, "/ksail/below/a").await.unwrap();

    assert_eq!(run(&["busybox", "rmdir", "/ksail/below/a"]).await.exit_code, 1, "a file is no directory");
    run(&["busybox", "rm", "/ksail/below/a"]).await;
    assert!(run(&["busybox", "rmdir", "/ksail/below", "/ksail"]).await.succeeded());
    assert_not_found(engine.stat_path(&id, "/ksail").await);
    assert_eq!(run(&["busybox", "rmdir", "/ksail"]).await.exit_code, 1);
}
