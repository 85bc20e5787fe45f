//! Which pulls are made, with what, and what needs none to be seen.

use tokio::time::{Instant, timeout_at};

use futures_util::stream::{self, StreamExt};

use super::proof::{Hop, Outcome, Proof};
use super::pull::Pull;
use crate::desired::{Desired, Mirror};
use crate::distribution::node_layout;
use crate::engine::{ContainerState, Engine, EngineError};
use crate::observed::{Foreign, Node, Observed, OwnContainer, Unwired, asked_proxy, containerds_proxy, unwired};
use crate::probe::{FromHere, Serving};
use crate::reference::Reference;
use crate::registry::{self, Answers, Role};

/// Pulls at once. Each is a program in a node.
const AT_ONCE: usize = 4;

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
    /// Somebody asked for these mirrors, and not for whatever there is.
    pub is_named: bool,
    /// When all has to be known.
    pub deadline: Instant,
}

impl<E: Engine> Verifier<'_, E> {
    /// Proves each of these mirrors on every node that runs.
    pub async fn prove(&self, mirrors: &[&Mirror]) -> Result<Vec<Proof>, EngineError> {
        let images = mirrors.iter().map(|mirror| async move {
            let image = timeout_at(self.deadline, self.image_for(mirror)).await;
            (*mirror, image.unwrap_or(Err(Outcome::TimeIsUp)))
        });
        let images: Vec<_> = stream::iter(images.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
        let on_nodes = images
            .iter()
            .flat_map(|(mirror, image)| self.observed.nodes.iter().map(move |node| (*mirror, node, image)));
        let pulls: Vec<_> = on_nodes.map(|(mirror, node, image)| self.prove_in_time(mirror, node, image)).collect();
        let proofs: Vec<_> = stream::iter(pulls).buffered(AT_ONCE).collect().await;
        proofs.into_iter().collect()
    }

    /// The image asked for, or one in the mirror's cache.
    async fn image_for(&self, mirror: &Mirror) -> Result<Reference, Outcome> {
        if let Some(image) = self.image.filter(|image| image.host == mirror.host.as_str()) {
            return Ok(image.clone());
        }
        let cached = match self.container(mirror) {
            Some(found) => self.cached_image(found).await,
            None => None,
        };
        let (repository, tag) = cached.ok_or_else(|| self.nothing_to_pull(mirror))?;
        let host = &mirror.host;
        Reference::read(&format!("{host}/{repository}:{tag}"), host).map_err(|message| Outcome::NotTried { message })
    }

    fn nothing_to_pull(&self, mirror: &Mirror) -> Outcome {
        let host = &mirror.host;
        match mirror.role {
            Role::Mirror => {
                let image = Reference::example(host);
                Outcome::NotTried { message: format!("nothing cached yet; ksail verify {host} --image {image}") }
            }
            Role::Push => {
                let message = format!("nothing pushed yet: docker push {host}/NAME:TAG");
                if self.is_named { Outcome::NotTried { message } } else { Outcome::PassedOver { message } }
            }
        }
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

    async fn prove_in_time(
        &self,
        mirror: &Mirror,
        node: &Node,
        image: &Result<Reference, Outcome>,
    ) -> Result<Proof, EngineError> {
        let proven = timeout_at(self.deadline, self.prove_on(mirror, node, image)).await;
        let (outcome, answers) = proven.unwrap_or(Ok((Outcome::TimeIsUp, Answers::default())))?;
        Ok(Proof {
            host: mirror.host.to_string(),
            role: mirror.role,
            node: node.name.clone(),
            image: image.as_ref().ok().map(ToString::to_string),
            requests: answers.by_status(),
            outcome,
        })
    }

    async fn prove_on(
        &self,
        mirror: &Mirror,
        node: &Node,
        image: &Result<Reference, Outcome>,
    ) -> Result<(Outcome, Answers), EngineError> {
        let without_pull = |outcome| Ok((outcome, Answers::default()));
        if let Some(obstacle) = self.obstacle(mirror, node) {
            return without_pull(obstacle);
        }
        let image = match image {
            Ok(image) => image,
            Err(outcome) => return without_pull(outcome.clone()),
        };
        let Some(found) = self.container(mirror) else {
            return without_pull(Outcome::broken(Hop::Mirror, "it is gone"));
        };
        // The client has the environment of the node's container, and containerd itself may have another one.
        let proxy = containerds_proxy(self.engine, &node.id).await?.unwrap_or_else(|| node.proxy.clone());
        if let Some(asked) = asked_proxy(&proxy, node, mirror, self.desired) {
            return without_pull(told(node, asked));
        }
        let Self { engine, probe, deadline, .. } = *self;
        let (layout, container) = (node_layout(self.desired.distribution), &found.container);
        let no_proxy = proxy.no_proxy();
        Pull { engine, probe, layout, mirror, container, node, no_proxy, image, deadline }.prove().await
    }

    /// What needs no pull to be seen.
    fn obstacle(&self, mirror: &Mirror, node: &Node) -> Option<Outcome> {
        let unwired = unwired(node, mirror, self.desired).map(|why| told(node, why));
        match unwired {
            Some(broken @ Outcome::Broken { .. }) => Some(broken),
            not_tried => {
                let wrong = self.wrong_mirror(mirror).map(|message| Outcome::broken(Hop::Mirror, message));
                wrong
                    .or_else(|| self.unknown_name(mirror).map(|message| Outcome::broken(Hop::Dns, message)))
                    .or(not_tried)
            }
        }
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

    /// Where a mirror is not on the cluster's network nobody there can say what its name means, and who is asked in turn
    /// may take long to say so.
    fn unknown_name(&self, mirror: &Mirror) -> Option<String> {
        let (name, network) = (&mirror.name, self.observed.network.as_ref()?);
        let endpoint = self.container(mirror).and_then(|found| network.endpoint_of(&found.container));
        let is_known = endpoint.is_some_and(|endpoint| endpoint.aliases.contains(name));
        let network = &network.name;
        (!is_known).then(|| {
            format!("nodes do not know the name {name}: it is not on network {network}; 'ksail apply' mends that")
        })
    }

    fn container(&self, mirror: &Mirror) -> Option<&OwnContainer> {
        self.observed.containers.iter().find(|found| found.container.name == mirror.name)
    }
}

fn told(node: &Node, why: Unwired) -> Outcome {
    let name = &node.name;
    Outcome::broken(
        if matches!(why, Unwired::Proxied(_)) { Hop::Proxy } else { Hop::NodeFile },
        match why {
            Unwired::Unreadable(why) => format!("the files of {name} cannot be read: {why}"),
            Unwired::Ignores(complaint) | Unwired::Proxied(complaint) => complaint,
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::desired::{ResolveContext, resolve};
    use crate::distribution::containerd::RegistryConfig;
    use crate::engine::memory::Memory;
    use crate::manifest::load_contents;
    use crate::observed::HostDirectory;
    use crate::probe::EngineAt;

    const MANIFEST: &str = "apiVersion: ksail.dev/v1alpha1\nkind: Cluster\nmetadata: {name: dev}\nspec:\n  registries:\n    mirrors:\n      - {host: docker.io, upstream: \"https://registry-1.docker.io\"}\n";

    fn node(name: String, desired: &Desired) -> Node {
        let files = desired.mirrors.values().flat_map(|mirror| &mirror.node_files);
        let hosts = files.map(|(host, file)| {
            (host.clone(), HostDirectory { hosts_toml: Some(file.text().to_owned()), has_others: false })
        });
        let directory = "/etc/containerd/certs.d".to_owned();
        Node {
            id: name.clone(),
            name,
            addresses: Vec::new(),
            hosts_directory: directory.clone(),
            hosts: hosts.collect(),
            unreadable: None,
            registry_config: RegistryConfig::Directory(directory),
            proxy: crate::distribution::proxy::ProxySettings::default(),
        }
    }

    /// As many as are pulled at once, and as many again whose turn does not come.
    #[tokio::test(start_paused = true)]
    async fn all_of_it_ends_in_time_and_what_was_not_known_by_then_is_not_proven() {
        let engine = Memory::new();
        let manifest = load_contents(Path::new("ksail.yaml"), Ok(MANIFEST.into()), &|_| None).unwrap();
        let desired = resolve(&manifest, &ResolveContext::default());
        let mirror = desired.mirrors.values().next().unwrap();
        engine.add_image(&mirror.container.image, crate::engine::Image::default());
        let id = engine.create_container(&mirror.container).await.unwrap();
        engine.start_container(&id).await.unwrap();
        let container = engine.inspect_container(&id).await.unwrap().into();
        let found = OwnContainer {
            container,
            secrets: None,
            major_version: None,
            lacks_shell: false,
            serving: Serving::Answers,
            starting: false,
            starts_again: crate::observed::StartsAgain::NotAsked,
        };
        let nodes: Vec<_> = (0..2 * AT_ONCE).map(|index| node(format!("dev-{index}"), &desired)).collect();
        let observed = Observed { containers: vec![found], nodes, ..Observed::default() };
        let image = Reference::read("docker.io/alpine", &mirror.host).unwrap();
        engine.delay(|call| call.name == "logs", usize::MAX, Duration::from_secs(3600));
        let (probe, begun) = (FromHere::new(EngineAt::ThisMachine), Instant::now());
        let verifier = Verifier {
            engine: &engine,
            probe: &probe,
            desired: &desired,
            observed: &observed,
            image: Some(&image),
            is_named: true,
            deadline: begun + Duration::from_secs(60),
        };
        let proofs = verifier.prove(&[mirror]).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        assert_eq!(proofs.len(), 2 * AT_ONCE);
        assert!(proofs.iter().all(|proof| proof.outcome == Outcome::TimeIsUp), "{proofs:?}");
    }

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
}
