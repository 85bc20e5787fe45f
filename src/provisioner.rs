//! The programs that create and delete clusters: `kind` and `k3d`, as they are on the `PATH`.

use std::collections::VecDeque;
use std::env::split_paths;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::distribution;
use crate::limit::PROGRAM_LINE;
use crate::manifest::Distribution;

/// Longest run of a program. To create a cluster takes minutes, more where its images come over a slow line.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// A program that was told to end has this long to do so.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// What it started may hold its output open after it has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Lines that are kept for the message when it fails.
const KEPT: usize = 8;

/// Finds and runs the distributions' programs.
#[derive(Debug, Clone, Default)]
pub struct Provisioner {
    /// Directories to look in, as in `PATH`.
    pub path: Option<OsString>,
    /// What `~` in a path stands for.
    pub home: Option<PathBuf>,
    /// Variables that say which engine it is, when it is another than the programs would find by themselves.
    pub engine: Vec<(&'static str, String)>,
    /// What is asked without a proxy by this machine's environment, where that has a proxy: the programs hand both on to
    /// the nodes, whose containerd would have the proxy asked in place of the mirrors.
    pub no_proxy: Option<String>,
    /// Plays the programs, in place of those on the `PATH`: for tests, as the engine in memory is. With a `path` they have
    /// to be there all the same.
    pub played: Option<Played>,
}

/// What is done in place of a program's run, by its arguments.
#[derive(Clone)]
pub struct Played(Play);

type Play = Arc<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<(), ProvisionError>> + Send + Sync>;

impl Played {
    /// Does whatever `play` does.
    pub fn new(
        play: impl Fn(Vec<String>) -> BoxFuture<'static, Result<(), ProvisionError>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(play))
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Played")
    }
}

/// Why a program did not do what it was run for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// It is not there or cannot be executed.
    #[error("{command} cannot be run: {reason}")]
    CannotRun {
        /// The command line.
        command: String,
        /// The system's words.
        reason: String,
    },
    /// What it would be given makes nodes that run no container.
    #[error(
        "{} sets registry.mirrors beside config_path, with which containerd's CRI plugin does not start: remove the lines with registry.mirrors, ksail.yaml has the registries; no cluster is created until then", config.display()
    )]
    DeadNodes {
        /// The distribution's configuration.
        config: PathBuf,
    },
    /// It ended with a failure.
    #[error("{command} {how}{}", said(last_words))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended: `exited with 1`.
        how: String,
        /// Its last lines of output.
        last_words: Vec<String>,
    },
    /// It did not end by itself, and would not the next time either.
    #[error("{command} did not end within {} min and was ended{}", LONGEST.as_secs() / 60, said(last_words))]
    TookTooLong {
        /// The command line.
        command: String,
        /// Its last lines of output.
        last_words: Vec<String>,
    },
    /// It was told to end, because ksail was or because the file changed.
    #[error("{command} was stopped half-way")]
    Stopped {
        /// The command line.
        command: String,
    },
    /// It ended well, and there is no node of the cluster.
    #[error(
        "{command} ended well, but there is no node of cluster {cluster} on the engine at {engine}; it may have asked another engine, see DOCKER_HOST and `docker context ls`"
    )]
    MadeNothing {
        /// The command line.
        command: String,
        /// The cluster's name.
        cluster: String,
        /// Where was looked.
        engine: String,
    },
    /// The cluster came into being while ksail was about to create it.
    #[error("cluster {cluster} appeared meanwhile; it is left as it is")]
    Appeared {
        /// Its name.
        cluster: String,
    },
}

impl ProvisionError {
    /// Without the last lines of the program's output.
    pub fn in_short(&self) -> String {
        let mut short = self.clone();
        if let Self::Failed { last_words, .. } | Self::TookTooLong { last_words, .. } = &mut short {
            last_words.clear();
        }
        short.to_string()
    }

    /// With no more than the last line of the program's output.
    pub fn in_a_line(&self) -> String {
        let last = match self {
            Self::Failed { last_words, .. } | Self::TookTooLong { last_words, .. } => last_words.last(),
            _ => None,
        };
        last.map_or_else(|| self.in_short(), |last| format!("{}: {last}", self.in_short()))
    }

    /// Whether the program was at work, so that it may have made some of what it was to make.
    pub fn may_leave_something(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::TookTooLong { .. } | Self::Stopped { .. } => true,
            Self::CannotRun { .. } | Self::DeadNodes { .. } | Self::MadeNothing { .. } | Self::Appeared { .. } => false,
        }
    }

    /// Whether the program refused because somebody else has created the cluster meanwhile, in the words of kind
    /// ("node(s) already exist for a cluster with the name") and of k3d ("a cluster with that name already exists"), or of
    /// Docker, of whoever came first to a node's name ("The container name "/dev-control-plane" is already in use").
    pub fn says_it_exists(&self) -> bool {
        let says = |line: &String| {
            (line.contains("already exist") && line.contains("cluster"))
                || (line.contains("container name") && line.contains("is already in use"))
        };
        matches!(self, Self::Failed { last_words, .. } if last_words.iter().any(says))
    }
}

fn said(last_words: &[String]) -> String {
    if last_words.is_empty() { String::new() } else { format!("; it said:\n  {}", last_words.join("\n  ")) }
}

impl Provisioner {
    /// Path of a distribution's program, if it is on the `PATH`.
    pub fn find(&self, distribution: Distribution) -> Option<PathBuf> {
        let name = format!("{}{}", distribution::provisioner(distribution).name, std::env::consts::EXE_SUFFIX);
        if self.played.is_some() && self.path.is_none() {
            return Some(Path::new("/played").join(name));
        }
        split_paths(self.path.as_ref()?).map(|directory| directory.join(&name)).find(|path| is_executable(path))
    }

    /// What `NO_PROXY` is to say besides, from a machine's environment: nothing where that has no proxy.
    pub fn no_proxy_in(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let first = |names: &[&str]| names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
        first(&["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"])?;
        Some(first(&["NO_PROXY", "no_proxy"]).unwrap_or_default())
    }

    /// Runs a program to its end; `direct` are names and ranges that no proxy is to be asked for, and `tell` gets each line of its output as it comes. Told to stop, it ends the program
    /// and whatever that has started.
    pub async fn run(
        &self,
        program: &Path,
        arguments: &[String],
        kubeconfig: Option<&str>,
        direct: &[String],
        stop: &CancellationToken,
        tell: impl Fn(&str) + Send + Sync,
    ) -> Result<(), ProvisionError> {
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        let command = format!("{name} {}", arguments.join(" "));
        if let Some(Played(play)) = &self.played {
            return tokio::select! {
                biased;
                () = stop.cancelled() => Err(ProvisionError::Stopped { command }),
                ended = play(arguments.to_vec()) => ended,
            };
        }
        let cannot =
            |error: io::Error| ProvisionError::CannotRun { command: command.clone(), reason: error.to_string() };
        let child = self.command(program, arguments, kubeconfig, direct).spawn().map_err(cannot)?;
        let mut child = EndsWithUs(child);
        info!(command, "started");
        let mut output = output_of(&mut child.0);
        let mut last_words = VecDeque::new();
        let mut on_line = |line: String| {
            tell(&line);
            if last_words.len() == KEPT {
                last_words.pop_front();
            }
            last_words.push_back(line);
        };
        let deadline = Instant::now() + LONGEST;
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    child.end().await;
                    return Err(ProvisionError::Stopped { command });
                }
                Some(line) = output.next() => on_line(line),
                ended = child.0.wait() => break ended.map_err(cannot)?,
                () = sleep_until(deadline) => {
                    child.end().await;
                    return Err(ProvisionError::TookTooLong { command, last_words: last_words.into() });
                }
            }
        };
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Some(line)) = timeout_at(until, output.next()).await {
            on_line(line);
        }
        if ended.success() {
            return Ok(());
        }
        let how = ended.code().map_or_else(|| format!("was ended ({ended})"), |code| format!("exited with {code}"));
        Err(ProvisionError::Failed { command, how, last_words: last_words.into() })
    }

    fn command(&self, program: &Path, arguments: &[String], kubeconfig: Option<&str>, direct: &[String]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C at the terminal reaches ksail alone, which then decides what becomes of the program.
        #[cfg(unix)]
        command.process_group(0);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", self.expanded(kubeconfig));
        }
        command.envs(self.engine.iter().map(|(name, value)| (name, value)));
        if let Some(no_proxy) = &self.no_proxy {
            let said = Some(no_proxy.as_str()).filter(|said| !said.is_empty());
            let all: Vec<_> = said.into_iter().chain(direct.iter().map(String::as_str)).collect();
            let all = all.join(",");
            command.env("NO_PROXY", &all).env("no_proxy", &all);
        }
        command
    }

    fn expanded(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }
}

/// Lines of standard output and standard error, as they come.
fn output_of(child: &mut Child) -> BoxStream<'static, String> {
    let out = child.stdout.take().map(lines);
    let err = child.stderr.take().map(lines);
    stream::select_all([out, err].into_iter().flatten()).boxed()
}

fn lines(from: impl AsyncRead + Unpin + Send + 'static) -> BoxStream<'static, String> {
    stream::unfold(BufReader::new(from), |mut from| async move { Some((line(&mut from).await?, from)) }).boxed()
}

/// The next line; of one that is too long the beginning, and that there was more. It is read to its end all the same: who
/// is not read stops.
async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let (mut line, mut left_out, mut has_begun) = (Vec::new(), 0, false);
    loop {
        let part = from.fill_buf().await.ok().filter(|part| !part.is_empty());
        let Some(part) = part else { break };
        has_begun = true;
        let end = part.iter().position(|byte| *byte == b'\n');
        let (part, used) = end.map_or((part, part.len()), |end| (&part[..end], end + 1));
        let kept = part.len().min(PROGRAM_LINE.bytes() - line.len());
        line.extend_from_slice(&part[..kept]);
        left_out += part.len() - kept;
        from.consume(used);
        if end.is_some() {
            break;
        }
    }
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    has_begun.then(|| if left_out == 0 { text } else { format!("{text} … ({left_out} more bytes in this line)") })
}

/// A program that does not outlive whoever waits for it, and nor does what it has started.
struct EndsWithUs(Child);

impl EndsWithUs {
    /// Ends it, first by asking.
    async fn end(&mut self) {
        tell_group(&self.0, Ending::Asked);
        if timeout(ENDS_WITHIN, self.0.wait()).await.is_err() {
            tell_group(&self.0, Ending::Forced);
            // The system has taken it over.
            let _ = self.0.kill().await;
        }
    }
}

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        // Of one that has ended by itself the group has no id any more.
        tell_group(&self.0, Ending::Forced);
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Asked,
    Forced,
}

#[cfg(unix)]
fn tell_group(child: &Child, ending: Ending) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let signal = match ending {
        Ending::Asked => Signal::TERM,
        Ending::Forced => Signal::KILL,
    };
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
fn tell_group(_: &Child, _: Ending) {}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
#[cfg(unix)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// A program of that name, and a provisioner that finds it.
    pub(crate) fn with_program(name: &str, script: &str) -> (tempfile::TempDir, Provisioner) {
        let directory = tempfile::tempdir().unwrap();
        // Not by this process: whatever a test beside this one starts meanwhile would hold the file open for a moment, and
        // a file that is open for writing cannot be executed ("text file busy").
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
        let path = directory.path().join(name);
        let mut writer = std::process::Command::new("sh");
        let written = writer.args(["-c", write, "sh"]).arg(&path).arg(script).status().unwrap();
        assert!(written.success());
        let path = Some(directory.path().as_os_str().to_owned());
        let (home, engine) = (Some("/home/me".into()), vec![("DOCKER_HOST", "unix:///x".to_owned())]);
        (directory, Provisioner { path, home, engine, ..Provisioner::default() })
    }

    async fn run(script: &str, stop: &CancellationToken) -> (Result<(), ProvisionError>, Vec<String>) {
        let (_directory, provisioner) = with_program("kind", script);
        let program = provisioner.find(Distribution::Kind).unwrap();
        let heard = Mutex::new(Vec::new());
        let arguments = ["create".to_owned(), "cluster".to_owned()];
        let tell = |line: &str| {
            if line == "ready" {
                stop.cancel();
            }
            heard.lock().unwrap().push(line.to_owned());
        };
        let outcome = provisioner.run(&program, &arguments, Some("~/.kube/config"), &[], stop, tell).await;
        (outcome, heard.into_inner().unwrap())
    }

    #[test]
    fn only_an_executable_file_on_the_path_is_found() {
        let (directory, provisioner) = with_program("k3d", "");
        assert_eq!(provisioner.find(Distribution::K3d), Some(directory.path().join("k3d")));
        assert_eq!(provisioner.find(Distribution::Kind), None);
        std::fs::write(directory.path().join("kind"), "").unwrap();
        assert_eq!(provisioner.find(Distribution::Kind), None, "it cannot be executed");
        assert_eq!(Provisioner::default().find(Distribution::K3d), None);
    }

    #[tokio::test]
    async fn output_is_told_line_by_line_and_the_surroundings_are_passed_on() {
        let (outcome, mut heard) =
            run("echo \"$@\"; echo \"$KUBECONFIG $DOCKER_HOST\" >&2", &CancellationToken::new()).await;
        assert_eq!(outcome, Ok(()));
        heard.sort();
        assert_eq!(heard, ["/home/me/.kube/config unix:///x", "create cluster"]);
    }

    /// What a program is told of proxies, by a machine with these variables.
    async fn told_of_proxies(variables: &[(&str, &str)]) -> Vec<String> {
        let (_directory, found) = with_program("kind", "echo \"$NO_PROXY|$no_proxy\"");
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let provisioner = Provisioner { no_proxy: Provisioner::no_proxy_in(value), ..found };
        let (program, heard) = (provisioner.find(Distribution::Kind).unwrap(), Mutex::new(Vec::new()));
        let (direct, stop) =
            (["ksail-dev-ghcr-io".to_owned(), "ksail-dev-quay-io".to_owned()], CancellationToken::new());
        let tell = |line: &str| heard.lock().unwrap().push(line.to_owned());
        provisioner.run(&program, &[], None, &direct, &stop, tell).await.unwrap();
        heard.into_inner().unwrap()
    }

    #[tokio::test]
    async fn no_proxy_is_to_be_asked_for_the_mirrors_where_there_is_one() {
        let both = |said: &str| [format!("{said}|{said}")];
        let (names, of_own) =
            ("ksail-dev-ghcr-io,ksail-dev-quay-io", [("https_proxy", "b:2"), ("no_proxy", "10.0.0.0/8,.local")]);
        assert_eq!(told_of_proxies(&[("HTTP_PROXY", "http://a:1")]).await, both(names));
        assert_eq!(told_of_proxies(&of_own).await, both(&format!("10.0.0.0/8,.local,{names}")));
        let unchanged =
            std::env::var("NO_PROXY").unwrap_or_default() + "|" + &std::env::var("no_proxy").unwrap_or_default();
        assert_eq!(told_of_proxies(&[("HTTP_PROXY", ""), ("NO_PROXY", "x")]).await, [unchanged]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_what_follows_is_read() {
        let most = PROGRAM_LINE.bytes();
        let script = format!("head -c {} /dev/zero | tr '\\0' x; echo; echo then; printf last", most + 7);
        let (outcome, heard) = run(&script, &CancellationToken::new()).await;
        assert_eq!(outcome, Ok(()));
        let cut = format!("{} … (7 more bytes in this line)", "x".repeat(most));
        assert_eq!(heard, [cut, "then".to_owned(), "last".to_owned()]);
    }

    #[tokio::test]
    async fn a_line_that_never_ends_takes_no_memory() {
        let endless = tokio::io::repeat(b'x').take(64 * 1024 * 1024);
        let lines: Vec<String> = lines(endless).collect().await;
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() < 2 * PROGRAM_LINE.bytes(), "{} bytes", lines[0].len());
    }

    #[tokio::test]
    async fn a_failure_keeps_the_last_lines() {
        let (outcome, _) =
            run("for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done; exit 3", &CancellationToken::new()).await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.starts_with("kind create cluster exited with 3; it said:\n  line 3\n"), "{message}");
        assert!(message.ends_with("line 10"), "{message}");
    }

    #[tokio::test]
    async fn told_to_stop_it_takes_what_it_started_along() {
        let (outcome, heard) = run("sleep 300 & echo $!; echo ready; wait", &CancellationToken::new()).await;
        assert!(matches!(outcome, Err(ProvisionError::Stopped { .. })), "{outcome:?}");
        ends(&heard[0]).await;
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_any_more_ends_with_what_it_started() {
        let (_directory, provisioner) = with_program("kind", "trap '' TERM; sleep 300 & echo $!; wait");
        let program = provisioner.find(Distribution::Kind).unwrap();
        let (told, mut started) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |line: &str| told.send(line.to_owned()).unwrap();
        let stop = CancellationToken::new();
        let started = tokio::select! {
            outcome = provisioner.run(&program, &[], None, &[], &stop, tell) => panic!("{outcome:?}"),
            started = started.recv() => started.unwrap(),
        };
        ends(&started).await;
    }

    async fn ends(process: &str) {
        // Gone, or ended and not yet taken note of by whoever has inherited it.
        let state = || std::process::Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap().stdout;
        for _ in 0..500 {
            if state().first().is_none_or(|state| *state == b'Z') {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("what it started goes on");
    }
}
