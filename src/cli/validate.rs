//! `ksail validate`

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::context::{context, load, manifest_path};
use super::{BAD_INPUT, Exit, Global, OK, Output, print};
use crate::desired::resolve;
use crate::exposure::exposures;
use crate::manifest::{self, Manifest, Problems};

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 when it is valid, 2 when not.")]
pub(super) struct Arguments {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let file = manifest::shown(&path).to_string();
    match (arguments.output, load(&path)) {
        (Output::Text, manifest) => print(in_words(&file, &manifest?))?,
        (Output::Json, Ok(manifest)) => {
            let warnings: Vec<String> = warnings(&manifest).collect();
            let cluster = manifest.name.as_str();
            let mirrors: Vec<&str> = manifest.registries.mirrors.iter().map(|mirror| mirror.host.as_str()).collect();
            let document = json!({
                "file": file, "valid": true, "errors": [], "cluster": cluster, "mirrors": mirrors,
                "warnings": warnings, "notActedOn": manifest.not_acted_on,
            });
            print(format!("{document:#}\n"))?;
        }
        (Output::Json, Err(Exit { problems: Some(problems), .. })) => {
            print(format!("{:#}\n", json!({"file": file, "valid": false, "errors": errors(&problems)})))?;
            return Ok(BAD_INPUT);
        }
        (Output::Json, Err(exit)) => return Err(exit),
    }
    Ok(OK)
}

/// Line and column are from 1, and none where a problem is not about a place in the file.
fn errors(problems: &Problems) -> serde_json::Value {
    let place = |number: usize| (number > 0).then_some(number);
    problems
        .iter()
        .map(|problem| {
            json!({
                "line": place(problem.line), "column": place(problem.column),
                "message": problem.message, "help": problem.hint.as_ref().or(problem.label.as_ref()),
            })
        })
        .collect()
}

fn warnings(manifest: &Manifest) -> impl Iterator<Item = String> {
    exposures(&resolve(manifest, &context())).into_iter().map(|exposure| exposure.to_string())
}

fn in_words(file: &str, manifest: &Manifest) -> String {
    let mirrors = match manifest.registries.mirrors.len() {
        1 => "1 mirror".to_owned(),
        n => format!("{n} mirrors"),
    };
    let mut text = format!("{file}: cluster {}, {mirrors}: valid\n", manifest.name);
    // Writing to a string does not fail.
    if !manifest.not_acted_on.is_empty() {
        let _ = writeln!(text, "accepted, but not acted on by ksail: {}", manifest.not_acted_on.join(", "));
    }
    for warning in warnings(manifest) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
