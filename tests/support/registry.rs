//! A real registry that stands for an upstream.

use std::time::Duration;

use super::deadline::{eventually, holds};
use super::docker::{Container, Docker};
use super::http;
use super::image::Image;
use super::sweep;

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
        docker.run(&[
            "run",
            "-d",
            "--pull",
            "never",
            "--name",
            &name,
            "--label",
            &label,
            "-p",
            "127.0.0.1::5000",
            "registry:3",
        ]);
        let (port, url) = reach(docker, &name);
        Self { docker: docker.clone(), name, port, url }
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn push(&self, image: &Image, repository: &str, tag: &str) {
        image.push(self.port, repository, tag).expect("the upstream takes the image");
    }

    /// Takes the upstream away; its address may go to another container meanwhile.
    pub(crate) fn stop(&self) {
        self.docker.run(&["stop", "-t", "1", &self.name]);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.docker.output(&["rm", "-fv", &self.name]);
    }
}

fn reach(docker: &Docker, name: &str) -> (u16, String) {
    let bound = |container: Container| container.bound().first().and_then(|(_, port)| port.parse().ok());
    let (port, _) = eventually("the upstream's port", Duration::from_secs(10), || {
        docker.container(name).and_then(bound).ok_or_else(|| "none".to_owned())
    });
    eventually("the upstream answers", Duration::from_secs(20), || holds(http::serves(port), "no answer"));
    let address = docker.container(name).expect("it runs").bridge_address();
    (port, format!("http://{address}:5000"))
}
