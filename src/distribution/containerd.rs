//! containerd's own configuration: whether it reads `hosts.toml` files at all, and where.
//!
//! <https://github.com/containerd/containerd/blob/main/docs/cri/registry.md>

use toml::{Table, Value};

/// The tables that hold the registry's settings: containerd 2, containerd 1, and files of the first version.
const TABLES: [&str; 3] = ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri"];

/// Why it is not known what comes of settings that depend on the version.
const UNVERSIONED: &str =
    "it has not said which version it is, and its settings alone do not tell; a pull does ('ksail verify')";

/// Where containerd 2.2 and newer look when they are not told. The plugin sets it as it starts, so that
/// `containerd config dump` prints `''` all the same.
const DEFAULT_PATH: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

/// What a node's containerd makes of `hosts.toml` files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryConfig {
    /// It reads those below this directory.
    Directory(String),
    /// `config_path` is not set, and it reads none.
    Unset {
        /// The table `config_path` belongs in, without brackets.
        table: String,
    },
    /// `config_path` names several directories, which this containerd takes for one path, and reads nothing:
    /// <https://github.com/containerd/containerd/issues/12808>
    List {
        /// As it is set.
        config_path: String,
        /// The table it is set in.
        table: String,
    },
    /// `registry.mirrors`, the way of old, is set; together with `config_path` it stops containerd's CRI plugin.
    MirrorsSet {
        /// The table it is set in.
        table: String,
    },
    /// It could not be read, or what it comes to cannot be known from here. A pull tells.
    Unknown(String),
}

impl RegistryConfig {
    /// Whether it is known that files are not read, or not as they should be.
    pub fn is_known_to_be_wrong(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Unknown(_) => false,
            Self::Unset { .. } | Self::List { .. } | Self::MirrorsSet { .. } => true,
        }
    }
}

/// What containerd is told about registries. What it makes of that may depend on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// Any version makes the same of it.
    Plain(RegistryConfig),
    /// `config_path` is not set.
    Unset {
        /// The table it belongs in.
        table: String,
    },
    /// `config_path` names several directories.
    List {
        /// As it is set.
        config_path: String,
        /// The table it is set in.
        table: String,
        /// Whether containerd itself pulls, as it did before 2.1, rather than its transfer service; `None` when it is set
        /// to something that may well force that.
        is_pull_local: Option<bool>,
    },
}

/// A version of containerd, as far as decisions depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// From it on the transfer service pulls, which takes a list for one path.
    const TRANSFERS: Self = Self { major: 2, minor: 1 };
    /// From it on both ways of pulling understand a list, and there is a default.
    const HAS_DEFAULT: Self = Self { major: 2, minor: 2 };

    /// Reads what `containerd --version` prints: `containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7…`.
    pub fn read(text: &str) -> Option<Self> {
        let word = text.split_whitespace().nth(2)?;
        let mut parts = word.trim_start_matches('v').split('.').map(|part| {
            let digits = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Self { major: parts.next()??, minor: parts.next()?? })
    }
}

impl Settings {
    /// Reads a configuration file, or what `containerd config dump` prints.
    pub fn read(text: &str) -> Self {
        let config: Table = match text.parse() {
            Ok(config) => config,
            Err(error) => {
                let why = format!("its configuration is not TOML: {}", first_line(&error));
                return Self::Plain(RegistryConfig::Unknown(why));
            }
        };
        let version = config.get("version").and_then(Value::as_integer).unwrap_or(1);
        let plugins = config.get("plugins").and_then(Value::as_table);
        let found = TABLES.iter().find_map(|name| {
            let plugin = plugins?.get(*name)?.as_table()?;
            Some((format!("plugins.\"{name}\".registry"), plugin, plugin.get("registry")?.as_table()?))
        });
        let expected = || format!("plugins.\"{}\".registry", TABLES[usize::from(version < 3)]);
        let Some((table, plugin, registry)) = found else { return Self::Unset { table: expected() } };
        if is_set(registry, "mirrors") {
            return Self::Plain(RegistryConfig::MirrorsSet { table });
        }
        match registry.get("config_path").and_then(Value::as_str).unwrap_or_default() {
            "" => Self::Unset { table },
            list if list.contains(':') => {
                Self::List { config_path: list.to_owned(), table, is_pull_local: is_pull_local(plugin, registry) }
            }
            directory => Self::Plain(RegistryConfig::Directory(without_slash(directory))),
        }
    }

    /// Whether it takes the version to tell what comes of them.
    pub fn depend_on_version(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// What a containerd of this version makes of them; `None` is one that does not say which it is.
    ///
    /// | containerd | unset | a list | one path |
    /// |---|---|---|---|
    /// | before 2.1 | no | read | read |
    /// | 2.1 | no | read where pulls are local | read |
    /// | 2.2 and newer | the default list | read | read |
    ///
    /// Of a list the first directory counts that has something about a host, so that is where ours go.
    pub fn seen_by(self, version: Option<Version>) -> RegistryConfig {
        match (self, version) {
            (Self::Plain(config), _) => config,
            (_, None) => RegistryConfig::Unknown(UNVERSIONED.to_owned()),
            (Self::Unset { .. }, Some(version)) if version >= Version::HAS_DEFAULT => {
                RegistryConfig::Directory(first_of(DEFAULT_PATH))
            }
            (Self::Unset { table }, Some(_)) => RegistryConfig::Unset { table },
            (Self::List { config_path, table, is_pull_local }, Some(Version::TRANSFERS)) => match is_pull_local {
                Some(true) => RegistryConfig::Directory(first_of(&config_path)),
                Some(false) => RegistryConfig::List { config_path, table },
                None => RegistryConfig::Unknown(format!(
                    "it has the list \"{config_path}\" as config_path, which containerd 2.1 reads only where it pulls by itself; a pull tells ('ksail verify')"
                )),
            },
            (Self::List { config_path, .. }, Some(_)) => RegistryConfig::Directory(first_of(&config_path)),
        }
    }
}

/// Settings that its transfer service does not know make containerd 2.1 pull by itself: `CheckLocalImagePullConfigs` in
/// <https://github.com/containerd/containerd/blob/release/2.1/internal/cri/config/config.go>
fn is_pull_local(plugin: &Table, registry: &Table) -> Option<bool> {
    // Version 2 of the file has one of them a table further in.
    let inner = plugin.get("containerd").and_then(Value::as_table);
    let setting = |name: &str| plugin.get(name).or_else(|| inner?.get(name));
    let says = |name: &str, value: bool| setting(name).and_then(Value::as_bool) == Some(value);
    let downloads = setting("max_concurrent_downloads").and_then(Value::as_integer);
    let forced = ["use_local_image_pull", "discard_unpacked_layers", "image_pull_with_sync_fs"];
    if forced.iter().any(|name| says(name, true)) || downloads.is_some_and(|count| count != 3) {
        return Some(true);
    }
    let may_be =
        says("disable_snapshot_annotations", false) || is_set(registry, "configs") || is_set(registry, "auths");
    (!may_be).then_some(false)
}

/// Whether a table has a table of that name with something in it.
fn is_set(table: &Table, name: &str) -> bool {
    table.get(name).and_then(Value::as_table).is_some_and(|inner| !inner.is_empty())
}

fn first_of(list: &str) -> String {
    without_slash(list.split(':').find(|directory| !directory.is_empty()).unwrap_or_default())
}

fn without_slash(directory: &str) -> String {
    directory.trim_end_matches('/').to_owned()
}

impl RegistryConfig {
    /// What is wrong with it and what to do, for a node of this name whose files belong below `directory`, in the file `config`.
    pub fn complaint(&self, node: &str, directory: &str, config: &str) -> Option<String> {
        let restart = format!(
            "then restart containerd there ('docker exec {node} systemctl restart containerd', or 'docker restart {node}')"
        );
        let set = |table: &str| {
            format!("in {config} on the node, say config_path = \"{directory}\" under [{table}], {restart}")
        };
        match self {
            Self::Directory(_) | Self::Unknown(_) => None,
            Self::Unset { table } => Some(format!(
                "containerd on {node} has no config_path and ignores hosts.toml files: {}; new clusters get it by the lines that 'ksail cluster init' writes into the distribution's configuration",
                set(table)
            )),
            Self::List { config_path, table } => Some(format!(
                "containerd on {node} has the list \"{config_path}\" as config_path, which containerd 2.1 ignores: {}",
                set(table)
            )),
            Self::MirrorsSet { table } => Some(format!(
                "containerd on {node} has [{table}.mirrors], which rules out hosts.toml files: remove that table and {}",
                set(table)
            )),
        }
    }
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    const V2: &str = "plugins.\"io.containerd.cri.v1.images\".registry";

    fn version(text: &str) -> Option<Version> {
        Version::read(&format!("containerd github.com/containerd/containerd/v2 {text} 0123abc"))
    }

    /// A file of this version that says `config_path`, and this of the plugin.
    fn file(version: u8, config_path: &str, of_plugin: &str) -> String {
        let table = if version < 3 { V1 } else { V2 };
        let plugin = table.trim_end_matches(".registry");
        format!("version = {version}\n[{plugin}]\n{of_plugin}\n[{table}]\nconfig_path = '{config_path}'\n")
    }

    fn directory(path: &str) -> RegistryConfig {
        RegistryConfig::Directory(path.to_owned())
    }

    const LIST: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

    /// Each cell of the table, as it was measured on the containerd named.
    #[test]
    fn what_comes_of_the_settings_is_decided_by_version_and_configuration_together() {
        let unset = |table: &str| RegistryConfig::Unset { table: table.to_owned() };
        let list = || RegistryConfig::List { config_path: LIST.to_owned(), table: V2.to_owned() };
        let ours = || directory("/etc/containerd/certs.d");
        // What kind's nodes are told besides.
        let kind = "discard_unpacked_layers = true";
        for (containerd, file, expected) in [
            ("1.7.24~ds1", file(2, "", ""), unset(V1)),
            ("1.7.24", file(2, LIST, ""), ours()),
            ("v2.0.2", file(3, "", ""), unset(V2)),
            ("v2.0.2", file(3, LIST, ""), ours()),
            ("2.1.9+unknown", file(3, "", kind), unset(V2)),
            ("v2.1.9", file(3, LIST, ""), list()),
            ("v2.1.9", file(3, LIST, "max_concurrent_downloads = 3\nuse_local_image_pull = false"), list()),
            ("v2.1.9", file(3, LIST, kind), ours()),
            ("v2.1.9", file(3, LIST, "use_local_image_pull = true"), ours()),
            ("v2.1.9", file(3, LIST, "max_concurrent_downloads = 10"), ours()),
            ("v2.2.0", file(3, "", ""), ours()),
            ("v2.3.4", file(3, "", kind), ours()),
            ("v2.3.4", file(3, LIST, ""), ours()),
            ("v2.10.0", file(3, "", ""), ours()),
            ("v3.0.0", file(3, "", ""), ours()),
        ] {
            assert_eq!(Settings::read(&file).seen_by(version(containerd)), expected, "{containerd}: {file}");
        }
    }

    #[test]
    fn one_path_is_read_by_each_version_and_from_each_version_of_the_file() {
        for (version, table) in [(2, V1), (3, V2), (1, "plugins.cri.registry")] {
            let text = format!("version = {version}\n[{table}]\nconfig_path = '/etc/containerd/certs.d/'\n");
            let settings = Settings::read(&text);
            assert!(!settings.depend_on_version());
            assert_eq!(settings.seen_by(None), directory("/etc/containerd/certs.d"));
        }
    }

    /// Never a false alarm.
    #[test]
    fn where_it_cannot_be_known_it_is_unknown() {
        let is_unknown = |config: RegistryConfig| matches!(config, RegistryConfig::Unknown(_));
        for text in [file(3, "", ""), file(3, LIST, ""), "version = 2\n".to_owned()] {
            assert!(Settings::read(&text).depend_on_version());
            assert!(is_unknown(Settings::read(&text).seen_by(None)), "{text}");
        }
        let of_registry = format!("{}[{V2}.configs.'x:5000'.auth]\nusername = 'me'\n", file(3, LIST, ""));
        for text in [file(3, LIST, "disable_snapshot_annotations = false"), of_registry] {
            assert!(is_unknown(Settings::read(&text).seen_by(version("2.1.9"))), "{text}");
        }
        assert!(is_unknown(Settings::read("[").seen_by(version("2.3.4"))));
        for text in ["", "containerd", "containerd x y z", "containerd x v2", "containerd x 2.x"] {
            assert_eq!(Version::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_version_is_read_as_each_packager_writes_it() {
        for (text, expected) in [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6)),
            ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", (1, 7)),
            ("containerd github.com/containerd/containerd/v2 2.1.9+unknown ", (2, 1)),
            ("containerd github.com/k3s-io/containerd v2.0.5-k3s1.32 ", (2, 0)),
            ("containerd github.com/containerd/containerd/v2 v2.3-rc.1 ", (2, 3)),
        ] {
            assert_eq!(Version::read(text).map(|version| (version.major, version.minor)), Some(expected), "{text}");
        }
    }

    #[test]
    fn without_a_table_the_one_of_the_files_version_is_named() {
        let unset = |table: &str| RegistryConfig::Unset { table: table.to_owned() };
        let seen = |text: &str| Settings::read(text).seen_by(version("1.7.24"));
        assert_eq!(seen(&format!("version = 2\n[{V1}]\n[{V1}.mirrors]\n")), unset(V1));
        assert_eq!(seen("version = 2\n"), unset(V1));
        assert_eq!(seen("version = 3\n"), unset(V2));
    }

    #[test]
    fn mirrors_of_old_are_told_apart() {
        let old = format!("version = 2\n[{V1}.mirrors.\"docker.io\"]\nendpoint = ['http://x']\n");
        let set = RegistryConfig::MirrorsSet { table: V1.to_owned() };
        assert_eq!(Settings::read(&old).seen_by(None), set);
    }

    #[test]
    fn a_complaint_says_what_to_write_where() {
        let unset = RegistryConfig::Unset { table: V1.to_owned() };
        let complaint = unset.complaint("dev-worker", "/etc/containerd/certs.d", "/etc/containerd/config.toml");
        insta::assert_snapshot!(complaint.unwrap(), @r#"containerd on dev-worker has no config_path and ignores hosts.toml files: in /etc/containerd/config.toml on the node, say config_path = "/etc/containerd/certs.d" under [plugins."io.containerd.grpc.v1.cri".registry], then restart containerd there ('docker exec dev-worker systemctl restart containerd', or 'docker restart dev-worker'); new clusters get it by the lines that 'ksail cluster init' writes into the distribution's configuration"#);
        assert_eq!(RegistryConfig::Directory(String::new()).complaint("n", "d", "c"), None);
    }
}
