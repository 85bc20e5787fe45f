//! Upstreams that want to know who asks: what docker's own login has stored is told them, and what they refuse is not
//! told them again and again.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::support::deadline::{eventually, holds};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::process::Process;
use super::support::registry::{USER, Upstream};
use super::support::scenario::{Scenario, free_port};
use super::support::secrets::{Search, Secret};
use super::support::token_guard::{NEW_PASSWORD, NEW_TOKEN, TokenGuard};
use super::turns::beside_others;

const REPOSITORY: &str = "team/app";
const WRONG: &str = "not-this-one-4409";
/// A password that is wrong is told so often in an hour: it locks accounts.
const AT_MOST: usize = 2;

/// An upstream with an image that it gives for a password.
struct Guarded {
    scenario: Scenario,
    guard: TokenGuard,
    image: Image,
    _upstream: Upstream,
}

impl Guarded {
    fn new(name: &str) -> Self {
        let mut scenario = Scenario::new(name);
        scenario.remembers_by_itself();
        let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
        let image = Image::containing(name);
        upstream.push(&image, REPOSITORY, "1");
        let guard = TokenGuard::before(&upstream);
        guard.change_password();
        Self { scenario, guard, image, _upstream: upstream }
    }

    fn mirror(&self, credentials: &str) -> Mirror {
        let mirror = Mirror::of("ghcr.io", self.guard.url(), free_port()).with(&format!("credentials: {credentials}"));
        self.scenario.write(std::slice::from_ref(&mirror));
        mirror
    }

    /// A mirror that says the wrong password.
    fn mistaken(&mut self) -> Mirror {
        self.scenario.environment.insert("PASSWORD".to_owned(), WRONG.to_owned());
        self.mirror(&format!("{{username: '{USER}', password: '${{PASSWORD}}'}}"))
    }

    /// By ksail itself.
    fn is_told_twice_at_most(&self) {
        let told = self.guard.times_told(WRONG, true);
        assert!((1..=AT_MOST).contains(&told), "{told} times: {:#?}", self.guard.requests());
    }
}

#[test]
#[ignore = "long: tests/run --long"]
fn what_a_helper_of_docker_login_keeps_is_pulled_with_and_shows_nowhere() {
    let _turn = beside_others();
    let mut guarded = Guarded::new("helper");
    let answer = json!({"ServerURL": guarded.guard.address(), "Username": USER, "Secret": NEW_PASSWORD});
    let script = format!(
        "#!/bin/sh\nread -r server\n[ \"$1 $server\" = 'get {}' ] || exit 1\necho '{answer}'\n",
        guarded.guard.address()
    );
    guarded.scenario.program("docker-credential-ksail-test", &script);
    guarded.scenario.docker_config(&json!({"credHelpers": {guarded.guard.address(): "ksail-test"}}));
    let mirror = guarded.mirror("{fromDocker: true}");
    let applied = guarded.scenario.apply();
    guarded.image.fetch(mirror.host_port(), REPOSITORY, "1").expect("through the mirror");
    let (status, reason, message) = guarded.scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "UpstreamAnswers"), "{message}");
    Search::of(&guarded.scenario, &mirror)
        .and_said(&applied)
        .finds_none_of(&[Secret::password(USER, NEW_PASSWORD), Secret::token(NEW_TOKEN)]);
}

#[test]
fn a_wrong_password_is_told_its_upstream_twice_at_most_however_many_commands_are_run() {
    let _turn = beside_others();
    let mut guarded = Guarded::new("wrong");
    let mirror = guarded.mistaken();
    let applied: Vec<_> = (0..3).map(|_| guarded.scenario.apply()).collect();
    let (status, reason, message) = guarded.scenario.status().of_mirror("ghcr.io", "UpstreamReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "UpstreamUnauthorized"), "{message}");
    let mut watch = guarded.scenario.watch();
    watch.await_event("it is refused", Duration::from_secs(10), |event| {
        event.is_condition("ghcr.io", "UpstreamReachable", "False") && event.text("reason") == "UpstreamUnauthorized"
    });
    guarded.is_told_twice_at_most();
    // A registry asks nobody, and is asked by somebody.
    let before = guarded.guard.times_told(WRONG, false);
    assert!(guarded.image.fetch(mirror.host_port(), REPOSITORY, "1").is_err());
    assert!(guarded.guard.times_told(WRONG, false) > before, "what the registry tells is counted apart");
    let search = applied.iter().fold(Search::of(&guarded.scenario, &mirror), Search::and_said);
    search.and_watch(&watch).finds_none_of(&[Secret::password(USER, WRONG)]);
    guarded.is_told_twice_at_most();
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_password_is_told_twice_at_most_by_commands_that_do_not_wait_until_it_is_refused() {
    let _turn = beside_others();
    let mut guarded = Guarded::new("wrong-slow");
    guarded.guard.think_long();
    guarded.mistaken();
    for command in ["apply", "status", "apply", "status"] {
        guarded.scenario.ksail(&[command]);
    }
    guarded.is_told_twice_at_most();
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_wrong_password_is_told_twice_at_most_by_commands_at_the_same_time() {
    let _turn = beside_others();
    let mut guarded = Guarded::new("wrong-many");
    guarded.mistaken();
    let mut running: Vec<_> = (0..6)
        .map(|_| Process::start(guarded.scenario.command(&["status"]).stdout(Stdio::null()).stderr(Stdio::null())))
        .collect();
    for process in &mut running {
        process.await_exit(Duration::from_secs(20));
    }
    guarded.is_told_twice_at_most();
}

#[test]
#[ignore = "long: tests/run --long"]
fn a_watch_with_a_wrong_password_goes_on_asking_without_it() {
    let _turn = beside_others();
    let mut guarded = Guarded::new("wrong-watch");
    guarded.mistaken();
    let mut watch = guarded.scenario.watch();
    let asked = |guarded: &Guarded| {
        let plain = |request: &&_| is_plain(request);
        guarded.guard.requests().iter().filter(plain).count()
    };
    let before = asked(&guarded);
    eventually("it asks four times more", Duration::from_secs(90), || {
        let times = asked(&guarded) - before;
        holds(times >= 4, format!("{times} times"))
    });
    guarded.is_told_twice_at_most();
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

/// Whether ksail asks without saying who it is.
fn is_plain(request: &super::support::server::Request) -> bool {
    request.is_from_here && request.header("Authorization").is_none()
}
