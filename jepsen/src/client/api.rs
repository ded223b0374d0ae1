//! The calls of the product's HTTP, and what its answers mean for a history.
//!
//! Holds: only a 2xx with a well-formed receipt is `Ok`; only a 4xx, and 507 (no room, at the
//! door), is `Refused`; everything else is unknown. Written from the contract, not from the product's code.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::checker::digest;
use crate::checker::sight::Row;
use crate::client::{Answer, Call, Client, Failure};
use crate::form::{Bodies, Form, Submission};
use crate::history::{History, Receipt, What};

/// What was asked for has left the log.
const GONE: u16 = 410;
/// The disk is full: refused, nothing of it is kept.
pub(crate) const FULL: u16 = 507;
pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const PROBLEM: &str = "application/problem+json";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Debug, Deserialize)]
struct WireReceipt {
    id: String,
    form: String,
    seq: Option<u64>,
    received_at: String,
    index: u64,
    durability: String,
    replicas: String,
    duplicate: bool,
}

#[derive(Debug, Deserialize)]
struct WireRecord {
    seq: u64,
    id: String,
    received_at: String,
    index: u64,
    data: Value,
}

#[derive(Debug, Deserialize)]
struct WirePage {
    form: String,
    records: Vec<WireRecord>,
    head: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Found {
    Page(Page),
    /// The next have left the log. From there on it has all.
    Gone {
        oldest: u64,
    },
}

/// Some records of a form, and the form's head.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) head: u64,
}

pub(crate) fn receipt(form: Form, body: &[u8]) -> anyhow::Result<Receipt> {
    let wire: WireReceipt = serde_json::from_slice(body).context("not a receipt")?;
    ensure!(wire.form == form.name(), "a receipt of form {}", wire.form);
    ensure!(wire.seq != Some(0), "seqs begin at 1");
    let mut terms = DefaultHasher::new();
    (&wire.durability, &wire.replicas).hash(&mut terms);
    Ok(Receipt {
        id: id(&wire.id)?,
        seq: wire.seq,
        received_at: stamp(&wire.received_at)?,
        index: wire.index,
        terms: terms.finish(),
        is_duplicate: wire.duplicate,
    })
}

/// A uuid as a number.
pub(crate) fn id(text: &str) -> anyhow::Result<u128> {
    ensure!(text.len() == 36, "not an id: {text}");
    let digits = text.chars().filter(|char| *char != '-').collect::<String>();
    u128::from_str_radix(&digits, 16).with_context(|| format!("not an id: {text}"))
}

/// The digits of an RFC 3339 time in milliseconds, as one number.
pub(crate) fn stamp(text: &str) -> anyhow::Result<u64> {
    let digits = text
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>();
    ensure!(
        text.len() == 24 && text.ends_with('Z') && digits.len() == 17,
        "not a time: {text}"
    );
    digits
        .parse()
        .with_context(|| format!("not a time: {text}"))
}

/// A record as `GET`, export and tail show it.
pub(crate) fn record(bodies: Bodies, form: Form, text: &[u8]) -> anyhow::Result<Row> {
    let wire: WireRecord = serde_json::from_slice(text).context("not a record")?;
    row(bodies, form, &wire)
}

fn row(bodies: Bodies, form: Form, wire: &WireRecord) -> anyhow::Result<Row> {
    let marker = wire.data.get(form.marker_field()).and_then(Value::as_str);
    Ok(Row {
        seq: wire.seq,
        id: id(&wire.id)?,
        received_at: stamp(&wire.received_at)?,
        index: Some(wire.index),
        marker: marker.and_then(|text| bodies.marker_of(form, text)),
        digest: digest::document(&wire.data),
    })
}

/// A page of records behind `after`.
pub(crate) async fn page(
    client: &mut Client,
    token: &str,
    (bodies, form): (Bodies, Form),
    after: u64,
    limit: u64,
) -> anyhow::Result<Found> {
    let path = format!(
        "/v1/forms/{}/submissions?after={after}&limit={limit}",
        form.name()
    );
    let call = Call::get(path).bearer(token).header("accept", JSON);
    let answer = client.call(&call).await?;
    if answer.status == GONE {
        let oldest = oldest(&answer, after)?;
        return Ok(Found::Gone { oldest });
    }
    ensure!(
        answer.status == 200,
        "reading {}: {} {}",
        form.name(),
        answer.status,
        answer.text()
    );
    let wire: WirePage = serde_json::from_slice(&answer.body).context("not a page of records")?;
    ensure!(wire.form == form.name(), "a page of form {}", wire.form);
    let rows = wire.records.iter().map(|wire| row(bodies, form, wire));
    Ok(Found::Page(Page {
        rows: rows.collect::<anyhow::Result<_>>()?,
        head: wire.head,
    }))
}

/// The form's newest seq, read so that nothing acknowledged before is missing.
pub(crate) async fn newest(client: &mut Client, token: &str, form: Form) -> anyhow::Result<u64> {
    let name = form.name();
    let path = format!("/v1/forms/{name}/submissions?after=0&limit=1&consistent=true");
    let call = Call::get(path).bearer(token).header("accept", JSON);
    let answer = client.call(&call).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let wire: WirePage = serde_json::from_slice(&answer.body).context("not a page of records")?;
    Ok(wire.head)
}

/// What a 410 names as the oldest; it must lie behind what was asked for.
fn oldest(answer: &Answer, after: u64) -> anyhow::Result<u64> {
    let problem = problem(answer)?;
    let oldest = problem.get("oldest_seq").and_then(Value::as_u64);
    let oldest = oldest.with_context(|| format!("410 without oldest_seq: {problem}"))?;
    ensure!(
        oldest > after + 1,
        "asked behind {after}, 410 and the oldest is {oldest}"
    );
    Ok(oldest)
}

/// The call that posts one document.
pub(crate) fn submit_call(submission: &Submission) -> Call {
    let path = format!("/v1/forms/{}/submissions", submission.form.name());
    let call = Call::post(path, JSON, submission.data.to_string()).header("accept", JSON);
    match &submission.key {
        Some(key) => call.header("idempotency-key", key.as_str()),
        None => call,
    }
}

/// Posts it, and notes both the sending and the answer.
pub(crate) async fn submit(
    client: &mut Client,
    history: &History,
    process: u32,
    submission: &Submission,
) -> anyhow::Result<What> {
    history.invoke(process, submission);
    let outcome = outcome(submission.form, client.call(&submit_call(submission)).await);
    // Also a broken answer is noted: without it the document would look refused.
    history.push(
        submission.marker,
        *outcome.as_ref().unwrap_or(&What::Unknown),
    );
    outcome
}

/// What an answer to a submission means.
pub(crate) fn outcome(form: Form, answer: Result<Answer, Failure>) -> anyhow::Result<What> {
    match answer {
        Ok(answer) if answer.is_success() => {
            ensure!(
                matches!(answer.status, 200 | 201),
                "a receipt with {}",
                answer.status
            );
            Ok(What::Ok(receipt(form, &answer.body)?))
        }
        Ok(answer) if matches!(answer.status, 400..=499 | FULL) => {
            problem(&answer)?;
            Ok(What::Refused(answer.status))
        }
        Ok(answer) if answer.status >= 500 => Ok(What::Unknown),
        Ok(answer) => bail!("{} to a submission", answer.status),
        Err(Failure::NotSent(_)) => Ok(What::NotSent),
        Err(Failure::Unknown(_)) => Ok(What::Unknown),
    }
}

/// The members of a problem document, which must be one.
pub(crate) fn problem(answer: &Answer) -> anyhow::Result<Value> {
    let kind = answer.header("content-type");
    ensure!(
        kind.starts_with(PROBLEM),
        "{} with content type {kind:?}",
        answer.status
    );
    let problem: Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("not a problem document: {}", answer.text()))?;
    let status = problem.get("status").and_then(Value::as_u64);
    ensure!(
        status == Some(answer.status.into()),
        "{} says status {status:?}",
        answer.status
    );
    for member in ["type", "title"] {
        let text = problem
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default();
        ensure!(!text.is_empty(), "a problem without {member}: {problem}");
    }
    Ok(problem)
}

#[cfg(test)]
mod tests {
    use super::{id, oldest, outcome, receipt, stamp};
    use crate::client::{Answer, Failure};
    use crate::form::Form;
    use crate::history::What;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status,
            headers: hyper::HeaderMap::new(),
            body: body.into(),
        }
    }

    fn problem(status: u16, body: &'static str) -> Answer {
        let mut answer = answer(status, body);
        let kind = hyper::header::HeaderValue::from_static(super::PROBLEM);
        answer.headers.insert("content-type", kind);
        answer
    }

    #[test]
    fn a_410_names_an_oldest_that_lies_behind_what_was_asked_for() {
        let gone = problem(
            410,
            r#"{"type":"/problems/below","title":"Gone","status":410,"oldest_seq":9}"#,
        );
        assert_eq!(oldest(&gone, 0).unwrap(), 9);
        assert_eq!(oldest(&gone, 7).unwrap(), 9);
        assert!(oldest(&gone, 8).is_err());
        assert!(oldest(&gone, 20).is_err());
        let mute = problem(
            410,
            r#"{"type":"/problems/below","title":"Gone","status":410}"#,
        );
        assert!(oldest(&mute, 0).is_err());
        assert!(oldest(&answer(410, r#"{"oldest_seq":9}"#), 0).is_err());
    }

    const RECEIPT: &str = r#"{"id":"0192f0c1-2b3c-7def-8123-456789abcdef","form":"jepsen","seq":17,
        "received_at":"2026-11-24T21:57:34.123Z","index":4711,"durability":"fsync","replicas":"1/1",
        "duplicate":false}"#;

    #[test]
    fn a_receipt_is_read_whole() {
        let receipt = receipt(Form::Free, RECEIPT.as_bytes()).unwrap();
        assert_eq!((receipt.seq, receipt.index), (Some(17), 4711));
        assert_eq!(receipt.received_at, 20_261_124_215_734_123);
        assert!(super::receipt(Form::Retire, RECEIPT.as_bytes()).is_err());
    }

    #[test]
    fn ids_and_times_of_other_shapes_are_refused() {
        assert!(id("0192f0c1").is_err());
        assert!(stamp("2026-11-24T21:57:34Z").is_err());
    }

    #[test]
    fn only_a_receipt_is_a_promise_and_only_a_4xx_or_507_a_refusal() {
        let ok = outcome(Form::Free, Ok(answer(201, RECEIPT)));
        assert!(matches!(ok.unwrap(), What::Ok(_)));
        assert!(outcome(Form::Free, Ok(answer(201, "{}"))).is_err());
        assert!(outcome(Form::Free, Ok(answer(202, RECEIPT))).is_err());
        assert!(outcome(Form::Free, Ok(answer(422, "{}"))).is_err());
        assert!(outcome(Form::Free, Ok(answer(507, "full"))).is_err());
        let full = problem(
            507,
            r#"{"type":"/problems/full","title":"Full","status":507}"#,
        );
        let full = outcome(Form::Free, Ok(full));
        assert!(matches!(full.unwrap(), What::Refused(507)));
        let unknown = outcome(Form::Free, Ok(answer(503, "")));
        assert!(matches!(unknown.unwrap(), What::Unknown));
        let lost = outcome(Form::Free, Err(Failure::Unknown(String::new())));
        assert!(matches!(lost.unwrap(), What::Unknown));
    }
}
