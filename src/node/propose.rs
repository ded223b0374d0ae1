//! The front door of the log, as `ingest` and the administration see it.
//!
//! Holds: what raft calls unknown stays unknown; every other refusal means "in no log".

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use storage::{Command, Health, Shortage, encode_command};

use super::report;
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

    fn room(&self) -> Result<(), Refused> {
        match self.raft.wal().health() {
            Health::Full(shortage) => Err(Refused::DiskFull {
                detail: self.in_words(&shortage),
            }),
            // A log that stopped for good refuses by itself, with its reason.
            Health::Ok | Health::Poisoned(_) => Ok(()),
        }
    }
}

impl Door {
    fn in_words(&self, shortage: &Shortage) -> String {
        let words = report::shortage_in_words(shortage);
        match self.retention.get().and_then(|all| all.report().held_by) {
            Some(held_by) => format!("{words}; {held_by}, so the log keeps it"),
            None => words,
        }
    }
}

/// Proposes one command and waits until it is applied.
pub(super) fn administer(node: &raft::Node) -> Administer {
    let node = node.clone();
    Arc::new(move |command: Command| {
        let node = node.clone();
        Box::pin(async move {
            let applied = node.propose(encode_command(&command)).await;
            applied
                .map(|applied| applied.outcome)
                .map_err(|error| refused(&error))
        })
    })
}

fn refused(error: &raft::Error) -> Refused {
    match error {
        raft::Error::NotLeader { .. } => Refused::NoQuorum,
        raft::Error::Stopping | raft::Error::Fatal { .. } => Refused::Draining,
        raft::Error::Unknown
        | raft::Error::Config { .. }
        | raft::Error::Identity { .. }
        | raft::Error::Start { .. }
        | raft::Error::Io { .. }
        | raft::Error::Storage(_) => Refused::Unknown,
    }
}
