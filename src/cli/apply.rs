//! `ksail apply`

use std::time::{Duration, Instant};

use clap::Args;
use jiff::SignedDuration;

use super::arguments::duration;
use super::context::{claim, controller, load, manifest_path, stop_on_signals};
use super::diff;
use super::reporting::Reporting;
use super::{BAD_INPUT, Exit, FAILED, Global, OK, Output, TIMED_OUT, note};
use crate::controller::{Applied, kept_for_undoing};
use crate::desired::resolve;
use crate::execute::DEFAULT_CONCURRENCY;
use crate::manifest::{Lifecycle, Manifest, State};
use crate::report::{Written, status_as_table};
use crate::status::Status;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    converging: Converging,
    /// Print what it would do, as `ksail diff` does, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Taken as others have it: this is what apply does
    #[arg(long, visible_alias = "prune", alias = "yes", short_alias = 'y', hide = true)]
    wait: bool,
}

/// Registries are up in seconds, once their image is here.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The image of a node is a gigabyte, and what is half done when time is almost up is undone.
const TIMEOUT_WITH_CLUSTER: Duration = Duration::from_secs(15 * 60);

/// How long, how loud and how fast.
#[derive(Debug, Args)]
pub(super) struct Converging {
    /// End after this long (30s, 5m, 1h), of which a tenth, at most a minute, is for undoing what is half done;
    /// otherwise 5m, or 15m where ksail creates the cluster
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Format; json is one object per line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
    /// Engine calls at once
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: usize,
    /// Let this file take over from another one that names the same cluster
    #[arg(long)]
    pub(super) adopt: bool,
}

pub(super) async fn run(global: &Global, arguments: &Arguments) -> Result<u8, Exit> {
    if arguments.dry_run {
        return diff::show(global, arguments.converging.output).await.map(|_| OK);
    }
    if arguments.wait {
        note(
            "ksail apply waits, removes what is not in the file any more, and asks no questions: that needs no option",
        );
    }
    let path = manifest_path(global)?;
    let manifest = load(&path)?;
    let claim = claim(global, &path, &manifest.name, arguments.converging.adopt)?;
    let code = converge(global, &manifest, &arguments.converging).await?;
    if code == OK && manifest.state != State::Present {
        claim.release();
    }
    Ok(code)
}

/// Makes everything as the manifest says, shows progress, and tells how it ended.
pub(super) async fn converge(global: &Global, manifest: &Manifest, converging: &Converging) -> Result<u8, Exit> {
    Ok(converged(global, manifest, converging).await?.0)
}

/// The same, with what it came to.
pub(super) async fn converged(
    global: &Global,
    manifest: &Manifest,
    converging: &Converging,
) -> Result<(u8, Applied), Exit> {
    let stop = stop_on_signals()?;
    let reporting = Reporting::begin(converging.output, false, &stop)?;
    let controller = controller(global, manifest, reporting.reporter(), converging.concurrency, None)?;
    let started = Instant::now();
    let timeout = converging.timeout.unwrap_or(match manifest.lifecycle {
        Lifecycle::Managed => TIMEOUT_WITH_CLUSTER,
        Lifecycle::External => USUAL_TIMEOUT,
    });
    let applied = controller.apply(resolve(manifest, &controller.context), timeout, &stop).await;
    match &applied {
        Applied::Converged(status) => reporting.show(summary(manifest, status, started.elapsed())),
        Applied::Failed(status) | Applied::TimedOut { status: Some(status), .. } => {
            reporting.show(status_as_table(status, false));
        }
        _ => {}
    }
    let (code, complaint) = verdict(&applied, timeout);
    reporting.end(code, complaint.as_deref());
    let code = match (reporting.finish(), complaint) {
        // Whoever has gone, as `head` does, does not want to hear of it.
        (Written::ReaderGone, _) if matches!(applied, Applied::Stopped) => code,
        (_, Some(complaint)) => return Err(Exit::new(code, complaint)),
        // Why was told when it happened.
        (Written::Failed(_), None) => FAILED,
        (Written::Unread, None) => {
            note("standard output was not read to its end");
            code
        }
        (Written::All | Written::ReaderGone, None) => code,
    };
    Ok((code, applied))
}

/// The exit code, and what to complain about.
fn verdict(applied: &Applied, timeout: Duration) -> (u8, Option<String>) {
    let complaint = match applied {
        Applied::Converged(_) => return (OK, None),
        Applied::Failed(status) => status.shortfalls().join("\n"),
        Applied::TimedOut { waited_for, .. } => {
            let waited_for = waited_for.iter().fold(String::new(), |text, what| format!("{text}\nwaited for {what}"));
            return (TIMED_OUT, Some(format!("not converged within {}{waited_for}", of_which(timeout))));
        }
        Applied::Rejected(why) => return (BAD_INPUT, Some(why.clone())),
        Applied::EngineAway(error) => error.to_string(),
        Applied::NoLock(error) => format!("cannot lock the cluster: {error}"),
        Applied::Stopped => "stopped before everything was as ksail.yaml says".to_owned(),
    };
    (FAILED, Some(complaint))
}

/// A bound, as far as there was time to converge in it.
fn of_which(timeout: Duration) -> String {
    let words = |duration| format!("{:#}", SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX));
    let kept = kept_for_undoing(timeout);
    format!(
        "{} ({} of {} are for undoing what is half done)",
        words(timeout.saturating_sub(kept)),
        words(kept),
        words(timeout)
    )
}

fn summary(manifest: &Manifest, status: &Status, took: Duration) -> String {
    let took = format!("{:.1}s", took.as_secs_f64());
    match status.mirrors.len() {
        0 if manifest.path.as_os_str().is_empty() => {
            format!("cluster {}: no registry is left ({took})\n", status.cluster)
        }
        0 => format!("cluster {}: no mirrors, as ksail.yaml says ({took})\n", status.cluster),
        1 => format!("cluster {}: 1 mirror is Ready ({took})\n", status.cluster),
        n => format!("cluster {}: {n} mirrors are Ready ({took})\n", status.cluster),
    }
}
