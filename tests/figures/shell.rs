//! The script people have: look for each container, `docker run` it when it is not there.

use std::process::Command;

use crate::contender::{Contender, Stage};
use crate::support::manifest::Mirror;
use crate::support::scenario::Scenario;
use crate::support::sweep;

/// One `docker run` after another.
pub(crate) struct Shell;

impl Contender for Shell {
    fn name(&self) -> String {
        "loop of docker run".to_owned()
    }

    fn bring_up(&self, _: Stage, scenario: &Scenario, mirrors: &[Mirror]) {
        let done = Command::new("bash").args(["-ec", &script(scenario, mirrors)]).output().expect("bash runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn script(scenario: &Scenario, mirrors: &[Mirror]) -> String {
    let (label, network) = (sweep::label(), &scenario.network);
    let line = |mirror: &Mirror| {
        let (name, port) = (scenario.container_name(mirror), mirror.host_port());
        format!(
            "docker container inspect {name} >/dev/null 2>&1 || {{ \
             docker run -d --pull never --restart always --name {name} --label {label} -p 127.0.0.1:{port}:5000 \
             -v {name}:/var/lib/registry registry:3; docker network connect --alias {name} {network} {name}; }}\n"
        )
    };
    mirrors.iter().map(line).collect()
}
