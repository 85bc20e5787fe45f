//! Who a registry is to its upstream.

use std::env;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{Beside, Node, Problem, Rules, Upstream, given, is_misspelt};
use crate::docker_config::{self, NotStored, Stored};
use crate::manifest::expand::is_reference;
use crate::manifest::file;
use crate::manifest::types::Credentials;

/// The two halves: what each is called in the environment's form, and as a file.
const HALVES: [(&str, &str); 2] = [("username", "usernameFile"), ("password", "passwordFile")];

impl Rules<'_> {
    pub(super) fn credentials(
        &mut self,
        file: file::Credentials,
        at: Option<&Node>,
        upstream: Option<&Upstream>,
    ) -> Option<Credentials> {
        let node = |key| at.and_then(|at| at.get(key));
        if file.from_docker == Some(true) {
            return self.stored_by_docker(at, upstream);
        }
        self.both_halves_once(at);
        if file.password.as_ref().is_some_and(|password| !is_reference(password)) {
            let problem = Problem::new("the password is not a reference to a variable");
            let hint = "write ${NAME} or ${NAME:-default}, and put the password into the environment";
            self.report(node("password"), problem.hint(hint));
        }
        let username = match (file.username, file.username_file) {
            (Some(username), _) => self.expand(node("username"), &username).map(SecretString::from),
            (None, path) => path.and_then(|path| self.secret_in(node("usernameFile"), &path)),
        };
        let password = match (file.password.filter(|password| is_reference(password)), file.password_file) {
            (Some(password), _) => self.expand(node("password"), &password).map(SecretString::from),
            (None, path) => path.and_then(|path| self.secret_in(node("passwordFile"), &path)),
        };
        let (username, password) = (username?, password?);
        match (username.expose_secret().is_empty(), password.expose_secret().is_empty()) {
            // `${USER:-}` and `${TOKEN:-}` with neither set: anonymous, which is what such a file asks for.
            (true, true) => None,
            (false, false) => Some(Credentials { username, password }),
            (true, false) => self.half_empty(node("username"), "username", "password"),
            (false, true) => self.half_empty(node("password"), "password", "username"),
        }
    }

    fn both_halves_once(&mut self, at: Option<&Node>) {
        let node = |key| at.and_then(|at| at.get(key));
        let key_of = |key| at.and_then(|at| at.entry(key)).map(|(key, _)| key);
        for (half, (key, in_file)) in HALVES.iter().enumerate() {
            if given(node(key)) && given(node(in_file)) {
                let problem = Problem::new(format!("'{key}' and '{in_file}' are the same thing twice"));
                self.report(key_of(in_file), problem.hint("remove one of the two"));
            }
            let (other, other_file) = HALVES[1 - half];
            let is_there = |key| given(node(key)) || at.is_some_and(|at| is_misspelt(at, key));
            let present = [*key, *in_file].into_iter().find(|key| given(node(key)));
            if let Some(present) = present.filter(|_| !is_there(other) && !is_there(other_file)) {
                let problem = Problem::new(format!("'{present}' without '{other}'"));
                self.report(key_of(present), problem.hint(format!("add '{other}: ${{VARIABLE}}'")));
            }
        }
    }

    fn half_empty(&mut self, at: Option<&Node>, empty: &str, other: &str) -> Option<Credentials> {
        let problem = Problem::new(format!("'{empty}' is empty and '{other}' is not")).hint("set both, or neither");
        self.report(at, problem.of_environment());
        None
    }

    /// What a file holds, without the end of its line. Nothing of it is shown.
    fn secret_in(&mut self, at: Option<&Node>, path: &str) -> Option<SecretString> {
        let bytes = self.read_beside(at, path)?;
        let text = String::from_utf8(bytes);
        let line = text.as_deref().map(|text| text.strip_suffix('\n').unwrap_or(text));
        let line = line.map(|line| line.strip_suffix('\r').unwrap_or(line));
        let (what, hint) = match line {
            Ok("") => ("is empty", "write the one line that it is to hold"),
            Ok(line) if line.contains(char::is_control) => {
                ("holds a control character", "keep one line in it, without tabs: see 'cat -A' of it")
            }
            Ok(line) => return Some(line.into()),
            Err(_) => ("is not UTF-8", "save it as UTF-8"),
        };
        self.report(at, Problem::new(format!("{path} {what}")).hint(hint).of_environment());
        None
    }

    fn stored_by_docker(&mut self, at: Option<&Node>, upstream: Option<&Upstream>) -> Option<Credentials> {
        let halves = HALVES.iter().flat_map(|(key, in_file)| [key, in_file]);
        let written = halves.filter_map(|key| at?.entry(key).filter(|(_, value)| !value.is_null()));
        if let Some((key, _)) = written.into_iter().next() {
            let name = key.text().unwrap_or_default();
            let problem = Problem::new(format!("'fromDocker' takes the place of '{name}'"));
            self.report(Some(key), problem.hint("remove one of the two"));
            return None;
        }
        let upstream = upstream.filter(|_| self.beside == Beside::Read)?;
        let registry = upstream.as_str().split_once("://").map_or(upstream.as_str(), |(_, registry)| registry);
        let found = match self.docker_directory() {
            Some(directory) => docker_config::stored(&directory, registry),
            None => Err(NotStored::Nothing(registry.to_owned())),
        };
        let error = match found {
            Ok(Stored::Password(username, password)) => return Some(Credentials { username, password }),
            Ok(Stored::IdentityToken(_)) => NotStored::IdentityToken(registry.to_owned()),
            Err(error) => error,
        };
        let hint = match &error {
            // Docker Hub has no name there.
            NotStored::Nothing(registry) if registry == "registry-1.docker.io" => "run 'docker login' first".to_owned(),
            NotStored::Nothing(registry) => format!("run 'docker login {registry}' first"),
            NotStored::IdentityToken(_) => {
                "write 'username' and 'password', an access token of the registry's".to_owned()
            }
            NotStored::Unreadable(..) => "mend the file: docker itself passes over it".to_owned(),
            NotStored::Helper(..) => "see what 'docker pull' says of an image there".to_owned(),
        };
        // A host that a variable holds is not shown.
        let hidden = |text: String| if upstream.is_secret() { text.replace(registry, "the upstream") } else { text };
        let problem = Problem::new(hidden(error.to_string())).hint(hidden(hint)).of_environment();
        self.report(at.and_then(|at| at.get("fromDocker")), problem);
        None
    }

    fn docker_directory(&self) -> Option<PathBuf> {
        docker_config::directory(self.environment, env::home_dir().as_deref())
    }
}
