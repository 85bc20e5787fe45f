//! `ksail status`

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::arguments::host;
use super::completions::listed_hosts;
use super::context::{context_of, engine, load, manifest_path, provisioner, stop_on_signals};
use super::{BAD_INPUT, Exit, FAILED, Global, OK, complain, print, write, written};
use crate::controller::{Survey, survey};
use crate::desired::{Desired, Route, resolve};
use crate::engine::docker::Docker;
use crate::engine::{ContainerState, Engine, EngineInfo, LogPart};
use crate::manifest::Host;
use crate::observed::{Observed, Observer, counters, listen};
use crate::probe::{Ask, FromHere, Probe, Prober, RouteKey, UpstreamAnswer};
use crate::registry::{LastWords, Role, SecretFiles, Word, last_words};
use crate::report::{conditions_as_table, status_as_json, status_as_table};
use crate::status::{Evidence, Status};

/// Whoever asks for a status does not wait as long as it takes to call an upstream silent.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Pause between two looks of `--watch`, as `watch` and `kubectl` have it.
const EVERY: Duration = Duration::from_secs(2);
/// Puts the cursor to the top, and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
/// Lines of a log that hold the last words of a registry: a page on where it was follows them.
const LAST_LINES: u32 = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ksail status                  one line per mirror, and what is not well
  ksail status docker.io        every condition of one mirror
  ksail status -o json | jq '.mirrors[].conditions'
  ksail status --watch          again every 2 s, until Ctrl-C

Exit code: 0 when all of it is Ready, 1 when not, 2 for a bad manifest or command line.")]
pub(super) struct Arguments {
    /// Only this mirror, with all of its conditions
    #[arg(value_name = "HOST", value_parser = host, add = ArgValueCompleter::new(listed_hosts))]
    mirror: Option<Host>,
    /// Format; wide has more columns than table
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Without the line of headings
    #[arg(long)]
    no_headers: bool,
    /// Look again every 2 s, and show what has changed, until stopped
    #[arg(short, long)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Wide,
    Name,
    Json,
    Yaml,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    let looks = Looks::of(global)?;
    if arguments.watch {
        return watch(global, arguments, &looks).await;
    }
    let (status, info) = looks.look(global, None).await?;
    let status = only(status, arguments.mirror.as_ref())?;
    print(shown(&status, &info, arguments)?)?;
    Ok(if status.is_ready() { OK } else { FAILED })
}

/// Shows it again whenever it has changed. An engine that is away, and a file that does not load, are waited for.
async fn watch(global: &Global, arguments: &Arguments, looks: &Looks) -> Result<u8, Exit> {
    let stop = stop_on_signals()?;
    let is_terminal = stdout().is_terminal();
    let (mut before, mut last): (Option<Status>, Option<String>) = (None, None);
    loop {
        let look = async {
            let (status, info) = looks.look(global, before.as_ref()).await?;
            before = Some(status.clone());
            shown(&only(status, arguments.mirror.as_ref())?, &info, arguments)
        };
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(OK),
            looked = look => looked,
        };
        match looked {
            Ok(text) if last.as_ref() == Some(&text) => {}
            Ok(text) => {
                let apart = match (arguments.output, &last) {
                    _ if is_terminal => CLEAR,
                    (Format::Yaml, Some(_)) => "---\n",
                    (Format::Json, _) | (_, None) => "",
                    _ => "\n",
                };
                written(write(apart))?;
                print(&text)?;
                last = Some(text);
            }
            Err(exit) => {
                let said = exit.text();
                if last.as_ref() != Some(&said) {
                    complain(&said);
                    last = Some(said);
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(OK),
            () = sleep(EVERY) => {}
        }
    }
}

/// A status as it was asked for.
fn shown(status: &Status, info: &EngineInfo, arguments: &Arguments) -> Result<String, Exit> {
    let document = || status_as_json(status, Some(info));
    let text = match arguments.output {
        Format::Table if arguments.mirror.is_some() => conditions_as_table(status),
        Format::Table => status_as_table(status, false),
        Format::Wide => status_as_table(status, true),
        Format::Name => {
            status.mirrors.iter().fold(String::new(), |text, mirror| text + "mirror/" + &mirror.host + "\n")
        }
        // A line each, where more follow.
        Format::Json if arguments.watch => format!("{}\n", document()),
        Format::Json => format!("{:#}\n", document()),
        Format::Yaml => serde_yaml::to_string(&document()).map_err(|error| Exit::new(FAILED, error.to_string()))?,
    };
    let has_headings = matches!(arguments.output, Format::Table | Format::Wide) && !status.mirrors.is_empty();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if has_headings && arguments.no_headers => rest.to_owned(),
        _ => text,
    })
}

/// What a status says of one mirror.
fn only(mut status: Status, host: Option<&Host>) -> Result<Status, Exit> {
    let Some(host) = host else { return Ok(status) };
    let listed: Vec<String> = status.mirrors.iter().map(|mirror| mirror.host.clone()).collect();
    status.mirrors.retain(|mirror| mirror.host == host.as_str());
    if status.mirrors.is_empty() {
        let there = if listed.is_empty() { "no mirrors".to_owned() } else { listed.join(", ") };
        return Err(Exit::new(BAD_INPUT, format!("{host} is not in ksail.yaml, which lists {there}")));
    }
    status.conditions.clear();
    status.leftovers.clear();
    Ok(status)
}

/// What a look goes through.
struct Looks {
    engine: Docker,
    probe: FromHere,
    observer: Observer<Docker, FromHere>,
}

impl Looks {
    fn of(global: &Global) -> Result<Self, Exit> {
        let (engine, probe, _) = engine(global)?;
        let observer = Observer::new(engine.clone(), Prober::new(probe.clone()), provisioner(global)?);
        Ok(Self { engine, probe, observer })
    }

    /// How everything is now. Conditions that were so `before` keep their time.
    async fn look(&self, global: &Global, before: Option<&Status>) -> Result<(Status, EngineInfo), Exit> {
        let Self { engine, probe, observer } = self;
        let desired = resolve(&load(&manifest_path(global)?)?, &context_of(global)?);
        let failed = |error: crate::engine::EngineError| Exit::new(FAILED, error.to_string());
        let info = engine.info().await.map_err(failed)?;
        let (seen, upstreams) = futures_util::join!(survey(observer, &desired), upstreams(&desired, probe));
        let Survey { desired, observed, plan } = seen.map_err(failed)?;
        let (words, last_words) =
            futures_util::join!(words(engine, &observed, &upstreams), said_at_the_end(engine, &observed));
        let evidence = Evidence {
            desired: &desired,
            observed: &observed,
            plan: &plan,
            failures: &BTreeMap::new(),
            upstreams: &upstreams,
            words: &words,
            last_words: &last_words,
            is_at_work: false,
            done_to_cluster: None,
            now: Timestamp::now(),
        };
        let mut status = Status::assess(&evidence, before);
        count_hits(&mut status, engine).await;
        Ok((status, info))
    }
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

/// What registries have said before they ended. Where a setting is secret, their words may be.
async fn said_at_the_end(engine: &Docker, observed: &Observed) -> BTreeMap<String, LastWords> {
    let has_ended = |state| matches!(state, ContainerState::Exited | ContainerState::Restarting);
    let ended = observed.containers.iter().map(|found| &found.container).filter(|found| has_ended(found.state));
    let reading = ended.map(|container| async move {
        let log = engine.logs(&container.id, LogPart::Last(LAST_LINES)).await.ok()?;
        let is_secret = container.command == SecretFiles::command();
        let said = last_words(&log).and_then(|said| if is_secret { said.untold() } else { Some(said) });
        Some((container.labels.get(crate::labels::HOST)?.clone(), said?))
    });
    join_all(reading).await.into_iter().flatten().collect()
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
