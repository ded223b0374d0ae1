//! The front door of the log, as `ingest` and the administration see it.
//!
//! Holds: what raft calls unknown stays unknown; every other refusal means "in no log".

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use storage::{Command, encode_command};

use crate::http::Administer;
use crate::ingest::{Answer, Propose, Refused};

/// Packs on their way to raft.
#[derive(Clone)]
pub(super) struct Door(pub(super) raft::Node);

impl Propose for Door {
    fn submit(&self, command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>> {
        Box::pin(async move {
            let pending = self
                .0
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
