//! `kind`, played: what it does to the engine, in virtual time, and what goes wrong with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use ksail::engine::Engine;
use ksail::engine::memory::Memory;
use ksail::provisioner::{Played, ProvisionError, Provisioner};
use tokio::time::sleep;

use super::witness::Witness;
use crate::nodes::{add_node, nodes_of};
use crate::world::World;

/// What a node takes.
const A_NODE: Duration = Duration::from_millis(1_700);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Behaviour {
    #[default]
    Works,
    /// A creation leaves one node of two.
    FailsHalfWay,
    FailsAtOnce,
    /// It ends well, and there is no cluster.
    MakesNothing,
    DoesNotDelete,
    TakesLong,
}

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Program(Arc<Mutex<Behaviour>>, Whole);

/// Whether the last creation made a whole cluster.
type Whole = Arc<AtomicBool>;

impl Program {
    pub(super) fn behaves(&self, behaviour: Behaviour) {
        *self.0.lock().unwrap() = behaviour;
    }

    /// Plays it in a world.
    pub(super) fn played_in(&self, world: &World, witness: &Witness) -> Provisioner {
        let (program, engine, hosting) = (self.clone(), world.engine.clone(), Arc::clone(&world.nodes.hosting));
        let witness = witness.clone();
        let play = move |arguments: Vec<String>| {
            let (behaviour, engine, hosting) = (*program.0.lock().unwrap(), engine.clone(), Arc::clone(&hosting));
            let (whole, witness) = (Arc::clone(&program.1), witness.clone());
            async move {
                if arguments[0] == "create" {
                    *hosting.lock().unwrap() = None;
                    if nodes_of(&engine).is_empty() {
                        whole.store(false, Ordering::Relaxed);
                    }
                    create(behaviour, &engine).await.inspect(|()| whole.store(true, Ordering::Relaxed))
                } else {
                    if whole.swap(false, Ordering::Relaxed) {
                        witness.sees_deletion();
                    }
                    delete(behaviour, &engine).await
                }
            }
            .boxed()
        };
        Provisioner { played: Some(Played::new(play)), ..Provisioner::default() }
    }
}

async fn create(behaviour: Behaviour, engine: &Memory) -> Result<(), ProvisionError> {
    use Behaviour::{DoesNotDelete, FailsAtOnce, FailsHalfWay, MakesNothing, TakesLong, Works};
    if !nodes_of(engine).is_empty() {
        return Err(failed(
            "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"dev\"",
        ));
    }
    let nodes = match behaviour {
        FailsAtOnce => return Err(failed("ERROR: something is missing")),
        MakesNothing => 0,
        FailsHalfWay => 1,
        Works | DoesNotDelete | TakesLong => 2,
    };
    for _ in 0..nodes {
        sleep(if behaviour == TakesLong { A_NODE * 20 } else { A_NODE }).await;
        add_node(engine).await.map_err(|error| failed(&error.to_string()))?;
    }
    sleep(A_NODE).await;
    if behaviour == FailsHalfWay { Err(failed("ERROR: failed to join node")) } else { Ok(()) }
}

async fn delete(behaviour: Behaviour, engine: &Memory) -> Result<(), ProvisionError> {
    sleep(A_NODE).await;
    if behaviour == Behaviour::DoesNotDelete {
        return Err(failed("ERROR: failed to delete cluster"));
    }
    for node in nodes_of(engine) {
        let removed = engine.outsider().remove_container(&node.container.id).await;
        match removed {
            Err(error) if !error.is_not_found() => return Err(failed(&error.to_string())),
            _ => sleep(A_NODE / 10).await,
        }
    }
    Ok(())
}

fn failed(words: &str) -> ProvisionError {
    let command = "kind … cluster --name dev".to_owned();
    ProvisionError::Failed { command, how: "exited with 1".to_owned(), last_words: vec![words.to_owned()] }
}
