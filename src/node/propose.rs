//! The front door of the log, as `ingest` and the administration see it.
//!
//! Holds: what raft calls unknown stays unknown; every other refusal means "in no log".

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use storage::{Command, Health, Index, encode_command};
use tracing::debug;

use super::{fresh, report};
use crate::http::Administer;
use crate::ingest::{Answer, Propose, Refused};
use crate::retention::Retention;

/// Packs on their way to raft.
pub(super) struct Door {
    pub(super) raft: raft::Node,
    /// Knows who holds the log, once it runs: it is built from parts that this door leads to.
    pub(super) retention: Arc<OnceLock<Retention>>,
}

impl Propose for Door {
    fn submit(&self, command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let pending = self
                .raft
                .submit(command)
                .await
                .map_err(|error| refused(&error))?;
            let answer: Answer = Box::pin(async move {
                pending
                    .await
                    .map(|applied| applied.outcome)
                    .map_err(|error| refused(&error))
            });
            Ok(answer)
        })
    }

    /// Room is a matter of the majority: one full disk among several refuses nobody.
    fn room(&self) -> Result<(), Refused> {
        let own = match self.raft.wal().health() {
            Health::Full(shortage) => Some(shortage),
            // A log that stopped for good refuses by itself, with its reason.
            Health::Ok | Health::Poisoned(_) => None,
        };
        let shortage = if self.raft.is_alone() {
            own.map(|shortage| report::shortage_in_words(&shortage))
        } else {
            self.raft.crowded()
        };
        match shortage {
            Some(words) => Err(Refused::DiskFull {
                detail: self.in_words(words),
            }),
            None => Ok(()),
        }
    }

    fn news(&self) -> BoxFuture<'static, ()> {
        let mut leader = self.raft.leader();
        leader.mark_unchanged();
        Box::pin(async move {
            while leader.changed().await.is_ok() {
                if leader.borrow_and_update().is_some() {
                    return;
                }
            }
            // A log that ends says so when it is asked.
            std::future::pending::<()>().await;
        })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(fresh::catch_up(&self.raft))
    }
}

impl Door {
    /// And who holds the log, if a task does.
    fn in_words(&self, words: String) -> String {
        let held = self.retention.get().map(Retention::report);
        match held.and_then(|report| report.held_in_words()) {
            Some(held) => format!("{words}; {held}, so the log keeps it"),
            None => words,
        }
    }
}

/// What a change's own node may lag behind the one that leads, before its outcome is told anyway.
const APPLIED_TIME_MAX: Duration = Duration::from_secs(5);

/// Proposes one command and waits until it is applied, here too: who changed something and looks at
/// it on the same node sees the change.
pub(super) fn administer(node: &raft::Node) -> Administer {
    let node = node.clone();
    Arc::new(move |command: Command| {
        let node = node.clone();
        Box::pin(async move {
            let applied = node.propose(encode_command(&command)).await;
            let applied = applied.map_err(|error| refused(&error))?;
            if !is_applied_here(&node, applied.log_id.index, APPLIED_TIME_MAX).await {
                debug!(index = %applied.log_id.index, "a change is not applied here yet");
            }
            Ok(applied.outcome)
        })
    })
}

/// Waits until an entry is applied on this node; false: it took too long. The outcome of a command
/// that was forwarded may come before it is.
pub(crate) async fn is_applied_here(node: &raft::Node, index: Index, time_max: Duration) -> bool {
    let mut here = node.applied();
    let applied = here.wait_for(|applied| index <= *applied);
    matches!(tokio::time::timeout(time_max, applied).await, Ok(Ok(_)))
}

pub(super) fn refused(error: &raft::Error) -> Refused {
    match error {
        raft::Error::NotLeader { .. } => Refused::NoQuorum,
        raft::Error::Stopping | raft::Error::Fatal { .. } => Refused::Draining,
        raft::Error::Unknown
        | raft::Error::Cluster { .. }
        | raft::Error::Config { .. }
        | raft::Error::Identity { .. }
        | raft::Error::Start { .. }
        | raft::Error::Io { .. }
        | raft::Error::Storage(_) => Refused::Unknown,
    }
}
