//! What a log tells of itself.
//!
//! Holds: nothing here touches the disk or changes anything; what is told may be a moment old.

use std::ops::RangeInclusive;

use super::Wal;
use super::damage::{Damage, Floor};
use super::entry::{Health, Marks, SegmentInfo, Vote};
use super::mode::WriteMode;
use super::scrub::ScrubReport;
use crate::command::Policy;
use crate::ids::{Index, LogId};
use crate::metrics::WalMetrics;

impl Wal {
    /// The last vote.
    pub fn vote(&self) -> Option<Vote> {
        self.marks().vote
    }

    /// The last known commit.
    pub fn committed(&self) -> Option<LogId> {
        self.marks().committed
    }

    /// The oldest entry.
    pub fn first(&self) -> Option<Index> {
        self.handle.core.state().head.first
    }

    /// The newest entry; what was purged last if there is none.
    pub fn last(&self) -> Option<LogId> {
        self.marks().last
    }

    /// What was purged last.
    pub fn purged(&self) -> Option<LogId> {
        self.marks().purged
    }

    pub(super) fn marks(&self) -> Marks {
        self.handle.core.state().head.marks
    }

    /// Which log this is: thrown when it was made.
    pub fn uuid(&self) -> [u8; 16] {
        self.handle.core.uuid
    }

    /// How durable an acknowledged entry is.
    pub fn policy(&self) -> Policy {
        self.handle.core.state().policy
    }

    /// Whether it still takes entries.
    pub fn health(&self) -> Health {
        let core = &self.handle.core;
        if let Some(reason) = core.poison.reason() {
            return Health::Poisoned(reason.to_string());
        }
        core.pool.shortage().map_or(Health::Ok, Health::Full)
    }

    /// How batches reach the disk under `always`.
    pub fn write_mode(&self) -> WriteMode {
        self.handle.core.mode()
    }

    /// What was found that is not as it was written: at open, by reads and by the scrubber.
    pub fn findings(&self) -> Vec<Damage> {
        self.handle.core.state().findings.clone()
    }

    /// Entries that were durable and cannot be read, in ranges; [`Self::repair`] fills them.
    pub fn lost(&self) -> Vec<RangeInclusive<Index>> {
        self.handle.core.state().chart.lost()
    }

    /// How many those are.
    pub fn holes(&self) -> u64 {
        let lens = self.lost().into_iter();
        lens.map(|range| range.end().0 - range.start().0 + 1).sum()
    }

    /// The amnesia floor, if this node has one.
    pub fn floor(&self) -> Option<Floor> {
        self.handle.core.state().floor
    }

    /// How far the scrubber has come.
    pub fn scrubbed(&self) -> ScrubReport {
        self.handle.core.scrub.report()
    }

    /// How much was written since the entry at `index`, and at most what lies between two points of
    /// the chart (64 KiB) and the entry's own batch more.
    pub fn bytes_behind(&self, index: Index) -> u64 {
        let state = self.handle.core.state();
        let from = state.chart.locate(index).map(|(point, _)| point);
        let segments = state.segments.iter().map(|known| known.info);
        segments
            .map(|segment| match from {
                Some(from) if segment.id < from.segment => 0,
                Some(from) if segment.id == from.segment => {
                    segment.bytes.saturating_sub(from.offset)
                }
                _ => segment.bytes,
            })
            .sum()
    }

    /// The files, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.handle
            .core
            .state()
            .segments
            .iter()
            .map(|known| known.info)
            .collect()
    }

    /// Its numbers.
    pub fn metrics(&self) -> &WalMetrics {
        &self.handle.core.metrics
    }
}
