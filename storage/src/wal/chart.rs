//! What the log stands for after a stretch of its stream, and where in the files each entry lies.
//!
//! Holds: [`Head`] is changed by records alone, so the writer, recovery and the callers' view
//! compute the same thing from the same stream. A [`Chart`]'s points grow in index and in place:
//! the first batch at or after the last point at or below an index that carries this index is the
//! one that counts, since a truncation takes the points above it away and the entry that follows
//! gets a point of its own.
//!
//! Why points and not a place for each entry: a point per 64 KiB costs 24 bytes; a log of 100 GB
//! has its chart in 40 MB, and a read scans at most those 64 KiB.
//!
//! A *hole* is a range of entries that were durable and cannot be read. Only a damaged log has any;
//! a repaired entry lies elsewhere, and `repaired` says where.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Range, RangeInclusive};

use super::entry::{Marks, SegmentId};
use super::footer::{Footer, POINT_BYTES};
use super::record::Record;
use crate::ids::{Index, LogId};

/// The log without its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) marks: Marks,
    /// The oldest entry.
    pub(super) first: Option<Index>,
}

impl Head {
    /// What the stream says next. `Err`: no log that kept its promises says this.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::Entry(entry) => self.append(entry.id)?,
            Record::Vote(vote) => self.marks.vote = Some(*vote),
            Record::TruncateAfter(keep) => self.truncate_after(*keep),
            Record::PurgeUpto(upto) => self.purge(*upto),
            Record::Committed(id) => self.marks.committed = Some(*id),
            Record::Repaired(_) => {}
        }
        Ok(())
    }

    pub(super) fn append(&mut self, id: LogId) -> Result<(), &'static str> {
        // An empty log takes its first entry wherever its owner begins to count.
        if let Some(last) = self.marks.last {
            if id.index != last.index.next() {
                return Err("an entry does not follow the one before it");
            }
            if id.term < last.term {
                return Err("an entry is of an older term than the one before it");
            }
        }
        self.first = self.first.or(Some(id.index));
        self.marks.last = Some(id);
        Ok(())
    }

    /// Entries from `first` to `last`, each of which follows the one before it.
    pub(super) fn extend(&mut self, first: LogId, last: LogId) -> Result<(), &'static str> {
        self.append(first)?;
        self.marks.last = Some(last);
        Ok(())
    }

    fn truncate_after(&mut self, keep: Option<LogId>) {
        let keep = keep.max_by_index(self.marks.purged);
        if keep.map(|id| id.index) >= self.marks.last.map(|id| id.index) {
            return;
        }
        self.marks.last = keep;
        self.first = self
            .first
            .filter(|first| keep.is_some_and(|keep| *first <= keep.index));
    }

    fn purge(&mut self, upto: LogId) {
        if self
            .marks
            .purged
            .is_some_and(|purged| upto.index <= purged.index)
        {
            return;
        }
        self.marks.purged = Some(upto);
        if self.marks.last.is_none_or(|last| last.index <= upto.index) {
            self.marks.last = Some(upto);
            self.first = None;
        } else {
            self.first = self.first.map(|first| first.max(upto.index.next()));
        }
    }
}

trait MaxByIndex {
    fn max_by_index(self, other: Self) -> Self;
}

impl MaxByIndex for Option<LogId> {
    fn max_by_index(self, other: Self) -> Self {
        if self.map(|id| id.index) >= other.map(|id| id.index) {
            self
        } else {
            other
        }
    }
}

/// A batch whose first entry is `first` begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) first: Index,
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
}

/// Head and points, as of what is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Chart {
    pub(super) head: Head,
    points: VecDeque<Point>,
    holes: Vec<RangeInclusive<Index>>,
    repaired: BTreeMap<Index, Point>,
    /// The next entry gets a point whatever its place: it follows a truncation.
    has_turned: bool,
}

impl Chart {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    /// Takes in a batch that lies at `offset` of `segment`.
    pub(super) fn apply(
        &mut self,
        records: &[Record],
        segment: SegmentId,
        offset: u64,
    ) -> Result<(), &'static str> {
        let mut has_entries = false;
        for record in records {
            if record.drops_entries() && has_entries {
                return Err("a truncation or purge behind entries of its own batch");
            }
            self.head.apply(record)?;
            match record {
                Record::Entry(entry) if !has_entries => {
                    has_entries = true;
                    self.point(Point {
                        first: entry.id.index,
                        segment,
                        offset,
                    });
                }
                Record::TruncateAfter(_) => {
                    self.has_turned = true;
                    self.forget();
                }
                Record::PurgeUpto(_) => self.forget(),
                Record::Repaired(entry) => {
                    let first = entry.id.index;
                    let point = Point {
                        first,
                        segment,
                        offset,
                    };
                    self.repaired.insert(first, point);
                    // The damaged file may have been believed by its footer: then nobody knows of the hole.
                    if self.hole_over(first).is_none() {
                        self.holes.push(first..=first);
                    }
                }
                Record::Entry(_) | Record::Vote(_) | Record::Committed(_) => {}
            }
        }
        Ok(())
    }

    /// Takes in the entries from `first` to `last` of a batch that lies at `offset` of `segment`, and
    /// whose other records it has taken in.
    pub(super) fn extend(
        &mut self,
        (first, last): (LogId, LogId),
        segment: SegmentId,
        offset: u64,
    ) -> Result<(), &'static str> {
        self.head.extend(first, last)?;
        let first = first.index;
        self.point(Point {
            first,
            segment,
            offset,
        });
        Ok(())
    }

    /// Takes in a sealed segment by what its footer says; the marks come from the next header.
    pub(super) fn apply_footer(&mut self, segment: SegmentId, footer: &Footer, marks: Marks) {
        for (first, offset) in &footer.points {
            while self.points.back().is_some_and(|last| *first <= last.first) {
                self.points.pop_back();
            }
            self.points.push_back(Point {
                first: *first,
                segment,
                offset: *offset,
            });
        }
        self.head = Head {
            marks,
            first: footer.log_first,
        };
        self.has_turned = false;
        self.forget();
    }

    /// Whether repaired entries lie in a segment: a footer does not say where.
    pub(super) fn has_repaired_in(&self, segment: SegmentId) -> bool {
        let mut repaired = self.repaired.values();
        repaired.any(|point| point.segment == segment)
    }

    /// Goes on with the marks of a header, behind what could not be read.
    pub(super) fn adopt(&mut self, marks: Marks) {
        let first = match (self.head.first, marks.purged) {
            (Some(first), Some(purged)) => Some(first.max(purged.index.next())),
            (first, _) => first,
        };
        self.head = Head { marks, first };
        self.has_turned = true;
        self.forget();
    }

    /// Entries behind `keep` had been truncated by a record that could not be read.
    pub(super) fn truncate_after(&mut self, keep: LogId) {
        self.head.truncate_after(Some(keep));
        self.has_turned = true;
        self.forget();
    }

    /// The points of one segment, as its footer keeps them.
    pub(super) fn points_of(&self, segment: SegmentId) -> Vec<(Index, u64)> {
        self.points
            .iter()
            .filter(|point| point.segment == segment)
            .map(|point| (point.first, point.offset))
            .collect()
    }

    /// Everything up to `last` was here and cannot be read.
    pub(super) fn hole_upto(&mut self, last: LogId) {
        let first = self.head.marks.last.map_or(Index(1), |id| id.index.next());
        self.holes.push(first..=last.index);
        self.head.first = self.head.first.or(Some(first));
        self.head.marks.last = Some(last);
        self.has_turned = true;
    }

    /// These were here and can no longer be read.
    pub(super) fn lose(&mut self, hole: RangeInclusive<Index>) {
        self.holes.push(hole);
        self.forget();
    }

    /// The repaired copy of an entry can no longer be read either.
    pub(super) fn lose_copy(&mut self, index: Index) {
        self.repaired.remove(&index);
    }

    /// Where the log's entries in one segment lie: from an offset on, those of a range.
    pub(super) fn ranges_in(&self, segment: SegmentId) -> Vec<(u64, Range<Index>)> {
        let (Some(first), Some(last)) = (self.head.first, self.head.marks.last) else {
            return Vec::new();
        };
        let ends = self.points.iter().skip(1).map(|point| point.first);
        let ends = ends.chain(std::iter::once(last.index.next()));
        let ranges = self.points.iter().zip(ends);
        ranges
            .filter(|(point, _)| point.segment == segment)
            .map(|(point, end)| (point.offset, point.first.max(first)..end))
            .filter(|(_, range)| !range.is_empty())
            .collect()
    }

    /// The repaired copies that lie in one segment: entry and offset.
    pub(super) fn repaired_in(&self, segment: SegmentId) -> impl Iterator<Item = (Index, u64)> {
        let repaired = self.repaired.iter();
        let here = repaired.filter(move |(_, point)| point.segment == segment);
        here.map(|(index, point)| (*index, point.offset))
    }

    /// The hole that `index` lies in, repaired or not.
    pub(super) fn hole_over(&self, index: Index) -> Option<&RangeInclusive<Index>> {
        self.holes.iter().find(|hole| hole.contains(&index))
    }

    /// The parts of `range` that lie in no hole, repaired or not.
    pub(super) fn sound(&self, range: Range<Index>) -> Vec<Range<Index>> {
        let mut holes: Vec<_> = self.holes.iter().collect();
        holes.sort_unstable_by_key(|hole| *hole.start());
        let (mut sound, mut at) = (Vec::new(), range.start);
        for hole in holes {
            sound.push(at..range.end.min(*hole.start()));
            at = at.max(hole.end().next());
        }
        sound.push(at..range.end);
        sound.retain(|part| !part.is_empty());
        sound
    }

    /// Entries that lie in holes and that nobody has repaired.
    pub(super) fn lost(&self) -> Vec<RangeInclusive<Index>> {
        let mut lost: Vec<RangeInclusive<Index>> = Vec::new();
        for hole in &self.holes {
            let mut at = *hole.start();
            for repaired in self.repaired.range(hole.clone()).map(|(index, _)| *index) {
                if at < repaired {
                    lost.push(at..=Index(repaired.0 - 1));
                }
                at = repaired.next();
            }
            if at <= *hole.end() {
                lost.push(at..=*hole.end());
            }
        }
        lost
    }

    /// The hole that `index` lies in, if nobody has repaired it.
    pub(super) fn hole_at(&self, index: Index) -> Option<&RangeInclusive<Index>> {
        let hole = self.hole_over(index)?;
        (!self.repaired.contains_key(&index)).then_some(hole)
    }

    /// Where the repaired copy of an entry lies.
    pub(super) fn repaired_at(&self, index: Index) -> Option<Point> {
        self.repaired.get(&index).copied()
    }

    /// The first index behind `index` that lies somewhere else: in a hole, repaired or not.
    pub(super) fn next_break(&self, index: Index) -> Option<Index> {
        let holes = self.holes.iter().map(|hole| *hole.start());
        let behind = self.holes.iter().map(|hole| hole.end().next());
        holes.chain(behind).filter(|at| index < *at).min()
    }

    fn point(&mut self, point: Point) {
        let is_needed = self.points.back().is_none_or(|last| {
            last.segment != point.segment || last.offset + POINT_BYTES <= point.offset
        });
        if is_needed || self.has_turned {
            self.points.push_back(point);
            self.has_turned = false;
        }
    }

    /// Drops the points that truncation or purge made useless.
    fn forget(&mut self) {
        let Some(last) = self.head.marks.last.filter(|_| self.head.first.is_some()) else {
            self.points.clear();
            self.holes.clear();
            self.repaired.clear();
            return;
        };
        let first = self.head.first.unwrap_or_default();
        self.holes.retain_mut(|hole| {
            *hole = *hole.start()..=(*hole.end()).min(last.index);
            first <= *hole.end() && !hole.is_empty()
        });
        self.repaired
            .retain(|index, _| first <= *index && *index <= last.index);
        while self
            .points
            .back()
            .is_some_and(|point| point.first > last.index)
        {
            self.points.pop_back();
        }
        while self
            .points
            .get(1)
            .is_some_and(|second| second.first <= first)
        {
            self.points.pop_front();
        }
    }

    /// Where to begin looking for `index`, and the first index that has a point of its own behind.
    pub(super) fn locate(&self, index: Index) -> Option<(Point, Option<Index>)> {
        let after = self.points.partition_point(|point| point.first <= index);
        let point = *self.points.get(after.checked_sub(1)?)?;
        Some((point, self.points.get(after).map(|next| next.first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sound_and_the_holes_are_all_there_is() {
        let holes = [(5, 5), (30, 40), (9, 12), (11, 20)];
        let holes = holes.map(|(first, last)| Index(first)..=Index(last));
        let chart = Chart {
            holes: holes.to_vec(),
            ..Chart::default()
        };
        for (from, to) in (0..50).flat_map(|from| (from..50).map(move |to| (from, to))) {
            let sound = chart.sound(Index(from)..Index(to));
            let one_by_one: Vec<_> = (from..to)
                .map(Index)
                .filter(|index| chart.hole_over(*index).is_none())
                .collect();
            let listed = sound.iter().flat_map(|part| part.start.0..part.end.0);
            assert_eq!(one_by_one, listed.map(Index).collect::<Vec<_>>());
            assert!(sound.len() <= 4, "{sound:?}");
        }
        let endless = chart.sound(Index(41)..Index(u64::MAX));
        assert_eq!(1, endless.len(), "{endless:?}");
        assert_eq!(Some(&(Index(41)..Index(u64::MAX))), endless.first());
    }
}
