//! TLS in front of an upstream, with a certificate that only whoever is given its authority trusts.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::server::{Request, Server};

/// Answers until dropped.
pub(crate) struct TlsFront {
    server: Server,
    names: Vec<String>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    ca: String,
}

impl TlsFront {
    /// Before whoever listens at `upstream` (`ADDRESS:PORT`), on the bridge's gateway, under its address and these names.
    pub(crate) fn before(upstream: &str, gateway: &str, names: &[&str]) -> Self {
        let names: Vec<String> = [gateway].iter().chain(names).map(|name| (*name).to_owned()).collect();
        let (config, ca) = certified(&names);
        let config = Arc::new(Mutex::new(config));
        let (current, upstream) = (Arc::clone(&config), upstream.to_owned());
        let server = Server::on(gateway, move |client| {
            let config = Arc::clone(&current.lock().expect("no server panics"));
            serve(&client, config, &upstream);
        });
        Self { server, names, config, ca }
    }

    /// What a manifest says in `upstream`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.server.address()
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// From now on it has a certificate of another authority.
    pub(crate) fn change_authority(&mut self) {
        let (config, ca) = certified(&self.names);
        *self.config.lock().expect("no server panics") = config;
        self.ca = ca;
    }
}

/// A certificate for these names, and that of the authority that signed it.
fn certified(names: &[String]) -> (Arc<ServerConfig>, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let (params, key) = (CertificateParams::new(names.to_vec()).expect("names"), key());
    let issuer: &Issuer<'_, KeyPair> = &authority;
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a key that fits");
    (Arc::new(config), authority.pem())
}

/// Answers one request; the connection ends with it.
fn serve(client: &TcpStream, config: Arc<ServerConfig>, upstream: &str) -> Option<()> {
    let connection = ServerConnection::new(config).ok()?;
    let mut tls = BufReader::new(StreamOwned::new(connection, client));
    let request = Request::read(&mut tls, client)?;
    let (_, path) = request.asks()?;
    let path = path.to_owned();
    let mut tls = tls.into_inner();
    request.hand_on(upstream, &path, &[("X-Forwarded-Proto", "https")], &mut tls)?;
    tls.conn.send_close_notify();
    tls.flush().ok()?;
    client.shutdown(Shutdown::Write).ok()
}
