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
use super::super::files::{NewFile, cannot_write, write_together};
use super::super::ports::FreePorts;
use super::super::schema;
use super::super::{BAD_INPUT, Exit, Global, OK, note, print};
use super::document::{self, Document, SCHEMA};
use crate::distribution;
use crate::limit::FILE;
use crate::manifest::{self, ClusterName, FILE_NAME, Host, Outline};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Name of the cluster; otherwise that of the directory
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    name: Option<ClusterName>,
    /// What makes the cluster
    #[arg(long, value_enum, default_value_t = Distribution::Kind, ignore_case = true)]
    distribution: Distribution,
    /// The distribution's own configuration file; otherwise kind.yaml or k3d.yaml
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
    let document = document(arguments, &path)?;
    let text = document.text();
    let outline = checked(&path, &text)?;

    let config = directory.join(&document.distribution_config);
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
    write(directory, &files)?;
    print(report(&files, &outline));
    Ok(OK)
}

/// Path of the manifest to write.
fn place(global: &Global, arguments: &Arguments) -> PathBuf {
    match (&global.file, &arguments.output) {
        (Some(file), _) => file.clone(),
        (None, Some(directory)) => directory.join(FILE_NAME),
        (None, None) => PathBuf::from(FILE_NAME),
    }
}

fn document(arguments: &Arguments, path: &Path) -> Result<Document, Exit> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => name_of_directory(path)?,
    };
    distinct(arguments)?;
    let distribution = match arguments.distribution {
        Distribution::Kind => manifest::Distribution::Kind,
        Distribution::K3d => manifest::Distribution::K3d,
    };
    let named = arguments.distribution_config.clone();
    Ok(Document {
        name,
        distribution,
        distribution_config: named.unwrap_or_else(|| distribution::file_name(distribution).to_owned()),
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
        mirrors: mirrors(arguments, path)?,
        push: arguments.local_registry.iter().map(|local| local.host.clone()).collect(),
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
fn mirrors(arguments: &Arguments, path: &Path) -> Result<Vec<document::Mirror>, Exit> {
    let before = Outline::load(path).map(|outline| outline.mirrors).unwrap_or_default();
    let port_before = |host: &Host| before.iter().find(|mirror| mirror.host == *host)?.port;
    let kept = arguments.mirror_registry.iter().filter_map(|mirror| port_before(&mirror.host));
    let mut ports = FreePorts::beside(arguments.local_registry.iter().map(|local| local.port).chain(kept));
    let pushed: BTreeSet<u16> = arguments.local_registry.iter().map(|local| local.port).collect();
    let with_port = |MirrorRegistry { host, upstream }: &MirrorRegistry| {
        let port = match port_before(host).filter(|port| !pushed.contains(port)) {
            Some(port) => port,
            None => ports.next()?,
        };
        Ok(document::Mirror { host: host.clone(), upstream: upstream.clone(), port })
    };
    arguments.mirror_registry.iter().map(with_port).collect()
}

/// The new manifest passes every check, or nothing is written.
fn checked(path: &Path, text: &str) -> Result<Outline, Exit> {
    let wrong = |problems: manifest::Problems| {
        let problems = problems.render(false);
        Exit::new(
            BAD_INPUT,
            format!("{}\nwith these flags {} would be wrong; nothing was written", problems.trim_end(), path.display()),
        )
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

#[derive(Debug)]
struct Planned {
    file: NewFile,
    fate: Fate,
}

impl Planned {
    fn generated(path: PathBuf, contents: String) -> Result<Self, Exit> {
        let fate = match FILE.read_file(&path) {
            Ok(bytes) if bytes == contents.as_bytes() => Fate::Unchanged,
            Ok(_) => Fate::Replaced,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound) => Fate::Written,
            Err(error) => return Err(cannot_write(&path, &error)),
        };
        Ok(Self { file: NewFile { path, contents }, fate })
    }

    /// A configuration that is there is followed up or left alone, unless it is to be replaced.
    fn config(manifest: &Path, outline: &Outline, path: PathBuf, force: bool) -> Result<Self, Exit> {
        let fresh = distribution::generate(outline.distribution, &outline.name, &routes_of(outline));
        let planned = Self::generated(path, fresh)?;
        if force || planned.fate != Fate::Replaced {
            return Ok(planned);
        }
        let NewFile { path, .. } = planned.file;
        let (contents, fate) = match change(manifest, outline)? {
            Change::Lines { after, .. } => (after, Fate::Replaced),
            Change::None => (String::new(), Fate::Unchanged),
            Change::Note(text) => {
                note(text);
                (String::new(), Fate::Unchanged)
            }
        };
        Ok(Self { file: NewFile { path, contents }, fate })
    }
}

/// Writes what is to be written; a directory made for it goes again when that fails.
fn write(directory: &Path, files: &[Planned]) -> Result<(), Exit> {
    let made = !directory.as_os_str().is_empty() && !directory.exists();
    if made {
        fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
    }
    let changed = files.iter().filter(|planned| planned.fate != Fate::Unchanged).map(|planned| &planned.file);
    write_together(changed).inspect_err(|_| {
        if made {
            // It is empty: everything in it would have been written by this call.
            drop(fs::remove_dir(directory));
        }
    })
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
