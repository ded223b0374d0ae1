//! The write-ahead log: entries, votes and marks in one ordered stream of files.
//!
//! Holds: `done` is told "ok" only when what was asked for is durable by the policy; it is told
//! once, and callers are answered in the order of their calls. What was told durable is there
//! after every crash, or the log does not open and says where it is damaged. After a failed write
//! or sync the log takes nothing more in this process's life.
//!
//! A batch is what one write and one sync carry: all that waits. Under load batches grow by
//! themselves, so nothing ever waits for a timer.

mod aligned;
mod answers;
mod batch;
mod bytes;
mod cache;
mod chart;
mod core;
mod damage;
mod directory;
mod entry;
mod footer;
mod format;
mod handle;
mod hardstate;
mod inspect;
mod kept;
mod mode;
mod open_files;
mod opening;
mod piece;
mod pool;
mod queue;
mod reader;
mod record;
mod recovery;
mod repair;
mod rotation;
mod salvage;
mod scrub;
mod segment;
#[cfg(feature = "testing")]
mod stepped;
mod survey;
mod told;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

pub use damage::{Damage, Floor};
pub use entry::{
    Entry, EntryKind, HardInfo, Health, Marks, Recovered, SegmentId, SegmentInfo, Vote, WalItem,
};
pub use inspect::inspect;
pub use mode::{SyncLatency, WriteMode, probe_sync};
pub use pool::Shortage;
pub use repair::RepairError;
pub use scrub::ScrubReport;
#[cfg(feature = "testing")]
pub use stepped::Stepper;

use self::batch::NewFloor;
use self::cache::cost;
use self::handle::Handle;
use self::piece::Piece;
use self::queue::Needs;
use self::record::Record;
use crate::command::Policy;
use crate::config::WalConfig;
use crate::disk::Disk;
use crate::error::Error;
use crate::ids::{Index, LogId};

/// Told once, in the order of the calls, what became of a call. Called on a thread of the log: it
/// must not block, and must not call the log's `append`, which may wait for that thread.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Handle to an open log. Clones are the same log; the last one to go ends the writer.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

impl Wal {
    /// Opens the log in `dir`, or makes one where there is none.
    ///
    /// Damage that no crash can have made is an error that names its place; nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &WalConfig,
    ) -> Result<(Self, Recovered), Error> {
        opening::open(disk, dir, config, opening::OnCorruption::Refuse)
    }

    /// As [`Self::open`], but a damaged log opens with holes: reads of them are
    /// [`Error::Damaged`], and [`Self::repair`] fills them. For a node that has peers to ask.
    pub fn open_damaged(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &WalConfig,
    ) -> Result<(Self, Recovered), Error> {
        opening::open(disk, dir, config, opening::OnCorruption::Report)
    }

    /// Appends entries. They are readable when this returns, and durable when `done` says so.
    ///
    /// Blocks while more than `queue_bytes_max` wait for the writer.
    ///
    /// # Panics
    /// Where the entries do not follow the log's last one: a hole can only be a bug.
    pub fn append(&self, mut entries: Vec<Entry>, done: Done) {
        // The cache keeps it as it is: room for three entries that never come would cost more than the one.
        entries.shrink_to_fit();
        let cost = entries.iter().map(cost).sum();
        let core = &self.handle.core;
        let pieces = Piece::all_of(core.salt(), &entries, core.config.batch_bytes_max);
        let mut state = core.state_with_room(cost);
        let mut needs = Needs {
            cost,
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            return self.refuse(state, needs);
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let before = state.head.marks.last;
            let extended = state.head.extend(first.id, last.id);
            assert_eq!(Ok(()), extended, "entry {} after {before:?}", first.id);
        }
        state.cache.push(entries, cost);
        needs.stamp_end = state.cache.next_stamp();
        // By who appends, not by the writer: the disk would wait for that.
        let evicted = state.cache.shrink(core.config.tail_cache_bytes_max);
        core.tell_cache(&state);
        self.push(state, pieces, needs);
        drop(evicted);
    }

    /// Saves the vote: synced before `done`, under every policy.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.mark(Record::Vote(vote), done);
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
        self.mark(Record::TruncateAfter(keep), done);
    }

    /// Drops every entry up to `upto`, which may lie beyond the last one.
    pub fn purge(&self, upto: LogId, done: Done) {
        self.mark(Record::PurgeUpto(upto), done);
    }

    /// Makes everything that was handed over so far durable, whatever the policy.
    pub fn sync(&self, done: Done) {
        let state = self.handle.core.state();
        let needs = Needs {
            must_sync: true,
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            return self.refuse(state, needs);
        }
        self.push(state, [], needs);
    }

    fn mark(&self, record: Record, done: Done) {
        let core = &self.handle.core;
        let mut state = core.state();
        let needs = Needs {
            must_sync: true,
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            return self.refuse(state, needs);
        }
        let applied = state.head.apply(&record);
        assert_eq!(Ok(()), applied, "a mark fits every log");
        match &record {
            Record::TruncateAfter(keep) => {
                state.cache.truncate_after(keep.map(|keep| keep.index));
            }
            Record::PurgeUpto(upto) => state.cache.purge(upto.index),
            Record::Entry(_) | Record::Vote(_) | Record::Committed(_) | Record::Repaired(_) => {}
        }
        core.tell_cache(&state);
        if record.drops_entries() {
            state.unwritten_drops.push_back(record.clone());
        }
        self.push(state, [Piece::of(core.salt(), record)], needs);
    }

    fn is_refusing(&self, state: &core::State) -> bool {
        state.is_closing || self.handle.core.poison.reason().is_some()
    }

    /// Nothing of the call is written; it is told so in its turn.
    fn refuse(&self, state: MutexGuard<'_, core::State>, mut needs: Needs) {
        needs.call.is_refused = true;
        needs.must_sync = false;
        self.push(state, [], needs);
    }

    fn push(
        &self,
        state: MutexGuard<'_, core::State>,
        pieces: impl IntoIterator<Item = Piece>,
        needs: Needs,
    ) {
        let core = &self.handle.core;
        if let Some(needs) = core.push(state, pieces, needs) {
            let refused = core.poison.check().and(Err(Error::Closed));
            needs.call.reply.send(refused);
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

    /// Sets the policy, from the next batch on. What an older one left unsynced is synced as soon
    /// as the new one asks for it.
    pub fn set_policy(&self, policy: Policy) {
        let core = &self.handle.core;
        let mut state = core.state();
        state.policy = policy;
        core.wake(state);
    }

    /// Sets the amnesia floor, or takes it away: durable when `done` says so.
    pub fn set_floor(&self, floor: Option<Floor>, done: Done) {
        let mut state = self.handle.core.state();
        let needs = Needs {
            must_sync: true,
            floor: Some(floor.map_or(NewFloor::None, NewFloor::Some)),
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            return self.refuse(state, needs);
        }
        state.floor = floor;
        self.push(state, [], needs);
    }

    /// Calls `hook` once, with the reason, when the log stops for good; at once if it has.
    pub fn on_poison(&self, hook: Box<dyn FnOnce(&str) + Send>) {
        self.handle.core.poison.on_set(hook);
    }

    /// For who is about to block until an answer comes: where a simulation drives the writer, it takes
    /// its turns here and now. A writer with a thread needs no help.
    #[cfg_attr(
        not(feature = "testing"),
        expect(
            clippy::unused_self,
            reason = "only a simulation has a writer to hurry"
        )
    )]
    pub fn hurry(&self) {
        #[cfg(feature = "testing")]
        if let Some(stepped) = &self.handle.stepped {
            stepped::run_dry(stepped);
        }
    }

    /// Writes and syncs what waits, and ends the writer. Other handles can still read.
    pub fn close(self) -> Result<(), Error> {
        self.handle.end();
        self.handle.core.poison.check()
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("marks", &self.marks())
            .finish_non_exhaustive()
    }
}

/// How many records these bytes hold, as the body of a batch of a segment with this salt; for those who
/// throw bytes at it.
#[cfg(feature = "testing")]
pub fn count_wal_records(salt: u64, body: &[u8]) -> usize {
    let mut rest = body;
    let mut count = 0;
    while let Some((_, used)) = Record::decode(salt, rest) {
        rest = rest.get(used..).unwrap_or_default();
        count += 1;
    }
    count
}

/// Dice from the operating system.
fn random<const N: usize>(for_path: impl Into<PathBuf>) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    crate::simulation::fill(&mut bytes).map_err(Error::io("get random bytes for", for_path))?;
    Ok(bytes)
}
