//! When each upstream is asked, with how much said of who asks, and what it answered.
//!
//! No clock and no connection: what is due is taken, asked elsewhere, and its answer brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::desired::Route;
use crate::probe::{Ask, RouteKey, UpstreamAnswer};

/// An upstream is asked this often, and several of them not at the same time.
const EVERY: Duration = Duration::from_secs(10);
/// Upstreams whose questions are told apart in time.
const SPREAD: u32 = 16;
/// One that is away is asked again after this long at first, and after [`AWAY_AT_MOST`] in the end.
const AWAY: Duration = Duration::from_secs(5);
const AWAY_AT_MOST: Duration = Duration::from_secs(15);
/// One that asks to be left alone is asked this often.
const LIMITED: Duration = Duration::from_secs(60);
/// Credentials that were taken are tried again after this long. A proxy that refuses who asks is not asked sooner.
const CREDENTIALS: Duration = Duration::from_secs(15 * 60);
/// Where an upstream's trouble kept them from being tried it is sooner, after longer each time.
const CREDENTIALS_AT_FIRST: Duration = Duration::from_secs(5);

/// Without an answer for so long it is silent.
const SILENT: Duration = Duration::from_secs(10);
/// And one that was silent the last time is still.
const STILL_SILENT: Duration = Duration::from_secs(5);

/// Every distinct route of a cluster's mirrors.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    upstreams: BTreeMap<RouteKey, Upstream>,
    /// Each route is asked one question, as it is at the start.
    is_asked_once: bool,
}

#[derive(Debug)]
struct Upstream {
    route: Route,
    hosts: BTreeSet<String>,
    /// The question that is under way.
    asked: Option<Ask>,
    last: Option<UpstreamAnswer>,
    /// What was found out with credentials, and what no question without them can find out. It stands until they are
    /// tried again.
    of_credentials: Option<UpstreamAnswer>,
    /// When credentials are tried; never again where they were refused.
    credentials_due: Option<Instant>,
    credentials_pause: Duration,
    due: Option<Instant>,
    /// Pause until the next question, where it is away.
    pause: Duration,
    /// Bad answers in a row.
    bad: u32,
    /// How much sooner than the others its second question comes.
    spread: Duration,
}

impl Upstreams {
    /// Asks each once.
    pub(super) fn asked_once() -> Self {
        Self { is_asked_once: true, ..Self::default() }
    }

    /// What is asked for has changed, or may have: routes are by the mirror's host. New ones are asked at once, with
    /// credentials, and the others without.
    pub(super) fn set_routes(&mut self, routes: &BTreeMap<String, Route>, now: Instant) {
        let mut distinct: BTreeMap<RouteKey, (&Route, BTreeSet<String>)> = BTreeMap::new();
        for (host, route) in routes {
            distinct.entry(RouteKey::of(route)).or_insert((route, BTreeSet::new())).1.insert(host.clone());
        }
        self.upstreams.retain(|key, _| distinct.contains_key(key));
        for (key, (route, hosts)) in distinct {
            let place = u32::try_from(self.upstreams.len()).unwrap_or_default() % SPREAD;
            match self.upstreams.get_mut(&key) {
                Some(upstream) => {
                    upstream.hosts = hosts;
                    if !self.is_asked_once && !upstream.is_refused_by_proxy() {
                        upstream.due = upstream.due.map(|_| now);
                    }
                }
                None => {
                    let spread = EVERY / 2 / SPREAD * place;
                    self.upstreams.insert(key, Upstream::new(route.clone(), hosts, spread, now));
                }
            }
        }
    }

    /// Takes the questions that are due. Each is under way until it is answered.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(RouteKey, Route, Ask)> {
        let due = self.upstreams.iter_mut().filter(|(_, upstream)| upstream.next().is_some_and(|next| next <= now));
        due.map(|(key, upstream)| (key.clone(), upstream.route.clone(), upstream.ask(now))).collect()
    }

    /// When the next question is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.upstreams.values().filter_map(Upstream::next).min()
    }

    /// A question was answered. Hosts of the mirrors of which something else is known than before.
    pub(super) fn answered(&mut self, key: &RouteKey, ask: Ask, answer: UpstreamAnswer, now: Instant) -> Vec<String> {
        // Of a route that has left the file nobody wants to know.
        let Some(upstream) = self.upstreams.get_mut(key) else { return Vec::new() };
        let before = upstream.known().cloned();
        upstream.answered(ask, answer, now);
        if self.is_asked_once {
            upstream.due = None;
        }
        if before.as_ref() == upstream.known() { Vec::new() } else { upstream.hosts.iter().cloned().collect() }
    }

    /// What is known of upstreams that were answered, by the mirror's host.
    pub(super) fn by_host(&self) -> BTreeMap<String, UpstreamAnswer> {
        let known = |upstream: &Upstream| {
            let answer = upstream.known()?;
            Some(upstream.hosts.iter().map(|host| (host.clone(), answer.clone())).collect::<Vec<_>>())
        };
        self.upstreams.values().filter_map(known).flatten().collect()
    }

    /// Asks once more at that time, unless it is sooner by itself: how a mirror is served hangs on it.
    pub(super) fn ask_again(&mut self, key: &RouteKey, at: Instant) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.due = Some(upstream.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Asks a mirror's upstream at that time.
    pub(super) fn ask_host_again(&mut self, host: &str, at: Instant) {
        let its = self.upstreams.iter().find(|(_, upstream)| upstream.hosts.contains(host));
        if let Some(key) = its.map(|(key, _)| key.clone()) {
            self.ask_again(&key, at);
        }
    }

    /// How long an answer is waited for. One that was silent has had its time; that it still is has to be known soon.
    pub(super) fn patience(&self, key: &RouteKey) -> Duration {
        let last = self.upstreams.get(key).and_then(|upstream| upstream.last.as_ref());
        let was_silent = last.is_some_and(|last| *last == UpstreamAnswer::Silent);
        if was_silent { STILL_SILENT } else { SILENT }
    }

    /// Hosts of the mirrors whose upstream is asked on a route.
    pub(super) fn hosts_of(&self, key: &RouteKey) -> Vec<String> {
        self.upstreams.get(key).into_iter().flat_map(|upstream| upstream.hosts.iter().cloned()).collect()
    }

    /// Whether there is one that has not answered yet, or is to be asked again.
    pub(super) fn is_waited_for(&self) -> bool {
        let waits = |upstream: &Upstream| upstream.last.is_none() || upstream.asked.is_some() || upstream.due.is_some();
        self.upstreams.values().any(waits)
    }
}

impl Upstream {
    fn new(route: Route, hosts: BTreeSet<String>, spread: Duration, now: Instant) -> Self {
        Self {
            route,
            hosts,
            asked: None,
            last: None,
            of_credentials: None,
            credentials_due: Some(now),
            credentials_pause: CREDENTIALS_AT_FIRST,
            due: Some(now),
            pause: AWAY,
            bad: 0,
            spread,
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.filter(|_| self.asked.is_none())
    }

    /// With credentials when it is their time, and the upstream was well or never asked.
    fn ask(&mut self, now: Instant) -> Ask {
        let is_time = self.credentials_due.is_some_and(|due| due <= now);
        let is_well = self.last.as_ref().is_none_or(|last| !last.is_bad());
        let ask = if is_time && is_well { Ask::WithCredentials } else { Ask::Plainly };
        self.asked = Some(ask);
        ask
    }

    fn answered(&mut self, ask: Ask, answer: UpstreamAnswer, now: Instant) {
        self.asked = None;
        self.bad = if answer.is_bad() { self.bad + 1 } else { 0 };
        if ask == Ask::WithCredentials {
            self.credentials_answered(&answer, now);
        }
        self.due = Some(now + self.until_next(&answer));
        self.last = Some(answer);
    }

    fn credentials_answered(&mut self, answer: &UpstreamAnswer, now: Instant) {
        self.of_credentials = (!answer.is_good()).then(|| answer.clone());
        match answer {
            UpstreamAnswer::Unauthorized(_) if self.route.credentials.is_some() => self.credentials_due = None,
            UpstreamAnswer::Answers | UpstreamAnswer::Unauthorized(_) => {
                self.credentials_due = Some(now + CREDENTIALS);
                self.credentials_pause = CREDENTIALS_AT_FIRST;
            }
            _ => {
                self.credentials_due = Some(now + self.credentials_pause);
                self.credentials_pause = (self.credentials_pause * 2).min(CREDENTIALS);
            }
        }
    }

    /// How long it is left in peace.
    fn until_next(&mut self, answer: &UpstreamAnswer) -> Duration {
        if !answer.is_away() {
            self.pause = AWAY;
        }
        match answer {
            UpstreamAnswer::RefusedByProxy(_) if self.sends_to_proxy() => CREDENTIALS,
            UpstreamAnswer::Unauthorized(_) | UpstreamAnswer::RefusedByProxy(_) => EVERY,
            UpstreamAnswer::RateLimited(_) => LIMITED,
            // A bad answer is followed by a second question at once.
            answer if answer.is_bad() && self.bad == 1 => Duration::ZERO,
            answer if answer.is_away() => {
                let pause = self.pause;
                self.pause = (pause * 3 / 2).min(AWAY_AT_MOST);
                pause
            }
            _ if self.last.is_none() => EVERY.saturating_sub(self.spread),
            _ => EVERY,
        }
    }

    /// What was found out with credentials stands where a question without them finds nothing wrong.
    fn known(&self) -> Option<&UpstreamAnswer> {
        let last = self.last.as_ref()?;
        Some(self.of_credentials.as_ref().filter(|_| last.is_good()).unwrap_or(last))
    }

    /// Whether every question, plain or not, tells a proxy who asks.
    fn sends_to_proxy(&self) -> bool {
        let urls = self.route.proxy.iter().flat_map(|proxy| [&proxy.http, &proxy.https]);
        urls.flatten().any(crate::manifest::ProxyUrl::has_user_info)
    }

    fn is_refused_by_proxy(&self) -> bool {
        let is_refused = |last: &UpstreamAnswer| matches!(last, UpstreamAnswer::RefusedByProxy(_));
        self.sends_to_proxy() && self.last.as_ref().is_some_and(is_refused)
    }
}

#[cfg(test)]
mod tests;
