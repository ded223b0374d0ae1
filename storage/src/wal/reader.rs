//! Reading entries: from memory where they are recent, else from the files.
//!
//! Holds: what is returned was in the log at some moment of the call, in order and without holes;
//! bytes from a file are returned only after their crc was checked on the copy. Files are read
//! without any lock, so a purge or a truncation never waits for a reader.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::cost;
use super::core::Core;
use super::entry::{Entry, SegmentId};
use super::kept::KeptBatch;
use super::record::Record;
use super::recovery::Known;
use super::segment::{Found, Walk};
use crate::disk::{File, Open};
use crate::error::Error;
use crate::ids::Index;

/// How much is read at once: a whole stretch between two points of the chart, and a block.
const WINDOW_LEN: usize = 68 << 10;
/// How many files stay open for reading.
const OPEN_FILES_MAX: usize = 16;

/// Files that were read lately, the latest last.
#[derive(Default)]
pub(super) struct OpenFiles {
    files: Mutex<Vec<(SegmentId, Arc<dyn File>)>>,
}

impl OpenFiles {
    fn get(&self, core: &Core, id: SegmentId) -> Result<Arc<dyn File>, Error> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.iter().position(|(open, _)| *open == id);
        let file = match found.map(|at| files.remove(at)) {
            Some((_, file)) => file,
            None => core.directory.open(id, Open::Read)?,
        };
        if files.len() >= OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push((id, Arc::clone(&file)));
        Ok(file)
    }

    /// The file is gone.
    pub(super) fn forget(&self, id: SegmentId) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(open, _)| *open != id);
    }
}

/// What is being collected.
struct Out {
    entries: Vec<Entry>,
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
struct Stretch {
    segment: SegmentId,
    salt: u64,
    offset: u64,
    /// How far the file was written when the stretch was chosen.
    offset_end: u64,
    /// The first entry wanted of it.
    start: Index,
    /// Behind it lies what another stretch, or memory, has.
    end: Index,
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
        bytes_left: bytes_max,
    };
    let mut at = range.start;
    loop {
        match next(core, at..range.end, &mut out)? {
            Next::Done => return Ok(out.entries),
            Next::Read(stretch) => match read_stretch(core, &stretch, &mut out) {
                Ok(true) => at = stretch.end,
                Ok(false) => return Ok(out.entries),
                Err(error) => refuse_if_purged(core, at, &out, error)?,
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
    let located = state.chart.locate(start);
    assert!(
        located.is_some(),
        "entry {start} is neither in memory nor in a file"
    );
    let Some((point, next_point)) = located else {
        return Ok(Next::Done);
    };
    let known = state
        .segments
        .iter()
        .find(|known| known.info.id == point.segment);
    assert!(known.is_some(), "entry {start} lies in a file that is gone");
    let Some(Known { info, salt }) = known.copied() else {
        return Ok(Next::Done);
    };
    let end = next_point
        .map_or(end, |next| next.min(end))
        .min(cached_from);
    Ok(Next::Read(Stretch {
        segment: point.segment,
        salt,
        offset: point.offset,
        offset_end: info.bytes,
        start,
        end,
    }))
}

/// Reads a stretch up to its end. False: `out` is full before that.
fn read_stretch(core: &Core, stretch: &Stretch, out: &mut Out) -> Result<bool, Error> {
    let file = core.files.get(core, stretch.segment)?;
    let mut walk = Walk::at(&*file, stretch.salt, stretch.offset, WINDOW_LEN);
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
            let batch = Arc::new(find(core, stretch.segment, &mut walk, at)?);
            core.kept.keep(&batch);
            batch
        };
        for entry in batch
            .from(at)
            .iter()
            .take_while(|entry| entry.id.index < stretch.end)
        {
            if !out.push(entry.clone()) {
                return Ok(false);
            }
            at = entry.id.index.next();
        }
    }
    Ok(true)
}

/// The batch that carries `index`, at the walk's place or behind it; the walk goes on after it.
fn find(
    core: &Core,
    segment: SegmentId,
    walk: &mut Walk<'_>,
    index: Index,
) -> Result<KeptBatch, Error> {
    let read = |error| Error::io("read", core.directory.path_of(segment))(error);
    loop {
        let offset = walk.offset;
        let corrupt = |what| Error::Corrupt {
            segment,
            offset,
            what,
        };
        let Found::Batch(header, _) = walk.peek().map_err(read)? else {
            return Err(corrupt("a batch that was written is not there"));
        };
        let Some((first, last)) = header.entries.filter(|(_, last)| index <= *last) else {
            walk.pass(&header);
            continue;
        };
        let Ok(records) = walk.records(&header).map_err(read)? else {
            return Err(corrupt("a batch that was written is damaged"));
        };
        walk.pass(&header);
        let entries: Vec<Entry> = records.into_iter().filter_map(Record::into_entry).collect();
        let indexes = entries.iter().map(|entry| entry.id.index.0);
        if index < first || !indexes.eq(first.0..=last.0) {
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

/// An error of a file that a purge took away under the reader is no error of the file.
fn refuse_if_purged(core: &Core, at: Index, out: &Out, error: Error) -> Result<(), Error> {
    let next = out.entries.last().map_or(at, |entry| entry.id.index.next());
    let purged = core.state().head.marks.purged;
    if purged.is_some_and(|purged| next <= purged.index) {
        Ok(())
    } else {
        Err(error)
    }
}
