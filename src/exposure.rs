//! Registries that other machines can reach: what that gives them. (Pure.)

use std::fmt;
use std::net::IpAddr;

use crate::desired::{Desired, Mirror};
use crate::manifest::{Host, State};
use crate::registry::Role;

/// A registry that listens on another address than this machine's loopback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exposure {
    /// The mirror.
    pub host: Host,
    /// Where it listens.
    pub address: IpAddr,
    /// Whether it takes pushes.
    pub takes_pushes: bool,
    /// Whether it has credentials for its upstream: then it serves private images to whoever asks, and asks nobody for
    /// anything.
    pub has_credentials: bool,
}

impl Exposure {
    fn of(mirror: &Mirror) -> Option<Self> {
        let address =
            mirror.container.ports.iter().map(|port| port.host_address).find(|address| !address.is_loopback())?;
        let (takes_pushes, has_credentials) = (mirror.role == Role::Push, mirror.credentials.is_some());
        Some(Self { host: mirror.host.clone(), address, takes_pushes, has_credentials })
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, .. } = self;
        write!(f, "{host} listens on {address}: other machines can read from it")?;
        match (self.takes_pushes, self.has_credentials) {
            (true, _) => write!(f, " and push to it"),
            (false, true) => write!(f, ", and whoever does reads private images with its credentials"),
            (false, false) => Ok(()),
        }
    }
}

/// Registries that other machines can reach once everything is as desired.
pub fn exposures(desired: &Desired) -> Vec<Exposure> {
    let mirrors = desired.mirrors.values().filter(|_| desired.state == State::Present);
    mirrors.filter_map(Exposure::of).collect()
}
