//! The way of a person: the hosted page, the page again with what is wrong, the thanks page.
//!
//! Holds: works without scripts; everything typed comes back escaped (the templates do that) and
//! the policy sent with each page lets nothing run. A page carries a fresh idempotency key, so
//! pressing the button twice, or again after "not known", makes one submission.
//! Why the thanks page needs no index of its own: its address names the record's place, and the id
//! in it, which nobody can guess, must be the one that lies there.

use std::sync::Arc;

use axum::body::Body as RequestBody;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use storage::{Index, Placed, Record, Seq};
use tracing::error;

use super::cors::Consent;
use super::error::{self as problems, Problem};
use super::fields::{Pairs, escape};
use super::query::{Parameter, Query};
use super::{Hall, accept, next, submit};
use crate::forms::{Form, PageInput, form_page, message_page, style_source, thanks_page};
use crate::ingest::{Body, Receipt};

/// Parameters of the hosted page.
pub(super) const PAGE_QUERY: &[Parameter] = &[(
    "_next",
    "where to go after the submission; one of the form's targets",
)];
/// Parameters of the thanks page.
pub(super) const THANKS_QUERY: &[Parameter] = &[
    ("seq", "the record's place in the form's order"),
    ("index", "the log entry, for a submission that is withheld"),
];

/// `GET /f/{form}`
pub(super) async fn page(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(form) = doors.form(&name).await else {
        return say(&headers, Problem::no_form(&name));
    };
    if form.is_retired {
        let text = "This form takes no more submissions.";
        return html(
            &doors,
            StatusCode::GONE,
            message_page(&form.definition.title, text),
            None,
        );
    }
    let query = match Query::parse(query.as_deref(), PAGE_QUERY) {
        Ok(query) => query,
        Err(problem) => return say(&headers, problem),
    };
    let next = query.text("_next");
    if let Some(Err(problem)) = next.map(|next| next::check(&form.definition.next, next)) {
        return say(&headers, problem);
    }
    let input = PageInput {
        typed: &[],
        faults: &[],
        idempotency_key: &fresh_key(),
        next,
        notice: None,
    };
    html(
        &doors,
        StatusCode::OK,
        form_page(&form, &input),
        Some(&form),
    )
}

/// `POST /f/{form}`, from a page.
pub(super) async fn submit(
    doors: &Hall,
    form: &Arc<Form>,
    headers: &HeaderMap,
    body: RequestBody,
) -> Response {
    let consent = match Consent::of(doors, form, headers) {
        Ok(consent) => consent,
        Err(problem) => return say(headers, problem),
    };
    let (body, _room) = match submit::read(doors, headers, body).await {
        Ok(read) => read,
        Err(problem) => return consent.tell(say(headers, problem)),
    };
    // Only a page's fields can be shown again; JSON never comes this way.
    let typed = match &body {
        Body::Pairs(pairs) if accept::wants_page(headers) => pairs.clone(),
        Body::Pairs(_) | Body::Json(_) => Vec::new(),
    };
    let answer = match submit::check_and_take(doors, form, headers, body).await {
        Ok((receipt, next)) => see_other(next.or_else(|| thanks_address(&receipt))),
        Err(problem) => refuse(doors, form, headers, &typed, problem),
    };
    consent.tell(answer)
}

/// `GET /f/{form}/thanks/{id}`
pub(super) async fn thanks(
    State(doors): State<Arc<Hall>>,
    Path((name, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match receipt(&doors, &name, &id, query.as_deref()).await {
        Ok((title, receipt)) => html(&doors, StatusCode::OK, thanks_page(&title, &receipt), None),
        Err(problem) => say(&headers, problem),
    }
}

async fn receipt(
    doors: &Hall,
    name: &str,
    id: &str,
    query: Option<&str>,
) -> Result<(String, Receipt), Problem> {
    let form = doors
        .form(name)
        .await
        .ok_or_else(|| Problem::no_form(name))?;
    let query = Query::parse(query, THANKS_QUERY)?;
    let nothing = || {
        Problem::new(
            problems::NOT_FOUND,
            "there is no receipt under this address",
        )
    };
    let id = uuid::Uuid::parse_str(id)
        .map_err(|_| nothing())?
        .into_bytes();
    let seq = query.value("seq", 0)?;
    let index = query.value("index", 0)?;
    let place = (seq, index, id);
    let mut found = record_at(doors, &form, place).await?;
    if found.is_none() {
        if !doors.is_brought_up().await {
            return Err(Problem::being_copied());
        }
        found = record_at(doors, &form, place).await?;
    }
    let record = found.ok_or_else(nothing)?;
    let receipt = receipt_of(doors, &form, &record)?;
    Ok((form.definition.title.clone(), receipt))
}

/// What lies at that place, if it is what the address names.
async fn record_at(
    doors: &Hall,
    form: &Form,
    (seq, index, id): (u64, u64, [u8; 16]),
) -> Result<Option<Record>, Problem> {
    let found = if seq > 0 {
        doors.view.record(form.id, Seq(seq)).await?
    } else {
        doors.view.withheld_in(form.id, Index(index), id).await?
    };
    Ok(found.filter(|record| record.id == id))
}

fn receipt_of(doors: &Hall, form: &Form, record: &Record) -> Result<Receipt, Problem> {
    let placed = Placed {
        id: record.id,
        seq: record.seq,
        index: record.source.index,
        received_ms: record.received_ms,
        terms: doors.view.terms((doors.voters)())?,
    };
    Ok(Receipt::new(&form.name, &placed, false))
}

fn thanks_address(receipt: &Receipt) -> Option<HeaderValue> {
    let Receipt {
        id,
        form,
        seq,
        index,
        ..
    } = receipt;
    let place = seq.map_or_else(|| format!("index={index}"), |seq| format!("seq={seq}"));
    HeaderValue::from_str(&format!("/f/{}/thanks/{id}?{place}", escape(form))).ok()
}

fn see_other(target: Option<HeaderValue>) -> Response {
    let Some(target) = target else {
        // A form's name and an id are plain text: this cannot be reached.
        error!("a receipt has no address");
        return StatusCode::CREATED.into_response();
    };
    let headers = [
        (header::LOCATION, target),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// A refusal: to a browser the page again, where that can help.
fn refuse(
    doors: &Hall,
    form: &Form,
    headers: &HeaderMap,
    typed: &Pairs,
    problem: Problem,
) -> Response {
    let is_final = [problems::RETIRED, problems::BAD_TARGET, problems::BAD_KEY];
    if !accept::wants_page(headers) || is_final.iter().any(|kind| problem.is(kind)) {
        return say(headers, problem);
    }
    let field = |wanted: &str| {
        typed
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let kept = field("_idempotency_key").filter(|key| !key.is_empty());
    let key = match kept {
        Some(key) if !problem.is(problems::KEY_REUSED) => key.to_owned(),
        Some(_) | None => fresh_key(),
    };
    let data: Pairs = typed
        .iter()
        .filter(|(name, _)| !form.definition.is_reserved(name))
        .cloned()
        .collect();
    let notice = notice(&problem);
    let input = PageInput {
        typed: &data,
        faults: problem.errors(),
        idempotency_key: &key,
        next: field("_next").filter(|next| next::check(&form.definition.next, next).is_ok()),
        notice: notice.as_deref(),
    };
    let mut response = html(doors, problem.status(), form_page(form, &input), Some(form));
    for (name, value) in problem.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// What the page says above the fields; nothing where the faults beside them say it all.
fn notice(problem: &Problem) -> Option<String> {
    if problem.is(problems::INVALID) && !problem.errors().is_empty() {
        return None;
    }
    let said = if problem.is(problems::KEY_REUSED) {
        "This page was sent once already, with other answers. Send it again to add these as well."
    } else if problem.is(problems::UNKNOWN) {
        "It is not known whether this arrived. Send it again: it will not be counted twice."
    } else if problem.status().is_server_error() {
        "This could not be taken just now, and nothing was lost. Please send it again in a moment."
    } else {
        return Some(match problem.detail() {
            "" => format!("{}.", problem.title()),
            detail => format!("{}: {detail}.", problem.title()),
        });
    };
    Some(said.to_owned())
}

/// A problem, as a page to browsers and as a document to everybody else.
pub(super) fn say(headers: &HeaderMap, problem: Problem) -> Response {
    if !accept::wants_page(headers) {
        return problem.into_response();
    }
    let text = match problem.detail() {
        "" => problem.title(),
        detail => detail,
    };
    let page = message_page(problem.title(), text);
    let mut response = (problem.status(), page).into_response();
    guard(response.headers_mut(), "'none'", "'none'");
    for (name, value) in problem.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// A page; `form`: whose page it is, if there is something to send.
fn html(doors: &Hall, status: StatusCode, page: String, form: Option<&Form>) -> Response {
    let mut targets = vec!["'self'".to_owned()];
    let allowed = form
        .map(|form| form.definition.next.as_slice())
        .unwrap_or_default();
    targets.extend(allowed.iter().filter_map(|one| next::site(one)));
    let frames = match doors.config.frame_ancestors.as_slice() {
        [] => "'none'".to_owned(),
        sites => sites.join(" "),
    };
    let mut response = (status, page).into_response();
    guard(response.headers_mut(), &targets.join(" "), &frames);
    response
}

/// Only the pages' own style sheet applies, nothing runs, nothing is fetched; where a form may be
/// sent and who may frame it is said by the caller.
///
/// `same-origin` and not `no-referrer`: under that one a browser would hide the page's origin from
/// this node too, when it submits.
fn guard(headers: &mut HeaderMap, targets: &str, frames: &str) {
    let policy = format!(
        "default-src 'none'; style-src {}; base-uri 'none'; form-action {targets}; \
         frame-ancestors {frames}",
        style_source()
    );
    // Sites are plain text: they were parsed, or checked with the settings.
    let policy = HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}

/// 128 bits that nobody else has.
fn fresh_key() -> String {
    let mut dice = [0; 16];
    match getrandom::fill(&mut dice) {
        Ok(()) => format!("{:032x}", u128::from_be_bytes(dice)),
        Err(error) => {
            // Without dice the page still works; only a doubled click is not caught.
            error!(%error, "no random bytes");
            String::new()
        }
    }
}
