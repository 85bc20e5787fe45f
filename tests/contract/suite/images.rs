//! Images.

use std::sync::Mutex;

use ksail::engine::{Engine, EngineError};

use super::assert_not_found;
use crate::bench::Bench;

pub(crate) async fn a_container_takes_over_what_its_image_says(bench: impl Bench) {
    let engine = bench.engine();
    let image = engine.inspect_image(bench.image()).await.unwrap();
    assert!(!image.id.is_empty());
    assert!(!image.command.is_empty());
    assert!(image.env.contains_key("PATH"));

    let id = engine.create_container(&bench.spec("c")).await.unwrap();
    let container = engine.inspect_container(&id).await.unwrap();
    assert_eq!(container.image_id, image.id);
    assert_eq!(container.entrypoint, image.entrypoint);
    assert_eq!(container.command, image.command);
    assert_eq!(container.env, image.env);
    assert!(!image.labels.is_empty());
    assert!(image.labels.iter().all(|label| container.labels.iter().any(|found| found == label)), "{container:?}");
}

pub(crate) async fn an_image_that_cannot_be_pulled_says_why(bench: impl Bench) {
    let engine = bench.engine();
    // Nobody listens on port 1 of the loopback address.
    let reference = "localhost:1/ksail-test/no-such-image:0";
    assert_not_found(engine.inspect_image(reference).await);
    let said = Mutex::new(Vec::new());
    let pulled = engine.pull_image(reference, |line| said.lock().unwrap().push(line)).await;
    assert!(matches!(&pulled, Err(EngineError::PullFailed { message }) if !message.is_empty()), "{pulled:?}");
    assert_not_found(engine.inspect_image(reference).await);
}
