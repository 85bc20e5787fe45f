//! Files that carry what is secret into a registry's container.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{PORT, STORAGE};
use crate::manifest::{Credentials, Upstream};
use crate::{archive, digest};

/// Directory of the files, below the root.
const DIRECTORY: &str = "ksail";

/// Files that carry an upstream's credentials, or an address that is secret itself, into a registry container, where neither `inspect`
/// nor a process list shows them.
#[derive(Clone)]
pub struct SecretFiles {
    files: BTreeMap<&'static str, (u32, SecretString)>,
}

impl SecretFiles {
    const CONFIG: &'static str = "registry.yml";
    const HELPER: &'static str = "credential-helper";
    const ANSWER: &'static str = "credentials.json";

    /// For an upstream, and who the registry is to it.
    pub fn new(upstream: &Upstream, credentials: Option<&Credentials>) -> Self {
        // JSON is YAML. The environment adds everything that is not secret.
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": STORAGE}},
            "http": {"addr": format!(":{PORT}")},
            "proxy": {"remoteurl": upstream.as_str()},
        });
        let mut files = BTreeMap::new();
        let mut add = |name, mode, text: String| files.insert(name, (mode, text.into()));
        let Some(credentials) = credentials else {
            add(Self::CONFIG, 0o400, config.to_string());
            return Self { files };
        };
        let (username, password) = (credentials.username.expose_secret(), credentials.password.expose_secret());
        config["proxy"]["username"] = json!(username);
        config["proxy"]["password"] = json!(password);
        // What registry 3 asks instead of reading the two fields above: the docker-credential-helper protocol.
        let answer = json!({"ServerURL": upstream.as_str(), "Username": username, "Secret": password});
        let helper = format!("#!/bin/sh\nread -r answer </{DIRECTORY}/{}\nprintf '%s\\n' \"$answer\"\n", Self::ANSWER);
        add(Self::CONFIG, 0o400, config.to_string());
        add(Self::ANSWER, 0o400, format!("{answer}\n"));
        add(Self::HELPER, 0o500, helper);
        Self { files }
    }

    /// Where the files are inside the container.
    pub fn directory() -> String {
        format!("/{DIRECTORY}")
    }

    /// Where the helper is inside the container, whether there is one or not.
    pub fn helper() -> String {
        format!("/{DIRECTORY}/{}", Self::HELPER)
    }

    /// Arguments of a registry that reads its configuration from these files.
    pub fn command() -> Vec<String> {
        vec!["serve".to_owned(), format!("/{DIRECTORY}/{}", Self::CONFIG)]
    }

    /// Digest of names and contents, to compare with [`SecretFiles::digest_of`]. Never leaves the process.
    pub fn digest(&self) -> String {
        digest_of(self.files.iter().map(|(name, (_, text))| (*name, text.expose_secret().as_bytes())))
    }

    /// Digest of files read back from a container.
    pub fn digest_of(found: &BTreeMap<String, Vec<u8>>) -> String {
        digest_of(found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }

    /// The files as a tar archive to extract at `/`.
    pub fn archive(&self) -> std::io::Result<Vec<u8>> {
        let files = self.files.iter().map(|(name, (mode, text))| (*name, *mode, text.expose_secret().as_bytes()));
        archive::pack_private(DIRECTORY, files)
    }
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    digest::of_parts(files.flat_map(|(name, bytes)| [name.as_bytes(), bytes]))
}

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_container_has_the_digest_that_is_compared_later() {
        let upstream: Upstream = "https://registry-1.docker.io".parse().unwrap();
        let credentials = Credentials { username: "me".into(), password: "0123".into() };
        let files = SecretFiles::new(&upstream, Some(&credentials));
        let found = archive::files_in(&files.archive().unwrap()).unwrap();
        assert_eq!(SecretFiles::digest_of(&found), files.digest());
        let other = Credentials { username: "me".into(), password: "0124".into() };
        assert_ne!(SecretFiles::new(&upstream, Some(&other)).digest(), files.digest());
    }
}
