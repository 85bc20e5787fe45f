//! What the docker CLI keeps in its `config.json`: what `docker login` stored, and the proxies that containers get.

mod helper;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use self::helper::Failed;
use crate::limit::FILE;

/// Name of the file.
pub(crate) const FILE_NAME: &str = "config.json";
/// What Docker Hub goes by in it.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// A helper may ask a service, or somebody for a password that nobody types.
const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// Looks up an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Directory of the docker CLI's own configuration: `DOCKER_CONFIG`, or `.docker` in the home directory.
pub fn directory(env: Environment<'_>, home: Option<&Path>) -> Option<PathBuf> {
    let named = env("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(home?.join(".docker")))
}

/// Whether a value is of the right type.
type IsFit = fn(&Value) -> bool;

/// Fields that are read here, each with what it has to be.
const FIELDS: [(&str, IsFit); 5] = [
    ("auths", Value::is_object),
    ("credHelpers", Value::is_object),
    ("credsStore", Value::is_string),
    ("currentContext", Value::is_string),
    ("proxies", Value::is_object),
];

/// What the file says, and what is wrong with it.
#[derive(Debug, Default)]
struct Config {
    /// Those of [`FIELDS`] that are there and what they have to be.
    fields: Map<String, Value>,
    complaint: Option<String>,
}

/// Reads the file as the CLI itself takes it (20.10): an empty one says nothing, of one that is not JSON nothing is read, a
/// field of the wrong type is passed over, the case of names does not matter, nor what comes after the first value.
fn read(directory: &Path) -> Config {
    let broken = |complaint: String| Config { fields: Map::new(), complaint: Some(complaint) };
    let bytes = match FILE.read_file(&directory.join(FILE_NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Config::default(),
        Err(error) => return broken(error.to_string()),
    };
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return broken("it begins with a byte order mark; save it without".to_owned());
    }
    let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let said = match values.next() {
        None | Some(Ok(Value::Null)) => return Config::default(),
        Some(Ok(Value::Object(said))) => said,
        Some(Ok(_)) => return broken("it is not a JSON object".to_owned()),
        Some(Err(error)) => return broken(format!("it is not JSON ({error})")),
    };
    let mut config = Config::default();
    for (name, value) in said {
        let Some((name, fits)) = FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)) else { continue };
        if fits(&value) {
            config.fields.insert((*name).to_owned(), value);
        } else if !value.is_null() {
            config.complaint = Some(format!("{name} in it is not what it should be"));
        }
    }
    config
}

/// What is wrong with the file, in which case the CLI warns and goes on without what it cannot read.
pub(crate) fn complaint(directory: &Path) -> Option<String> {
    let complaint = read(directory).complaint?;
    Some(format!("{}: {complaint}; what cannot be read of it does not count", directory.join(FILE_NAME).display()))
}

/// The context that is in force where the environment names none.
pub(crate) fn current_context(directory: &Path) -> Option<String> {
    let fields = read(directory).fields;
    fields.get("currentContext").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What the docker CLI sets in a container that it creates.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTP_PROXY`
    pub http: Option<String>,
    /// `HTTPS_PROXY`
    pub https: Option<String>,
    /// `NO_PROXY`
    pub no_proxy: Option<String>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let are_set = self.http.is_some() || self.https.is_some();
        f.write_str(if are_set { "Proxies { … }" } else { "Proxies {}" })
    }
}

/// The proxies for containers of the engine at this address. A file that cannot be read sets none, as for the CLI.
pub fn proxies(directory: &Path, engine: &str) -> Proxies {
    let config = read(directory).fields;
    let of = |name: &str| config.get("proxies").and_then(|proxies| proxies.get(name));
    let Some(found) = of(engine).or_else(|| of("default")) else { return Proxies::default() };
    let text = |key: &str| found.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Proxies { http: text("httpProxy"), https: text("httpsProxy"), no_proxy: text("noProxy") }
}

/// Why there are no credentials to be had. Nothing of what a helper said is in it: that may be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    /// The file cannot be read, or says nothing that can be understood.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Unreadable(PathBuf, String),
    /// Nobody has logged in.
    #[error("`docker login` has stored nothing for {0}")]
    Nothing(String),
    /// What is stored can be exchanged for a token, which the registry does not do.
    #[error("`docker login` has stored an identity token for {0}, which the registry cannot use")]
    IdentityToken(String),
    /// The helper that keeps them does not work.
    #[error("the helper that keeps the credentials for {0} {1}")]
    Helper(String, &'static str),
}

/// What `docker login` stored for a registry.
#[derive(Debug)]
pub(crate) enum Stored {
    /// A user name and a password.
    Password(SecretString, SecretString),
    /// What can be exchanged for a token.
    IdentityToken(SecretString),
}

/// What `docker login` stored for a registry, `HOST[:PORT]`. Blocks for as long as a helper takes, at most ten seconds.
pub(crate) fn stored(directory: &Path, registry: &str) -> Result<Stored, NotStored> {
    let unreadable = |why| NotStored::Unreadable(directory.join(FILE_NAME), why);
    let Config { mut fields, complaint } = read(directory);
    // Whoever asks for what is stored has to know that nothing could be read.
    if let Some(complaint) = complaint.filter(|_| fields.is_empty()) {
        return Err(unreadable(complaint));
    }
    let key = key_of(&fields, registry);
    let name = |value: Option<&Value>| value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
    let own_helper = name(fields.get("credHelpers").and_then(|helpers| helpers.get(&key)));
    let store = name(fields.get("credsStore"));
    let from_helper = |name: &str| {
        let program = format!("docker-credential-{name}");
        let found = helper::ask(OsStr::new(&program), &key, HELPER_LIMIT).map_err(|failed| match failed {
            Failed::Nothing => NotStored::Nothing(registry.to_owned()),
            Failed::Itself(what) => NotStored::Helper(registry.to_owned(), what),
        });
        found.and_then(|found| found.if_complete().ok_or_else(|| NotStored::Nothing(registry.to_owned())))
    };
    if let Some(name) = own_helper {
        return from_helper(&name);
    }
    // The crate runs helpers as well, and waits for them for ever.
    fields.retain(|name, _| name == "auths");
    let found = match get_credential_from_reader(Value::Object(fields).to_string().as_bytes(), &key) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Stored::Password(username.into(), password.trim_end_matches('\0').to_owned().into())
        }
        Ok(DockerCredential::IdentityToken(token)) => Stored::IdentityToken(token.into()),
        Err(CredentialRetrievalError::ConfigReadError) => {
            return Err(unreadable("its fields are not what they should be".into()));
        }
        Err(CredentialRetrievalError::CredentialDecodingError | CredentialRetrievalError::CredentialMismatchError) => {
            return Err(unreadable(format!("what it says of {registry} cannot be decoded")));
        }
        Err(_) => match store {
            Some(name) => return from_helper(&name),
            None => return Err(NotStored::Nothing(registry.to_owned())),
        },
    };
    found.if_complete().ok_or_else(|| NotStored::Nothing(registry.to_owned()))
}

impl Stored {
    /// A name without a password, or the reverse, is nothing.
    fn if_complete(self) -> Option<Self> {
        let is_empty = |secret: &SecretString| secret.expose_secret().is_empty();
        match &self {
            Self::Password(username, password) if is_empty(username) || is_empty(password) => None,
            _ => Some(self),
        }
    }
}

/// What a registry goes by in this file: helpers know it by the very name of its entry.
fn key_of(fields: &Map<String, Value>, registry: &str) -> String {
    if registry == "registry-1.docker.io" {
        return DOCKER_HUB.to_owned();
    }
    let entries = ["credHelpers", "auths"].into_iter().filter_map(|list| fields.get(list)?.as_object());
    let mut keys = entries.flat_map(Map::keys);
    keys.find(|key| host_of(key) == registry).map_or_else(|| registry.to_owned(), Clone::clone)
}

/// Entries are host names, or URLs in files of older versions.
fn host_of(server: &str) -> &str {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    server.split('/').next().unwrap_or(server)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with(config: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), config).unwrap();
        directory
    }

    fn found(config: &str, registry: &str) -> Result<(String, String), String> {
        let directory = with(config);
        let found = stored(directory.path(), registry)
            .map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))?;
        Ok(match found {
            Stored::Password(username, password) => {
                (username.expose_secret().to_owned(), password.expose_secret().to_owned())
            }
            Stored::IdentityToken(token) => ("<token>".to_owned(), token.expose_secret().to_owned()),
        })
    }

    const LOGGED_IN: &str = r#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
        "https://ghcr.io/v2/": {"auth": "Z2g6YTpi"},
        "quay.io": {"auth": "Z2g6YTpi", "identitytoken": "t0ken"}
    }}"#;

    #[test]
    fn what_docker_login_stored_is_found_by_the_registrys_name() {
        assert_eq!(found(LOGGED_IN, "registry-1.docker.io").unwrap(), ("hub".to_owned(), "pw".to_owned()));
        assert_eq!(found(LOGGED_IN, "ghcr.io").unwrap(), ("gh".to_owned(), "a:b".to_owned()));
        assert_eq!(found(LOGGED_IN, "quay.io").unwrap(), ("<token>".to_owned(), "t0ken".to_owned()));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let nothing = "`docker login` has stored nothing for gcr.io";
        for config in [LOGGED_IN, "", "  ", "{}"] {
            assert_eq!(found(config, "gcr.io").unwrap_err(), nothing);
        }
        assert_eq!(
            found("{\"auths\": {},}", "gcr.io").unwrap_err(),
            "config.json: it is not JSON (trailing comma at line 1 column 14)"
        );
        let marked = found(&format!("\u{feff}{LOGGED_IN}"), "ghcr.io").unwrap_err();
        assert_eq!(marked, "config.json: it begins with a byte order mark; save it without");
        assert!(found(r#"{"auths": {"gcr.io": {"auth": "%"}}}"#, "gcr.io").unwrap_err().contains("cannot be decoded"));
        let helper = r#"{"credsStore": "ksail-test-missing"}"#;
        assert_eq!(
            found(helper, "gcr.io").unwrap_err(),
            "the helper that keeps the credentials for gcr.io cannot be run"
        );
    }

    /// As `docker version` takes each of them.
    #[test]
    fn the_file_is_read_as_far_as_the_docker_cli_reads_it() {
        let said = |text: &str| {
            let directory = with(text);
            let place = format!("{}/", directory.path().display());
            let complaint = complaint(directory.path()).map(|complaint| complaint.replace(&place, ""));
            (current_context(directory.path()), complaint)
        };
        let named = Some("mine".to_owned());
        for silent in ["", "  ", "null", "{}", r#"{"currentContext": null}"#, r#"{"currentContext": ""}"#] {
            assert_eq!(said(silent), (None, None), "{silent}");
        }
        for whole in [
            r#"{"currentContext": "mine"}"#,
            r#"{"CURRENTCONTEXT": "mine"}"#,
            r#"{"currentContext": "mine"},"#,
            r#"{"currentContext": "mine"} and more"#,
        ] {
            assert_eq!(said(whole), (named.clone(), None), "{whole}");
        }
        let passed_over = "; what cannot be read of it does not count";
        let complained = |text: &str| {
            let (context, complaint) = said(text);
            (context, complaint.unwrap().strip_suffix(passed_over).unwrap().to_owned())
        };
        let of_auths = "config.json: auths in it is not what it should be".to_owned();
        assert_eq!(complained(r#"{"currentContext": "mine", "auths": 3}"#), (named, of_auths));
        for (broken, why) in [
            (r#"{"currentContext": "mine",}"#, "it is not JSON (trailing comma at line 1 column 27)"),
            ("\u{feff}{\"currentContext\": \"mine\"}", "it begins with a byte order mark; save it without"),
            (r#"{"currentContext": 3}"#, "currentContext in it is not what it should be"),
            ("[]", "it is not a JSON object"),
        ] {
            assert_eq!(complained(broken), (None, format!("config.json: {why}")));
        }
        assert_eq!(found(r#"{"auths": 3, "credsStore": "ksail-test-missing"}"#, "gcr.io").unwrap_err(), {
            "the helper that keeps the credentials for gcr.io cannot be run"
        });
    }

    #[test]
    fn proxies_are_those_for_the_engine_or_for_all() {
        let config = r#"{"proxies": {
            "default": {"httpProxy": "http://a:1", "noProxy": "x"},
            "tcp://10.0.0.1:2375": {"httpsProxy": "http://me:hunter2@b:2", "httpProxy": ""}
        }}"#;
        let directory = with(config);
        let usual = proxies(directory.path(), "unix:///var/run/docker.sock");
        assert_eq!(
            (usual.http.as_deref(), usual.https, usual.no_proxy.as_deref()),
            (Some("http://a:1"), None, Some("x"))
        );
        let other = proxies(directory.path(), "tcp://10.0.0.1:2375");
        assert_eq!((other.http.clone(), other.https.as_deref()), (None, Some("http://me:hunter2@b:2")));
        assert!(!format!("{other:?}").contains("hunter2"));
        for unusable in ["", "[", r#"{"proxies": 3}"#] {
            assert_eq!(proxies(with(unusable).path(), "unix:///var/run/docker.sock"), Proxies::default());
        }
    }
}
