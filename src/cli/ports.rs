//! Ports for mirrors whose author named none.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use super::{BAD_INPUT, Exit};

/// The first port given out: 5000 is the one people push to, and is taken on macOS.
const FIRST: u16 = 5001;

/// Gives out ports from [`FIRST`] up.
#[derive(Debug)]
pub(super) struct FreePorts {
    listed: BTreeSet<u16>,
}

impl FreePorts {
    /// Never one of those `listed`.
    pub(super) fn beside(listed: impl IntoIterator<Item = u16>) -> Self {
        Self { listed: listed.into_iter().collect() }
    }

    /// The next port that is neither listed nor in use on this machine.
    pub(super) fn next(&mut self) -> Result<u16, Exit> {
        let free = (FIRST..=u16::MAX).find(|port| !self.listed.contains(port) && !is_in_use(*port));
        let port = free.ok_or_else(|| Exit::new(BAD_INPUT, format!("no port from {FIRST} up is free")))?;
        self.listed.insert(port);
        Ok(port)
    }
}

fn is_in_use(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_listed_or_in_use_is_skipped_and_none_is_given_out_twice() {
        let first = FreePorts::beside([]).next().unwrap();
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_in_use(held.local_addr().unwrap().port()));
        let mut ports = FreePorts::beside([first]);
        let (second, third) = (ports.next().unwrap(), ports.next().unwrap());
        // Others may hold a lower port for a moment: nothing is said about the order.
        assert!(second != first && third != first && third != second, "{first}, {second}, {third}");
    }
}
