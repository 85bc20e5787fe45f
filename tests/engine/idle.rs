//! What a registry that is left in peace writes into its log, and what of it can be seen from outside.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::deadline::{eventually, holds};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::Upstream;
use super::support::scenario::{Scenario, free_port};
use super::turns::beside_others;

/// So often a registry is asked that nothing happens to.
const EVERY: Duration = Duration::from_secs(5);
const QUESTIONS: u32 = 4;
const BYTES_A_MINUTE: u64 = 2048;

#[test]
fn a_registry_that_nothing_happens_to_writes_less_than_two_kilobytes_a_minute_into_its_log() {
    // In no turn: it waits.
    let scenario = Scenario::new("idle");
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    let mut watch = scenario.watch();
    let name = scenario.container_name(&mirror);
    // Both streams: its access log is on one, everything else on the other.
    let log = || {
        let output = scenario.docker.output(&["logs", &name]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let questions = |access: &str| u32::try_from(access.matches("\"GET /v2/ ").count()).unwrap_or(u32::MAX);
    let await_questions = |count: u32| {
        eventually("the registry is asked", EVERY * (QUESTIONS + 2), || {
            let (access, other) = log();
            let asked = questions(&access);
            if asked >= count { Ok((access, other)) } else { Err(format!("{asked} times; {access}")) }
        })
        .0
    };
    // From one question to another: what it writes as it starts is no part of it.
    let (before, other_before) = await_questions(questions(&log().0) + 1);
    let begun = Instant::now();
    let asked_before = questions(&before);
    let (after, other_after) = await_questions(asked_before + QUESTIONS);
    let took = begun.elapsed();
    assert!(took > EVERY * (QUESTIONS - 1), "{QUESTIONS} questions within {took:?}: {after}");

    let (access, other) = (&after[before.len()..], &other_after[other_before.len()..]);
    let written = (access.len() + other.len()) as u64;
    let a_minute = written * 60_000 / u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    assert!(a_minute < BYTES_A_MINUTE, "{a_minute} bytes a minute: {access}{other}");
    assert!(access.lines().all(|line| line.len() < 100), "{access}");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
fn the_debug_port_is_closed_to_all_but_the_container_and_its_counters_are_read_there() {
    let _turn = beside_others();
    let scenario = Scenario::new("counters");
    let upstream = Upstream::start(&scenario.docker, "counters-up");
    let image = Image::containing("counted");
    upstream.push(&image, "team/app", "1.0");
    let cache = Mirror::of("docker.io", upstream.url(), free_port());
    let pull = || image.fetch(cache.host_port(), "team/app", "1.0").expect("through the cache");
    scenario.write(std::slice::from_ref(&cache));
    scenario.apply();
    pull();
    scenario.await_cached(&cache, &image, "team/app");
    let (_, misses) = scenario.status().counters(&cache.host);
    assert!(misses > 0, "the first pull is the upstream's");
    pull();
    let (hits, _) = scenario.status().counters(&cache.host);
    assert!(hits > 0, "the second is not");

    let container = scenario.running(&cache);
    let address = container.inspected["NetworkSettings"]["IPAddress"].as_str().expect("it is on the bridge");
    let reach = |port: u16| {
        let address = SocketAddr::new(address.parse().expect("an address"), port);
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop).map_err(|error| error.kind())
    };
    assert_eq!(reach(5000), Ok(()), "the registry itself is reached from here");
    assert_eq!(reach(5001), Err(std::io::ErrorKind::ConnectionRefused), "its debug port is not");

    let text = scenario.text(std::slice::from_ref(&cache));
    scenario.write_text(&text.replace("  registries:\n", "  registries:\n    image: ksail-test/registry:bare\n"));
    scenario.apply();
    pull();
    let status = scenario.status();
    assert_eq!(status.code, 0, "{:#}", status.json);
    assert!(status.json["mirrors"][0]["cache"].is_null(), "without a program to read them: {:#}", status.json);
    let table = scenario.ksail(&["status"]);
    assert!(of_cache(&table.stdout, "HITS") == "-" && of_cache(&table.stdout, "MISSES") == "-", "{table}");
    eventually("all is as it should be", Duration::from_secs(5), || {
        let diff = scenario.ksail(&["diff"]);
        holds(diff.code == 0, diff.to_string())
    });
}

/// The first mirror's value in a column of the table.
fn of_cache(table: &str, column: &str) -> String {
    let mut lines = table.lines().skip_while(|line| !line.contains(column));
    let (head, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let at = head.find(column).unwrap_or_default();
    row.get(at..).unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}
