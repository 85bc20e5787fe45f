//! `ksail mirror add`

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::super::arguments::Registry;
use super::super::completions::well_known_hosts;
use super::super::context::manifest_path;
use super::super::editing::{entry, free_ports, outline};
use super::super::{Exit, Global};
use super::carry_out;
use super::settings::Settings;
use crate::manifest::{Edit, Listed, MirrorField};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// What images are called, and where they come from when that is not obvious; localhost:PORT is a registry to push to
    #[arg(value_name = "HOST[=UPSTREAM]", add = ArgValueCompleter::new(well_known_hosts))]
    registry: Registry,
    #[command(flatten)]
    settings: Settings,
    /// Print a unified diff and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let Arguments { registry, settings, dry_run } = arguments;
    let path = manifest_path(global)?;
    let outline = outline(&path)?;
    if outline.mirrors.iter().any(|listed| is_listed(registry, settings, listed)) {
        // The distribution's configuration may have fallen behind an edit by hand.
        return carry_out(&path, &[], *dry_run);
    }
    let port = match (settings.port, registry) {
        (Some(port), _) => Some(port),
        (None, Registry::Mirror(_)) => Some(free_ports(&outline).next()?),
        (None, Registry::Local(_)) => None,
    };
    let mut entry = entry(registry, port);
    if let (Registry::Local(_), Some(port)) = (registry, settings.port) {
        entry.fields.push(MirrorField::Port(port));
    }
    entry.fields.extend(settings.fields()?);
    carry_out(&path, &[Edit::AddMirror(entry)], *dry_run)
}

fn is_listed(registry: &Registry, settings: &Settings, listed: &Listed) -> bool {
    let same = match registry {
        Registry::Mirror(mirror) => listed.upstream.as_ref() == Some(&mirror.upstream),
        Registry::Local(_) => listed.upstream.is_none(),
    };
    same && *registry.host() == listed.host && settings.agree_with(listed)
}
