//! Image references, as far as a registry has to be asked for one.

use std::fmt;

use crate::manifest::Host;

/// The registry of images that are named without one.
const DOCKER_HUB: &str = "docker.io";
/// Its name of old, which docker still takes.
const LEGACY_DOCKER_HUB: &str = "index.docker.io";

/// An image in a registry: `docker.io/library/alpine:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, as references say it.
    pub host: String,
    /// The repository in it.
    pub repository: String,
    /// Tag or digest.
    pub version: Version,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// By name.
    Tag(String),
    /// By content: `sha256:…`.
    Digest(String),
}

impl Reference {
    /// What a reference to an image of `host` may look like, in full.
    pub fn example(host: &Host) -> String {
        let image = if host.as_str() == DOCKER_HUB { "library/alpine:3" } else { "team/app:1" };
        format!("{host}/{image}")
    }

    /// A reference with the host that everybody leaves out: as for docker, what has none is an image of docker.io. The
    /// first part is a host when it has a dot, a port or a capital letter, or is `localhost`.
    pub fn in_full(text: &str) -> String {
        let is_host = |part: &str| {
            part == "localhost" || part.contains(['.', ':']) || part.chars().any(|c| c.is_ascii_uppercase())
        };
        match text.split_once('/') {
            Some((LEGACY_DOCKER_HUB, rest)) => format!("{DOCKER_HUB}/{rest}"),
            Some((first, _)) if is_host(first) => text.to_owned(),
            _ => format!("{DOCKER_HUB}/{text}"),
        }
    }

    /// Whether two references name one image: what everybody leaves out makes no difference.
    pub fn are_one(one: &str, other: &str) -> bool {
        let whole = |text: &str| {
            let full = Self::in_full(text);
            let official = full.strip_prefix("docker.io/").filter(|rest| !rest.contains('/'));
            let full = official.map_or_else(|| full.clone(), |name| format!("{DOCKER_HUB}/library/{name}"));
            let has_version = full.rsplit('/').next().is_some_and(|name| name.contains([':', '@']));
            if has_version { full } else { format!("{full}:latest") }
        };
        one == other || whole(one) == whole(other)
    }

    /// Reads a reference to an image of `host`. Its host has to be written out; a tag that is missing is `latest`, and an
    /// image of docker.io without a namespace is one of `library`, as everywhere.
    ///
    /// # Errors
    ///
    /// In words that say what to write.
    pub fn read(text: &str, host: &Host) -> Result<Self, String> {
        let wanted = || format!("name an image of {host} in full, such as {}", Self::example(host));
        let rest = text.strip_prefix(host.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.ok_or_else(|| format!("'{text}' is not an image of {host}; {}", wanted()))?;
        let (name, version) = match rest.split_once('@') {
            Some((name, digest)) => (name.split(':').next().unwrap_or(name), Version::Digest(digest.to_owned())),
            None => match rest.rsplit_once(':') {
                Some((name, tag)) => (name, Version::Tag(tag.to_owned())),
                None => (rest, Version::Tag("latest".to_owned())),
            },
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let is_version = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        let is_good = !name.is_empty()
            && name.split('/').all(|part| !part.is_empty())
            && name.chars().all(is_plain)
            && !version.text().is_empty()
            && version.text().chars().all(is_version);
        if !is_good {
            return Err(format!("'{text}' is not the name of an image; {}", wanted()));
        }
        let repository = if host.as_str() == DOCKER_HUB && !name.contains('/') {
            format!("library/{name}")
        } else {
            name.to_owned()
        };
        Ok(Self { host: host.to_string(), repository, version })
    }

    /// The same image in the registry at another address.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        Self { host: address.to_owned(), ..self.clone() }
    }
}

impl Version {
    /// As a path of the registry's API has it.
    pub fn text(&self) -> &str {
        match self {
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, repository, version } = self;
        match version {
            Version::Tag(tag) => write!(f, "{host}/{repository}:{tag}"),
            Version::Digest(digest) => write!(f, "{host}/{repository}@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, host: &str) -> Result<String, String> {
        Reference::read(text, &host.parse().unwrap()).map(|reference| reference.to_string())
    }

    #[test]
    fn what_everybody_leaves_out_is_filled_in() {
        assert_eq!(read("docker.io/alpine", "docker.io").unwrap(), "docker.io/library/alpine:latest");
        assert_eq!(read("ghcr.io/a/b:1.2", "ghcr.io").unwrap(), "ghcr.io/a/b:1.2");
        assert_eq!(read("localhost:5000/app", "localhost:5000").unwrap(), "localhost:5000/app:latest");
        assert_eq!(read("ghcr.io/a/b:1@sha256:00", "ghcr.io").unwrap(), "ghcr.io/a/b@sha256:00");
    }

    #[test]
    fn one_image_has_several_names() {
        for name in ["registry:3", "library/registry:3", "docker.io/registry:3", "docker.io/library/registry:3"] {
            assert!(Reference::are_one(name, "registry:3"), "{name}");
        }
        assert!(Reference::are_one("ghcr.io/a/b", "ghcr.io/a/b:latest"));
        for other in
            ["registry:2", "localhost/registry:3", "ghcr.io/library/registry:3", "registry", "registry@sha256:00"]
        {
            assert!(!Reference::are_one(other, "registry:3"), "{other}");
        }
    }

    #[test]
    fn what_has_no_host_is_an_image_of_docker_io() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("alpine@sha256:00", "docker.io/library/alpine@sha256:00"),
            ("user/app", "docker.io/user/app:latest"),
            ("a/b/c:1", "docker.io/a/b/c:1"),
            ("index.docker.io/alpine:3", "docker.io/library/alpine:3"),
        ] {
            assert_eq!(read(&Reference::in_full(text), "docker.io").unwrap(), full, "{text}");
        }
        for full in ["ghcr.io/app", "localhost/app", "kind-registry:5000/app", "Registry/app"] {
            assert_eq!(Reference::in_full(full), full);
        }
    }

    #[test]
    fn what_is_no_image_of_the_host_is_refused_with_an_example() {
        insta::assert_snapshot!(read("alpine:3", "docker.io").unwrap_err(), @"'alpine:3' is not an image of docker.io; name an image of docker.io in full, such as docker.io/library/alpine:3");
        insta::assert_snapshot!(read("ghcr.io/a b", "ghcr.io").unwrap_err(), @"'ghcr.io/a b' is not the name of an image; name an image of ghcr.io in full, such as ghcr.io/team/app:1");
        for bad in ["ghcr.io/", "ghcr.io/a//b", "ghcr.io/a:", "ghcr.io/a@", "ghcr.io.evil/a"] {
            assert!(read(bad, "ghcr.io").is_err(), "{bad}");
        }
    }
}
