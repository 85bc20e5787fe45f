//! A real registry that stands for an upstream.

use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::deadline::{eventually, holds};
use super::docker::Docker;
use super::http;
use super::image::Image;
use super::scenario::text;
use super::sweep;

/// Whom a guarded upstream knows.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "secret";
const HASH_OF_PASSWORD: &str = "$2b$05$CcMO.pspzHL/Ftv1oA72XeeOLD7NoaWtG9GaHEellDfk1/EJLqNvK";

/// A `registry:3` container of our own with content in it. Removed when dropped.
pub(crate) struct Upstream {
    docker: Docker,
    name: String,
    /// Where the test reaches it: a port of 127.0.0.1.
    pub(crate) port: u16,
    url: String,
}

impl Upstream {
    pub(crate) fn start(docker: &Docker, name: &str) -> Self {
        let name = format!("{}-{name}", sweep::prefix());
        let label = sweep::label();
        // Containers reach it by a port of the bridge's gateway, which refuses at once when the upstream has been
        // stopped. A container's own address would have no route then (15 s), or belong to another container.
        let gateway = bridge_gateway(docker);
        docker.line(&format!(
            "run -d --pull never --name {name} --label {label} -p 127.0.0.1::5000 -p {gateway}::5000 registry:3"
        ));
        let (port, url) = reach(docker, &name, gateway);
        Self { docker: docker.clone(), name, port, url }
    }

    /// One with the same content that gives it to user [`USER`] with [`PASSWORD`] only.
    pub(crate) fn guarded(&self) -> Self {
        let (docker, name, label) = (&self.docker, format!("{}-guarded", self.name), sweep::label());
        let gateway = bridge_gateway(docker);
        docker.line(&format!(
            "create --pull never --name {name} --label {label} --volumes-from {} -p 127.0.0.1::5000 -p {gateway}::5000 \
             -e REGISTRY_AUTH=htpasswd -e REGISTRY_AUTH_HTPASSWD_REALM=x \
             -e REGISTRY_AUTH_HTPASSWD_PATH=/tmp/htpasswd registry:3",
            self.name
        ));
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        writeln!(file, "{USER}:{HASH_OF_PASSWORD}").expect("it can be written");
        docker.run(&["cp", text(file.path()), &format!("{name}:/tmp/htpasswd")]);
        docker.run(&["start", &name]);
        let (port, url) = reach(docker, &name, gateway);
        Self { docker: docker.clone(), name, port, url }
    }

    /// One that speaks TLS, with a certificate that nobody has signed but itself.
    pub(crate) fn encrypted(&self) -> Self {
        let (docker, name, label) = (&self.docker, format!("{}-encrypted", self.name), sweep::label());
        let gateway = bridge_gateway(docker);
        docker.line(&format!(
            "create --pull never --name {name} --label {label} -p 127.0.0.1::5000 -p {gateway}::5000 \
             -e REGISTRY_HTTP_TLS_CERTIFICATE=/tmp/certificate -e REGISTRY_HTTP_TLS_KEY=/tmp/key registry:3"
        ));
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([gateway.to_owned()]).expect("a certificate of an address");
        for (content, to) in [(cert.pem(), "certificate"), (signing_key.serialize_pem(), "key")] {
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            file.write_all(content.as_bytes()).expect("it can be written");
            docker.run(&["cp", text(file.path()), &format!("{name}:/tmp/{to}")]);
        }
        docker.run(&["start", &name]);
        let (port, http) = reach(docker, &name, gateway);
        Self { docker: docker.clone(), name, port, url: http.replace("http:", "https:") }
    }

    /// Its container's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its own address in a network, which this machine and the containers there reach without any port being published.
    pub(crate) fn address_in(&self, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.docker.run(&["inspect", "-f", &format, &self.name])
    }

    /// Runs a program of this machine in its network namespace, which no other container is in.
    pub(crate) fn within(&self, words: &str) {
        let pid = self.docker.container(&self.name).expect("it runs").pid();
        let mut command = Command::new("nsenter");
        let output = command.arg(format!("--net=/proc/{pid}/ns/net")).args(words.split_whitespace()).output();
        let output = output.expect("nsenter runs (this needs root)");
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The address of this machine that containers reach.
    pub(crate) fn gateway(&self) -> &'static str {
        bridge_gateway(&self.docker)
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn push(&self, image: &Image, repository: &str, tag: &str) {
        image.push(self.port, repository, tag).expect("the upstream takes the image");
    }

    /// Puts it on a network as well, and returns the address at which it is known there and nowhere else.
    pub(crate) fn join(&self, network: &str) -> String {
        self.docker.run(&["network", "connect", network, &self.name]);
        format!("http://{}:5000", self.name)
    }

    /// Takes the upstream away: whoever asks it is refused.
    pub(crate) fn stop(&self) {
        self.docker.run(&["stop", "-t", "1", &self.name]);
    }

    /// Has it accept connections and answer nothing, until it is to [speak](Upstream::speak) again.
    pub(crate) fn fall_silent(&self) {
        self.docker.run(&["pause", &self.name]);
    }

    pub(crate) fn speak(&self) {
        self.docker.run(&["unpause", &self.name]);
    }

    /// Brings it back where it was, with its content, after [`Upstream::stop`]. The engine would start the container
    /// itself on another port.
    pub(crate) fn start_again(&self) {
        let (docker, name, label) = (&self.docker, &self.name, sweep::label());
        let (port, at) = (self.port, self.url.trim_start_matches("http://"));
        docker.line(&format!("rename {name} {name}-old"));
        docker.line(&format!(
            "run -d --pull never --name {name} --label {label} --volumes-from {name}-old -p 127.0.0.1:{port}:5000 \
             -p {at}:5000 registry:3"
        ));
        docker.line(&format!("rm {name}-old"));
        eventually("the upstream answers", Duration::from_secs(20), || holds(http::serves(port), "no answer"));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.docker.output(&["rm", "-fv", &self.name]);
    }
}

/// The engine's own address on the default bridge. `docker network inspect` does not tell it when it is the default
/// one, so a container is asked.
fn bridge_gateway(docker: &Docker) -> &'static str {
    static GATEWAY: OnceLock<String> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        let label = sweep::label();
        let container = docker.line(&format!("run -d --pull never --label {label} ksail-test/silent:1"));
        let gateway = docker.line(&format!("inspect -f {{{{.NetworkSettings.Networks.bridge.Gateway}}}} {container}"));
        docker.line(&format!("rm -f {container}"));
        gateway
    })
}

fn reach(docker: &Docker, name: &str, gateway: &str) -> (u16, String) {
    let ports = || -> Option<(u16, u16)> {
        let bound = docker.container(name)?.bound();
        let port_at =
            |address: &str| bound.iter().find(|(at, _)| at == address).and_then(|(_, port)| port.parse().ok());
        Some((port_at("127.0.0.1")?, port_at(gateway)?))
    };
    let ((port, outside), _) =
        eventually("the upstream's ports", Duration::from_secs(10), || ports().ok_or_else(|| "none".to_owned()));
    eventually("the upstream answers", Duration::from_secs(20), || holds(http::get(port, "/v2/").is_ok(), "no answer"));
    (port, format!("http://{gateway}:{outside}"))
}
