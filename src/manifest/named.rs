//! Which files a manifest names, whether it loads or not: what they hold is a part of what it means.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use super::expand::Environment;
use super::tree::{Node, without_empty_documents};
use crate::docker_config;

/// What a manifest refers to outside of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Files, by the paths that they are read at.
    pub files: BTreeSet<PathBuf>,
    /// Whether it takes what `docker login` stored, which a helper may answer differently every time.
    pub from_docker: bool,
}

impl Named {
    /// What the manifest at `path` names, which holds `bytes`; nothing can be said of what is not YAML.
    pub fn in_manifest(path: &Path, bytes: &[u8], environment: Environment) -> Option<Self> {
        let text = std::str::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)).ok()?;
        let root = Node::read(without_empty_documents(text)).ok()??;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mirrors = root.get("spec").and_then(|spec| spec.get("registries")).and_then(|all| all.get("mirrors"));
        let mut named = Self::default();
        for mirror in mirrors.map(Node::items).unwrap_or_default() {
            let credentials = mirror.get("credentials");
            let in_credentials = |key| credentials.and_then(|credentials| credentials.get(key));
            let nodes = [mirror.get("ca"), in_credentials("usernameFile"), in_credentials("passwordFile")];
            let paths = nodes.into_iter().flatten().filter(|node| !node.is_null()).filter_map(Node::text);
            named.files.extend(paths.filter(|path| !path.is_empty()).map(|path| directory.join(path)));
            named.from_docker |= in_credentials("fromDocker").and_then(Node::text) == Some("true");
        }
        if named.from_docker {
            let directory = docker_config::directory(environment, env::home_dir().as_deref());
            named.files.extend(directory.map(|directory| directory.join(docker_config::FILE_NAME)));
        }
        Some(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<Named> {
        let variables = |name: &str| (name == "DOCKER_CONFIG").then(|| "/docker".to_owned());
        Named::in_manifest(Path::new("/project/ksail.yaml"), text.as_bytes(), &variables)
    }

    #[test]
    fn the_files_of_every_mirror_are_named_whatever_else_is_wrong() {
        let text = "spec:\n  registries:\n    mirrors:\n      - ca: ca.pem\n        credentials: {usernameFile: /run/user, passwordFile: a/token}\n      - {ca: , credentials: {fromDocker: true}, wrong: 1}\n";
        let expected = ["/docker/config.json", "/project/a/token", "/project/ca.pem", "/run/user"];
        let found = named(text).unwrap();
        assert_eq!(found.files, expected.map(PathBuf::from).into());
        assert!(found.from_docker);
        assert_eq!(named("spec: {}").unwrap(), Named::default());
        assert_eq!(named("spec: ["), None);
    }
}
