//! `ksail verify`

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

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

/// What became of those that were not begun, or not known in the end.
const TIME_IS_UP: &str = "time is up; give it more with --timeout";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The mirror to prove; otherwise all of them
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Option<Host>,
    /// The image to pull (alpine:3, ghcr.io/team/app:1); otherwise one the mirror has already
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// End after this long (30s, 5m); what is not known by then is not proven
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// Format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let deadline = Instant::now() + arguments.timeout;
    let desired = resolve(&load(&manifest_path(global)?)?, &context_of(global)?);
    // What is asked for is checked before anybody looks at the engine.
    chosen(&desired, arguments)?;
    let (engine, probe, _) = engine(global)?;
    let failed = |error: crate::engine::EngineError| Exit::new(FAILED, error.to_string());
    let observer = Observer::new(engine.clone(), Prober::new(probe.clone()), provisioner(global)?);
    let surveyed = timeout_at(deadline, survey(&observer, &desired)).await;
    let surveyed = surveyed.map_err(|_| {
        Exit::new(FAILED, "time is up before the engine has said what there is; give it more with --timeout")
    })?;
    let Survey { desired, observed, .. } = surveyed.map_err(failed)?;
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
        is_named: arguments.mirror.is_some() || arguments.image.is_some(),
        deadline,
    };
    let proofs = verifier.prove(&mirrors).await.map_err(failed)?;
    print(match arguments.output {
        Output::Text => proofs.iter().map(line).collect(),
        Output::Json => format!(
            "{:#}\n",
            json!({"cluster": desired.cluster.as_str(), "proofs": proofs.iter().map(object).collect::<Vec<_>>()})
        ),
    })?;
    Ok(if is_proven(&proofs) { OK } else { FAILED })
}

/// Whether everything that there is to prove was proven, and something was.
fn is_proven(proofs: &[Proof]) -> bool {
    let mut counted = proofs.iter().filter(|proof| !matches!(proof.outcome, Outcome::PassedOver { .. })).peekable();
    counted.peek().is_some() && counted.all(|proof| proof.outcome.is_proven())
}

/// The mirrors to prove and the image to do it with.
fn chosen<'a>(desired: &'a Desired, arguments: &Arguments) -> Result<(Vec<&'a Mirror>, Option<Reference>), Exit> {
    let bad = |message: String| Exit::new(BAD_INPUT, message);
    let listed = || match desired.mirrors.len() {
        0 => "none; 'ksail mirror add docker.io' adds one".to_owned(),
        _ => desired.mirrors.keys().map(Host::as_str).collect::<Vec<_>>().join(", "),
    };
    let host_of = |text: &str| desired.mirrors.keys().find(|host| text.starts_with(&format!("{host}/"))).cloned();
    // A mirror's own name may be one that docker would not take for a host's.
    let in_full = |text: &String| host_of(text).map_or_else(|| Reference::in_full(text), |_| text.clone());
    let image = arguments.image.as_ref().map(in_full);
    let of_image = |text: &String| {
        host_of(text).ok_or_else(|| {
            bad(format!("'{text}' is not an image of any mirror in ksail.yaml, which lists {}", listed()))
        })
    };
    let host = match (&arguments.mirror, &image) {
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
    let mirror = desired
        .mirrors
        .get(&host)
        .ok_or_else(|| bad(format!("{host} is not in ksail.yaml, which lists {}", listed())))?;
    let image = image.map(|image| Reference::read(&image, &host)).transpose().map_err(bad)?;
    Ok((vec![mirror], image))
}

fn line(proof: &Proof) -> String {
    let Proof { host, role, node, image, requests, outcome } = proof;
    let image = image.as_deref().unwrap_or_default();
    match outcome {
        Outcome::Proven => {
            let requests = match requests.values().sum() {
                1 => "1 request".to_owned(),
                requests => format!("{requests} requests"),
            };
            let from = match role {
                Role::Mirror => "through the mirror",
                Role::Push => "from the registry",
            };
            format!("{host} on {node}: proven: {image} came {from}, {requests} in its log\n")
        }
        Outcome::Broken { hop, message } => format!("{host} on {node}: breaks at {hop}: {message}\n"),
        Outcome::NotTried { message } => format!("{host} on {node}: not proven: {message}\n"),
        Outcome::PassedOver { message } => format!("{host} on {node}: passed over: {message}\n"),
        Outcome::TimeIsUp => format!("{host} on {node}: not tried: {TIME_IS_UP}\n"),
    }
}

fn object(proof: &Proof) -> serde_json::Value {
    let Proof { host, role, node, image, requests, outcome } = proof;
    let mut object = json!({
        "host": host, "role": role.as_str(), "node": node, "image": image,
        "proven": outcome.is_proven(), "requests": requests,
    });
    match outcome {
        Outcome::Proven => {}
        Outcome::Broken { hop, message } => {
            object["hop"] = json!(hop.as_str());
            object["message"] = json!(message);
        }
        Outcome::NotTried { message } | Outcome::PassedOver { message } => object["message"] = json!(message),
        Outcome::TimeIsUp => object["message"] = json!(TIME_IS_UP),
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(outcome: Outcome) -> Proof {
        let (host, node, requests) = ("docker.io".to_owned(), "dev-worker".to_owned(), [(200, 3)].into());
        Proof { host, role: Role::Mirror, node, image: None, requests, outcome }
    }

    #[test]
    fn the_exit_code_is_0_only_when_something_was_proven_and_nothing_was_not() {
        let proven = || proof(Outcome::Proven);
        let passed_over = || proof(Outcome::PassedOver { message: "nothing pushed yet".to_owned() });
        assert!(is_proven(&[proven(), passed_over()]));
        assert!(!is_proven(&[passed_over()]) && !is_proven(&[]));
        for not in [Outcome::TimeIsUp, Outcome::NotTried { message: String::new() }] {
            assert!(!is_proven(&[proven(), proof(not)]));
        }
    }

    #[test]
    fn what_time_did_not_suffice_for_is_said_and_requests_are_counted_by_status() {
        assert_eq!(
            line(&proof(Outcome::TimeIsUp)),
            "docker.io on dev-worker: not tried: time is up; give it more with --timeout\n"
        );
        let object = object(&proof(Outcome::Proven));
        assert_eq!((&object["requests"], &object["proven"]), (&json!({"200": 3}), &json!(true)));
    }
}
