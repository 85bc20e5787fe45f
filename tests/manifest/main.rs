//! The manifest: what loads, what is refused and how it is explained, and edits in place.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that meets the unexpected should end there.

mod comments;
mod corpus;
mod editing;
mod finding;
mod foreign;
mod generated;
mod loading;
mod mangled;
mod refusals;
mod schema;
mod way;

use std::path::Path;

use ksail::manifest::{Manifest, Problems, parse};

/// Header of a manifest, up to its list of mirrors.
const HEAD: &str = "\
apiVersion: ksail.dev/v1alpha1
kind: Cluster
metadata:
  name: dev
spec:
  registries:
    mirrors:
";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "HUB_USER" => "ann",
        "HUB_TOKEN" => "s3cret-token",
        "MIRROR" => "mirror.example.com",
        "EMPTY" => "",
        "WEIRD" => "s3cret weird",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load(bytes: impl AsRef<[u8]>) -> Result<Manifest, Problems> {
    parse(Path::new("ksail.yaml"), bytes.as_ref(), &environment)
}

/// A manifest with these mirrors.
fn with_mirrors(mirrors: &str) -> String {
    format!("{HEAD}{mirrors}")
}
