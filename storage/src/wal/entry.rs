//! What the log holds, as its callers see it.

use bytes::Bytes;

use super::damage::{Damage, Floor};
use super::pool::Shortage;
use crate::command::Policy;
use crate::ids::{Index, LogId, NodeId, Term};

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command, as `codec` writes it.
    Command,
    /// Who the members are, as the room above writes it.
    Membership,
}

/// One slot of the replicated log. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: LogId,
    /// What it carries.
    pub kind: EntryKind,
    /// That, in bytes. Opaque here.
    pub payload: Bytes,
}

/// Whom this node has promised to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The era.
    pub term: Term,
    /// The candidate.
    pub node: NodeId,
    /// A majority has promised the same: it leads.
    pub is_committed: bool,
}

/// What an opened log held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// True: there was no log; it was made just now.
    pub is_new: bool,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last known commit: how far the state may be rebuilt from this log alone.
    pub committed: Option<LogId>,
    /// The oldest entry.
    pub first: Option<Index>,
    /// The newest entry, or what was purged last if there is none.
    pub last: Option<LogId>,
    /// What was purged last.
    pub purged: Option<LogId>,
    /// How many files.
    pub segments: usize,
    /// What was not as it was written.
    pub damage: Vec<Damage>,
    /// This node may have promised to keep entries up to here and lost them; it stays until somebody
    /// takes it away.
    pub floor: Option<Floor>,
}

/// Whether the log still takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It does, but it cannot make room for more: whoever can should not add to it.
    Full(Shortage),
    /// A write or sync failed: it takes nothing more until the process is started anew.
    Poisoned(String),
}

/// One file of the log, as `inspect` and `status` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub id: SegmentId,
    /// The largest index in it, if it holds entries.
    pub last: Option<Index>,
    /// How far it is written.
    pub bytes: u64,
    /// The one being written.
    pub is_active: bool,
}

/// What `hardstate` says beside the log, as `inspect` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardInfo {
    /// How often it was written.
    pub generation: u64,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The policy that was written under.
    pub policy: Policy,
    /// The amnesia floor.
    pub floor: Option<Floor>,
    /// The last batch before an orderly end; none while a process writes, and after a crash.
    pub clean_end: Option<u64>,
}

/// One thing met by a walk over the files of a log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalItem {
    /// The newer copy of the hardstate.
    HardState(HardInfo),
    /// A file begins.
    Segment {
        /// Its number.
        id: SegmentId,
        /// Which log it belongs to.
        uuid: [u8; 16],
        /// The first batch it holds or will hold.
        first_batch: u64,
        /// The state of the log where it begins.
        state: Marks,
        /// The version of its format.
        version: u16,
        /// It held another segment before.
        is_recycled: bool,
        /// The file's length; a segment of version 1 grows.
        len: u64,
    },
    /// A batch begins: what one sync made durable.
    Batch {
        /// Its number, from 1, over all files.
        seq: u64,
        /// Where it begins.
        offset: u64,
        /// How many WAL records it has.
        records: u32,
        /// The length of those.
        bytes: u32,
        /// The last batch known to be synced when it was written.
        synced_upto: u64,
    },
    /// An entry.
    Entry(Entry),
    /// An entry whose first bytes were damaged, as it was repaired.
    Repaired(Entry),
    /// A vote.
    Vote(Vote),
    /// Entries after this one are gone.
    TruncateAfter(Option<LogId>),
    /// Entries up to this one are gone.
    Purge(LogId),
    /// A majority is known to have entries up to this one.
    Committed(LogId),
    /// A segment was sealed here.
    Footer {
        /// Where its batches end.
        end: u64,
        /// How many places in it are charted.
        points: usize,
    },
    /// Bytes that are not what was written; the walk goes on with what is whole behind them. On a
    /// running node the last batch may look like this: it is being written.
    Damage {
        /// The file.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// How it shows.
        what: String,
    },
}

/// What the log stands for at one point of its stream, entries aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The newest entry; what was purged last if there is none.
    pub last: Option<LogId>,
    /// What was purged last.
    pub purged: Option<LogId>,
    /// The last known commit.
    pub committed: Option<LogId>,
}

/// A file of the log, numbered from 1 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The file after this one.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// What a receipt and a status line call a policy: `fsync`, `interval:50ms`, `never`.
impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("fsync"),
            Self::IntervalMs(ms) => write!(f, "interval:{ms}ms"),
            Self::Never => f.write_str("never"),
        }
    }
}
