//! What went wrong with a connection, and what that means for the registry.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use rustls::CertificateError;

use super::super::UpstreamAnswer;
use super::trust::is_used_as_end_entity;
use crate::limit::TooLarge;
use crate::manifest::THIS_MACHINE;

/// What went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No address is known for a name.
    NoAddress(String),
    /// Nobody listens.
    Refused,
    /// The system knows no way: its words.
    NoWay(String),
    /// The connection ends without an answer.
    Closed,
    /// An authority that is not trusted has signed its certificate.
    NoAuthority,
    /// Its certificate is not valid for another reason.
    Certificate(&'static str),
    /// What answers speaks no TLS.
    NoTls,
    /// TLS does not come about: its words.
    Tls(String),
    /// What answers is no HTTP.
    NoHttp,
    /// More is said than is read.
    TooMuch,
    /// The proxy wants to be told who asks, or refuses who does.
    ProxyPassword,
    /// The proxy opens no way to the upstream.
    ProxyRefuses,
    /// Something else, in its own words.
    Other(String),
}

/// No address is known for a name.
#[derive(Debug)]
pub(super) struct NoAddress(pub(super) String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address is known")
    }
}

impl Error for NoAddress {}

/// How hyper's errors begin that are about a proxy.
const TUNNEL: &str = "tunnel error: ";

impl Trouble {
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut system = None;
        for error in chain(error) {
            if let Some(NoAddress(name)) = error.downcast_ref() {
                return Self::NoAddress(name.clone());
            } else if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            } else if error.is::<TooLarge>() {
                return Self::TooMuch;
            } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_parse_too_large() {
                    return Self::TooMuch;
                } else if error.is_parse() {
                    return Self::NoHttp;
                } else if error.is_incomplete_message() {
                    return Self::Closed;
                }
            } else if let Some(error) = error.downcast_ref::<io::Error>() {
                system = Self::of_system(error).or(system);
            }
            match error.to_string().strip_prefix(TUNNEL) {
                Some("proxy authorization required") => return Self::ProxyPassword,
                Some("unsuccessful" | "proxy response headers too long") => return Self::ProxyRefuses,
                Some("unexpected end of file") => return Self::Closed,
                _ => {}
            }
        }
        let last = chain(error).last().map(ToString::to_string).unwrap_or_default();
        system.unwrap_or(Self::Other(last))
    }

    fn of_system(error: &io::Error) -> Option<Self> {
        Some(match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Self::NoWay("no route to it".to_owned())
            }
            ErrorKind::AddrNotAvailable | ErrorKind::TimedOut | ErrorKind::PermissionDenied => {
                Self::NoWay(without_number(error))
            }
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof => Self::Closed,
            _ => return None,
        })
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                // One of the same name may have another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::NoAuthority,
                // One that signed itself, and that nobody has given.
                CertificateError::Other(other) if is_used_as_end_entity(other) => Self::NoAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Certificate("has expired; it is to be renewed there")
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::Certificate("is not valid yet; look at the clocks of both machines")
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::Certificate("is for other names; write one of those in 'upstream'")
                }
                CertificateError::Revoked => Self::Certificate("is revoked; it is to be renewed there"),
                _ => Self::Certificate("is not valid; look at it with `openssl s_client`"),
            },
            rustls::Error::InvalidMessage(_) => Self::NoTls,
            other => Self::Tls(other.to_string()),
        }
    }

    /// What it means, told of `whom` it is: nothing for the upstream itself.
    pub(super) fn answer(self, whom: &str) -> UpstreamAnswer {
        match self {
            Self::NoAddress(name) if is_of_cluster(&name) => UpstreamAnswer::Unknown(format!(
                "{whom}only the cluster's network can know its name; a pull shows whether it answers"
            )),
            Self::NoAddress(_) => UpstreamAnswer::Unreachable(format!(
                "{whom}no address is known for its name; look at the name, and at this machine's DNS"
            )),
            Self::Refused => {
                UpstreamAnswer::Unreachable(format!("{whom}connection refused; look at the port, and whether it runs"))
            }
            Self::NoWay(why) => UpstreamAnswer::Unreachable(format!("{whom}{why}; look at the network")),
            Self::Closed => UpstreamAnswer::Unreachable(format!(
                "{whom}closes without an answer; look at its log, and at what is in front of it"
            )),
            Self::NoAuthority => UpstreamAnswer::Untrusted(format!(
                "{whom}the registry trusts nobody who signed its certificate; give the CA: 'ca: FILE.pem'"
            )),
            Self::Certificate(why) => UpstreamAnswer::Untrusted(format!("{whom}its certificate {why}")),
            Self::NoTls => {
                UpstreamAnswer::Broken(format!("{whom}no TLS is spoken there; write http:// or another port"))
            }
            Self::Tls(why) => UpstreamAnswer::Broken(format!("{whom}TLS does not come about ({why})")),
            Self::NoHttp => {
                UpstreamAnswer::Broken(format!("{whom}no HTTP is spoken there; write https:// or another port"))
            }
            Self::TooMuch => {
                UpstreamAnswer::Broken(format!("{whom}its answer is longer than a registry's; look at the address"))
            }
            Self::ProxyPassword => UpstreamAnswer::RefusedByProxy(format!(
                "{whom}407: it wants a user and a password, or others; write http://USER:PASSWORD@…"
            )),
            Self::ProxyRefuses => {
                UpstreamAnswer::Unreachable(format!("{whom}it opens no connection to the upstream; look at its log"))
            }
            Self::Other(why) => UpstreamAnswer::Broken(format!("{whom}{why}")),
        }
    }
}

/// Whether it was met on the way to the proxy, or by it.
pub(super) fn is_of_tunnel(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.to_string().starts_with(TUNNEL))
}

/// A name without a dot, or the engine's own name for the machine it is on.
fn is_of_cluster(name: &str) -> bool {
    !name.contains('.') || name == THIS_MACHINE
}

fn without_number(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An error and everything that caused it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an I/O error is that of the error in it.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        within.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
    })
}
