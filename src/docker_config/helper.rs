//! Programs that keep what `docker login` stored: `docker-credential-NAME get` takes the registry's name from its input and
//! answers with JSON.
//!
//! <https://github.com/docker/docker-credential-helpers#development>

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Stored;
use crate::limit::REGISTRY_ANSWER;

/// A program that is to end is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What stands for a user's name where the secret is an identity token.
const TOKEN: &str = "<token>";
/// What helpers answer that have nothing, with a failure.
const NOTHING: &str = "credentials not found";

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// It does not keep anything for that registry.
    Nothing,
    /// In words that go on after `the helper …`.
    Itself(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper for what it keeps for a server. One that has not answered in time is ended, with whatever it has started.
pub(super) fn ask(program: &OsStr, server: &str, limit: Duration) -> Result<Stored, Failed> {
    let until = Instant::now() + limit;
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut helper = EndsWithUs(command.spawn().map_err(|_| Failed::Itself("cannot be run"))?);

    let (out, said) = mpsc::channel();
    let (stdin, stdout) = (helper.0.stdin.take(), helper.0.stdout.take());
    let server = server.to_owned();
    // On a thread, since nothing else bounds how long a pipe takes. It ends with the helper.
    let talk = move || {
        // Whoever does not read it need not.
        let _ = stdin.map(|mut stdin| stdin.write_all(server.as_bytes()));
        let answer = stdout.and_then(|stdout| REGISTRY_ANSWER.read(stdout).ok());
        out.send(answer)
    };
    let began = thread::Builder::new().name("docker login".to_owned()).spawn(talk);
    began.map_err(|_| Failed::Itself("cannot be run"))?;

    let answer = said.recv_timeout(limit).map_err(|_| LATE)?;
    let succeeded = helper.ends(until).ok_or(LATE)?;
    let answer = answer.ok_or(Failed::Itself("answered something else"))?;
    if !succeeded {
        let says_nothing = String::from_utf8_lossy(&answer).contains(NOTHING);
        return Err(if says_nothing { Failed::Nothing } else { Failed::Itself("failed") });
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| Failed::Itself("answered something else"))?;
    Ok(if answer.username == TOKEN {
        Stored::IdentityToken(answer.secret.into())
    } else {
        Stored::Password(answer.username.into(), answer.secret.into())
    })
}

const LATE: Failed = Failed::Itself("did not answer within 10 s");

/// A helper that does not outlive whoever waits for it.
struct EndsWithUs(Child);

impl EndsWithUs {
    /// Waits for its end, and says whether it succeeded.
    fn ends(&mut self, until: Instant) -> Option<bool> {
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Some(status.success()),
                Ok(None) if Instant::now() < until => thread::sleep(LOOK_AGAIN),
                _ => return None,
            }
        }
    }
}

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        // What a helper leaves running that has ended is meant to stay, as agents are.
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use secrecy::ExposeSecret;

    use super::*;

    /// Longer than a script takes to start on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A helper that is this script.
    fn helper(script: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, program)
    }

    fn answer(script: &str, limit: Duration) -> Result<(String, String), Failed> {
        let (_directory, program) = helper(script);
        ask(program.as_os_str(), "ghcr.io", limit).map(|stored| match stored {
            Stored::Password(name, password) => (name.expose_secret().to_owned(), password.expose_secret().to_owned()),
            Stored::IdentityToken(token) => (TOKEN.to_owned(), token.expose_secret().to_owned()),
        })
    }

    #[test]
    fn a_helper_is_told_the_registry_and_answers_with_a_password_or_a_token() {
        let asked = |name: &str| {
            let said = format!(r#"{{"ServerURL":"%s","Username":"{name}","Secret":"%s %s"}}"#);
            answer(&format!("server=$(cat); printf '{said}' \"$server\" \"$1\" \"$server\""), PATIENCE)
        };
        assert_eq!(asked("me"), Ok(("me".to_owned(), "get ghcr.io".to_owned())));
        assert_eq!(asked(TOKEN), Ok((TOKEN.to_owned(), "get ghcr.io".to_owned())));
    }

    #[test]
    fn a_helper_that_fails_says_nothing_or_answers_rubbish_is_told_apart_from_one_that_has_nothing() {
        assert_eq!(answer("echo no keyring; exit 1", PATIENCE), Err(Failed::Itself("failed")));
        assert_eq!(answer("echo credentials not found in native keychain; exit 1", PATIENCE), Err(Failed::Nothing));
        for rubbish in ["echo hello", "echo '{\"Username\": 3}'", "true", "head -c 2000000 /dev/zero"] {
            assert_eq!(answer(rubbish, PATIENCE), Err(Failed::Itself("answered something else")), "{rubbish}");
        }
        let missing = ask(OsStr::new("docker-credential-of-nobody"), "ghcr.io", PATIENCE);
        assert_eq!(missing.err(), Some(Failed::Itself("cannot be run")));
    }

    #[test]
    fn a_helper_that_hangs_is_ended_with_what_it_has_started() {
        let (directory, program) = helper("echo $$ >\"$0.pid\"\nsleep 1000 &\necho $! >>\"$0.pid\"\nwait");
        assert_eq!(ask(program.as_os_str(), "ghcr.io", Duration::from_secs(2)).err(), Some(LATE));
        let pids = fs::read_to_string(directory.path().join("docker-credential-test.pid")).unwrap();
        assert_eq!(pids.lines().count(), 2, "{pids}");
        for pid in pids.lines() {
            let until = Instant::now() + PATIENCE;
            while runs(pid) {
                assert!(Instant::now() < until, "{pid} runs on");
                thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// What has ended and is waited for by nobody is a zombie.
    fn runs(pid: &str) -> bool {
        let state = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap().stdout;
        !state.is_empty() && !state.starts_with(b"Z")
    }

    #[test]
    fn one_that_says_all_and_does_not_end_is_ended() {
        let script = r#"echo '{"Username":"me","Secret":"x"}'; exec >&-; sleep 1000"#;
        assert_eq!(answer(script, Duration::from_millis(500)), Err(LATE));
    }
}
