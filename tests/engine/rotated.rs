//! Credentials that lie in a file and change while ksail watches.

use std::fs;
use std::time::Duration;

use super::support::deadline::eventually;
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::{PASSWORD, USER, Upstream};
use super::support::scenario::{Scenario, free_port};
use super::support::secrets::{Search, Secret};
use super::support::token_guard::{NEW_PASSWORD, NEW_TOKEN, TokenGuard};

#[test]
fn a_password_in_a_file_that_changes_under_a_watch_is_taken_and_shows_nowhere() {
    let scenario = Scenario::new("rotated");
    scenario.create_network();
    let upstream = Upstream::start(&scenario.docker, "rotated-up");
    let (first, second) = (Image::containing("first"), Image::containing("second"));
    upstream.push(&first, "app", "1");
    upstream.push(&second, "app", "2");
    let guarded = TokenGuard::before(&upstream);
    let secrets = scenario.directory().join("secrets");
    fs::create_dir(&secrets).expect("the directory is the test's own");
    let holds = |password: &str| fs::write(secrets.join("token"), format!("{password}\n")).expect("it can be written");
    holds(PASSWORD);
    let mirror = Mirror::of("docker.io", guarded.url(), free_port())
        .with(&format!("credentials: {{username: {USER}, passwordFile: secrets/token}}"));
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    first.fetch(mirror.host_port(), "app", "1").expect("the first password is good");
    let before = scenario.running(&mirror);

    guarded.change_password();
    let mark = watch.mark();
    holds(NEW_PASSWORD);
    watch.await_event_since(mark, "the new password is put in", Duration::from_secs(10), |event| {
        event.is_action() && event.json.to_string().contains("credentials changed")
    });
    eventually("an image is pulled with the new password", Duration::from_secs(20), || {
        second.fetch(mirror.host_port(), "app", "2")
    });
    let after = scenario.running(&mirror);
    assert_eq!(after.id(), before.id(), "the same container goes on");

    // A file that is gone is told, and what was in it stays in force.
    let mark = watch.mark();
    fs::remove_file(secrets.join("token")).expect("it is there");
    let told =
        watch.await_event_since(mark, "it is told", Duration::from_secs(10), |event| event.is("manifestRejected"));
    assert!(told.text("message").contains("there is no file"), "{:?}", told.json);
    assert_eq!(scenario.running(&mirror).started_at(), after.started_at());
    holds(NEW_PASSWORD);

    Search::of(&scenario, &mirror)
        .and_watch(&watch)
        .finds_none_of(&[Secret::password(USER, NEW_PASSWORD), Secret::token(NEW_TOKEN)]);
    watch.stop();
}
