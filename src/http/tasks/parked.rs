//! What a task has set aside: shown, and sent once more.
//!
//! Holds: a record that is sent once more leaves the list; it comes back if the destination refuses
//! it again. Many are sent in the order in which they were accepted, a bounded number a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use storage::{Command, FormId, Outcome, Position, Unpark};

use super::super::error::{NOT_FOUND, Problem};
use super::super::wire::{ParkedShape, ParkedsShape, ReplayedShape, parse_position};
use super::super::{Hall, json, withheld};
use super::{known, nobody, strange};

/// One request sends at most so many: each is an entry of the log, one behind the other.
const COUNT_MAX: u32 = 1000;
/// And it ends after this, so that no client gives up on it.
const TIME_MAX: Duration = Duration::from_secs(10);
/// With their bodies: some at a time.
const PAGE: usize = 50;

/// `GET /v1/tasks/{task}/parked`
pub(in super::super) async fn list(
    State(doors): State<Arc<Hall>>,
    Path(task): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    known(&doors, &task).await?;
    let (after, limit) = withheld::page(query.as_deref())?;
    let found = doors.view.parked(task, after, limit).await?;
    let next = found.last().map_or(after, |row| row.position).to_string();
    let names: HashMap<FormId, String> = doors.view.form_names()?;
    let parked = found.into_iter().map(|row| {
        let form = names.get(&row.form).cloned().unwrap_or_default();
        ParkedShape::new(row, form)
    });
    let parked = parked.collect();
    Ok(json(StatusCode::OK, &ParkedsShape { parked, next }))
}

/// `POST /v1/tasks/{task}/parked/{position}/replay`
pub(in super::super) async fn replay(
    State(doors): State<Arc<Hall>>,
    Path((task, position)): Path<(String, String)>,
) -> Result<Response, Problem> {
    known(&doors, &task).await?;
    let nothing = || {
        let detail = format!("task {task:?} has parked nothing at {position:?}");
        Problem::new(NOT_FOUND, detail)
    };
    let at = parse_position(&position).ok_or_else(nothing)?;
    if !unpark(&doors, &task, at).await? {
        return Err(nothing());
    }
    let shape = ReplayedShape {
        task: &task,
        replayed: 1,
        more: false,
    };
    Ok(json(StatusCode::OK, &shape))
}

/// `POST /v1/tasks/{task}/parked/replay`
pub(in super::super) async fn replay_all(
    State(doors): State<Arc<Hall>>,
    Path(task): Path<String>,
) -> Result<Response, Problem> {
    known(&doors, &task).await?;
    let begun = Instant::now();
    let (mut replayed, mut after) = (0, Position::default());
    let more = 'all: loop {
        let page = doors.view.parked(task.clone(), after, PAGE).await?;
        if page.is_empty() {
            break false;
        }
        for row in page {
            if replayed == COUNT_MAX || begun.elapsed() >= TIME_MAX {
                break 'all true;
            }
            // Forwards only: one that is refused again meanwhile is not sent twice by one request.
            after = row.position;
            replayed += u32::from(unpark(&doors, &task, row.position).await?);
        }
    };
    let shape = ReplayedShape {
        task: &task,
        replayed,
        more,
    };
    Ok(json(StatusCode::OK, &shape))
}

/// Sends one once more; false if nothing is parked there.
async fn unpark(doors: &Hall, task: &str, position: Position) -> Result<bool, Problem> {
    let command = Unpark {
        task: task.to_owned(),
        position,
    };
    match (doors.admin)(Command::Unpark(command)).await? {
        Outcome::Done => Ok(true),
        Outcome::Missing if doors.view.task(task).is_err() => Err(nobody(task)),
        Outcome::Missing => Ok(false),
        Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Task { .. }
        | Outcome::Released { .. }
        | Outcome::Conflict { .. }
        | Outcome::Fenced => Err(strange()),
    }
}
