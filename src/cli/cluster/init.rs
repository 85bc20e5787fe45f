//! `ksail cluster init`

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::super::arguments::{LocalRegistry, MirrorRegistry, words};
use super::super::completions::well_known_hosts;
use super::super::context::variable;
use super::super::distribution_config::{Change, change, routes_of};
use super::super::files::{NewFile, Place, refused, unchanged, write_together};
use super::super::ports::FreePorts;
use super::super::schema;
use super::super::{BAD_INPUT, Exit, Global, OK, note, print};
use super::beside::Beside;
use super::document::{self, Document, SCHEMA};
use crate::distribution::{self, existing::Found};
use crate::limit::FILE;
use crate::manifest::{self, ClusterName, FILE_NAME, Host, Outline, directory_of};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Name of the cluster; otherwise what kind.yaml or k3d.yaml calls it, or that of the directory
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    name: Option<ClusterName>,
    /// What makes the cluster; otherwise Kind, or K3d where there is a k3d.yaml
    #[arg(long, value_enum, ignore_case = true)]
    distribution: Option<Distribution>,
    /// The distribution's own configuration file; otherwise kind.yaml or k3d.yaml. What it says already is taken over
    #[arg(long, value_name = "FILE")]
    distribution_config: Option<String>,
    /// Who creates and deletes the cluster
    #[arg(long, value_enum, ignore_case = true, value_name = "WHO")]
    lifecycle: Option<Lifecycle>,
    /// A pull-through cache of a registry; may be repeated
    #[arg(long, value_name = "HOST[=UPSTREAM]", add = ArgValueCompleter::new(well_known_hosts))]
    mirror_registry: Vec<MirrorRegistry>,
    /// A registry to push to; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    local_registry: Vec<LocalRegistry>,
    /// Image of the registries; otherwise registry:3
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// What becomes of the volume of a mirror that leaves the list
    #[arg(long, value_enum, ignore_case = true, value_name = "POLICY")]
    volume_policy: Option<VolumePolicy>,
    /// Path of the cluster's kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Longest time to wait for the cluster (30s, 5m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    connection_timeout: Option<Duration>,
    /// Write there; otherwise in this directory
    #[arg(short, long, value_name = "DIR", conflicts_with = "file")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Distribution {
    #[value(name = "Kind")]
    Kind,
    #[value(name = "K3d")]
    K3d,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lifecycle {
    #[value(name = "Managed")]
    Managed,
    #[value(name = "External")]
    External,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VolumePolicy {
    #[value(name = "Retain")]
    Retain,
    #[value(name = "Delete")]
    Delete,
}

fn cluster_name(text: &str) -> Result<ClusterName, String> {
    text.parse().map_err(words)
}

fn duration(text: &str) -> Result<Duration, String> {
    manifest::parse_duration(text).map_err(words)
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let path = place(global, arguments);
    let directory = path.parent().unwrap_or(Path::new(""));
    regular(&path).map_err(|error| unchanged(&path, &error))?;
    let made = Place::open(directory)?;
    let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    // What is there is read under the lock that edits take, and none is lost to it.
    let lock = manifest::lock(directory_of(&target), &path).map_err(refused)?;
    let beside = Beside::find(directory, arguments.distribution_config.as_deref(), distribution(arguments));
    let is_new = fs::symlink_metadata(&path).is_err();
    // To replace a manifest is to begin anew; otherwise the same command again says the same.
    let document = document(arguments, &path, &beside, is_new || !arguments.force)?;
    let text = document.text();
    let outline = checked(&path, &text)?;

    let config = beside.path(directory);
    let files = [
        Planned::config(&path, &outline, config, arguments.force)?,
        Planned::generated(directory.join(SCHEMA), schema::text())?,
        Planned::generated(path.clone(), text)?,
    ];
    let manifest = &files[2];
    if manifest.fate == Fate::Replaced && !arguments.force {
        return Err(Exit::new(
            BAD_INPUT,
            format!(
                "{} is there already and says something else\n'ksail mirror add' changes it, '--force' replaces it, '--output DIR' writes elsewhere",
                path.display()
            ),
        ));
    }
    write_together(&lock, files.iter().filter(|planned| planned.fate != Fate::Unchanged).map(|planned| &planned.file))?;
    made.keep();
    print(report(&files, &outline))?;
    if is_new && beside.is_there && !arguments.force {
        beside.tell();
    }
    Ok(OK)
}

/// Path of the manifest to write.
fn place(global: &Global, arguments: &Arguments) -> PathBuf {
    match (&global.file, &arguments.output) {
        (None, Some(directory)) => directory.join(FILE_NAME),
        _ => match global.file() {
            Some(directory) if directory.is_dir() => directory.join(FILE_NAME),
            Some(file) => file,
            None => PathBuf::from(FILE_NAME),
        },
    }
}

fn distribution(arguments: &Arguments) -> Option<manifest::Distribution> {
    arguments.distribution.map(|distribution| match distribution {
        Distribution::Kind => manifest::Distribution::Kind,
        Distribution::K3d => manifest::Distribution::K3d,
    })
}

fn document(arguments: &Arguments, path: &Path, beside: &Beside, with_lists: bool) -> Result<Document, Exit> {
    let named = arguments.name.clone().map_or_else(|| beside.name(), |name| Ok(Some(name)))?;
    let name = named.map_or_else(|| name_of_directory(path), Ok)?;
    distinct(arguments)?;
    let asked = |host: &Host| {
        let mut hosts = arguments.mirror_registry.iter().map(|mirror| &mirror.host);
        hosts.any(|other| other == host) || arguments.local_registry.iter().any(|local| local.host == *host)
    };
    let taken = beside.registries().iter().filter(|found| with_lists && !asked(&found.host));
    let (mut wanted, mut push) = (arguments.mirror_registry.clone(), arguments.local_registry.clone());
    for Found { host, upstream } in taken {
        match (upstream, host.port()) {
            (Some(upstream), _) => {
                wanted.push(MirrorRegistry { host: host.clone(), upstream: upstream.as_str().to_owned() });
            }
            (None, Some(port)) => push.push(LocalRegistry { host: host.clone(), port }),
            (None, None) => {}
        }
    }
    Ok(Document {
        name,
        distribution: beside.distribution,
        distribution_config: beside.file.clone(),
        lifecycle: arguments.lifecycle.map(|lifecycle| match lifecycle {
            Lifecycle::Managed => manifest::Lifecycle::Managed,
            Lifecycle::External => manifest::Lifecycle::External,
        }),
        kubeconfig: arguments.kubeconfig.clone(),
        context: arguments.context.clone(),
        timeout: arguments.connection_timeout,
        image: arguments.image.clone(),
        volume_policy: arguments.volume_policy.map(|policy| match policy {
            VolumePolicy::Retain => manifest::VolumePolicy::Retain,
            VolumePolicy::Delete => manifest::VolumePolicy::Delete,
        }),
        mirrors: mirrors(&wanted, &push, path)?,
        push: push.into_iter().map(|local| local.host).collect(),
    })
}

fn name_of_directory(path: &Path) -> Result<ClusterName, Exit> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absolute = fs::canonicalize(directory).or_else(|_| {
        let here = env::current_dir()?;
        Ok::<_, std::io::Error>(here.join(directory))
    });
    let absolute = absolute.map_err(|error| {
        Exit::new(BAD_INPUT, format!("the current directory is gone: {error}; name the cluster with --name"))
    })?;
    Ok(ClusterName::nearest(&absolute.file_name().unwrap_or_default().to_string_lossy()))
}

/// A host given twice is said in words of the command line, not of the file.
fn distinct(arguments: &Arguments) -> Result<(), Exit> {
    let hosts = arguments.mirror_registry.iter().map(|mirror| ("--mirror-registry", &mirror.host));
    let hosts = hosts.chain(arguments.local_registry.iter().map(|local| ("--local-registry", &local.host)));
    let mut seen = BTreeSet::new();
    for (flag, host) in hosts {
        if !seen.insert(host) {
            return Err(Exit::new(BAD_INPUT, format!("{host} is given twice; remove one {flag} {host}")));
        }
    }
    Ok(())
}

/// The caches with their ports. A mirror that the file there already lists keeps its port, so that running the command
/// again says the same while the registries run.
fn mirrors(wanted: &[MirrorRegistry], push: &[LocalRegistry], path: &Path) -> Result<Vec<document::Mirror>, Exit> {
    let before = Outline::load(path).map(|outline| outline.mirrors).unwrap_or_default();
    let port_before = |host: &Host| before.iter().find(|mirror| mirror.host == *host)?.port;
    let kept = wanted.iter().filter_map(|mirror| port_before(&mirror.host));
    let mut ports = FreePorts::beside(push.iter().map(|local| local.port).chain(kept));
    let pushed: BTreeSet<u16> = push.iter().map(|local| local.port).collect();
    let with_port = |MirrorRegistry { host, upstream }: &MirrorRegistry| {
        let port = match port_before(host).filter(|port| !pushed.contains(port)) {
            Some(port) => port,
            None => ports.next()?,
        };
        Ok(document::Mirror { host: host.clone(), upstream: upstream.clone(), port })
    };
    wanted.iter().map(with_port).collect()
}

/// The new manifest passes every check, or nothing is written.
fn checked(path: &Path, text: &str) -> Result<Outline, Exit> {
    let wrong = |problems: manifest::Problems| {
        let what = format!("with these flags {} would be wrong; nothing was written", path.display());
        Exit::problems(problems).meaning(&what)
    };
    manifest::parse(path, text.as_bytes(), &variable).map_err(wrong)?;
    Outline::parse(path, text.as_bytes()).map_err(wrong)
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Replaced,
    Unchanged,
}

/// Whoever opens a pipe waits for somebody at its other end, and nothing is to be found or replaced there.
fn regular(path: &Path) -> std::io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file"))
        }
        // What cannot be looked at is told where it is read or written.
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct Planned {
    file: NewFile,
    fate: Fate,
}

impl Planned {
    fn generated(path: PathBuf, contents: String) -> Result<Self, Exit> {
        let before = match regular(&path).and_then(|()| FILE.read_file(&path)) {
            Ok(bytes) => Some(bytes),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound) => None,
            Err(error) => return Err(unchanged(&path, &error)),
        };
        let fate = match &before {
            Some(bytes) if bytes == contents.as_bytes() => Fate::Unchanged,
            Some(_) => Fate::Replaced,
            None => Fate::Written,
        };
        Ok(Self { file: NewFile { path, contents, before }, fate })
    }

    /// A configuration that is there is followed up or left alone, unless it is to be replaced.
    fn config(manifest: &Path, outline: &Outline, path: PathBuf, force: bool) -> Result<Self, Exit> {
        let fresh = distribution::generate(outline.distribution, &outline.name, &routes_of(outline));
        let planned = Self::generated(path, fresh)?;
        if force || planned.fate != Fate::Replaced {
            return Ok(planned);
        }
        let NewFile { path, before, .. } = planned.file;
        let (contents, before, fate) = match change(manifest, outline)? {
            Change::Lines { before, after, .. } => (after, Some(before.into_bytes()), Fate::Replaced),
            Change::None => (String::new(), before, Fate::Unchanged),
            Change::Note(text) => {
                note(text);
                (String::new(), before, Fate::Unchanged)
            }
        };
        Ok(Self { file: NewFile { path, contents, before }, fate })
    }
}

fn report(files: &[Planned], outline: &Outline) -> String {
    let mut text = String::new();
    let mut say = |line: String| text = std::mem::take(&mut text) + &line + "\n";
    for Planned { file, fate } in files.iter().rev() {
        let path = file.path.display();
        match fate {
            Fate::Written => say(format!("wrote {path}")),
            Fate::Replaced => say(format!("replaced {path}")),
            Fate::Unchanged => say(format!("unchanged {path}")),
        }
    }
    if files.iter().all(|planned| planned.fate == Fate::Unchanged) {
        say("Nothing to change.".to_owned());
        return text;
    }
    for mirror in &outline.mirrors {
        let port = mirror.port.unwrap_or_default();
        match &mirror.upstream {
            Some(upstream) => say(format!("  {} from {upstream}, at 127.0.0.1:{port}", mirror.host)),
            None => say(format!("  {} to push to", mirror.host)),
        }
    }
    say(match outline.mirrors.len() {
        0 => "Next: 'ksail mirror add docker.io' adds a mirror.".to_owned(),
        _ if outline.emptied().lifecycle == manifest::Lifecycle::External => {
            "Next: 'ksail watch' starts the registries and keeps them running.".to_owned()
        }
        _ => "Next: 'ksail cluster create' starts the registries and creates the cluster, 'ksail watch' keeps them so."
            .to_owned(),
    });
    text
}
