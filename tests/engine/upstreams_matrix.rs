//! Every way in which an upstream is broken, and every way of being away: as they are told, and what they cost.

use std::fs;
use std::time::{Duration, Instant};

use super::support::broken::{Broken, FAILS, LIMITS, LOGIN_PAGE, Manner, TOKENS_ELSEWHERE};
use super::support::image::Image;
use super::support::manifest::Mirror;
use super::support::registry::{USER, Upstream};
use super::support::scenario::{Scenario, free_port, text};
use super::support::watch::Watch;
use super::turns::alone;

const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// What says nothing is silent when ten seconds have passed.
const SILENCE: Duration = Duration::from_secs(10);
/// A loss is noticed within this; of an upstream that says nothing only its silence tells.
const NOTICED: Duration = Duration::from_secs(20);
const SILENCE_NOTICED: Duration = Duration::from_secs(30);

const REPOSITORY: &str = "team/app";
/// Longer than anybody waits.
const SLOW: Manner = Manner::Late(Duration::from_secs(15));
/// The only name of an upstream that this machine and the cluster's network know, and that can be taken away.
const NAME: &str = "registry.invalid";

/// One broken upstream, and what is told of it.
#[derive(Clone)]
struct Row {
    what: &'static str,
    upstream: String,
    extra: Option<String>,
    reason: &'static str,
    says: &'static str,
}

impl Row {
    fn new(what: &'static str, upstream: impl Into<String>, reason: &'static str, says: &'static str) -> Self {
        Self { what, upstream: upstream.into(), extra: None, reason, says }
    }

    fn with(self, line: String) -> Self {
        Self { extra: Some(line), ..self }
    }

    fn is_silent(&self) -> bool {
        self.reason == "UpstreamSilent"
    }

    fn told_within(&self) -> Duration {
        if self.is_silent() { SILENCE + TOLD_WITHIN } else { TOLD_WITHIN }
    }
}

/// Mirrors that are served by one `watch` at a time.
struct Place {
    host: String,
    port: u16,
}

impl Place {
    fn mirror(&self, row: &Row) -> Mirror {
        let mirror = Mirror::of(&self.host, &row.upstream, self.port);
        row.extra.iter().fold(mirror, |mirror, line| mirror.with(line))
    }
}

/// Writes the rows into the places.
fn write(scenario: &Scenario, places: &[Place], rows: &[Row]) {
    let mirrors: Vec<Mirror> = places.iter().zip(rows).map(|(place, row)| place.mirror(row)).collect();
    scenario.write(&mirrors);
}

/// Every row is told of its place in time, and by `status` as well.
fn are_told(scenario: &Scenario, watch: &mut Watch, since: (usize, Instant), places: &[Place], rows: &[Row]) {
    let (mark, begun) = since;
    let mut late = Vec::new();
    for (place, row) in places.iter().zip(rows) {
        let Row { what, reason, says, .. } = row;
        let told = watch.await_event_since(mark, what, 2 * row.told_within(), |event| {
            event.is_condition(&place.host, "UpstreamReachable", "False")
                && event.text("reason") == *reason
                && event.text("message").contains(says)
        });
        let took = told.at - begun;
        if took > row.told_within() {
            late.push(format!("{what}: {took:?}"));
        }
    }
    assert_eq!(late, [""; 0]);
    let begun = Instant::now();
    let status = scenario.status();
    let took = begun.elapsed();
    assert!(took < SILENCE, "it waits for nobody who is silent: {took:?}");
    for (place, row) in places.iter().zip(rows) {
        let (status, reason, message) = status.of_mirror(&place.host, "UpstreamReachable");
        // Whoever asks for a status does not wait until silence is certain.
        let expected = if row.is_silent() { ("Unknown", "UpstreamUnknown") } else { ("False", row.reason) };
        assert_eq!((status.as_str(), reason.as_str()), expected, "{}: {message}", row.what);
    }
}

/// They are told after the start of `watch`; and each again, of another mirror, after a change of the file.
fn is_told(name: &str, good: &Upstream, rows: &[Row]) {
    let scenario = Scenario::new(name);
    for (file, content) in [("user", USER), ("password", "wrong")] {
        fs::write(scenario.directory().join(file), content).expect("its directory is ours");
    }
    let places: Vec<Place> =
        (0..rows.len()).map(|n| Place { host: format!("m{n}.example.test"), port: free_port() }).collect();
    write(&scenario, &places, rows);
    let begun = Instant::now();
    let mut watch = Watch::start(scenario.command(&["watch", "-o", "json"]));
    are_told(&scenario, &mut watch, (0, begun), &places, rows);

    // What is known of a route stays known as long as a mirror is to go there.
    let mark = watch.mark();
    write(&scenario, &places, &vec![Row::new("good", good.url(), "UpstreamAnswers", ""); rows.len()]);
    for place in &places {
        watch.await_event_since(mark, "it answers", TOLD_WITHIN, |event| {
            event.is_condition(&place.host, "UpstreamReachable", "True")
        });
    }
    let mut others = rows.to_vec();
    others.rotate_left(1);
    let since = (watch.mark(), Instant::now());
    write(&scenario, &places, &others);
    are_told(&scenario, &mut watch, since, &places, &others);
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}

#[test]
#[ignore = "long: tests/run --long"]
fn every_broken_upstream_is_told_within_seconds_of_the_start_of_watch_and_of_a_change_of_the_file() {
    let _turn = alone();
    // It removes what its registries leave.
    let scenario = Scenario::new("matrix-broken-up");
    let registry = Upstream::start(&scenario.docker, "matrix-broken-up");
    let (guarded, encrypted) = (registry.guarded(), registry.encrypted());
    let being = |manner| Broken::being(manner, &registry);
    let (fails, login, tokens) = (being(FAILS), being(LOGIN_PAGE), being(TOKENS_ELSEWHERE));
    let other_scheme = |url: &str| match url.strip_prefix("https:") {
        Some(rest) => format!("http:{rest}"),
        None => url.replace("http:", "https:"),
    };
    let wrong = "credentials: {usernameFile: user, passwordFile: password}".to_owned();
    let unauthorized = "UpstreamUnauthorized";
    is_told(
        "matrix-broken",
        &registry,
        &[
            Row::new("wrong password", guarded.url(), unauthorized, "refuses the credentials").with(wrong),
            Row::new("no password", guarded.url(), unauthorized, "wants a user name and a password"),
            Row::new("untrusted certificate", encrypted.url(), "UpstreamUntrusted", "give the CA"),
            Row::new("https to an http port", other_scheme(registry.url()), "UpstreamBroken", "no TLS is spoken"),
            Row::new("http to an https port", other_scheme(encrypted.url()), "UpstreamBroken", "HTTPS is spoken"),
            Row::new("503", fails.url(), "UpstreamBroken", "503"),
            Row::new("login page", login.url(), "UpstreamBroken", "web page"),
            Row::new("tokens elsewhere", tokens.url(), "UpstreamBroken", "gives tokens at"),
        ],
    );
}

#[test]
#[ignore = "long: tests/run --long"]
fn every_way_of_being_away_is_told_within_seconds_of_the_start_of_watch_and_of_a_change_of_the_file() {
    let _turn = alone();
    let scenario = Scenario::new("matrix-away-up");
    let docker = &scenario.docker;
    let registry = Upstream::start(docker, "matrix-away-up");
    let (swallows, unroutable) =
        (Upstream::start(docker, "matrix-away-up-swallows"), Upstream::start(docker, "matrix-away-up-unroutable"));
    let own = |upstream: &Upstream| format!("http://{}:5000", upstream.address_in("bridge"));
    let (of_swallows, of_unroutable) = (own(&swallows), own(&unroutable));
    swallows.within(SWALLOW);
    unroutable.within(UNROUTE);
    let being = |manner| Broken::being(manner, &registry);
    let (refuses, slow, closes, limits) = (being(Manner::Refuses), being(SLOW), being(Manner::Closes), being(LIMITS));
    is_told(
        "matrix-away",
        &registry,
        &[
            Row::new("no name", format!("http://{NAME}:5000"), "UpstreamUnreachable", "no address is known"),
            Row::new("refused", refuses.url(), "UpstreamUnreachable", "connection refused"),
            Row::new("no route", of_unroutable, "UpstreamUnreachable", "no route to it"),
            Row::new("swallowed", of_swallows, "UpstreamSilent", "no answer within 10 s"),
            Row::new("closes", closes.url(), "UpstreamUnreachable", "closes without an answer"),
            Row::new("slow", slow.url(), "UpstreamSilent", "no answer within 10 s"),
            Row::new("429", limits.url(), "UpstreamRateLimited", "429"),
        ],
    );
}

/// In the namespace of an upstream's own container: whatever comes for it is dropped.
const SWALLOW: &str = "iptables -w -A INPUT -p tcp --dport 5000 -j DROP";
/// Or whoever sends it is told that there is no way, as by a router.
const UNROUTE: &str = "iptables -w -A INPUT -p tcp --dport 5000 -j REJECT --reject-with icmp-host-unreachable";

/// A mirror with a cached image, and how its upstream goes away.
struct Losing<'a> {
    what: &'static str,
    mirror: Mirror,
    reason: &'static str,
    noticed_within: Duration,
    lose: Box<dyn Fn() + 'a>,
}

impl<'a> Losing<'a> {
    fn new(what: &'static str, upstream: &str, reason: &'static str, lose: impl Fn() + 'a) -> Self {
        let host = format!("{}.example.test", what.replace(' ', ""));
        let noticed_within = if reason == "UpstreamSilent" { SILENCE_NOTICED } else { NOTICED };
        Self { what, mirror: Mirror::of(&host, upstream, free_port()), reason, noticed_within, lose: Box::new(lose) }
    }

    /// Of one that answers something, nobody says that it is away.
    fn is_away(&self) -> bool {
        matches!(self.reason, "UpstreamUnreachable" | "UpstreamSilent")
    }

    fn is_noticed(&self, watch: &mut Watch, (mark, begun): (usize, Instant)) {
        let what = self.what;
        let mut told = |kind, reason| {
            let told = watch.await_event_since(mark, what, 2 * self.noticed_within, |event| {
                event.is("condition")
                    && event.text("mirror") == self.mirror.host
                    && event.text("type") == kind
                    && event.text("reason") == reason
            });
            let took = told.at - begun;
            assert!(took < self.noticed_within, "{what}: {reason} after {took:?}");
        };
        told("UpstreamReachable", self.reason);
        if self.is_away() {
            told("Ready", "ServingFromCache");
        }
    }

    fn is_fetched_at_once(&self, image: &Image) {
        let fetched = image.fetched_at_once(self.mirror.host_port(), REPOSITORY, "1.0");
        assert_eq!(fetched, Ok(()), "{}", self.what);
    }
}

#[test]
#[ignore = "long: tests/run --long"]
fn every_loss_is_noticed_in_time_and_a_cached_tag_comes_at_once_from_then_on() {
    let _turn = alone();
    let mut scenario = Scenario::new("matrix-loss");
    scenario.create_network();
    // ksail reads names in a file of its own; registries ask their network.
    let hosts = scenario.home.path().join("hosts");
    let with_hosts = format!("mount --bind {} /etc/hosts && exec \"$@\"", text(&hosts));
    scenario.within = ["unshare", "--mount", "sh", "-c", &with_hosts, "sh"].map(str::to_owned).to_vec();
    let (docker, network) = (&scenario.docker, &scenario.network);
    let start = |name: &str| Upstream::start(docker, &format!("matrix-loss-{name}"));
    let (registry, named, swallows, unroutable) = (start("up"), start("named"), start("swallows"), start("unroutable"));
    let image = Image::containing("matrix-loss");
    for upstream in [&registry, &named, &swallows, &unroutable] {
        upstream.push(&image, REPOSITORY, "1.0");
    }
    docker.run(&["network", "connect", "--alias", NAME, network, named.name()]);
    let write_hosts = |text: &str| fs::write(&hosts, text).expect("its directory is ours");
    write_hosts(&format!("{} {NAME}\n", named.address_in(network)));

    let servers: [Broken; 6] = std::array::from_fn(|_| Broken::before(&registry));
    let [refuses, closes, slow, fails, login, limits] = &servers;
    let own = |upstream: &Upstream| format!("http://{}:5000", upstream.address_in("bridge"));
    let no_name = || {
        docker.run(&["network", "disconnect", network, named.name()]);
        write_hosts("");
    };
    // Over a connection that is kept, what has no way or no name any more is silent at first.
    let silent_at_first = |losing| Losing { noticed_within: SILENCE_NOTICED, ..losing };
    let nobody = "UpstreamUnreachable";
    let losing = [
        Losing::new("refused", &refuses.url(), nobody, || refuses.be(Manner::Refuses)),
        Losing::new("closes", &closes.url(), nobody, || closes.be(Manner::Closes)),
        Losing::new("503", &fails.url(), "UpstreamBroken", || fails.be(FAILS)),
        silent_at_first(Losing::new("no name", &format!("http://{NAME}:5000"), nobody, no_name)),
        silent_at_first(Losing::new("no route", &own(&unroutable), nobody, || unroutable.within(UNROUTE))),
        Losing::new("login page", &login.url(), "UpstreamBroken", || login.be(LOGIN_PAGE)),
        Losing::new("swallowed", &own(&swallows), "UpstreamSilent", || swallows.within(SWALLOW)),
        Losing::new("slow", &slow.url(), "UpstreamSilent", || slow.be(SLOW)),
        Losing::new("429", &limits.url(), "UpstreamRateLimited", || limits.be(LIMITS)),
    ];
    let mirrors: Vec<Mirror> = losing.iter().map(|one| one.mirror.clone()).collect();
    scenario.write(&mirrors);
    let mut watch = scenario.watch();
    for mirror in &mirrors {
        image.fetch(mirror.host_port(), REPOSITORY, "1.0").expect("through the mirror");
        scenario.await_cached(mirror, &image, REPOSITORY);
    }
    let identities = || mirrors.iter().map(|mirror| scenario.running(mirror).identity());
    let before: Vec<_> = identities().collect();

    // Few at a time, or the machine would be busy with what is not measured.
    for lost in losing.chunks(3) {
        let since = (watch.mark(), Instant::now());
        for one in lost {
            (one.lose)();
        }
        for one in lost {
            one.is_noticed(&mut watch, since);
            one.is_fetched_at_once(&image);
        }
    }
    for ((one, before), after) in losing.iter().zip(before).zip(identities()) {
        one.is_fetched_at_once(&image);
        assert_eq!(before != after, one.is_away(), "{}: only what is lost is served in another mode", one.what);
    }
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
