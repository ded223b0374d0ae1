//! Parked records: what a destination will never take, kept with body and reason.
//!
//! Holds: a record is parked once in a task's life, by the life that the command names; its body
//! outlives the log. Unparking moves it from "parked" to "delivered again at that entry's
//! position"; there it stays as long as the log keeps that entry, so that a seek back finds it like
//! anything else. What an earlier life has parked is forgotten when the present one has passed it:
//! the log has given it out once more.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::overlay::{get_pieces, successor};
use super::{Apply, keys};
use crate::codec;
use crate::command::{Park, ParkedRecord, Unpark};
use crate::error::Error;
use crate::ids::{FormId, Index, Position, Seq, Slot};
use crate::outcome::Outcome;
use crate::rows::{KeyRange, Read, Side};

/// Longer words are cut: a row has a limit and a destination's answer has none.
const REASON_BYTES_MAX: usize = 1024;
const ANSWER_BYTES_MAX: usize = 2048;

/// A record that a destination will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRow {
    /// The record.
    pub position: Position,
    /// Its form.
    pub form: FormId,
    /// The task's life that parked it.
    pub incarnation: Index,
    /// The entry that parked it.
    pub parked_at: Index,
    /// Why.
    pub reason: String,
    /// The destination's last answer.
    pub answer: String,
    /// The record itself.
    pub record: ParkedRecord,
}

/// A parked record without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedMark {
    /// Where it is parked.
    pub position: Position,
    /// Its form.
    pub form: FormId,
    /// Its number within the form.
    pub seq: Seq,
    /// The task's life that parked it.
    pub incarnation: Index,
}

/// A parked record's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parked {
    form: FormId,
    incarnation: Index,
    since: Index,
    reason: String,
    answer: String,
    /// Its body lies in pieces; here it is empty.
    record: ParkedRecord,
    body_len: u64,
}

/// The row of a record that is delivered again: as it was parked, and where it lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unparked {
    position: Position,
    parked: Parked,
}

impl Apply<'_> {
    pub(super) fn park(&mut self, command: &Park) -> Result<Outcome, Error> {
        let Some(task) = self.task(&command.task)? else {
            return Ok(Outcome::Missing);
        };
        if task.incarnation != command.incarnation || command.position.index >= self.index {
            return Ok(Outcome::Fenced);
        }
        let old_len = match self.parked(task.born, command.position)? {
            Some(old) => old.body_len(),
            None => 0,
        };
        let parked = Parked {
            form: command.form,
            incarnation: command.incarnation,
            since: self.index,
            reason: cut(&command.reason, REASON_BYTES_MAX),
            answer: cut(&command.answer, ANSWER_BYTES_MAX),
            record: ParkedRecord {
                body: Bytes::new(),
                ..command.record.clone()
            },
            body_len: command.record.body.len() as u64,
        };
        let body = keys::parked_body(task.born, command.position);
        self.over.put_pieces(&body, &command.record.body, old_len)?;
        self.over
            .store(keys::parked(task.born, command.position), &parked)?;
        Ok(Outcome::Done)
    }

    pub(super) fn unpark(&mut self, command: &Unpark) -> Result<Outcome, Error> {
        let Some(task) = self.task(&command.task)? else {
            return Ok(Outcome::Missing);
        };
        let Some(parked) = self.parked(task.born, command.position)? else {
            return Ok(Outcome::Missing);
        };
        self.over
            .remove(keys::parked(task.born, command.position))?;
        let from = keys::parked_body(task.born, command.position);
        let body = get_pieces(|key| self.over.get(key), &from, parked.body_len())?;
        self.over.put_pieces(&from, &[], body.len())?;
        self.over
            .put_pieces(&unparked_body(task.born, self.index), &body, 0)?;
        let row = Unparked {
            position: command.position,
            parked,
        };
        self.over
            .store_new(keys::unparked(task.born, self.index), &row);
        // The lanes look again: no form's head moves by it.
        self.has_new_definitions = true;
        Ok(Outcome::Done)
    }

    /// Forgets what was delivered again at or before `to`, and whose entry the log may forget; a few a
    /// command, the rest with the next.
    pub(super) fn drop_unparked(
        &mut self,
        task: Index,
        form: Option<FormId>,
        to: Position,
    ) -> Result<(), Error> {
        let end = keys::unparked(task, to.index.min(self.horizon()?).next());
        let mut range = KeyRange {
            start: keys::unparked(task, Index(0)),
            end,
        };
        for _ in 0..self.rules.expiry_rows_max {
            let Some((key, value)) = self.over.end(&range, Side::First)? else {
                break;
            };
            range.start = successor(&key);
            let row: Unparked = codec::decode_row("an unparked record", &value)?;
            if form.is_some_and(|form| form != row.parked.form) {
                continue;
            }
            let body = unparked_body(task, Index(keys::tail_u64(&key, 0)));
            self.over.put_pieces(&body, &[], row.parked.body_len())?;
            self.over.remove(key)?;
        }
        Ok(())
    }

    /// Forgets what an earlier life than `life` has parked between `from` and `to`: this one has just
    /// delivered it, or parked it itself. No life begins below the horizon, so the log held all of it.
    pub(super) fn drop_passed(
        &mut self,
        (task, life): (Index, Index),
        form: Option<FormId>,
        (from, to): (Position, Position),
    ) -> Result<(), Error> {
        let mut rest = between(task, from, to);
        while let Some((key, value)) = self.over.end(&rest, Side::First)? {
            rest.start = successor(&key);
            let parked: Parked = codec::decode_row("a parked record", &value)?;
            if parked.incarnation == life || form.is_some_and(|form| form != parked.form) {
                continue;
            }
            let body = keys::parked_body(task, keys::tail_position(&key));
            self.over.put_pieces(&body, &[], parked.body_len())?;
            self.over.remove(key)?;
        }
        Ok(())
    }

    fn parked(&mut self, task: Index, position: Position) -> Result<Option<Parked>, Error> {
        self.over
            .load(&keys::parked(task, position), "a parked record")
    }
}

impl Parked {
    fn body_len(&self) -> usize {
        usize::try_from(self.body_len).unwrap_or(usize::MAX)
    }

    const fn mark(&self, position: Position) -> ParkedMark {
        ParkedMark {
            position,
            form: self.form,
            seq: self.record.seq,
            incarnation: self.incarnation,
        }
    }

    fn into_row(self, position: Position, body: Bytes) -> ParkedRow {
        ParkedRow {
            position,
            form: self.form,
            incarnation: self.incarnation,
            parked_at: self.since,
            reason: self.reason,
            answer: self.answer,
            record: ParkedRecord {
                body,
                ..self.record
            },
        }
    }
}

/// Where the body lies that entry `index` delivers again: its own copy, since the record may be
/// parked once more before that. No submission has this slot.
fn unparked_body(task: Index, index: Index) -> Vec<u8> {
    keys::parked_body(
        task,
        Position {
            index,
            slot: Slot(u32::MAX),
        },
    )
}

/// At most `len_max` bytes of `text`, ending between two characters.
fn cut(text: &str, len_max: usize) -> String {
    let mut len = text.len().min(len_max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    text.get(..len).unwrap_or_default().to_owned()
}

/// Keys of what is parked after `from`, up to `to`.
fn between(task: Index, from: Position, to: Position) -> KeyRange {
    KeyRange {
        start: successor(&keys::parked(task, from)),
        end: successor(&keys::parked(task, to)),
    }
}

/// What a task has parked after `from`, up to `to`.
pub(crate) fn marks(
    rows: &dyn Read,
    task: Index,
    (from, to): (Position, Position),
) -> Result<Vec<ParkedMark>, Error> {
    let mut found = Vec::new();
    rows.scan(&between(task, from, to), Side::First, &mut |key, value| {
        let parked: Parked = codec::decode_row("a parked record", value)?;
        found.push(parked.mark(keys::tail_position(key)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// What a task delivers again behind entry `after`: the entry, and what was parked where.
pub(crate) fn unparked_marks(
    rows: &dyn Read,
    task: Index,
    after: Index,
) -> Result<Vec<(Index, ParkedMark)>, Error> {
    let range = KeyRange {
        start: successor(&keys::unparked(task, after)),
        end: successor(&keys::unparked(task, Index(u64::MAX))),
    };
    let mut found = Vec::new();
    rows.scan(&range, Side::First, &mut |key, value| {
        let row: Unparked = codec::decode_row("an unparked record", value)?;
        let index = Index(keys::tail_u64(key, 0));
        found.push((index, row.parked.mark(row.position)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Parked records of a task, after a position.
pub(crate) fn list(
    rows: &dyn Read,
    task: Index,
    after: Position,
    count_max: usize,
) -> Result<Vec<ParkedRow>, Error> {
    let last = Position {
        index: Index(u64::MAX),
        slot: Slot(u32::MAX),
    };
    let range = between(task, after, last);
    let mut found = Vec::new();
    rows.scan(&range, Side::First, &mut |key, value| {
        if found.len() == count_max {
            return Ok(ControlFlow::Break(()));
        }
        let parked: Parked = codec::decode_row("a parked record", value)?;
        found.push((keys::tail_position(key), parked));
        Ok(ControlFlow::Continue(()))
    })?;
    let rows_of = |(position, parked): (Position, Parked)| {
        let body = keys::parked_body(task, position);
        let body = get_pieces(|key| rows.get(key), &body, parked.body_len())?;
        Ok(parked.into_row(position, body))
    };
    found.into_iter().map(rows_of).collect()
}

/// Records that a task delivers again, by the entries at whose positions they come.
pub(crate) fn list_unparked(
    rows: &dyn Read,
    task: Index,
    after: Index,
    count_max: usize,
) -> Result<Vec<(Index, ParkedRow)>, Error> {
    let range = KeyRange {
        start: successor(&keys::unparked(task, after)),
        end: successor(&keys::unparked(task, Index(u64::MAX))),
    };
    let mut found = Vec::new();
    rows.scan(&range, Side::First, &mut |key, value| {
        if found.len() == count_max {
            return Ok(ControlFlow::Break(()));
        }
        let row: Unparked = codec::decode_row("an unparked record", value)?;
        found.push((Index(keys::tail_u64(key, 0)), row));
        Ok(ControlFlow::Continue(()))
    })?;
    let rows_of = |(index, row): (Index, Unparked)| {
        let body = unparked_body(task, index);
        let body = get_pieces(|key| rows.get(key), &body, row.parked.body_len())?;
        Ok((index, row.parked.into_row(row.position, body)))
    };
    found.into_iter().map(rows_of).collect()
}
