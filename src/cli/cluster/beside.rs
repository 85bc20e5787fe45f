//! What `init` takes from a configuration of kind or k3d that is there already.

use std::path::{Path, PathBuf};

use super::super::{BAD_INPUT, Exit, note};
use crate::distribution::existing::{Existing, distribution_of};
use crate::distribution::file_name;
use crate::limit::FILE;
use crate::manifest::{ClusterName, Distribution};

/// The configuration beside the manifest that is to be written.
#[derive(Debug)]
pub(super) struct Beside {
    /// What it is called from the manifest's directory.
    pub(super) file: String,
    /// What it is for.
    pub(super) distribution: Distribution,
    /// Whether it is there.
    pub(super) is_there: bool,
    existing: Existing,
}

impl Beside {
    /// Looks for the file that is named, or for the one a distribution's is usually called.
    pub(super) fn find(directory: &Path, named: Option<&str>, wanted: Option<Distribution>) -> Self {
        let usual = || match wanted {
            Some(distribution) => vec![distribution],
            None => vec![Distribution::Kind, Distribution::K3d],
        };
        let candidates = named.map_or_else(
            || usual().into_iter().map(|distribution| file_name(distribution).to_owned()).collect(),
            |named| vec![named.to_owned()],
        );
        // A pipe of that name would be waited for.
        let text = |file: &String| {
            let path = directory.join(file);
            path.is_file().then(|| FILE.read_text_file(path).ok()).flatten()
        };
        let found = candidates.iter().find_map(|file| Some((file, text(file)?)));
        let Some((file, text)) = found else {
            let distribution = wanted.unwrap_or_default();
            let file = named.unwrap_or(file_name(distribution)).to_owned();
            return Self { file, distribution, is_there: false, existing: Existing::default() };
        };
        let distribution = wanted.or_else(|| distribution_of(&text)).unwrap_or_default();
        let existing = Existing::read(distribution, &text);
        Self { file: file.clone(), distribution, is_there: true, existing }
    }

    /// The name it gives the cluster.
    pub(super) fn name(&self) -> Result<Option<ClusterName>, Exit> {
        let Some(name) = &self.existing.name else { return Ok(None) };
        name.parse().map(Some).map_err(|error| {
            let file = &self.file;
            Exit::new(BAD_INPUT, format!("{file} calls the cluster {name:?}, and {error}\nname it with --name, which kind and k3d go by as well"))
        })
    }

    /// The registries it leads nodes to.
    pub(super) fn registries(&self) -> &[crate::distribution::existing::Found] {
        &self.existing.registries
    }

    /// Tells what was taken from it, and what it says that the manifest does not.
    pub(super) fn tell(&self) {
        let Self { file, existing, .. } = self;
        let name = existing.name.iter().map(|name| format!("the name {name}"));
        let taken: Vec<_> = name.chain(existing.registries.iter().map(|found| found.host.to_string())).collect();
        if !taken.is_empty() {
            note(format!("{} come from {file}, unless a flag says otherwise", taken.join(", ")));
        }
        if let Some(network) = &existing.network {
            note(format!(
                "{file} joins the cluster to the network {network:?}: the registries join it when its nodes are there"
            ));
        }
        if !existing.left_out.is_empty() {
            let hosts: Vec<_> = existing.left_out.iter().map(|host| format!("{host:?}")).collect();
            note(format!("{file} lists {} as well, which no mirror can stand for", hosts.join(", ")));
        }
        if self.distribution == Distribution::Kind && !existing.registries.is_empty() {
            note(format!(
                "{file} sets registry.mirrors, which containerd does not take beside the config_path that ksail needs: remove those lines, ksail.yaml has them now"
            ));
        }
    }

    /// Where it is.
    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.file)
    }
}
