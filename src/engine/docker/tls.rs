//! An engine that is spoken to in private: whom it is taken for, and who it is told is asking.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::limit::FILE;

/// Connects to `host:port`. As for the docker CLI, only `ca.pem` is trusted of all authorities; `cert.pem` and `key.pem`
/// need not be there.
pub(super) async fn connect(host: &str, certificates: &Path) -> Result<TlsStream<TcpStream>, String> {
    let config = config(certificates)?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
}

fn config(certificates: &Path) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for authority in all(&certificates.join("ca.pem"))? {
        roots.add(authority).map_err(|error| format!("{}: {error}", certificates.join("ca.pem").display()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let (own, key) = (certificates.join("cert.pem"), certificates.join("key.pem"));
    if !own.exists() {
        return Ok(builder.with_no_client_auth());
    }
    let bytes = FILE.read_file(&key).map_err(|error| format!("{}: {error}", key.display()))?;
    let unusable = |error: &dyn std::fmt::Display| format!("{}: it is no key that can be used: {error}", key.display());
    let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| unusable(&error))?;
    builder.with_client_auth_cert(all(&own)?, private).map_err(|error| unusable(&error))
}

fn all(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = FILE.read_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{}: there is no certificate in it that can be read", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use crate::engine::docker::Docker;
    use crate::engine::locate::Address;
    use crate::engine::{Engine, EngineError};

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let issuer: &rcgen::Issuer<'_, KeyPair> = &self.0;
            (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap(), key)
        }
    }

    /// An engine at a port of 127.0.0.1, which wants to know who asks.
    async fn engine(authority: &Authority, wants_to_know: bool) -> String {
        let (certificate, key) = authority.sign("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let asks = if wants_to_know { asks } else { WebPkiClientVerifier::no_client_auth() };
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_client_cert_verifier(asks).with_single_cert(vec![certificate.der().clone()], key);
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config.unwrap())), TcpListener::bind("127.0.0.1:0").await);
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let said = "Server: Docker/28.0.1 (linux)\r\nApi-Version: 1.48\r\nContent-Length: 2\r\n\r\nOK";
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{said}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }

    async fn version(host: &str, files: &[(&str, String)]) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let address = Address::Tls { host: host.to_owned(), certificates: directory.path().to_owned() };
        match Docker::new(address).info().await {
            Ok(info) => Ok(info.version),
            Err(EngineError::Unavailable { reason, .. }) => {
                Err(reason.replace(&format!("{}/", directory.path().display()), ""))
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn the_engine_is_who_the_given_authority_says_and_is_told_who_asks_where_it_wants_to_know() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let (certificate, key) = authority.sign("me");
        let ca = ("ca.pem", authority.0.pem());
        let me = [ca.clone(), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())];
        let (open, private) = (engine(&authority, false).await, engine(&authority, true).await);
        assert_eq!(version(&open, std::slice::from_ref(&ca)).await.as_deref(), Ok("28.0.1"));
        assert_eq!(version(&private, &me).await.as_deref(), Ok("28.0.1"));
        let unknown = version(&private, std::slice::from_ref(&ca)).await;
        assert!(unknown.is_err(), "{unknown:?}");
        let wrong = version(&open, &[("ca.pem", stranger.0.pem())]).await.unwrap_err();
        assert!(wrong.contains("certificate"), "{wrong}");
        let none = version(&open, &[("ca.pem", "nothing".to_owned())]).await;
        assert_eq!(none.unwrap_err(), "ca.pem: there is no certificate in it that can be read");
    }
}
