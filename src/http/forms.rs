//! Forms over HTTP: list, read, define, retire.
//!
//! Holds: what may be proposed and what the outcome of a definition means is `define`'s; here is
//! only what a form has beside it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use storage::{Command, DefineForm, Expect, Outcome, RetireForm};

use super::error::{BROKEN, Problem};
use super::wire::{ChangeShape, FormShape, FormsShape};
use super::{Hall, define, json};
use crate::forms::Definition;

/// `GET /v1/forms`
pub(super) async fn list(State(doors): State<Arc<Hall>>) -> Response {
    json(
        StatusCode::OK,
        &FormsShape {
            forms: doors.registry.list(),
        },
    )
}

/// `GET /v1/forms/{form}`
pub(super) async fn get(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let form = doors.view.form(&name)?;
    let version = form.version;
    Ok(define::tagged(
        json(StatusCode::OK, &FormShape::from(form)),
        version,
    ))
}

/// `PUT /v1/forms/{form}`
pub(super) async fn put(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = define::read(&doors, request).await?;
    let command = DefineForm {
        name: name.clone(),
        expect: sent.expect,
        definition: definition(&name, &sent.bytes)?.to_json(),
    };
    let outcome = (doors.admin)(Command::DefineForm(command)).await?;
    changed(&name, sent.expect, &outcome, true)
}

/// `DELETE /v1/forms/{form}`
pub(super) async fn delete(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expect = define::expect(&headers)?;
    let command = RetireForm {
        name: name.clone(),
        expect,
    };
    let outcome = (doors.admin)(Command::RetireForm(command)).await?;
    changed(&name, expect, &outcome, false)
}

fn definition(name: &str, bytes: &[u8]) -> Result<Definition, Problem> {
    let definition = Definition::from_json(bytes).map_err(define::bad)?;
    let mut problems = definition.problems();
    problems.extend(define::misnamed(&definition.name, name));
    if problems.is_empty() {
        Ok(definition)
    } else {
        Err(define::bad(problems))
    }
}

fn changed(
    name: &str,
    expect: Expect,
    outcome: &Outcome,
    can_create: bool,
) -> Result<Response, Problem> {
    match *outcome {
        Outcome::Form {
            version,
            is_changed,
            ..
        } => {
            let shape = ChangeShape {
                form: name,
                version,
                changed: is_changed,
            };
            let is_new = can_create && is_changed && version == 1;
            Ok(define::changed(&shape, version, is_new))
        }
        Outcome::Conflict { version } => Err(define::conflict(expect, version)),
        Outcome::Missing => Err(Problem::no_form(name)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Task { .. }
        | Outcome::Released { .. }
        | Outcome::Fenced => Err(Problem::new(BROKEN, "an answer to another command")),
    }
}
