//! `ksail restart`

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::arguments::host;
use super::completions::listed_hosts;
use super::context::{controller, load, manifest_path, stop_on_signals};
use super::reporting::Reporting;
use super::{BAD_INPUT, Exit, FAILED, Global, OK, Output};
use crate::controller::Restarted;
use crate::desired::resolve;
use crate::execute::DEFAULT_CONCURRENCY;
use crate::manifest::Host;

#[derive(Debug, Args)]
#[command(after_help = "\
What a registry has in memory goes, what it has in its volume stays. A `ksail watch` beside it lets it be.

Exit code: 0 when it serves again, 1 when not, 2 for a bad manifest or command line.")]
pub(super) struct Arguments {
    /// Whose registry
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Host,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let host = &arguments.mirror;
    let manifest = load(&manifest_path(global)?)?;
    let stop = stop_on_signals()?;
    let reporting = Reporting::begin(Output::Text, false, &stop)?;
    let controller = controller(global, &manifest, reporting.reporter(), DEFAULT_CONCURRENCY, None)?;
    let desired = resolve(&manifest, &controller.context);
    if !desired.mirrors.contains_key(host) {
        let listed: Vec<&str> = desired.mirrors.keys().map(Host::as_str).collect();
        return Err(Exit::new(BAD_INPUT, format!("{host} is not in ksail.yaml, which lists {}", listed.join(", "))));
    }
    let restarted = Box::pin(controller.restart(&desired, host, &stop)).await;
    if matches!(restarted, Restarted::Done) {
        reporting.show(format!("{host}: serves again\n"));
    }
    reporting.finish();
    let why = match restarted {
        Restarted::Done => return Ok(OK),
        Restarted::NotThere => format!("{host} has no container to restart; 'ksail apply' makes one"),
        Restarted::Failed(failure) => format!("{host} does not serve: {failure}"),
        Restarted::Stopped => "stopped before it served again".to_owned(),
        Restarted::EngineAway(error) => error.to_string(),
        Restarted::NoLock(error) => format!("cannot lock the cluster: {error}"),
    };
    Err(Exit::new(FAILED, why))
}
