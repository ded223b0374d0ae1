//! What the honeypot caught: listed for a person, and released by one.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use storage::{Command, Outcome, Position, Release};

use super::body::{self, Room};
use super::error::{BROKEN, MALFORMED, Problem};
use super::query::{Parameter, Query, bad};
use super::wire::{ReleasedShape, WithheldsShape, parse_position};
use super::{Hall, json};

/// Parameters of a list by positions.
pub(super) const QUERY: &[Parameter] = &[
    (
        "after",
        "the position before the first one wanted, such as 4711:0",
    ),
    ("limit", "at most so many, up to 1000; default 100"),
];
/// What one answer lists, and what one command releases.
const COUNT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;
/// A thousand positions, as long as they can be.
const BODY_BYTES_MAX: usize = 64 << 10;

/// `GET /v1/forms/{form}/withheld`
pub(super) async fn list(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = doors.view.form(&name)?;
    let (after, limit) = page(query.as_deref())?;
    let found = doors.view.withheld(form.id, after, limit).await?;
    let next = found
        .last()
        .map_or(after, |record| record.source)
        .to_string();
    let withheld = found.into_iter().map(Into::into).collect();
    Ok(json(StatusCode::OK, &WithheldsShape { withheld, next }))
}

/// Reads `after` and `limit` of a list by positions.
pub(super) fn page(query: Option<&str>) -> Result<(Position, usize), Problem> {
    let query = Query::parse(query, QUERY)?;
    let after = query.with("after", Position::default(), parse_position)?;
    let limit = query.value("limit", LIMIT_DEFAULT)?;
    if limit > COUNT_MAX {
        return Err(bad(format!("limit can be {COUNT_MAX} at most")));
    }
    Ok((after, limit))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    positions: Vec<String>,
}

/// `POST /v1/forms/{form}/withheld/release`
pub(super) async fn release(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let form = doors.view.form(&name)?;
    let (parts, body) = request.into_parts();
    let mut room = Room::new(&doors.body_room);
    let bytes = body::read(
        &parts.headers,
        body,
        BODY_BYTES_MAX,
        &doors.config,
        &mut room,
    )
    .await?;
    let positions = positions(&bytes)?;
    let command = Command::Release(Release {
        form: form.id,
        positions,
    });
    match (doors.admin)(command).await? {
        Outcome::Released { count } => Ok(json(StatusCode::OK, &ReleasedShape { released: count })),
        Outcome::Missing => Err(Problem::no_form(&name)),
        Outcome::Done
        | Outcome::Pack(_)
        | Outcome::OutOfTurn { .. }
        | Outcome::Form { .. }
        | Outcome::Task { .. }
        | Outcome::Conflict { .. }
        | Outcome::Fenced => Err(Problem::new(BROKEN, "an answer to another command")),
    }
}

fn positions(bytes: &[u8]) -> Result<Vec<Position>, Problem> {
    let bad = |detail: String| Problem::new(MALFORMED, detail);
    let wanted: Wanted = serde_json::from_slice(bytes)
        .map_err(|error| bad(format!("not {{\"positions\":[\"index:slot\"]}}: {error}")))?;
    if wanted.positions.len() > COUNT_MAX {
        return Err(bad(format!("at most {COUNT_MAX} positions at once")));
    }
    let parsed = wanted
        .positions
        .iter()
        .map(|text| parse_position(text).ok_or_else(|| bad(format!("{text:?} is not index:slot"))));
    parsed.collect()
}
