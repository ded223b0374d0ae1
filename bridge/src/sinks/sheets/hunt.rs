//! Looks for the record that a destination does not take: half a batch, and half of that.
//!
//! Holds: it ends. Each refusal halves what is sent next, down to one record alone; once that is
//! found, or all that was suspect is there after all, batches are whole again. What was found is
//! remembered until it is passed: it is not sent a second time on the way there.

use crate::record::Position;

#[derive(Clone, Debug, Default)]
pub(super) struct Hunt {
    /// At most so many records at once, while one is looked for.
    records: Option<usize>,
    /// It is not behind here.
    upto: Position,
    found: Option<(Position, String)>,
}

impl Hunt {
    pub(super) fn records_max(&self, otherwise: usize) -> usize {
        self.records
            .map_or(otherwise, |records| records.min(otherwise))
    }

    /// Of `records` that end at `upto`, one is refused.
    pub(super) fn halve(&mut self, records: usize, upto: Position) {
        if self.records.is_none() {
            self.upto = upto;
        }
        self.records = Some((records / 2).max(1));
    }

    /// The one at `which`, sent alone, is it: with the destination's answer.
    pub(super) fn found(&mut self, which: Position, answer: String) {
        self.records = None;
        self.found = Some((which, answer));
    }

    /// What was answered to the record at `which` when it was sent alone.
    pub(super) fn answer(&self, which: Position) -> Option<&str> {
        let found = self.found.as_ref();
        found.and_then(|(found, answer)| (*found == which).then_some(answer.as_str()))
    }

    /// Everything up to here is there.
    pub(super) fn taken(&mut self, upto: Position) {
        if self.upto <= upto {
            self.records = None;
        }
        self.found.take_if(|(found, _)| *found <= upto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> Position {
        Position { index, slot: 0 }
    }

    #[test]
    fn it_ends_at_one_record_and_then_all_go_together_again() {
        let mut hunt = Hunt::default();
        let mut records = 100;
        let mut refusals = 0;
        while records > 1 {
            hunt.halve(records, at(100));
            records = hunt.records_max(2000);
            refusals += 1;
        }
        assert_eq!(refusals, 6);
        hunt.found(at(37), "no".to_owned());
        assert_eq!(hunt.records_max(2000), 2000);
        assert_eq!(
            (hunt.answer(at(37)), hunt.answer(at(38))),
            (Some("no"), None)
        );
        hunt.taken(at(99));
        assert_eq!(hunt.answer(at(37)), None);
    }

    #[test]
    fn what_was_suspect_and_is_there_after_all_ends_it() {
        let mut hunt = Hunt::default();
        hunt.halve(10, at(10));
        hunt.taken(at(5));
        assert_eq!(hunt.records_max(2000), 5);
        hunt.taken(at(10));
        assert_eq!(hunt.records_max(2000), 2000);
    }
}
