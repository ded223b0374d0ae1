//! Submissions: the bytes of a request become what `ingest` takes, its receipt an answer.
//!
//! Holds: who may, from where and to where is settled before `ingest` sees a submission; an answer
//! 2xx is made from a receipt and from nothing else. For a program a refusal is a problem document,
//! for a browser the page again with what was typed (see `browser`).
//! Why the long ways are boxed one by one: the allocator serves a box of up to 1 KiB from the
//! thread's own cache, and all of it in one would take twice that.

use std::sync::Arc;

use axum::body::{Body as RequestBody, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use storage::Key;

use super::Hall;
use super::body::Room;
use super::cors::Consent;
use super::error::{BAD_KEY, MEDIA_TYPE, Problem};
use super::fields::{Pairs, parse_multipart, parse_urlencoded};
use super::{accept, auth, body, browser, ndjson, next};
use crate::forms::Form;
use crate::ingest::{Body, Receipt, peek};

/// The client's word for "the same submission".
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a submission may come as.
pub(super) const TAKES: &[&str] = &[
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];
/// What only a program sends.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// As far as an outer multipart or an escape makes a body longer than what it means.
const WRAPPING_MAX: usize = 3;
/// Most receipts are not longer; what is longer only costs growing.
const RECEIPT_BYTES: usize = 256;

/// `POST /f/{form}`: from a page, or from a program.
pub(super) async fn from_page(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    let is_program = accept::wants_json(&headers) || is_json(&accept::content_type(&headers));
    let Some(form) = doors.form(&name).await else {
        let problem = Problem::no_form(&name);
        return if is_program {
            problem.into_response()
        } else {
            browser::say(&headers, problem)
        };
    };
    if is_program {
        return Box::pin(to_program(&doors, &form, &headers, body)).await;
    }
    Box::pin(browser::submit(&doors, &form, &headers, body)).await
}

/// `POST /v1/forms/{form}/submissions`: from a program, one or many.
pub(super) async fn from_program(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    let Some(form) = doors.form(&name).await else {
        return Problem::no_form(&name).into_response();
    };
    let kind = accept::content_type(&headers);
    if kind == NDJSON || kind == "application/jsonl" || kind == "application/ndjson" {
        return ndjson::submit(doors, form, &headers, body);
    }
    Box::pin(to_program(&doors, &form, &headers, body)).await
}

async fn to_program(
    doors: &Hall,
    form: &Arc<Form>,
    headers: &HeaderMap,
    body: RequestBody,
) -> Response {
    let consent = match Consent::of(doors, form, headers) {
        Ok(consent) => consent,
        Err(problem) => return problem.into_response(),
    };
    let answer = match read_and_take(doors, form, headers, body).await {
        Ok(receipt) => created(&receipt),
        Err(problem) => problem.into_response(),
    };
    consent.tell(answer)
}

async fn read_and_take(
    doors: &Hall,
    form: &Arc<Form>,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<Receipt, Problem> {
    let (body, _room) = read(doors, headers, body).await?;
    check_and_take(doors, form, headers, body)
        .await
        .map(|(receipt, _)| receipt)
}

/// Checks what the door's own members say, then hands the body over. Also gives where to lead the
/// browser.
pub(super) async fn check_and_take(
    doors: &Hall,
    form: &Arc<Form>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Receipt, Option<HeaderValue>), Problem> {
    let said = peek(&body);
    auth::may_submit(doors, form, headers, said.key.as_deref())?;
    let next = said
        .next
        .map(|target| next::check(&form.definition.next, &target))
        .transpose()?;
    let key = idempotency_key(headers)?.map(Key::Own);
    let receipt = Box::pin(doors.ingest.submit(form, body, key)).await?;
    Ok((receipt, next))
}

/// Reads the body as what its type says. The room that it takes is given back when the answer is
/// known.
pub(super) async fn read(
    doors: &Hall,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<(Body, Room), Problem> {
    let kind = accept::content_type(headers);
    let is_pairs = TAKES.iter().skip(1).any(|one| *one == kind);
    if !is_json(&kind) && !is_pairs {
        let takes = HeaderValue::from_static(
            "application/json, application/x-www-form-urlencoded, multipart/form-data",
        );
        let detail = format!("{kind:?} is not taken here; taken: {}", TAKES.join(", "));
        return Err(Problem::new(MEDIA_TYPE, detail)
            .with_header(HeaderName::from_static("accept-post"), takes)
            .closing());
    }
    let charset = accept::content_parameter(headers, "charset");
    if charset.is_some_and(|charset| charset != "utf-8") {
        return Err(Problem::new(MEDIA_TYPE, "the charset must be UTF-8").closing());
    }
    // Pairs may be longer than the document that they mean; ingest measures that one.
    let bytes_max = doors.submission_bytes_max * if is_pairs { WRAPPING_MAX } else { 1 };
    let mut room = Room::new(&doors.body_room);
    let bytes = body::read(headers, body, bytes_max, &doors.config, &mut room).await?;
    let body = if is_pairs {
        // Its parser is large, and most bodies are JSON.
        Body::Pairs(Box::pin(pairs(headers, &kind, bytes)).await?)
    } else {
        Body::Json(bytes)
    };
    Ok((body, room))
}

async fn pairs(headers: &HeaderMap, kind: &str, bytes: Bytes) -> Result<Pairs, Problem> {
    if kind == "multipart/form-data" {
        return parse_multipart(headers, bytes).await;
    }
    Ok(parse_urlencoded(&bytes)?)
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The header's key, bare or as a quoted string.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::new(BAD_KEY, "the header is given twice"));
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::new(BAD_KEY, "it is not UTF-8"))?;
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Ok(Some(bare.unwrap_or(text).to_owned()))
}

/// 201 with the receipt, and where the record can be read.
fn created(receipt: &Receipt) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seq) = receipt.seq {
        let place = format!("/v1/forms/{}/submissions/{seq}", receipt.form);
        headers.extend(
            HeaderValue::from_str(&place)
                .ok()
                .map(|place| (header::LOCATION, place)),
        );
    }
    let mut body = Vec::with_capacity(RECEIPT_BYTES);
    // A receipt is strings and numbers: it has no way to fail.
    drop(serde_json::to_writer(&mut body, receipt));
    (StatusCode::CREATED, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_bare_or_quoted_and_once() {
        let with = |values: &[&'static str]| {
            values
                .iter()
                .map(|value| (IDEMPOTENCY_KEY, HeaderValue::from_static(value)))
                .collect()
        };
        let key = |values: &[&'static str]| idempotency_key(&with(values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["abc"]).unwrap().as_deref(), Some("abc"));
        assert_eq!(key(&["\"abc\""]).unwrap().as_deref(), Some("abc"));
        assert_eq!(key(&["\""]).unwrap().as_deref(), Some("\""));
        assert!(key(&["a", "b"]).is_err());
    }

    #[test]
    fn json_has_many_names() {
        assert!(is_json("application/json"));
        assert!(is_json("application/cloudevents+json"));
        assert!(!is_json("text/json"));
        assert!(!is_json(""));
    }
}
