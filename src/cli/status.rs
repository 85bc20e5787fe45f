//! `ksail status`

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::surroundings::{around, engine, load, manifest_path, provisioner};
use super::{Exit, FAILED, Global, OK, print};
use crate::desired::{Desired, Role, resolve};
use crate::engine::Engine;
use crate::observed::Observer;
use crate::plan::plan;
use crate::probe::{FromHere, Probe};
use crate::report::{status_as_json, status_as_table};
use crate::status::{Evidence, Status};

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
    let desired = resolve(&load(&manifest_path(global)?)?, &around());
    let (engine, probe, address) = engine(global)?;
    let observer = Observer::new(engine.clone(), probe.clone(), provisioner(global, &address));
    let failed = |error: crate::engine::EngineError| Exit::new(FAILED, error.to_string());
    let info = engine.info().await.map_err(failed)?;
    let (observed, upstreams) = futures_util::join!(observer.observe(&desired), upstreams(&desired, &probe));
    let observed = observed.map_err(failed)?;
    let plan = plan(&desired, &observed);
    let failures = BTreeMap::new();
    let evidence = Evidence {
        desired: &desired,
        observed: &observed,
        plan: &plan,
        failures: &failures,
        upstreams: &upstreams,
        done_to_cluster: None,
        now: Timestamp::now(),
    };
    let mut status = Status::assess(&evidence, None);
    count_hits(&mut status, &probe).await;
    let document = || status_as_json(&status, Some(&info));
    print(match arguments.output {
        Format::Table => status_as_table(&status, false),
        Format::Wide => status_as_table(&status, true),
        Format::Json => format!("{:#}\n", document()),
        Format::Yaml => serde_yaml::to_string(&document()).map_err(|error| Exit::new(FAILED, error.to_string()))?,
    });
    Ok(if status.is_ready() { OK } else { FAILED })
}

async fn upstreams(desired: &Desired, probe: &FromHere) -> BTreeMap<String, Result<(), String>> {
    let asked =
        desired.mirrors.values().filter_map(|mirror| Some((mirror.host.to_string(), mirror.upstream.as_ref()?)));
    join_all(asked.map(|(host, upstream)| async move { (host, probe.upstream(upstream).await) }))
        .await
        .into_iter()
        .collect()
}

async fn count_hits(status: &mut Status, probe: &FromHere) {
    let caches = status.mirrors.iter_mut().filter(|mirror| mirror.role == Role::Mirror);
    join_all(caches.map(|mirror| async move {
        if let Some(container) = &mirror.container {
            mirror.cache = probe.cache_counters(container).await;
        }
    }))
    .await;
}
