//! Reading entries: from memory where they are recent, else from the files.
//!
//! Holds: what is returned was in the log at some moment of the call, in order and without holes;
//! bytes from a file are returned only after their crc was checked on the copy, and only if the batch
//! behind them names theirs as the one before it: a whole batch in another one's place is noticed. Files are read
//! without any lock, so a purge or a truncation never waits for a reader.

use std::ops::Range;
use std::sync::Arc;

use super::cache::cost;
use super::core::{Core, State};
use super::entry::{Entry, SegmentId};
use super::kept::KeptBatch;
use super::record::Record;
use super::recovery::Known;
use super::salvage;
use super::segment::{BodyFault, Found, Walk};
use super::survey;
use crate::disk::{File, Open};
use crate::error::Error;
use crate::ids::Index;

/// How much is read at once: a whole stretch between two points of the chart, and a block.
const WINDOW_LEN: usize = 68 << 10;
/// A read of so many bytes is a scan.
const SCAN_BYTES: usize = 1 << 20;

/// What is being collected.
struct Out {
    entries: Vec<Entry>,
    bytes_max: usize,
    bytes_left: usize,
}

impl Out {
    /// Adds an entry; false: there is no room for it. The first one always has room.
    fn push(&mut self, entry: Entry) -> bool {
        let cost = cost(&entry);
        if !self.entries.is_empty() && cost > self.bytes_left {
            self.bytes_left = 0;
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(cost);
        self.entries.push(entry);
        true
    }
}

/// A stretch of a file that has the entries from some index on.
pub(super) struct Stretch {
    pub(super) segment: SegmentId,
    salt: u64,
    offset: u64,
    /// How far the file was written when the stretch was chosen.
    offset_end: u64,
    /// The header crc of the batch that ends there.
    chain_end: u32,
    /// The first entry wanted of it.
    pub(super) start: Index,
    /// Behind it lies what another stretch, or memory, has.
    pub(super) end: Index,
    /// It is the repaired copy of one entry.
    is_repaired: bool,
    /// Part of a long read of a sealed segment.
    is_scan: bool,
}

impl Stretch {
    /// From `offset` of a segment on, the entries of `range`.
    pub(super) const fn of(known: &Known, offset: u64, range: Range<Index>) -> Self {
        Self {
            segment: known.info.id,
            salt: known.salt,
            offset,
            offset_end: known.info.bytes,
            chain_end: known.chain,
            start: range.start,
            end: range.end,
            is_repaired: false,
            is_scan: false,
        }
    }
}

/// A walk from the beginning of a stretch on.
pub(super) fn walk<'a>(file: &'a dyn File, stretch: &Stretch) -> Walk<'a> {
    Walk::at(file, stretch.salt, stretch.offset, WINDOW_LEN)
}

/// Reads the repaired copy of a stretch's one entry.
pub(super) fn repaired(core: &Core, stretch: &Stretch) -> Result<Entry, Error> {
    let file = core.directory.open(stretch.segment, Open::Read)?;
    find_repaired(core, stretch, &mut walk(&*file, stretch))
}

enum Next {
    Done,
    Read(Stretch),
}

/// Entries of `range` that the log has, about `bytes_max` of them, one at least if there is one.
pub(super) fn read(
    core: &Core,
    range: Range<Index>,
    bytes_max: usize,
) -> Result<Vec<Entry>, Error> {
    let mut out = Out {
        entries: Vec::new(),
        bytes_max,
        bytes_left: bytes_max,
    };
    let mut at = range.start;
    loop {
        match next(core, at..range.end, &mut out)? {
            Next::Done => return Ok(out.entries),
            Next::Read(stretch) => match read_stretch(core, &stretch, &mut out) {
                Ok(true) => at = stretch.end,
                Ok(false) => return Ok(out.entries),
                Err(error) => refuse_if_purged(core, at, &out, (stretch.segment, error))?,
            },
        }
        if let Some(last) = out.entries.last() {
            at = at.max(last.id.index.next());
        }
    }
}

/// Takes from memory what is there and says where the rest lies.
fn next(core: &Core, range: Range<Index>, out: &mut Out) -> Result<Next, Error> {
    let state = core.state();
    let head = state.head;
    if let Some(purged) = head
        .marks
        .purged
        .filter(|purged| range.start <= purged.index)
    {
        let is_begun = !out.entries.is_empty();
        let first = purged.index.next();
        return if is_begun {
            Ok(Next::Done)
        } else {
            Err(Error::Purged { first })
        };
    }
    let (Some(first), Some(last)) = (head.first, head.marks.last) else {
        return Ok(Next::Done);
    };
    let start = range.start.max(first);
    let end = range.end.min(last.index.next());
    if start >= end {
        return Ok(Next::Done);
    }
    let cached_from = state.cache.first().unwrap_or(last.index.next());
    if cached_from <= start {
        for entry in state.cache.range(start..end) {
            if !out.push(entry.clone()) {
                break;
            }
        }
        return Ok(Next::Done);
    }
    if let Some(hole) = state.chart.hole_at(start) {
        let (first, last) = (*hole.start(), *hole.end());
        let is_begun = !out.entries.is_empty();
        return if is_begun {
            Ok(Next::Done)
        } else {
            Err(Error::Damaged { first, last })
        };
    }
    let end = end.min(cached_from);
    let found = stretch(&state, start..end, SCAN_BYTES <= out.bytes_max);
    found.map(Next::Read).ok_or_else(|| Error::Corrupt {
        segment: state
            .segments
            .back()
            .map_or_else(SegmentId::default, |known| known.info.id),
        offset: 0,
        what: "an entry that the files' headers promise is in none of them",
    })
}

/// The stretch of a file that has the entries from `range.start` on.
/// `None`: headers that are whole promise it, and no file has it.
fn stretch(state: &State, range: Range<Index>, is_scan: bool) -> Option<Stretch> {
    let start = range.start;
    let repaired = state.chart.repaired_at(start);
    let located = match repaired {
        Some(point) => Some((point, Some(start.next()))),
        None => state.chart.locate(start),
    };
    let (point, next_point) = located?;
    let known = state
        .segments
        .iter()
        .find(|known| known.info.id == point.segment);
    let end = range.end;
    let end = next_point.map_or(end, |next| next.min(end));
    let end = state.chart.next_break(start).map_or(end, |at| at.min(end));
    let known = known?;
    Some(Stretch {
        is_repaired: repaired.is_some(),
        is_scan: is_scan && !known.info.is_active,
        ..Stretch::of(known, point.offset, start..end)
    })
}

/// Reads a stretch up to its end. False: `out` is full before that.
fn read_stretch(core: &Core, stretch: &Stretch, out: &mut Out) -> Result<bool, Error> {
    let file = core.files.get(core, stretch.segment, stretch.is_scan)?;
    let mut walk = walk(&*file, stretch);
    if stretch.is_repaired {
        let entry = find_repaired(core, stretch, &mut walk)?;
        return Ok(out.push(entry));
    }
    let mut at = stretch.start;
    while at < stretch.end {
        let kept = core
            .kept
            .nearest(stretch.segment, walk.offset..stretch.offset_end, at);
        walk.offset = kept.as_ref().map_or(walk.offset, |kept| kept.end);
        let batch = if let Some(batch) = kept.filter(|kept| at <= kept.last) {
            batch
        } else {
            core.metrics.disk_reads.inc();
            let batch = Arc::new(find(core, stretch, &mut walk, at)?);
            core.kept.keep(&batch);
            batch
        };
        let entries = batch.from(at);
        if entries.first().map(|entry| entry.id.index) != Some(at) {
            return Err(corrupt(&batch, "an entry of a damaged batch is not whole"));
        }
        for entry in entries
            .iter()
            .take_while(|entry| entry.id.index < stretch.end)
        {
            if entry.id.index != at {
                break;
            }
            if !out.push(entry.clone()) {
                return Ok(false);
            }
            at = entry.id.index.next();
        }
    }
    Ok(true)
}

/// The batch that carries `index`, at the walk's place or behind it; the walk goes on after it.
pub(super) fn find(
    core: &Core,
    stretch: &Stretch,
    walk: &mut Walk<'_>,
    index: Index,
) -> Result<KeptBatch, Error> {
    let segment = stretch.segment;
    let read = |error| Error::io("read", core.directory.path_of(segment))(error);
    loop {
        let offset = walk.offset;
        let corrupt = |what| Error::Corrupt {
            segment,
            offset,
            what,
        };
        let Found::Batch(header, crc) = walk.peek().map_err(read)? else {
            return Err(corrupt("a batch that was written is not there"));
        };
        let Some((first, last)) = header.entries.filter(|(_, last)| index <= *last) else {
            walk.pass(&header);
            continue;
        };
        let records = match walk.records(&header).map_err(read)? {
            Ok(records) => records,
            Err(BodyFault::Damaged) => {
                let (salt, body) = (header.salt, walk.body(&header).map_err(read)?);
                salvage::all(salt, &header, body)
            }
            Err(BodyFault::Nonsense) => return Err(corrupt("records that nobody wrote")),
        };
        walk.pass(&header);
        if chain_behind(stretch, walk)
            .map_err(read)?
            .is_some_and(|chain| chain != crc)
        {
            return Err(corrupt("another batch stands where this one was written"));
        }
        let entries: Vec<Entry> = records.into_iter().filter_map(Record::into_entry).collect();
        let is_inside = entries
            .iter()
            .all(|entry| (first..=last).contains(&entry.id.index));
        if index < first || !is_inside {
            return Err(corrupt("an entry is not where it was written"));
        }
        return Ok(KeptBatch {
            segment,
            offset,
            end: walk.offset,
            first,
            last,
            entries,
        });
    }
}

/// What follows the walk's place says of the batch before it; `None`: what follows is not whole.
fn chain_behind(stretch: &Stretch, walk: &mut Walk<'_>) -> std::io::Result<Option<u32>> {
    if stretch.offset_end <= walk.offset {
        return Ok((stretch.offset_end == walk.offset).then_some(stretch.chain_end));
    }
    Ok(match walk.peek()? {
        Found::Batch(next, _) => Some(next.chain),
        Found::Nothing | Found::Other => None,
    })
}

/// The repaired copy of the stretch's one entry.
fn find_repaired(core: &Core, stretch: &Stretch, walk: &mut Walk<'_>) -> Result<Entry, Error> {
    let read = |error| Error::io("read", core.directory.path_of(stretch.segment))(error);
    core.metrics.disk_reads.inc();
    if let Found::Batch(header, _) = walk.peek().map_err(read)?
        && let Ok(records) = walk.records(&header).map_err(read)?
    {
        for record in records {
            if let Record::Repaired(entry) = record
                && entry.id.index == stretch.start
            {
                return Ok(entry);
            }
        }
    }
    Err(Error::Corrupt {
        segment: stretch.segment,
        offset: stretch.offset,
        what: "a repaired entry is not where it was written",
    })
}

fn corrupt(batch: &KeptBatch, what: &'static str) -> Error {
    Error::Corrupt {
        segment: batch.segment,
        offset: batch.offset,
        what,
    }
}

/// An error of a file that a purge took away under the reader is no error of the file. Of any other
/// that says that bytes are gone, a hole is left.
fn refuse_if_purged(
    core: &Core,
    at: Index,
    out: &Out,
    (segment, error): (SegmentId, Error),
) -> Result<(), Error> {
    let next = out.entries.last().map_or(at, |entry| entry.id.index.next());
    let purged = core.state().head.marks.purged;
    if purged.is_some_and(|purged| next <= purged.index) {
        return Ok(());
    }
    if !survey::is_damage(&error) {
        return Err(error);
    }
    if let Error::Corrupt { offset, what, .. } = &error {
        survey::note(core, segment, *offset, what);
    } else {
        survey::note(core, segment, 0, "the device cannot read it");
    }
    // If it is a hole by now, the next step says so, or ends before it.
    let is_hole = core.state().chart.hole_at(next).is_some();
    if is_hole { Ok(()) } else { Err(error) }
}
