//! Files on nodes as a source of triggers: what a process inside a node does to them raises no event.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::engine::Engine;
use crate::observed::Observer;
use crate::probe::Probe;

/// Nodes are looked at this often, as long as their files together stay under [`PER_SECOND`].
const EVERY: Duration = Duration::from_secs(1);
/// Looks at files a second; each costs the engine about a millisecond.
const PER_SECOND: u32 = 10;

/// Looks at what was read on nodes for ever; one on which it has changed sends its name. Ends when nobody listens.
pub(super) async fn run<E: Engine, P: Probe>(observer: Observer<E, P>, out: mpsc::UnboundedSender<String>) {
    let mut pause = EVERY;
    loop {
        tokio::select! {
            () = out.closed() => return,
            () = sleep(pause) => {}
        }
        let (changed, looked_at) = observer.changed_nodes().await;
        for node in changed {
            if out.send(node).is_err() {
                return;
            }
        }
        let looked_at = u32::try_from(looked_at).unwrap_or(u32::MAX);
        pause = EVERY.max(Duration::from_secs(1) / PER_SECOND * looked_at);
    }
}
