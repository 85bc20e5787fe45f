//! The schedule, with a clock that is only added to.

use super::*;
use crate::manifest::{Credentials, Proxy, ProxyUrl};

use Ask::{Plainly, WithCredentials};
use UpstreamAnswer::{Answers, Silent};

fn route(upstream: &str) -> Route {
    Route { upstream: upstream.parse().unwrap(), proxy: None, ca: None, credentials: None }
}

fn with_password(password: &str) -> Route {
    let credentials = Credentials { username: "user".into(), password: password.into() };
    Route { credentials: Some(credentials), ..route("https://a.test") }
}

fn routes(routes: &[(&str, Route)]) -> BTreeMap<String, Route> {
    routes.iter().map(|(host, route)| ((*host).to_owned(), route.clone())).collect()
}

fn refused() -> UpstreamAnswer {
    UpstreamAnswer::Unauthorized("refuses the credentials".to_owned())
}

fn gone() -> UpstreamAnswer {
    UpstreamAnswer::Unreachable("connection refused".to_owned())
}

fn failing() -> UpstreamAnswer {
    UpstreamAnswer::Broken("answers 503".to_owned())
}

/// Time goes on from question to question; each is answered at once.
struct Stage {
    upstreams: Upstreams,
    start: Instant,
    now: Instant,
}

impl Stage {
    fn of(mirrors: &[(&str, Route)]) -> Self {
        let now = Instant::now();
        let mut upstreams = Upstreams::default();
        upstreams.set_routes(&routes(mirrors), now);
        Self { upstreams, start: now, now }
    }

    fn set(&mut self, mirrors: &[(&str, Route)]) {
        self.upstreams.set_routes(&routes(mirrors), self.now);
    }

    /// Asks for so long, and says after how many seconds which question was asked.
    fn run(&mut self, seconds: u64, answer: impl Fn(u64, Ask) -> UpstreamAnswer) -> Vec<(u64, Ask)> {
        let end = self.now + Duration::from_secs(seconds);
        let mut asked = Vec::new();
        while let Some(due) = self.upstreams.next_due().filter(|due| *due < end) {
            self.now = self.now.max(due);
            for (key, _, ask) in self.upstreams.take_due(self.now) {
                let at = (self.now - self.start).as_secs();
                asked.push((at, ask));
                self.upstreams.answered(&key, ask, answer(at, ask), self.now);
            }
            assert!(asked.len() < 10_000, "it never ends");
        }
        self.now = end;
        asked
    }

    fn known(&self) -> Option<UpstreamAnswer> {
        self.upstreams.by_host().remove("a.test")
    }
}

fn with_credentials(asked: &[(u64, Ask)]) -> Vec<u64> {
    asked.iter().filter(|(_, ask)| *ask == WithCredentials).map(|(at, _)| *at).collect()
}

#[test]
fn one_that_answers_is_asked_every_ten_seconds_and_told_who_asks_every_fifteen_minutes() {
    let mut stage = Stage::of(&[("a.test", with_password("right"))]);
    let asked = stage.run(3_600, |_, _| Answers);
    assert_eq!(asked.len(), 360);
    assert_eq!(with_credentials(&asked), [0, 900, 1_800, 2_700]);
    assert_eq!(&asked[..3], [(0, WithCredentials), (10, Plainly), (20, Plainly)]);
}

#[test]
fn a_wrong_password_is_sent_once_and_not_again_until_it_changes() {
    let mut stage = Stage::of(&[("a.test", with_password("wrong"))]);
    let answer = |_, ask| if ask == WithCredentials { refused() } else { Answers };
    assert_eq!(with_credentials(&stage.run(3_600, answer)), [0]);
    assert_eq!(stage.known(), Some(refused()), "a good answer to a plain question is none to this");
    stage.set(&[("a.test", with_password("wrong")), ("b.test", route("https://b.test"))]);
    let of_b = 1;
    assert_eq!(with_credentials(&stage.run(60, answer)).len(), of_b, "another change of the file");
    stage.set(&[("a.test", with_password("right"))]);
    assert_eq!(stage.run(1, |_, _| Answers), [(3_660, WithCredentials)]);
    assert_eq!(stage.known(), Some(Answers));
}

#[test]
fn a_bad_answer_is_followed_by_a_second_question_at_once_and_an_upstream_that_is_away_is_asked_ever_more_rarely() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    let asked = stage.run(80, |at, _| if at < 20 { Answers } else { gone() });
    let at: Vec<u64> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 10, 20, 20, 25, 32, 43, 58, 73]);
    assert_eq!(stage.known(), Some(gone()));
    // It is back: the pauses begin anew.
    let at: Vec<u64> =
        stage.run(40, |at, _| if at < 100 { Answers } else { Silent }).iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [88, 98, 108, 108, 113]);
}

#[test]
fn one_that_was_silent_has_less_time_to_answer_the_next_question() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    let key = RouteKey::of(&route("https://a.test"));
    stage.run(1, |_, _| Answers);
    assert_eq!(stage.upstreams.patience(&key), SILENT);
    stage.run(10, |_, _| Silent);
    assert_eq!(stage.upstreams.patience(&key), STILL_SILENT);
    // From a question that is answered to a loss that is known: 10 s, 10 s and 5 s.
    assert!(EVERY + SILENT + STILL_SILENT < Duration::from_secs(30));
}

#[test]
fn one_that_a_mirror_hangs_on_is_asked_again_when_that_is_sooner() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    let key = RouteKey::of(&route("https://a.test"));
    stage.run(1, |_, _| Answers);
    stage.upstreams.ask_again(&key, stage.start + Duration::from_secs(5));
    stage.upstreams.ask_again(&key, stage.start + Duration::from_secs(50));
    assert_eq!(stage.run(20, |_, _| Answers).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [5, 15]);
    assert_eq!(stage.upstreams.hosts_of(&key), ["a.test"]);
}

#[test]
fn one_that_is_broken_is_asked_every_ten_seconds_and_one_that_limits_every_minute() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    let asked = stage.run(60, |_, _| failing());
    assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 0, 10, 20, 30, 40, 50]);
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    let limited = |_, _| UpstreamAnswer::RateLimited("429".to_owned());
    assert_eq!(stage.run(180, limited).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 60, 120]);
}

#[test]
fn credentials_that_could_not_be_tried_are_tried_when_the_upstream_is_well_and_more_rarely_each_time() {
    let mut stage = Stage::of(&[("a.test", with_password("right"))]);
    let asked = stage.run(60, |at, _| if at < 30 { gone() } else { Answers });
    assert_eq!(with_credentials(&asked), [0, 48], "when it was well");
    let mut stage = Stage::of(&[("a.test", with_password("right"))]);
    let asked = stage.run(3_600, |_, ask| if ask == WithCredentials { failing() } else { Answers });
    let sent = with_credentials(&asked);
    assert!(sent.len() <= 14, "{sent:?}");
    assert_eq!(stage.known(), Some(failing()), "it stands between two tries");
}

#[test]
fn an_upstream_that_has_not_said_whether_it_takes_the_credentials_is_not_said_to_answer() {
    let unknown = || UpstreamAnswer::Unknown("it has not said".to_owned());
    let mut stage = Stage::of(&[("a.test", with_password("right"))]);
    stage.run(3_600, |_, ask| if ask == WithCredentials { unknown() } else { Answers });
    assert_eq!(stage.known(), Some(unknown()), "it stands between two tries");
    stage.run(900, |_, _| Answers);
    assert_eq!(stage.known(), Some(Answers));
}

#[test]
fn a_proxy_that_refuses_who_asks_is_asked_every_fifteen_minutes_only() {
    let proxy = Some(ProxyUrl::new("http://user:wrong@proxy.test:3128".to_owned()));
    let proxied = Route { proxy: Some(Proxy { https: proxy, ..Proxy::default() }), ..route("https://a.test") };
    let mut stage = Stage::of(&[("a.test", proxied.clone())]);
    let refused = |_, _| UpstreamAnswer::RefusedByProxy("407".to_owned());
    let asked = stage.run(3_600, refused);
    assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 900, 1_800, 2_700]);
    stage.now -= Duration::from_secs(60);
    stage.set(&[("a.test", proxied)]);
    assert_eq!(stage.run(60, refused), [], "a change that is none of the proxy's");
}

#[test]
fn mirrors_of_one_route_share_its_questions_and_different_ones_do_not_fall_into_step() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test")), ("b.test", route("https://a.test"))]);
    assert_eq!(stage.run(10, |_, _| Answers).len(), 1);
    assert_eq!(stage.upstreams.by_host().len(), 2);
    let many: Vec<(String, Route)> = (0..16).map(|n| (format!("h{n}"), route(&format!("https://u{n}.test")))).collect();
    let many: Vec<(&str, Route)> = many.iter().map(|(host, route)| (host.as_str(), route.clone())).collect();
    let mut stage = Stage::of(&many);
    assert_eq!(stage.run(1, |_, _| Answers).len(), 16, "all at the start");
    let mut instants = BTreeSet::new();
    while let Some(due) = stage.upstreams.next_due().filter(|due| *due < stage.start + Duration::from_secs(20)) {
        for (key, _, ask) in stage.upstreams.take_due(due) {
            assert!(instants.insert(due), "no two at once");
            stage.upstreams.answered(&key, ask, Answers, due);
        }
    }
}

#[test]
fn a_changed_file_asks_at_once_and_forgets_what_has_left() {
    let mut stage = Stage::of(&[("a.test", route("https://a.test"))]);
    stage.run(12, |_, _| Answers);
    stage.set(&[("a.test", route("https://a.test")), ("b.test", route("https://b.test"))]);
    let mut asked = stage.run(1, |_, _| Answers);
    asked.sort();
    assert_eq!(asked, [(12, Plainly), (12, WithCredentials)]);
    let (key, ..) = {
        stage.now += Duration::from_secs(20);
        stage.upstreams.take_due(stage.now).remove(0)
    };
    stage.set(&[("b.test", route("https://b.test"))]);
    assert_eq!((stage.known(), stage.upstreams.by_host().len()), (None, 1));
    let left = RouteKey::of(&route("https://a.test"));
    assert!(stage.upstreams.answered(&left, Plainly, gone(), stage.now).is_empty(), "{key:?}");
}

#[test]
fn where_each_is_asked_once_there_is_one_question_with_credentials() {
    let now = Instant::now();
    let mut upstreams = Upstreams::asked_once();
    upstreams.set_routes(&routes(&[("a.test", with_password("wrong"))]), now);
    assert!(upstreams.is_waited_for());
    let [(key, _, ask)] = upstreams.take_due(now).try_into().unwrap();
    assert_eq!((ask, upstreams.next_due()), (WithCredentials, None), "it is under way");
    upstreams.answered(&key, ask, failing(), now);
    upstreams.set_routes(&routes(&[("a.test", with_password("wrong"))]), now);
    assert_eq!((upstreams.next_due(), upstreams.is_waited_for()), (None, false));
    assert_eq!(upstreams.by_host().remove("a.test"), Some(failing()));
}
