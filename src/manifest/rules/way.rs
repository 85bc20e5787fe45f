//! How a registry reaches its upstream: the proxy on the way, and whom it trusts at its end.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_yaml::Value;
use url::Url;

use super::upstream::is_container_itself;
use super::{Node, Problem, Rules};
use crate::manifest::expand::is_reference;
use crate::manifest::file;
use crate::manifest::types::{Ca, Proxy, ProxyUrl};

const FORM: &str = "write http://HOST:PORT, such as http://proxy.example.com:3128";

impl Rules<'_> {
    pub(super) fn proxy(&mut self, file: file::Proxy, at: Option<&Node>) -> Proxy {
        let node = |key| at.and_then(|at| at.get(key));
        let http = file.http.and_then(|url| self.proxy_url(node("http"), &url));
        let https = file.https.and_then(|url| self.proxy_url(node("https"), &url));
        Proxy { http, https, no_proxy: self.no_proxy(node("noProxy"), file.no_proxy) }
    }

    fn proxy_url(&mut self, at: Option<&Node>, written: &str) -> Option<ProxyUrl> {
        // Before anything else is said of the text, which may be a password.
        if has_literal_password(written) {
            let problem = Problem::new("the password of the proxy is not a reference to a variable");
            self.report(at, problem.hint("put it into the environment, and write ${NAME} in its place"));
            return None;
        }
        let url = self.expand(at, written)?;
        let checked = check_proxy(&url);
        let (problem, hint) = match checked {
            Ok(()) => {
                let url = ProxyUrl::new(url.trim_end_matches('/').to_owned());
                return Some(url.shown_as(written.trim_end_matches('/')));
            }
            Err(wrong) if url == written => wrong,
            Err(_) => (
                "with its variables filled in, this is not the address of an HTTP proxy".to_owned(),
                "write http://HOST:PORT, and %40 and the like for what is special in a URL; what the variables hold is \
                 not shown here",
            ),
        };
        let problem = Problem::new(problem).hint(hint);
        self.report(at, if url == written { problem } else { problem.of_environment() });
        None
    }

    /// A list, or one text with commas.
    fn no_proxy(&mut self, at: Option<&Node>, value: Option<Value>) -> Vec<String> {
        let (texts, items) = match value {
            Some(Value::String(text)) => {
                let parts = text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
                (parts.collect::<Vec<_>>(), &[][..])
            }
            Some(Value::Sequence(items)) => {
                let texts = items.iter().map(|item| item.as_str().unwrap_or("*").to_owned());
                (texts.collect(), at.map(Node::items).unwrap_or_default())
            }
            _ => return Vec::new(),
        };
        for (index, text) in texts.iter().enumerate() {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/*[]".contains(c);
            if text.is_empty() || text.contains("://") || !text.chars().all(is_allowed) {
                let problem = Problem::new("this is neither a host nor a domain, an address or a range");
                let hint = "write registry.example.com, .internal, 10.0.0.1 or 10.0.0.0/8, without a scheme";
                self.report(items.get(index).or(at), problem.hint(hint));
            }
        }
        texts
    }

    pub(super) fn ca(&mut self, path: &str, at: &Node) -> Option<Ca> {
        let bytes = self.read_beside(Some(at), path)?;
        match check_certificates(&bytes) {
            Ok(()) => Some(Ca { path: PathBuf::from(path), pem: String::from_utf8_lossy(&bytes).into_owned() }),
            Err((what, hint)) => {
                self.report(Some(at), Problem::new(format!("{path} {what}")).hint(hint).of_environment());
                None
            }
        }
    }
}

/// Whether there is a password before the last `@` that is anything but a reference.
///
/// A user name alone may be written out, with or without a scheme: names are no secrets (they stand in `credentials` as
/// well), and a proxy that takes its users by their name gives nothing away to who reads it. That it may be a token is not
/// to be seen, and is not shown either: nothing before an `@` ever is.
fn has_literal_password(written: &str) -> bool {
    let (_, authority) = written.split_once("://").unwrap_or(("", written));
    let Some((user_info, _)) = authority.rsplit_once('@') else { return false };
    if is_reference(user_info) {
        return false;
    }
    // The colon of `${VAR:-default}` is not the one between the two.
    let after = user_info.strip_prefix("${").and_then(|rest| rest.split_once('}')).map_or(user_info, |(_, rest)| rest);
    after.split_once(':').is_none_or(|(_, password)| !is_reference(password)) && user_info.contains(':')
}

fn check_proxy(url: &str) -> Result<(), (String, &'static str)> {
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(("the proxy has no scheme".to_owned(), FORM));
    };
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        let problem = format!("a registry goes through HTTP proxies only, not through '{scheme}'");
        return Err((problem, FORM));
    }
    let Ok(parsed) = Url::parse(url) else {
        return Err(("this is not the address of a proxy".to_owned(), FORM));
    };
    let is_root = parsed.path() == "/" && parsed.query().is_none() && parsed.fragment().is_none();
    if !is_root || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(("a proxy is a host and a port, without a path".to_owned(), FORM));
    }
    if parsed.port() == Some(0) {
        return Err(("0 is not a port".to_owned(), FORM));
    }
    if is_container_itself(parsed.host_str().unwrap_or_default().trim_matches(['[', ']'])) {
        return Err((
            "inside the mirror's container this is the container itself".to_owned(),
            "write host.docker.internal for a proxy of this machine, and let it listen on the engine's network",
        ));
    }
    Ok(())
}

/// Every certificate in it has to be one, or the registry would pass over it without a word.
fn check_certificates(pem: &[u8]) -> Result<(), (String, &'static str)> {
    const PRIVATE: &[u8] = b"PRIVATE KEY-----";
    if pem.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        let hint = "keep the certificates alone in it: the key is nothing that a registry needs";
        return Err(("holds a private key".to_owned(), hint));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let is_good = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !is_good {
            let what = format!("holds no certificate that can be read, as number {} in it", index + 1);
            return Err((what, "look at it with 'openssl x509 -noout -text -in FILE'"));
        }
    }
    if roots.is_empty() {
        let hint = "a PEM file has '-----BEGIN CERTIFICATE-----'; 'openssl x509 -inform der' makes one of a DER file";
        return Err(("holds no certificate".to_owned(), hint));
    }
    Ok(())
}
