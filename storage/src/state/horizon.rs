//! The horizon: what the log may forget, and what the state forgets with it.
//!
//! Holds: the horizon only grows, and never to an entry that is not applied yet. No record above it
//! has its payload below it: one that was withheld first lies far below its place, so the horizon
//! stops short of such a payload until it can pass the record itself. Readers show nothing at or
//! below the horizon from the entry on that set it, whatever is still there; the rows of those
//! records go afterwards, a bounded number a command, and so many that no traffic outruns them.
//! Keys, heads and parked records stay: a retry gets its receipt, and no seq is ever given twice.
//!
//! How old an entry is only state time tells, so ticks leave a mark each time it passes a step:
//! everything up to the mark's entry is at least that old. Old marks are thinned to one an hour,
//! then to one a day, so that there are a few thousand however long the log is kept.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::places;
use super::view::load;
use super::{Apply, StateView, keys};
use crate::codec;
use crate::command::Horizon;
use crate::error::Error;
use crate::ids::{FormId, Index, Position, Seq, Slot};
use crate::outcome::Outcome;
use crate::rows::{KeyRange, Read, Side};

/// Between two marks: ages are judged to ten minutes.
const STEP_MS: u64 = 10 * 60 * 1000;
/// So many steps have their mark; then one in [`HOUR_STEPS`] keeps it.
const FINE_STEPS: u64 = 1024;
const HOUR_STEPS: u64 = 6;
/// So many steps have a mark an hour; then one in [`DAY_STEPS`] keeps it.
const HOURLY_STEPS: u64 = FINE_STEPS * HOUR_STEPS;
const DAY_STEPS: u64 = 24 * HOUR_STEPS;

/// When state time passed a step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Mark {
    index: Index,
    time_ms: u64,
}

/// How far the rows below the horizon are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pruned {
    /// Everything delivered up to here is gone.
    places: Position,
    /// What was withheld below this horizon is gone, of the forms below `form`.
    withheld: Index,
    form: u32,
}

impl Apply<'_> {
    pub(super) fn set_horizon(&mut self, command: &Horizon) -> Result<Outcome, Error> {
        let before = self.horizon()?;
        let applied = Index(self.index.0 - 1);
        let index = short_of_released(self.over.stored(), command.index.min(applied))?;
        if index > before {
            self.over.store(keys::fact_horizon(), &index)?;
        }
        self.prune()?;
        Ok(Outcome::Done)
    }

    pub(super) fn horizon(&mut self) -> Result<Index, Error> {
        let horizon = self.over.load(&keys::fact_horizon(), "the horizon")?;
        Ok(horizon.unwrap_or_default())
    }

    /// Leaves a mark where this tick has passed a step.
    pub(super) fn mark_time(&mut self, before_ms: u64) -> Result<(), Error> {
        let time_ms = self.clock.time_ms;
        let step = time_ms / STEP_MS;
        if step == before_ms / STEP_MS {
            return Ok(());
        }
        let index = self.index;
        self.over
            .store_new(keys::time(step), &Mark { index, time_ms });
        for (kept, every) in [(FINE_STEPS, HOUR_STEPS), (HOURLY_STEPS, DAY_STEPS)] {
            if let Some(old) = step.checked_sub(kept)
                && !old.is_multiple_of(every)
            {
                self.over.remove(keys::time(old))?;
            }
        }
        Ok(())
    }

    /// Removes rows of what lies below the horizon, some a command.
    pub(super) fn prune(&mut self) -> Result<(), Error> {
        let horizon = self.horizon()?;
        if horizon == Index(0) {
            return Ok(());
        }
        let before: Pruned = self
            .over
            .load(&keys::fact_pruned(), "what is pruned")?
            .unwrap_or_default();
        let mut now = before;
        let mut budget = self.rules.prune_rows_max + 2 * self.over.change_count();
        if now.places < end_of(horizon) {
            self.prune_times(horizon, &mut budget)?;
            self.prune_places(horizon, &mut now, &mut budget)?;
        }
        if now.places >= end_of(horizon) && now.withheld < horizon {
            self.prune_withheld(horizon, &mut now, &mut budget)?;
        }
        if now != before {
            self.over.store(keys::fact_pruned(), &now)?;
        }
        Ok(())
    }

    fn prune_times(&mut self, horizon: Index, budget: &mut usize) -> Result<(), Error> {
        let all = KeyRange::prefix(vec![keys::TIME]);
        while *budget > 0
            && let Some((key, value)) = self.over.end(&all, Side::First)?
        {
            let mark: Mark = codec::decode_row("a mark of time", &value)?;
            if mark.index > horizon {
                break;
            }
            self.over.remove(key)?;
            *budget -= 1;
        }
        Ok(())
    }

    fn prune_places(
        &mut self,
        horizon: Index,
        now: &mut Pruned,
        budget: &mut usize,
    ) -> Result<(), Error> {
        let end = super::overlay::successor(&keys::at(end_of(horizon)));
        while *budget > 0 {
            let start = super::overlay::successor(&keys::at(now.places));
            let range = KeyRange {
                start,
                end: end.clone(),
            };
            let Some((key, value)) = self.over.end(&range, Side::First)? else {
                now.places = end_of(horizon);
                return Ok(());
            };
            let run = places::decode_at(&key, &value)?;
            now.places = run.at;
            let place = keys::place(run.form, run.first);
            let by_seq = self.over.get(&place)?.ok_or(Error::Unfit {
                what: "a run has no place by seq",
            })?;
            let source = places::decode(&place, &by_seq)?.source;
            if source != run.at {
                self.over.remove(keys::released(source))?;
            }
            self.over.remove(place)?;
            self.over.remove(key)?;
            *budget = budget.saturating_sub(2);
        }
        Ok(())
    }

    fn prune_withheld(
        &mut self,
        horizon: Index,
        now: &mut Pruned,
        budget: &mut usize,
    ) -> Result<(), Error> {
        let forms: u32 = self
            .over
            .load(&keys::fact_next_form(), "the next form")?
            .unwrap_or(1);
        while *budget > 0 {
            if now.form >= forms {
                (now.withheld, now.form) = (horizon, 0);
                return Ok(());
            }
            let form = FormId(now.form);
            let range = KeyRange {
                start: keys::withheld(form, Position::default()),
                end: super::overlay::successor(&keys::withheld(form, end_of(horizon))),
            };
            let count = self.over.remove_some(&range, *budget)?;
            if count < *budget {
                now.form += 1;
            }
            *budget = budget.saturating_sub(count.max(1));
        }
        Ok(())
    }
}

impl StateView {
    /// What the log may forget: entries at or below.
    pub fn horizon(&self) -> Result<Index, Error> {
        of(&*self.rows())
    }

    /// What a proposal to move the horizon to `index` would make of it.
    pub fn horizon_for(&self, index: Index) -> Result<Index, Error> {
        let rows = self.rows();
        let index = short_of_released(&*rows, index)?;
        Ok(index.max(of(&*rows)?))
    }

    /// The last entry that was applied when state time was `time_ms`, as far as is known: a few
    /// minutes too early where `time_ms` is near, up to a day where it is months ago.
    pub fn applied_at(&self, time_ms: u64) -> Result<Index, Error> {
        applied_at(&*self.rows(), time_ms)
    }

    /// The first seq of `form` above the horizon; behind the head where there is none.
    pub fn oldest_seq(&self, form: FormId) -> Result<Seq, Error> {
        oldest(&*self.rows(), form)
    }

    /// The first record of `form` that is delivered after `position`: its seq, and the entry that
    /// has to stay until it is delivered.
    pub fn undelivered(
        &self,
        form: FormId,
        position: Position,
    ) -> Result<Option<(Seq, Index)>, Error> {
        let rows = self.rows();
        let position = position.max(end_of(of(&*rows)?));
        let head = load(&*rows, &keys::head(form), "a head")?;
        let head = head.unwrap_or_default();
        let Some(seq) = places::seq_after(&*rows, form, position, head)? else {
            return Ok(None);
        };
        let run = places::holding(&*rows, form, seq)?.ok_or(Error::Unfit {
            what: "a seq has no place",
        })?;
        Ok(Some((seq, run.source.index.min(run.at.index))))
    }
}

/// Where it is.
pub(super) fn of(rows: &dyn Read) -> Result<Index, Error> {
    Ok(load(rows, &keys::fact_horizon(), "the horizon")?.unwrap_or_default())
}

/// The first seq of `form` above it; behind the head where there is none.
pub(super) fn oldest(rows: &dyn Read, form: FormId) -> Result<Seq, Error> {
    let horizon = of(rows)?;
    if horizon == Index(0) {
        return Ok(Seq(1));
    }
    let head: Option<Seq> = load(rows, &keys::head(form), "a head")?;
    let head = head.unwrap_or_default();
    let first = places::seq_after(rows, form, end_of(horizon), head)?;
    Ok(first.unwrap_or(head.next()))
}

/// The last position of an entry.
pub(super) const fn end_of(index: Index) -> Position {
    Position {
        index,
        slot: Slot(u32::MAX),
    }
}

/// The greatest horizon up to `index` below which no record's payload lies that is delivered above.
pub(super) fn short_of_released(rows: &dyn Read, index: Index) -> Result<Index, Error> {
    let mut horizon = index;
    let range = KeyRange {
        start: vec![keys::RELEASED],
        end: super::overlay::successor(&keys::released(end_of(index))),
    };
    // From the last payload down: what lies above the horizon by now cannot lower it again.
    rows.scan(&range, Side::Last, &mut |key, value| {
        let at: Position = codec::decode_row("a released run", value)?;
        let source = keys::tail_position(key);
        if source.index <= horizon && horizon < at.index {
            horizon = Index(source.index.0.saturating_sub(1));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(horizon)
}

/// The last entry that was applied when state time was `time_ms`, as far as marks tell.
pub(super) fn applied_at(rows: &dyn Read, time_ms: u64) -> Result<Index, Error> {
    let range = KeyRange {
        start: vec![keys::TIME],
        end: super::overlay::successor(&keys::time(time_ms / STEP_MS)),
    };
    let mut index = Index(0);
    rows.scan(&range, Side::Last, &mut |_, value| {
        let mark: Mark = codec::decode_row("a mark of time", value)?;
        if mark.time_ms > time_ms {
            return Ok(ControlFlow::Continue(()));
        }
        index = mark.index;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(index)
}
