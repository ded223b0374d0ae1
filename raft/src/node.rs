//! A node: propose, read, know how it stands, close it. How it starts is in `start`.
//!
//! Holds:
//! - [`Node::submit`] returns with the command queued: commands of one caller who waits for it each
//!   time are in the log in that order.
//! - An error from [`Node::submit`] itself means that the command is in no log.
//! - After [`Node::close`] every queued command has ended, the log is synced and nothing of this
//!   node runs any more.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use storage::{Disk, Index, NodeId, Records, Sender, StateView, Term, Wal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blocking::blocking;
use crate::error::Error;
use crate::gate::Gate;
use crate::halt::Halt;
use crate::identity::Identity;
use crate::machine::{Applying, Machine};
use crate::metrics::Metrics;
use crate::peer::desk::Desk;
use crate::pending::{Applied, Pending};
use crate::pulse::Pulse;
use crate::rounds::{Rounds, SILENCE};
use crate::sending::Sending;
use crate::snapshot::Builder;
use crate::status::{Seen, Status};
use crate::types::{Proposal, Types};

/// A running node. A clone is the same one.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

/// Its parts.
pub(crate) struct Inner {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) identity: Identity,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    /// Where the others reach this node; empty while there are none.
    pub(crate) address: String,
    pub(crate) desk: Arc<Desk>,
    pub(crate) rounds: Rounds,
    pub(crate) gate: Gate,
    pub(crate) sending: Sending,
    pub(crate) pulse: Pulse,
    /// Members whose digests differ from this node's, and after which entry.
    pub(crate) suspects: Mutex<BTreeMap<NodeId, Index>>,
    /// This node is a member no more.
    pub(crate) is_removed: AtomicBool,
    /// Held while the members change.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// The beginning of this life.
    pub(crate) since: tokio::time::Instant,
    pub(crate) wal: Wal,
    pub(crate) view: StateView,
    pub(crate) snapshots: Builder,
    pub(crate) halt: Halt,
    pub(crate) metrics: Metrics,
    pub(crate) applied: watch::Receiver<Index>,
    pub(crate) leadership: watch::Receiver<Option<Term>>,
    pub(crate) leader: watch::Receiver<Option<NodeId>>,
    /// Ends everything that talks to peers.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) is_closing: AtomicBool,
    /// What the others are told of this node's own destinations.
    pub(crate) delivered: AtomicU64,
    /// What this node lacks to serve all tasks.
    pub(crate) lacks: Mutex<Option<String>>,
    /// Ends every wait for a repair of the log.
    pub(crate) closing: CancellationToken,
    /// Taken by the one who closes.
    pub(crate) rest: Mutex<Option<Rest>>,
}

/// What is left to end once raft has stopped.
pub(crate) struct Rest {
    pub(crate) applying: Applying,
    /// Keeps other processes out of the data directory.
    pub(crate) lock: Box<dyn Send + Sync>,
}

impl Node {
    /// Queues a command: here, or at the leader.
    pub async fn submit(&self, command: Bytes) -> Result<Pending, Error> {
        let inner = &*self.inner;
        let leader = *inner.leader.borrow();
        match leader {
            Some(leader) if leader != inner.identity.node => {
                if inner.is_closing.load(Ordering::Acquire) {
                    return Err(Error::Stopping);
                }
                self.forward(leader, command).await
            }
            Some(_) | None => self.submit_here(command).await,
        }
    }

    /// Queues a command in this node's own log.
    pub(crate) async fn submit_here(&self, command: Bytes) -> Result<Pending, Error> {
        let inner = &*self.inner;
        if inner.is_closing.load(Ordering::Acquire) {
            return Err(Error::Stopping);
        }
        let (pending, answer) = Pending::new(inner.metrics.clone());
        match inner
            .raft
            .client_write_ff(Proposal(command), Some(answer))
            .await
        {
            Ok(()) => Ok(pending),
            Err(fatal) => Err(self.stopped(&fatal)),
        }
    }

    /// Queues a command and waits for its outcome.
    pub async fn propose(&self, command: Bytes) -> Result<Applied, Error> {
        self.submit(command).await?.await
    }

    /// As [`Node::propose`], but only where this node leads: for what is true of a leader alone.
    pub async fn propose_here(&self, command: Bytes) -> Result<Applied, Error> {
        self.submit_here(command).await?.await
    }

    /// Tells the others up to where this node's own destinations have everything: what lies above is
    /// still read here.
    pub fn tell_delivered(&self, upto: Index) {
        self.inner.delivered.store(upto.0, Ordering::Relaxed);
    }

    /// Tells the others what this node would need to serve all tasks and does not have, in words: it
    /// lets somebody lead who lacks nothing, if there is anybody.
    pub fn tell_lacks(&self, words: Option<String>) {
        let lacks = &self.inner.lacks;
        *lacks.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Reads of what is applied here.
    pub fn view(&self) -> StateView {
        self.inner.view.clone()
    }

    /// The way to payloads.
    pub fn records(&self) -> Records {
        Records::new(self.inner.view.clone(), self.inner.wal.clone())
    }

    /// The log.
    pub fn wal(&self) -> &Wal {
        &self.inner.wal
    }

    /// Which life of which node this is.
    pub fn sender(&self) -> Sender {
        self.inner.identity.sender()
    }

    /// What this room counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Follows the index of the last applied entry.
    pub fn applied(&self) -> watch::Receiver<Index> {
        self.inner.applied.clone()
    }

    /// Follows whether this node leads, and in which term.
    pub fn leadership(&self) -> watch::Receiver<Option<Term>> {
        self.inner.leadership.clone()
    }

    /// Follows who leads, as far as this node knows.
    pub fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.inner.leader.clone()
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let inner = &*self.inner;
        let seen = Seen::from_metrics(&inner.raft.metrics().borrow_watched());
        Status {
            node: inner.identity.node,
            boot: inner.identity.boot,
            cluster: inner.identity.cluster.to_string(),
            role: seen.role,
            term: seen.term,
            // One that was not heard for long is nobody's leader, whatever the last vote says.
            leader: seen.leader.filter(|leader| {
                let me = inner.identity.node;
                let is_heard = |ago| ago < SILENCE;
                *leader == me || inner.desk.heard(*leader).is_some_and(is_heard)
            }),
            last: seen.last,
            committed: seen.committed,
            applied: *inner.applied.borrow(),
            stopped: inner.halt.reason(),
            policy: inner.wal.policy().to_string(),
            voters: seen.voters,
            members: seen.members,
        }
    }

    /// Waits until this node has stopped for good, and says why. A node that is closed has not.
    pub async fn fatal(&self) -> String {
        self.inner.halt.wait().await
    }

    /// Stops raft, then the log, then the state. A second call, of any clone, returns at once.
    pub async fn close(self) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.is_closing.store(true, Ordering::Release);
        inner.closing.cancel();
        let rest = inner
            .rest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Rest { applying, lock }) = rest else {
            return Ok(());
        };
        // It only fails where raft's own task had panicked, which `halt` has heard of.
        drop(inner.raft.shutdown().await);
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        let wal = inner.wal.clone();
        let ended = blocking(move || {
            let log = wal.close();
            let state = applying.end();
            drop(lock);
            (log, state)
        });
        let why = |what: &str| Error::Fatal {
            why: format!("{what} panicked"),
        };
        let (log, state) = ended.await.map_err(|_| why("closing the log"))?;
        log?;
        state.ok_or_else(|| why("applying"))??;
        Ok(())
    }

    pub(crate) fn stopped(&self, fatal: &Fatal<Types>) -> Error {
        if let Some(why) = self.inner.halt.reason() {
            return Error::Fatal { why };
        }
        match fatal {
            Fatal::Stopped => Error::Stopping,
            Fatal::StorageError(_) | Fatal::Panicked => Error::Fatal {
                why: fatal.to_string(),
            },
        }
    }
}

impl Inner {
    pub(crate) fn lacks(&self) -> Option<String> {
        let lacks = self.lacks.lock();
        lacks.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}
