//! A checkpoint that a leader sends: written beside the others, then made the state of this node.
//!
//! Holds: it is whole, checked and durable before openraft hears of it; one that is broken off leaves
//! a temporary file, which the next one overwrites. Only the newest one is written to that file: a
//! leader that was paused must not wake up and write into what its successor has sent. What the leader
//! is answered is durable.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use storage::{Checkpoints, Incoming, LogId, Vote};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::node::Node;
use crate::peer::desk::Desk;
use crate::peer::wire::{Ballotless, Offer, Reply, WireVote};
use crate::snapshot::SnapshotData;
use crate::types;

/// openraft purges what a checkpoint covers right behind it.
const PURGE_TIME_MAX: Duration = Duration::from_secs(30);

/// Which one is the newest. Held while its file is written, so that it stays the newest meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newest(Arc<Mutex<u64>>);

impl Newest {
    /// Makes room for one more; the one before is over.
    pub(crate) async fn begin(
        &self,
        offer: Offer,
        shelf: Checkpoints,
    ) -> Result<Receiving, String> {
        let newest = self.clone();
        let begun = crate::blocking::blocking(move || {
            let mut number = newest.lock();
            *number += 1;
            (*number, shelf.receive())
        });
        let (number, incoming) = begun.await.map_err(|error| error.to_string())?;
        let incoming = incoming.map_err(|error| Error::from(error).to_string())?;
        Ok(Receiving {
            offer,
            incoming,
            newest: self.clone(),
            number,
        })
    }

    /// Does `work` if that number is still the newest.
    fn only<T>(&self, number: u64, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let newest = self.lock();
        if *newest == number {
            work()
        } else {
            Err("another checkpoint is being taken".to_owned())
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One on its way to here.
#[derive(Debug)]
pub(crate) struct Receiving {
    offer: Offer,
    incoming: Incoming,
    newest: Newest,
    number: u64,
}

impl Receiving {
    /// Writes the next bytes.
    pub(crate) async fn write(mut self, piece: Bytes) -> Result<Self, String> {
        let written = crate::blocking::blocking(move || {
            let newest = self.newest.clone();
            newest.only(self.number, || {
                let written = self.incoming.write_all(&piece);
                written.map_err(|error| format!("cannot write a checkpoint: {error}"))
            })?;
            Ok(self)
        });
        written.await.map_err(|error| error.to_string())?
    }

    /// Makes it durable, and the state of this node.
    pub(crate) async fn install(self, desk: &Arc<Desk>) -> Result<Reply, String> {
        let node = desk.node().ok_or("this node is stopping")?;
        let Self {
            offer,
            incoming,
            newest,
            number,
        } = self;
        let finished = crate::blocking::blocking(move || {
            newest.only(number, || {
                let finished = incoming.finish();
                finished.map_err(|error| format!("a checkpoint that came: {error}"))
            })
        });
        let checkpoint = finished.await.map_err(|error| error.to_string())??;
        same(checkpoint.id, offer.id)?;
        let data = SnapshotData::new(checkpoint, node.checkpoints().clone());
        let snapshot = data.into_openraft().map_err(|error| error.to_string())?;
        let vote = types::vote_out(&offer.vote.into());
        let answer = node.inner.raft.install_full_snapshot(vote, snapshot).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if types::vote_in(&answer.vote) == Vote::from(offer.vote) {
            durable(&node, offer.id).await?;
        }
        let vote = WireVote::from(types::vote_in(&answer.vote));
        Ok(Reply::Installed(Ballotless { vote }))
    }
}

/// The leader takes its answer for word that the log is here up to `upto`: that it begins behind it now
/// must be durable before it is said, or a power cut makes this node one that forgot what it said.
async fn durable(node: &Node, upto: LogId) -> Result<(), String> {
    let has_it = || {
        node.inner
            .wal
            .last()
            .is_some_and(|last| upto.index <= last.index)
    };
    let wait = node.inner.raft.wait(Some(PURGE_TIME_MAX));
    let purged = wait.metrics(|_| has_it(), "the log begins behind the checkpoint");
    purged.await.map_err(|error| error.to_string())?;
    let (told, heard) = oneshot::channel();
    let done = Box::new(move |synced| drop(told.send(synced)));
    node.inner.wal.sync(done);
    let synced = heard.await.map_err(|error| error.to_string())?;
    synced.map_err(|error| error.to_string())
}

fn same(came: LogId, said: LogId) -> Result<(), String> {
    if came == said {
        Ok(())
    } else {
        Err(format!("a checkpoint of {came} came where {said} was said"))
    }
}
