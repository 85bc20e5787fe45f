//! `ksail version`

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::context::{engine, provisioner};
use super::{Exit, Global, OK, Output, print};
use crate::distribution::provisioner as program_of;
use crate::engine::Engine;
use crate::manifest::Distribution;

/// A program says its version at once, or something is wrong with it.
const SAYS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What is asked for its version, and what it says.
struct Answer {
    of: &'static str,
    /// Nothing where there is none, and why.
    version: Result<String, String>,
    /// Where it is.
    at: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let own = Answer { of: "ksail", version: Ok(env!("CARGO_PKG_VERSION").to_owned()), at: None };
    let answers = [
        own,
        of_engine(global).await,
        of_program(global, Distribution::Kind).await,
        of_program(global, Distribution::K3d).await,
    ];
    print(match arguments.output {
        Output::Text => answers.iter().map(line).collect::<String>(),
        Output::Json => {
            let all: serde_json::Map<String, Value> =
                answers.iter().map(|answer| (answer.of.to_owned(), object(answer))).collect();
            format!("{:#}\n", Value::Object(all))
        }
    })?;
    Ok(OK)
}

async fn of_engine(global: &Global) -> Answer {
    let failed = |why: String| Answer { of: "engine", version: Err(why), at: None };
    let (engine, address) = match engine(global) {
        Ok((engine, _, address)) => (engine, address),
        Err(error) => return failed(error.message),
    };
    match engine.info().await {
        Ok(info) => Answer { of: "engine", version: Ok(format!("{} {}", info.name, info.version)), at: Some(address) },
        Err(error) => failed(error.to_string()),
    }
}

async fn of_program(global: &Global, distribution: Distribution) -> Answer {
    let of = program_of(distribution).name;
    let found = provisioner(global).ok().and_then(|provisioner| provisioner.find(distribution));
    let Some(path) = found else {
        return Answer { of, version: Err("not on the PATH".to_owned()), at: None };
    };
    Answer { of, version: says(&path).await, at: Some(path.display().to_string()) }
}

/// The first line of what it says.
async fn says(program: &Path) -> Result<String, String> {
    let mut command = Command::new(program);
    let asked = command.arg("version").stdin(Stdio::null()).kill_on_drop(true).output();
    let said = timeout(SAYS_WITHIN, asked).await.map_err(|_| "it does not say".to_owned())?;
    let said = said.map_err(|error| format!("cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().next().map(str::to_owned).ok_or_else(|| format!("it says nothing ({})", said.status))
}

fn line(Answer { of, version, at }: &Answer) -> String {
    let at = at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    let version = version.as_deref().unwrap_or_else(|why| why);
    format!("{of:<8}{version}{at}\n")
}

fn object(Answer { version, at, .. }: &Answer) -> Value {
    json!({"version": version.as_ref().ok(), "at": at, "message": version.as_ref().err()})
}
