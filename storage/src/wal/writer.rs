//! The one thread that writes: take what waits, write once, sync once, answer everybody.
//!
//! Holds: under `always` a batch is written only after the one before it was synced, and nobody is
//! told "done" before the sync of his batch has returned. After the first failure nothing is
//! written or synced again. Under the other policies votes, truncations and purges still wait for
//! their sync, and a segment begins only after all before it was synced.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::batch::{Batch, Place};
use super::core::{Core, EndGuard, Turn};
use super::entry::{SegmentId, SegmentInfo};
use super::format::{FIRST_BATCH_AT, SegmentHeader};
use super::queue::{Job, Work};
use super::random;
use super::record::Record;
use super::recovery::Known;
use crate::command::Policy;
use crate::disk::File;
use crate::error::Error;
use crate::ids::LogId;
use crate::mutants::{self, Mutant};

/// Where the next batch goes.
pub(super) struct Tail {
    pub(super) file: Arc<dyn File>,
    pub(super) segment: SegmentId,
    pub(super) salt: u64,
    pub(super) offset: u64,
    /// The number of the next batch.
    pub(super) next_batch: u64,
    /// The header crc of the batch before it.
    pub(super) chain: u32,
    /// The last batch that a sync has covered.
    pub(super) synced_upto: u64,
}

pub(super) struct Writer {
    core: Arc<Core>,
    tail: Tail,
    batch: Batch,
    policy: Policy,
    /// When the oldest batch was written that no sync has covered.
    dirty_since: Option<Instant>,
}

/// Starts the thread. It ends when the core is closing, after all that was handed over before.
pub(super) fn spawn(core: Arc<Core>, tail: Tail) -> Result<JoinHandle<()>, Error> {
    let path = core.directory.path_of(tail.segment);
    let run = move || {
        let guard = EndGuard(Arc::clone(&core));
        let policy = core.config.fsync;
        Writer {
            core,
            tail,
            batch: Batch::default(),
            policy,
            dirty_since: None,
        }
        .run();
        drop(guard);
    };
    std::thread::Builder::new()
        .name("wal-writer".to_owned())
        .spawn(run)
        .map_err(Error::io("start the writer of", path))
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.core.next_turn(self.dirty_since) {
                Turn::Jobs(jobs, committed, policy) => {
                    self.policy = policy;
                    self.serve(jobs, committed);
                }
                Turn::Sync => {
                    let synced = self.sync();
                    self.note(synced);
                }
                Turn::End(committed) => {
                    let ended = self.write_end(committed);
                    self.note(ended);
                    break;
                }
            }
        }
        for job in self.core.end() {
            job.reply.send(Err(Error::Closed));
        }
    }

    /// Writes what the jobs say, then answers them in order.
    fn serve(&mut self, jobs: Vec<Job>, committed: Option<LogId>) {
        let bytes = jobs.iter().map(|job| job.bytes).sum();
        let written = if self.core.poison.reason().is_some() {
            Verdict::Refused
        } else if mutants::is(Mutant::AckBeforeWrite) {
            return self.serve_too_early(jobs, committed, bytes);
        } else {
            match self.write(&jobs, committed) {
                Ok(()) => Verdict::Written,
                Err(error) => Verdict::Failed(self.poison(&error)),
            }
        };
        self.core.release(bytes);
        let mut purged = false;
        for job in jobs {
            purged |= matches!(job.work, Work::Purge(_));
            let result = match (&job.work, &written) {
                (_, Verdict::Refused) => self.core.poison.check(),
                (Work::Refused, _) => Err(Error::Closed),
                (_, Verdict::Written) => Ok(()),
                (_, Verdict::Failed(reason)) => Err(Error::Unknown {
                    reason: Arc::clone(reason),
                }),
            };
            job.reply.send(result);
        }
        if purged && matches!(written, Verdict::Written) {
            let swept = sweep(&self.core);
            self.note(swept);
        }
    }

    fn serve_too_early(&mut self, jobs: Vec<Job>, committed: Option<LogId>, bytes: usize) {
        let mut late = Vec::with_capacity(jobs.len());
        for Job {
            work,
            reply,
            stamp_end,
            bytes,
        } in jobs
        {
            reply.send(Ok(()));
            let reply = super::queue::Reply::new(Box::new(drop));
            late.push(Job {
                work,
                reply,
                stamp_end,
                bytes,
            });
        }
        let written = self.write(&late, committed);
        self.note(written);
        self.core.release(bytes);
    }

    /// All records into batches: one, unless they are too many or one drops entries behind others.
    fn write(&mut self, jobs: &[Job], committed: Option<LogId>) -> Result<(), Error> {
        let bytes_max = self.core.config.batch_bytes_max;
        let stamp_end = jobs
            .iter()
            .map(|job| job.stamp_end)
            .max()
            .unwrap_or_default();
        let records = jobs.iter().flat_map(Job::records);
        self.batch.clear();
        for record in records.chain(committed.map(Record::Committed)) {
            if !self.batch.takes(&record, bytes_max) {
                self.flush()?;
            }
            self.batch.push(self.tail.salt, record);
        }
        self.flush()?;
        if jobs.iter().any(Job::must_sync) || self.is_overdue() {
            self.sync()?;
        }
        let mut state = self.core.state();
        state
            .cache
            .shrink(self.core.config.tail_cache_bytes_max, stamp_end);
        self.core
            .metrics
            .cache_bytes
            .set(i64::try_from(state.cache.bytes()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Writes the batch, syncs it if the policy says so, and shows it to readers.
    fn flush(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let end = self.tail.offset + self.batch.padded_len() as u64;
        if end > self.core.config.segment_bytes && self.tail.offset > FIRST_BATCH_AT {
            self.rotate()?;
        }
        self.write_batch()
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let Tail {
            segment, offset, ..
        } = self.tail;
        let place = Place {
            salt: self.tail.salt,
            seq: self.tail.next_batch,
            chain: self.tail.chain,
            synced_upto: self.tail.synced_upto,
        };
        let (bytes, crc) = self.batch.seal(place);
        let len = bytes.len() as u64;
        let written = self.tail.file.write_at(bytes, offset);
        written.map_err(Error::io("write", self.core.directory.path_of(segment)))?;
        self.tail.offset += len;
        self.tail.next_batch += 1;
        self.tail.chain = crc;
        self.dirty_since = self.dirty_since.or_else(|| Some(Instant::now()));
        if self.policy == Policy::Always {
            self.sync()?;
        }
        self.publish(segment, offset, len);
        self.batch.clear();
        Ok(())
    }

    fn publish(&self, segment: SegmentId, offset: u64, len: u64) {
        let metrics = &self.core.metrics;
        metrics.batches.inc();
        metrics.bytes.inc_by(len);
        metrics
            .batch_bytes
            .observe(f64::from(u32::try_from(len).unwrap_or(u32::MAX)));
        if let Some((first, last)) = self.batch.entries() {
            metrics.entries.inc_by(last.0 - first.0 + 1);
        }
        let mut state = self.core.state();
        let applied = state.chart.apply(self.batch.records(), segment, offset);
        assert_eq!(Ok(()), applied, "what was accepted is what is written");
        if let Some(active) = state.segments.back_mut() {
            active.info.bytes = offset + len;
            active.info.last = self
                .batch
                .entries()
                .map(|(_, last)| last)
                .max(active.info.last);
        }
    }

    /// Makes everything written so far durable. Never tried again once it has failed: the system
    /// may have dropped the bytes and would call the rest a success.
    fn sync(&mut self) -> Result<(), Error> {
        self.core.poison.check()?;
        if self.dirty_since.is_none() {
            return Ok(());
        }
        if !mutants::is(Mutant::SkipSync) {
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

    /// The next segment: this one is durable to its end before the other begins. The batch that is
    /// waiting is encoded again, since records are bound to their segment's salt.
    fn rotate(&mut self) -> Result<(), Error> {
        self.sync()?;
        let id = self.tail.segment.next();
        let header = next_header(&self.core, id, self.tail.next_batch, self.tail.chain)?;
        self.tail.file = begin_segment(&self.core, &header)?;
        self.tail.segment = id;
        self.tail.salt = header.salt;
        self.tail.offset = FIRST_BATCH_AT;
        self.batch.reseed(header.salt);
        Ok(())
    }

    /// The last batch of an orderly end. It may be empty: standing behind the others it proves
    /// that they were synced, so that damage to them is never taken for a torn write.
    fn write_end(&mut self, committed: Option<LogId>) -> Result<(), Error> {
        if self.core.poison.reason().is_some() {
            return Ok(());
        }
        self.sync()?;
        if self.tail.offset == FIRST_BATCH_AT && committed.is_none() {
            return Ok(());
        }
        self.batch.clear();
        if let Some(committed) = committed {
            self.batch
                .push(self.tail.salt, Record::Committed(committed));
        }
        self.write_batch()?;
        self.sync()
    }

    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.poison(&error);
        }
    }

    fn poison(&mut self, error: &Error) -> Arc<str> {
        self.dirty_since = None;
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        let reason: Arc<str> = Arc::from(format!("{error}{}", source.unwrap_or_default()));
        self.core.metrics.poisoned.set(1);
        self.core.poison.set(&reason);
        reason
    }
}

enum Verdict {
    Written,
    Failed(Arc<str>),
    Refused,
}

/// The header of a segment that begins where the written stream ends.
pub(super) fn next_header(
    core: &Core,
    id: SegmentId,
    first_batch: u64,
    chain: u32,
) -> Result<SegmentHeader, Error> {
    Ok(SegmentHeader {
        uuid: core.uuid,
        id,
        salt: u64::from_le_bytes(random(core.directory.path_of(id))?),
        segment_len: core.config.segment_bytes,
        first_batch,
        chain,
        marks: core.state().chart.head.marks,
    })
}

/// Makes a segment and shows it to readers.
pub(super) fn begin_segment(core: &Core, header: &SegmentHeader) -> Result<Arc<dyn File>, Error> {
    let file = core.directory.create(header)?;
    let info = SegmentInfo {
        id: header.id,
        last: None,
        bytes: FIRST_BATCH_AT,
        is_active: true,
    };
    let mut state = core.state();
    if let Some(before) = state.segments.back_mut() {
        before.info.is_active = false;
    }
    state.segments.push_back(Known {
        info,
        salt: header.salt,
    });
    core.metrics
        .segments
        .set(i64::try_from(state.segments.len()).unwrap_or(i64::MAX));
    Ok(file)
}

/// Removes the oldest segments as long as all their entries are purged.
pub(super) fn sweep(core: &Core) -> Result<(), Error> {
    loop {
        let mut state = core.state();
        let purged = state.chart.head.marks.purged.map(|id| id.index);
        let oldest = state.segments.front().map(|known| known.info);
        let Some(oldest) = oldest.filter(|info| !info.is_active && info.last <= purged) else {
            return Ok(());
        };
        state.segments.pop_front();
        core.metrics
            .segments
            .set(i64::try_from(state.segments.len()).unwrap_or(i64::MAX));
        drop(state);
        core.files.forget(oldest.id);
        core.directory.remove(oldest.id)?;
    }
}
