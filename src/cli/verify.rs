//! `ksail verify`

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::arguments::{duration, host};
use super::completions::listed_hosts;
use super::context::{context_of, engine, load, manifest_path, provisioner};
use super::{BAD_INPUT, Exit, FAILED, Global, OK, Output, print};
use crate::controller::{Survey, survey};
use crate::desired::{Desired, Mirror, resolve};
use crate::manifest::Host;
use crate::observed::Observer;
use crate::probe::Prober;
use crate::reference::Reference;
use crate::registry::Role;
use crate::verify::{Outcome, Proof, Verifier};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The mirror to prove; otherwise all of them
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Option<Host>,
    /// The image to pull, in full; otherwise one the mirror has already
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How long a pull may take (30s, 5m)
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let desired = resolve(&load(&manifest_path(global)?)?, &context_of(global)?);
    // What is asked for is checked before anybody looks at the engine.
    chosen(&desired, arguments)?;
    let (engine, probe, address) = engine(global)?;
    let failed = |error: crate::engine::EngineError| Exit::new(FAILED, error.to_string());
    let observer = Observer::new(engine.clone(), Prober::new(probe.clone()), provisioner(global, &address));
    let Survey { desired, observed, .. } = survey(&observer, &desired).await.map_err(failed)?;
    let (mirrors, image) = chosen(&desired, arguments)?;
    if observed.nodes.is_empty() {
        let message = format!("no node of cluster {} runs, so there is nothing that could pull", desired.cluster);
        return Err(Exit::new(FAILED, message));
    }
    let verifier = Verifier {
        engine: &engine,
        probe: &probe,
        desired: &desired,
        observed: &observed,
        image: image.as_ref(),
        limit: arguments.timeout,
    };
    let proofs = verifier.prove(&mirrors).await.map_err(failed)?;
    print(match arguments.output {
        Output::Text => proofs.iter().map(line).collect(),
        Output::Json => format!(
            "{:#}\n",
            json!({"cluster": desired.cluster.as_str(), "proofs": proofs.iter().map(object).collect::<Vec<_>>()})
        ),
    })?;
    Ok(if proofs.iter().all(|proof| proof.outcome.is_proven()) { OK } else { FAILED })
}

/// The mirrors to prove and the image to do it with.
fn chosen<'a>(desired: &'a Desired, arguments: &Arguments) -> Result<(Vec<&'a Mirror>, Option<Reference>), Exit> {
    let bad = |message: String| Exit::new(BAD_INPUT, message);
    let of_image = |text: &String| {
        let host = desired.mirrors.keys().find(|host| text.starts_with(&format!("{host}/")));
        host.cloned().ok_or_else(|| bad(format!("'{text}' is not an image of any mirror in ksail.yaml; name it in full, such as docker.io/library/alpine:3")))
    };
    let host = match (&arguments.mirror, &arguments.image) {
        (Some(host), _) => Some(host.clone()),
        (None, Some(image)) => Some(of_image(image)?),
        (None, None) => None,
    };
    let Some(host) = host else {
        if desired.mirrors.is_empty() {
            return Err(bad("ksail.yaml lists no mirrors; 'ksail mirror add docker.io' adds one".to_owned()));
        }
        return Ok((desired.mirrors.values().collect(), None));
    };
    let listed = || desired.mirrors.keys().map(Host::as_str).collect::<Vec<_>>().join(", ");
    let mirror = desired
        .mirrors
        .get(&host)
        .ok_or_else(|| bad(format!("{host} is not in ksail.yaml, which lists {}", listed())))?;
    let image = arguments.image.as_ref().map(|image| Reference::read(image, &host)).transpose().map_err(bad)?;
    Ok((vec![mirror], image))
}

fn line(proof: &Proof) -> String {
    let Proof { host, role, node, image, outcome } = proof;
    let image = image.as_deref().unwrap_or_default();
    match outcome {
        Outcome::Proven { requests } => {
            let requests = if *requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") };
            let from = match role {
                Role::Mirror => "through the mirror",
                Role::Push => "from the registry",
            };
            format!("{host} on {node}: proven: {image} came {from}, {requests} in its log\n")
        }
        Outcome::Broken { hop, message } => format!("{host} on {node}: breaks at {hop}: {message}\n"),
        Outcome::NotTried { message } => format!("{host} on {node}: not proven: {message}\n"),
    }
}

fn object(proof: &Proof) -> serde_json::Value {
    let Proof { host, role, node, image, outcome } = proof;
    let mut object =
        json!({"host": host, "role": role.as_str(), "node": node, "image": image, "proven": outcome.is_proven()});
    match outcome {
        Outcome::Proven { requests } => object["requests"] = json!(requests),
        Outcome::Broken { hop, message } => {
            object["hop"] = json!(hop.as_str());
            object["message"] = json!(message);
        }
        Outcome::NotTried { message } => object["message"] = json!(message),
    }
    object
}
