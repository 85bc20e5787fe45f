//! Whom a registry trusts: the authorities of its image, which are Mozilla's, and those it is given. Never those of the
//! machine that ksail runs on.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::manifest::Ca;

/// TLS as a registry speaks it that was given an authority, or none.
pub(super) fn tls(ca: Option<&Ca>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let own: Vec<CertificateDer<'static>> =
        ca.map(|ca| CertificateDer::pem_slice_iter(ca.pem.as_bytes()).flatten().collect()).unwrap_or_default();
    let mut roots = RootCertStore::clone(mozillas());
    roots.add_parsable_certificates(own.iter().cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let inner = verifier.map_err(|error| Error::Other(OtherError(Arc::new(error))))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AsGoDoes { inner, own }))
        .with_no_client_auth())
}

/// The algorithms that the rest of the program may take for its own.
pub(super) fn have_a_provider() {
    if CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster.
        let _ = ring::default_provider().install_default();
    }
}

fn mozillas() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
        roots
    })
}

/// A certificate that signed itself and was given as an authority is trusted as a server's as well, as the registry's Go
/// does it; webpki refuses that of one that may sign others, which is what `openssl req -x509` makes.
#[derive(Debug)]
struct AsGoDoes {
    inner: Arc<WebPkiServerVerifier>,
    /// What was given.
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for AsGoDoes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Its dates have been looked at before.
            Err(Error::InvalidCertificate(CertificateError::Other(other)))
                if is_used_as_end_entity(&other) && self.own.iter().any(|own| own == end_entity) =>
            {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// webpki is below rustls, and its errors have no other name here.
pub(super) fn is_used_as_end_entity(error: &OtherError) -> bool {
    error.0.to_string() == "CaUsedAsEndEntity"
}
