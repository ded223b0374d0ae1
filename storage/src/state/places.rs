//! Places: where the records of a form lie in the log.
//!
//! Holds: a run is consecutive seqs of one form at consecutive slots of one entry, so a pack of a
//! thousand costs one run, kept both ways: by seq and by position. The runs of a form cover its
//! seqs to its head without hole or overlap, from 1 or from the horizon on, and positions grow with
//! seqs. `source` says where the payload lies; it differs from `at` only for what was withheld first.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::keys;
use super::overlay::Overlay;
use crate::codec;
use crate::error::Error;
use crate::ids::{FormId, Position, Seq, Slot};
use crate::rows::{KeyRange, Read, Side};

/// Records of one form that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) form: FormId,
    pub(crate) first: Seq,
    pub(crate) count: u32,
    /// Where they are delivered.
    pub(crate) at: Position,
    /// Where their payloads lie.
    pub(crate) source: Position,
}

/// By seq: the rest of a run.
#[derive(Serialize, Deserialize)]
struct Place {
    count: u32,
    at: Position,
    /// Only where it is not `at`.
    source: Option<Position>,
}

/// By position: the rest of a run.
#[derive(Serialize, Deserialize)]
struct At {
    form: FormId,
    first: Seq,
    count: u32,
}

impl Run {
    /// The last seq.
    pub(crate) const fn last(&self) -> Seq {
        Seq(self.first.0 + self.count as u64 - 1)
    }

    /// Where record number `nth` of the run is delivered, and where its payload lies.
    pub(crate) const fn nth(&self, nth: u32) -> (Position, Position) {
        (step(self.at, nth), step(self.source, nth))
    }

    /// How many of its records are delivered at or before `after`.
    pub(crate) fn passed(&self, after: Position) -> u32 {
        match self.at.index.cmp(&after.index) {
            Ordering::Less => self.count,
            Ordering::Greater => 0,
            Ordering::Equal => {
                let slots = after.slot.0.checked_sub(self.at.slot.0);
                slots.map_or(0, |slots| slots.saturating_add(1).min(self.count))
            }
        }
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.form == next.form
            && self.last().next() == next.first
            && step(self.at, self.count) == next.at
            && step(self.source, self.count) == next.source
    }
}

const fn step(position: Position, slots: u32) -> Position {
    Position {
        index: position.index,
        slot: Slot(position.slot.0 + slots),
    }
}

/// Joins records into runs while a command is applied.
#[derive(Default)]
pub(super) struct Runs {
    open: Option<Run>,
}

impl Runs {
    /// One more record.
    pub(super) fn push(&mut self, over: &mut Overlay<'_>, next: Run) {
        match &mut self.open {
            Some(open) if open.is_continued_by(&next) => open.count += next.count,
            _ => {
                self.finish(over);
                self.open = Some(next);
            }
        }
    }

    /// Writes the run that is still open.
    pub(super) fn finish(&mut self, over: &mut Overlay<'_>) {
        let Some(Run {
            form,
            first,
            count,
            at,
            source,
        }) = self.open.take()
        else {
            return;
        };
        let source = (source != at).then_some(source);
        over.store_new(keys::place(form, first), &Place { count, at, source });
        over.store_new(keys::at(at), &At { form, first, count });
        if let Some(source) = source {
            over.store_new(keys::released(source), &at);
        }
    }
}

/// Runs of `form` in order, from the one that holds `seq` (else the first after it).
pub(crate) fn scan(
    rows: &dyn Read,
    form: FormId,
    seq: Seq,
    each: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> Result<(), Error> {
    let start = match holding(rows, form, seq)? {
        Some(run) => run.first,
        None => seq,
    };
    rows.scan(
        &keys::places_from(form, start),
        Side::First,
        &mut |key, value| Ok(each(decode(key, value)?)),
    )
}

/// Runs of all forms by position, from the first one that ends after `after`.
pub(crate) fn scan_at(
    rows: &dyn Read,
    after: Position,
    each: &mut dyn FnMut(Run) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let behind = super::overlay::successor(&keys::at(after));
    let before = KeyRange {
        start: vec![keys::AT],
        end: behind.clone(),
    };
    let holding = match rows.end(&before, Side::Last)? {
        Some((key, value)) => {
            let run = decode_at(&key, &value)?;
            (run.passed(after) < run.count).then_some(key)
        }
        None => None,
    };
    let range = KeyRange {
        start: holding.unwrap_or(behind),
        end: vec![keys::AT + 1],
    };
    rows.scan(&range, Side::First, &mut |key, value| {
        each(decode_at(key, value)?)
    })
}

/// The run that holds `seq`.
pub(crate) fn holding(rows: &dyn Read, form: FormId, seq: Seq) -> Result<Option<Run>, Error> {
    let run = at_or_before(rows, form, seq)?;
    Ok(run.filter(|run| run.last() >= seq))
}

/// The first seq that is delivered after `position` and is still there. Walks back from the head in
/// growing steps and then halves, since those who ask are nearly always close to the head.
pub(crate) fn seq_after(
    rows: &dyn Read,
    form: FormId,
    position: Position,
    head: Seq,
) -> Result<Option<Seq>, Error> {
    // Holds: `above` begins a run that comes after `position`, or lies beyond the head.
    let mut above = head.next();
    let mut back = 1;
    // Holds: no seq up to `low` comes after `position`, if it is there at all.
    let mut below = None;
    let mut low = Seq(0);
    while above > Seq(1) {
        let probe = Seq(above.0.saturating_sub(back).max(1));
        back = back.saturating_mul(2);
        match at_or_before(rows, form, probe)? {
            Some(run) if run.at <= position => {
                low = run.last().max(probe);
                below = Some(run);
                break;
            }
            Some(run) => above = run.first,
            // Everything up to here is below the horizon.
            None => {
                low = probe;
                break;
            }
        }
    }
    while low.next() < above {
        let middle = Seq(low.0 + (above.0 - low.0) / 2);
        match at_or_before(rows, form, middle)? {
            Some(run) if run.at > position => above = run.first,
            Some(run) => {
                low = run.last().max(middle);
                below = Some(run);
            }
            None => low = middle,
        }
    }
    let within = below.filter(|run| run.at.index == position.index);
    let next = within.and_then(|run| {
        let passed = run.passed(position);
        (passed < run.count).then(|| Seq(run.first.0 + u64::from(passed)))
    });
    let next = next.unwrap_or(above);
    Ok((next <= head).then_some(next))
}

fn at_or_before(rows: &dyn Read, form: FormId, seq: Seq) -> Result<Option<Run>, Error> {
    let found = rows.end(&keys::places_through(form, seq), Side::Last)?;
    found.map(|(key, value)| decode(&key, &value)).transpose()
}

/// A run by position; where its payload lies only its place by seq tells.
pub(super) fn decode_at(key: &[u8], value: &[u8]) -> Result<Run, Error> {
    let At { form, first, count } = codec::decode_row("a run by position", value)?;
    let at = keys::tail_position(key);
    Ok(Run {
        form,
        first,
        count,
        at,
        source: at,
    })
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Run, Error> {
    let Place { count, at, source } = codec::decode_row("a run", value)?;
    let form = FormId(keys::tail_u32(key, 8));
    let first = Seq(keys::tail_u64(key, 0));
    Ok(Run {
        form,
        first,
        count,
        at,
        source: source.unwrap_or(at),
    })
}
