//! What a sink is given: records, and where they stand.
//!
//! Holds: records of one lane are ordered by [`Position`], and a form's seqs grow along it by one.
//! Cursors are positions, never seqs: a seq numbers one form, a position orders the whole log. These
//! are the room's own types, so that it needs no sibling.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A place in the log that a cursor can stand on: the entry's index and the slot within it.
///
/// The default, `0:0`, stands before every record: the first entry has index 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The entry, from 1.
    pub index: u64,
    /// The submission within it, from 0.
    pub slot: u32,
}

impl Position {
    /// The last one before this: a read after it begins here.
    pub(crate) fn before(self) -> Self {
        match self.slot.checked_sub(1) {
            Some(slot) => Self { slot, ..self },
            None => Self {
                index: self.index.saturating_sub(1),
                slot: u32::MAX,
            },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.index, self.slot)
    }
}

/// What has a cursor of its own, and a pump: one form of one task, or all forms of one task where
/// its destination keeps one cursor for them all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The task's name.
    pub task: Arc<str>,
    /// The form's name; `None`: all forms of the task, in the order of the log.
    pub form: Option<Arc<str>>,
}

impl Lane {
    /// The lane of `form` in `task`.
    pub fn new(task: &str, form: &str) -> Self {
        Self {
            task: Arc::from(task),
            form: Some(Arc::from(form)),
        }
    }

    /// The one lane of `task`, over all its forms.
    pub fn of_all(task: &str) -> Self {
        Self {
            task: Arc::from(task),
            form: None,
        }
    }

    /// The form as people see it: `*` for all.
    pub fn form(&self) -> &str {
        self.form.as_deref().unwrap_or("*")
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Some(form) => write!(f, "{}/{form}", self.task),
            None => f.write_str(&self.task),
        }
    }
}

/// One accepted submission, as a sink gets it. Cheap to clone: the body is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The form's name.
    pub form: Arc<str>,
    /// Its number within the form, from 1, without holes.
    pub seq: u64,
    /// Where it is delivered from: what a cursor that has passed it says.
    pub position: Position,
    /// The term of the entry that carried it.
    pub term: u64,
    /// The submission's UUID, in its usual writing. The same at every delivery.
    pub id: String,
    /// When it was accepted, milliseconds since 1970 UTC. Shown to people; decides nothing.
    pub received_at_ms: u64,
    /// The form's version that it was checked against.
    pub form_version: u32,
    /// The document, JSON, exactly as it is stored.
    pub body: Bytes,
    /// True when a person asked to have it sent again.
    pub is_replay: bool,
}

/// A record that its destination will never take, on its way to where parked records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The record, with its payload: it outlives the log.
    pub record: Record,
    /// Why, in words.
    pub why: String,
    /// What the destination answered last, in its own words; empty if it said nothing.
    pub answer: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_between_a_position_and_the_one_before() {
        let at = |index, slot| Position { index, slot };
        assert_eq!(at(7, 3).before(), at(7, 2));
        assert_eq!(at(7, 0).before(), at(6, u32::MAX));
    }
}
