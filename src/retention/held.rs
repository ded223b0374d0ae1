//! Who still needs the log: the first record that each task has not passed.
//!
//! Holds: every form that a task covers counts, whether or not something delivers it right now, and
//! a place that is not known counts as the task's beginning. A lane with nothing to deliver holds
//! nothing.

use std::fmt;

use bridge::TaskStatus;
use serde::Serialize;
use storage::{FormId, Index, NodeId, Position, Seq, Slot, StateView, TaskRow};

use crate::forms::{SinkKind, StoredTask};

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

/// Another node whose own destinations lack something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldByNode {
    /// Which.
    pub node: NodeId,
    /// They have everything up to here, as far as it was heard of.
    pub delivered: Index,
}

impl fmt::Display for HeldByNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, delivered } = self;
        write!(
            f,
            "the sheets of node {node} have no more than entry {delivered}, as far as it was heard \
             of (one that does not come back is removed by `formspool cluster remove {node}`)"
        )
    }
}

/// The one that is furthest behind among the other members; one that was never heard of has nothing.
pub(super) fn nodes(roster: &[raft::Seat]) -> Option<HeldByNode> {
    let others = roster.iter().filter(|seat| !seat.is_self);
    let held = others.map(|seat| HeldByNode {
        node: seat.node,
        delivered: seat.delivered.unwrap_or_default(),
    });
    held.min_by_key(|one| one.delivered)
}

/// One for each task and form that has something to deliver.
pub(super) fn lanes(
    view: &StateView,
    running: &[TaskStatus],
) -> Result<Vec<HeldBy>, storage::Error> {
    let forms = view.forms()?;
    let mut held = Vec::new();
    for task in view.tasks()? {
        // One that this build cannot read may cover anything, and be local.
        let stored = StoredTask::read(&task.definition);
        let known = stored.known();
        let is_local = known.is_none_or(|definition| match definition.sink {
            SinkKind::Csv => true,
            SinkKind::Kafka | SinkKind::Sheets => false,
        });
        for form in forms.iter().filter(|form| stored.covers(&form.name)) {
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

/// Where a task has one cursor for all forms, those of its forms stand at its start for ever; where it
/// has one a form, the other one does.
fn replicated(view: &StateView, task: &TaskRow, form: FormId) -> Result<Position, storage::Error> {
    let mut furthest = task.start;
    for cursor in [Some(form), None] {
        if let Some(row) = view.cursor(&task.name, cursor)? {
            furthest = furthest.max(row.position);
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use raft::{Seat, Standing};

    use super::*;

    fn seat(node: u32, delivered: Option<u64>) -> Seat {
        Seat {
            node: NodeId(node),
            address: String::new(),
            is_voter: true,
            is_self: node == 1,
            state: Standing::Ok,
            since_ms: 0,
            words: String::new(),
            last: None,
            applied: None,
            free_bytes: None,
            boot: None,
            floor: None,
            delivered: delivered.map(Index),
            holes: 0,
            digest: None,
        }
    }

    #[test]
    fn the_node_whose_sheets_are_furthest_behind_holds_the_log() {
        let held = |seats: &[Seat]| nodes(seats).map(|one| (one.node.0, one.delivered.0));
        assert_eq!(
            held(&[seat(1, Some(0))]),
            None,
            "this one is asked elsewhere"
        );
        let three = [seat(1, Some(0)), seat(2, Some(9)), seat(3, Some(7))];
        assert_eq!(held(&three), Some((3, 7)));
        let silent = [seat(1, Some(9)), seat(2, Some(9)), seat(3, None)];
        assert_eq!(held(&silent), Some((3, 0)), "never heard of");
        assert!(nodes(&three).unwrap().to_string().contains("node 3"));
    }
}
