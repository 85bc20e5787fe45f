//! `ksail cluster create`

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::super::apply::{Converging, converged};
use super::super::arguments::{MirrorRegistry, Registry};
use super::super::completions::well_known_hosts;
use super::super::context::{claim, engine, load, manifest_path};
use super::super::editing::{check, edit, entry, free_ports, outline, tell};
use super::super::{Exit, Global, Output, print};
use crate::controller::Applied;
use crate::manifest::{Edit, Outline, State};
use crate::reference::Reference;
use crate::registry::Role;
use crate::status::Status;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Add this mirror to ksail.yaml first; may be repeated
    #[arg(long, value_name = "HOST[=UPSTREAM]", add = ArgValueCompleter::new(well_known_hosts))]
    mirror_registry: Vec<MirrorRegistry>,
    #[command(flatten)]
    converging: Converging,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = manifest_path(global)?;
    let outline = outline(&path)?;
    let mut edits = additions(&outline, &arguments.mirror_registry)?;
    if outline.emptied().state != State::Present {
        edits.push(Edit::SetState(State::Present));
    }
    check(&path, &edits)?;
    claim(global, &path, &outline.name, arguments.converging.adopt)?;
    let lines = edit(&path, &edits)?;
    if arguments.converging.output == Output::Text {
        tell(&lines)?;
    }
    let (code, applied) = converged(global, &load(&path)?, &arguments.converging).await?;
    if let (Applied::Converged(status), Output::Text) = (&applied, arguments.converging.output) {
        tell_how_to_prove(global, status).await?;
    }
    Ok(code)
}

/// While nothing is cached there is nothing that could be pulled without being named.
async fn tell_how_to_prove(global: &Global, status: &Status) -> Result<(), Exit> {
    let (_, probe, _) = engine(global)?;
    let mirrors: Vec<_> = status.mirrors.iter().filter(|mirror| mirror.role == Role::Mirror).collect();
    for container in mirrors.iter().filter_map(|mirror| mirror.container.as_ref()) {
        if !probe.cached_repositories(container).await.is_empty() {
            return Ok(());
        }
    }
    match mirrors.first().and_then(|mirror| mirror.host.parse().ok()) {
        Some(host) => print(format!("Next: 'ksail verify {host} --image {}'\n", Reference::example(&host))),
        None => Ok(()),
    }
}

/// The mirrors that are not in the list with this upstream already.
fn additions(outline: &Outline, wanted: &[MirrorRegistry]) -> Result<Vec<Edit>, Exit> {
    let mut ports = free_ports(outline);
    let listed = |mirror: &&MirrorRegistry| {
        let mut all = outline.mirrors.iter();
        !all.any(|other| other.host == mirror.host && other.upstream.as_ref() == Some(&mirror.upstream))
    };
    let add =
        |mirror: &MirrorRegistry| Ok(Edit::AddMirror(entry(&Registry::Mirror(mirror.clone()), Some(ports.next()?))));
    wanted.iter().filter(listed).map(add).collect()
}
