//! Opening a log: read every batch, judge what is damaged, cut only what nothing proves was synced.
//!
//! | at the place of the next batch | later in the last segment | verdict |
//! |---|---|---|
//! | nothing: the file ends, or zeros | nothing | clean end |
//! | no batch, or a body that its crc does not know | no batch that says "synced up to here" | torn: the end lies before it |
//! | the same | a batch that says "synced up to here" | corrupt |
//! | anything but a batch | a later segment says that it was there | corrupt |
//!
//! Holds: a batch is written only after the one before it was synced (or says in its header how
//! far the syncs had got), and a segment begins only after all before it was synced. So damage to a
//! synced batch is told from a torn write by what stands behind it. Everything else that is not as
//! written is an error with its place: nothing is repaired, moved or deleted, and the log does not
//! open. Old files are never edited: the end of a torn one stands in the header of the next.
//!
//! What is ambiguous, and called torn: the last batch of a process that crashed. Nothing stands
//! behind it (an orderly end leaves a batch that does), so a torn write and a synced batch that was
//! damaged later look alike. In the second case what was acknowledged is left out; a single node's
//! state that had applied it is then ahead of the log, which stops the node (`Error::Vanished`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::chart::{Chart, Head};
use super::directory::Directory;
use super::entry::{SegmentId, SegmentInfo, Tail};
use super::format::{BatchHeader, FIRST_BATCH_AT, SegmentHeader};
use super::record::Record;
use super::segment::{BodyFault, Found, Segment, Walk};
use crate::disk::Open;
use crate::error::Error;
use crate::ids::Index;

/// A segment and what reading needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) info: SegmentInfo,
    pub(super) salt: u64,
}

/// What the files said.
pub(super) struct Scan {
    pub(super) chart: Chart,
    pub(super) segments: VecDeque<Known>,
    /// The batch to write next.
    pub(super) next_batch: u64,
    /// The header crc of the one before it.
    pub(super) chain: u32,
    pub(super) uuid: [u8; 16],
    pub(super) tail: Tail,
    /// The last segment, if nothing was ever written behind its header.
    pub(super) unused: Option<Segment>,
}

/// Reads the whole log. `None`: there is none.
pub(super) fn scan(directory: &Directory) -> Result<Option<Scan>, Error> {
    let ids = directory.segments()?;
    let Some(last) = ids.last().copied() else {
        return Ok(None);
    };
    settle(directory, last)?;
    let headers = ids
        .iter()
        .map(|id| Ok(Segment::open_to_read(directory, *id)?.header))
        .collect::<Result<Vec<SegmentHeader>, Error>>()?;
    let Some(oldest) = headers.first() else {
        return Ok(None);
    };
    let mut scan = Scan {
        chart: Chart::new(Head {
            marks: oldest.marks,
            first: None,
        }),
        segments: VecDeque::with_capacity(ids.len()),
        next_batch: oldest.first_batch,
        chain: oldest.chain,
        uuid: oldest.uuid,
        tail: Tail::Clean,
        unused: None,
    };
    for (at, header) in headers.iter().enumerate() {
        let end = headers.get(at + 1).map(|next| next.first_batch);
        scan.segment(directory, header, end)?;
    }
    scan.require_no_gap(oldest)?;
    Ok(Some(scan))
}

/// Makes durable what a crashed process left behind, before anybody acts on having read it, and
/// reads it from the device where the system lets us.
fn settle(directory: &Directory, last: SegmentId) -> Result<(), Error> {
    let file = directory.open(last, Open::Write)?;
    file.sync()
        .map_err(Error::io("sync", directory.path_of(last)))?;
    directory.sync()?;
    file.forget_cached()
        .map_err(Error::io("reread", directory.path_of(last)))
}

impl Scan {
    /// Of a log that is not there yet.
    pub(super) fn empty(uuid: [u8; 16]) -> Self {
        Self {
            chart: Chart::default(),
            segments: VecDeque::new(),
            next_batch: 1,
            chain: 0,
            uuid,
            tail: Tail::Clean,
            unused: None,
        }
    }

    /// One segment: up to batch `end` exactly, or (the last one) as far as it goes.
    fn segment(
        &mut self,
        directory: &Directory,
        header: &SegmentHeader,
        end: Option<u64>,
    ) -> Result<(), Error> {
        let id = header.id;
        let corrupt = |offset, what| Error::Corrupt {
            segment: id,
            offset,
            what,
        };
        if header.uuid != self.uuid {
            return Err(corrupt(0, "the file belongs to another log"));
        }
        let is_next = header.first_batch == self.next_batch && header.chain == self.chain;
        if !is_next || header.marks != self.chart.head.marks {
            return Err(corrupt(
                0,
                "the file does not begin where the one before it ends",
            ));
        }
        let segment = Segment::open(directory, id)?;
        let mut walk = Walk::new(&segment).map_err(Error::io("measure", directory.path_of(id)))?;
        let mut last = None;
        while end != Some(self.next_batch) {
            let batch = self
                .batch(&mut walk, id)
                .map_err(Error::io("read", directory.path_of(id)));
            match batch? {
                Step::Batch(header) => {
                    last = header.entries.map(|(_, last)| last).max(last);
                    walk.pass(&header);
                }
                Step::Never(what) => return Err(corrupt(walk.offset, what)),
                Step::Stop(_) if end.is_some() => {
                    return Err(corrupt(walk.offset, "a batch that was synced is not there"));
                }
                Step::Stop(Found::Nothing) => break,
                Step::Stop(_) => {
                    self.judge_tail(directory, &mut walk, id)?;
                    break;
                }
            }
        }
        let info = SegmentInfo {
            id,
            last,
            bytes: walk.offset,
            is_active: false,
        };
        self.segments.push_back(Known {
            info,
            salt: header.salt,
        });
        let is_unused = || segment.file.len().is_ok_and(|len| len == FIRST_BATCH_AT);
        if end.is_none() && walk.offset == FIRST_BATCH_AT && is_unused() {
            self.unused = Some(Segment {
                header: *header,
                file: Arc::clone(&segment.file),
            });
        }
        Ok(())
    }

    /// Takes in the batch at the walk's place, if the expected one is there and whole.
    fn batch(&mut self, walk: &mut Walk<'_>, id: SegmentId) -> std::io::Result<Step> {
        let (header, crc) = match walk.peek()? {
            Found::Batch(header, crc) => (header, crc),
            nothing @ (Found::Nothing | Found::Other) => return Ok(Step::Stop(nothing)),
        };
        if header.seq != self.next_batch || header.chain != self.chain {
            return Ok(Step::Never("a batch stands where another one belongs"));
        }
        let records = match walk.records(&header)? {
            Ok(records) => records,
            Err(BodyFault::Damaged) => return Ok(Step::Stop(Found::Other)),
            Err(BodyFault::Nonsense) => return Ok(Step::Never("records that nobody wrote")),
        };
        if header.entries != range(&records) {
            return Ok(Step::Never(
                "a batch does not carry the entries that its header says",
            ));
        }
        if let Err(what) = self.chart.apply(&records, id, walk.offset) {
            return Ok(Step::Never(what));
        }
        self.next_batch += 1;
        self.chain = crc;
        Ok(Step::Batch(header))
    }

    /// No whole batch at the walk's place in the last segment: called torn, unless a later batch
    /// proves that this one had been synced.
    fn judge_tail(
        &mut self,
        directory: &Directory,
        walk: &mut Walk<'_>,
        segment: SegmentId,
    ) -> Result<(), Error> {
        let offset = walk.offset;
        let read = |error| Error::io("read", directory.path_of(segment))(error);
        let end = walk.file_len().map_err(read)?;
        walk.pass_block();
        while walk.offset < end {
            if let Found::Batch(header, _) = walk.peek_block().map_err(read)?
                && header.synced_upto >= self.next_batch
            {
                let what = "a batch that was synced is damaged";
                return Err(Error::Corrupt {
                    segment,
                    offset,
                    what,
                });
            }
            walk.pass_block();
        }
        walk.offset = offset;
        self.tail = Tail::Torn { segment, offset };
        Ok(())
    }

    /// The oldest file began after `oldest.marks.last`: what lies before it must be purged.
    fn require_no_gap(&self, oldest: &SegmentHeader) -> Result<(), Error> {
        let Head { marks, first } = self.chart.head;
        let purged = marks.purged.map(|id| id.index);
        let is_whole = oldest.marks.last.map(|id| id.index) <= purged
            && match (first, purged) {
                (Some(first), Some(purged)) => first == purged.next(),
                (Some(_), None) => true,
                (None, purged) => marks.last.map(|id| id.index) == purged,
            };
        if is_whole {
            return Ok(());
        }
        let what = "entries before this file are missing and were not purged";
        Err(Error::Corrupt {
            segment: oldest.id,
            offset: 0,
            what,
        })
    }
}

/// First and last index of the entries among `records`.
fn range(records: &[Record]) -> Option<(Index, Index)> {
    let mut indexes = records.iter().filter_map(|record| match record {
        Record::Entry(entry) => Some(entry.id.index),
        Record::Vote(_)
        | Record::TruncateAfter(_)
        | Record::PurgeUpto(_)
        | Record::Committed(_) => None,
    });
    let first = indexes.next()?;
    Some((first, indexes.last().unwrap_or(first)))
}

enum Step {
    Batch(BatchHeader),
    /// Nothing, or something that is no whole batch: judged by what comes later.
    Stop(Found),
    /// Whole and yet wrong: never the work of a crash.
    Never(&'static str),
}
