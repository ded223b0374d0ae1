//! Definitions over HTTP: list, read, define, retire.
//!
//! Holds: a definition is checked as a whole, and every fault named, before it is proposed; whether
//! it may replace the present one is decided by `apply` alone (`If-Match`, `If-None-Match`).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use storage::{Command, DefineForm, Expect, Outcome, RetireForm};

use super::body::{self, Room};
use super::error::{
    BAD_DEFINITION, BAD_PARAMETER, BROKEN, CHANGED, MEDIA_TYPE, PRECONDITION, Problem,
};
use super::wire::{ChangeShape, FormShape, FormsShape};
use super::{Hall, accept, json};
use crate::forms::{DEFINITION_BYTES_MAX, Definition, Fault};

/// A definition that people wrote has spaces and line breaks.
pub(super) const BODY_BYTES_MAX: usize = 4 * DEFINITION_BYTES_MAX;

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
    Ok(tagged(
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
    let definition = definition(&name, &bytes)?.to_json();
    let command = DefineForm {
        name: name.clone(),
        expect,
        definition,
    };
    let outcome = (doors.admin)(Command::DefineForm(command)).await?;
    changed(&name, expect, &outcome, true)
}

/// `DELETE /v1/forms/{form}`
pub(super) async fn delete(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expect = expect(&headers)?;
    let command = RetireForm {
        name: name.clone(),
        expect,
    };
    let outcome = (doors.admin)(Command::RetireForm(command)).await?;
    changed(&name, expect, &outcome, false)
}

fn definition(name: &str, bytes: &[u8]) -> Result<Definition, Problem> {
    let fault = |detail: String| Fault::new("", detail);
    let bad = |problems: Vec<String>| {
        Problem::new(BAD_DEFINITION, format!("{} to mend", problems.len()))
            .with_errors(problems.into_iter().map(fault).collect())
    };
    let definition = Definition::from_json(bytes).map_err(bad)?;
    let mut problems = definition.problems();
    if definition.name != name {
        problems.push(format!(
            "name is {:?}, the address says {name:?}",
            definition.name
        ));
    }
    if problems.is_empty() {
        Ok(definition)
    } else {
        Err(bad(problems))
    }
}

/// What the client believes to be there.
pub(super) fn expect(headers: &HeaderMap) -> Result<Expect, Problem> {
    let said = |name| headers.get(name).map(HeaderValue::as_bytes);
    match (said(header::IF_MATCH), said(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expect::Any),
        (None, Some(b"*")) => Ok(Expect::Absent),
        (Some(tag), None) => parse_tag(tag)
            .map(Expect::Version)
            .ok_or_else(bad_condition),
        _ => Err(bad_condition()),
    }
}

fn bad_condition() -> Problem {
    let detail = "say If-Match: \"<version>\" or If-None-Match: *, or neither";
    Problem::new(BAD_PARAMETER, detail)
}

fn parse_tag(tag: &[u8]) -> Option<u32> {
    std::str::from_utf8(tag)
        .ok()?
        .strip_prefix('"')?
        .strip_suffix('"')?
        .parse()
        .ok()
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
            let is_new = can_create && is_changed && version == 1;
            let status = if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            let shape = ChangeShape {
                form: name,
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
            let detail = match version {
                0 => "there is none, or it is retired".to_owned(),
                version => format!("the present version is {version}"),
            };
            Err(Problem::new(kind, detail).with_version(version))
        }
        Outcome::Missing => Err(Problem::no_form(name)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Task { .. }
        | Outcome::Released { .. }
        | Outcome::Fenced => Err(Problem::new(BROKEN, "an answer to another command")),
    }
}

pub(super) fn tagged(mut response: Response, version: u32) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{version}\""));
    // A number is always a header's value.
    response
        .headers_mut()
        .extend(tag.ok().map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_a_version_or_nothing_there() {
        let with = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            expect(
                &pairs
                    .map(|(name, value)| (name, HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        assert_eq!(with(&[]).unwrap(), Expect::Any);
        assert_eq!(
            with(&[(header::IF_MATCH, "\"3\"")]).unwrap(),
            Expect::Version(3)
        );
        assert_eq!(
            with(&[(header::IF_NONE_MATCH, "*")]).unwrap(),
            Expect::Absent
        );
        for bad in [
            &[(header::IF_MATCH, "3")][..],
            &[(header::IF_MATCH, "*")],
            &[(header::IF_MATCH, "W/\"3\"")],
            &[(header::IF_NONE_MATCH, "\"3\"")],
            &[(header::IF_MATCH, "\"3\""), (header::IF_NONE_MATCH, "*")],
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
