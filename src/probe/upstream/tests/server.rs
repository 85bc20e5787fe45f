//! A server that says what it is told to, and writes down what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What it is asked: the lines of one request, the first one first.
type Asked = Vec<String>;

/// What it answers, as it goes over the wire; nothing where it only closes.
type Answers = Arc<dyn Fn(&Asked) -> String + Send + Sync>;

pub(in crate::probe) struct Server {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    run: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// One answer as it goes over the wire.
pub(super) fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers = headers.iter().fold(String::new(), |text, header| format!("{text}{header}\r\n"));
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What a request says of who asks.
pub(super) fn authorization(request: &Asked) -> Option<&str> {
    header(request, "authorization: ")
}

pub(super) fn header<'a>(request: &'a Asked, name: &str) -> Option<&'a str> {
    request.iter().find_map(|line| line.get(..name.len())?.eq_ignore_ascii_case(name).then(|| &line[name.len()..]))
}

impl Server {
    pub(super) async fn saying(status: &str, headers: &[&str], body: &str) -> Self {
        let text = answer(status, headers, body);
        Self::answering(move |_| text.clone()).await
    }

    pub(super) async fn answering(answers: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        Self::start("http", None, Arc::new(answers)).await
    }

    pub(super) async fn over_tls(
        tls: ServerConfig,
        answers: impl Fn(&Asked) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start("https", Some(TlsAcceptor::from(Arc::new(tls))), Arc::new(answers)).await
    }

    /// One that gives tokens itself: to everybody who sends nothing, and to `some-user` with `hunter2`.
    pub(in crate::probe) async fn guarded() -> Self {
        Self::answering(|request| {
            let realm = format!("http://{}/token", header(request, "host: ").unwrap());
            guard(request, &realm)
        })
        .await
    }

    async fn start(scheme: &'static str, tls: Option<TlsAcceptor>, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, counted) = (Arc::clone(&requests), Arc::clone(&connections));
        let run = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (tls, answers, seen) = (tls.clone(), Arc::clone(&answers), Arc::clone(&seen));
                clients.spawn(async move {
                    match tls {
                        None => serve(stream, &answers, &seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &answers, &seen).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, scheme, requests, connections, run }
    }

    pub(in crate::probe) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn requests(&self) -> Vec<Asked> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of its requests said who asks.
    pub(in crate::probe) fn told_who(&self) -> usize {
        self.requests().iter().filter(|request| authorization(request).is_some()).count()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers, seen: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        seen.lock().unwrap().push(request.clone());
        let says = answers(&request);
        if says.is_empty() {
            return None;
        }
        stream.write_all(says.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Asked> {
    let mut request = Asked::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        match line.trim_end() {
            "" => return Some(request),
            line => request.push(line.to_owned()),
        }
    }
}

/// What a registry answers that gives tokens at a realm, and what the realm answers.
pub(super) fn guard(request: &Asked, realm: &str) -> String {
    const RIGHT: &str = "Basic c29tZS11c2VyOmh1bnRlcjI=";
    if request[0].starts_with("GET /token?service=r") {
        return match authorization(request) {
            None | Some(RIGHT) => answer("200 OK", &[], "{\"token\": \"opaque\"}"),
            Some(_) => answer("401 Unauthorized", &[], "{}"),
        };
    }
    match authorization(request) {
        Some("Bearer opaque") => answer("200 OK", &[], "{}"),
        _ => answer("401 Unauthorized", &[&format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"r\"")], "{}"),
    }
}

/// A proxy that brings whoever knows `user:hunter2` to `to`, whatever is asked for.
pub(super) struct ConnectProxy {
    pub(super) address: SocketAddr,
    run: JoinHandle<()>,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.run.abort();
    }
}

impl ConnectProxy {
    pub(super) async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let run = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(tunnel(stream, to));
            }
        });
        Self { address, run }
    }
}

async fn tunnel(stream: TcpStream, to: SocketAddr) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream).await?;
    if header(&request, "proxy-authorization: ") != Some("Basic dXNlcjpodW50ZXIy") {
        let refused = answer("407 Proxy Authentication Required", &["Proxy-Authenticate: Basic"], "");
        stream.write_all(refused.as_bytes()).await.ok()?;
        return None;
    }
    let mut upstream = TcpStream::connect(to).await.ok()?;
    if request[0].starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        tokio::io::copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
        return None;
    }
    upstream.write_all(format!("{}\r\n\r\n", request.join("\r\n")).as_bytes()).await.ok()?;
    let mut says = vec![0; 4096];
    let read = upstream.read(&mut says).await.ok()?;
    stream.write_all(&says[..read]).await.ok()?;
    None
}

/// An authority, and what it signs.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server of this name, valid as the parameters say.
    pub(super) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let certificate = params.signed_by(&key, issuer).unwrap();
        config(vec![certificate.der().clone()], &key)
    }
}

/// One that signed itself and may sign others, as `openssl req -x509` makes it: with its PEM.
pub(super) fn self_signed(name: &str) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (config(vec![certificate.der().clone()], &key), certificate.pem())
}

fn config(chain: Vec<rustls::pki_types::CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
