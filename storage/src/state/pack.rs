//! A pack: what becomes of each submission.
//!
//! Holds: only here does a submission become a record. Slots are judged in their order, and each
//! one sees what those before it did. The order of questions is a promise to clients: the key
//! first, so that a retry finds its receipt whatever has become of the form; then the form; then
//! room for the key; and only what is accepted moves a head.

use std::collections::BTreeMap;

use super::dedupe::{self, Keys};
use super::places::{Run, Runs};
use super::sessions::Turn;
use super::{Apply, forms, keys};
use crate::codec::{WirePack, WireSubmission};
use crate::error::Error;
use crate::ids::{FormId, Position, Seq, Slot};
use crate::mutants::{self, Mutant};
use crate::outcome::{Outcome, PackOutcome, SlotOutcome};

/// A form as the slots of one pack see it.
struct Target {
    /// `None`: there is no such form.
    form: Option<forms::Form>,
    head: Seq,
    head_before: Seq,
}

/// What one pack gathers.
struct Taking {
    targets: BTreeMap<FormId, Target>,
    runs: Runs,
    keys: Keys,
    /// Rows of old keys that may still go in this command.
    expiry_budget: usize,
}

impl Apply<'_> {
    pub(super) fn submit(&mut self, pack: &WirePack<'_>) -> Result<Outcome, Error> {
        match self.turn(pack.sender(), pack.number)? {
            Turn::Next => {}
            Turn::Answered(outcome) => return Ok(outcome),
        }
        let key_count = pack
            .submissions
            .iter()
            .filter(|each| each.key.is_some())
            .count();
        let mut taking = Taking {
            targets: BTreeMap::new(),
            runs: Runs::default(),
            keys: Keys::default(),
            // Expiry keeps up with what comes in, however much that is.
            expiry_budget: self.rules.expiry_rows_max + 2 * key_count,
        };
        if key_count > 0 {
            self.expire(&mut taking.expiry_budget)?;
        }
        let mut slots = Vec::with_capacity(pack.submissions.len());
        for (slot, submission) in (0..).map(Slot).zip(&pack.submissions) {
            slots.push(self.slot(&mut taking, slot, submission)?);
        }
        taking.runs.finish(&mut self.over);
        taking.keys.finish(self);
        for (form, target) in taking.targets {
            if target.head != target.head_before {
                self.over.store(keys::head(form), &target.head)?;
            }
        }
        self.prune()?;
        let outcome = PackOutcome {
            index: self.index,
            terms: self.terms,
            slots,
        };
        self.taken(pack.sender(), pack.number, &outcome)?;
        Ok(Outcome::Pack(outcome))
    }

    fn slot(
        &mut self,
        taking: &mut Taking,
        slot: Slot,
        submission: &WireSubmission<'_>,
    ) -> Result<SlotOutcome, Error> {
        let key = submission
            .key
            .filter(|_| !mutants::is(Mutant::SkipIdempotency));
        if let Some(key) = key {
            if dedupe::text_of(key).len() > dedupe::KEY_BYTES_MAX {
                return Ok(SlotOutcome::KeyReused);
            }
            if let Some((digest, placed)) = taking.keys.look(self, submission.form(), key)? {
                if digest == submission.digest {
                    return Ok(SlotOutcome::Duplicate(placed));
                }
                if mutants::is(Mutant::ShowRefused) {
                    self.accept(taking, slot, submission)?;
                }
                return Ok(SlotOutcome::KeyReused);
            }
        }
        match &self.target(taking, submission.form())?.form {
            None => return Ok(SlotOutcome::FormUnknown),
            Some(form) if !(1..=form.version).contains(&submission.form_version) => {
                return Ok(SlotOutcome::FormUnknown);
            }
            Some(form) if form.is_retired => return Ok(SlotOutcome::FormRetired),
            Some(_) => {}
        }
        if let Some(key) = key
            && !taking.keys.has_room(self, key, &mut taking.expiry_budget)?
        {
            return Ok(SlotOutcome::KeysFull);
        }
        let seq = if submission.is_withheld {
            self.withhold(submission.form(), slot);
            None
        } else {
            Some(self.accept(taking, slot, submission)?)
        };
        if let Some(key) = key {
            taking.keys.note(self, key, submission, seq);
        }
        Ok(seq.map_or(SlotOutcome::Withheld, |seq| SlotOutcome::Accepted { seq }))
    }

    /// Gives a submission the next seq of its form, and its place.
    fn accept(
        &mut self,
        taking: &mut Taking,
        slot: Slot,
        submission: &WireSubmission<'_>,
    ) -> Result<Seq, Error> {
        let form = submission.form();
        let target = self.target(taking, form)?;
        if mutants::is(Mutant::SeqHole) && target.head.0 % 50 == 49 {
            target.head = target.head.next();
        }
        target.head = target.head.next();
        let first = target.head;
        if !(mutants::is(Mutant::DropSlot) && first.0.is_multiple_of(50)) {
            let at = Position {
                index: self.index,
                slot,
            };
            taking.runs.push(
                &mut self.over,
                Run {
                    form,
                    first,
                    count: 1,
                    at,
                    source: at,
                },
            );
        }
        Ok(first)
    }

    fn target<'t>(
        &mut self,
        taking: &'t mut Taking,
        form: FormId,
    ) -> Result<&'t mut Target, Error> {
        match taking.targets.entry(form) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(unknown) => {
                let row = self.over.load(&keys::form(form), "a form")?;
                let head = self
                    .over
                    .load(&keys::head(form), "a head")?
                    .unwrap_or_default();
                Ok(unknown.insert(Target {
                    form: row,
                    head,
                    head_before: head,
                }))
            }
        }
    }
}
