//! Telling an upstream who asks, as far as it may be told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use secrecy::ExposeSecret;
use url::Url;

use super::super::UpstreamAnswer;
use super::Ask;
use super::challenge::Challenge;
use super::verdict::{judge, refused};
use super::way::{Way, is_safe};
use crate::manifest::Credentials;

/// Whether an upstream that wants to know who asks takes who the registry says it is. `by` is who has answered, which an
/// upstream may have sent to.
pub(super) async fn log_in(
    way: &Way,
    by: &Url,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    ask: Ask,
) -> Result<(), UpstreamAnswer> {
    let authorization = match (challenge, credentials, ask) {
        (Challenge::Basic, None, _) => return Err(no_credentials()),
        (_, _, Ask::Plainly) => return Ok(()),
        (Challenge::Basic, Some(own), _) => {
            if !is_safe(way.upstream(), by) {
                let host = way.named(by);
                return Err(UpstreamAnswer::Broken(format!(
                    "sends on to {host}, which is not told the password; write that host in 'upstream'"
                )));
            }
            basic(own)?
        }
        (Challenge::Bearer { realm, service }, own, _) => {
            let token = token(way, realm, service, None, own).await?;
            if own.is_none() {
                // What it gives to everybody is said image by image.
                return Ok(());
            }
            token
        }
    };
    let reply = way.send(Method::GET, &way.below("/v2/"), Some(&authorization)).await?;
    match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(not_accepted(reply.status, credentials)),
        _ => judge(way, &reply).map(drop),
    }
}

/// A token for whoever the registry is: for pulls from a repository, or for nothing but to be known.
pub(super) async fn token(
    way: &Way,
    realm: &str,
    service: &str,
    repository: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<HeaderValue, UpstreamAnswer> {
    let broken = |why: String| UpstreamAnswer::Broken(why);
    let mut url = Url::parse(realm).map_err(|_| broken("names a token server whose address is none".to_owned()))?;
    if !service.is_empty() {
        url.query_pairs_mut().append_pair("service", service);
    }
    if let Some(repository) = repository {
        url.query_pairs_mut().append_pair("scope", &format!("repository:{repository}:pull"));
    }
    let is_unencrypted = url.scheme() != "https";
    let is_lowered = way.upstream().scheme() == "https" && is_unencrypted;
    let is_elsewhere = url.host_str() != way.upstream().host_str() && is_unencrypted;
    let authorization = match credentials {
        Some(_) if is_lowered || is_elsewhere => {
            let why = "wants a password sent unencrypted to its token server; that is for whoever runs it";
            return Err(broken(why.to_owned()));
        }
        Some(own) => Some(basic(own)?),
        None => None,
    };
    let reply = way.send(Method::GET, &url, authorization.as_ref()).await?;
    let server = format!("its token server {}", way.named(&reply.url));
    match reply.status {
        status if status.is_success() => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) => {
            return Err(not_accepted(status, credentials));
        }
        status => return Err(refused(status, &reply.headers, &reply.body, &format!("{server} "))),
    }
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&reply.body) else {
        return Err(broken(format!("{server} answers no JSON; that is for whoever runs it")));
    };
    let mut named = ["token", "access_token"].iter().filter_map(|name| answer[name].as_str());
    match named.find(|token| !token.is_empty()) {
        Some(token) => secret(&format!("Bearer {token}")),
        None => Err(broken(format!("{server} gives no token; that is for whoever runs it"))),
    }
}

/// User name and password.
pub(super) fn basic(Credentials { username, password }: &Credentials) -> Result<HeaderValue, UpstreamAnswer> {
    let pair = format!("{}:{}", username.expose_secret(), password.expose_secret());
    secret(&format!("Basic {}", STANDARD.encode(pair)))
}

/// It does not take who asks.
pub(super) fn not_accepted(status: StatusCode, credentials: Option<&Credentials>) -> UpstreamAnswer {
    match credentials {
        Some(_) => UpstreamAnswer::Unauthorized(format!(
            "refuses the credentials ({}), which are not sent again; set others",
            status.as_u16()
        )),
        None => no_credentials(),
    }
}

fn no_credentials() -> UpstreamAnswer {
    let why = "wants a user name and a password; give the mirror 'credentials: {username, password}'";
    UpstreamAnswer::Unauthorized(why.to_owned())
}

fn secret(text: &str) -> Result<HeaderValue, UpstreamAnswer> {
    let unsendable = |_| UpstreamAnswer::Broken("gives a token that no header can hold".to_owned());
    let mut value = HeaderValue::from_str(text).map_err(unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}
