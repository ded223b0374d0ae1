//! Opening a log: read it, and say of everything that is not whole what it is.
//!
//! | at the place of the next batch | what else is known | verdict |
//! |---|---|---|
//! | nothing: zeros, or the file ends | nothing | clean end |
//! | the same | a later batch, none that says "synced up to here" | unsynced: the end lies before it |
//! | anything but the batch | a later batch that says "synced up to here"; a later segment; an orderly end at a later batch; the file is shorter than it was made | corrupt |
//! | no whole batch | later batches, none that says "synced up to here" | unsynced: the end lies before it |
//! | no whole batch | nothing | in doubt: cut off by a crash, or damaged after it was acknowledged |
//!
//! Holds: a batch is written only after the one before it was synced (or says in its header how far
//! the syncs had got), and a segment begins only after all before it was synced. So damage to a
//! synced batch is told from a torn write by what stands behind it. Old files are never edited: the
//! end of a torn one stands in the header of the next. What is in doubt is never dropped in silence: its whole records are
//! kept, the rest is reported with the floor below which this node must not help to elect anybody.
//!
//! Corrupt batches do not end the walk: it goes on with what is whole, and what lies between is a
//! hole in the chart. Whether a log with holes may be used is for the caller to say.
//!
//! A sealed segment is believed by its footer where that agrees with the next header, which spares
//! reading it (`verify = "tail"`); its batches are checked when they are read, and by the scrubber.

mod verdict;

use std::collections::{BTreeSet, VecDeque};

use super::chart::{Chart, Head};
use super::damage::{Damage, Floor};
use super::directory::Directory;
use super::entry::{SegmentId, SegmentInfo};
use super::format::{BatchHeader, FIRST_BATCH_AT, SegmentHeader};
use super::hardstate::HardState;
use super::record::Record;
use super::segment::{BodyFault, Found, Segment, Walk};
use crate::config::Verify;
use crate::disk::Open;
use crate::error::Error;
use crate::ids::{Index, LogId};
use verdict::{Bad, Place};

/// A segment and what reading needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) info: SegmentInfo,
    pub(super) salt: u64,
    /// The file's length; 0 where it is not fixed.
    pub(super) len: u64,
    /// The header crc of the batch that ends at `info.bytes`.
    pub(super) chain: u32,
    /// Set aside instead of removed when it is purged.
    pub(super) is_damaged: bool,
}

/// Where the last segment ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) header: SegmentHeader,
    pub(super) offset: u64,
    /// Behind it lie zeros, or the bytes of an older life of the file.
    pub(super) is_clean: bool,
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
    pub(super) findings: Vec<Damage>,
    pub(super) floor: Option<Floor>,
    /// Whole records of a last write that is in doubt; to be written again.
    pub(super) salvaged: Vec<Record>,
    pub(super) end: Option<End>,
    clean_end: Option<u64>,
    verify: Verify,
    /// Segments whose footers are not believed.
    marked: BTreeSet<SegmentId>,
    /// Batches before the next one could not be read: it need not follow what was.
    has_gap: bool,
}

/// Reads the whole log. `None`: there is none.
pub(super) fn scan(
    directory: &Directory,
    hard: Option<&HardState>,
    verify: Verify,
    marked: BTreeSet<SegmentId>,
) -> Result<Option<Scan>, Error> {
    let ids = directory.segments()?;
    let Some(last) = ids.last().copied() else {
        return match hard {
            Some(hard) if hard.has_log => Err(corrupt(SegmentId(1), 0, "all segments are gone")),
            Some(_) | None => Ok(None),
        };
    };
    settle(directory, last)?;
    let (headers, findings) = read_headers(directory, &ids)?;
    let Some(oldest) = headers.first() else {
        return Err(corrupt(last, 0, "no segment has a whole header"));
    };
    let mut scan = Scan {
        chart: Chart::new(Head {
            marks: oldest.marks,
            first: None,
        }),
        segments: VecDeque::with_capacity(ids.len()),
        next_batch: oldest.first_batch,
        chain: oldest.chain,
        clean_end: hard.and_then(|hard| hard.clean_end),
        verify,
        marked,
        has_gap: false,
        ..Scan::empty(oldest.uuid)
    };
    scan.has_gap = false;
    scan.findings = findings;
    let mut ids = ids.into_iter().peekable();
    for (at, header) in headers.iter().enumerate() {
        // A file whose header cannot be read keeps its place and its name until it is purged.
        while let Some(unread) = ids.next_if(|id| *id < header.id) {
            scan.know_unread(unread, header.marks.last);
        }
        ids.next();
        let next = headers
            .get(at + 1)
            .filter(|next| next.id == header.id.next());
        scan.segment(directory, header, next, last)?;
    }
    for unread in ids {
        scan.know_unread(unread, None);
    }
    let is_end_read = headers.last().is_some_and(|header| header.id == last);
    if !is_end_read || scan.has_gap {
        scan.raise_floor(Floor::Unknown);
    }
    scan.require_no_gap(oldest)?;
    Ok(Some(scan))
}

fn corrupt(segment: SegmentId, offset: u64, what: &'static str) -> Error {
    Error::Corrupt {
        segment,
        offset,
        what,
    }
}

/// The headers that can be read, and findings for the others and for missing files.
fn read_headers(
    directory: &Directory,
    ids: &[SegmentId],
) -> Result<(Vec<SegmentHeader>, Vec<Damage>), Error> {
    let mut headers = Vec::with_capacity(ids.len());
    let mut findings = Vec::new();
    let mut before: Option<SegmentId> = None;
    for id in ids {
        if let Some(missing) = before.map(SegmentId::next).filter(|next| next != id) {
            findings.push(Damage::Segment {
                segment: missing,
                offset: 0,
                what: "the file is missing",
            });
        }
        before = Some(*id);
        match Segment::open(directory, *id) {
            Ok(segment) => headers.push(segment.header),
            Err(Error::Corrupt {
                segment,
                offset,
                what,
            }) => findings.push(Damage::Segment {
                segment,
                offset,
                what,
            }),
            Err(error) => return Err(error),
        }
    }
    Ok((headers, findings))
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
            findings: Vec::new(),
            floor: None,
            salvaged: Vec::new(),
            end: None,
            clean_end: None,
            verify: Verify::Full,
            marked: BTreeSet::new(),
            has_gap: false,
        }
    }

    pub(super) fn raise_floor(&mut self, floor: Floor) {
        self.floor = Some(self.floor.map_or(floor, |before| before.max(floor)));
    }

    /// One segment: up to where the next one begins, or (the last one) as far as it goes.
    fn segment(
        &mut self,
        directory: &Directory,
        header: &SegmentHeader,
        next: Option<&SegmentHeader>,
        last_id: SegmentId,
    ) -> Result<(), Error> {
        let id = header.id;
        if header.uuid != self.uuid {
            return Err(corrupt(id, 0, "the file belongs to another log"));
        }
        self.follow(header);
        let segment = Segment::open(directory, id)?;
        if let Some(next) = next
            && self.verify == Verify::Tail
            && !self.marked.contains(&id)
            && let Some(footer) = segment.footer()
            && (footer.next_batch, footer.chain) == (next.first_batch, next.chain)
        {
            self.chart.apply_footer(id, &footer, next.marks);
            self.next_batch = footer.next_batch;
            self.chain = footer.chain;
            self.know(header, footer.last, footer.end, false);
            return Ok(());
        }
        let findings_before = self.findings.len();
        let read = |error| Error::io("read", directory.path_of(id))(error);
        let mut walk = Walk::new(&segment).map_err(read)?;
        let mut last = None;
        while next.is_none_or(|next| self.next_batch < next.first_batch) {
            match self.batch(&mut walk, id).map_err(read)? {
                Step::Batch(header) => {
                    last = header.entries.map(|(_, last)| last).max(last);
                    walk.pass(&header);
                }
                Step::Bad(bad) => {
                    let at = Place {
                        header,
                        next,
                        is_last: id == last_id,
                    };
                    let judged = self.judge(&mut walk, at, &bad).map_err(read)?;
                    last = judged.last.max(last);
                    if !judged.goes_on {
                        break;
                    }
                }
            }
        }
        let is_damaged = self.findings.iter().skip(findings_before);
        let is_damaged = is_damaged.into_iter().any(Damage::is_corruption);
        self.know(header, last, walk.offset, is_damaged);
        Ok(())
    }

    fn know(&mut self, header: &SegmentHeader, last: Option<Index>, end: u64, is_damaged: bool) {
        let info = SegmentInfo {
            id: header.id,
            last,
            bytes: end,
            is_active: false,
        };
        let len = if header.is_fixed() {
            header.segment_len
        } else {
            0
        };
        self.segments.push_back(Known {
            info,
            salt: header.salt,
            len,
            chain: self.chain,
            is_damaged,
        });
    }

    fn know_unread(&mut self, id: SegmentId, last: Option<LogId>) {
        let info = SegmentInfo {
            id,
            last: last.map(|last| last.index),
            bytes: 0,
            is_active: false,
        };
        self.segments.push_back(Known {
            info,
            salt: 0,
            len: 0,
            chain: 0,
            is_damaged: true,
        });
    }

    /// A segment that does not begin where the walk stands: what lies between is lost.
    fn follow(&mut self, header: &SegmentHeader) {
        let is_next = (header.first_batch, header.chain) == (self.next_batch, self.chain)
            && header.marks == self.chart.head.marks
            && !self.has_gap;
        if is_next {
            return;
        }
        let segment = header.id;
        if self.findings.is_empty() {
            let what = "the file does not begin where the one before it ends";
            self.findings.push(Damage::Segment {
                segment,
                offset: 0,
                what,
            });
        }
        if let Some(last) = header.marks.last
            && Some(last.index) > self.chart.head.marks.last.map(|id| id.index)
        {
            self.lose_upto(last, segment, 0, "a file before this one is damaged");
        }
        self.chart.adopt(header.marks);
        self.next_batch = header.first_batch;
        self.chain = header.chain;
        self.has_gap = false;
    }

    fn lose_upto(&mut self, last: LogId, segment: SegmentId, offset: u64, what: &'static str) {
        let first = self
            .chart
            .head
            .marks
            .last
            .map_or(Index(1), |id| id.index.next());
        // A header may say that it carries entry 0, which nobody writes.
        if last.index < first {
            return;
        }
        self.chart.hole_upto(last);
        self.findings.push(Damage::Entries {
            segment,
            offset,
            entries: first..=last.index,
            what,
        });
    }

    /// Takes in the batch at the walk's place, if the expected one is there and whole.
    fn batch(&mut self, walk: &mut Walk<'_>, id: SegmentId) -> std::io::Result<Step> {
        let bad = |what, is_never| {
            Step::Bad(Bad {
                what,
                header: None,
                is_nothing: false,
                is_never,
            })
        };
        let (header, crc) = match walk.peek()? {
            Found::Batch(header, crc) => (header, crc),
            Found::Nothing => {
                return Ok(Step::Bad(Bad {
                    what: "a batch that was synced is not there",
                    header: None,
                    is_nothing: true,
                    is_never: false,
                }));
            }
            Found::Other => return Ok(bad("a batch that was synced is damaged", false)),
        };
        if header.seq != self.next_batch || header.chain != self.chain {
            return Ok(bad("a batch stands where another one belongs", true));
        }
        let records = match walk.records(&header)? {
            Ok(records) => records,
            Err(BodyFault::Damaged) => {
                return Ok(Step::Bad(Bad {
                    what: "a batch that was synced is damaged",
                    header: Some((header, crc)),
                    is_nothing: false,
                    is_never: false,
                }));
            }
            Err(BodyFault::Nonsense) => return Ok(bad("records that nobody wrote", true)),
        };
        if header.entries != range(&records) {
            let what = "a batch does not carry the entries that its header says";
            return Ok(bad(what, true));
        }
        self.bridge_gap(&header, id, walk.offset);
        if let Err(what) = self.chart.apply(&records, id, walk.offset) {
            return Ok(bad(what, true));
        }
        self.next_batch += 1;
        self.chain = crc;
        Ok(Step::Batch(header))
    }

    /// Behind batches that could not be read: entries that are not there are lost, and entries that
    /// come again had been truncated.
    fn bridge_gap(&mut self, header: &BatchHeader, segment: SegmentId, offset: u64) {
        let Some((first, _)) = header.entries.filter(|_| self.has_gap) else {
            return;
        };
        self.has_gap = false;
        let Some(last) = self.chart.head.marks.last else {
            return;
        };
        let before = LogId {
            index: Index(first.0.saturating_sub(1)),
            ..last
        };
        if last.index < before.index {
            self.lose_upto(
                before,
                segment,
                offset,
                "a batch before this one is damaged",
            );
        } else if before.index < last.index {
            self.chart.truncate_after(before);
        }
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
        Err(corrupt(oldest.id, 0, what))
    }
}

/// First and last index of the entries among `records`.
fn range(records: &[Record]) -> Option<(Index, Index)> {
    let mut indexes = records.iter().filter_map(Record::entry_index);
    let first = indexes.next()?;
    Some((first, indexes.last().unwrap_or(first)))
}

/// Whether the last segment was never written behind its header and can be used as it is.
pub(super) fn is_unused(end: &End) -> bool {
    end.is_clean && end.header.is_fixed() && end.offset == FIRST_BATCH_AT
}

enum Step {
    Batch(BatchHeader),
    Bad(Bad),
}
