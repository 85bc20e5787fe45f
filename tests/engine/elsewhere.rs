//! Only the engine's socket is here: what it publishes is not. As in a container that has the socket mounted, or at the
//! end of an `ssh -L` of it.

use std::time::Duration;

use super::support::manifest::Mirror;
use super::support::scenario::{Scenario, free_port};

/// A network of its own, in which nothing of the engine's listens.
const APART: [&str; 6] = ["unshare", "--net", "sh", "-c", r#"ip link set lo up && exec "$@""#, "sh"];

#[test]
fn a_registry_whose_port_cannot_be_reached_from_here_is_ready_and_never_restarted() {
    // In no turn: it mostly waits. Only after ten seconds a port that refuses is looked into.
    let mut scenario = Scenario::new("elsewhere");
    scenario.within = APART.map(str::to_owned).to_vec();
    let mirror = Mirror::push(free_port());
    scenario.write(std::slice::from_ref(&mirror));
    scenario.apply();
    let identity = scenario.running(&mirror).identity();
    let status = scenario.status();
    assert_eq!(status.code, 0, "{status:?}");
    let (serving, reason, _) = status.of_mirror(&mirror.host, "Serving");
    assert_eq!((serving.as_str(), reason.as_str()), ("Unknown", "NotReachableFromHere"));

    let mut watch = scenario.watch();
    let mark = watch.mark();
    // Two rounds of questions.
    let events = watch.settled_since(mark, Duration::from_secs(12));
    assert!(events.iter().all(|event| !event.is_action()), "{events:#?}");
    assert_eq!(scenario.running(&mirror).identity(), identity, "it was left alone");
    assert_eq!(watch.stop(), Some(0), "{}", watch.stderr());
}
