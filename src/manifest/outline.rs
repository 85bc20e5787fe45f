//! What a manifest lists, as it is written: for everything that does not need its variables filled in.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::{parse_written, unreadable};
use super::problems::{Problem, Problems};
use super::rules::{self, Beside};
use super::types::{Distribution, Manifest};
use super::values::{ClusterName, Host};
use crate::limit::FILE;

/// A manifest that keeps every rule, whether or not the variables it refers to are set.
#[derive(Debug, Clone)]
pub struct Outline {
    /// `metadata.name`.
    pub name: ClusterName,
    /// `spec.distribution`.
    pub distribution: Distribution,
    /// `spec.distributionConfig`, relative to the manifest's directory.
    pub distribution_config: Option<PathBuf>,
    /// The mirrors, in the file's order.
    pub mirrors: Vec<Listed>,
    emptied: Manifest,
}

/// One entry of `spec.registries.mirrors`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What image references say.
    pub host: Host,
    /// May hold `${VAR}`; `None` is a push registry.
    pub upstream: Option<String>,
    /// Host port; `None` is an ephemeral one.
    pub port: Option<u16>,
    /// Host address to listen on.
    pub listen_address: IpAddr,
    /// Whether nodes may go around the mirror when it fails.
    pub fallback: bool,
    /// How long cached content stays; zero is for ever.
    pub ttl: Duration,
    /// Whether it has credentials for its upstream.
    pub has_credentials: bool,
}

impl Outline {
    /// Reads the manifest at `path`.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let bytes = FILE.read_file(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(path, &bytes)
    }

    /// Reads a manifest; `path` is only named, never read.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Problems> {
        let (file, root) = parse_written(path, bytes)?;
        let written = file.spec.clone().and_then(|spec| spec.registries).and_then(|registries| registries.mirrors);
        let (manifest, _) = rules::apply(path, file, &root, &|_| None, Beside::Left);
        let Some(mut manifest) = manifest else {
            return Err(Problems::new(path, "", vec![Problem::new("'metadata.name' is missing")]));
        };
        let mirrors = std::mem::take(&mut manifest.registries.mirrors).into_iter();
        let listed = mirrors.zip(written.unwrap_or_default()).map(|(mirror, written)| Listed {
            host: mirror.host,
            upstream: written.upstream,
            port: mirror.port,
            listen_address: mirror.listen_address,
            fallback: mirror.fallback,
            ttl: mirror.ttl,
            has_credentials: written.credentials.is_some(),
        });
        Ok(Self {
            name: manifest.name.clone(),
            distribution: manifest.distribution,
            distribution_config: manifest.distribution_config.clone(),
            mirrors: listed.collect(),
            emptied: manifest,
        })
    }

    /// The manifest with an empty list: all there is to know for removing the mirrors of its cluster.
    pub fn emptied(&self) -> &Manifest {
        &self.emptied
    }
}
