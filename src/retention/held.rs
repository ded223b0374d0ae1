//! Who still needs the log: the first record that each task has not passed.
//!
//! Holds: every form that a task covers counts, whether or not something delivers it right now, and
//! a place that is not known counts as the task's beginning. A lane with nothing to deliver holds
//! nothing.

use std::fmt;

use bridge::TaskStatus;
use serde::Serialize;
use storage::{FormId, Index, Position, Seq, Slot, StateView, TaskRow};

use crate::forms::{SinkKind, TaskDefinition};

/// A record that the log is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBy {
    /// The task that has not passed it.
    pub task: String,
    /// Its form.
    pub form: String,
    /// Its seq.
    pub seq: Seq,
    /// The entry that has to stay for it.
    pub index: Index,
    /// The task writes a destination of this node's own.
    pub is_local: bool,
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            task, form, seq, ..
        } = self;
        write!(
            f,
            "task {task} has not delivered record {seq} of form {form}"
        )
    }
}

/// One for each task and form that has something to deliver.
pub(super) fn lanes(
    view: &StateView,
    running: &[TaskStatus],
) -> Result<Vec<HeldBy>, storage::Error> {
    let forms = view.forms()?;
    let mut held = Vec::new();
    for task in view.tasks()? {
        // One of a newer release may cover anything.
        let definition = TaskDefinition::from_json(&task.definition).ok();
        let covers = |form: &str| {
            let definition = definition.as_ref();
            definition.is_none_or(|definition| definition.covers(form))
        };
        let is_local = definition
            .as_ref()
            .is_none_or(|definition| match definition.sink {
                SinkKind::Csv => true,
            });
        for form in forms.iter().filter(|form| covers(&form.name)) {
            let at = if is_local {
                local(&task, &form.name, running)
            } else {
                replicated(view, &task, form.id)?
            };
            if let Some((seq, index)) = view.undelivered(form.id, at)? {
                held.push(HeldBy {
                    task: task.name.clone(),
                    form: form.name.clone(),
                    seq,
                    index,
                    is_local,
                });
            }
        }
    }
    Ok(held)
}

/// Where a local lane of this node stands.
fn local(task: &TaskRow, form: &str, running: &[TaskStatus]) -> Position {
    let status = running
        .iter()
        .find(|one| *one.name == *task.name && one.incarnation == task.incarnation.0);
    let lane = status.and_then(|one| one.lanes.iter().find(|lane| *lane.form == *form));
    let position = lane.and_then(|lane| lane.position).map(|at| Position {
        index: Index(at.index),
        slot: Slot(at.slot),
    });
    position.unwrap_or(task.start)
}

fn replicated(view: &StateView, task: &TaskRow, form: FormId) -> Result<Position, storage::Error> {
    let cursor = view.cursor(&task.name, Some(form))?;
    Ok(cursor.map_or(task.start, |cursor| cursor.position))
}
