//! The one thread that writes: take what waits, write once, sync once, answer everybody.
//!
//! Holds: under `always` a batch is written only after the one before it was synced, and nobody is
//! told "done" before the sync of his batch has returned. After the first failure nothing is
//! written or synced again. Under the other policies votes, truncations and purges still wait for
//! their sync, and a segment begins only after all before it was synced. A vote is durable in
//! `hardstate` too before its caller is told, and never there before it is in the stream: what was
//! called before it must not be missing where the vote is found.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::answers::{Answerer, Verdict};
use super::batch::NewFloor;
use super::batch::{Batch, Place};
use super::core::{Core, EndGuard, Left, Turn, Waiting};
use super::entry::SegmentId;
use super::format::{BLOCK_LEN, FIRST_BATCH_AT};
use super::hardstate::HardFiles;
use super::piece::Piece;
use super::record::Record;
use super::rotation;
use crate::command::Policy;
use crate::disk::File;
use crate::error::Error;
use crate::ids::LogId;
use crate::mutants::{self, Mutant};

/// Where the next batch goes.
pub(super) struct Tail {
    pub(super) file: Arc<dyn File>,
    /// The same file, written past the cache.
    pub(super) direct: Option<Arc<dyn File>>,
    pub(super) segment: SegmentId,
    pub(super) segment_len: u64,
    pub(super) is_recycled: bool,
    pub(super) salt: u64,
    pub(super) offset: u64,
    /// Batches end before this.
    pub(super) data_end: u64,
    /// The number of the next batch.
    pub(super) next_batch: u64,
    /// The header crc of the batch before it.
    pub(super) chain: u32,
    /// The last batch that a sync has covered.
    pub(super) synced_upto: u64,
}

pub(super) struct Writer {
    pub(super) core: Arc<Core>,
    pub(super) tail: Tail,
    pub(super) hard: HardFiles,
    pub(super) policy: Policy,
    /// The last batch, to be filled again: handed on with the next one, under the same lock.
    pub(super) used: Option<Batch>,
    /// What waited when the last batch was shown to readers: taken under the same lock, before the
    /// callers who are told of that batch come for it.
    pub(super) next: Option<Waiting>,
    /// When the oldest batch was written that no sync has covered.
    pub(super) dirty_since: Option<Instant>,
    /// The last batch has nothing behind it that says it was synced.
    pub(super) wants_mark: bool,
    /// A batch could not be written before the end: nothing that comes after it is.
    pub(super) is_over: bool,
}

/// The writer with those who tell what became of its batches.
pub(super) struct Line {
    writer: Writer,
    answerer: Answerer,
    /// Dropped last, however this ends.
    _guard: EndGuard,
}

/// Starts the thread. It ends when the core is closing, after all that was handed over before.
pub(super) fn spawn(writer: Writer) -> Result<JoinHandle<()>, Error> {
    let path = writer.core.directory.path_of(writer.tail.segment);
    let answerer = Answerer::spawn(&writer.core);
    let answerer = answerer.map_err(Error::io("start the answers of", &path))?;
    let line = Line::new(writer, answerer);
    std::thread::Builder::new()
        .name("wal-writer".to_owned())
        .spawn(move || line.run())
        .map_err(Error::io("start the writer of", path))
}

impl Line {
    pub(super) fn new(writer: Writer, answerer: Answerer) -> Self {
        Self {
            _guard: EndGuard(Arc::clone(&writer.core)),
            writer,
            answerer,
        }
    }

    fn run(mut self) {
        loop {
            let next = self.next();
            let turn = next.unwrap_or_else(|| self.core().next_turn(self.left()));
            if !self.take(turn) {
                break;
            }
        }
        self.end();
    }

    /// The turn that the one before has taken along.
    pub(super) fn next(&mut self) -> Option<Turn> {
        self.writer.next.take().map(Turn::Batch)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.writer.core
    }

    pub(super) fn left(&self) -> Left {
        let writer = &self.writer;
        Left {
            dirty_since: writer.dirty_since,
            wants_mark: writer.wants_mark
                && !writer.is_over
                && writer.core.poison.reason().is_none(),
        }
    }

    /// Does what the turn says. False: it was the last one.
    pub(super) fn take(&mut self, turn: Turn) -> bool {
        let writer = &mut self.writer;
        let done = match turn {
            Turn::Batch(waiting) => {
                writer.serve(&mut self.answerer, waiting);
                return true;
            }
            Turn::Mark => writer.write_mark(),
            Turn::Sync => writer.sync(),
            Turn::End(committed) => {
                let ended = writer.write_end(committed);
                writer.note(ended);
                return false;
            }
        };
        writer.note(done);
        true
    }

    /// Refuses what came too late, and waits until everybody is told.
    pub(super) fn end(mut self) {
        let rest = self.writer.core.end();
        let next = self.writer.next.take().map(|next| next.batch);
        for batch in next.into_iter().chain(rest) {
            drop(self.answerer.answer(batch, &Verdict::Closed));
        }
        self.answerer.join();
    }
}

impl Writer {
    /// Writes the batch, then has its calls answered.
    fn serve(
        &mut self,
        answerer: &mut Answerer,
        Waiting {
            mut batch,
            committed,
            policy,
        }: Waiting,
    ) {
        if mutants::is(Mutant::AckBeforeWrite) {
            Answerer::answer_early(&mut batch);
        }
        let has_purged = batch.has_purge();
        let verdict = match self.core.poison.reason() {
            Some(reason) => Verdict::Poisoned(reason),
            None if self.is_over => Verdict::Closed,
            None => match self.write(&mut batch, committed, policy) {
                Ok(()) => Verdict::Written,
                // The disk was full and the log was closed: nothing of it was written.
                Err(Error::Closed) => {
                    self.is_over = true;
                    Verdict::Closed
                }
                Err(error) => Verdict::Failed(self.poison(&error)),
            },
        };
        let is_written = matches!(verdict, Verdict::Written);
        self.used = Some(answerer.answer(batch, &verdict));
        if has_purged && is_written {
            let swept = rotation::sweep(&self.core);
            self.note(swept);
        }
    }

    fn write(
        &mut self,
        batch: &mut Batch,
        committed: Option<LogId>,
        policy: Policy,
    ) -> Result<(), Error> {
        self.follow(policy)?;
        batch.reseed(self.tail.salt);
        if let Some(committed) = committed {
            let piece = Piece::of(self.tail.salt, Record::Committed(committed));
            if batch.push(piece, usize::MAX).is_some() {
                self.core.state().committed.get_or_insert(committed);
            }
        }
        if !batch.is_empty() {
            self.make_room(batch)?;
            self.write_batch(batch)?;
            self.wants_mark = true;
        }
        if batch.must_sync || self.is_overdue() {
            self.sync()?;
        }
        let (vote, floor) = (batch.vote(), batch.floor);
        if vote.is_some() || floor.is_some() {
            self.hard.save(|hard| {
                hard.vote = vote.or(hard.vote);
                hard.floor = floor.map_or(hard.floor, NewFloor::get);
            })?;
            if floor.is_some() {
                // It stands nowhere else, so it stands in both copies.
                self.hard.save(|_| {})?;
            }
        }
        Ok(())
    }

    /// The weakest policy that this log was written under stands in `hardstate` before a byte is
    /// written under it: the next start must know what a power cut may have taken.
    fn follow(&mut self, policy: Policy) -> Result<(), Error> {
        self.policy = policy;
        if policy == self.hard.now.policy {
            return Ok(());
        }
        self.sync()?;
        self.hard.save(|hard| hard.policy = policy)
    }

    /// Rotates where the batch does not fit any more.
    fn make_room(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if self.fits(batch.padded_len()) {
            return Ok(());
        }
        self.rotate(batch.padded_len() as u64)?;
        batch.reseed(self.tail.salt);
        Ok(())
    }

    fn fits(&self, padded_len: usize) -> bool {
        self.tail.offset + padded_len as u64 <= self.tail.data_end
    }

    /// Writes the batch, durably if the policy says so, and shows it to readers.
    fn write_batch(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let offset = self.tail.offset;
        let end = offset + batch.padded_len() as u64;
        let (bytes, len, crc) = batch.seal(Place {
            seq: self.tail.next_batch,
            chain: self.tail.chain,
            synced_upto: self.tail.synced_upto,
            has_zeros_behind: self.tail.is_recycled && end < self.tail.data_end,
        });
        let path = || self.core.directory.path_of(self.tail.segment);
        let direct = self.tail.direct.as_ref();
        let direct = direct.filter(|_| self.policy == Policy::Always && !is_skipping_syncs());
        if let Some(direct) = direct {
            assert!(self.dirty_since.is_none(), "what is before it is durable");
            let start = Instant::now();
            direct
                .write_at(bytes, offset)
                .map_err(Error::io("write", path()))?;
            self.core
                .metrics
                .sync_seconds
                .observe(start.elapsed().as_secs_f64());
        } else {
            self.tail
                .file
                .write_at(bytes, offset)
                .map_err(Error::io("write", path()))?;
            self.dirty_since = self.dirty_since.or_else(|| Some(Instant::now()));
        }
        self.tail.offset += len as u64;
        self.tail.next_batch += 1;
        self.tail.chain = crc;
        if self.dirty_since.is_none() {
            self.tail.synced_upto = self.tail.next_batch - 1;
        } else if self.policy == Policy::Always {
            self.sync()?;
        }
        self.publish(batch, offset, len as u64);
        Ok(())
    }

    fn publish(&mut self, batch: &mut Batch, offset: u64, len: u64) {
        let metrics = &self.core.metrics;
        metrics.batches.inc();
        metrics.bytes.inc_by(len);
        metrics
            .batch_bytes
            .observe(f64::from(u32::try_from(len).unwrap_or(u32::MAX)));
        if let Some((first, last)) = batch.entries() {
            metrics.entries.inc_by(last.index.0 - first.index.0 + 1);
        }
        let segment = self.tail.segment;
        // Once, and short: callers who append want this lock too.
        let mut state = self.core.state();
        let mut applied = state.chart.apply(batch.marks(), segment, offset);
        if let Some(entries) = batch.entries() {
            applied = applied.and(state.chart.extend(entries, segment, offset));
        }
        assert_eq!(Ok(()), applied, "what was accepted is what is written");
        for _ in batch.marks().iter().filter(|mark| mark.drops_entries()) {
            state.unwritten_drops.pop_front();
        }
        if let Some(active) = state.segments.back_mut() {
            active.info.bytes = offset + len;
            active.chain = self.tail.chain;
            let last = batch.entries().map(|(_, last)| last.index);
            active.info.last = last.max(active.info.last);
        }
        state.cache.written_upto(batch.stamp_end);
        if let Some(used) = self.used.take() {
            state.queue.give_back(used);
        }
        self.next = state.waiting();
        self.core.release(state, batch);
    }

    /// Makes everything written so far durable. Never tried again once it has failed: the system
    /// may have dropped the bytes and would call the rest a success.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.core.poison.check()?;
        if self.dirty_since.is_none() {
            return Ok(());
        }
        if !is_skipping_syncs() {
            let start = Instant::now();
            let synced = self.tail.file.sync();
            synced.map_err(Error::io(
                "sync",
                self.core.directory.path_of(self.tail.segment),
            ))?;
            self.core
                .metrics
                .sync_seconds
                .observe(start.elapsed().as_secs_f64());
        }
        self.tail.synced_upto = self.tail.next_batch - 1;
        self.dirty_since = None;
        Ok(())
    }

    /// Under load the writer never sleeps, so the interval is also looked at after each turn.
    fn is_overdue(&self) -> bool {
        let patience = super::core::patience(self.policy, self.dirty_since);
        patience.is_some_and(|left| left.is_zero())
    }

    /// Nothing has come for a while: a batch without records, whose header says that the one before
    /// it was synced. From then on damage to that one is never taken for a torn write.
    fn write_mark(&mut self) -> Result<(), Error> {
        self.wants_mark = false;
        if !self.fits(BLOCK_LEN) {
            return Ok(());
        }
        self.write_lone(None)
    }

    /// Writes records, durably, before anybody else writes: what the stream lacks at a start.
    pub(super) fn write_first(
        &mut self,
        records: impl Iterator<Item = Record>,
    ) -> Result<(), Error> {
        let salt = self.tail.salt;
        let mut batch = Batch::new(salt);
        for record in records {
            if let Some(piece) = batch.push(Piece::of(salt, record), usize::MAX) {
                self.write_salvaged(&mut batch)?;
                batch = Batch::new(salt);
                batch.begin_with(piece);
            }
        }
        if !batch.is_empty() {
            self.write_salvaged(&mut batch)?;
        }
        let mut state = self.core.state();
        state.head = state.chart.head;
        Ok(())
    }

    fn write_salvaged(&mut self, batch: &mut Batch) -> Result<(), Error> {
        assert!(
            self.fits(batch.padded_len()),
            "what was salvaged was one batch, and a new segment has room for one"
        );
        self.write_batch(batch)?;
        self.sync()
    }

    fn write_lone(&mut self, record: Option<Record>) -> Result<(), Error> {
        let mut batch = Batch::new(self.tail.salt);
        if let Some(record) = record {
            batch.begin_with(Piece::of(self.tail.salt, record));
        }
        self.write_batch(&mut batch)?;
        self.sync()
    }

    /// An orderly end: the last commit, a mark, and word in `hardstate` that nothing comes after.
    fn write_end(&mut self, committed: Option<LogId>) -> Result<(), Error> {
        if self.is_over || self.core.poison.reason().is_some() {
            return Ok(());
        }
        self.sync()?;
        if committed.is_some() && !self.fits(BLOCK_LEN) {
            match self.rotate(BLOCK_LEN as u64) {
                // A full disk: losing the commit costs a replay, nothing else.
                Err(Error::Closed) => {}
                other => other?,
            }
        }
        let is_new = self.tail.offset == FIRST_BATCH_AT && committed.is_none();
        if !is_new && self.fits(BLOCK_LEN) {
            self.write_lone(committed.map(Record::Committed))?;
        }
        let end = self.tail.next_batch - 1;
        self.hard.save(|hard| hard.clean_end = Some(end))
    }

    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.poison(&error);
        }
    }

    fn poison(&mut self, error: &Error) -> Arc<str> {
        self.dirty_since = None;
        self.core.poison_by(error)
    }
}

fn is_skipping_syncs() -> bool {
    mutants::is(Mutant::SkipSync)
}
