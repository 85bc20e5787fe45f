//! Proof that a node's pulls go through a mirror: one is made on the node, and has to show in the mirror's own log.
//!
//! ```text
//! node file ──▶ DNS ──▶ connect ──▶ mirror ──▶ upstream (credentials)
//! ```
//!
//! A pull that succeeds proves nothing, since containerd goes around a mirror that does not work; and one that fails
//! does not say where. So what fails is looked into, hop by hop.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use crate::desired::{Desired, Mirror};
use crate::distribution::{NodeLayout, node_layout};
use crate::engine::{ContainerState, Engine, EngineError, Exec, Executed, LogPart};
use crate::observed::{Foreign, Node, Observed, OwnContainer, Unwired, unwired};
use crate::probe::{Asked, FromHere, Serving};
use crate::reference::Reference;
use crate::registry::{self, Role};

/// containerd's namespace for these pulls: nothing of them is left among the cluster's own images.
const NAMESPACE: &str = "ksail-verify";
/// Pulls at once. Each is a program in a node.
const AT_ONCE: usize = 4;
/// Lines of a mirror's log that are searched. A pull writes two for each request.
const LINES: u32 = 2_000;

/// Where a pull goes through, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// The node's `hosts.toml`, and whether its containerd reads it.
    NodeFile,
    /// The mirror's name, as the node looks it up.
    Dns,
    /// The connection from the node to the mirror.
    Connect,
    /// The mirror's registry.
    Mirror,
    /// The registry that the mirror asks.
    Upstream,
    /// What the mirror tells that registry who it is.
    Credentials,
}

impl Hop {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeFile => "node file",
            Self::Dns => "DNS",
            Self::Connect => "connect",
            Self::Mirror => "mirror",
            Self::Upstream => "upstream",
            Self::Credentials => "credentials",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found out about one mirror on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What image references say.
    pub host: String,
    /// Whether it is a mirror, or a registry to push to.
    pub role: Role,
    /// The node.
    pub node: String,
    /// The image that was pulled.
    pub image: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pull came through the mirror.
    Proven {
        /// The node's requests in the mirror's log.
        requests: usize,
    },
    /// It did not.
    Broken {
        /// The first hop that does not work.
        hop: Hop,
        /// What is wrong there.
        message: String,
    },
    /// There is nothing to pull, or nothing to pull it with.
    NotTried {
        /// Why, and what to do.
        message: String,
    },
}

impl Outcome {
    fn broken(hop: Hop, message: impl Into<String>) -> Self {
        Self::Broken { hop, message: message.into() }
    }

    /// Whether the pull came through the mirror.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven { .. })
    }
}

/// What to prove, with what.
#[derive(Debug)]
pub struct Verifier<'a, E> {
    /// The engine that runs nodes and mirrors.
    pub engine: &'a E,
    /// How registries are asked from here.
    pub probe: &'a FromHere,
    /// What should be.
    pub desired: &'a Desired,
    /// What is.
    pub observed: &'a Observed,
    /// The image to pull; otherwise one that the mirror has already.
    pub image: Option<&'a Reference>,
    /// How long a pull may take.
    pub limit: Duration,
}

impl<E: Engine> Verifier<'_, E> {
    /// Proves each of these mirrors on every node that runs.
    pub async fn prove(&self, mirrors: &[&Mirror]) -> Result<Vec<Proof>, EngineError> {
        let mut pulls = Vec::new();
        for mirror in mirrors {
            let image = self.image_for(mirror).await;
            for node in &self.observed.nodes {
                pulls.push(self.prove_on(mirror, node, image.clone()));
            }
        }
        let proofs: Vec<_> = stream::iter(pulls).buffered(AT_ONCE).collect().await;
        proofs.into_iter().collect()
    }

    /// The image asked for, or one in the mirror's cache.
    async fn image_for(&self, mirror: &Mirror) -> Result<Reference, String> {
        if let Some(image) = self.image.filter(|image| image.host == mirror.host.as_str()) {
            return Ok(image.clone());
        }
        let cached = match self.container(mirror) {
            Some(found) => self.cached_image(found).await,
            None => None,
        };
        let host = &mirror.host;
        let example = if host.as_str() == "docker.io" { "library/alpine:3" } else { "team/app:1" };
        let nothing = || match mirror.role {
            Role::Mirror => format!(
                "nothing is cached yet that could be pulled; name an image: ksail verify {host} --image {host}/{example}"
            ),
            Role::Push => format!("nothing has been pushed yet that could be pulled: docker push {host}/NAME:TAG"),
        };
        let (repository, tag) = cached.ok_or_else(nothing)?;
        Reference::read(&format!("{host}/{repository}:{tag}"), host)
    }

    /// Repository and tag of an image that is in a registry's volume. Of its tags a cache lists those of its upstream.
    async fn cached_image(&self, found: &OwnContainer) -> Option<(String, String)> {
        for repository in self.probe.cached_repositories(&found.container).await {
            let tags = registry::tags_directory(&repository);
            let Ok(archive) = self.engine.get_archive(&found.container.id, &tags).await else { continue };
            if let Some(tag) = tag_in(&archive) {
                return Some((repository, tag));
            }
        }
        None
    }

    async fn prove_on(
        &self,
        mirror: &Mirror,
        node: &Node,
        image: Result<Reference, String>,
    ) -> Result<Proof, EngineError> {
        let shown = image.as_ref().ok().map(ToString::to_string);
        let outcome = match self.obstacle(mirror, node) {
            Some(obstacle) => obstacle,
            None => match image {
                Err(message) => Outcome::NotTried { message },
                Ok(image) => self.pull_and_look(mirror, node, &image).await?,
            },
        };
        Ok(Proof { host: mirror.host.to_string(), role: mirror.role, node: node.name.clone(), image: shown, outcome })
    }

    /// What needs no pull to be seen.
    fn obstacle(&self, mirror: &Mirror, node: &Node) -> Option<Outcome> {
        let unwired = unwired(node, mirror, self.desired).map(|why| Self::told(node, why));
        match unwired {
            Some(broken @ Outcome::Broken { .. }) => Some(broken),
            not_tried => self.wrong_mirror(mirror).map(|message| Outcome::broken(Hop::Mirror, message)).or(not_tried),
        }
    }

    fn told(node: &Node, why: Unwired) -> Outcome {
        let name = &node.name;
        Outcome::broken(
            Hop::NodeFile,
            match why {
                Unwired::Unreadable(why) => format!("the files of {name} cannot be read: {why}"),
                Unwired::Ignores(complaint) => complaint,
                Unwired::Missing(path) => format!("{path} is missing; 'ksail apply' writes it"),
                Unwired::Differs(path) => format!("{path} is not as ksail.yaml says; 'ksail apply' mends it"),
                Unwired::Foreign(Foreign { path, cluster: None }) => {
                    format!("{path} was not written by ksail; move it away")
                }
                Unwired::Foreign(Foreign { path, cluster: Some(cluster) }) => {
                    format!("{path} is cluster {cluster}'s; mount another directory into the nodes of one of them")
                }
                Unwired::Unknown(why) => {
                    let message = format!("it cannot be told whether containerd on {name} reads such files: {why}");
                    return Outcome::NotTried { message };
                }
            },
        )
    }

    fn wrong_mirror(&self, mirror: &Mirror) -> Option<String> {
        let name = &mirror.name;
        let Some(found) = self.container(mirror) else {
            return Some(format!("there is no container {name}; 'ksail apply' creates it"));
        };
        match (found.container.state, found.serving) {
            (ContainerState::Running, Serving::Answers | Serving::Unknown) => None,
            (ContainerState::Running, _) => {
                Some(format!("the registry in {name} does not answer /v2/; 'docker logs {name}' may say why"))
            }
            (state, _) => Some(format!("container {name} is {state}; 'ksail apply' mends that")),
        }
    }

    /// The pull itself; whether it came through is what the mirror's log says.
    async fn pull_and_look(&self, mirror: &Mirror, node: &Node, image: &Reference) -> Result<Outcome, EngineError> {
        let Some(found) = self.container(mirror) else { return Ok(Outcome::broken(Hop::Mirror, "it is gone")) };
        let hosts = ["--hosts-dir", node.hosts_directory.as_str()];
        let before = match self.requests(found, node, image).await {
            Err(error) if !error.is_unavailable() => {
                let message = format!("the log of {} cannot be read: {error}", found.container.name);
                return Ok(Outcome::NotTried { message });
            }
            before => before?,
        };
        let pulled = self.fetch(node, &hosts, image).await?;
        let after = self.requests(found, node, image).await?;
        let requests: usize =
            after.iter().map(|(line, times)| times.saturating_sub(before.get(line).copied().unwrap_or_default())).sum();
        match pulled {
            Fetched::Done if requests > 0 => Ok(Outcome::Proven { requests }),
            Fetched::NoClient => Ok(no_client(node)),
            Fetched::Done | Fetched::Failed(_) | Fetched::TooLate => {
                self.look_into(mirror, node, image, requests).await
            }
        }
    }

    /// Asks the mirror alone, so that what fails is the way to it. Of the pull that did not succeed `requests` came to it.
    async fn look_into(
        &self,
        mirror: &Mirror,
        node: &Node,
        image: &Reference,
        requests: usize,
    ) -> Result<Outcome, EngineError> {
        let address = format!("{}:{}", mirror.name, registry::PORT);
        Ok(match self.fetch(node, &["--plain-http"], &image.at(&address)).await? {
            Fetched::Done if requests > 0 => {
                let limit = self.limit.as_secs();
                let message = format!(
                    "the pull came through it, and did not end well within {limit} s; the next one does: try again, with a longer --timeout"
                );
                Outcome::broken(Hop::Mirror, message)
            }
            Fetched::Done => {
                let message = format!(
                    "{} reaches the mirror, and its containerd goes around it; 'docker logs {}' may say more",
                    node.name, node.name
                );
                Outcome::broken(Hop::NodeFile, message)
            }
            Fetched::TooLate => {
                self.behind(mirror, image, &format!("no answer within {} s", self.limit.as_secs())).await
            }
            Fetched::NoClient => no_client(node),
            Fetched::Failed(words) => match hop_of(&words) {
                Some(hop) => Outcome::broken(hop, format!("{} cannot reach {address}: {words}", node.name)),
                None => self.behind(mirror, image, &words).await,
            },
        })
    }

    /// The mirror answered, and did not have the image to give.
    async fn behind(&self, mirror: &Mirror, image: &Reference, words: &str) -> Outcome {
        let Some(upstream) = &mirror.upstream else {
            return Outcome::broken(Hop::Mirror, format!("it has no {image} ({words})"));
        };
        match self.probe.ask_upstream(upstream, mirror.credentials.as_ref(), image).await {
            Asked::Has => {
                let name = &mirror.name;
                // https://github.com/distribution/distribution/issues/3153
                let hint = match mirror.credentials {
                    Some(_) => {
                        "; registry 2 cannot log in where an upstream asks for a password at once, registry 3 can"
                    }
                    None => "",
                };
                let message = format!(
                    "{upstream} has {image} and the mirror does not give it ({words}); 'docker logs {name}' may say why{hint}"
                );
                Outcome::broken(Hop::Mirror, message)
            }
            Asked::HasNot => Outcome::broken(Hop::Upstream, format!("{upstream} has no {image}")),
            Asked::Unreachable(why) => Outcome::broken(
                Hop::Upstream,
                format!("{upstream} cannot be reached ({why}), and {image} is not cached"),
            ),
            Asked::Refused(why) => Outcome::broken(Hop::Credentials, format!("{upstream} {why}")),
        }
    }

    /// Requests of a node for an image in the mirror's log.
    async fn requests(
        &self,
        found: &OwnContainer,
        node: &Node,
        image: &Reference,
    ) -> Result<BTreeMap<String, usize>, EngineError> {
        let log = self.engine.logs(&found.container.id, LogPart::Last(LINES)).await?;
        Ok(registry::requests(&log, &node.addresses, &image.repository))
    }

    /// Fetches an image into a namespace of its own on a node, and removes it there again.
    async fn fetch(&self, node: &Node, how: &[&str], image: &Reference) -> Result<Fetched, EngineError> {
        let image = image.to_string();
        let fetch = ["content", "fetch"].into_iter().chain(how.iter().copied()).chain([image.as_str()]);
        let fetched = match self.ctr(node, fetch).await {
            Ok(done) if done.succeeded() => Fetched::Done,
            Ok(done) if done.is_missing_program() => return Ok(Fetched::NoClient),
            Ok(done) => Fetched::Failed(last_words(&done)),
            Err(EngineError::Timeout { .. }) => Fetched::TooLate,
            Err(error) => return Err(error),
        };
        // What cannot be removed is in nobody's way.
        let _ = self.ctr(node, ["images", "remove", "--sync", image.as_str()].into_iter()).await;
        let _ = self.ctr(node, ["namespaces", "remove", NAMESPACE].into_iter()).await;
        Ok(fetched)
    }

    async fn ctr(&self, node: &Node, words: impl Iterator<Item = &str>) -> Result<Executed, EngineError> {
        let ctr = ["ctr", "--address", self.layout().socket, "--namespace", NAMESPACE];
        self.engine.exec(&node.id, &Exec::changing(ctr.into_iter().chain(words)).within(self.limit)).await
    }

    fn container(&self, mirror: &Mirror) -> Option<&OwnContainer> {
        self.observed.containers.iter().find(|found| found.container.name == mirror.name)
    }

    fn layout(&self) -> NodeLayout {
        node_layout(self.desired.distribution)
    }
}

/// The first tag that names a manifest: `tags/<tag>/current/link`.
fn tag_in(archive: &[u8]) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let tags = archive.entries().ok()?.filter_map(Result::ok).filter_map(|entry| {
        let path = entry.path().ok()?.into_owned();
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        match parts.as_slice() {
            [_, tag, current, link] if current == "current" && link == "link" => Some(tag.clone()),
            _ => None,
        }
    });
    tags.min()
}

/// How a fetch ended.
enum Fetched {
    Done,
    Failed(String),
    TooLate,
    NoClient,
}

fn no_client(node: &Node) -> Outcome {
    Outcome::NotTried { message: format!("there is no 'ctr' on {}, which makes the pull", node.name) }
}

/// The hop that words of containerd's client are about, if it is one on the way to the mirror.
fn hop_of(words: &str) -> Option<Hop> {
    let says = |all: &[&str]| all.iter().any(|part| words.contains(part));
    if says(&["no such host", "server misbehaving", "name resolution"]) {
        Some(Hop::Dns)
    } else if says(&[
        "connection refused",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "connection reset",
    ]) {
        Some(Hop::Connect)
    } else {
        None
    }
}

/// What `ctr` says last, without what it says before every error and every failed connection.
fn last_words(done: &Executed) -> String {
    let last = done.last_words();
    let last = last.strip_prefix("ctr: ").unwrap_or(last);
    last.split_once("dial tcp").map_or(last, |(_, rest)| rest.trim_start_matches([':', ' '])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_that_leads_to_a_manifest() {
        let mut archive = tar::Builder::new(Vec::new());
        for path in ["tags/2/index/sha256/00/link", "tags/1/current/link", "tags/3/current/link"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            archive.append_data(&mut header, path, std::io::empty()).unwrap();
        }
        assert_eq!(tag_in(&archive.into_inner().unwrap()).as_deref(), Some("1"));
        assert_eq!(tag_in(b"no archive"), None);
    }

    #[test]
    fn words_of_the_client_name_the_hop_to_the_mirror() {
        let dial = |end: &str| format!("failed to do request: Head \"http://x:5000/v2/\": dial tcp: {end}");
        assert_eq!(hop_of(&dial("lookup x on 127.0.0.11:53: no such host")), Some(Hop::Dns));
        assert_eq!(hop_of(&dial("lookup x on 127.0.0.11:53: server misbehaving")), Some(Hop::Dns));
        assert_eq!(hop_of(&dial("10.0.0.1:5000: connect: connection refused")), Some(Hop::Connect));
        assert_eq!(hop_of(&dial("10.0.0.1:5000: i/o timeout")), Some(Hop::Connect));
        assert_eq!(hop_of("docker.io/a/b:1: not found"), None);
    }
}
