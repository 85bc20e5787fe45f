//! A line that pulls have filled looks as if nobody were at its other end.

use std::thread;
use std::time::Duration;

use super::support::broken::Broken;
use super::support::image::Image;
use super::support::line::Line;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::alone;

const MEBIBYTE: usize = 1024 * 1024;
const REPOSITORY: &str = "team/app";
const NODES: usize = 3;
/// What each of them pulls.
const LAYER: usize = 100 * MEBIBYTE;
/// All of it takes a minute.
const SPEED: usize = 6 * MEBIBYTE;
/// Of each connection so much waits in the queue: whoever comes while all of them have something there waits for more than
/// ten seconds.
const AHEAD: usize = 24 * MEBIBYTE;
/// containerd has no limit. A registry asks its upstream four times before it gives the first byte of a blob.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
#[ignore = "long: tests/run --long"]
fn three_nodes_that_fill_the_line_to_the_upstream_do_not_make_a_mirror_leave_it() {
    let _turn = alone();
    let scenario = Scenario::new("busy-line");
    let upstream = Upstream::start(&scenario.docker, "busy-line-up");
    let image = Image::containing(&"layer by layer\n".repeat(LAYER / 15));
    upstream.push(&image, REPOSITORY, "1.0");
    let line = Broken::over(Line::new(SPEED, AHEAD), &upstream);
    let mirror = Mirror::of("docker.io", &line.url(), free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    let before = scenario.running(&mirror).identity();

    let mark = watch.mark();
    thread::scope(|scope| {
        for _ in 0..NODES {
            scope.spawn(|| {
                let fetched = image.fetch_within(PATIENCE, mirror.host_port(), REPOSITORY, "1.0");
                fetched.expect("through the mirror");
            });
        }
    });

    let conditions = |reason: &str| {
        let events = watch.since(mark);
        events.iter().filter(|event| event.is("condition") && event.text("reason") == reason).count()
    };
    assert!(conditions("UpstreamSilent") > 0, "its questions had to wait, too: {:#?}", watch.since(mark));
    assert_eq!(conditions("ServingFromCache"), 0);
    watch.await_event_since(mark, "it answers again", Duration::from_secs(60), |event| {
        event.is_condition("docker.io", "UpstreamReachable", "True")
    });
    assert_eq!(scenario.running(&mirror).identity(), before);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
