//! containerd's own configuration: whether it reads `hosts.toml` files at all, and where.
//!
//! <https://github.com/containerd/containerd/blob/main/docs/cri/registry.md>

use toml::{Table, Value};

/// The tables that hold the registry's settings: containerd 2, containerd 1, and files of the first version.
const TABLES: [&str; 3] = ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri"];

/// What a node's containerd makes of `hosts.toml` files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryConfig {
    /// It reads those below this directory.
    Directory(String),
    /// `config_path` is not set: it reads none.
    Unset {
        /// The table `config_path` belongs in, without brackets.
        table: String,
    },
    /// `config_path` names several directories. containerd 2.1 and newer take such a list for one path, and read nothing:
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
    /// It could not be read.
    Unknown(String),
}

impl RegistryConfig {
    /// Reads a configuration file, or what `containerd config dump` prints.
    pub fn read(text: &str) -> Self {
        let config: Table = match text.parse() {
            Ok(config) => config,
            Err(error) => return Self::Unknown(format!("its configuration is not TOML: {}", first_line(&error))),
        };
        let version = config.get("version").and_then(Value::as_integer).unwrap_or(1);
        let plugins = config.get("plugins").and_then(Value::as_table);
        let registry = TABLES.iter().find_map(|plugin| {
            let registry = plugins?.get(*plugin)?.get("registry")?.as_table()?;
            Some((format!("plugins.\"{plugin}\".registry"), registry))
        });
        let expected = || format!("plugins.\"{}\".registry", TABLES[usize::from(version < 3)]);
        let Some((table, registry)) = registry else { return Self::Unset { table: expected() } };
        if registry.get("mirrors").and_then(Value::as_table).is_some_and(|mirrors| !mirrors.is_empty()) {
            return Self::MirrorsSet { table };
        }
        match registry.get("config_path").and_then(Value::as_str).unwrap_or_default() {
            "" => Self::Unset { table },
            list if list.contains(':') => Self::List { config_path: list.to_owned(), table },
            directory => Self::Directory(directory.trim_end_matches('/').to_owned()),
        }
    }

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
                "containerd on {node} has the list \"{config_path}\" as config_path, which containerd 2.1 and newer ignore: {}",
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

    #[test]
    fn the_directory_is_found_in_each_version_of_the_file() {
        for (version, table) in [(2, V1), (3, V2), (1, "plugins.cri.registry")] {
            let text = format!("version = {version}\n[{table}]\nconfig_path = '/etc/containerd/certs.d/'\n");
            assert_eq!(RegistryConfig::read(&text), RegistryConfig::Directory("/etc/containerd/certs.d".to_owned()));
        }
    }

    #[test]
    fn without_config_path_nothing_is_read() {
        let unset = |table: &str| RegistryConfig::Unset { table: table.to_owned() };
        assert_eq!(RegistryConfig::read(&format!("version = 2\n[{V1}]\nconfig_path = ''\n")), unset(V1));
        assert_eq!(RegistryConfig::read(&format!("version = 2\n[{V1}]\n[{V1}.mirrors]\n")), unset(V1));
        assert_eq!(RegistryConfig::read("version = 2\n"), unset(V1));
        assert_eq!(RegistryConfig::read("version = 3\n"), unset(V2));
    }

    #[test]
    fn mirrors_of_old_and_lists_are_told_apart() {
        let old = format!("version = 2\n[{V1}.mirrors.\"docker.io\"]\nendpoint = ['http://x']\n");
        assert_eq!(RegistryConfig::read(&old), RegistryConfig::MirrorsSet { table: V1.to_owned() });
        let list = format!("version = 3\n[{V2}]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n");
        assert!(matches!(RegistryConfig::read(&list), RegistryConfig::List { table, .. } if table == V2));
        assert!(matches!(RegistryConfig::read("["), RegistryConfig::Unknown(_)));
    }

    #[test]
    fn a_complaint_says_what_to_write_where() {
        let unset = RegistryConfig::Unset { table: V1.to_owned() };
        let complaint = unset.complaint("dev-worker", "/etc/containerd/certs.d", "/etc/containerd/config.toml");
        insta::assert_snapshot!(complaint.unwrap(), @r#"containerd on dev-worker has no config_path and ignores hosts.toml files: in /etc/containerd/config.toml on the node, say config_path = "/etc/containerd/certs.d" under [plugins."io.containerd.grpc.v1.cri".registry], then restart containerd there ('docker exec dev-worker systemctl restart containerd', or 'docker restart dev-worker'); new clusters get it by the lines that 'ksail cluster init' writes into the distribution's configuration"#);
        assert_eq!(RegistryConfig::Directory(String::new()).complaint("n", "d", "c"), None);
    }
}
