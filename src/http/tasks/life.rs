//! A task ends, waits and goes on.
//!
//! Holds: a task that has not delivered everything, or holds records that were set aside, is deleted
//! only by one who says so in words: with it goes the only note of what is missing where.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use storage::{Command, Outcome, Position, RetireTask, SetTaskState, TaskState};

use super::super::error::{LAGS, Problem};
use super::super::query::{Parameter, Query};
use super::super::wire::{TaskChangeShape, TaskStateShape, task_state};
use super::super::{Hall, define, json};
use super::{known, nobody, strange};

/// Parameters of a deletion.
pub(in super::super) const QUERY: &[Parameter] = &[(
    "abandon",
    "true: also where records are not delivered or were set aside; they never will be",
)];

/// `DELETE /v1/tasks/{task}`
pub(in super::super) async fn delete(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expect = define::expect(&headers)?;
    let query = Query::parse(query.as_deref(), QUERY)?;
    let abandons = query.value("abandon", false)?;
    known(&doors, &name).await?;
    if !abandons {
        nothing_is_left(&doors, &name).await?;
    }
    let command = RetireTask {
        name: name.clone(),
        expect,
    };
    match (doors.admin)(Command::RetireTask(command)).await? {
        Outcome::Task {
            incarnation,
            version,
            is_changed,
        } => {
            let shape = TaskChangeShape {
                task: &name,
                version,
                incarnation,
                changed: is_changed,
            };
            Ok(define::changed(&shape, version, false))
        }
        Outcome::Conflict { version } => Err(define::conflict(expect, version)),
        Outcome::Missing => Err(nobody(&name)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Released { .. }
        | Outcome::Fenced => Err(strange()),
    }
}

/// Fails, in words, if something would never be delivered.
async fn nothing_is_left(doors: &Hall, name: &str) -> Result<(), Problem> {
    let left = match (doors.lag)(name.to_owned()).await {
        Some(0) => {
            let parked = doors.view.parked(name.to_owned(), Position::default(), 1);
            if parked.await?.is_empty() {
                return Ok(());
            }
            "it has set records aside, which go with it (GET …/parked shows them)".to_owned()
        }
        Some(1) => "one record is not delivered yet".to_owned(),
        Some(count) => format!("{count} records are not delivered yet"),
        None => "this node cannot tell yet whether all is delivered".to_owned(),
    };
    let detail = format!("{left}: wait, or say ?abandon=true to give up what is left");
    Err(Problem::new(LAGS, detail))
}

/// `POST /v1/tasks/{task}/pause`
pub(in super::super) async fn pause(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    set(&doors, &name, TaskState::Paused).await
}

/// `POST /v1/tasks/{task}/resume`
pub(in super::super) async fn resume(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    set(&doors, &name, TaskState::Running).await
}

async fn set(doors: &Hall, name: &str, state: TaskState) -> Result<Response, Problem> {
    let command = SetTaskState {
        task: name.to_owned(),
        state,
    };
    match (doors.admin)(Command::SetTaskState(command)).await? {
        Outcome::Task {
            incarnation,
            version,
            is_changed,
        } => {
            let shape = TaskStateShape {
                task: name,
                version,
                incarnation,
                state: task_state(state),
                changed: is_changed,
            };
            Ok(json(StatusCode::OK, &shape))
        }
        Outcome::Missing => Err(nobody(name)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Released { .. }
        | Outcome::Conflict { .. }
        | Outcome::Fenced => Err(strange()),
    }
}
