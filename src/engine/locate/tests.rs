use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// A machine: its environment, its home directory, and the sockets it has.
struct Machine {
    home: TempDir,
    env: BTreeMap<String, String>,
    sockets: Vec<&'static str>,
}

impl Machine {
    fn new() -> Self {
        Self { home: TempDir::new().unwrap(), env: BTreeMap::new(), sockets: vec![DEFAULT_SOCKET] }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn sockets(mut self, sockets: &[&'static str]) -> Self {
        self.sockets = sockets.to_vec();
        self
    }

    /// Writes a file below the directory of the docker CLI.
    fn file(self, path: &str, content: &str) -> Self {
        let path = self.home.path().join(".docker").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn context(self, name: &str, meta: &str) -> Self {
        let directory = format!("{:x}", Sha256::digest(name));
        self.file(&format!("contexts/meta/{directory}/meta.json"), meta)
    }

    fn certificates(self, directory: &str) -> Self {
        ["ca.pem", "cert.pem", "key.pem"].iter().fold(self, |it, file| it.file(&format!("{directory}/{file}"), ""))
    }

    fn locate_with(&self, host: Option<&str>) -> Result<Address, LocateError> {
        let env = |name: &str| self.env.get(name).cloned();
        locate_among(host, &env, Some(self.home.path()), &|path| self.sockets.iter().any(|s| Path::new(s) == path))
    }

    fn found(&self) -> String {
        self.locate_with(None).unwrap().to_string()
    }

    fn complaint(&self) -> String {
        let home = self.home.path().to_str().unwrap();
        self.locate_with(None).unwrap_err().to_string().replace(home, "~")
    }
}

fn docker_endpoint(host: &str) -> String {
    format!(r#"{{"Name":"x","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#)
}

#[test]
fn an_empty_machine_has_the_default_socket() {
    assert_eq!(Machine::new().sockets(&[]).found(), "unix:///var/run/docker.sock");
    assert_eq!(locate_among(None, &|_| None, None, &|_| false).unwrap().to_string(), "unix:///var/run/docker.sock");
}

#[test]
fn each_source_goes_before_the_next() {
    let machine = Machine::new()
        .set("DOCKER_HOST", "tcp://variable:1")
        .set("DOCKER_CONTEXT", "chosen")
        .context("chosen", &docker_endpoint("tcp://chosen:2"))
        .context("current", &docker_endpoint("tcp://current:3"))
        .file("config.json", r#"{"currentContext": "current"}"#);
    assert_eq!(machine.locate_with(Some("tcp://flag:0")).unwrap().to_string(), "tcp://flag:0");
    assert_eq!(machine.found(), "tcp://variable:1");
    let machine = machine.set("DOCKER_HOST", "");
    assert_eq!(machine.found(), "tcp://chosen:2");
    let machine = machine.set("DOCKER_CONTEXT", "");
    assert_eq!(machine.found(), "tcp://current:3");
    let machine = machine.set("DOCKER_CONTEXT", "default");
    assert_eq!(machine.found(), "unix:///var/run/docker.sock");
}

#[test]
fn without_the_default_socket_the_rootless_ones_and_podman_are_tried() {
    let machine = || Machine::new().set("XDG_RUNTIME_DIR", "/run/user/1000");
    let all = ["/run/podman/podman.sock", "/run/user/1000/podman/podman.sock", "/run/user/1000/docker.sock"];
    assert_eq!(machine().sockets(&all).found(), "unix:///run/user/1000/docker.sock");
    assert_eq!(machine().sockets(&all[..2]).found(), "unix:///run/user/1000/podman/podman.sock");
    assert_eq!(machine().sockets(&all[..1]).found(), "unix:///run/podman/podman.sock");
    assert_eq!(Machine::new().sockets(&all).found(), "unix:///run/podman/podman.sock");
}

#[test]
fn docker_config_moves_the_contexts() {
    let machine = Machine::new()
        .context("elsewhere", &docker_endpoint("unix:///elsewhere.sock"))
        .file("config.json", r#"{"currentContext": "elsewhere"}"#);
    assert_eq!(machine.found(), "unix:///elsewhere.sock");
    let empty = TempDir::new().unwrap();
    let machine = machine.set("DOCKER_CONFIG", empty.path().to_str().unwrap());
    assert_eq!(machine.found(), "unix:///var/run/docker.sock");
}

#[test]
fn an_address_may_leave_out_its_scheme_or_port() {
    let found = |host: &str| Machine::new().locate_with(Some(host)).unwrap().to_string();
    assert_eq!(found("example.com:2375"), "tcp://example.com:2375");
    assert_eq!(found("tcp://example.com"), "tcp://example.com:2375");
    assert_eq!(found("http://example.com/"), "tcp://example.com:2375");
    assert_eq!(found("tcp://"), "tcp://localhost:2375");
    assert_eq!(found("tcp://[::1]:99"), "tcp://[::1]:99");
    assert_eq!(found(":2375"), "tcp://localhost:2375");
    assert_eq!(found("tcp://:99"), "tcp://localhost:99");
    assert_eq!(found("localhost:"), "tcp://localhost:2375");
    assert_eq!(found(" tcp://example.com "), "tcp://example.com:2375");
}

#[cfg(unix)]
#[test]
fn what_is_left_out_of_an_address_is_the_usual_socket() {
    for text in ["unix://", "  "] {
        let machine = Machine::new().set("DOCKER_HOST", text);
        assert_eq!(machine.found(), "unix:///var/run/docker.sock", "{text:?}");
    }
    assert_eq!(Machine::new().set("DOCKER_HOST", "unix://run/docker.sock").found(), "unix://run/docker.sock");
}

#[test]
fn tls_without_an_address_is_for_this_machine_and_needs_no_certificate_of_its_own() {
    let machine = Machine::new().set("DOCKER_TLS_VERIFY", "1").file("ca.pem", "");
    let certificates = machine.home.path().join(".docker");
    let expected = Address::Tls { host: "localhost:2376".to_owned(), certificates };
    assert_eq!(machine.locate_with(None).unwrap(), expected);
    let half = machine.file("key.pem", "");
    assert!(half.complaint().ends_with("; cert.pem is not there"), "{}", half.complaint());
}

#[test]
fn tls_needs_its_certificates() {
    let machine = Machine::new().set("DOCKER_TLS_VERIFY", "1").set("DOCKER_HOST", "tcp://example.com");
    insta::assert_snapshot!(machine.complaint(), @"DOCKER_HOST: TLS needs ca.pem in ~/.docker, and cert.pem with key.pem where the engine wants to know who asks; ca.pem is not there");
    let machine = machine.certificates("certs");
    let certificates = machine.home.path().join(".docker/certs");
    let machine = machine.set("DOCKER_CERT_PATH", certificates.to_str().unwrap());
    let expected = Address::Tls { host: "example.com:2376".to_owned(), certificates };
    assert_eq!(machine.locate_with(None).unwrap(), expected);
}

#[test]
fn programs_of_dockers_are_told_of_exactly_this_engine() {
    let told = |address: &Address| {
        let variables = address.for_programs().into_iter().map(|(name, value)| format!("{name}={value}"));
        variables.collect::<Vec<_>>().join(" ")
    };
    let tls = Address::Tls { host: "example.com:2376".to_owned(), certificates: "/certs".into() };
    // They know no `https`, and `tcp` is plain to them without the second variable.
    assert_eq!(told(&tls), "DOCKER_HOST=tcp://example.com:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/certs");
    let plain = Address::Tcp("example.com:2375".to_owned());
    assert_eq!(told(&plain), "DOCKER_HOST=tcp://example.com:2375 DOCKER_TLS_VERIFY=");
    let ssh = Address::parse("--host", "ssh://me@build:2222", None).unwrap();
    assert_eq!(told(&ssh), "DOCKER_HOST=ssh://me@build:2222");
    assert_eq!(told(&Address::Unix("/x.sock".into())), "DOCKER_HOST=unix:///x.sock");
    assert!(Address::Unix("/run/user/1000/podman/podman.sock".into()).is_podmans());
    assert!(!Address::Unix("/var/run/docker.sock".into()).is_podmans());
}

#[test]
fn a_context_brings_its_own_certificates() {
    let directory = format!("contexts/tls/{:x}/docker", Sha256::digest("remote"));
    let machine = Machine::new()
        .set("DOCKER_CONTEXT", "remote")
        .context("remote", &docker_endpoint("tcp://example.com:2376"))
        .certificates(&directory);
    let certificates = machine.home.path().join(".docker").join(directory);
    let expected = Address::Tls { host: "example.com:2376".to_owned(), certificates };
    assert_eq!(machine.locate_with(None).unwrap(), expected);
}

#[test]
fn a_bad_address_says_where_what_and_what_to_write_instead() {
    let complaint = |host: &str| Machine::new().set("DOCKER_HOST", host).complaint();
    insta::assert_snapshot!(complaint("/var/run/docker.sock"), @"DOCKER_HOST: `/var/run/docker.sock` is not an address of an engine: for a socket, write unix:///PATH");
    insta::assert_snapshot!(complaint("ftp://example.com"), @"DOCKER_HOST: `ftp://example.com` is not an address of an engine: write unix:///PATH, tcp://HOST:PORT, npipe:////./pipe/NAME or ssh://USER@HOST");
    insta::assert_snapshot!(complaint("tcp://example.com:port"), @"DOCKER_HOST: `tcp://example.com:port` is not an address of an engine: invalid port number; write tcp://HOST:PORT");
    insta::assert_snapshot!(complaint("tcp://example.com/path"), @"DOCKER_HOST: `tcp://example.com/path` is not an address of an engine: a path is not possible here; write tcp://HOST:PORT");
    insta::assert_snapshot!(complaint("https://example.com"), @"DOCKER_HOST: `https://example.com` is not an address of an engine: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to reach it by TLS");
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_for_windows() {
    let machine = Machine::new().set("DOCKER_HOST", "npipe:////./pipe/docker_engine");
    insta::assert_snapshot!(machine.complaint(), @"DOCKER_HOST: `npipe:////./pipe/docker_engine` is not an address of an engine: named pipes exist on Windows only; write unix:///var/run/docker.sock");
}

#[test]
fn another_machine_is_reached_by_ssh() {
    let found = |host: &str| Machine::new().locate_with(Some(host)).unwrap().to_string();
    for whole in ["ssh://build", "ssh://me@build.example:2222", "ssh://me@build/run/user/1000/docker.sock"] {
        assert_eq!(found(whole), whole);
    }
    assert_eq!(found("ssh://me@build:2222/"), "ssh://me@build:2222");
    let complaint = |host: &str| Machine::new().set("DOCKER_HOST", host).complaint();
    for refused in [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://me:secret@build",
        "ssh://build/a;b",
        "ssh://build?x",
        "ssh://build:port",
    ] {
        assert!(complaint(refused).contains("write ssh://[USER@]HOST[:PORT]"), "{refused}: {}", complaint(refused));
    }
}

#[test]
fn a_context_that_is_missing_or_broken_is_an_error_not_another_engine() {
    let machine = Machine::new().set("DOCKER_CONTEXT", "gone");
    insta::assert_snapshot!(machine.complaint(), @"DOCKER_CONTEXT: there is no docker context `gone` (~/.docker/contexts/meta/283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247/meta.json does not exist); `docker context ls` lists those there are");

    let machine = Machine::new().file("config.json", r#"{"currentContext": "gone"}"#);
    assert!(
        machine.complaint().starts_with("currentContext in ~/.docker/config.json: there is no docker context `gone`")
    );

    let machine = Machine::new().set("DOCKER_CONTEXT", "k8s").context("k8s", r#"{"Endpoints": {}}"#);
    assert!(machine.complaint().ends_with("it has no docker endpoint with a host"), "{}", machine.complaint());
}

#[test]
fn a_config_json_that_cannot_be_read_names_no_context() {
    for text in ["", "{", "{\"currentContext\": null}", "\u{feff}{\"currentContext\": \"gone\"}"] {
        assert_eq!(Machine::new().file("config.json", text).found(), "unix:///var/run/docker.sock", "{text}");
    }
}

#[test]
fn the_rest_of_config_json_does_not_matter() {
    let machine = Machine::new().file("config.json", r#"{"auths": {}, "credsStore": "desktop", "currentContext": ""}"#);
    assert_eq!(machine.found(), "unix:///var/run/docker.sock");
}
