//! Somebody else's containers that have an upstream's name on the cluster's network, as KSail-Go and kind's script left
//! them: who asks there for the upstream, the mirror itself included, reaches them. Pure.

use std::fmt;

use super::Observed;
use crate::desired::{Desired, Mirror};
use crate::manifest::Upstream;

/// A container that is reached in an upstream's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its name, which is the upstream's.
    pub container: String,
    /// The network that both the mirror and the nodes are on.
    pub network: String,
    /// What it stands in the way of.
    pub upstream: String,
}

impl fmt::Display for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, network, upstream } = self;
        write!(
            f,
            "container {container} on network {network} is reached there instead of {upstream}, by the mirror and by nodes; it was not made by ksail and is left alone: if nobody needs it, 'docker rm -f {container}'"
        )
    }
}

impl Observed {
    /// The container that stands in the way of a mirror's upstream.
    pub fn shadow_of(&self, mirror: &Mirror) -> Option<Shadow> {
        let network = &self.network.as_ref()?.name;
        let upstream = mirror.upstream.as_ref().filter(|upstream| can_be_shadowed(upstream))?;
        let (container, stranger) = self.strangers.get_key_value(upstream.host())?;
        let is_there = stranger.networks.contains(network);
        is_there.then(|| Shadow {
            container: container.clone(),
            network: network.clone(),
            upstream: upstream.to_string(),
        })
    }

    /// By host of the mirror, all of them.
    pub fn shadows<'a>(&'a self, desired: &'a Desired) -> impl Iterator<Item = (&'a str, Shadow)> {
        let shadow = |mirror: &'a Mirror| Some((mirror.host.as_str(), self.shadow_of(mirror)?));
        desired.mirrors.values().filter_map(shadow)
    }
}

/// Whether nobody means a container by an upstream. One may well be an upstream, under a name without a dot or by `http`;
/// and what comes from a variable is not to be told.
pub(super) fn can_be_shadowed(upstream: &Upstream) -> bool {
    upstream.host().contains('.') && upstream.as_str().starts_with("https://") && !upstream.is_secret()
}
