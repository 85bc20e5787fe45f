//! What of a container cannot be mended in place, so that it has to be recreated.

use crate::desired::Mirror;
use crate::engine::{Container, Image};
use crate::labels;
use crate::reference::Reference;
use crate::registry::{
    HOST_GATEWAY, LIFETIME, Mode, Role, SHAPE, is_proxy_setting, is_served_from_cache, needs_host_gateway,
};

/// What a change of the upstream means for what is cached: tags are asked for anew, and content is what its digest says,
/// whoever sent it. But what only the old upstream had goes on being served.
pub(super) const WHAT_STAYS: &str = "what came from the old upstream stays";

/// Why a container has to be recreated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// It is not what the manifest asks for.
    Manifest(String),
    /// It is not what this version of ksail makes of the same manifest.
    Shape(String),
}

impl Difference {
    /// In plain words.
    pub(super) fn cause(&self) -> &str {
        let (Self::Manifest(cause) | Self::Shape(cause)) = self;
        cause
    }
}

/// Why a container has to be recreated, most telling cause first; `None` when it is as desired. A label is never a
/// cause: those that say whose it is have been looked at already, and others are added by later versions.
pub(super) fn difference(mirror: &Mirror, container: &Container, image: Option<&Image>) -> Option<Difference> {
    role(mirror, container)
        .or_else(|| mode(mirror, container))
        .or_else(|| self::image(mirror, container, image))
        .or_else(|| upstream(mirror, container))
        .or_else(|| proxy(mirror, container, image))
        .or_else(|| authorities(mirror, container))
        .or_else(|| this_machine(mirror, container))
        .or_else(|| port(mirror, container))
        .or_else(|| setting(mirror, container, image))
        .or_else(|| program(mirror, container, image))
        .or_else(|| volume(mirror, container))
        .map(Difference::Manifest)
        .or_else(|| shape(mirror, container).map(Difference::Shape))
}

fn changed(what: &str, from: &str, to: &str) -> Option<String> {
    (from != to).then(|| format!("{what} changed {from} -> {to}"))
}

fn role(mirror: &Mirror, container: &Container) -> Option<String> {
    let found = container.labels.get(labels::ROLE)?;
    match mirror.role {
        _ if found == mirror.role.as_str() => None,
        Role::Push => Some("upstream removed: now a push registry".to_owned()),
        Role::Mirror => Some("upstream added: now a pull-through mirror".to_owned()),
    }
}

/// A cache is served from its volume while its upstream is away.
fn mode(mirror: &Mirror, container: &Container) -> Option<String> {
    match (mirror.mode, is_served_from_cache(&container.env)) {
        (Mode::Cache, false) => Some("upstream away: served from its cache".to_owned()),
        (Mode::Proxy, true) if mirror.role == Role::Mirror => Some("upstream answers again".to_owned()),
        _ => None,
    }
}

/// Another one is named, or the tag names another one than when the container was created. One image may go by several
/// names: to Podman, what is called registry:3 may be docker.io/library/registry:3 or localhost/registry:3.
fn image(mirror: &Mirror, container: &Container, image: Option<&Image>) -> Option<String> {
    let (found, wanted) = (&container.image, &mirror.container.image);
    let change = || changed("image", found, wanted).filter(|_| !Reference::are_one(found, wanted));
    let Some(image) = image else { return change() };
    let (before, now) = (digits(&container.image_id), digits(&image.id));
    if before == now {
        return None;
    }
    change().or_else(|| Some(format!("image {found} changed {} -> {}", short(before), short(now))))
}

/// An image's id without the name of what it was computed with, which some engines leave out.
fn digits(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn upstream(mirror: &Mirror, container: &Container) -> Option<String> {
    const UPSTREAM: &str = "REGISTRY_PROXY_REMOTEURL";
    let upstream = mirror.upstream.as_ref()?;
    let found = container.env.get(UPSTREAM);
    let changed = match mirror.container.env.get(UPSTREAM) {
        Some(wanted) => changed("upstream", found?, wanted)?,
        // It comes from a variable now, which does not make it another one.
        None if found? == upstream.as_str() => return None,
        None => changed("upstream", found?, &upstream.to_string())?,
    };
    Some(format!("{changed}; {WHAT_STAYS}"))
}

/// Only what the manifest says, or said when the container was made, is compared: without that a new container gets what
/// the docker CLI would give it, which is another thing on every network and for every user.
fn proxy(mirror: &Mirror, container: &Container, image: Option<&Image>) -> Option<String> {
    if mirror.mode == Mode::Cache {
        return None;
    }
    let (wanted, found) = (mirror.container.labels.get(labels::PROXY), container.labels.get(labels::PROXY));
    let Some(wanted) = wanted else {
        return found.map(|found| format!("proxy {found} removed from ksail.yaml"));
    };
    let images = |name: &String| image.and_then(|image| image.env.get(name));
    let set = |env: &std::collections::BTreeMap<String, String>| {
        let settings = env.iter().filter(|(name, value)| is_proxy_setting(name) && images(name) != Some(*value));
        settings.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    let is_same = set(&mirror.container.env) == set(&container.env);
    (!is_same).then(|| match found {
        None => format!("proxy set to {wanted}"),
        Some(found) if found == wanted => format!("proxy {wanted} changed in what is not shown of it"),
        Some(found) => format!("proxy changed {found} -> {wanted}"),
    })
}

/// Which certificates they are is told by the file itself, not by what a container is made of.
fn authorities(mirror: &Mirror, container: &Container) -> Option<String> {
    let has = |labels: &labels::Labels| labels.contains_key(labels::CA);
    match (has(&mirror.container.labels), has(&container.labels)) {
        (true, false) => Some("certificate authorities added".to_owned()),
        (false, true) if mirror.mode == Mode::Proxy => Some("certificate authorities removed".to_owned()),
        _ => None,
    }
}

/// Of a way that the docker CLI's own file names nothing is compared.
fn this_machine(mirror: &Mirror, container: &Container) -> Option<String> {
    let is_compared = mirror.container.labels.contains_key(labels::PROXY);
    let route = mirror.route.as_ref()?;
    let needs = needs_host_gateway(&route.upstream, route.proxy.as_ref().filter(|_| is_compared));
    let knows = container.extra_hosts.iter().any(|host| host == HOST_GATEWAY);
    (needs && !knows).then(|| "host.docker.internal not known to the container".to_owned())
}

fn port(mirror: &Mirror, container: &Container) -> Option<String> {
    if container.ports == mirror.container.ports {
        return None;
    }
    let found = container.ports.iter().find(|port| port.container_port == mirror.listen.container_port);
    let Some(found) = found else { return Some("port not published".to_owned()) };
    let port = |port: u16| if port == 0 { "any".to_owned() } else { port.to_string() };
    changed("port", &port(found.host_port), &port(mirror.listen.host_port))
        .or_else(|| changed("listen address", &found.host_address.to_string(), &mirror.listen.host_address.to_string()))
        .or_else(|| Some("another port published".to_owned()))
}

/// Only the registry's own variables are compared: images set others, and those differ by version.
fn setting(mirror: &Mirror, container: &Container, image: Option<&Image>) -> Option<String> {
    let wanted = &mirror.container.env;
    let is_shape =
        |name: &String| SHAPE.iter().chain([&LIFETIME]).any(|(other, _)| other == name) || is_proxy_setting(name);
    let different =
        wanted.iter().filter(|(name, _)| !is_shape(name)).find_map(|(name, value)| match container.env.get(name) {
            Some(found) => changed(&format!("setting {name}"), found, value),
            None => Some(format!("setting {name} missing")),
        });
    let images_own = |name: &String| image.is_some_and(|image| image.env.contains_key(name));
    let foreign = container.env.keys().find(|name| {
        name.starts_with("REGISTRY_") && !wanted.contains_key(*name) && !is_shape(name) && !images_own(name)
    });
    different.or_else(|| foreign.map(|name| format!("setting {name} not in ksail.yaml")))
}

fn program(mirror: &Mirror, container: &Container, image: Option<&Image>) -> Option<String> {
    let wanted = &mirror.container.command;
    let command_of_image = image.map(|image| &image.command);
    let command = if wanted.is_empty() { command_of_image } else { Some(wanted) };
    let entrypoint = image.map(|image| &image.entrypoint);
    if command.is_some_and(|command| *command != container.command) {
        return Some(match wanted.is_empty() {
            false => "credentials added".to_owned(),
            true if container.command.iter().any(|word| word.starts_with("/ksail/")) => {
                "credentials removed".to_owned()
            }
            true => format!("command not the image's: {}", container.command.join(" ")),
        });
    }
    entrypoint
        .is_some_and(|entrypoint| *entrypoint != container.entrypoint)
        .then(|| format!("entrypoint not the image's: {}", container.entrypoint.join(" ")))
}

fn volume(mirror: &Mirror, container: &Container) -> Option<String> {
    let mounted = |(name, target): &&(String, String)| {
        container.mounts.iter().any(|mount| mount.volume.as_ref() == Some(name) && mount.target == *target)
    };
    let missing = mirror.container.volumes.iter().find(|volume| !mounted(volume));
    missing.map(|(name, _)| format!("volume {name} not mounted"))
}

/// What ksail decides by itself. Nobody can change it in a container that is there, so an earlier version has made it.
fn shape(mirror: &Mirror, container: &Container) -> Option<String> {
    let is_set = |(name, value): &(&str, &str)| container.env.get(*name).map(String::as_str) == Some(*value);
    let log = &container.log;
    let is_capped = !log.takes_limits()
        || mirror.container.log_options.iter().all(|(key, value)| log.options.get(key) == Some(value));
    if !(SHAPE.iter().all(is_set) && is_capped) {
        return Some("made by an earlier ksail: log capped, debug port closed; cache kept".to_owned());
    }
    let reads_once = mirror.container.env.contains_key(LIFETIME.0) && !is_set(&LIFETIME);
    reads_once.then(|| "made by an earlier ksail: credentials read again every minute; cache kept".to_owned())
}
