//! The admin's token, replaced.
//!
//! Holds: only a hash comes in and only a hash is replicated; whoever makes the token keeps it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use storage::{Command, SetToken};

use super::auth::parse_hash;
use super::body::{self, Room};
use super::error::{MALFORMED, Problem};
use super::{Hall, json};

const BODY_BYTES_MAX: usize = 1 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    hash: String,
}

/// `PUT /v1/token`
pub(super) async fn put(
    State(doors): State<Arc<Hall>>,
    request: Request,
) -> Result<Response, Problem> {
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
    let wanted: Option<Wanted> = serde_json::from_slice(&bytes).ok();
    let hash = wanted
        .and_then(|wanted| parse_hash(&wanted.hash))
        .ok_or_else(|| {
            Problem::new(
                MALFORMED,
                "not {\"hash\":\"sha256:<64 hex digits>\"} of the new token",
            )
        })?;
    let set = SetToken {
        name: "admin".to_owned(),
        hash,
        only_if_absent: false,
    };
    (doors.admin)(Command::SetToken(set)).await?;
    Ok(json(
        StatusCode::OK,
        &json!({ "token": "admin", "changed": true }),
    ))
}
