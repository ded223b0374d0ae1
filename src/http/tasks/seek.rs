//! A task goes on from elsewhere in the log.
//!
//! Holds: a place is judged by what this node has applied once it is up to date, so a place that
//! another node showed is known here. What the log has let go is said, never left out unseen.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use storage::{Command, Index, Outcome, Position, SeekTask, Seq, Slot, TaskRow};

use super::super::body;
use super::super::error::{MALFORMED, Problem};
use super::super::query::bad;
use super::super::wire::{SeekShape, parse_position};
use super::super::{Hall, json};
use super::{needs_level, nobody, strange};
use crate::forms::StoredTask;

/// The level that knows how to seek.
const LEVEL: u32 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    to: Place,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    from: Place,
}

/// Where to.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Place {
    Word(Word),
    /// The first record that is sent.
    Record {
        form: String,
        seq: u64,
    },
    /// A cursor: what comes behind it is sent.
    Cursor {
        position: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Beginning,
    Now,
}

/// `POST /v1/tasks/{task}/seek`
pub(in super::super) async fn seek(
    State(doors): State<Arc<Hall>>,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Seek = read(&doors, request, "to").await?;
    go(&doors, &task, &asked.to, false).await
}

/// `POST /v1/tasks/{task}/replay`
pub(in super::super) async fn replay(
    State(doors): State<Arc<Hall>>,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Replay = read(&doors, request, "from").await?;
    go(&doors, &task, &asked.from, true).await
}

async fn read<T: serde::de::DeserializeOwned>(
    doors: &Hall,
    request: Request,
    member: &str,
) -> Result<T, Problem> {
    let shape = format!(
        "{{\"{member}\": PLACE}} where PLACE is \"beginning\", \"now\", {{\"form\":\"…\",\"seq\":17}} or \
         {{\"position\":\"index:slot\"}}"
    );
    body::small(doors, request, &shape).await
}

async fn go(doors: &Hall, name: &str, place: &Place, is_replay: bool) -> Result<Response, Problem> {
    (doors.freshness.catch_up)().await?;
    let task = doors.view.task(name)?;
    needs_level(doors, LEVEL)?;
    let to = resolve(doors, &task, place).await?;
    let command = SeekTask {
        task: name.to_owned(),
        to,
        is_replay,
    };
    match (doors.admin)(Command::SeekTask(command)).await? {
        Outcome::Task {
            incarnation,
            version,
            ..
        } => {
            let shape = SeekShape {
                task: name,
                version,
                incarnation,
                position: to.to_string(),
                replay: is_replay,
            };
            Ok(json(StatusCode::OK, &shape))
        }
        Outcome::Missing => Err(nobody(name)),
        Outcome::Fenced => Err(bad(format!("{to} lies beyond the end of the log"))),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Released { .. }
        | Outcome::Conflict { .. } => Err(strange()),
    }
}

/// Where the task's cursors will stand.
async fn resolve(doors: &Hall, task: &TaskRow, place: &Place) -> Result<Position, Problem> {
    let oldest = match doors.view.horizon()? {
        Index(0) => Position::default(),
        horizon => last_of(horizon),
    };
    match place {
        Place::Word(Word::Beginning) => Ok(oldest),
        Place::Word(Word::Now) => Ok(last_of((doors.freshness.applied)())),
        Place::Record { form, seq } => record(doors, task, form, Seq(*seq)).await,
        Place::Cursor { position } => {
            let at = parse_position(position).ok_or_else(|| {
                Problem::new(MALFORMED, format!("{position:?} is not index:slot"))
            })?;
            if at < oldest {
                return Err(Problem::let_go(oldest));
            }
            let end = (doors.freshness.applied)();
            if at.index > end {
                return Err(bad(format!(
                    "{at} lies beyond the log, which ends at {end}"
                )));
            }
            Ok(at)
        }
    }
}

/// Right in front of a record.
async fn record(doors: &Hall, task: &TaskRow, form: &str, seq: Seq) -> Result<Position, Problem> {
    let row = doors.view.form(form)?;
    if !StoredTask::read(&task.definition).covers(form) {
        return Err(bad(format!(
            "task {:?} does not move form {form:?}",
            task.name
        )));
    }
    let found = doors.view.record(row.id, seq).await?;
    let found = found.ok_or_else(|| {
        let head = row.head;
        bad(format!(
            "form {form:?} has no record {seq}; its last one is {head}"
        ))
    })?;
    Ok(before(found.position))
}

/// The last position of an entry.
const fn last_of(index: Index) -> Position {
    Position {
        index,
        slot: Slot(u32::MAX),
    }
}

fn before(at: Position) -> Position {
    match at.slot.0.checked_sub(1) {
        Some(slot) => Position {
            slot: Slot(slot),
            ..at
        },
        None => last_of(Index(at.index.0.saturating_sub(1))),
    }
}
