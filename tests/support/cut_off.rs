//! An apply that is killed after its n-th change of the engine.

use std::process::Stdio;
use std::time::Duration;

use super::deadline::eventually;
use super::recorder::Recorder;
use super::scenario::Scenario;

/// How far it came.
pub(crate) struct CutOff {
    /// Not so when it was over by then.
    pub(crate) is_cut_off: bool,
    /// What it asked the engine to change, the call included that never came through.
    pub(crate) asked: Vec<String>,
}

/// Has an apply make so many changes, and kills it when it asks for the next.
pub(crate) fn apply_cut_off_after(scenario: &Scenario, changes: usize) -> CutOff {
    let recorder = Recorder::start();
    recorder.allow(changes);
    let mut command = scenario.command(&["apply"]);
    command.env("DOCKER_HOST", recorder.address()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut apply = command.spawn().expect("ksail can be started");
    let (is_cut_off, _) = eventually("it comes so far, or to its end", Duration::from_secs(20), || {
        let ended = apply.try_wait().expect("it can be asked").is_some();
        if ended || recorder.keeps_one_back() { Ok(!ended) } else { Err("neither".to_owned()) }
    });
    // What it has not asked for by now it never will.
    let _ = apply.kill();
    let _ = apply.wait();
    recorder.shut();
    let asked = recorder.calls().iter().filter(|call| !call.is_read()).map(|call| call.path.clone()).collect();
    CutOff { is_cut_off, asked }
}
