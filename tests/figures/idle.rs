//! What `ksail watch` takes when nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::manifest::Mirror;
use crate::support::recorder::Recorder;
use crate::support::scenario::{Scenario, free_port};
use crate::support::watch::Watch;

/// Clock ticks of `/proc/PID/stat`: 100 a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Lets `watch` run over `size` mirrors for `time` and prints what it took.
pub(crate) fn print(size: usize, time: Duration) {
    let scenario = Scenario::new("figures-idle");
    scenario.create_network();
    let mirrors: Vec<Mirror> = (0..size).map(|_| Mirror::push(free_port())).collect();
    scenario.write(&mirrors);
    scenario.apply();
    let recorder = Recorder::start();
    let mut command = scenario.command(&["watch", "-o", "json"]);
    command.env("DOCKER_HOST", recorder.address());
    let mut watch = Watch::start(command);
    watch.await_ready();
    watch.settled_since(0, Duration::from_secs(2));

    let (process, calls) = (watch.id(), recorder.calls().len());
    let before = cpu_seconds(process);
    sleep(time);
    let (cpu, calls) = (cpu_seconds(process) - before, &recorder.calls()[calls..]);
    let seconds = time.as_secs_f64();
    println!("\nksail watch over {size} mirrors, idle for {seconds} s");
    println!("{:<28}{cpu:>14.2} s ({:.3}%)", "CPU", cpu / seconds * 100.0);
    println!("{:<28}{:>14}", "engine calls", calls.len());
    for (call, times) in kinds(calls.iter().map(|call| format!("{} {}", call.method, shape(&call.path)))) {
        println!("  {times:>4} {call}");
    }
    println!("{:<28}{:>14.1} MiB (most: {:.1})", "resident memory", memory(process, "VmRSS"), memory(process, "VmHWM"));
    watch.stop();
}

/// User and system time of a process so far.
fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // The second field is the program's name in brackets; utime and stime are the 14th and 15th.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).expect("a name in brackets");
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

fn memory(process: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux tells it");
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    kibibytes / 1024.0
}

/// A path without what differs from call to call: version, ids, names, query.
fn shape(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let word = |part: &str| if part.len() > 20 { "ID".to_owned() } else { part.to_owned() };
    path.split('/').filter(|part| !part.is_empty() && !part.starts_with("v1.")).map(word).collect::<Vec<_>>().join("/")
}

fn kinds(calls: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    calls.for_each(|call| *kinds.entry(call).or_default() += 1);
    kinds
}
