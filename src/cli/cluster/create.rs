//! `ksail cluster create`

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::super::apply::{Converging, converge};
use super::super::arguments::{MirrorRegistry, Registry};
use super::super::completions::well_known_hosts;
use super::super::context::{claim, load, manifest_path};
use super::super::editing::{check, edit, entry, free_ports, outline, tell};
use super::super::{Exit, Global, Output};
use crate::manifest::{Edit, Outline, State};

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
    converge(global, &load(&path)?, &arguments.converging).await
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
