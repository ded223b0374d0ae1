//! Batches that were read lately: a reader that comes back for the next few entries of one does
//! not read it again.
//!
//! Holds: a batch that carries `index`, in the right segment and not before the chart's point for
//! it, is the batch that counts (see `chart`); so what is kept needs no word from a truncation.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::cost;
use super::entry::{Entry, SegmentId};
use crate::ids::Index;

/// Two of the largest batches that are written by default.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Looking through them is a walk.
const KEPT_COUNT_MAX: usize = 64;

/// The entries of one batch.
pub(super) struct KeptBatch {
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    /// Where the next batch begins.
    pub(super) end: u64,
    pub(super) first: Index,
    pub(super) last: Index,
    pub(super) entries: Vec<Entry>,
}

impl KeptBatch {
    /// The entries from `index` on.
    pub(super) fn from(&self, index: Index) -> &[Entry] {
        let skip = self.entries.partition_point(|entry| entry.id.index < index);
        self.entries.get(skip..).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(cost).sum()
    }
}

#[derive(Default)]
pub(super) struct KeptBatches {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    batches: VecDeque<Arc<KeptBatch>>,
    bytes: usize,
}

impl KeptBatches {
    /// The batch nearest to `index` that begins within `offsets` of the segment: the one that
    /// carries it, or one before it.
    pub(super) fn nearest(
        &self,
        segment: SegmentId,
        offsets: Range<u64>,
        index: Index,
    ) -> Option<Arc<KeptBatch>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.batches
            .iter()
            .filter(|batch| batch.segment == segment && offsets.contains(&batch.offset))
            .filter(|batch| batch.first <= index)
            .max_by_key(|batch| batch.offset)
            .map(Arc::clone)
    }

    /// Keeps a batch; the oldest ones go for it.
    pub(super) fn keep(&self, batch: &Arc<KeptBatch>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += batch.bytes();
        kept.batches.push_back(Arc::clone(batch));
        while kept.batches.len() > 1
            && (kept.bytes > KEPT_BYTES_MAX || kept.batches.len() > KEPT_COUNT_MAX)
        {
            if let Some(oldest) = kept.batches.pop_front() {
                kept.bytes -= oldest.bytes();
            }
        }
    }
}
