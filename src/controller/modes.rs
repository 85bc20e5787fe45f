//! How each mirror is served: from its upstream, or from its volume alone.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::cache_mode::CacheMode;
use crate::engine::Traffic;
use crate::observed::Observed;
use crate::probe::UpstreamAnswer;
use crate::registry::Mode;

/// Less than this between two questions is no pull: ksail's own questions, and those of neighbours on the network.
const NO_PULL: u64 = 32 * 1024;
/// What is fetched is passed on. A registry that sends more than so many times what it receives serves what it has; what
/// it receives meanwhile says that it was received.
const SERVES: u64 = 10;

/// How the mirrors of one cluster are served, by host.
#[derive(Debug)]
pub(super) struct Modes {
    mirrors: BTreeMap<String, Served>,
    /// Answers of upstreams are a cause to stop what runs.
    by_answers: bool,
}

#[derive(Debug)]
struct Served {
    how: CacheMode,
    /// What had come to its registry when nobody answered for the first time.
    traffic: Option<Traffic>,
}

impl Modes {
    /// Of no mirror yet.
    pub(super) fn new(by_answers: bool) -> Self {
        Self { mirrors: BTreeMap::new(), by_answers }
    }

    /// What is seen for the first time stays as it is until answers say otherwise; `is_read` says of whom all is known
    /// that there is. Mirrors that nobody asks for any more are forgotten. Those are returned that are served from their caches.
    pub(super) fn found(
        &mut self,
        observed: &Observed,
        asked: &BTreeSet<String>,
        is_read: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        self.mirrors.retain(|host, _| asked.contains(host));
        let from_cache = observed.served_from_cache();
        let new: Vec<&String> =
            asked.iter().filter(|host| is_read(host) && !self.mirrors.contains_key(*host)).collect();
        for host in &new {
            let mode = if from_cache.contains(*host) { Mode::Cache } else { Mode::Proxy };
            let served = Served { how: CacheMode::found(mode, self.by_answers), traffic: None };
            self.mirrors.insert((*host).clone(), served);
        }
        new.into_iter().filter(|host| from_cache.contains(*host)).cloned().collect()
    }

    /// Hosts of the mirrors that are served from their volumes.
    pub(super) fn served_from_cache(&self) -> BTreeSet<String> {
        let served = self.mirrors.iter().filter(|(_, served)| served.how.mode() == Mode::Cache);
        served.map(|(host, _)| host.clone()).collect()
    }

    /// Whether it has to be known what comes to a mirror's registry to make something of an answer.
    pub(super) fn wants_traffic(&self, host: &str, answer: &UpstreamAnswer) -> bool {
        let is_served = |served: &Served| served.how.mode() == Mode::Proxy;
        self.by_answers && answer.is_away() && self.mirrors.get(host).is_some_and(is_served)
    }

    /// The upstream of a mirror has answered, and so much had come to the mirror's registry by then.
    pub(super) fn answered(&mut self, host: &str, answer: &UpstreamAnswer, traffic: Option<Traffic>, now: Instant) {
        let Some(served) = self.mirrors.get_mut(host) else { return };
        let before = std::mem::replace(&mut served.traffic, traffic.filter(|_| answer.is_away()));
        let receives = before.zip(traffic).is_some_and(|(before, now)| is_fetching(before, now));
        served.how.answered(answer, receives, now);
    }

    /// The registry of a mirror does not run because of its upstream.
    pub(super) fn cannot_run(&mut self, host: &str, now: Instant) {
        if let Some(served) = self.mirrors.get_mut(host) {
            served.how.cannot_run(now);
        }
    }

    /// Whether the last answer speaks for going back to the upstream, and one more is needed.
    pub(super) fn waits_for_another_answer(&self, host: &str) -> bool {
        self.mirrors.get(host).is_some_and(|served| served.how.waits_for_another_answer())
    }

    /// When the next of them comes back, if nothing else happens.
    pub(super) fn next_comes_back_at(&self, now: Instant) -> Option<Instant> {
        self.mirrors.values().filter_map(|served| served.how.comes_back_at(now)).min()
    }

    /// These go back to their upstreams, whatever those answer.
    pub(super) fn go_back(&mut self, hosts: &BTreeSet<String>) {
        let served = self.mirrors.iter_mut().filter(|(host, _)| hosts.contains(*host));
        served.for_each(|(_, served)| served.how.go_back());
    }

    /// Those whose time has come go back to their upstreams.
    pub(super) fn come_back(&mut self, now: Instant) {
        self.mirrors.values_mut().for_each(|served| served.how.come_back_if_due(now));
    }
}

fn is_fetching(before: Traffic, now: Traffic) -> bool {
    // Another run counts from nothing.
    let received = now.received.saturating_sub(before.received);
    let sent = now.sent.saturating_sub(before.sent);
    received >= NO_PULL && received.saturating_mul(SERVES) >= sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_still_receives_between_two_questions_is_not_lost() {
        let host = "docker.io";
        let mut modes = Modes::new(true);
        modes.found(&Observed::default(), &[host.to_owned()].into(), |_| true);
        assert!(modes.wants_traffic(host, &UpstreamAnswer::Silent));
        assert!(!modes.wants_traffic(host, &UpstreamAnswer::Answers));
        let mut asked = |received| {
            let traffic = Some(Traffic { received, sent: received });
            modes.answered(host, &UpstreamAnswer::Silent, traffic, Instant::now());
            modes.served_from_cache().contains(host)
        };
        assert!(!asked(1_000_000));
        assert!(!asked(2_000_000), "a pull goes on");
        assert!(!asked(3_000_000), "and on");
        assert!(asked(3_000_500), "it has ended");
        assert!(!modes.wants_traffic(host, &UpstreamAnswer::Silent), "it is lost already");
    }

    #[test]
    fn what_is_fetched_is_told_from_what_is_served_and_from_questions() {
        let at = |received, sent| Traffic { received, sent };
        let before = at(1_000, 1_000);
        assert!(is_fetching(before, at(501_000, 1_000)), "it fetches, and nobody takes it yet");
        assert!(is_fetching(before, at(501_000, 601_000)), "it passes on what it fetches");
        assert!(!is_fetching(before, at(5_000, 9_000)), "it is asked whether it serves");
        assert!(!is_fetching(before, at(101_000, 9_001_000)), "it serves what it has");
        assert!(!is_fetching(before, at(500, 400)), "it was started anew");
    }
}
