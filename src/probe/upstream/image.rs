//! Whether an upstream would give an image to whom the mirror says it is.

use hyper::{Method, StatusCode};

use super::super::UpstreamAnswer;
use super::challenge::Challenge;
use super::login::{basic, token};
use super::verdict::{challenges, refused};
use super::way::{Way, is_safe};
use crate::manifest::Credentials;
use crate::reference::Reference;

/// What an upstream said of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It would give it.
    Has,
    /// It has no such image.
    HasNot,
    /// It does not answer as a registry.
    Unreachable(String),
    /// It wants to be told who asks, or refuses who asks: what it does, as the end of a sentence.
    Refused(String),
}

/// Asks for an image's manifest as the mirror would.
pub(super) async fn ask(
    way: &Way,
    credentials: Option<&Credentials>,
    image: &Reference,
) -> Result<Asked, UpstreamAnswer> {
    let manifest = way.below(&format!("/v2/{}/manifests/{}", image.repository, image.version.text()));
    let first = way.send(Method::HEAD, &manifest, None).await?;
    if first.status != StatusCode::UNAUTHORIZED {
        return judge(&first, credentials, way);
    }
    let Some(challenge) = Challenge::read(challenges(&first.headers)) else {
        return Ok(Asked::Unreachable("it answers 401 and not how to log in".to_owned()));
    };
    let authorization = match (challenge, credentials) {
        (Challenge::Basic, None) => {
            return Ok(Asked::Refused("wants a username and a password, and ksail.yaml has none".to_owned()));
        }
        (Challenge::Basic, Some(_)) if !is_safe(way.upstream(), &first.url) => {
            return Ok(Asked::Refused("sends on to a host that is not told the password".to_owned()));
        }
        (Challenge::Basic, Some(own)) => basic(own)?,
        (Challenge::Bearer { realm, service }, own) => {
            match token(way, &realm, &service, Some(&image.repository), own).await {
                Err(UpstreamAnswer::Unauthorized(_)) => return Ok(not_given(StatusCode::UNAUTHORIZED, credentials)),
                token => token?,
            }
        }
    };
    let second = way.send(Method::HEAD, &manifest, Some(&authorization)).await?;
    judge(&second, credentials, way)
}

fn judge(reply: &super::way::Reply, credentials: Option<&Credentials>, way: &Way) -> Result<Asked, UpstreamAnswer> {
    match reply.status {
        status if status.is_success() => Ok(Asked::Has),
        StatusCode::NOT_FOUND => Ok(Asked::HasNot),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Ok(not_given(status, credentials)),
        status => Err(refused(status, &reply.headers, &reply.body, &way.whom(&reply.url))),
    }
}

fn not_given(status: StatusCode, credentials: Option<&Credentials>) -> Asked {
    Asked::Refused(match credentials {
        Some(_) => format!("refuses the credentials of ksail.yaml ({status})"),
        None => format!("does not give it to everybody ({status}), and ksail.yaml has no credentials for it"),
    })
}
