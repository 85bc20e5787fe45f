//! How a request reaches the engine: a connection for each, of which no more is read than the request's limit says.
//!
//! bollard collects answers whole, whatever their size. Its own transports take a connection for each request as well.

use std::io;
#[cfg(unix)]
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limit::{ENGINE_ANSWER, Meter};

/// What a connection is made to.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    /// A Unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl Endpoint {
    /// A client of the engine there. Nothing is contacted yet.
    pub(super) fn client(self, seconds: u64) -> Result<bollard::Docker, Error> {
        let host = match &self {
            #[cfg(unix)]
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp(host) => host.clone(),
        };
        let transport = move |request| self.clone().send(request);
        let address = Some(format!("http://{host}"));
        bollard::Docker::connect_with_custom_transport(transport, address, seconds, API_DEFAULT_VERSION)
    }

    /// Sends a request; what it may be answered with at most it carries itself.
    async fn send(self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let meter = request.extensions_mut().remove::<Meter>().unwrap_or_else(|| ENGINE_ANSWER.meter());
        meter.refill();
        match self {
            #[cfg(unix)]
            Self::Unix(path) => converse(tokio::net::UnixStream::connect(path).await?, meter, request).await,
            Self::Tcp(host) => converse(TcpStream::connect(host).await?, meter, request).await,
        }
    }
}

async fn converse<S>(stream: S, meter: Meter, mut request: BollardRequest) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(Metered { stream, meter })).await?;
    // It ends with the answer, or when nobody waits for that any more. How, whoever reads the answer is told.
    tokio::spawn(async { drop(connection.with_upgrades().await) });
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(io::Error::other)?;
    *request.uri_mut() = path;
    Ok(sender.send_request(request).await?)
}

/// A connection that ends with an error when more comes than may.
struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(Ok(self.meter.spend(buffer.filled().len() - before)?))
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
