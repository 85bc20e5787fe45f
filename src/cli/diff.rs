//! `ksail diff`

use clap::Args;

use super::context::{context_of, load, manifest_path, observer};
use super::{Exit, FAILED, Global, OK, Output, print};
use crate::controller::{Survey, survey};
use crate::desired::resolve;
use crate::report::{plan_as_json, plan_as_text};

/// An error that is not "something to do".
const NO_ANSWER: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    show(global, arguments.output).await
}

/// Prints the plan; whether there is something to do is the exit code.
pub(super) async fn show(global: &Global, output: Output) -> Result<u8, Exit> {
    let desired = resolve(&load(&manifest_path(global)?)?, &context_of(global)?);
    let seen = survey(&observer(global)?, &desired).await;
    let Survey { desired, plan, .. } = seen.map_err(|error| Exit::new(NO_ANSWER, error.to_string()))?;
    match output {
        Output::Text => print(plan_as_text(&plan))?,
        Output::Json => print(format!("{:#}\n", plan_as_json(&desired, &plan)))?,
    }
    Ok(if plan.is_empty() { OK } else { FAILED })
}
