//! `ksail mirror list`

use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::json;
use tabwriter::TabWriter;

use super::super::context::manifest_path;
use super::super::editing::outline;
use super::super::{Exit, FAILED, Global, OK, print};
use crate::manifest::{Listed, Outline};
use crate::registry::Role;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Name,
    Json,
    Yaml,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let outline = outline(&manifest_path(global)?)?;
    let document = || outline.mirrors.iter().map(object).collect::<serde_json::Value>();
    print(match arguments.output {
        Format::Text => table(&outline),
        Format::Name => {
            outline.mirrors.iter().fold(String::new(), |text, mirror| text + "mirror/" + mirror.host.as_str() + "\n")
        }
        Format::Json => format!("{:#}\n", document()),
        Format::Yaml => serde_yaml::to_string(&document()).map_err(|error| Exit::new(FAILED, error.to_string()))?,
    })?;
    Ok(OK)
}

fn role(mirror: &Listed) -> Role {
    if mirror.upstream.is_some() { Role::Mirror } else { Role::Push }
}

fn table(outline: &Outline) -> String {
    if outline.mirrors.is_empty() {
        return "No mirrors.\n".to_owned();
    }
    let mut table = TabWriter::new(Vec::new()).padding(2);
    // Writing to a vector does not fail.
    let _ = writeln!(table, "HOST\tROLE\tPORT\tUPSTREAM");
    for mirror in &outline.mirrors {
        let port = mirror.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let upstream = mirror.upstream.as_deref().unwrap_or("-");
        let _ = writeln!(table, "{}\t{}\t{port}\t{upstream}", mirror.host, role(mirror));
    }
    String::from_utf8_lossy(&table.into_inner().unwrap_or_default()).into_owned()
}

fn object(mirror: &Listed) -> serde_json::Value {
    json!({
        "host": mirror.host.as_str(),
        "role": role(mirror).as_str(),
        "upstream": mirror.upstream,
        "port": mirror.port,
        "listenAddress": mirror.listen_address.to_string(),
        "fallback": mirror.fallback,
        "ttl": format!("{}s", mirror.ttl.as_secs()),
        "credentials": mirror.has_credentials,
    })
}
