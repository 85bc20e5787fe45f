//! An engine behind ssh: the docker CLI over there passes on what is said, as the docker CLI here has it done.

use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader, Join, ReadBuf, join};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::engine::locate::SshTarget;

/// More than anybody reads of what ssh complains of.
const COMPLAINT: u64 = 4096;
/// What ssh has to say of its end it says within this.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection through a process of its own, which ends with it.
pub(super) struct Tunnel {
    stream: Join<ChildStdout, ChildStdin>,
    _process: Child,
}

/// What ssh complains of.
#[derive(Debug)]
pub(super) struct Complaint {
    /// Its last line, and whether it has ended.
    said: watch::Receiver<(Option<String>, bool)>,
}

impl Complaint {
    /// The last line of an ssh that ends, if it has any.
    pub(super) async fn heard(mut self) -> Option<String> {
        // Who says nothing more within that time has said all.
        let _ = timeout(LAST_WORDS, self.said.wait_for(|(_, has_ended)| *has_ended)).await;
        self.said.borrow().0.clone()
    }
}

/// Starts ssh.
///
/// # Errors
///
/// When there is none.
pub(super) fn dial(target: &SshTarget) -> std::io::Result<(Tunnel, Complaint)> {
    let mut command = Command::new("ssh");
    command.args(arguments(target)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    // A Ctrl-C is for ksail, which has something to finish over it.
    #[cfg(unix)]
    command.process_group(0);
    let cannot = |error: std::io::Error| std::io::Error::new(error.kind(), format!("ssh cannot be run: {error}"));
    let mut process = command.spawn().map_err(cannot)?;
    let (tell, said) = watch::channel((None, false));
    let ends = (process.stdout.take(), process.stdin.take(), process.stderr.take());
    let (Some(from), Some(to), Some(words)) = ends else { return Err(std::io::Error::other("ssh has no pipes")) };
    tokio::spawn(async move {
        let mut lines = BufReader::new(words.take(COMPLAINT)).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !line.trim().is_empty() {
                tell.send_modify(|(last, _)| *last = Some(line.trim().to_owned()));
            }
        }
        // Whoever says more than that is not kept waiting.
        let _ = tokio::io::copy(&mut lines.into_inner().into_inner().into_inner(), &mut tokio::io::sink()).await;
        tell.send_modify(|(_, has_ended)| *has_ended = true);
    });
    Ok((Tunnel { stream: join(from, to), _process: process }, Complaint { said }))
}

/// Asks nobody for anything: several are started at once, and nobody may be there.
fn arguments(target: &SshTarget) -> Vec<String> {
    let mut arguments: Vec<String> = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=8", "-T"].map(str::to_owned).into();
    if let Some(user) = &target.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = target.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), target.host.clone(), "docker".to_owned()]);
    if let Some(socket) = &target.socket {
        arguments.extend(["--host".to_owned(), format!("unix://{socket}")]);
    }
    arguments.extend(["system", "dial-stdio"].map(str::to_owned));
    arguments
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_run_as_the_docker_cli_runs_it_and_asks_nobody_for_anything() {
        let said = |target: &SshTarget| arguments(target).join(" ");
        let whole = SshTarget {
            user: Some("me".to_owned()),
            host: "build.example".to_owned(),
            port: Some(2222),
            socket: Some("/run/user/1000/docker.sock".to_owned()),
        };
        insta::assert_snapshot!(said(&whole), @"-o BatchMode=yes -o ConnectTimeout=8 -T -l me -p 2222 -- build.example docker --host unix:///run/user/1000/docker.sock system dial-stdio");
        let plain = SshTarget { user: None, port: None, socket: None, ..whole };
        insta::assert_snapshot!(said(&plain), @"-o BatchMode=yes -o ConnectTimeout=8 -T -- build.example docker system dial-stdio");
    }
}
