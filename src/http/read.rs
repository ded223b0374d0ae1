//! Reading what was accepted: a form's records in order, and one by its seq.
//!
//! Holds: a list ends at the form's head as it was when the list began, so it ends; it is read and
//! sent piece by piece, whatever its length; a table has the columns of every version that its
//! records have. One that cannot be read to its end is broken off, so
//! that no client takes a part for the whole.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use storage::{FormId, Record, Seq};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{NOT_ACCEPTABLE, NOT_FOUND, Problem};
use super::fresh::{self, Reading};
use super::query::{Parameter, Query};
use super::render::{Format, OFFERS};
use super::{Hall, accept, span, wire};
use crate::forms::Form;

/// Parameters of a list.
pub(super) const QUERY: &[Parameter] = &[
    (
        "after",
        "the seq before the first one wanted; 0 (default): from the beginning",
    ),
    ("limit", "at most so many; default 1000"),
    (
        "wait",
        "where there is nothing yet: wait for it so long, such as 30s",
    ),
    fresh::CONSISTENT,
];
/// Parameters of one record.
pub(super) const ONE_QUERY: &[Parameter] = &[fresh::CONSISTENT];
const LIMIT_DEFAULT: u64 = 1000;
/// The form's last seq, in every list's header.
const HEAD: HeaderName = HeaderName::from_static("formspool-head");

/// `GET /v1/forms/{form}/submissions`
pub(super) async fn list(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = doors
        .form(&name)
        .await
        .ok_or_else(|| Problem::no_form(&name))?;
    let query = Query::parse(query.as_deref(), QUERY)?;
    let after = Seq(query.value("after", 0)?);
    let limit = query.value("limit", LIMIT_DEFAULT)?;
    let wait = query
        .with("wait", Duration::ZERO, span::parse)?
        .min(doors.config.wait_time_max());
    let media_type = accept::best(&headers, OFFERS).ok_or_else(|| {
        let detail = format!("there is {}", OFFERS.join(", "));
        Problem::new(NOT_ACCEPTABLE, detail)
    })?;
    if !wait.is_zero() {
        doors
            .view
            .wait_beyond(form.id, after, wait, &doors.stopping)
            .await?;
    }
    let reading = Reading::of(&doors, &query).await?;
    let room = Arc::clone(&doors.stream_room).try_acquire_owned();
    let room = room.map_err(|_| Problem::no_room("too many lists are being sent"))?;
    let head = doors.view.head(form.id)?;
    // Read after the head: a version that came while we waited has records below it.
    let form = doors
        .registry
        .get(&name)
        .ok_or_else(|| Problem::no_form(&name))?;
    let format = format(&doors, &form, media_type).await?;
    let mut walk = Walk {
        form: form.id,
        last: after,
        left: limit,
        head,
        format,
        is_first: true,
        is_done: false,
        doors,
        _room: room,
    };
    // The first piece is read before the status is sent: what cannot be read at all is a problem.
    let mut begin = walk.format.begin(&form.name);
    begin.extend(walk.next_piece().await?);
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, walk.format.content_type());
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert(HEAD, HeaderValue::from(head.0));
    answer.insert(header::VARY, HeaderValue::from_static("accept"));
    reading.tell(&mut answer);
    if walk.is_done {
        return Ok((StatusCode::OK, answer, begin).into_response());
    }
    let pieces = stream::unfold(Some((walk, Some(begin))), following);
    Ok((StatusCode::OK, answer, Body::from_stream(pieces)).into_response())
}

/// `GET /v1/forms/{form}/submissions/{seq}`
pub(super) async fn one(
    State(doors): State<Arc<Hall>>,
    Path((name, seq)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = doors
        .form(&name)
        .await
        .ok_or_else(|| Problem::no_form(&name))?;
    let query = Query::parse(query.as_deref(), ONE_QUERY)?;
    let nothing = || Problem::new(NOT_FOUND, format!("{name} has no record {seq}"));
    let seq: u64 = seq.parse().map_err(|_| nothing())?;
    let reading = Reading::of(&doors, &query).await?;
    let mut found = doors.view.record(form.id, Seq(seq)).await?;
    if found.is_none() && doors.is_brought_up().await {
        found = doors.view.record(form.id, Seq(seq)).await?;
    }
    let record = found.ok_or_else(nothing)?;
    let tasks = (doors.delivery)(&form.name, record.position);
    let mut out = Vec::with_capacity(record.body.len() + 512);
    wire::write_record(&mut out, &record, Some(&tasks));
    let mut response = super::json_bytes(StatusCode::OK, out);
    reading.tell(response.headers_mut());
    Ok(response)
}

async fn format(doors: &Hall, form: &Arc<Form>, media_type: &str) -> Result<Format, Problem> {
    match media_type {
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" => Ok(Format::Ndjson),
        _ => {
            let (columns, has_others) = doors.view.columns(Arc::clone(form)).await?;
            Ok(Format::Csv {
                columns,
                has_others,
            })
        }
    }
}

/// A list on its way.
struct Walk {
    doors: Arc<Hall>,
    form: FormId,
    /// The last seq that was read, or `after`.
    last: Seq,
    left: u64,
    head: Seq,
    format: Format,
    is_first: bool,
    is_done: bool,
    _room: OwnedSemaphorePermit,
}

impl Walk {
    /// The next records as bytes; with the last ones, what closes the list.
    async fn next_piece(&mut self) -> Result<Vec<u8>, Problem> {
        let to_head = self.head.0.saturating_sub(self.last.0);
        let wanted = usize::try_from(self.left.min(to_head)).unwrap_or(usize::MAX);
        let records = if wanted == 0 {
            Vec::new()
        } else {
            self.doors
                .view
                .records(self.form, self.last, wanted)
                .await?
        };
        check_order(self.last, &records);
        let mut out = self.format.records(&records, self.is_first);
        self.is_first &= records.is_empty();
        self.left -= records.len() as u64;
        self.last.0 += records.len() as u64;
        self.is_done = records.is_empty() || self.left == 0 || self.last >= self.head;
        if self.is_done {
            out.extend(self.format.end(self.last, self.head));
        }
        Ok(out)
    }
}

/// A list with a hole in it would be believed.
fn check_order(last: Seq, records: &[Record]) {
    for (record, before) in records.iter().zip(last.0..) {
        let seq = Seq(before).next();
        assert!(
            record.seq == Some(seq),
            "after {last}: {:?} where {seq} belongs",
            record.seq
        );
    }
}

/// The next piece: the one at hand, else one that is read now.
async fn following(
    state: Option<(Walk, Option<Vec<u8>>)>,
) -> Option<(
    Result<Bytes, std::io::Error>,
    Option<(Walk, Option<Vec<u8>>)>,
)> {
    let (mut walk, at_hand) = state?;
    if let Some(piece) = at_hand {
        return Some((Ok(piece.into()), Some((walk, None))));
    }
    if walk.is_done {
        return None;
    }
    match walk.next_piece().await {
        Ok(piece) => Some((Ok(piece.into()), Some((walk, None)))),
        Err(problem) => {
            let why = std::io::Error::other(problem.detail().to_owned());
            Some((Err(why), None))
        }
    }
}
