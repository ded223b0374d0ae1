//! Withheld submissions: kept without a seq until a person says that they are real.
//!
//! Holds: a released submission gets the next seq of its form and is delivered at the position of
//! the release, so it comes after everything that was delivered before; its payload stays where it
//! was. Its row goes with the release, so releasing it again does nothing.

use bytes::Bytes;

use super::places::{Run, Runs};
use super::{Apply, keys};
use crate::command::Release;
use crate::error::Error;
use crate::ids::{FormId, Position, Seq, Slot};
use crate::outcome::Outcome;

impl Apply<'_> {
    /// Keeps the submission in `slot` of this entry.
    pub(super) fn withhold(&mut self, form: FormId, slot: Slot) {
        let position = Position {
            index: self.index,
            slot,
        };
        self.over
            .put_new(keys::withheld(form, position), Bytes::new());
    }

    pub(super) fn release(&mut self, command: &Release) -> Result<Outcome, Error> {
        let form = command.form;
        if self.over.get(&keys::form(form))?.is_none() {
            return Ok(Outcome::Missing);
        }
        let before = self
            .over
            .load(&keys::head(form), "a head")?
            .unwrap_or_default();
        let mut head: Seq = before;
        let mut runs = Runs::default();
        let mut count = 0;
        let horizon = self.horizon()?;
        for source in &command.positions {
            // Its payload may be gone; its row goes too, in its turn.
            if source.index <= horizon {
                continue;
            }
            if !self.over.remove(keys::withheld(form, *source))? {
                continue;
            }
            head = head.next();
            let at = Position {
                index: self.index,
                slot: Slot(count),
            };
            runs.push(
                &mut self.over,
                Run {
                    form,
                    first: head,
                    count: 1,
                    at,
                    source: *source,
                },
            );
            count += 1;
        }
        runs.finish(&mut self.over);
        if head != before {
            self.over.store(keys::head(form), &head)?;
        }
        Ok(Outcome::Released { count })
    }
}
