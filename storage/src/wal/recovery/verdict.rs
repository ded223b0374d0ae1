//! What it means that the next batch is not whole: the table in `recovery`, line by line.
//!
//! Holds: nothing durable is called torn; what is whole of a write in doubt is kept; a walk over
//! damage goes on at the next thing that is whole, and what lies between is reported.

use super::{End, Scan, range};
use crate::ids::{Index, LogId, NodeId, Term};
use crate::wal::damage::{Damage, Floor};
use crate::wal::entry::SegmentId;
use crate::wal::format::{BatchHeader, SegmentHeader};
use crate::wal::record::Record;
use crate::wal::salvage;
use crate::wal::segment::Walk;

impl Scan {
    /// No whole batch at the walk's place: what does it mean?
    pub(super) fn judge(
        &mut self,
        walk: &mut Walk<'_>,
        at: Place<'_>,
        bad: &Bad,
    ) -> std::io::Result<Judged> {
        let expected = self.next_batch;
        let is_proof =
            |header: &BatchHeader| expected < header.seq && expected <= header.synced_upto;
        let is_durable = !at.is_last
            || bad.is_never
            || walk.is_short
            || self.clean_end.is_some_and(|end| expected <= end)
            || walk.find_later(&is_proof)?.is_some();
        if is_durable {
            return self.resume(walk, at, bad);
        }
        let (segment, offset) = (at.header.id, walk.offset);
        let later = walk.find_later(&|header| expected < header.seq)?;
        let is_clean = bad.is_nothing && later.is_none();
        self.end = Some(End {
            header: *at.header,
            offset,
            is_clean,
        });
        if later.is_some() {
            self.findings.push(Damage::Unsynced { segment, offset });
            self.raise_floor(Floor::Unknown);
        } else if !bad.is_nothing {
            self.doubt(walk, segment, bad)?;
        }
        Ok(Judged {
            goes_on: false,
            last: None,
        })
    }

    /// The last write is not whole: what is whole of it is kept.
    fn doubt(&mut self, walk: &mut Walk<'_>, id: SegmentId, bad: &Bad) -> std::io::Result<()> {
        let mut lost = None;
        if let Some((header, _)) = &bad.header {
            let (salt, mut head) = (header.salt, self.chart.head);
            let mut records = salvage::beginning(salt, header, walk.body(header)?);
            let fit = records
                .iter()
                .take_while(|record| head.apply(record).is_ok());
            let fit = fit.count();
            records.truncate(fit);
            let kept = range(&records).map(|(_, last)| last);
            lost = header
                .entries
                .map(|(first, last)| kept.map_or(first, Index::next)..=last);
            self.salvaged = records;
        }
        let has_heard = self.chart.head.marks;
        match (&bad.header, &lost) {
            (None, _) => self.raise_floor(Floor::Unknown),
            (Some(_), Some(entries)) if !entries.is_empty() => {
                let term = has_heard.vote.map_or(Term(0), |vote| vote.term);
                let term = has_heard.last.map_or(term, |last| term.max(last.term));
                self.raise_floor(Floor::Upto(LogId {
                    term,
                    node: NodeId(u32::MAX),
                    index: *entries.end(),
                }));
            }
            (Some(_), _) => {}
        }
        self.findings.push(Damage::Tail {
            segment: id,
            offset: walk.offset,
            entries: lost.filter(|entries| !entries.is_empty()),
        });
        Ok(())
    }

    /// A durable batch is damaged: goes on with the next thing that is whole.
    fn resume(&mut self, walk: &mut Walk<'_>, at: Place<'_>, bad: &Bad) -> std::io::Result<Judged> {
        let (segment, offset) = (at.header.id, walk.offset);
        if let Some((header, crc)) = bad.header {
            let records = salvage::all(header.salt, &header, walk.body(&header)?);
            self.take_salvaged(&header, &records, (segment, offset), bad.what);
            self.next_batch += 1;
            self.chain = crc;
            walk.pass(&header);
            return Ok(Judged {
                goes_on: true,
                last: header.entries.map(|(_, last)| last),
            });
        }
        self.findings.push(Damage::Segment {
            segment,
            offset,
            what: bad.what,
        });
        self.has_gap = true;
        let expected = self.next_batch;
        let end = at.next.map_or(u64::MAX, |next| next.first_batch);
        let later = walk.find_later(&|header| (expected + 1..end).contains(&header.seq))?;
        let Some((offset, header)) = later else {
            return Ok(Judged {
                goes_on: false,
                last: None,
            });
        };
        walk.offset = offset;
        self.next_batch = header.seq;
        self.chain = header.chain;
        Ok(Judged {
            goes_on: true,
            last: None,
        })
    }

    /// The whole records of a damaged batch; entries between them are holes.
    fn take_salvaged(
        &mut self,
        header: &BatchHeader,
        records: &[Record],
        (segment, offset): (SegmentId, u64),
        what: &'static str,
    ) {
        let count = |is_entry: bool| {
            let is_one = |record: &&Record| matches!(record, Record::Entry(_)) == is_entry;
            records.iter().filter(is_one).count() as u64
        };
        let entries_said = header
            .entries
            .map_or(0, |(first, last)| (last.0 - first.0).saturating_add(1));
        if count(false) + entries_said < u64::from(header.record_count) {
            let what = "records beside entries are damaged";
            self.findings.push(Damage::Segment {
                segment,
                offset,
                what,
            });
            // One of them may have been the truncation that made room for the entries.
            self.has_gap = true;
        }
        self.bridge_gap(header, segment, offset);
        for record in records {
            if let Record::Entry(entry) = record {
                let last = self.chart.head.marks.last;
                let due = last.map_or(Index(1), |last| last.index.next());
                if due < entry.id.index {
                    let before = LogId {
                        index: Index(entry.id.index.0 - 1),
                        ..last.unwrap_or_default()
                    };
                    self.lose_upto(before, segment, offset, what);
                }
            }
            if let Err(what) = self
                .chart
                .apply(std::slice::from_ref(record), segment, offset)
            {
                self.findings.push(Damage::Segment {
                    segment,
                    offset,
                    what,
                });
            }
        }
        if let Some((_, end)) = header.entries
            && self
                .chart
                .head
                .marks
                .last
                .is_none_or(|last| last.index < end)
        {
            let last = self.chart.head.marks.last.unwrap_or_default();
            self.lose_upto(LogId { index: end, ..last }, segment, offset, what);
        }
    }
}

/// Something that is not the next batch, whole.
pub(super) struct Bad {
    /// How it shows, if it was durable.
    pub(super) what: &'static str,
    /// The header is that of the next batch; its body is damaged.
    pub(super) header: Option<(BatchHeader, u32)>,
    /// Nothing was written there.
    pub(super) is_nothing: bool,
    /// Whole and yet wrong: never the work of a crash.
    pub(super) is_never: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) header: &'a SegmentHeader,
    pub(super) next: Option<&'a SegmentHeader>,
    pub(super) is_last: bool,
}

pub(super) struct Judged {
    pub(super) goes_on: bool,
    /// The largest index of entries that were there.
    pub(super) last: Option<Index>,
}
