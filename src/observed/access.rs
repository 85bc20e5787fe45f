//! Who may touch the cluster's nodes and its network, and when nobody may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;

/// A node that is told to end has mostly done so by then: it is what `docker stop` gives it.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Who deletes a cluster tells one node after another.
const OTHERS_FOLLOW_WITHIN: Duration = Duration::from_secs(1);

/// Access to the cluster's nodes and its network.
///
/// The engine mounts a container's files for whoever reads or writes them, and cannot remove one that is mounted at
/// that moment (`failed to remove root filesystem`); nor can a network be removed that somebody joins. So whoever
/// touches them shares this, and whoever deletes the cluster has it alone. Others who delete it cannot be waited for,
/// but their nodes are told to end before they are removed: from then on they are left alone, and all the others for
/// as long as it may take to tell them too.
#[derive(Debug, Clone, Default)]
pub struct Access {
    cluster: Arc<RwLock<()>>,
    /// Since when nodes are told to end.
    ending: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Access {
    /// The cluster stays as long as this is held; nothing, when it is being deleted or about to be.
    pub fn share(&self) -> Option<OwnedRwLockReadGuard<()>> {
        self.cluster.clone().try_read_owned().ok()
    }

    /// Waits until nobody touches the cluster any more; nobody will as long as this is held.
    pub async fn take(&self) -> OwnedRwLockWriteGuard<()> {
        self.cluster.clone().write_owned().await
    }

    /// Whether somebody deletes the cluster.
    pub fn is_taken(&self) -> bool {
        self.share().is_none()
    }

    /// A node was told to end: its id.
    pub fn leave_alone(&self, node: &str) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|_, since| since.elapsed() < ENDS_WITHIN);
        ending.insert(node.to_owned(), Instant::now());
    }

    /// Whether a node is to be left alone.
    pub fn is_left_alone(&self, node: &str) -> bool {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending
            .iter()
            .any(|(id, since)| since.elapsed() < OTHERS_FOLLOW_WITHIN || id == node && since.elapsed() < ENDS_WITHIN)
    }

    /// When the next node need no longer be left alone, if one is.
    pub fn changes_at(&self) -> Option<Instant> {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let others = ending.values().max().map(|since| *since + OTHERS_FOLLOW_WITHIN);
        let itself = ending.values().map(|since| *since + ENDS_WITHIN);
        others.into_iter().chain(itself).filter(|at| *at > Instant::now()).min()
    }

    /// A node was started: nobody is deleting the cluster.
    pub fn welcome(&self) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_is_in_is_waited_for_and_nobody_comes_in_meanwhile() {
        let access = Access::default();
        let (first, second) = (access.share().unwrap(), access.share().unwrap());
        let mut taking = Box::pin(access.take());
        assert!(taking.as_mut().now_or_never().is_none());
        assert!(access.is_taken(), "from the time on that somebody waits for it");
        drop(first);
        assert!(taking.as_mut().now_or_never().is_none());
        drop(second);
        let taken = taking.now_or_never().unwrap();
        assert!(access.is_taken());
        drop(taken);
        assert!(!access.is_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_told_to_end_is_left_alone_and_the_others_for_a_moment() {
        let access = Access::default();
        assert!(!access.is_left_alone("one") && access.changes_at().is_none());
        access.leave_alone("one");
        assert!(access.is_left_alone("one") && access.is_left_alone("two"));
        assert_eq!(access.changes_at(), Some(Instant::now() + OTHERS_FOLLOW_WITHIN));
        tokio::time::advance(OTHERS_FOLLOW_WITHIN).await;
        assert!(access.is_left_alone("one") && !access.is_left_alone("two"));
        assert_eq!(access.changes_at(), Some(Instant::now() + ENDS_WITHIN - OTHERS_FOLLOW_WITHIN));
        tokio::time::advance(ENDS_WITHIN).await;
        assert!(!access.is_left_alone("one") && access.changes_at().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_starts_says_that_nobody_deletes_the_cluster() {
        let access = Access::default();
        access.leave_alone("one");
        access.welcome();
        assert!(!access.is_left_alone("one") && !access.is_left_alone("two"));
    }
}
