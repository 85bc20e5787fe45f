//! `ksail mirror set`

use clap::{ArgGroup, Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::super::arguments::{host, upstream};
use super::super::completions::listed_hosts;
use super::super::context::manifest_path;
use super::super::{Exit, Global};
use super::carry_out;
use super::settings::Settings;
use crate::manifest::{Edit, Host, MirrorChange, MirrorField, MirrorFieldName};

#[derive(Debug, Args)]
#[command(override_usage = "ksail mirror set [OPTIONS] <HOST>")]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "upstream", "port", "listen_address", "fallback", "ttl", "username", "password", "unset",
]))]
pub(in super::super) struct Arguments {
    /// Which mirror
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Host,
    /// Where it gets what it does not have
    #[arg(long, value_name = "URL", value_parser = upstream)]
    upstream: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Take a field out, so that it has its default; may be repeated
    #[arg(long, value_enum, value_name = "FIELD")]
    unset: Vec<Field>,
    /// Print a unified diff and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Field {
    Upstream,
    Port,
    ListenAddress,
    Fallback,
    Ttl,
    Credentials,
}

impl From<Field> for MirrorFieldName {
    fn from(field: Field) -> Self {
        match field {
            Field::Upstream => Self::Upstream,
            Field::Port => Self::Port,
            Field::ListenAddress => Self::ListenAddress,
            Field::Fallback => Self::Fallback,
            Field::Ttl => Self::Ttl,
            Field::Credentials => Self::Credentials,
        }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let first = [arguments.upstream.clone().map(MirrorField::Upstream), arguments.settings.port.map(MirrorField::Port)];
    let fields = first.into_iter().flatten().chain(arguments.settings.fields()?);
    let unset = arguments.unset.iter().map(|field| MirrorChange::Unset((*field).into()));
    let changes = fields.map(MirrorChange::Set).chain(unset).collect();
    let edit = Edit::SetMirror { host: arguments.mirror.clone(), changes };
    carry_out(&path, &[edit], arguments.dry_run)
}
