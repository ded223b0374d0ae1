//! Letting the log go: purging up to a checkpoint, by openraft and by nobody else.
//!
//! Holds: what goes is at or below the horizon, at or below what the caller names, and ends exactly
//! at a durable checkpoint. Checkpoints that this makes useless are removed only when the purge is
//! durable, which may be a call later; what a power cut leaves in between is in `storage`'s account
//! of checkpoints.

use std::time::Duration;

use storage::{Checkpoints, Index};

use crate::blocking::blocking;
use crate::error::Error;
use crate::node::Node;
use crate::types;

/// openraft takes a turn or two; a peer that is being sent the old log may hold it up for longer,
/// and then the next call goes on.
const PURGE_TIME_MAX: Duration = Duration::from_secs(5);

/// What a call of [`Node::forget`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Entries up to this one are gone.
    pub purged: Index,
    /// So many checkpoints were of no more use.
    pub checkpoints: usize,
}

impl Node {
    /// The checkpoints of this node.
    pub fn checkpoints(&self) -> &Checkpoints {
        self.inner.snapshots.shelf()
    }

    /// Purges the log up to the newest checkpoint at or below the horizon and `upto`: beyond that this
    /// node itself may still need the log. A checkpoint that is being sent to a peer holds the log
    /// behind it until the peer has it.
    pub async fn forget(&self, upto: Index) -> Result<Forgotten, Error> {
        let horizon = self.inner.view.horizon()?;
        let sent = self.inner.sending.oldest();
        let upto = sent.map_or(upto, |sent| upto.min(sent));
        let purged = || {
            self.inner
                .wal
                .purged()
                .map(|id| id.index)
                .unwrap_or_default()
        };
        if let Some(one) = self.checkpoints().newest(upto.min(horizon))
            && purged() < one.id.index
        {
            self.purge(one.id.index).await?;
        }
        let shelf = self.checkpoints().clone();
        let tidied = blocking(move || shelf.tidy(horizon)).await;
        let checkpoints = tidied.map_err(|error| Error::Fatal {
            why: format!("removing checkpoints: {error}"),
        })??;
        Ok(Forgotten {
            purged: purged(),
            checkpoints,
        })
    }

    /// By openraft: it learns of the checkpoint as its snapshot first, and lets go what that covers.
    async fn purge(&self, upto: Index) -> Result<(), Error> {
        let raft = &self.inner.raft;
        let stopped = |fatal| self.stopped(&fatal);
        let upto = types::index_out(upto);
        raft.trigger().snapshot().await.map_err(stopped)?;
        let is_told = |id: Option<u64>| id.is_some_and(|index| upto <= index);
        let wait = raft.wait(Some(PURGE_TIME_MAX));
        let snapshot = wait.metrics(
            |seen| is_told(seen.snapshot.map(|id| id.index)),
            "the snapshot",
        );
        if snapshot.await.is_err() {
            return Ok(());
        }
        raft.trigger().purge_log(upto).await.map_err(stopped)?;
        let gone = wait.metrics(|seen| is_told(seen.purged.map(|id| id.index)), "the purge");
        // One that takes longer is seen by the next call.
        drop(gone.await);
        Ok(())
    }
}
