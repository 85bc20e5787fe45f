//! Whether an upstream would give an image to whom the mirror says it is: the registry API with its token dance.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::error::Error;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use url::Url;

use crate::limit::REGISTRY_ANSWER;
use crate::manifest::{Credentials, Upstream};
use crate::reference::Reference;

/// Longest wait for all of it. It is asked when something has failed already.
const LIMIT: Duration = Duration::from_secs(10);
/// Every kind of manifest there is; without it registries answer with the oldest.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

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
pub(super) async fn ask(upstream: &Upstream, credentials: Option<&Credentials>, image: &Reference) -> Asked {
    let asking = async {
        let asker = Asker::new(credentials)?;
        asker.ask(upstream, image).await
    };
    match timeout(LIMIT, asking).await {
        Ok(Ok(asked)) => asked,
        // What is wrong with a connection may name the host, and that is nobody's business.
        Ok(Err(_)) if upstream.is_secret() => {
            Asked::Unreachable("no connection, or no answer of a registry".to_owned())
        }
        Ok(Err(error)) => Asked::Unreachable(innermost(&*error)),
        Err(_) => Asked::Unreachable(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

/// Whether it answers `/v2/`, whatever it says.
pub(super) async fn answers(upstream: &Upstream, limit: Duration) -> Result<(), String> {
    let asking = async {
        let asker = Asker::new(None)?;
        asker.send(Method::GET, &format!("{}/v2/", upstream.as_str()), None).await
    };
    match timeout(limit, asking).await {
        Ok(Ok(_)) => Ok(()),
        // It speaks. Whether the registry trusts it cannot be told from here: its image may know other authorities.
        Ok(Err(error)) if is_of_tls(&*error) => Ok(()),
        Ok(Err(_)) if upstream.is_secret() => Err("no connection, or no answer of a registry".to_owned()),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// What the TLS client complains of is invalid data to its connection.
fn is_of_tls(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let of_connection = error.downcast_ref::<io::Error>();
        if of_connection.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        // The source of an I/O error is that of the error in it.
        let within = of_connection.and_then(io::Error::get_ref);
        next = within.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}

type Failed = Box<dyn Error + Send + Sync>;

struct Asker<'a> {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    credentials: Option<&'a Credentials>,
}

impl<'a> Asker<'a> {
    fn new(credentials: Option<&'a Credentials>) -> Result<Self, Failed> {
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), credentials })
    }

    async fn ask(&self, upstream: &Upstream, image: &Reference) -> Result<Asked, Failed> {
        let manifest = format!("{}/v2/{}/manifests/{}", upstream.as_str(), image.repository, image.version.text());
        let (status, challenge, _) = self.send(Method::HEAD, &manifest, None).await?;
        if status != StatusCode::UNAUTHORIZED {
            return Ok(judge(status, self.credentials));
        }
        let Some(challenge) = challenge.as_deref().and_then(Challenge::read) else {
            return Ok(Asked::Unreachable("it answers 401 and not how to log in".to_owned()));
        };
        let authorization = match challenge {
            Challenge::Basic => match self.basic() {
                Some(basic) => basic,
                None => {
                    return Ok(Asked::Refused("wants a username and a password, and ksail.yaml has none".to_owned()));
                }
            },
            Challenge::Bearer { realm, service } => match self.token(&realm, &service, &image.repository).await? {
                Ok(token) => token,
                Err(status) => return Ok(refused(status, self.credentials)),
            },
        };
        let (status, ..) = self.send(Method::HEAD, &manifest, Some(authorization)).await?;
        Ok(judge(status, self.credentials))
    }

    /// A token for pulls from a repository; the status where the credentials are refused.
    async fn token(
        &self,
        realm: &str,
        service: &str,
        repository: &str,
    ) -> Result<Result<HeaderValue, StatusCode>, Failed> {
        let mut url = Url::parse(realm)?;
        url.query_pairs_mut()
            .append_pair("service", service)
            .append_pair("scope", &format!("repository:{repository}:pull"));
        let (status, _, body) = self.send(Method::GET, url.as_str(), self.basic()).await?;
        if !status.is_success() {
            return Ok(Err(status));
        }
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        let token = answer["token"].as_str().or_else(|| answer["access_token"].as_str()).unwrap_or_default();
        Ok(Ok(secret(&format!("Bearer {token}"))?))
    }

    fn basic(&self) -> Option<HeaderValue> {
        let Credentials { username, password } = self.credentials?;
        let pair = format!("{}:{}", username.expose_secret(), password.expose_secret());
        secret(&format!("Basic {}", STANDARD.encode(pair))).ok()
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<(StatusCode, Option<String>, Bytes), Failed> {
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT, MANIFESTS);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = self.client.request(request.body(Empty::new())?).await?;
        let status = response.status();
        let challenge =
            response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = REGISTRY_ANSWER.read_body(response.into_body()).await?;
        Ok((status, challenge, body))
    }
}

/// How a registry wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: String },
}

impl Challenge {
    fn read(header: &str) -> Option<Self> {
        let (scheme, parameters) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        let value = |name: &str| {
            let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer
            .then(|| value("realm"))
            .flatten()
            .map(|realm| Self::Bearer { realm, service: value("service").unwrap_or_default() })
    }
}

fn judge(status: StatusCode, credentials: Option<&Credentials>) -> Asked {
    match status {
        status if status.is_success() => Asked::Has,
        StatusCode::NOT_FOUND => Asked::HasNot,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(status, credentials),
        StatusCode::TOO_MANY_REQUESTS => Asked::Unreachable("its rate limit is reached".to_owned()),
        status => Asked::Unreachable(format!("it answers {status}")),
    }
}

fn refused(status: StatusCode, credentials: Option<&Credentials>) -> Asked {
    Asked::Refused(match credentials {
        Some(_) => format!("refuses the credentials of ksail.yaml ({status})"),
        None => format!("does not give it to everybody ({status}), and ksail.yaml has no credentials for it"),
    })
}

fn secret(text: &str) -> Result<HeaderValue, Failed> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The last error of the chain: hyper says "client error (Connect)", it says "connection refused".
fn innermost(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_challenge_says_where_the_token_is_to_be_had() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"x\"";
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: "registry.docker.io".to_owned(),
        };
        assert_eq!(Challenge::read(hub), Some(expected));
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::read("Bearer service=\"x\""), None);
        assert_eq!(Challenge::read("Negotiate"), None);
    }

    #[tokio::test]
    async fn any_answer_is_one_and_a_connection_alone_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = async |scheme: &str, says: &'static [u8]| {
            let upstream: Upstream = format!("{scheme}://127.0.0.1:{port}").parse().unwrap();
            let speak = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(says).await.unwrap();
                stream
            };
            let (answer, _open) = tokio::join!(answers(&upstream, Duration::from_secs(1)), speak);
            answer
        };
        let broken = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked("http", broken).await, Ok(()));
        assert_eq!(asked("https", broken).await, Ok(()), "it speaks, and not TLS");
        assert_eq!(asked("http", b"").await, Err("no answer within 1 s".to_owned()));
    }

    #[tokio::test]
    async fn an_answer_without_end_is_read_up_to_the_limit_and_so_are_headers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream: Upstream = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        for (begins, goes_on) in [("HTTP/1.1 200 OK\r\n\r\n", "x"), ("HTTP/1.1 200 OK\r\n", "X: x\r\n")] {
            let speak = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(begins.as_bytes()).await.unwrap();
                let more = goes_on.repeat(1 << 16);
                while stream.write_all(more.as_bytes()).await.is_ok() {}
            };
            // Who speaks ends when nobody listens any more.
            let (answer, ()) = tokio::join!(answers(&upstream, Duration::from_secs(60)), speak);
            let why = answer.unwrap_err();
            assert!(goes_on != "x" || why.contains("larger than 1 MiB"), "{why}");
            assert!(!why.contains("within"), "{why}");
        }
    }

    #[tokio::test]
    async fn one_that_nobody_answers_at_is_unreachable_in_the_systems_words() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let upstream: Upstream = format!("http://127.0.0.2:{port}").parse().unwrap();
        let image = Reference::read("ghcr.io/a/b:1", &"ghcr.io".parse().unwrap()).unwrap();
        let Asked::Unreachable(why) = ask(&upstream, None, &image).await else { panic!("nobody listens there") };
        assert!(why.contains("refused"), "{why}");
    }
}
