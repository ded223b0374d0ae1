//! The checkpoints that are being sent: the log behind them must stay until their receivers have it.
//!
//! Holds: one that is sent holds the log until its receiver has more than it, is kept out, is a member
//! no more, or has been silent for [`WAITED_FOR_MAX`]. Whoever comes back after that is sent a newer one
//! from the beginning, so nothing is lost by not waiting longer, and a dead member fills nobody's disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use storage::{Index, NodeId};
use tokio::time::Instant;
use tracing::warn;

/// A receiver of a checkpoint that has been silent for so long is not waited for.
const WAITED_FOR_MAX: Duration = Duration::from_mins(10);

/// Which, to whom. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sending(Arc<Mutex<BTreeMap<NodeId, Sent>>>);

#[derive(Clone, Copy, Debug)]
struct Sent {
    index: Index,
    /// When its receiver was last heard of.
    heard: Instant,
}

impl Sending {
    /// The oldest of them.
    pub(crate) fn oldest(&self) -> Option<Index> {
        self.all().values().map(|sent| sent.index).min()
    }

    /// One is being sent from here on.
    pub(crate) fn begin(&self, node: NodeId, index: Index) {
        let heard = Instant::now();
        self.all().insert(node, Sent { index, heard });
    }

    /// A receiver says that its log ends at `last`.
    pub(crate) fn heard(&self, node: NodeId, last: Index) {
        let mut all = self.all();
        if let Some(sent) = all.get_mut(&node) {
            sent.heard = Instant::now();
            if sent.index < last {
                all.remove(&node);
            }
        }
    }

    /// A receiver will not be sent more.
    pub(crate) fn end(&self, node: NodeId) {
        self.all().remove(&node);
    }

    /// Waits no longer for whoever is no member or has been silent for long.
    pub(crate) fn keep_only(&self, is_member: impl Fn(NodeId) -> bool) {
        self.all().retain(|node, sent| {
            let is_there = sent.heard.elapsed() < WAITED_FOR_MAX;
            if !is_there {
                warn!(peer = %node, "a member has been silent for long: the log is not held for it any more");
            }
            is_there && is_member(*node)
        });
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_held_for_a_receiver_until_it_has_more_is_out_or_is_silent_for_long() {
        let sending = Sending::default();
        let (one, two) = (NodeId(1), NodeId(2));
        sending.begin(one, Index(10));
        sending.begin(two, Index(7));
        assert_eq!(sending.oldest(), Some(Index(7)));
        for _ in 0..3 {
            tokio::time::advance(WAITED_FOR_MAX * 3 / 4).await;
            sending.heard(two, Index(7));
            sending.heard(one, Index(3));
            sending.keep_only(|_| true);
            assert_eq!(sending.oldest(), Some(Index(7)), "both speak");
        }
        sending.heard(two, Index(8));
        assert_eq!(sending.oldest(), Some(Index(10)), "it has more");
        tokio::time::advance(WAITED_FOR_MAX).await;
        sending.keep_only(|_| true);
        assert_eq!(sending.oldest(), None, "silent for long");
        sending.begin(one, Index(10));
        sending.keep_only(|node| node != one);
        assert_eq!(sending.oldest(), None, "a member no more");
        sending.begin(two, Index(10));
        sending.end(two);
        assert_eq!(sending.oldest(), None, "kept out");
    }
}
