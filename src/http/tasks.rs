//! Tasks over HTTP: what they are, what they tell about themselves, what they set aside.
//!
//! Holds: as with forms, what may be proposed and what the outcome means is `define`'s.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use storage::{Command, DefineTask, Outcome};

use super::error::{BROKEN, Problem};
use super::wire::{ParkedsShape, TaskChangeShape, TaskShape};
use super::{Hall, define, json, withheld};
use crate::forms::TaskDefinition;

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
    let task = doors.view.task(&name)?;
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
        | Outcome::Fenced => Err(Problem::new(BROKEN, "an answer to another command")),
    }
}

fn definition(name: &str, bytes: &[u8]) -> Result<TaskDefinition, Problem> {
    let task = TaskDefinition::from_json(bytes).map_err(define::bad)?;
    match define::misnamed(&task.name, name) {
        Some(problem) => Err(define::bad(vec![problem])),
        None => Ok(task),
    }
}

/// `GET /v1/tasks/{task}/parked`
pub(super) async fn parked(
    State(doors): State<Arc<Hall>>,
    Path(task): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    doors.view.task(&task)?;
    let (after, limit) = withheld::page(query.as_deref())?;
    let found = doors.view.parked(task, after, limit).await?;
    let next = found.last().map_or(after, |row| row.position).to_string();
    let parked = found.into_iter().map(Into::into).collect();
    Ok(json(StatusCode::OK, &ParkedsShape { parked, next }))
}
