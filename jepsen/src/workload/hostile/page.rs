//! Strange values, through the hosted page and through programs: stored as typed, shown escaped.

use anyhow::ensure;
use serde_json::json;

use crate::checker::digest::Digests;
use crate::client::api::{FORM, JSON};
use crate::client::{Answer, Call, api};
use crate::form::{Form, Submission};
use crate::history::What;
use crate::workload::Run;
use crate::workload::hostile::{Door, brief};

const PAGE: &str = "/f/jepsen-door";
const STRANGE: [&str; 9] = [
    "=cmd|' /C calc'!A0",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "'; DROP TABLE forms; --",
];

pub(super) async fn run(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    for text in STRANGE {
        let submission = strange(run, text);
        let outcome = api::submit(&mut door.client, &run.history, 0, &submission).await;
        door.cases += 1;
        run.note(
            outcome
                .and_then(|outcome| outcome.receipt(text))
                .map(|_| ()),
        );
    }
    crlf(run, door).await?;
    let typed = typed_back(run, door).await;
    run.note(typed);
    let went = went_on(run, door).await;
    run.note(went);
    Ok(())
}

fn strange(run: &Run, text: &str) -> Submission {
    let mut submission = run.submission(Form::Door, None);
    if let Some(data) = submission.data.as_object_mut() {
        data.insert("text".to_owned(), text.into());
    }
    submission.digests = Digests::of(&submission.data);
    submission
}

/// CRLF in a field becomes LF, and never a line of a header.
async fn crlf(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    door.cases += 1;
    let submission = strange(run, "one\nSet-Cookie: a=b\n\ntwo");
    let marker = run.bodies.marker_text(Form::Door, submission.marker);
    let text = "one%0D%0ASet-Cookie:+a%3Db%0D%0A%0D%0Atwo";
    let body = format!("marker={marker}&email=someone%40example.com&text={text}");
    run.history.invoke(0, &submission);
    let answer = door
        .client
        .call(&Call::post(PAGE, FORM, body).header("accept", JSON))
        .await;
    let has_cookie = answer
        .as_ref()
        .is_ok_and(|answer| !answer.header("set-cookie").is_empty());
    let outcome = api::outcome(Form::Door, answer);
    run.history.push(
        submission.marker,
        *outcome.as_ref().unwrap_or(&What::Unknown),
    );
    run.note(outcome.and_then(|outcome| {
        ensure!(!has_cookie, "a header made from a field");
        ensure!(
            matches!(outcome, What::Ok(_)),
            "CRLF in a field: {outcome:?}"
        );
        Ok(())
    }));
    Ok(())
}

/// After a refusal the page shows what was typed, and runs none of it.
async fn typed_back(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    door.cases += 1;
    let submission = run.submission(Form::Door, None);
    let marker = run.bodies.marker_text(Form::Door, submission.marker);
    let text = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let body = format!("marker={marker}&email=nobody&text={text}");
    run.history.invoke(0, &submission);
    run.history.push(submission.marker, What::Refused(422));
    let answer = door
        .client
        .call(&Call::post(PAGE, FORM, body).header("accept", "text/html"))
        .await?;
    page(&answer, 422)?;
    let html = answer.text();
    ensure!(
        html.contains(&marker) && html.contains("nobody"),
        "what was typed is not shown"
    );
    ensure!(
        html.contains("&lt;script&gt;"),
        "the strange value is not shown escaped"
    );
    Ok(())
}

/// A good one from the page goes to its thanks page, or to an allowed target.
async fn went_on(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    door.cases += 2;
    for next in [None, Some("https://example.com/allowed/thanks")] {
        let submission = run.submission(Form::Door, None);
        let marker = run.bodies.marker_text(Form::Door, submission.marker);
        let mut body = format!("marker={marker}&email=someone%40example.com");
        if next.is_some() {
            body.push_str("&_next=https%3A%2F%2Fexample.com%2Fallowed%2Fthanks");
        }
        run.history.invoke(0, &submission);
        // A page has no receipt to check, so it may be there or not, but not twice or altered.
        run.history.push(submission.marker, What::Unknown);
        let call = Call::post(PAGE, FORM, body).header("accept", "text/html");
        let answer = door.client.call(&call).await?;
        ensure!(answer.status == 303, "a good page: {}", brief(&answer));
        let target = answer.header("location").to_owned();
        if let Some(next) = next {
            ensure!(target == next, "asked for {next}, sent to {target}");
            continue;
        }
        ensure!(
            target.starts_with("/f/jepsen-door/thanks/"),
            "sent to {target}"
        );
        page(
            &door
                .client
                .call(&Call::get(target).header("accept", "text/html"))
                .await?,
            200,
        )?;
    }
    let form = door
        .client
        .call(&Call::get(PAGE).header("accept", "text/html"))
        .await?;
    page(&form, 200)?;
    let unknown = Call::get(
        "/f/<script>alert(1)<script>"
            .replace('<', "%3C")
            .replace('>', "%3E"),
    );
    page(
        &door
            .client
            .call(&unknown.header("accept", "text/html"))
            .await?,
        404,
    )
}

/// A page that no value can break out of.
fn page(answer: &Answer, status: u16) -> anyhow::Result<()> {
    ensure!(answer.status == status, "a page: {}", brief(answer));
    let kind = answer.header("content-type");
    ensure!(kind.starts_with("text/html"), "a page of type {kind}");
    let html = answer.text().to_lowercase();
    for raw in ["<script>alert", "<img src=x", "javascript:"] {
        ensure!(!html.contains(raw), "the page holds {raw}");
    }
    let policy = answer.header("content-security-policy");
    ensure!(!policy.is_empty(), "a page without Content-Security-Policy");
    ensure!(
        answer.header("x-content-type-options") == "nosniff",
        "a page without nosniff"
    );
    Ok(())
}

/// Pairs for a page's body.
pub(super) fn with_honeypot(marker: &str) -> String {
    json!({"marker": marker, "email": "someone@example.com", "_gotcha": "I am a robot"}).to_string()
}
