//! Tasks and their cursors.
//!
//! Holds: a cursor moves forward only, from exactly where the command says that it stands, within
//! the task's present life; everything else is fenced and changes nothing. A new definition begins
//! a new life: cursors of the old one count no more. What was parked stays until the task is
//! deleted, and then goes a few rows a command.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::overlay::{get_pieces, successor};
use super::view::load;
use super::{Apply, forms, horizon, keys};
use crate::codec;
use crate::command::{
    Advance, DefineTask, Expect, RetireTask, SeekTask, SendStarted, SetTaskState, Start, TaskState,
};
use crate::error::Error;
use crate::ids::{FormId, Index, Position, Slot};
use crate::mutants::{self, Mutant};
use crate::outcome::Outcome;
use crate::rows::{KeyRange, Read, Side};

/// A task as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Its name.
    pub name: String,
    /// Its definition's version.
    pub version: u32,
    /// The entry that began its present life.
    pub incarnation: Index,
    /// What it does.
    pub state: TaskState,
    /// Where its present life begins: everything after this position.
    pub start: Position,
    /// Its definition.
    pub definition: Bytes,
}

/// A cursor as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRow {
    /// Of the task's present life.
    pub incarnation: Index,
    /// Everything up to here is delivered or parked.
    pub position: Position,
    /// A send is under way that would move it here.
    pub sending: Option<Position>,
    /// An earlier life had delivered everything up to here, and a person asked to have it again.
    pub replay_upto: Position,
}

/// A task's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The entry that made the name a task; names its rows.
    pub(crate) born: Index,
    pub(crate) version: u32,
    pub(crate) incarnation: Index,
    pub(crate) state: TaskState,
    pub(crate) is_retired: bool,
    pub(crate) start: Position,
    definition_len: u64,
}

/// A cursor's row. Of another life than the task's it counts as absent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cursor {
    incarnation: Index,
    position: Position,
    sending: Option<Position>,
    replay_upto: Position,
}

impl Task {
    pub(crate) fn definition_len(&self) -> usize {
        usize::try_from(self.definition_len).unwrap_or(usize::MAX)
    }

    /// Where the task stands, given the cursor's row.
    pub(crate) fn cursor(&self, row: Option<Cursor>) -> CursorRow {
        match row.filter(|row| row.incarnation == self.incarnation) {
            Some(row) => CursorRow {
                incarnation: row.incarnation,
                position: row.position,
                sending: row.sending,
                replay_upto: row.replay_upto,
            },
            None => CursorRow {
                incarnation: self.incarnation,
                position: self.start,
                sending: None,
                replay_upto: Position::default(),
            },
        }
    }

    const fn outcome(&self, is_changed: bool) -> Outcome {
        Outcome::Task {
            incarnation: self.incarnation,
            version: self.version,
            is_changed,
        }
    }
}

impl Apply<'_> {
    pub(super) fn define_task(&mut self, command: &DefineTask) -> Result<Outcome, Error> {
        if command.name.is_empty() || command.name.len() > forms::NAME_BYTES_MAX {
            return Ok(Outcome::Missing);
        }
        let old = self
            .over
            .load::<Task>(&keys::task(&command.name), "a task")?;
        let live = old.as_ref().filter(|task| !task.is_retired);
        if let Some(task) = live {
            let prefix = keys::task_definition(task.born);
            let len = task.definition_len();
            let definition = get_pieces(|key| self.over.get(key), &prefix, len)?;
            let is_same = definition == command.definition;
            // The very definition is no reason for another life, however it was asked for.
            let is_expected = match command.expect {
                Expect::Any | Expect::Absent => true,
                Expect::Version(version) => version == task.version,
            };
            if is_same && is_expected {
                return Ok(task.outcome(false));
            }
        }
        if let Err(conflict) = forms::check(command.expect, live.map(|task| task.version)) {
            return Ok(conflict);
        }
        let task = Task {
            born: live.map_or(self.index, |task| task.born),
            version: old.as_ref().map_or(1, |task| task.version + 1),
            incarnation: match (command.start, live) {
                (Start::Kept, Some(task)) => task.incarnation,
                _ => self.life_after(old.as_ref().filter(|task| task.is_retired)),
            },
            state: live.map_or(TaskState::Running, |task| task.state),
            is_retired: false,
            start: match (command.start, live) {
                (Start::Kept, Some(task)) => task.start,
                (Start::Beginning | Start::Kept, _) => self.oldest()?,
                (Start::Now, _) => Position {
                    index: self.index,
                    slot: Slot(0),
                },
            },
            definition_len: command.definition.len() as u64,
        };
        let old_len = live.map_or(0, Task::definition_len);
        self.over.put_pieces(
            &keys::task_definition(task.born),
            &command.definition,
            old_len,
        )?;
        self.store_task(&command.name, &task)?;
        Ok(task.outcome(true))
    }

    pub(super) fn retire_task(&mut self, command: &RetireTask) -> Result<Outcome, Error> {
        let Some(mut task) = self.task(&command.name)? else {
            return Ok(Outcome::Missing);
        };
        if let Err(conflict) = forms::check(command.expect, Some(task.version)) {
            return Ok(conflict);
        }
        task.is_retired = true;
        self.store_task(&command.name, &task)?;
        for table in [
            keys::TASK_DEFINITION,
            keys::CURSOR,
            keys::PARKED,
            keys::PARKED_BODY,
            keys::UNPARKED,
        ] {
            self.over
                .put(keys::sweep(&keys::of_task(table, task.born)), Bytes::new())?;
        }
        Ok(task.outcome(true))
    }

    pub(super) fn set_task_state(&mut self, command: &SetTaskState) -> Result<Outcome, Error> {
        let Some(mut task) = self.task(&command.task)? else {
            return Ok(Outcome::Missing);
        };
        let is_changed = task.state != command.state;
        if is_changed {
            task.state = command.state;
            self.store_task(&command.task, &task)?;
        }
        Ok(task.outcome(is_changed))
    }

    pub(super) fn seek_task(&mut self, command: &SeekTask) -> Result<Outcome, Error> {
        let Some(mut task) = self.task(&command.task)? else {
            return Ok(Outcome::Missing);
        };
        if command.to.index >= self.index {
            return Ok(Outcome::Fenced);
        }
        let mut replayed = Vec::new();
        let mut rest = KeyRange::prefix(keys::of_task(keys::CURSOR, task.born));
        while let Some((key, value)) = self.over.end(&rest, Side::First)? {
            rest.start = successor(&key);
            let cursor: Cursor = codec::decode_row("a cursor", &value)?;
            if cursor.incarnation == task.incarnation && command.is_replay {
                let upto = cursor.position.max(cursor.replay_upto);
                replayed.push((key, upto));
            }
        }
        if !mutants::is(Mutant::SeekSameLife) {
            task.incarnation = self.index;
        }
        let start = command.to.max(self.oldest()?);
        task.start = start;
        task.version += 1;
        for (key, replay_upto) in replayed {
            let cursor = Cursor {
                incarnation: task.incarnation,
                position: start,
                sending: None,
                replay_upto,
            };
            self.over.store(key, &cursor)?;
        }
        self.store_task(&command.task, &task)?;
        Ok(task.outcome(true))
    }

    /// In front of the oldest record that the log may still hold: a life begins no earlier, so whatever
    /// lies behind its start was there when it began.
    fn oldest(&mut self) -> Result<Position, Error> {
        Ok(match self.horizon()? {
            Index(0) => Position::default(),
            horizon => horizon::end_of(horizon),
        })
    }

    /// A life that nobody has lived: this entry's.
    fn life_after(&self, retired: Option<&Task>) -> Index {
        match retired {
            Some(task) if mutants::is(Mutant::TaskReborn) => task.incarnation,
            _ => self.index,
        }
    }

    pub(super) fn advance(&mut self, command: &Advance) -> Result<Outcome, Error> {
        let Advance {
            task,
            incarnation,
            form,
            from,
            to,
        } = command;
        let Some(live) = self.task(task)? else {
            return Ok(Outcome::Missing);
        };
        let Some(present) = self.stands(&live, (*incarnation, *form), (*from, *to))? else {
            return Ok(Outcome::Fenced);
        };
        let cursor = Cursor {
            incarnation: *incarnation,
            position: *to,
            sending: None,
            replay_upto: present.replay_upto,
        };
        self.over.store(keys::cursor(live.born, *form), &cursor)?;
        self.drop_unparked(live.born, *form, *to)?;
        self.drop_passed((live.born, live.incarnation), *form, (*from, *to))?;
        Ok(Outcome::Done)
    }

    pub(super) fn send_started(&mut self, command: &SendStarted) -> Result<Outcome, Error> {
        let SendStarted {
            task,
            incarnation,
            form,
            from,
            to,
        } = command;
        let Some(live) = self.task(task)? else {
            return Ok(Outcome::Missing);
        };
        let Some(present) = self.stands(&live, (*incarnation, *form), (*from, *to))? else {
            return Ok(Outcome::Fenced);
        };
        let cursor = Cursor {
            incarnation: *incarnation,
            position: *from,
            sending: Some(*to),
            replay_upto: present.replay_upto,
        };
        self.over.store(keys::cursor(live.born, *form), &cursor)?;
        Ok(Outcome::Done)
    }

    /// The cursor, if it stands at `from` in this life, and `to` lies ahead but not beyond what was
    /// applied before this entry.
    fn stands(
        &mut self,
        task: &Task,
        (incarnation, form): (Index, Option<FormId>),
        (from, to): (Position, Position),
    ) -> Result<Option<CursorRow>, Error> {
        let row = self
            .over
            .load::<Cursor>(&keys::cursor(task.born, form), "a cursor")?;
        let present = task.cursor(row);
        let is_this_life = task.incarnation == incarnation;
        let stands = is_this_life && present.position == from && from < to && to.index < self.index;
        Ok(stands.then_some(present))
    }

    /// The task of that name, unless it was deleted.
    pub(super) fn task(&mut self, name: &str) -> Result<Option<Task>, Error> {
        let task = self.over.load::<Task>(&keys::task(name), "a task")?;
        Ok(task.filter(|task| !task.is_retired))
    }

    /// Removes rows of deleted tasks, a few a command.
    pub(super) fn sweep(&mut self) -> Result<(), Error> {
        let mut left = self.rules.expiry_rows_max;
        let table = KeyRange::prefix(vec![keys::SWEEP]);
        while left > 0 {
            let Some((key, _)) = self.over.end(&table, Side::First)? else {
                break;
            };
            let prefix = key.get(1..).unwrap_or_default().to_vec();
            let count = self.over.remove_some(&KeyRange::prefix(prefix), left)?;
            if count < left {
                self.over.remove(key)?;
            }
            left -= count;
        }
        Ok(())
    }

    fn store_task(&mut self, name: &str, task: &Task) -> Result<(), Error> {
        self.has_new_definitions = true;
        self.over.store(keys::task(name), task)
    }
}

/// The task of that name, unless it was deleted.
pub(super) fn live(rows: &dyn Read, name: &str) -> Result<Option<Task>, Error> {
    let task = load::<Task>(rows, &keys::task(name), "a task")?;
    Ok(task.filter(|task| !task.is_retired))
}

/// A task as it is shown.
pub(super) fn row(rows: &dyn Read, name: String, task: &Task) -> Result<TaskRow, Error> {
    let prefix = keys::task_definition(task.born);
    Ok(TaskRow {
        name,
        version: task.version,
        incarnation: task.incarnation,
        state: task.state,
        start: task.start,
        definition: get_pieces(|key| rows.get(key), &prefix, task.definition_len())?,
    })
}
