//! The fields of a mirror that have a flag.

use std::net::IpAddr;

use clap::{ArgAction, Args};

use super::super::arguments::words;
use super::super::{BAD_INPUT, Exit};
use crate::manifest::{Listed, MirrorField, parse_duration};

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Port of this machine
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Address of this machine to listen on; otherwise 127.0.0.1
    #[arg(long, value_name = "ADDRESS")]
    listen_address: Option<IpAddr>,
    /// Whether nodes may go around the mirror when it fails
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    fallback: Option<bool>,
    /// How long cached content stays (168h); 0s is for ever
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<String>,
    /// User name for the upstream, as '${VARIABLE}'
    #[arg(long, value_name = "${VARIABLE}", requires = "password")]
    username: Option<String>,
    /// Password for the upstream, as '${VARIABLE}'
    #[arg(long, value_name = "${VARIABLE}", requires = "username")]
    password: Option<String>,
}

fn ttl(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned()).map_err(words)
}

impl Settings {
    /// Those that are given, in the order they are written in; the port apart.
    pub(super) fn fields(&self) -> Result<Vec<MirrorField>, Exit> {
        let credentials = match (&self.username, &self.password) {
            (Some(username), Some(password)) => {
                for (flag, value) in [("username", username), ("password", password)] {
                    require_reference(flag, value)?;
                }
                Some(MirrorField::Credentials { username: username.clone(), password: password.clone() })
            }
            _ => None,
        };
        let fields = [
            self.listen_address.map(MirrorField::ListenAddress),
            self.fallback.map(MirrorField::Fallback),
            self.ttl.clone().map(MirrorField::Ttl),
            credentials,
        ];
        Ok(fields.into_iter().flatten().collect())
    }

    /// Whether a mirror of the list has all that is given.
    pub(super) fn agree_with(&self, listed: &Listed) -> bool {
        let agrees = |given: bool, same: bool| !given || same;
        let ttl = self.ttl.as_deref().and_then(|text| parse_duration(text).ok());
        agrees(self.port.is_some(), self.port == listed.port)
            && self.listen_address.is_none_or(|address| address == listed.listen_address)
            && self.fallback.is_none_or(|fallback| fallback == listed.fallback)
            && ttl.is_none_or(|ttl| ttl == listed.ttl)
            && self.username.is_none()
    }
}

/// Refuses a literal, without showing it.
fn require_reference(flag: &str, value: &str) -> Result<(), Exit> {
    if value.starts_with("${") && value.ends_with('}') {
        return Ok(());
    }
    Err(Exit::new(
        BAD_INPUT,
        format!(
            "--{flag} names a variable and does not hold what is secret itself\nwrite --{flag} '${{NAME}}', in single quotes so that the shell leaves it as it is"
        ),
    ))
}
