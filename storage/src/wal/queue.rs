//! What waits for the writer, and who is told what became of it.
//!
//! Holds: every caller is told exactly once, in the order of the calls, whatever happens to the
//! writer: a reply that is dropped unspoken says "unknown".

use std::collections::VecDeque;
use std::sync::Arc;

use super::Done;
use super::cache::cost;
use super::entry::{Entry, Vote};
use super::record::Record;
use crate::error::Error;
use crate::ids::LogId;

/// A caller's `done`, spoken once.
pub(super) struct Reply(Option<Done>);

impl Reply {
    pub(super) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    /// Tells the caller.
    pub(super) fn send(mut self, result: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::Unknown {
                reason: Arc::from("the log's writer ended"),
            }));
        }
    }
}

/// What a caller asked for.
pub(super) enum Work {
    Append(Vec<Entry>),
    Vote(Vote),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    /// Came after `close`: told so in its turn.
    Refused,
}

/// One call.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: Reply,
    /// The stamp after its last entry.
    pub(super) stamp_end: u64,
    /// What it will take on disk, about.
    pub(super) bytes: usize,
}

impl Job {
    pub(super) fn new(work: Work, reply: Reply) -> Self {
        let bytes = match &work {
            Work::Append(entries) => entries.iter().map(cost).sum(),
            Work::Vote(_) | Work::TruncateAfter(_) | Work::Purge(_) | Work::Refused => 0,
        };
        Self {
            work,
            reply,
            stamp_end: 0,
            bytes,
        }
    }

    /// Under every policy: these are synced before their caller is told.
    pub(super) fn must_sync(&self) -> bool {
        match self.work {
            Work::Vote(_) | Work::TruncateAfter(_) | Work::Purge(_) => true,
            Work::Append(_) | Work::Refused => false,
        }
    }

    /// What it writes. Payloads are shared, not copied.
    pub(super) fn records(&self) -> Box<dyn Iterator<Item = Record> + '_> {
        let one = |record| Box::new(std::iter::once(record));
        match &self.work {
            Work::Append(entries) => Box::new(entries.iter().cloned().map(Record::Entry)),
            Work::Vote(vote) => one(Record::Vote(*vote)),
            Work::TruncateAfter(keep) => one(Record::TruncateAfter(*keep)),
            Work::Purge(upto) => one(Record::PurgeUpto(*upto)),
            Work::Refused => Box::new(std::iter::empty()),
        }
    }
}

/// Calls in order, and their bytes: those that the writer holds count until they are answered.
#[derive(Default)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, job: Job) {
        self.bytes += job.bytes;
        self.jobs.push_back(job);
    }

    /// Everything that waits, up to `bytes_max`, at least one.
    pub(super) fn take(&mut self, bytes_max: usize) -> Vec<Job> {
        let mut bytes = 0;
        let mut count = 0;
        for job in &self.jobs {
            bytes += job.bytes;
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        self.jobs.drain(..count).collect()
    }

    /// The writer has answered jobs of so many bytes.
    pub(super) fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether so many more bytes may come in. One job may always wait, whatever its size.
    pub(super) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= bytes_max
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
