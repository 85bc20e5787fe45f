//! A container image small enough to make on the spot, and pushing and fetching it over the registry API.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::http;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// What a pull of a cached tag may take. A registry that asks a silent upstream needs at least fifteen seconds.
const AT_ONCE: Duration = Duration::from_millis(100);

/// An image of one layer with one file.
pub(crate) struct Image {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    /// The same `content` gives the same digests.
    pub(crate) fn containing(content: &str) -> Self {
        let layer = layer(content);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(&config), "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": digest_of(&layer), "size": layer.len()}],
        })
        .to_string()
        .into_bytes();
        Self { config, layer, manifest }
    }

    /// The digest registries know the image by.
    pub(crate) fn digest(&self) -> String {
        digest_of(&self.manifest)
    }

    /// Digests of config and layer.
    pub(crate) fn blob_digests(&self) -> [String; 2] {
        [digest_of(&self.config), digest_of(&self.layer)]
    }

    /// Pushes to the registry on `127.0.0.1:port`; the error is the first refusal.
    pub(crate) fn push(&self, port: u16, repository: &str, tag: &str) -> Result<(), String> {
        push_blob(port, repository, &self.layer)?;
        push_blob(port, repository, &self.config)?;
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = http::request("PUT", port, &path, &[("Content-Type", MANIFEST)], &self.manifest);
        expect(answer, 201, &path).map(drop)
    }

    /// Fetches manifest, config and layer from the registry on `127.0.0.1:port` and compares every byte.
    pub(crate) fn fetch(&self, port: u16, repository: &str, tag: &str) -> Result<(), String> {
        self.fetch_within(http::LIMIT, port, repository, tag)
    }

    /// The same, with so much patience for each part of an answer.
    pub(crate) fn fetch_within(&self, limit: Duration, port: u16, repository: &str, tag: &str) -> Result<(), String> {
        let get = |path: &str| {
            let answer = http::request_within(limit, "GET", port, path, &[("Accept", MANIFEST)], &[]);
            expect(answer, 200, path)
        };
        let path = format!("/v2/{repository}/manifests/{tag}");
        same(&get(&path)?.body, &self.manifest, "manifest")?;
        for (blob, what) in [(&self.config, "config"), (&self.layer, "layer")] {
            let path = format!("/v2/{repository}/blobs/{}", digest_of(blob));
            same(&get(&path)?.body, blob, what)?;
        }
        Ok(())
    }

    /// Whether it is fetched at once: by the quickest of a few pulls. The machine may be busy, the registry is not.
    pub(crate) fn fetched_at_once(&self, port: u16, repository: &str, tag: &str) -> Result<(), String> {
        let mut pulls = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            self.fetch(port, repository, tag)?;
            pulls.push(begun.elapsed());
        }
        if pulls.iter().any(|took| *took < AT_ONCE) { Ok(()) } else { Err(format!("{pulls:?}")) }
    }
}

fn push_blob(port: u16, repository: &str, blob: &[u8]) -> Result<(), String> {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let begun = expect(http::request("POST", port, &uploads, &[], &[]), 202, &uploads)?;
    let location = begun.header("Location").ok_or("an upload without a Location")?;
    let path = location.find("/v2/").map_or(location, |at| &location[at..]);
    let joined = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joined}digest={}", digest_of(blob));
    let octets = [("Content-Type", "application/octet-stream")];
    expect(http::request("PUT", port, &path, &octets, blob), 201, &path).map(drop)
}

fn layer(content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "content", content.as_bytes()).expect("a tar in memory");
    archive.into_inner().expect("a tar in memory")
}

fn digest_of(bytes: &[u8]) -> String {
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

fn expect(answer: std::io::Result<http::Response>, status: u16, path: &str) -> Result<http::Response, String> {
    let answer = answer.map_err(|error| format!("{path}: {error}"))?;
    if answer.status == status {
        return Ok(answer);
    }
    Err(format!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

fn same(found: &[u8], wanted: &[u8], what: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("the {what} is not the one that was pushed")) }
}
