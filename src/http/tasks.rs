//! Tasks over HTTP: what they are, what they tell about themselves, what they set aside.
//!
//! Holds: as with forms, a definition is checked as a whole before it is proposed, and `apply`
//! alone decides whether it may replace the present one.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use storage::{Command, DefineTask, Expect, Outcome};

use super::body::{self, Room};
use super::error::{BAD_DEFINITION, BROKEN, CHANGED, MEDIA_TYPE, PRECONDITION, Problem};
use super::forms::{BODY_BYTES_MAX, expect, tagged};
use super::wire::{ParkedsShape, TaskChangeShape, TaskShape};
use super::{Hall, accept, json, withheld};
use crate::forms::{Fault, TaskDefinition};

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
    Ok(tagged(
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
    let (parts, body) = request.into_parts();
    let expect = expect(&parts.headers)?;
    if accept::content_type(&parts.headers) != "application/json" {
        return Err(Problem::new(MEDIA_TYPE, "a definition is application/json").closing());
    }
    let mut room = Room::new(&doors.body_room);
    let bytes = body::read(
        &parts.headers,
        body,
        BODY_BYTES_MAX,
        &doors.config,
        &mut room,
    )
    .await?;
    let task = definition(&name, &bytes)?;
    let command = DefineTask {
        name: name.clone(),
        expect,
        definition: task.to_json(),
        start: task.start.into(),
    };
    match (doors.admin)(Command::DefineTask(command)).await? {
        Outcome::Task {
            version,
            is_changed,
            ..
        } => {
            let is_new = is_changed && version == 1;
            let status = if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            let shape = TaskChangeShape {
                task: &name,
                version,
                changed: is_changed,
            };
            Ok(tagged(json(status, &shape), version))
        }
        Outcome::Conflict { version } => {
            let kind = if matches!(expect, Expect::Version(_)) {
                PRECONDITION
            } else {
                CHANGED
            };
            Err(
                Problem::new(kind, format!("the present version is {version}"))
                    .with_version(version),
            )
        }
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
    let bad = |problems: Vec<String>| {
        Problem::new(BAD_DEFINITION, format!("{} to mend", problems.len())).with_errors(
            problems
                .into_iter()
                .map(|detail| Fault::new("", detail))
                .collect(),
        )
    };
    let task = TaskDefinition::from_json(bytes).map_err(bad)?;
    if task.name == name {
        return Ok(task);
    }
    Err(bad(vec![format!(
        "name is {:?}, the address says {name:?}",
        task.name
    )]))
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
