//! Values on the command line that name registries.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::manifest::{Host, InvalidValue, Upstream};

/// `HOST=UPSTREAM`, or `HOST` for the upstream everybody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MirrorRegistry {
    pub(super) host: Host,
    /// As the file is to say it: a URL, or a text with `${VAR}` in it.
    pub(super) upstream: String,
}

/// `HOST:PORT`, mostly `localhost:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalRegistry {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A mirror or a registry to push to, as `ksail mirror add` takes either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Registry {
    Mirror(MirrorRegistry),
    Local(LocalRegistry),
}

impl Registry {
    pub(super) fn host(&self) -> &Host {
        match self {
            Self::Mirror(mirror) => &mirror.host,
            Self::Local(local) => &local.host,
        }
    }
}

/// An upstream as the file is to say it; with a variable in it, what that holds is checked when the file is read.
pub(super) fn upstream(text: &str) -> Result<String, String> {
    if !text.contains("${") {
        text.parse::<Upstream>().map_err(words)?;
    } else if text.contains('@') {
        return Err(words(InvalidValue::user_info_in_upstream()));
    }
    Ok(text.to_owned())
}

pub(super) fn host(text: &str) -> Result<Host, String> {
    text.parse().map_err(words)
}

/// A year; a deadline further away could not be told from none, and the far end of time has no clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether nobody else can have a registry of this name, so that there is nothing to be a cache of: `localhost` and what is
/// below it (RFC 6761), and names without a dot, which only a container or this machine has (`kind-registry:5000`).
fn is_of_this_machine(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || (!name.is_empty() && !name.contains(['.', '/', '*']))
}

/// A time to wait, as commands take it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "write a number and a unit, as in 30s, 5m or 1h".to_owned())?;
    let duration = Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())?;
    if duration.is_zero() {
        return Err("a time to wait is longer than zero".to_owned());
    }
    if duration > LONGEST {
        return Err("nobody waits that long; write at most 8760h, a year".to_owned());
    }
    Ok(duration)
}

/// A refusal and what to write instead, in one line.
pub(super) fn words(error: InvalidValue) -> String {
    match error.hint {
        Some(hint) => format!("{}; {hint}", error.problem),
        None => error.problem,
    }
}

impl FromStr for MirrorRegistry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, upstream) = match text.split_once('=') {
            Some(("", _)) => {
                return Err("expected HOST=UPSTREAM, as in docker.io=https://registry-1.docker.io".to_owned());
            }
            Some((name, url)) => (host(name)?, upstream(url)?),
            None => {
                let host = host(text)?;
                if is_of_this_machine(host.name()) {
                    return Err(format!("'{text}' is a registry to push to; write --local-registry {text}"));
                }
                let upstream = Upstream::well_known(&host).to_string();
                (host, upstream)
            }
        };
        Ok(Self { host, upstream })
    }
}

impl FromStr for LocalRegistry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') {
            return Err("a registry to push to has no upstream; write --mirror-registry HOST=UPSTREAM".to_owned());
        }
        if text.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!("expected HOST:PORT; write localhost:{text}"));
        }
        if text == "localhost" {
            return Err("expected HOST:PORT; write localhost:5000, or another free port".to_owned());
        }
        let host = host(text)?;
        match host.port() {
            Some(port) if host.name() != "127.0.0.1" => Ok(Self { host, port }),
            Some(port) => Err(format!("a registry to push to has a name; write localhost:{port}")),
            None => Err(format!("expected HOST:PORT; write {host}:5000, or another free port")),
        }
    }
}

impl FromStr for Registry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_local = |text: &str| text.split(':').next().is_some_and(is_of_this_machine);
        if !text.contains('=') && is_local(text) {
            return text.parse().map(Self::Local);
        }
        text.parse().map(Self::Mirror)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(text: &str) -> Result<(String, String), String> {
        text.parse::<MirrorRegistry>().map(|mirror| (mirror.host.to_string(), mirror.upstream))
    }

    fn local(text: &str) -> Result<u16, String> {
        text.parse::<LocalRegistry>().map(|local| local.port)
    }

    #[test]
    fn a_host_alone_has_the_upstream_everybody_knows() {
        assert_eq!(mirror("docker.io").unwrap().1, "https://registry-1.docker.io");
        assert_eq!(mirror("ghcr.io").unwrap().1, "https://ghcr.io");
    }

    #[test]
    fn an_upstream_may_hold_a_variable() {
        assert_eq!(mirror("docker.io=${HUB}").unwrap().1, "${HUB}");
    }

    #[test]
    fn what_is_no_mirror_is_refused_in_words_that_help() {
        let refused = |text: &str| mirror(text).unwrap_err();
        insta::assert_snapshot!(refused("=https://a.example"), @"expected HOST=UPSTREAM, as in docker.io=https://registry-1.docker.io");
        insta::assert_snapshot!(refused("docker.io="), @"the upstream is empty; write scheme://host[:port], such as https://registry-1.docker.io");
        insta::assert_snapshot!(refused("docker.io=registry-1.docker.io"), @"the upstream has no scheme; write 'https://registry-1.docker.io'");
        insta::assert_snapshot!(refused("https://ghcr.io"), @"a host has no scheme; write 'ghcr.io'");
        insta::assert_snapshot!(refused("*.io=https://a.io"), @"a host cannot be a pattern; containerd knows no wildcards: add one mirror per host");
        insta::assert_snapshot!(refused("localhost:5000"), @"'localhost:5000' is a registry to push to; write --local-registry localhost:5000");
    }

    #[test]
    fn a_name_that_only_this_machine_has_is_of_a_registry_to_push_to_and_not_a_cache_of_itself() {
        for text in ["localhost:5000", "kind-registry:5000", "k3d-registry.localhost:5000"] {
            let Ok(Registry::Local(local)) = text.parse() else { panic!("{text}") };
            assert_eq!((local.host.as_str(), local.port), (text, 5000));
            let refused = text.parse::<MirrorRegistry>().unwrap_err();
            assert_eq!(refused, format!("'{text}' is a registry to push to; write --local-registry {text}"));
        }
        for text in ["docker.io", "registry.example.com:5000", "kind-registry:5000=https://registry.example.com"] {
            assert!(matches!(text.parse(), Ok(Registry::Mirror(_))), "{text}");
        }
    }

    #[test]
    fn a_registry_to_push_to_is_a_name_and_a_port() {
        assert_eq!(local("localhost:5000"), Ok(5000));
        assert_eq!(local("registry.test:5000"), Ok(5000));
        let refused = |text: &str| local(text).unwrap_err();
        insta::assert_snapshot!(refused("5000"), @"expected HOST:PORT; write localhost:5000");
        insta::assert_snapshot!(refused("localhost"), @"expected HOST:PORT; write localhost:5000, or another free port");
        insta::assert_snapshot!(refused("127.0.0.1:5005"), @"a registry to push to has a name; write localhost:5005");
        insta::assert_snapshot!(refused("localhost:70000"), @"'70000' is not a port; ports are 1 to 65535");
        insta::assert_snapshot!(refused("localhost:5000=http://a.b"), @"a registry to push to has no upstream; write --mirror-registry HOST=UPSTREAM");
    }
}
