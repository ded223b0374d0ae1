//! Tasks over HTTP: what they are, what they tell about themselves, what a person asks of them.
//!
//! Holds: as with forms, what may be proposed and what the outcome of a definition means is
//! `define`'s. Whatever changes a task is a command, so it holds on every node and after every start.

mod life;
mod parked;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use storage::{Command, DefineTask, Outcome, TaskRow};

use super::error::{BROKEN, NOT_FOUND, Problem};
use super::wire::{TaskChangeShape, TaskShape};
use super::{Hall, define, json};
use crate::forms::TaskDefinition;

pub(super) use life::{QUERY as DELETE_QUERY, delete, pause, resume};
pub(super) use parked::{list as list_parked, replay as replay_parked, replay_all};

/// `GET /v1/tasks`
pub(super) async fn list(State(doors): State<Arc<Hall>>) -> Response {
    json(StatusCode::OK, &(doors.tasks)())
}

/// `GET /v1/status`
pub(super) async fn status(State(doors): State<Arc<Hall>>) -> Response {
    json(StatusCode::OK, &(doors.status)())
}

/// `GET /v1/tasks/{task}`
pub(super) async fn get(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let task = known(&doors, &name).await?;
    let version = task.version;
    Ok(define::tagged(
        json(StatusCode::OK, &TaskShape::from(task)),
        version,
    ))
}

/// `PUT /v1/tasks/{task}`
pub(super) async fn put(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = define::read(&doors, request).await?;
    let task = definition(&name, &sent.bytes)?;
    let command = DefineTask {
        name: name.clone(),
        expect: sent.expect,
        definition: task.to_json(),
        start: task.start.into(),
    };
    match (doors.admin)(Command::DefineTask(command)).await? {
        Outcome::Task {
            version,
            is_changed,
            ..
        } => {
            let shape = TaskChangeShape {
                task: &name,
                version,
                changed: is_changed,
            };
            let is_new = is_changed && version == 1;
            Ok(define::changed(&shape, version, is_new))
        }
        Outcome::Conflict { version } => Err(define::conflict(sent.expect, version)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Released { .. }
        | Outcome::Missing
        | Outcome::Fenced => Err(strange()),
    }
}

fn definition(name: &str, bytes: &[u8]) -> Result<TaskDefinition, Problem> {
    let task = TaskDefinition::from_json(bytes).map_err(define::bad)?;
    match define::misnamed(&task.name, name) {
        Some(problem) => Err(define::bad(vec![problem])),
        None => Ok(task),
    }
}

/// The task of that name, wherever it was defined.
async fn known(doors: &Hall, name: &str) -> Result<TaskRow, Problem> {
    match doors.view.task(name) {
        Err(none) if none.is(NOT_FOUND) && doors.is_brought_up().await => doors.view.task(name),
        found => found,
    }
}

fn nobody(name: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("no task is named {name:?}"))
}

fn strange() -> Problem {
    Problem::new(BROKEN, "an answer to another command")
}
