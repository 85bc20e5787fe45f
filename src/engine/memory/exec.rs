//! Programs in containers: `rm`, `rmdir`, `tee`, `sleep`, and whatever a test scripts.

use std::time::Duration;

use super::files::{MISSING, absolute};
use super::world::World;
use crate::engine::{ContainerState, EngineError, Exec, Executed, Result};

/// What shells answer for a program that is not there.
const NO_SUCH_PROGRAM: i64 = 127;

impl World {
    /// Runs a program; its end is told unless it is `our_own`. Docker 20.10 tells nothing of one that is not there.
    pub(super) fn exec(&mut self, wanted: &str, exec: &Exec, our_own: bool) -> Result<Executed> {
        let id = self.container_id(wanted)?;
        let container = &self.kept(&id)?.container;
        let name = container.name.clone();
        match container.state {
            ContainerState::Running => {}
            ContainerState::Paused => {
                let message = format!("Container {wanted} is paused, unpause the container before exec");
                return Err(EngineError::Conflict { message });
            }
            ContainerState::Restarting => {
                let message = format!("Container {id} is restarting, wait until the container is running");
                return Err(EngineError::Conflict { message });
            }
            _ => return Err(EngineError::Conflict { message: format!("Container {id} is not running") }),
        }
        let scripted = self.programs.answer(&name, exec);
        let executed = match scripted {
            Some(executed) => executed,
            None => self.run_program(&id, &name, exec)?,
        };
        if !our_own && !executed.is_missing_program() {
            let exec_id = self.next_id('e');
            let exit_code = executed.exit_code.to_string();
            self.tell_container("exec_die", &id, &[("execID", &exec_id), ("exitCode", &exit_code)]);
        }
        Ok(executed)
    }

    fn run_program(&mut self, id: &str, container: &str, exec: &Exec) -> Result<Executed> {
        let words: Vec<&str> = exec.command.iter().map(String::as_str).collect();
        let Some((path, arguments)) = words.split_first() else {
            return Err(EngineError::Refused { status: 400, message: "No exec command specified".to_owned() });
        };
        let program = path.rsplit('/').next().unwrap_or(path);
        let (applet, arguments) = match (program, arguments.split_first()) {
            _ if !self.programs.has(container, program) => return Ok(no_such_program(path)),
            ("busybox", Some((applet, arguments))) => (*applet, arguments),
            _ => (program, arguments),
        };
        match applet {
            "rm" => Ok(self.rm(id, arguments)),
            "rmdir" => Ok(self.rmdir(id, arguments)),
            "tee" => Ok(self.tee(id, arguments, &exec.stdin)),
            "sleep" => sleep(arguments, exec.limit),
            _ if applet != program => Ok(no_such_applet(applet)),
            _ => Ok(no_such_program(path)),
        }
    }

    fn rm(&mut self, id: &str, arguments: &[&str]) -> Executed {
        let forced = arguments.contains(&"-f");
        let paths: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "-f").collect();
        if let Some(failed) = misused("rm", &paths) {
            return if forced && paths.is_empty() { ended(String::new()) } else { failed };
        }
        let now = self.next_change();
        let Ok(kept) = self.kept_mut(id) else { return no_such_program("rm") };
        let complaints = paths.into_iter().filter_map(|path| match kept.files.remove_file(&absolute(path), &now) {
            Err(refusal) if !(forced && refusal == MISSING) => Some(format!("rm: cannot remove '{path}': {refusal}\n")),
            _ => None,
        });
        ended(complaints.collect())
    }

    fn rmdir(&mut self, id: &str, arguments: &[&str]) -> Executed {
        if let Some(failed) = misused("rmdir", arguments) {
            return failed;
        }
        let now = self.next_change();
        let Ok(kept) = self.kept_mut(id) else { return no_such_program("rmdir") };
        let complaints = arguments.iter().filter_map(|path| {
            let refusal = kept.files.remove_directory(&absolute(path), &now).err()?;
            Some(format!("rmdir: failed to remove '{path}': {refusal}\n"))
        });
        ended(complaints.collect())
    }

    /// What an edit is: written into the file that is there, which its directory does not notice.
    fn tee(&mut self, id: &str, arguments: &[&str], stdin: &[u8]) -> Executed {
        if let Some(failed) = misused("tee", arguments) {
            return failed;
        }
        let now = self.next_change();
        let Ok(kept) = self.kept_mut(id) else { return no_such_program("tee") };
        let complaints = arguments.iter().filter_map(|path| {
            let refusal = kept.files.write(&absolute(path), stdin, &now).err()?;
            Some(format!("tee: {path}: {refusal}\n"))
        });
        Executed { stdout: String::from_utf8_lossy(stdin).into_owned(), ..ended(complaints.collect()) }
    }
}

/// It takes no time, but one longer than the limit is found to be too long.
fn sleep(arguments: &[&str], limit: Duration) -> Result<Executed> {
    let [seconds] = arguments else { return Ok(ended("sleep: one number of seconds, please\n".to_owned())) };
    let Ok(seconds) = seconds.parse() else {
        return Ok(ended(format!("sleep: invalid time interval '{seconds}'\n")));
    };
    if Duration::from_secs(seconds) > limit {
        return Err(EngineError::Timeout { call: "exec".to_owned(), seconds: limit.as_secs() });
    }
    Ok(ended(String::new()))
}

/// A use of a program that this engine does not know.
fn misused(program: &str, paths: &[&str]) -> Option<Executed> {
    if paths.is_empty() {
        return Some(ended(format!("{program}: missing operand\n")));
    }
    let option = paths.iter().find(|path| path.starts_with('-'))?;
    Some(ended(format!("{program}: invalid option '{option}'\n")))
}

/// The end of a program that complains of everything that goes wrong.
fn ended(complaints: String) -> Executed {
    Executed { exit_code: i64::from(!complaints.is_empty()), stdout: String::new(), stderr: complaints }
}

/// What busybox says itself.
fn no_such_applet(applet: &str) -> Executed {
    Executed { exit_code: NO_SUCH_PROGRAM, ..ended(format!("{applet}: applet not found\n")) }
}

fn no_such_program(program: &str) -> Executed {
    let stdout = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: \
         exec: \"{program}\": executable file not found in $PATH: unknown\r\n"
    );
    Executed { exit_code: NO_SUCH_PROGRAM, stdout, stderr: String::new() }
}
