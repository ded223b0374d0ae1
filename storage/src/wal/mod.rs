//! The write-ahead log: entries, votes and marks in one ordered stream of files.
//!
//! Holds: `done` is told "ok" only when what was asked for is durable by the policy; it is told
//! once, and callers are answered in the order of their calls. What was told durable is there
//! after every crash, or the log does not open and says where it is damaged. After a failed write
//! or sync the log takes nothing more in this process's life.
//!
//! A batch is what one write and one sync carry: all that waits. Under load batches grow by
//! themselves, so nothing ever waits for a timer.

mod batch;
mod bytes;
mod cache;
mod chart;
mod core;
mod directory;
mod entry;
mod format;
mod inspect;
mod kept;
mod probe;
mod queue;
mod reader;
mod record;
mod recovery;
mod segment;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use entry::{
    Entry, EntryKind, Health, Marks, Recovered, SegmentId, SegmentInfo, Tail, Vote, WalItem,
};
pub use inspect::inspect;
pub use probe::{SyncLatency, probe_sync};

use self::chart::Head;
use self::core::{Core, Parts};
use self::directory::Directory;
use self::queue::{Job, Reply, Work};
use self::record::{PAYLOAD_LEN_MAX, Record};
use crate::command::Policy;
use crate::config::WalConfig;
use crate::disk::Disk;
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::metrics::WalMetrics;

/// Told once, in the order of the calls, what became of a call. Called on the writer's thread: it
/// must not block, and must not call the log's `append`, which may wait for that thread.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Handle to an open log. Clones are the same log; the last one to go ends the writer.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Wal {
    /// Opens the log in `dir`, or makes one where there is none.
    ///
    /// Everything in it is read and checked. Damage that no crash can have made is an error that
    /// names its place; nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &WalConfig,
    ) -> Result<(Self, Recovered), Error> {
        let directory = Directory::new(disk, dir);
        directory.ensure()?;
        let lock = directory.lock()?;
        let scan = recovery::scan(&directory)?;
        directory.remove_unfinished()?;
        let is_new = scan.is_none();
        let mut scan = match scan {
            Some(scan) => scan,
            None => recovery::Scan::empty(random(dir)?),
        };
        let core = Arc::new(Core::new(Parts {
            config: config.clone(),
            directory,
            uuid: scan.uuid,
            lock,
            chart: std::mem::take(&mut scan.chart),
            segments: std::mem::take(&mut scan.segments),
        }));
        let tail = begin(&core, &mut scan)?;
        writer::sweep(&core)?;
        let state = core.state();
        let Head { marks, first } = state.head;
        let recovered = Recovered {
            is_new,
            vote: marks.vote,
            committed: marks.committed,
            first,
            last: marks.last,
            purged: marks.purged,
            segments: state.segments.len(),
            tail: scan.tail,
        };
        drop(state);
        let thread = Mutex::new(Some(writer::spawn(Arc::clone(&core), tail)?));
        Ok((
            Self {
                handle: Arc::new(Handle { core, thread }),
            },
            recovered,
        ))
    }

    /// Appends entries. They are readable when this returns, and durable when `done` says so.
    ///
    /// Blocks while more than `queue_bytes_max` wait for the writer.
    ///
    /// # Panics
    /// Where the entries do not follow the log's last one: a hole can only be a bug.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        let mut job = Job::new(Work::Append(entries), Reply::new(done));
        let core = &self.handle.core;
        let mut state = core.state_with_room(job.bytes);
        if let Work::Append(entries) = &job.work
            && !state.is_closing
            && core.poison.reason().is_none()
        {
            let mut head = state.head;
            for entry in entries {
                assert!(
                    entry.payload.len() <= PAYLOAD_LEN_MAX,
                    "an entry of {}",
                    entry.payload.len()
                );
                let appended = head.append(entry.id);
                assert_eq!(
                    Ok(()),
                    appended,
                    "entry {} after {:?}",
                    entry.id,
                    head.marks.last
                );
            }
            state.head = head;
            for entry in entries {
                state.cache.push(entry.clone());
            }
            job.stamp_end = state.cache.next_stamp();
        }
        self.push(state, job);
    }

    /// Saves the vote: synced before `done`, under every policy.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.mark(Work::Vote(vote), &Record::Vote(vote), done);
    }

    /// Saves how far a majority is known to be. Rides with the next batch: losing it costs a
    /// replay, nothing else.
    pub fn save_committed(&self, committed: LogId) {
        let mut state = self.handle.core.state();
        state.head.marks.committed = Some(committed);
        state.committed = Some(committed);
    }

    /// Drops every entry after `keep`; all of them for `None`.
    pub fn truncate_after(&self, keep: Option<LogId>, done: Done) {
        self.mark(
            Work::TruncateAfter(keep),
            &Record::TruncateAfter(keep),
            done,
        );
    }

    /// Drops every entry up to `upto`, which may lie beyond the last one.
    pub fn purge(&self, upto: LogId, done: Done) {
        self.mark(Work::Purge(upto), &Record::PurgeUpto(upto), done);
    }

    fn mark(&self, work: Work, record: &Record, done: Done) {
        let core = &self.handle.core;
        let mut state = core.state();
        if !state.is_closing && core.poison.reason().is_none() {
            let applied = state.head.apply(record);
            assert_eq!(Ok(()), applied, "a mark fits every log");
            match record {
                Record::TruncateAfter(keep) => {
                    state.cache.truncate_after(keep.map(|keep| keep.index));
                }
                Record::PurgeUpto(upto) => state.cache.purge(upto.index),
                Record::Entry(_) | Record::Vote(_) | Record::Committed(_) => {}
            }
        }
        self.push(state, Job::new(work, Reply::new(done)));
    }

    fn push(&self, state: std::sync::MutexGuard<'_, core::State>, mut job: Job) {
        if state.is_closing {
            job.work = Work::Refused;
            job.bytes = 0;
        }
        let core = &self.handle.core;
        if let Some(job) = core.push(state, job) {
            job.reply.send(core.poison.check().and(Err(Error::Closed)));
        }
    }

    /// Entries of `range`, in order and without holes: what fits into `bytes_max`, and one at
    /// least if the log has one. Entries beyond the last one are simply not there; a range that
    /// begins below the log is [`Error::Purged`].
    pub fn read(&self, range: Range<Index>, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        reader::read(&self.handle.core, range, bytes_max)
    }

    /// The name of the entry at `index`; `None` where there is none (any more).
    pub fn log_id(&self, index: Index) -> Result<Option<LogId>, Error> {
        let marks = self.marks();
        for known in [marks.last, marks.purged].into_iter().flatten() {
            if known.index == index {
                return Ok(Some(known));
            }
        }
        match self.read(index..index.next(), 0) {
            Ok(entries) => Ok(entries.first().map(|entry| entry.id)),
            Err(Error::Purged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last vote.
    pub fn vote(&self) -> Option<Vote> {
        self.marks().vote
    }

    /// The last known commit.
    pub fn committed(&self) -> Option<LogId> {
        self.marks().committed
    }

    /// The oldest entry.
    pub fn first(&self) -> Option<Index> {
        self.handle.core.state().head.first
    }

    /// The newest entry; what was purged last if there is none.
    pub fn last(&self) -> Option<LogId> {
        self.marks().last
    }

    /// What was purged last.
    pub fn purged(&self) -> Option<LogId> {
        self.marks().purged
    }

    fn marks(&self) -> Marks {
        self.handle.core.state().head.marks
    }

    /// Which log this is: thrown when it was made.
    pub fn uuid(&self) -> [u8; 16] {
        self.handle.core.uuid
    }

    /// How durable an acknowledged entry is.
    pub fn policy(&self) -> Policy {
        self.handle.core.state().policy
    }

    /// Sets the policy, from the next batch on. What an older one left unsynced is synced as soon
    /// as the new one asks for it.
    pub fn set_policy(&self, policy: Policy) {
        let core = &self.handle.core;
        let mut state = core.state();
        state.policy = policy;
        core.wake(state);
    }

    /// Whether it still takes entries.
    pub fn health(&self) -> Health {
        let reason = self.handle.core.poison.reason();
        reason.map_or(Health::Ok, |reason| Health::Poisoned(reason.to_string()))
    }

    /// Calls `hook` once, with the reason, when the log stops for good; at once if it has.
    pub fn on_poison(&self, hook: Box<dyn FnOnce(&str) + Send>) {
        self.handle.core.poison.on_set(hook);
    }

    /// The files, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.handle
            .core
            .state()
            .segments
            .iter()
            .map(|known| known.info)
            .collect()
    }

    /// Its numbers.
    pub fn metrics(&self) -> &WalMetrics {
        &self.handle.core.metrics
    }

    /// Writes and syncs what waits, and ends the writer. Other handles can still read.
    pub fn close(self) -> Result<(), Error> {
        self.handle.end();
        self.handle.core.poison.check()
    }
}

impl Handle {
    fn end(&self) {
        let mut state = self.core.state();
        state.is_closing = true;
        self.core.wake(state);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The last handle may be dropped by a `done`, on the writer's own thread.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| !is_own(thread))
            && thread.join().is_err()
        {
            self.core.poison.set("the log's writer panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("marks", &self.marks())
            .finish_non_exhaustive()
    }
}

/// Where writing begins: in the last segment if nothing was ever written to it, else in a new one.
fn begin(core: &Core, scan: &mut recovery::Scan) -> Result<writer::Tail, Error> {
    let (file, segment, salt) = if let Some(unused) = scan.unused.take() {
        let mut state = core.state();
        if let Some(active) = state.segments.back_mut() {
            active.info.is_active = true;
        }
        (unused.file, unused.header.id, unused.header.salt)
    } else {
        let last = core.state().segments.back().map(|known| known.info.id);
        let id = last.unwrap_or_default().next();
        let header = writer::next_header(core, id, scan.next_batch, scan.chain)?;
        (writer::begin_segment(core, &header)?, id, header.salt)
    };
    Ok(writer::Tail {
        file,
        segment,
        salt,
        offset: format::FIRST_BATCH_AT,
        next_batch: scan.next_batch,
        chain: scan.chain,
        // Whatever was read was synced before it was believed.
        synced_upto: scan.next_batch - 1,
    })
}

/// Dice from the operating system.
fn random<const N: usize>(for_path: impl Into<PathBuf>) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(std::io::Error::other)
        .map_err(Error::io("get random bytes for", for_path))?;
    Ok(bytes)
}
