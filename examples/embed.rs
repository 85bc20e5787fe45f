//! A program of one's own that brings registries up before it goes on, and says where they are.
//!
//! ```sh
//! cargo run --example embed -- path/to/ksail.yaml
//! ```

#![allow(clippy::print_stdout)] // It is a program, not the library.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ksail::controller::{Applied, ClusterLock, Controller};
use ksail::desired::{ResolveContext, resolve};
use ksail::engine::docker::Docker;
use ksail::engine::locate::locate;
use ksail::event::Silent;
use ksail::execute::DEFAULT_CONCURRENCY;
use ksail::manifest;
use ksail::probe::{EngineAt, FromHere};
use ksail::provisioner::Provisioner;
use tokio_util::sync::CancellationToken;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: embed PATH-OF-KSAIL.YAML")?;
    let manifest = manifest::load(Path::new(&path), &variable)?;
    let address = locate(None, &variable, std::env::home_dir().as_deref())?;
    let context = ResolveContext::from_env(&variable);
    let controller = Controller {
        lock: ClusterLock::of_user(variable, &manifest.name, &address.to_string()),
        claim: None,
        reread: None,
        engine: Docker::new(address),
        probe: FromHere::new(EngineAt::ThisMachine),
        // Creates and deletes the cluster, unless the file says `lifecycle: External`.
        provisioner: Provisioner { path: std::env::var_os("PATH"), ..Provisioner::default() },
        reporter: Arc::new(Silent),
        concurrency: DEFAULT_CONCURRENCY,
        context: context.clone(),
        env: Arc::new(variable),
    };
    let desired = resolve(&manifest, &context);
    match controller.apply(desired, Duration::from_secs(300), &CancellationToken::new()).await {
        Applied::Converged(status) => {
            for mirror in status.mirrors {
                println!("{} is at {}", mirror.host, mirror.address.unwrap_or_default());
            }
            Ok(())
        }
        other => Err(format!("the registries are not up: {other:?}").into()),
    }
}
