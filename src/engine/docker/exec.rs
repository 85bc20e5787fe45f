//! Programs in containers: created, started with everything attached, read to the end, asked for the exit code.

use std::pin::{Pin, pin};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use futures_util::future::{self, Either};
use futures_util::{Stream, TryStreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::connection::Connection;
use super::{errors, requests};
use crate::engine::{Exec, Executed};
use crate::limit::{EXEC_OUTPUT, Meter, TooLarge};

/// How often the exit code is asked for: an engine may have forwarded all output and not know yet that it was all.
const POLL: Duration = Duration::from_millis(5);

/// What shells answer for a program that is not there.
const NO_SUCH_PROGRAM: i64 = 127;

/// What an engine says that refuses to start a program which is not in the container.
const MISSING: [&str; 4] =
    ["executable file", "no such file or directory", "command that was not found", "permission denied"];

/// Runs a program to its end. The caller bounds it in time; what it leaves behind then runs on, since the API has no
/// call that ends it.
pub(super) async fn run(
    docker: bollard::Docker,
    connection: &Connection,
    id: &str,
    exec: &Exec,
) -> Result<Executed, Error> {
    let created = docker.create_exec(id, requests::exec(exec)).await?.id;
    connection.remember_exec(&created);
    let said = match docker.start_exec(&created, None::<StartExecOptions>).await {
        Ok(StartExecResults::Attached { output, input }) => converse(output, input, &exec.stdin).await?,
        Ok(StartExecResults::Detached) => Said::default(),
        // Docker 20.10 starts it all the same and answers 126.
        Err(Error::DockerResponseServerError { message, .. }) if is_missing(&message) => {
            return Ok(Executed { exit_code: NO_SUCH_PROGRAM, stdout: message, stderr: String::new() });
        }
        Err(error) => return Err(error),
    };
    let exit_code = exit_code(&docker, &created).await?;
    let executed = said.with(exit_code);
    if found_it_stopped(&executed) {
        return Err(Error::DockerResponseServerError { status_code: 409, message: executed.stdout });
    }
    Ok(executed)
}

/// Feeds a program and listens to it at the same time: one that writes much before it has read all would otherwise
/// wait for us while we wait for it.
async fn converse(
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    mut input: Pin<Box<dyn AsyncWrite + Send>>,
    stdin: &[u8],
) -> Result<Said, Error> {
    let feeding = pin!(async move {
        // A program need not read what it is given; whether the engine is gone shows in the output.
        if !stdin.is_empty() && input.write_all(stdin).await.is_ok() {
            let _ = input.shutdown().await;
        }
    });
    let listening = pin!(output.try_fold(Said::default(), |mut said, part| async move {
        said.hear(part).map_err(errors::too_large)?;
        Ok(said)
    }));
    match future::select(feeding, listening).await {
        Either::Left(((), listening)) => listening.await,
        Either::Right((said, _)) => said,
    }
}

async fn exit_code(docker: &bollard::Docker, exec: &str) -> Result<i64, Error> {
    loop {
        let now = docker.inspect_exec(exec).await?;
        if let (Some(code), false) = (now.exit_code, now.running.unwrap_or(false)) {
            return Ok(code);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_missing(message: &str) -> bool {
    let message = message.to_lowercase();
    MISSING.iter().any(|words| message.contains(words))
}

/// A container that stops between the two calls looks like a missing program to Docker.
fn found_it_stopped(executed: &Executed) -> bool {
    executed.is_missing_program()
        && executed.stdout.starts_with("OCI runtime exec failed")
        && ["a container that has stopped", "a stopped container"].iter().any(|words| executed.stdout.contains(words))
}

/// What a program has said so far.
#[derive(Debug)]
struct Said {
    /// Of both together.
    meter: Meter,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Default for Said {
    fn default() -> Self {
        Self { meter: EXEC_OUTPUT.meter(), stdout: Vec::new(), stderr: Vec::new() }
    }
}

impl Said {
    fn hear(&mut self, part: LogOutput) -> Result<(), TooLarge> {
        let (kept, message) = match part {
            LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut self.stdout, message),
            LogOutput::StdErr { message } => (&mut self.stderr, message),
            LogOutput::StdIn { .. } => return Ok(()),
        };
        self.meter.spend(message.len())?;
        kept.extend_from_slice(&message);
        Ok(())
    }

    fn with(self, exit_code: i64) -> Executed {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Executed { exit_code, stdout: text(self.stdout), stderr: text(self.stderr) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_apart_and_up_to_a_limit() {
        let (mut said, most) = (Said::default(), EXEC_OUTPUT.bytes());
        said.hear(LogOutput::StdErr { message: "oops".into() }).unwrap();
        said.hear(LogOutput::StdOut { message: vec![b'x'; most - 4].into() }).unwrap();
        assert!(said.hear(LogOutput::StdErr { message: "more".into() }).is_err());
        let executed = said.with(0);
        assert_eq!((executed.stdout.len(), executed.stderr.as_str()), (most - 4, "oops"));
    }

    #[test]
    fn a_missing_program_is_known_by_each_of_its_wordings() {
        for message in [
            r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "rm": executable file not found in $PATH: unknown"#,
            r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/rm": stat /bin/rm: no such file or directory: unknown"#,
            "crun: executable file `rm` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found",
        ] {
            assert!(is_missing(message), "{message}");
        }
        assert!(!is_missing("Container x is not running"));
    }

    #[test]
    fn a_container_that_stopped_meanwhile_is_no_missing_program() {
        let said = |stdout: &str| Executed { exit_code: 126, stdout: stdout.to_owned(), stderr: String::new() };
        assert!(found_it_stopped(&said(
            "OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown"
        )));
        assert!(!found_it_stopped(&said("OCI runtime exec failed: exec failed: executable file not found in $PATH")));
    }
}
