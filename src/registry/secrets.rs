//! Files put into a registry's container: what is secret, and whom it trusts.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{PORT, STORAGE};
use crate::labels::{self, Labels};
use crate::manifest::{Ca, Credentials, Upstream};
use crate::{archive, digest};

/// Directory of the secret files, below the root.
const DIRECTORY: &str = "ksail";
/// What is in this directory is trusted besides what the image has. The registry reads it once, at its first use of TLS.
const CA_DIRECTORY: &str = "etc/ssl/certs";
/// Name of the file there.
const CA: &str = "ksail-ca.pem";

/// Files that carry an upstream's credentials, or an address that is secret itself, into a registry container, where neither `inspect`
/// nor a process list shows them; and the certificates of authorities.
#[derive(Clone, Default)]
pub struct SecretFiles {
    files: BTreeMap<&'static str, (u32, SecretString)>,
    ca: Option<String>,
}

/// What the files hold, to compare by. Never leaves the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesDigest {
    /// Names and contents of all of them.
    pub all: String,
    /// The same without the credentials: what a registry reads when it starts and never again.
    pub at_start: String,
    /// The certificates alone.
    pub ca: Option<String>,
}

impl SecretFiles {
    const CONFIG: &'static str = "registry.yml";
    const HELPER: &'static str = "credential-helper";
    const ANSWER: &'static str = "credentials.json";
    /// What runs the helper, of the image's own.
    pub const SHELL: &'static str = "/bin/sh";

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
            return Self { files, ca: None };
        };
        let (username, password) = (credentials.username.expose_secret(), credentials.password.expose_secret());
        config["proxy"]["username"] = json!(username);
        config["proxy"]["password"] = json!(password);
        // What registry 3 asks instead of reading the two fields above: the docker-credential-helper protocol.
        let answer = json!({"ServerURL": upstream.as_str(), "Username": username, "Secret": password});
        let helper =
            format!("#!{}\nread -r answer </{DIRECTORY}/{}\nprintf '%s\\n' \"$answer\"\n", Self::SHELL, Self::ANSWER);
        add(Self::CONFIG, 0o400, config.to_string());
        add(Self::ANSWER, 0o400, format!("{answer}\n"));
        add(Self::HELPER, 0o500, helper);
        Self { files, ca: None }
    }

    /// The same, with the certificates of authorities.
    #[must_use]
    pub fn with_ca(self, ca: &Ca) -> Self {
        Self { ca: Some(ca.pem.clone()), ..self }
    }

    /// What they are, in words.
    pub fn what(&self) -> &'static str {
        match (self.configure(), self.ca.is_some()) {
            (true, true) => "credentials and certificates",
            (false, true) => "certificates",
            (_, false) => "credentials",
        }
    }

    /// Where the helper is inside the container, whether there is one or not.
    pub fn helper() -> String {
        format!("/{DIRECTORY}/{}", Self::HELPER)
    }

    /// Whether there is a configuration among them, which the registry has to be told of: [`SecretFiles::command`].
    pub fn configure(&self) -> bool {
        !self.files.is_empty()
    }

    /// Arguments of a registry that reads its configuration from these files.
    pub fn command() -> Vec<String> {
        vec!["serve".to_owned(), format!("/{DIRECTORY}/{}", Self::CONFIG)]
    }

    /// Where such files are in a container of this command and with these labels: what has none is asked for nothing.
    pub fn places_in(command: &[String], labels: &Labels) -> Vec<String> {
        let is_told = command.iter().any(|word| word.starts_with(&format!("/{DIRECTORY}/")));
        places(is_told, labels.contains_key(labels::CA))
    }

    /// Where these files are inside the container.
    pub fn places(&self) -> Vec<String> {
        places(self.configure(), self.ca.is_some())
    }

    /// To compare with [`SecretFiles::digest_of`].
    pub fn digest(&self) -> FilesDigest {
        let secret = self.files.iter().map(|(name, (_, text))| (*name, text.expose_secret().as_bytes()));
        digest_of(secret.chain(self.ca.as_ref().map(|pem| (CA, pem.as_bytes()))))
    }

    /// Digest of files read back from a container.
    pub fn digest_of(found: &BTreeMap<String, Vec<u8>>) -> FilesDigest {
        digest_of(found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }

    /// The files as a tar archive to extract at `/`.
    pub fn archive(&self) -> std::io::Result<Vec<u8>> {
        let files = self.files.iter().map(|(name, (mode, text))| (*name, *mode, text.expose_secret().as_bytes()));
        let path = format!("{CA_DIRECTORY}/{CA}");
        let public = self.ca.as_ref().map(|pem| (path.as_str(), 0o444, pem.as_bytes()));
        archive::pack_private(DIRECTORY, files, public.into_iter())
    }
}

fn places(secret: bool, ca: bool) -> Vec<String> {
    let places = [(secret, format!("/{DIRECTORY}")), (ca, format!("/{CA_DIRECTORY}/{CA}"))];
    places.into_iter().filter(|(is_there, _)| *is_there).map(|(_, place)| place).collect()
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> FilesDigest {
    // In one order, wherever they come from.
    let files: BTreeMap<&str, &[u8]> = files.collect();
    let of_all = files.iter().flat_map(|(name, bytes)| [name.as_bytes(), *bytes]);
    let at_start: Vec<(&str, Vec<u8>)> = files
        .iter()
        .filter(|(name, _)| **name != SecretFiles::ANSWER)
        .map(|(name, bytes)| {
            (*name, if *name == SecretFiles::CONFIG { without_credentials(bytes) } else { bytes.to_vec() })
        })
        .collect();
    FilesDigest {
        all: digest::of_parts(of_all),
        at_start: digest::of_parts(at_start.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_slice()])),
        ca: files.get(CA).map(|pem| digest::of_parts([*pem])),
    }
}

fn without_credentials(config: &[u8]) -> Vec<u8> {
    let Ok(mut config) = serde_json::from_slice::<Value>(config) else { return config.to_vec() };
    if let Some(proxy) = config.get_mut("proxy").and_then(Value::as_object_mut) {
        proxy.retain(|name, _| name != "username" && name != "password");
    }
    config.to_string().into_bytes()
}

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).entries(self.ca.as_ref().map(|_| CA)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(upstream: &str, password: &str) -> SecretFiles {
        let credentials = Credentials { username: "me".into(), password: password.into() };
        SecretFiles::new(&upstream.parse().unwrap(), Some(&credentials))
    }

    fn ca(pem: &str) -> Ca {
        Ca { path: "ca.pem".into(), pem: pem.to_owned() }
    }

    #[test]
    fn what_is_put_into_a_container_has_the_digest_that_is_compared_later() {
        const HUB: &str = "https://registry-1.docker.io";
        for files in
            [files(HUB, "0123"), files(HUB, "0123").with_ca(&ca("one")), SecretFiles::default().with_ca(&ca("one"))]
        {
            let found = archive::files_in(&files.archive().unwrap()).unwrap();
            assert_eq!(SecretFiles::digest_of(&found), files.digest());
        }
        assert_ne!(files(HUB, "0123").digest().all, files(HUB, "0124").digest().all);
    }

    #[test]
    fn what_is_read_at_the_start_is_all_but_the_credentials() {
        let before = files("https://a.example", "0123").with_ca(&ca("one"));
        let at_start = |files: SecretFiles| files.digest().at_start;
        assert_eq!(at_start(before.clone()), at_start(files("https://a.example", "0124").with_ca(&ca("one"))));
        assert_ne!(at_start(before.clone()), at_start(files("https://b.example", "0123").with_ca(&ca("one"))));
        assert_ne!(at_start(before.clone()), at_start(before.clone().with_ca(&ca("two"))));
        assert_ne!(before.digest().ca, before.clone().with_ca(&ca("two")).digest().ca);
    }

    #[test]
    fn certificates_are_put_where_the_registry_looks_for_them_and_everybody_may_read_them() {
        let archive = SecretFiles::default().with_ca(&ca("one")).archive().unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
        });
        assert_eq!(entries.collect::<Vec<_>>(), [("etc/ssl/certs/ksail-ca.pem".to_owned(), 0o444)]);
    }
}
