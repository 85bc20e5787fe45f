//! `ksail status`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::timeout;

use super::context::{context_of, engine, load, manifest_path, provisioner};
use super::{Exit, FAILED, Global, OK, print};
use crate::controller::{Survey, survey};
use crate::desired::{Desired, Route, resolve};
use crate::engine::docker::Docker;
use crate::engine::{ContainerState, Engine};
use crate::observed::{Observed, Observer, counters, listen};
use crate::probe::{Ask, FromHere, Probe, Prober, RouteKey, UpstreamAnswer};
use crate::registry::{Role, Word};
use crate::report::{status_as_json, status_as_table};
use crate::status::{Evidence, Status};

/// Whoever asks for a status does not wait as long as it takes to call an upstream silent.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Format; wide has more columns than table
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Wide,
    Json,
    Yaml,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let desired = resolve(&load(&manifest_path(global)?)?, &context_of(global)?);
    let (engine, probe, _) = engine(global)?;
    let observer = Observer::new(engine.clone(), Prober::new(probe.clone()), provisioner(global)?);
    let failed = |error: crate::engine::EngineError| Exit::new(FAILED, error.to_string());
    let info = engine.info().await.map_err(failed)?;
    let (seen, upstreams) = futures_util::join!(survey(&observer, &desired), upstreams(&desired, &probe));
    let Survey { desired, observed, plan } = seen.map_err(failed)?;
    let (failures, words) = (BTreeMap::new(), words(&engine, &observed, &upstreams).await);
    let evidence = Evidence {
        desired: &desired,
        observed: &observed,
        plan: &plan,
        failures: &failures,
        upstreams: &upstreams,
        words: &words,
        done_to_cluster: None,
        now: Timestamp::now(),
    };
    let mut status = Status::assess(&evidence, None);
    count_hits(&mut status, &engine).await;
    let document = || status_as_json(&status, Some(&info));
    print(match arguments.output {
        Format::Table => status_as_table(&status, false),
        Format::Wide => status_as_table(&status, true),
        Format::Json => format!("{:#}\n", document()),
        Format::Yaml => serde_yaml::to_string(&document()).map_err(|error| Exit::new(FAILED, error.to_string()))?,
    })?;
    Ok(if status.is_ready() { OK } else { FAILED })
}

/// What upstreams answer, all asked at the same time, and each once.
async fn upstreams(desired: &Desired, probe: &FromHere) -> BTreeMap<String, UpstreamAnswer> {
    let routes: BTreeMap<String, &Route> =
        desired.mirrors.values().filter_map(|mirror| Some((mirror.host.to_string(), mirror.route.as_ref()?))).collect();
    let distinct: BTreeMap<RouteKey, &Route> = routes.values().map(|route| (RouteKey::of(route), *route)).collect();
    let asked = distinct.into_iter().map(|(key, route)| async move {
        let answer = timeout(ANSWERED_WITHIN, probe.upstream(route, Ask::WithCredentials)).await;
        let none = |_| UpstreamAnswer::Unknown(format!("no answer within {} s; ask again", ANSWERED_WITHIN.as_secs()));
        (key, answer.unwrap_or_else(none))
    });
    let answers: BTreeMap<RouteKey, UpstreamAnswer> = join_all(asked).await.into_iter().collect();
    routes.into_iter().filter_map(|(host, route)| Some((host, answers.get(&RouteKey::of(route))?.clone()))).collect()
}

/// What registries have said last of upstreams that cannot be asked from here.
async fn words(
    engine: &Docker,
    observed: &Observed,
    upstreams: &BTreeMap<String, UpstreamAnswer>,
) -> BTreeMap<String, Word> {
    let unknown = upstreams.iter().filter(|(_, answer)| matches!(answer, UpstreamAnswer::Unknown(_)));
    let registries = unknown.filter_map(|(host, _)| Some((host.clone(), observed.container_of(host)?, None)));
    let spoken = listen(engine, registries.collect()).await;
    spoken.into_iter().filter_map(|(host, spoken)| Some((host, spoken.word()?.clone()))).collect()
}

async fn count_hits(status: &mut Status, engine: &Docker) {
    let caches = status.mirrors.iter_mut().filter(|mirror| mirror.role == Role::Mirror);
    join_all(caches.map(|mirror| async move {
        if let Some(container) = mirror.container.as_ref().filter(|found| found.state == ContainerState::Running) {
            mirror.cache = counters(engine, &container.id).await;
        }
    }))
    .await;
}
