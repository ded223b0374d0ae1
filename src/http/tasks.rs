//! Tasks over HTTP: what they are, what they tell about themselves, what a person asks of them.
//!
//! Holds: as with forms, what may be proposed and what the outcome of a definition means is
//! `define`'s. Whatever changes a task is a command, so it holds on every node and after every start.

mod life;
mod parked;
mod seek;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use storage::{Command, DefineTask, Expect, Outcome, Start, TaskRow};

use super::error::{BROKEN, NOT_FOUND, Problem};
use super::wire::{TaskChangeShape, TaskShape};
use super::{Hall, define, json};
use crate::forms::TaskDefinition;

pub(super) use life::{QUERY as DELETE_QUERY, delete, pause, resume};
pub(super) use parked::{list as list_parked, replay as replay_parked, replay_all};
pub(super) use seek::{replay, seek};

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
///
/// A task that goes on to the same place keeps its life, and with it its cursors: only one that leads
/// elsewhere, or moves other forms, begins anew, where `start` says.
pub(super) async fn put(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = define::read(&doors, request).await?;
    let task = definition(&name, &sent.bytes)?;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let present = doors.view.task(&name).ok();
        let (start, expect) = beginning(&doors, &task, present.as_ref(), sent.expect)?;
        let command = DefineTask {
            name: name.clone(),
            expect,
            definition: task.to_json(),
            start,
        };
        match (doors.admin)(Command::DefineTask(command)).await? {
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
                let is_new = is_changed && version == 1;
                return Ok(define::changed(&shape, version, is_new));
            }
            // It was another one by then, or this node is behind: judged again.
            Outcome::Conflict { .. }
                if expect != sent.expect && tries > 0 && doors.is_brought_up().await => {}
            Outcome::Conflict { version } => return Err(define::conflict(sent.expect, version)),
            Outcome::Done
            | Outcome::Pack(_)
            | Outcome::OutOfTurn { .. }
            | Outcome::Form { .. }
            | Outcome::Released { .. }
            | Outcome::Missing
            | Outcome::Fenced => return Err(strange()),
        }
    }
}

/// How often a definition is judged again, where somebody else changes the task at the same time.
const TRIES: u32 = 4;
/// The level that lets a task keep its life.
const LEVEL_KEPT: u32 = 2;

/// Where the task's life begins, and what must be there for that to hold.
fn beginning(
    doors: &Hall,
    task: &TaskDefinition,
    present: Option<&TaskRow>,
    expect: Expect,
) -> Result<(Start, Expect), Problem> {
    let old = present.and_then(|row| Some((row, TaskDefinition::from_json(&row.definition).ok()?)));
    // Unchanged, it is left alone whatever is said here.
    let goes_on = old.filter(|(row, old)| row.definition != task.to_json() && old.goes_on_as(task));
    match (goes_on, expect) {
        (Some((row, _)), Expect::Any | Expect::Version(_)) => {
            needs_level(doors, LEVEL_KEPT)?;
            let expect = match expect {
                Expect::Version(version) => Expect::Version(version),
                Expect::Any | Expect::Absent => Expect::Version(row.version),
            };
            Ok((Start::Kept, expect))
        }
        (Some(_), Expect::Absent) | (None, _) => Ok((task.start.into(), expect)),
    }
}

/// Fails, in words, while a node among the members runs an older release.
fn needs_level(doors: &Hall, level: u32) -> Result<(), Problem> {
    if doors.view.level()? >= level {
        return Ok(());
    }
    Err(Problem::not_yet())
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
