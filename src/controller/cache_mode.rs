//! When a cache is served from its volume alone, because nobody is there at its upstream: the decision for one mirror,
//! made of what the upstream answers and of how its registry ended. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::probe::UpstreamAnswer;
use crate::registry::Mode;

/// Answers in a row that make a loss, or a return.
const IN_A_ROW: u32 = 2;
/// The least time in cache mode: each change restarts the registry.
const LEAST: Duration = Duration::from_secs(20);
/// And after losses that follow one another.
const LEAST_AT_MOST: Duration = Duration::from_secs(120);
/// Losses within this time follow one another.
const FOLLOWS: Duration = Duration::from_secs(300);
/// Within this time there are at most two losses, and so four changes.
const TWO_LOSSES: Duration = Duration::from_secs(120);

/// How one mirror is served, and what speaks for a change.
#[derive(Debug)]
pub(super) struct CacheMode {
    mode: Mode,
    /// Answers since the last one that said otherwise: of nobody in proxy mode, of a registry in cache mode.
    in_a_row: u32,
    /// When it was lost last, and the time before.
    losses: [Option<Instant>; 2],
    least: Duration,
    /// Its registry did not run, when it was lost last.
    by_registry: bool,
    /// What is asked of the upstream may say so, rather than the registry alone.
    by_answers: bool,
}

impl CacheMode {
    /// One that is served as it was found. Only while it goes on being looked after are answers a cause to stop it.
    pub(super) fn found(mode: Mode, by_answers: bool) -> Self {
        Self { mode, in_a_row: 0, losses: [None; 2], least: LEAST, by_registry: false, by_answers }
    }

    /// How it is served.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Its upstream was asked. A registry that still `receives` is on a line that is busy, and not lost.
    pub(super) fn answered(&mut self, answer: &UpstreamAnswer, receives: bool, now: Instant) {
        let speaks_for_a_change = match self.mode {
            Mode::Proxy => self.by_answers && answer.is_away(),
            // Whatever it answers, to ask it costs no time. What kept a registry from starting has to be over, unless
            // that cannot be told from here: then its registry says again what it meets.
            Mode::Cache if self.by_registry => !answer.is_bad(),
            Mode::Cache => !answer.is_away(),
        };
        if !speaks_for_a_change {
            self.in_a_row = 0;
            return;
        }
        self.in_a_row += 1;
        if self.mode == Mode::Proxy && self.in_a_row >= IN_A_ROW {
            if receives {
                self.in_a_row = IN_A_ROW - 1;
            } else {
                self.lose(now);
                self.by_registry = false;
            }
        }
        self.come_back_if_due(now);
    }

    /// Its registry cannot run, and says that it is because of its upstream.
    pub(super) fn cannot_run(&mut self, now: Instant) {
        if self.mode == Mode::Proxy {
            self.lose(now);
        }
        self.by_registry = true;
    }

    /// Enough good answers have come, and time is all that it takes: when, as of now.
    pub(super) fn comes_back_at(&self, now: Instant) -> Option<Instant> {
        let is_due = self.mode == Mode::Cache && self.in_a_row >= IN_A_ROW;
        let [last, before] = self.losses;
        let after = [last.map(|last| last + self.least), before.map(|before| before + TWO_LOSSES)];
        is_due.then(|| after.into_iter().flatten().max().unwrap_or(now))
    }

    /// Whoever looked after it ends, and its registry needs nobody to start.
    pub(super) fn go_back(&mut self) {
        (self.mode, self.in_a_row) = (Mode::Proxy, 0);
    }

    /// In cache mode: there was an answer that speaks for the upstream, and it takes one more.
    pub(super) fn waits_for_another_answer(&self) -> bool {
        self.mode == Mode::Cache && (1..IN_A_ROW).contains(&self.in_a_row)
    }

    /// Goes back to proxy mode when it may.
    pub(super) fn come_back_if_due(&mut self, now: Instant) {
        if self.comes_back_at(now).is_some_and(|at| at <= now) {
            self.mode = Mode::Proxy;
            self.in_a_row = 0;
        }
    }

    fn lose(&mut self, now: Instant) {
        let [last, _] = self.losses;
        let follows = last.is_some_and(|last| now - last < FOLLOWS);
        self.least = if follows { (self.least * 2).min(LEAST_AT_MOST) } else { LEAST };
        self.losses = [Some(now), last];
        (self.mode, self.in_a_row) = (Mode::Cache, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> UpstreamAnswer {
        UpstreamAnswer::Unreachable("connection refused".to_owned())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_answer_of_nobody_is_none_two_in_a_row_are_a_loss() {
        let begun = Instant::now();
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        for answer in [away(), UpstreamAnswer::Answers, UpstreamAnswer::Silent] {
            mirror.answered(&answer, false, begun);
            assert_eq!(mirror.mode(), Mode::Proxy);
        }
        mirror.answered(&away(), false, begun);
        assert_eq!(mirror.mode(), Mode::Cache);
    }

    #[test]
    fn an_upstream_that_answers_anything_at_all_is_not_lost() {
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        let says = "…".to_owned();
        let answers = [
            UpstreamAnswer::Unauthorized(says.clone()),
            UpstreamAnswer::Untrusted(says.clone()),
            UpstreamAnswer::RateLimited(says.clone()),
            UpstreamAnswer::Broken(says.clone()),
            UpstreamAnswer::Unknown(says),
        ];
        for answer in answers.iter().cycle().take(20) {
            mirror.answered(answer, false, Instant::now());
        }
        assert_eq!(mirror.mode(), Mode::Proxy);
    }

    #[test]
    fn a_line_that_is_busy_is_not_away_until_nothing_comes_any_more() {
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        for _ in 0..100 {
            mirror.answered(&UpstreamAnswer::Silent, true, Instant::now());
            assert_eq!(mirror.mode(), Mode::Proxy);
        }
        mirror.answered(&UpstreamAnswer::Silent, false, Instant::now());
        assert_eq!(mirror.mode(), Mode::Cache);
    }

    #[test]
    fn who_asks_once_stops_nothing_that_runs_and_serves_what_cannot_run() {
        let mut mirror = CacheMode::found(Mode::Proxy, false);
        for _ in 0..10 {
            mirror.answered(&away(), false, Instant::now());
        }
        assert_eq!(mirror.mode(), Mode::Proxy);
        mirror.cannot_run(Instant::now());
        assert_eq!(mirror.mode(), Mode::Cache);
    }

    #[test]
    fn what_is_found_in_cache_mode_stays_so_until_two_good_answers() {
        let mut mirror = CacheMode::found(Mode::Cache, false);
        for answer in [UpstreamAnswer::Answers, away(), UpstreamAnswer::Answers] {
            mirror.answered(&answer, false, Instant::now());
            assert_eq!(mirror.mode(), Mode::Cache);
        }
        mirror.answered(&UpstreamAnswer::Answers, false, Instant::now());
        assert_eq!(mirror.mode(), Mode::Proxy);
    }

    #[test]
    fn one_that_only_its_registry_can_tell_of_is_tried_again() {
        let begun = Instant::now();
        let unknown = UpstreamAnswer::Unknown("only the cluster's network knows it".to_owned());
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        mirror.cannot_run(begun);
        mirror.answered(&unknown, false, begun + seconds(5));
        mirror.answered(&unknown, false, begun + seconds(12));
        assert_eq!(mirror.mode(), Mode::Cache);
        assert_eq!(mirror.comes_back_at(begun), Some(begun + LEAST));
        mirror.come_back_if_due(begun + LEAST);
        assert_eq!(mirror.mode(), Mode::Proxy);
    }

    #[test]
    fn each_further_loss_within_five_minutes_doubles_the_least_time() {
        let mut now = Instant::now();
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        let mut stays = Vec::new();
        for _ in 0..5 {
            let lost = now;
            mirror.cannot_run(now);
            mirror.answered(&UpstreamAnswer::Answers, false, now);
            mirror.answered(&UpstreamAnswer::Answers, false, now);
            stays.push(mirror.least.as_secs());
            now = mirror.comes_back_at(now).unwrap();
            assert!(now - lost >= mirror.least);
            mirror.come_back_if_due(now);
            now += seconds(130);
        }
        assert_eq!(stays, [20, 40, 80, 120, 120]);
        mirror.cannot_run(now + FOLLOWS);
        assert_eq!(mirror.least, LEAST);
    }

    /// Asked as `watch` asks, whatever the rhythm in which the upstream comes and goes.
    #[test]
    fn an_upstream_that_comes_and_goes_makes_at_most_four_changes_in_two_minutes() {
        for (up, down) in [(5, 5), (3, 3), (1, 30), (8, 8), (2, 10), (10, 2), (11, 12), (20, 20), (25, 45), (40, 10)] {
            for phase in 0..up + down {
                let begun = Instant::now();
                let mut mirror = CacheMode::found(Mode::Proxy, true);
                let (mut changes, mut next, mut pause, mut was_away) = (Vec::new(), 0, 5, false);
                for second in 0..1_200 {
                    let now = begun + seconds(second);
                    let before = mirror.mode();
                    if second == next {
                        let is_away = (second + phase) % (up + down) >= up;
                        let answer = if is_away { away() } else { UpstreamAnswer::Answers };
                        mirror.answered(&answer, false, now);
                        if is_away && !was_away {
                            mirror.answered(&answer, false, now);
                        }
                        pause = if is_away { (pause + pause / 2).min(15) } else { 5 };
                        next += if mirror.mode() == Mode::Cache { pause } else { 10 };
                        was_away = is_away;
                    }
                    mirror.come_back_if_due(now);
                    if mirror.mode() != before {
                        changes.push(second);
                    }
                }
                assert!(changes.windows(5).all(|five| five[4] - five[0] > 120), "{up} {down} {phase}: {changes:?}");
            }
        }
    }

    #[test]
    fn after_a_single_loss_it_is_back_within_half_a_minute() {
        let lost = Instant::now();
        let mut mirror = CacheMode::found(Mode::Proxy, true);
        mirror.answered(&away(), false, lost);
        mirror.answered(&away(), false, lost);
        mirror.answered(&UpstreamAnswer::Answers, false, lost + seconds(5));
        mirror.answered(&UpstreamAnswer::Answers, false, lost + seconds(10));
        assert!(mirror.comes_back_at(lost).is_some_and(|at| at <= lost + seconds(25)));
    }
}
