//! The transitions of one subject, as a table: what is planned, where it stands, and what is decided.

use super::*;
use crate::engine::EngineError;

const KILLED: &str = "container exited (137)";
const MINUTE: Duration = Duration::from_secs(60);

/// One subject and its clock.
struct Story {
    tracked: Tracked,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        Self { tracked: Tracked::new(node_files(1)), now: Instant::now() }
    }

    fn after(mut self, time: Duration) -> Self {
        self.now += time;
        self
    }

    fn runs(mut self, cause: &str) -> Self {
        self.tracked.start(cause, Kind::default(), self.now);
        self
    }

    fn ends(mut self, ended: Ended) -> Self {
        self.tracked.end(&subject(), &Outcome { ended, actions: 1, left: None }, self.now);
        self
    }

    /// A run from its start to its end, in no time.
    fn has_run(self, cause: &str, ended: Ended) -> Self {
        self.runs(cause).ends(ended)
    }

    fn leaves(mut self) -> Self {
        let outcome = Outcome { ended: failed_to("create"), actions: 1, left: Some(stopped()) };
        self.tracked.end(&subject(), &outcome, self.now);
        self
    }

    fn seen_cured(mut self) -> Self {
        self.tracked.is_cured(self.now);
        self
    }

    fn becomes(mut self, spec: Spec) -> Self {
        self.tracked.set_spec(spec);
        self
    }

    fn meets(mut self, node: &str) -> Self {
        self.tracked.meets(node);
        self
    }

    /// Honest repairs, each of which is seen to have cured its cause.
    fn has_been_repaired(self, times: u32) -> Self {
        (0..times).fold(self, |story, _| story.has_run(KILLED, Ended::Done).seen_cured())
    }

    fn decides(&self, planned: Planned<'_>) -> Decision {
        self.tracked.decide(&subject(), planned, self.now)
    }

    /// How long the next run for this cause is put off.
    fn waits(&self, cause: &str) -> Duration {
        match self.decides(steps(cause)) {
            Decision::Start => Duration::ZERO,
            Decision::Wait { until: Some(until), .. } => until - self.now,
            other => panic!("{other:?}"),
        }
    }

    /// Waits as long as it has to and runs.
    fn has_run_when_it_may(self, cause: &str, ended: Ended) -> Self {
        let waits = self.waits(cause);
        self.after(waits).has_run(cause, ended)
    }

    /// What the pass notes when the subject is put off.
    fn put_off(mut self, cause: &str) -> Self {
        self.tracked.state = match self.decides(steps(cause)) {
            Decision::Wait { until, why } => State::Waiting { until, why },
            other => panic!("{other:?}"),
        };
        self
    }
}

fn subject() -> Subject {
    Subject::mirror("docker.io")
}

fn node_files(files: u64) -> Spec {
    Spec::Node { files }
}

fn cluster(exists: bool) -> Spec {
    Spec::Cluster {
        exists,
        lifecycle: Lifecycle::Managed,
        distribution: Distribution::Kind,
        provisioning: Provisioning::default(),
        hosting: None,
    }
}

fn steps(cause: &str) -> Planned<'_> {
    Planned::Steps { cause, not_before: None }
}

fn failed_to(what: &str) -> Ended {
    let error = EngineError::Refused { status: 500, message: "no space left".to_owned() };
    Ended::Failed(Failure::Engine { what: what.to_owned(), error })
}

fn fails() -> Ended {
    failed_to("start")
}

fn stopped() -> ProvisionError {
    ProvisionError::Stopped { command: "kind create cluster".to_owned() }
}

/// Give or take the fifth by which delays differ.
fn is_about(found: Duration, expected: Duration) -> bool {
    expected.mul_f64(0.8) <= found && found <= expected.mul_f64(1.2)
}

#[derive(Debug)]
enum Expected {
    Is(Decision),
    /// Not before about this time has passed.
    Waits(Why, Duration),
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each decision")]
fn what_is_decided_follows_from_what_is_planned_and_where_the_subject_stands() {
    use Decision::{Cancel, Rest, Start};
    use Expected::{Is, Waits};
    let new = Story::new;
    let half_a_second = Duration::from_millis(500);
    let removal = |story: &Story, changed_before: Duration| Planned::Steps {
        cause: "not in ksail.yaml",
        not_before: Some(story.now + Duration::from_secs(1) - changed_before),
    };
    let just_changed = new();
    let removal_soon = removal(&just_changed, Duration::from_millis(300));
    let removal_now = removal(&just_changed, Duration::from_secs(1));
    let blocked = Decision::Wait { until: None, why: Why::Blocked };
    let rows: Vec<(&str, Story, Planned<'_>, Expected)> = vec![
        ("nothing, idle", new(), Planned::Nothing, Is(Rest)),
        ("nothing, after a failure", new().has_run(KILLED, fails()), Planned::Nothing, Is(Rest)),
        ("nothing, while it waits", new().has_run(KILLED, fails()).put_off(KILLED), Planned::Nothing, Is(Rest)),
        ("nothing, while it runs: somebody mended it", new().runs(KILLED), Planned::Nothing, Is(Rest)),
        ("steps, no run before", new(), steps(KILLED), Is(Start)),
        (
            "steps, no run in the last minute",
            new().has_run(KILLED, Ended::Done).seen_cured().after(MINUTE),
            steps(KILLED),
            Is(Start),
        ),
        ("steps, while it runs", new().runs(KILLED), steps(KILLED), Is(Rest)),
        (
            "steps, a run that ended well and was seen cured",
            new().has_run(KILLED, Ended::Done).seen_cured(),
            steps(KILLED),
            Is(Start),
        ),
        (
            "steps, another cause than that of the run that ended well",
            new().has_run(KILLED, Ended::Done),
            steps("port changed"),
            Is(Start),
        ),
        (
            "steps, the cause of the run that ended well",
            new().has_run(KILLED, Ended::Done),
            steps(KILLED),
            Waits(Why::Repeated, half_a_second),
        ),
        (
            "steps, the same cause, later",
            new().has_run(KILLED, Ended::Done).after(half_a_second.mul_f64(1.3)),
            steps(KILLED),
            Is(Start),
        ),
        ("steps, a run that failed", new().has_run(KILLED, fails()), steps(KILLED), Waits(Why::Failed, half_a_second)),
        (
            "steps, another cause than that of the run that failed",
            new().has_run(KILLED, fails()),
            steps("port changed"),
            Waits(Why::Failed, half_a_second),
        ),
        (
            "steps, until has passed",
            new().has_run(KILLED, fails()).put_off(KILLED).after(half_a_second.mul_f64(1.3)),
            steps(KILLED),
            Is(Start),
        ),
        (
            "steps, a run that was told to stop",
            new().has_run(KILLED, Ended::Cancelled).seen_cured(),
            steps(KILLED),
            Is(Start),
        ),
        ("steps, one run left", new().has_been_repaired(8), steps(KILLED), Is(Start)),
        ("steps, no run left", new().has_been_repaired(9), steps(KILLED), Waits(Why::OutOfRuns, MINUTE)),
        (
            "steps, no run left, another cause",
            new().has_been_repaired(9),
            steps("port changed"),
            Waits(Why::OutOfRuns, MINUTE),
        ),
        ("steps, one run regained", new().has_been_repaired(9).after(MINUTE), steps(KILLED), Is(Start)),
        ("an obstacle, idle", new(), Planned::Blocked, Is(blocked)),
        ("an obstacle, after a failure", new().has_run(KILLED, fails()), Planned::Blocked, Is(blocked)),
        ("an obstacle, while it runs", new().runs(KILLED), Planned::Blocked, Is(Rest)),
        (
            "steps of another aim, while a mirror runs",
            new().becomes(Spec::Gone).runs(KILLED).becomes(node_files(1)),
            steps(KILLED),
            Is(Cancel),
        ),
        (
            "nothing, while it runs for another aim",
            new().becomes(Spec::Gone).runs(KILLED).becomes(node_files(1)),
            Planned::Nothing,
            Is(Cancel),
        ),
        (
            "steps of other files, while a node's run: the next goes on with them",
            new().runs(KILLED).becomes(node_files(2)),
            steps(KILLED),
            Is(Rest),
        ),
        (
            "the cluster is to go, while it is being created",
            new().becomes(cluster(true)).runs("no cluster").becomes(cluster(false)),
            steps(KILLED),
            Is(Cancel),
        ),
        ("a removal, the file changed 0.3 s ago", new(), removal_soon, Waits(Why::Removal, Duration::from_millis(700))),
        ("a removal, the file changed a second ago", new().after(Duration::from_millis(1)), removal_now, Is(Start)),
    ];
    let mut wrong = Vec::new();
    for (row, story, planned, expected) in rows {
        let found = story.decides(planned);
        let is_so = match (&expected, found) {
            (Is(expected), found) => *expected == found,
            (Waits(expected, time), Decision::Wait { until: Some(until), why }) => {
                *expected == why && is_about(until - story.now, *time)
            }
            _ => false,
        };
        if !is_so {
            wrong.push(format!("{row}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_bucket_regains_one_run_a_minute_counted_from_the_first_that_was_spent() {
    let story = Story::new().has_been_repaired(1).after(Duration::from_secs(50)).has_been_repaired(8);
    assert_eq!(story.waits(KILLED), Duration::from_secs(10), "a minute after the first, not after the last");
    let story = story.after(Duration::from_secs(10)).has_been_repaired(1);
    assert_eq!(story.waits(KILLED), MINUTE);
}

#[test]
fn idleness_refills_no_more_than_the_bucket_holds() {
    let story = Story::new().has_been_repaired(9).after(MINUTE * 600).has_been_repaired(9);
    assert_eq!(story.waits(KILLED), MINUTE);
}

/// Starts of a subject that is broken again as soon as it is repaired, by the cause of each repair.
fn starts_of_one_that_breaks_again(
    quiet_before: Duration,
    cause: impl Fn(usize) -> String,
    ended: &Ended,
) -> Vec<Instant> {
    let mut story = Story::new().has_been_repaired(4).after(quiet_before);
    let (begun, mut starts) = (story.now, Vec::new());
    while story.now - begun < MINUTE * 30 {
        let cause = cause(starts.len());
        story = story.has_run_when_it_may(&cause, ended.clone());
        starts.push(story.now);
        if *ended == Ended::Done && starts.len().is_multiple_of(3) {
            story = story.seen_cured();
        }
    }
    starts
}

/// What is wrong, the cause of each run, and how it ends.
type World = (&'static str, fn(usize) -> String, Ended);

#[test]
fn a_world_that_never_ends_gets_ten_runs_in_any_minute_and_nineteen_in_any_ten() {
    let worlds: [World; 4] = [
        ("killed again and again", |_| KILLED.to_owned(), Ended::Done),
        ("two causes that take turns", |run| format!("cause {}", run % 2), Ended::Done),
        ("another cause each time", |run| format!("cause {run}"), Ended::Done),
        ("a failure each time", |_| KILLED.to_owned(), fails()),
    ];
    for (world, cause, ended) in worlds {
        for quiet_before in [0, 30, 59, 60, 119, 3_600].map(Duration::from_secs) {
            let starts = starts_of_one_that_breaks_again(quiet_before, cause, &ended);
            let most_in = |window: Duration| {
                let within =
                    |first: &Instant| starts.iter().filter(|at| *at >= first && **at - *first <= window).count();
                starts.iter().map(within).max().unwrap_or_default()
            };
            let found = (most_in(MINUTE), most_in(MINUTE * 10));
            assert!(found.0 <= 10 && found.1 <= 19, "{world}, {quiet_before:?} after others: {found:?}");
        }
    }
}

#[test]
fn six_honest_repairs_in_a_row_are_at_once() {
    assert_eq!(Story::new().has_been_repaired(6).waits(KILLED), Duration::ZERO);
}

#[test]
fn what_fails_is_left_alone_for_half_a_second_and_twice_as_long_each_time_up_to_a_minute() {
    let mut story = Story::new();
    for expected_in_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000] {
        story = story.has_run(KILLED, fails());
        let waits = story.waits(KILLED);
        let expected = Duration::from_millis(expected_in_ms);
        // The bucket may ask for more where the backoff asks for less.
        let is_rationed = matches!(story.decides(steps(KILLED)), Decision::Wait { why: Why::OutOfRuns, .. });
        assert!(is_about(waits, expected) || is_rationed && waits > expected, "{expected_in_ms} ms: {waits:?}");
        story = story.after(waits);
    }
}

#[test]
fn what_cures_nothing_is_done_later_and_later() {
    let mut story = Story::new();
    for expected_in_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
        story = story.has_run(KILLED, Ended::Done);
        let waits = story.waits(KILLED);
        assert!(is_about(waits, Duration::from_millis(expected_in_ms)), "{expected_in_ms} ms: {waits:?}");
        story = story.after(waits);
    }
}

#[test]
fn a_cause_that_comes_back_is_told_from_the_third_time_on() {
    let told = |story: &Story| match story.tracked.failure() {
        Some(Failure::Repeated { cause, times }) => Some((cause, times)),
        None => None,
        Some(other) => panic!("{other}"),
    };
    let story = Story::new().has_run(KILLED, Ended::Done).put_off(KILLED);
    assert_eq!(told(&story), None, "it has come back for the first time");
    let story = story.has_run_when_it_may(KILLED, Ended::Done);
    assert_eq!(told(&story), None, "it may be cured");
    let story = story.put_off(KILLED);
    assert_eq!(told(&story), Some((KILLED.to_owned(), 2)));
    let story = story.has_run_when_it_may(KILLED, Ended::Done).put_off(KILLED);
    assert_eq!(told(&story), Some((KILLED.to_owned(), 3)));
    assert_eq!(told(&story.seen_cured()), None);
}

#[test]
fn what_was_given_up_or_failed_is_not_told_to_have_been_put_right() {
    let given_up = (0..4).fold(Story::new(), |story, _| story.has_run_when_it_may(KILLED, Ended::Cancelled));
    assert_eq!(given_up.waits(KILLED), Duration::ZERO, "nothing was tried");
    assert_eq!(given_up.tracked.failure(), None);
    let failed = (0..4).fold(Story::new(), |story, _| story.has_run_when_it_may(KILLED, fails()));
    let once = failed.has_run_when_it_may(KILLED, Ended::Done).put_off(KILLED);
    assert_eq!(once.tracked.failure(), None, "it has come back for the first time");
}

#[test]
fn how_often_something_failed_is_forgotten_only_after_a_minute_without_anything_to_do() {
    let failed_often = || (0..4).fold(Story::new(), |story, _| story.has_run_when_it_may(KILLED, fails()));
    let waits_after = |quiet: Duration| {
        let story = failed_often().after(Duration::from_secs(50)).seen_cured().after(quiet).seen_cured();
        story.has_run(KILLED, fails()).waits(KILLED)
    };
    let (fifth, first) = (Duration::from_secs(8), Duration::from_millis(500));
    assert!(is_about(waits_after(Duration::from_secs(20)), fifth), "{:?}", waits_after(Duration::from_secs(20)));
    assert!(is_about(waits_after(Duration::from_secs(59)), fifth), "{:?}", waits_after(Duration::from_secs(59)));
    assert!(is_about(waits_after(MINUTE), first), "{:?}", waits_after(MINUTE));
}

#[test]
fn a_subject_is_forgotten_when_there_is_nothing_left_to_remember() {
    let story = Story::new().has_been_repaired(1);
    assert!(!story.tracked.is_forgotten(story.now), "a run is spent");
    let story = story.after(MINUTE);
    assert!(story.tracked.is_forgotten(story.now));
    let story = story.has_run(KILLED, fails()).after(MINUTE);
    assert!(!story.tracked.is_forgotten(story.now), "it failed");
}

#[test]
fn a_changed_spec_brings_one_run_of_its_own() {
    let story = Story::new().has_been_repaired(9).becomes(node_files(2));
    assert_eq!(story.waits(KILLED), Duration::ZERO, "though no run is left");
    let story = story.has_run(KILLED, Ended::Done).seen_cured();
    assert_eq!(story.waits(KILLED), MINUTE, "one, and not counted");
    let story = story.becomes(node_files(2));
    assert_eq!(story.waits(KILLED), MINUTE, "the same is no other");

    let story = Story::new().has_run(KILLED, fails()).has_run(KILLED, fails()).put_off(KILLED).becomes(node_files(2));
    assert_eq!(story.waits(KILLED), Duration::ZERO, "though it failed");
    assert!(story.tracked.failure().is_none());
    let story = story.has_run(KILLED, fails());
    assert!(is_about(story.waits(KILLED), Duration::from_millis(500)), "and failures are counted anew");
}

#[test]
fn another_node_of_the_same_name_brings_one_run_of_its_own() {
    let story = Story::new().meets("first").has_been_repaired(9).meets("first");
    assert_eq!(story.waits(KILLED), MINUTE, "the same is no other");
    let story = (0..20).fold(story, |story, node| {
        let story = story.meets(&format!("node {node}"));
        assert_eq!(story.waits(KILLED), Duration::ZERO, "though no run is left");
        story.has_run(KILLED, Ended::Done).seen_cured()
    });
    assert_eq!(story.waits(KILLED), MINUTE, "one for each, and not counted");
}

#[test]
fn a_failure_towards_what_is_not_asked_for_any_more_counts_for_nothing() {
    let story = Story::new().runs(KILLED).becomes(node_files(2)).ends(fails());
    assert_eq!((story.waits(KILLED), story.tracked.failure()), (Duration::ZERO, None));
}

#[test]
fn apply_gives_up_after_three_runs_that_fail_or_cure_nothing_and_after_one_of_a_program() {
    for (what, ended) in [("fails", fails()), ("cures nothing", Ended::Done)] {
        let story = Story::new().has_run_when_it_may(KILLED, ended.clone()).has_run_when_it_may(KILLED, ended.clone());
        assert!(!story.tracked.is_hopeless(), "{what}");
        assert!(story.has_run_when_it_may(KILLED, ended).tracked.is_hopeless(), "{what}");
    }
    let error = ProvisionError::CannotRun { command: "kind".to_owned(), reason: "not found".to_owned() };
    let story = Story::new().has_run("no cluster", Ended::Failed(error.into()));
    assert!(story.tracked.is_hopeless());
}

#[test]
fn what_a_creation_has_left_is_deleted_with_tries_of_its_own_and_its_failure_stands_until_then() {
    let story = Story::new().becomes(cluster(true)).runs("no cluster").leaves();
    assert!(story.tracked.has_left() && !story.tracked.has_been_tried_enough());
    let story = (0..3).fold(story, |story, _| {
        assert!(!story.tracked.has_been_tried_enough());
        story.has_run_when_it_may("its creation has left it", failed_to("delete"))
    });
    assert!(story.tracked.has_been_tried_enough());
    assert!(matches!(story.tracked.failure(), Some(Failure::Remains { .. })), "both are told");
    let mut story = story.has_run_when_it_may("its creation has left it", Ended::Done);
    assert!(story.tracked.has_left(), "that it has gone has to be seen");
    assert_eq!(story.tracked.failure(), Some(stopped().into()));
    story.tracked.is_cleared();
    assert!(!story.tracked.has_left());
    assert_eq!(story.tracked.failure(), Some(stopped().into()), "that it failed stands");
}
