//! openraft's log storage over the WAL.
//!
//! Holds:
//! - An entry can be read as soon as `append` returns, and openraft hears that it is durable from
//!   the WAL's own writer thread, with no task in between.
//! - Only a vote is waited for. Committed, truncate and purge ride in the same ordered stream, so
//!   whatever is acknowledged after them was written after them; if one fails, so does all after it.
//! - Nothing is purged above the checkpoint that would take its place: whatever openraft asks for,
//!   the log answers that with an error, which ends the node.
//! - No read returns a hole: what lies within the log comes back whole or as an error. One of several
//!   waits for its peers to fill a hole; a single node ends with the error.

use std::fmt::{self, Debug};
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use storage::{Health, Index, Wal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::halt::Halt;
use crate::mutants::{self, Mutant};
use crate::pulse::Pulse;
use crate::snapshot::Builder;
use crate::types::{self, Types};

/// Between two tries of a read that waits for a repair.
const REPAIRED_AGAIN: Duration = Duration::from_millis(50);

/// A clone reads and writes the same log.
#[derive(Clone)]
pub struct LogStore {
    wal: Wal,
    read_bytes_max: usize,
    purging: Arc<dyn Purging>,
    pulse: Pulse,
    /// Peers fill holes: how long that is waited for.
    patience: Option<Patience>,
}

/// Until this node stops.
#[derive(Clone)]
struct Patience {
    halt: Halt,
    closing: CancellationToken,
}

/// Who knows what may be purged.
pub trait Purging: Send + Sync + 'static {
    /// The last entry that may go.
    fn floor(&self) -> Result<Index, storage::Error>;
    /// Entries up to this one are durably gone. Called on the log's writer thread.
    fn purged(&self, upto: Index);
}

/// The checkpoints do.
impl Purging for Builder {
    fn floor(&self) -> Result<Index, storage::Error> {
        let floor = Self::floor(self)?;
        Ok(floor.map(|one| one.id.index).unwrap_or_default())
    }

    fn purged(&self, upto: Index) {
        self.shelf().purged(upto);
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("wal", &self.wal)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Over an open log.
    pub fn new(wal: Wal, read_bytes_max: usize, purging: Arc<dyn Purging>) -> Self {
        Self {
            wal,
            read_bytes_max,
            purging,
            pulse: Pulse::default(),
            patience: None,
        }
    }

    /// From here on a read of a damaged entry waits until a peer has repaired it (see `mend`), or this
    /// node stops. Whoever waits here, raft's own task too, keeps nobody from repairing; a leader that
    /// waits is silent, and is followed by another.
    pub(crate) fn wait_for_repairs(&mut self, halt: Halt, closing: CancellationToken) {
        self.patience = Some(Patience { halt, closing });
    }

    /// How long the disk takes.
    pub(crate) const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The part of `range` that the log holds.
    fn held(&self, range: &impl RangeBounds<u64>) -> Range<Index> {
        let start = match range.start_bound() {
            Bound::Included(index) => types::index_in(*index),
            Bound::Excluded(index) => types::index_in(*index).next(),
            Bound::Unbounded => Index(0),
        };
        let end = match range.end_bound() {
            Bound::Included(index) => types::index_in(*index).next(),
            Bound::Excluded(index) => types::index_in(*index),
            Bound::Unbounded => Index(u64::MAX),
        };
        match (self.wal.first(), self.wal.last()) {
            (Some(first), Some(last)) => start.max(first)..end.min(last.index.next()),
            _ => Index(0)..Index(0),
        }
    }

    /// At least one entry of a range that is not empty.
    async fn read(&self, range: Range<Index>) -> io::Result<Vec<EntryOf<Types>>> {
        let entries = loop {
            match self.wal.read(range.clone(), self.read_bytes_max) {
                Ok(entries) => break entries,
                Err(error @ storage::Error::Damaged { .. }) => self.wait(error).await?,
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        if entries.first().map(|entry| entry.id.index) != Some(range.start) {
            return Err(io::Error::other(format!(
                "entry {} is not in the log",
                range.start
            )));
        }
        entries.into_iter().map(types::entry_out).collect()
    }

    /// Waits a little for a repair, if there is hope for one.
    async fn wait(&self, error: storage::Error) -> io::Result<()> {
        let hope = self.patience.as_ref();
        let hope = hope.filter(|hope| hope.halt.reason().is_none() && !hope.closing.is_cancelled());
        if hope.is_none() {
            return Err(io::Error::other(error));
        }
        tokio::time::sleep(REPAIRED_AGAIN).await;
        Ok(())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<EntryOf<Types>>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut range = self.held(&range);
        let mut entries = Vec::new();
        while range.start < range.end {
            let read = self.read(range.clone()).await?;
            range.start = Index(range.start.0 + read.len() as u64);
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let range = self.held(&(start..end));
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        self.read(range).await
    }

    /// In pieces, so that applying a long log holds little of it in memory.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<EntryOf<Types>>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = self.held(&range);
        // What was handed to a log that has failed is not in it: that must not be taken for its end.
        let failed = match self.wal.health() {
            Health::Poisoned(why) => Some(io::Error::other(why)),
            Health::Ok | Health::Full(_) => None,
        };
        let failed = stream::iter(failed.map(Err));
        let log = self.clone();
        let entries = stream::try_unfold((log, range), async |(log, mut range)| {
            if range.start >= range.end {
                return Ok(None);
            }
            let entries = log.read(range.clone()).await?;
            range.start = Index(range.start.0 + entries.len() as u64);
            Ok::<_, io::Error>(Some((stream::iter(entries).map(Ok), (log, range))))
        })
        .try_flatten();
        failed.chain(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.wal.vote().as_ref().map(types::vote_out))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.wal.purged();
        Ok(LogState {
            last_purged_log_id: purged.map(types::log_id_out),
            last_log_id: self.wal.last().or(purged).map(types::log_id_out),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        let (sender, saved) = oneshot::channel();
        let done = Box::new(move |result| drop(sender.send(result)));
        self.wal.save_vote(types::vote_in(vote), done);
        if mutants::is(Mutant::VoteNotSynced) {
            return Ok(());
        }
        match saved.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => unreachable!("the log answers each call once"),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        if let Some(id) = committed {
            self.wal.save_committed(types::log_id_in(id));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        // What a majority has is known before the own disk has it: after a crash the mark may be ahead
        // of the log, and then all of the log is committed.
        let committed = self.wal.committed();
        let upto = committed.filter(|id| Some(id.index) <= self.wal.last().map(|last| last.index));
        let upto = upto.or(self.wal.last().filter(|_| committed.is_some()));
        Ok(upto.map(types::log_id_out))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(types::entry_in).collect();
        let pulse = self.pulse.clone();
        pulse.begin();
        let done = Box::new(move |result: Result<(), storage::Error>| {
            pulse.end();
            flushed.io_completed(result.map_err(io::Error::other));
        });
        self.wal.append(entries, done);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.wal
            .truncate_after(last.map(types::log_id_in), unheard());
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        let upto = types::log_id_in(upto);
        let floor = self.purging.floor().map_err(io::Error::other)?;
        if floor < upto.index {
            let why =
                format!("a purge up to {upto} was asked for, and the checkpoint is of {floor}");
            return Err(io::Error::other(why));
        }
        let purging = Arc::clone(&self.purging);
        let done = Box::new(move |result: Result<(), storage::Error>| {
            // Should it fail, the WAL is poisoned and the next append says so.
            if result.is_ok() {
                purging.purged(upto.index);
            }
        });
        self.wal.purge(upto, done);
        Ok(())
    }
}

/// Nobody waits for this: should it fail, the WAL is poisoned and the next append says so.
fn unheard() -> storage::Done {
    Box::new(drop)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use bytes::Bytes;
    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;
    use openraft::storage::RaftLogStorageExt;
    use storage::{FaultDisk, WalConfig};

    use super::*;
    use crate::types::Proposal;

    fn open(disk: &FaultDisk, read_bytes_max: usize) -> LogStore {
        let disk = Arc::new(disk.clone());
        let (wal, _) = Wal::open(disk, Path::new("/wal"), &WalConfig::simulated()).unwrap();
        LogStore::new(wal, read_bytes_max, Arc::new(Upto::default()))
    }

    /// Lets go what it is told to, and notes what went.
    #[derive(Default)]
    struct Upto {
        floor: Index,
        purged: Mutex<Vec<Index>>,
    }

    impl Purging for Upto {
        fn floor(&self) -> Result<Index, storage::Error> {
            Ok(self.floor)
        }

        fn purged(&self, upto: Index) {
            self.purged.lock().unwrap().push(upto);
        }
    }

    #[tokio::test]
    async fn nothing_is_purged_above_the_checkpoint() {
        let mut log = open(&FaultDisk::new(), 250);
        let upto = Arc::new(Upto {
            floor: Index(4),
            ..Upto::default()
        });
        log.purging = Arc::clone(&upto) as Arc<dyn Purging>;
        let all = entries(0..10);
        log.blocking_append(all.clone()).await.unwrap();
        let refused = log.purge(all[4].log_id).await.unwrap_err();
        assert!(refused.to_string().contains("up to 1.1.5"), "{refused}");
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), all);
        log.purge(all[3].log_id).await.unwrap();
        // Answered behind it.
        log.save_vote(&VoteOf::<Types>::new(3, 1)).await.unwrap();
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), all[4..]);
        assert_eq!(*upto.purged.lock().unwrap(), [Index(4)]);
    }

    fn entries(range: Range<u64>) -> Vec<EntryOf<Types>> {
        let entry = |index| EntryOf::<Types> {
            log_id: LogIdOf::<Types> {
                leader_id: LeaderId {
                    term: 1,
                    node_id: 1,
                },
                index,
            },
            payload: EntryPayload::Normal(Proposal(Bytes::from(vec![7; 100]))),
        };
        range.map(entry).collect()
    }

    /// What a majority has is known before the own disk has it; a crash takes the one and not the other.
    #[tokio::test]
    async fn a_mark_of_what_is_committed_is_never_ahead_of_the_log() {
        let disk = FaultDisk::new();
        let mut log = open(&disk, 250);
        let all = entries(0..10);
        log.save_committed(Some(all[9].log_id)).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), None, "an empty log");
        log.blocking_append(all[..4].to_vec()).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(all[3].log_id));
        log.blocking_append(all[4..].to_vec()).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(all[9].log_id));
    }

    #[tokio::test]
    async fn a_vote_is_durable_when_save_vote_returns() {
        for seed in 0..16 {
            let disk = FaultDisk::new();
            let vote = VoteOf::<Types>::new(3, 1);
            let mut log = open(&disk, 1);
            log.save_vote(&vote).await.unwrap();
            disk.power_cut(seed);
            drop(log);
            assert_eq!(
                open(&disk, 1).read_vote().await.unwrap(),
                Some(vote),
                "seed {seed}"
            );
        }
    }

    #[tokio::test]
    async fn an_entry_is_durable_when_its_callback_is_called() {
        for seed in 0..16 {
            let disk = FaultDisk::new();
            let mut log = open(&disk, 1);
            log.blocking_append(entries(0..3)).await.unwrap();
            disk.power_cut(seed);
            drop(log);
            let read = open(&disk, 1).try_get_log_entries(..).await.unwrap();
            assert_eq!(read, entries(0..3), "seed {seed}");
        }
    }

    #[tokio::test]
    async fn a_read_is_capped_by_bytes_and_gives_one_entry_at_least() {
        let disk = FaultDisk::new();
        let mut log = open(&disk, 250);
        log.blocking_append(entries(0..10)).await.unwrap();
        let some = log.limited_get_log_entries(2, 10).await.unwrap();
        assert!((1..8).contains(&some.len()), "{} entries", some.len());
        assert_eq!(some, entries(2..2 + some.len() as u64));
        let mut narrow = LogStore::new(log.wal.clone(), 1, Arc::new(Upto::default()));
        assert_eq!(
            narrow.limited_get_log_entries(2, 10).await.unwrap(),
            entries(2..3)
        );
    }

    #[tokio::test]
    async fn reads_in_pieces_leave_nothing_out() {
        let disk = FaultDisk::new();
        let mut log = open(&disk, 250);
        log.blocking_append(entries(0..10)).await.unwrap();
        assert_eq!(log.try_get_log_entries(1..9).await.unwrap(), entries(1..9));
        let read: Vec<_> = log.entries_stream(1..9).await.try_collect().await.unwrap();
        assert_eq!(read, entries(1..9));
    }
}
