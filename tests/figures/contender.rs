//! What is compared: ways to get the same registries.

use std::time::{Duration, Instant};

use crate::support::deadline::eventually;
use crate::support::manifest::Mirror;
use crate::support::scenario::Scenario;

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No container, no volume.
    FromNothing,
    /// Everything is as it should be.
    NothingToDo,
    /// One container has been removed.
    OneMissing,
}

/// A way to get registries.
pub(crate) trait Contender {
    fn name(&self) -> String;

    /// Brings everything up, whatever the stage. It need not wait until they answer.
    fn bring_up(&self, stage: Stage, scenario: &Scenario, mirrors: &[Mirror]);
}

/// `ksail apply`.
pub(crate) struct Ksail;

impl Contender for Ksail {
    fn name(&self) -> String {
        "ksail apply".to_owned()
    }

    fn bring_up(&self, _: Stage, scenario: &Scenario, _: &[Mirror]) {
        scenario.apply();
    }
}

/// Wall time from the command to the last answer.
pub(crate) fn time(contender: &dyn Contender, stage: Stage, scenario: &Scenario, mirrors: &[Mirror]) -> Duration {
    let begun = Instant::now();
    contender.bring_up(stage, scenario, mirrors);
    // Where there was nothing to do they answer already: asking would only add to everyone's time.
    if stage != Stage::NothingToDo {
        for mirror in mirrors {
            let answers = || if scenario.serves(mirror) { Ok(()) } else { Err(mirror.host.clone()) };
            eventually("a registry answers", Duration::from_secs(60), answers);
        }
    }
    begun.elapsed()
}

/// Removes the containers and volumes, whoever made them. They all have the names ksail gives.
pub(crate) fn remove_all(scenario: &Scenario, mirrors: &[Mirror]) {
    let names = scenario.expected(mirrors);
    let with = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).chain(names.clone()).collect::<Vec<_>>();
    scenario.docker.output(&with(&["rm", "-fv"]));
    scenario.docker.output(&with(&["volume", "rm", "-f"]));
}
