//! `ksail cluster delete`

use clap::Args;

use super::super::apply::{Converging, converge};
use super::super::context::{claim, engine, in_force, manifest_path};
use super::super::editing::{edit, outline, shown, tell};
use super::super::{BAD_INPUT, Exit, FAILED, Global, OK, Output, note};
use super::named;
use crate::distribution::{delete_arguments, provisioner};
use crate::manifest::{ClusterName, Edit, State};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ksail cluster delete                            registries go, their volumes stay
  ksail cluster delete --delete-registry-volumes  and the volumes with them
  ksail cluster delete --name old                 without its file, which is lost")]
pub(in super::super) struct Arguments {
    /// Remove the volumes of its registries as well (`state: Purged`)
    #[arg(long)]
    delete_registry_volumes: bool,
    /// A cluster whose file is lost, by what there is of it on the engine: no file is read or written
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    name: Option<ClusterName>,
    #[command(flatten)]
    converging: Converging,
}

fn cluster_name(text: &str) -> Result<ClusterName, String> {
    text.parse().map_err(super::super::arguments::words)
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let state = if arguments.delete_registry_volumes { State::Purged } else { State::Absent };
    if let Some(name) = &arguments.name {
        return by_name(global, name, state, &arguments.converging).await;
    }
    let path = manifest_path(global)?;
    let in_force = claim(global, &path, &outline(&path)?.name, arguments.converging.adopt)?;
    let lines = edit(&path, &[Edit::SetState(state)])?;
    if arguments.converging.output == Output::Text {
        tell(&lines)?;
    }
    // What is to go needs no credentials: variables that are not set do not stand in the way.
    let code = converge(global, outline(&path)?.emptied(), &arguments.converging).await?;
    if code == OK {
        in_force.release();
    }
    Ok(code)
}

/// Removes what there is of a cluster by its labels. The cluster itself stays: who made it is not written there.
async fn by_name(global: &Global, name: &ClusterName, state: State, converging: &Converging) -> Result<u8, Exit> {
    let (.., address) = engine(global)?;
    let record = in_force(&address, name)?;
    if let Some(file) = record.keeper().filter(|_| !converging.adopt) {
        let file = shown(&file);
        return Err(Exit::new(
            BAD_INPUT,
            format!(
                "cluster {name} is kept the way {file} says\ndelete it there: ksail cluster delete -f {file}, or go past that \
                 file: --adopt"
            ),
        ));
    }
    let mut clusters = named::all(global).await?;
    let Some(found) = clusters.remove(name) else {
        let what = "'ksail cluster list' shows of which clusters there is something";
        return Err(Exit::new(FAILED, format!("there is nothing of ksail's of a cluster {name}; {what}")));
    };
    let code = converge(global, &found.removed(name, state)?, converging).await?;
    if code == OK {
        record.forget();
        if let Some((_, distribution)) = found.nodes.first() {
            let words = delete_arguments(*distribution, name).join(" ");
            note(format!("its nodes stay; '{} {words}' deletes them", provisioner(*distribution).name));
        }
    }
    Ok(code)
}
