//! openraft's state machine over the state: hands committed entries on, unread, and their outcomes
//! back.
//!
//! Holds:
//! - The state has one owner, and one applies at a time: openraft's own task where the batch is
//!   small, else a thread made for it. Why: waking a thread costs more than a small apply, and twice
//!   a submission it was a third of the time that one waiting client saw. The price: where fjall
//!   stalls under a small batch, one async worker stalls with it.
//! - An entry's index is published before its outcome is sent, so whoever holds an outcome can read
//!   what it did.
//! - The log follows the policy that the state holds: raft itself reads no command, so the thread
//!   that applies looks after each one. Where it becomes `always`, everything appended before is
//!   synced before the next entry is applied: receipts of entries behind say `fsync`.
//! - A snapshot that a peer sends is a durable checkpoint of this node before the state is made of
//!   it, so a crash in between leaves one or the other to build on.
//! - Every responder is answered. One that is dropped unsent, because applying failed or the node
//!   stops, tells its waiter that the outcome is unknown.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::{Stream, TryStreamExt};
use openraft::OptionalSend;
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use storage::{Checkpoints, Entry, EntryKind, Index, Policy, State, StateView, Wal, simulation};
use tokio::sync::{oneshot, watch};

use crate::halt::Halt;
use crate::metrics::Metrics;
use crate::snapshot::{Builder, SnapshotData};
use crate::types::{self, Types};

/// Jobs that wait for the applying thread. openraft asks one thing at a time, a snapshot builder
/// one more, so a sender never blocks.
const JOBS_MAX: usize = 8;
/// Entries handed over at once, so that a long log is applied without being held in memory.
const BATCH_ENTRIES_MAX: usize = 256;
/// Bytes handed over at once.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What is applied without waking the thread: about a tenth of a millisecond.
const HERE_ENTRIES_MAX: usize = 8;
/// The same in bytes.
const HERE_BYTES_MAX: usize = 64 << 10;

type Batch = Vec<(Entry, Option<ApplyResponder<Types>>)>;
type Reply<T> = oneshot::Sender<io::Result<T>>;
type Applied = (Option<LogIdOf<Types>>, StoredMembershipOf<Types>);

/// What the applying thread is asked for.
enum Job {
    Apply(Batch, Reply<()>),
    Applied(Reply<Applied>),
    Install(SnapshotData, Reply<()>),
    Cut(Reply<SnapshotData>),
}

/// The asking side: what openraft holds. The thread ends when the last clone is dropped.
#[derive(Clone)]
pub struct Machine {
    jobs: SyncSender<Job>,
    owner: Shared,
    snapshots: Builder,
}

/// Locked by whoever applies: the thread, or openraft's own task for what is small. Never waited
/// for, since openraft asks one thing at a time. `None`: closed.
type Shared = Arc<Mutex<Option<Owner>>>;

/// The applying thread, for whoever ends it.
pub struct Applying {
    /// The index of the last applied entry.
    pub applied: watch::Receiver<Index>,
    /// Ends with the state closed. `None`: all is applied where it is asked for.
    thread: Option<JoinHandle<Result<(), storage::Error>>>,
    owner: Shared,
}

impl Applying {
    /// Waits until the state is closed. `None`: applying panicked.
    pub fn end(self) -> Option<Result<(), storage::Error>> {
        match self.thread {
            Some(thread) => thread.join().ok(),
            None => Some(close(&self.owner)),
        }
    }
}

impl fmt::Debug for Applying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applying").finish_non_exhaustive()
    }
}

impl Machine {
    /// Starts the thread that owns `state` from here on.
    pub fn spawn(
        mut state: State,
        wal: Wal,
        halt: Halt,
        metrics: Metrics,
    ) -> io::Result<(Self, Applying)> {
        let index = state.applied().map_or(Index(0), |id| id.index);
        metrics.applied(index);
        let (publish, applied) = watch::channel(index);
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let view = state.view();
        let shelf = state
            .checkpoints()
            .ok_or_else(|| io::Error::other("a state without a place"))?;
        let shelf = shelf.clone();
        let told = halt.clone();
        state.verify_beside(Box::new(move |why| {
            told.set(&format!(
                "the state is damaged, the next start builds it anew: {why}"
            ));
        }));
        let snapshots = Builder::new(shelf.clone(), view.clone());
        let owner = Owner {
            state,
            view,
            wal,
            halt,
            metrics,
            publish,
            shelf,
        };
        owner.follow_policy().map_err(io::Error::other)?;
        let owner = Arc::new(Mutex::new(Some(owner)));
        let shared = Arc::clone(&owner);
        let thread = if simulation::is_on() {
            None
        } else {
            let builder = std::thread::Builder::new().name("apply".to_owned());
            Some(builder.spawn(move || run(&inbox, &shared))?)
        };
        let applying = Applying {
            applied,
            thread,
            owner: Arc::clone(&owner),
        };
        let machine = Self {
            jobs,
            owner,
            snapshots,
        };
        Ok((machine, applying))
    }

    pub(crate) const fn snapshots(&self) -> &Builder {
        &self.snapshots
    }

    /// Applies a batch: here, if it costs less than waking the thread, else on the thread.
    async fn apply_batch(&self, batch: Batch, bytes: usize) -> io::Result<()> {
        if batch.len() > HERE_ENTRIES_MAX || bytes > HERE_BYTES_MAX {
            return self.ask(|reply| Job::Apply(batch, reply)).await;
        }
        match &mut *lock(&self.owner) {
            Some(owner) => owner.apply(batch),
            None => Err(gone()),
        }
    }

    /// A snapshot of the tip, for openraft's own suite, which knows of no horizon.
    pub async fn cut(&self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        self.ask(Job::Cut).await?.into_openraft()
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        if simulation::is_on() {
            if let Some(owner) = &mut *lock(&self.owner) {
                owner.answer(job(reply));
            }
        } else {
            self.jobs.send(job(reply)).map_err(|_| gone())?;
        }
        answer.await.map_err(|_| gone())?
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<Applied> {
        self.ask(Job::Applied).await
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::new();
        let mut bytes = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            let entry = types::entry_in(entry);
            bytes += entry.payload.len();
            batch.push((entry, responder));
            if batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                let full = std::mem::take(&mut batch);
                self.apply_batch(full, std::mem::take(&mut bytes)).await?;
            }
        }
        if !batch.is_empty() {
            self.apply_batch(batch, bytes).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.snapshots.clone()
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        // Refused where there is nothing to tell of; whoever asks again gets it then.
        let has_one = || self.snapshots.floor().is_ok_and(|floor| floor.is_some());
        (force || has_one()).then(|| self.snapshots.clone())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        self.ask(|reply| Job::Install(snapshot, reply)).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        self.snapshots.current()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

fn gone() -> io::Error {
    io::Error::other("the state is closed")
}

fn lock(owner: &Shared) -> MutexGuard<'_, Option<Owner>> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: answers until nobody is left to ask, then closes the state.
fn run(inbox: &Receiver<Job>, shared: &Shared) -> Result<(), storage::Error> {
    while let Ok(job) = inbox.recv() {
        if let Some(owner) = &mut *lock(shared) {
            owner.answer(job);
        }
    }
    close(shared)
}

fn close(owner: &Shared) -> Result<(), storage::Error> {
    match lock(owner).take() {
        Some(owner) => owner.state.close(),
        None => Ok(()),
    }
}

/// The state and all that follows from applying to it.
struct Owner {
    state: State,
    view: StateView,
    wal: Wal,
    halt: Halt,
    metrics: Metrics,
    publish: watch::Sender<Index>,
    shelf: Checkpoints,
}

impl Owner {
    /// A reply that nobody waits for any more is dropped: openraft has stopped.
    fn answer(&mut self, job: Job) {
        match job {
            Job::Apply(batch, reply) => drop(reply.send(self.apply(batch))),
            Job::Applied(reply) => drop(reply.send(self.applied())),
            Job::Install(data, reply) => drop(reply.send(self.install(&data))),
            Job::Cut(reply) => drop(reply.send(self.cut())),
        }
    }

    fn apply(&mut self, batch: Batch) -> io::Result<()> {
        let mut previous = None;
        for (entry, responder) in batch {
            let index = entry.id.index;
            assert!(
                previous.is_none_or(|previous: Index| previous.next() == index),
                "entry {index} after {previous:?}"
            );
            previous = Some(index);
            let outcome = self.metrics.applying(|| self.state.apply(&entry));
            let outcome = outcome.map_err(|error| self.failed("apply", &error))?;
            if entry.kind == EntryKind::Command {
                self.follow_policy()
                    .map_err(|error| self.failed("read", &error))?;
            }
            self.publish.send_replace(index);
            self.metrics.applied(index);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    /// Before the first command that sets one, the log keeps the policy of its settings.
    fn follow_policy(&self) -> Result<(), storage::Error> {
        if self.view.has_policy()? {
            let policy = self.view.policy()?;
            if policy != self.wal.policy() {
                self.wal.set_policy(policy);
                if policy == Policy::Always {
                    self.sync()?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all that was appended is synced.
    fn sync(&self) -> Result<(), storage::Error> {
        let (told, heard) = sync_channel(1);
        self.wal.sync(Box::new(move |done| drop(told.send(done))));
        self.wal.hurry();
        match heard.recv() {
            Ok(done) => done,
            Err(_) => unreachable!("the log answers each call once"),
        }
    }

    fn applied(&self) -> io::Result<Applied> {
        let membership = types::membership_out(self.state.membership())?;
        Ok((self.state.applied().map(types::log_id_out), membership))
    }

    fn cut(&self) -> io::Result<SnapshotData> {
        let cut = self.state.checkpoint();
        match cut.map_err(|error| self.failed("cut", &error))? {
            Some(one) => Ok(SnapshotData::new(one, self.shelf.clone())),
            None => Err(io::Error::other("nothing is applied")),
        }
    }

    fn install(&mut self, data: &SnapshotData) -> io::Result<()> {
        let installed = data.store(&self.shelf).and_then(|one| {
            self.state.import(&mut self.shelf.read(&one)?)?;
            self.shelf.install(&one);
            Ok(one)
        });
        let one = installed.map_err(|error| self.failed("install", &error))?;
        self.publish.send_replace(one.id.index);
        Ok(())
    }

    fn failed(&self, verb: &str, error: &storage::Error) -> io::Error {
        let why = format!("cannot {verb} the state: {error}");
        self.halt.set(&why);
        io::Error::other(why)
    }
}
