//! How a request reaches the engine: over a connection that is kept, and of what comes back no more is read than the
//! request's limit says.
//!
//! bollard collects answers whole, whatever their size, and its own transports make a connection for each request.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ssh::{self, Complaint};
use super::tls;
use crate::engine::locate::{Address, SshTarget};
use crate::limit::{ENGINE_ANSWER, Meter};

/// Connections that are kept. Whoever asks for more at once makes them for that.
const KEPT: usize = 16;
/// One that nobody used for longer may have been forgotten by whatever is in between.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// What connections are made to.
#[derive(Debug, Clone)]
enum Place {
    /// A Unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// The same, with a directory of certificates.
    Tls(String, PathBuf),
    /// Through ssh.
    Ssh(SshTarget),
}

/// An engine, and the connections to it. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    place: Place,
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// A connection, which may still be busy with an answer.
#[derive(Debug)]
struct Kept {
    sender: SendRequest<<BollardRequest as Message>::Body>,
    meter: Current,
    used: Instant,
    /// What the program that carries it has to say.
    carrier: Option<Complaint>,
}

/// What counts the bytes of the answer that a connection is at.
type Current = Arc<Mutex<Meter>>;

/// The type of a request's body, which bollard has no name for.
trait Message {
    type Body;
}

impl<B> Message for Request<B> {
    type Body = B;
}

impl Endpoint {
    /// What is at an address, if that can be reached from here.
    pub(super) fn at(address: &Address) -> Option<Self> {
        let place = match address {
            #[cfg(unix)]
            Address::Unix(path) => Place::Unix(path.clone()),
            Address::Tcp(host) => Place::Tcp(host.clone()),
            Address::Tls { host, certificates } => Place::Tls(host.clone(), certificates.clone()),
            Address::Ssh(target) => Place::Ssh(target.clone()),
            _ => return None,
        };
        Some(Self { place, kept: Arc::default() })
    }

    /// A client of the engine there. Nothing is contacted yet.
    pub(super) fn client(&self, seconds: u64) -> Result<bollard::Docker, Error> {
        let endpoint = self.clone();
        let transport = move |request| endpoint.clone().send(request);
        let address = Some(format!("http://{}", self.host()));
        bollard::Docker::connect_with_custom_transport(transport, address, seconds, API_DEFAULT_VERSION)
    }

    /// What an engine that is well says of itself to whoever asks for no more than that.
    pub(super) async fn ping(&self) -> Result<Option<HeaderMap>, Error> {
        let request = Request::get(format!("http://{}/_ping", self.host()));
        let request = request.body(bollard::body_full(bytes::Bytes::new())).map_err(io::Error::other)?;
        let response = self.clone().send(request).await?;
        let is_well = response.status().is_success();
        let headers = response.headers().clone();
        // Read to its end, so that the connection is free again.
        let read = ENGINE_ANSWER.read_body(response.into_body()).await;
        Ok(Some(headers).filter(|_| is_well && read.is_ok()))
    }

    fn host(&self) -> &str {
        match &self.place {
            #[cfg(unix)]
            Place::Unix(_) => "localhost",
            Place::Tcp(host) | Place::Tls(host, _) => host,
            Place::Ssh(_) => "docker",
        }
    }

    /// Sends a request; what it may be answered with at most it carries itself.
    async fn send(self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let meter = request.extensions_mut().remove::<Meter>().unwrap_or_else(|| ENGINE_ANSWER.meter());
        meter.refill();
        address(&mut request)?;
        while let Some(mut kept) = self.take() {
            *kept.meter.lock().unwrap_or_else(PoisonError::into_inner) = meter.clone();
            match kept.sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(kept);
                    return Ok(response);
                }
                // One that the engine has closed meanwhile.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut new = self.connect(meter).await?;
        match new.sender.send_request(request).await {
            Ok(response) => {
                self.keep(new);
                Ok(response)
            }
            Err(error) => Err(match new.carrier {
                Some(carrier) => {
                    carrier.heard().await.map_or_else(|| error.into(), |said| other(format!("ssh: {said}")))
                }
                None => error.into(),
            }),
        }
    }

    async fn connect(&self, meter: Meter) -> Result<Kept, Error> {
        match &self.place {
            #[cfg(unix)]
            Place::Unix(path) => shake_hands(tokio::net::UnixStream::connect(path).await?, meter).await,
            Place::Tcp(host) => shake_hands(TcpStream::connect(host).await?, meter).await,
            Place::Tls(host, certificates) => {
                shake_hands(tls::connect(host, certificates).await.map_err(other)?, meter).await
            }
            Place::Ssh(target) => {
                let (tunnel, complaint) = ssh::dial(target)?;
                Ok(Kept { carrier: Some(complaint), ..shake_hands(tunnel, meter).await? })
            }
        }
    }

    /// One that nobody uses, the last that was.
    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stale = |kept: &Kept| kept.sender.is_ready() && kept.used.elapsed() > KEPT_FOR;
        kept.retain(|kept| !kept.sender.is_closed() && !is_stale(kept));
        let free = kept.iter().rposition(|kept| kept.sender.is_ready())?;
        Some(kept.remove(free))
    }

    /// Keeps one for who comes next; it is free when its answer has been read.
    fn keep(&self, mut connection: Kept) {
        connection.used = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }
}

fn other(reason: String) -> Error {
    Error::IOError { err: io::Error::other(reason) }
}

/// Gives a request the form in which it goes to this one engine.
fn address(request: &mut BollardRequest) -> Result<(), Error> {
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(io::Error::other)?;
    *request.uri_mut() = path;
    Ok(())
}

async fn shake_hands<S>(stream: S, meter: Meter) -> Result<Kept, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let meter = Arc::new(Mutex::new(meter));
    let metered = Metered { stream, meter: Arc::clone(&meter) };
    let (sender, connection) = http1::handshake(TokioIo::new(metered)).await?;
    // It ends when nobody keeps it and nobody waits for its answer. How, whoever reads the answer is told.
    tokio::spawn(async { drop(connection.with_upgrades().await) });
    Ok(Kept { sender, meter, used: Instant::now(), carrier: None })
}

/// A connection that ends with an error when more comes than may.
struct Metered<S> {
    stream: S,
    meter: Current,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        Poll::Ready(Ok(meter.spend(buffer.filled().len() - before)?))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
