//! Parked records as a lane sees them: what it has set aside, and what comes a second time.
//!
//! Holds: a record that a person asked for once more comes at the position of the entry that says so,
//! and once a life: where that life gets it from the log at its own place, it does not come again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge::{FeedError, Held, Lane, Position};
use storage::{FormId, Index, ParkedMark, ParkedRecord, Seq, Slot, TaskRow};

use super::covered::Covered;
use super::{LogFeed, again};

/// Records that are delivered a second time and come with one read: they are held beside its limit.
pub(super) const UNPARKED_MAX: usize = 16;

impl LogFeed {
    /// What of the lane a person asked to have delivered a second time, at most [`UNPARKED_MAX`]. Each
    /// comes at the position of the entry that says so, which carries nothing else.
    pub(super) fn unparked_after(
        &self,
        lane: &Lane,
        forms: &Covered,
        after: Position,
    ) -> Result<Vec<bridge::Record>, FeedError> {
        let (mut found, mut index) = (Vec::new(), Index(after.index));
        while found.len() < UNPARKED_MAX {
            let rows = self.view.unparked(&lane.task, index, UNPARKED_MAX);
            let rows = rows.map_err(again)?;
            let Some((last, _)) = rows.last() else {
                break;
            };
            index = *last;
            let task = self.task(lane)?;
            let of_lane = rows.into_iter().filter_map(|(index, row)| {
                let form = forms.names.get(&row.form)?;
                if !comes_again(&task, row.incarnation, row.position) {
                    return None;
                }
                Some(again_at(index, form, row.record))
            });
            found.extend(of_lane);
        }
        found.truncate(UNPARKED_MAX);
        Ok(found)
    }

    /// What the life `incarnation` has parked of the lane between two positions.
    pub(super) fn marks(
        &self,
        lane: &Lane,
        incarnation: u64,
        (after, upto): (storage::Position, storage::Position),
    ) -> Result<Vec<ParkedMark>, FeedError> {
        let marks = self.view.parked_marks(&lane.task, after, upto);
        let mut marks = marks.map_err(again)?;
        if !marks.is_empty() {
            let forms = self.covers.get(lane)?;
            marks.retain(|mark| {
                mark.incarnation.0 == incarnation && forms.names.contains_key(&mark.form)
            });
        }
        Ok(marks)
    }

    /// What the records of a lane that keeps its forms in order must not pass: of each form the first that
    /// is parked, and all that are to come again behind `after`.
    pub(super) fn held_after(
        &self,
        lane: &Lane,
        incarnation: u64,
        after: Position,
    ) -> Result<Vec<Held>, FeedError> {
        let all = (
            storage::Position::default(),
            storage::Position {
                index: Index(u64::MAX),
                slot: Slot(u32::MAX),
            },
        );
        let forms = self.covers.get(lane)?;
        let mut first: BTreeMap<FormId, Seq> = BTreeMap::new();
        for mark in self.marks(lane, incarnation, all)? {
            let seq = first.entry(mark.form).or_insert(mark.seq);
            *seq = mark.seq.min(*seq);
        }
        let to_come = self.view.unparked_marks(&lane.task, Index(after.index));
        let to_come = to_come.map_err(again)?;
        let task = self.task(lane)?;
        let to_come = to_come.into_iter().filter_map(|(index, mark)| {
            let comes = comes_again(&task, mark.incarnation, mark.position);
            let until = Position {
                index: index.0,
                slot: 0,
            };
            comes.then_some((mark.form, mark.seq, Some(until)))
        });
        let parked = first.into_iter().map(|(form, seq)| (form, seq, None));
        let held = parked.chain(to_come).filter_map(|(form, seq, until)| {
            Some(Held {
                form: Arc::clone(forms.names.get(&form)?),
                seq: seq.0,
                until,
            })
        });
        Ok(held.collect())
    }
}

/// Whether a record that the life `parked_by` parked at `position`, and a person asked for once more,
/// comes in the task's present life at the entry that says so. If it lies behind that life's start, the
/// life has got it from the log at its own place already, unless it has parked it there itself.
fn comes_again(task: &TaskRow, parked_by: Index, position: storage::Position) -> bool {
    parked_by == task.incarnation || position <= task.start
}

/// A parked record that entry `index` delivers again.
fn again_at(index: Index, form: &Arc<str>, kept: ParkedRecord) -> bridge::Record {
    bridge::Record {
        form: Arc::clone(form),
        seq: kept.seq.0,
        position: Position {
            index: index.0,
            slot: 0,
        },
        term: kept.term.0,
        id: uuid::Uuid::from_bytes(kept.id).to_string(),
        received_at_ms: kept.received_ms,
        form_version: kept.form_version,
        body: kept.body,
        is_replay: true,
    }
}
