//! `ksail logs`

use std::ffi::OsString;
use std::ops::ControlFlow;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::arguments::host;
use super::completions::listed_hosts;
use super::context::{engine, manifest_path, stop_on_signals};
use super::editing::outline;
use super::{BAD_INPUT, Exit, FAILED, Global, OK, note, print};
use crate::engine::{ContainerState, Engine, EngineError};
use crate::labels::{CLUSTER, HOST, KSAIL, MANAGED_BY};
use crate::manifest::Host;
use crate::registry::{is_of_probe, is_request};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ksail logs docker.io               what its registry has said
  ksail logs docker.io --requests -f who asks for what, as it happens

Exit code: 0, also when stopped; 1 when there is no such container; 2 for a bad manifest or command line.")]
pub(super) struct Arguments {
    /// Whose registry
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Host,
    /// Go on with what it says from now on, until stopped; after `logs`, -f is this, as everybody has it
    #[arg(long)]
    follow: bool,
    /// Only requests: who asked for what, and the answer
    #[arg(long)]
    requests: bool,
    /// Only the last so many lines of its log
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
}

/// Arguments in which `-f` behind `logs` is `--follow`; before it, it is the file's, as with every other command.
pub(super) fn followed(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const WITH_VALUE: [&str; 5] = ["-f", "--file", "-C", "--directory", "--host"];
    let mut arguments: Vec<OsString> = arguments.collect();
    let mut at = 1;
    while let Some(argument) = arguments.get(at).filter(|argument| argument.to_string_lossy().starts_with('-')) {
        at += if WITH_VALUE.iter().any(|option| argument == option) { 2 } else { 1 };
    }
    if arguments.get(at).is_some_and(|command| command == "logs") {
        arguments
            .iter_mut()
            .skip(at)
            .filter(|argument| *argument == "-f")
            .for_each(|argument| *argument = "--follow".into());
    }
    arguments
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let Arguments { mirror, follow, requests, tail } = arguments;
    let outline = outline(&manifest_path(global)?)?;
    let (engine, ..) = engine(global)?;
    let failed = |error: EngineError| Exit::new(FAILED, error.to_string());
    let its = [(MANAGED_BY, Some(KSAIL)), (CLUSTER, Some(outline.name.as_str())), (HOST, Some(mirror.as_str()))];
    let mut containers = engine.list_containers(&its).await.map_err(failed)?;
    containers.sort_by_key(|container| container.state != ContainerState::Running);
    let Some(container) = containers.first() else {
        let listed: Vec<&str> = outline.mirrors.iter().map(|mirror| mirror.host.as_str()).collect();
        return Err(if listed.contains(&mirror.as_str()) {
            Exit::new(FAILED, format!("{mirror} has no container yet; 'ksail apply' makes one"))
        } else {
            Exit::new(BAD_INPUT, format!("{mirror} is not in ksail.yaml, which lists {}", listed.join(", ")))
        });
    };
    let stop = stop_on_signals()?;
    let mut outcome = Ok(());
    let hear = |line: &str| {
        if is_of_probe(line) || (*requests && !is_request(line)) {
            return ControlFlow::Continue(());
        }
        outcome = print(format!("{line}\n"));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let heard = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(OK),
        heard = engine.output(&container.id, *tail, *follow, hear) => heard,
    };
    heard.map_err(failed)?;
    outcome?;
    if *follow {
        note(format!("{} has ended", container.name));
    }
    Ok(OK)
}
