//! An upstream that comes and goes every few seconds.

use std::thread;
use std::time::{Duration, Instant};

use super::support::broken::{Broken, Manner};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

const REPOSITORY: &str = "team/app";
/// So long it is there, and so long it is not.
const PHASE: Duration = Duration::from_secs(5);
const PHASES: usize = 6;
/// A mode lasts for twenty seconds at least: in thirty it is lost and comes back.
const CHANGES: usize = 2;
/// Nobody answers at the mirror's port while its registry is replaced.
const RESTART: Duration = Duration::from_secs(5);
/// Nothing is done between two pulls.
const PAUSE: Duration = Duration::from_millis(50);

/// How one pull of a cached tag ended.
struct Pull {
    begun: Instant,
    took: Duration,
    result: Result<(), String>,
}

fn pull_until(end: Instant, image: &Image, mirror: &Mirror) -> Vec<Pull> {
    let mut pulls = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let result = image.fetch(mirror.host_port(), REPOSITORY, "1.0");
        pulls.push(Pull { begun, took: begun.elapsed(), result });
        thread::sleep(PAUSE);
    }
    pulls
}

/// Times in which no pull succeeded: from the first failure to the next success.
fn gaps(pulls: &[Pull]) -> Vec<Duration> {
    let (mut gaps, mut since) = (Vec::new(), None);
    for pull in pulls {
        match (&pull.result, since) {
            (Err(_), None) => since = Some(pull.begun),
            (Ok(()), Some(begun)) => {
                gaps.push(pull.begun - begun);
                since = None;
            }
            _ => {}
        }
    }
    gaps.extend(since.map(|begun| begun.elapsed()));
    gaps
}

fn comes_and_goes(name: &str, away: Manner) {
    let _turn = beside_others();
    let scenario = Scenario::new(name);
    let upstream = Upstream::start(&scenario.docker, &format!("{name}-up"));
    let image = Image::containing(name);
    upstream.push(&image, REPOSITORY, "1.0");
    let flaky = Broken::before(&upstream);
    let mirror = Mirror::of("docker.io", &flaky.url(), free_port());
    scenario.write(&[mirror.clone().with("fallback: false")]);
    let mut watch = scenario.watch();
    image.fetch(mirror.host_port(), REPOSITORY, "1.0").expect("through the mirror");
    scenario.await_cached(&mirror, &image, REPOSITORY);

    let (mark, begun) = (watch.mark(), Instant::now());
    let phase = |n: usize| begun + PHASE * u32::try_from(n).unwrap_or_default();
    let pulls = thread::scope(|scope| {
        let pulls = scope.spawn(|| pull_until(phase(PHASES), &image, &mirror));
        for n in 0..PHASES {
            flaky.be(if n % 2 == 0 { away } else { Manner::Honest });
            if n % 2 == 0 {
                // A changed file has it asked now: by the schedule it could be met in the same phase each time.
                scenario.write(&[mirror.clone().with(&format!("fallback: {}", n % 4 == 0))]);
            }
            thread::sleep(phase(n + 1).saturating_duration_since(Instant::now()));
        }
        pulls.join().expect("pulls do not panic")
    });

    let changes = watch.since(mark);
    let changes = changes.iter().filter(|event| event.is_action() && event.text("action") == "CreateContainer").count();
    let gaps = gaps(&pulls);
    assert!((1..=CHANGES).contains(&changes), "{changes} changes");
    assert!(gaps.len() <= changes && gaps.iter().all(|gap| *gap < RESTART), "{changes} changes, {gaps:?}");
    let slowest = pulls.iter().filter(|pull| pull.result.is_ok()).map(|pull| pull.took).max();
    assert!(slowest.is_some_and(|took| took < 2 * PHASE), "{slowest:?}");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_upstream_that_refuses_every_other_five_seconds_makes_few_changes_and_holds_no_cached_pull_up() {
    comes_and_goes("flaky-refuses", Manner::Refuses);
}

#[test]
#[ignore = "long: tests/run --long"]
fn an_upstream_that_closes_every_other_five_seconds_makes_few_changes_and_holds_no_cached_pull_up() {
    comes_and_goes("flaky-closes", Manner::Closes);
}
