//! What Google's answers, and their absence, say.
//!
//! Holds: only an answer below 500 in Google's own JSON says that nothing was applied.

use std::time::Duration;

use google_sheets4::hyper::HeaderMap;
use google_sheets4::{Delegate, Error, common, yup_oauth2};
use serde_json::Value;

use super::super::api::{Fault, Problem};

/// A part of an answer is told to people at most so long.
const WORDS_MAX: usize = 400;

/// What an answer says besides its body.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    after: Option<Duration>,
}

impl Headers {
    fn of(headers: &HeaderMap) -> Self {
        let after = headers.get("retry-after");
        let seconds = after.and_then(|after| after.to_str().ok()?.trim().parse().ok());
        Self {
            after: seconds.map(Duration::from_secs),
        }
    }
}

impl Delegate for Headers {
    fn http_failure(&mut self, answer: &common::Response, _error: Option<&Value>) -> common::Retry {
        *self = Self::of(answer.headers());
        common::Retry::Abort
    }
}

pub(super) fn of_token(error: &yup_oauth2::Error) -> Fault {
    match error {
        yup_oauth2::Error::HttpError(_)
        | yup_oauth2::Error::HttpClientError(_)
        | yup_oauth2::Error::JSONError(_)
        | yup_oauth2::Error::LowLevelError(_) => {
            Fault::Unsent(format!("no token could be fetched: {error}"))
        }
        yup_oauth2::Error::AuthError(_)
        | yup_oauth2::Error::UserError(_)
        | yup_oauth2::Error::MissingAccessToken
        | yup_oauth2::Error::StorageError(_)
        | yup_oauth2::Error::CredentialSourceError(_) => Fault::Unknown(format!(
            "Google gives no token for this credential: {error}"
        )),
    }
}

pub(super) fn of_error(error: &Error, headers: &Headers) -> Fault {
    match error {
        Error::BadRequest(body) => of_body(body, headers),
        Error::Failure(answer) => Fault::Unclear(format!("HTTP status {}", answer.status())),
        Error::HttpError(error) if error.is_connect() => Fault::Unsent(chain(error)),
        Error::HttpError(error) => Fault::Unclear(chain(error)),
        Error::MissingToken(error) => Fault::Unsent(error.to_string()),
        Error::JsonDecodeError(_, error) => {
            Fault::Unclear(format!("the answer broke off: {error}"))
        }
        Error::Io(error) => Fault::Unclear(error.to_string()),
        Error::MissingAPIKey
        | Error::Cancelled
        | Error::UploadSizeLimitExceeded(..)
        | Error::FieldClash(_) => Fault::Unclear("the request could not be made".to_owned()),
    }
}

/// An answer that does not say yes.
pub(super) fn of_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    match serde_json::from_slice(body) {
        Ok(body) => of_body(&body, &Headers::of(headers)),
        Err(_) => Fault::Unclear(format!("HTTP status {status}")),
    }
}

fn of_body(body: &Value, headers: &Headers) -> Fault {
    match problem(body, headers) {
        // Google says these when it may have applied the request.
        Some(problem) if problem.status == 408 || problem.status >= 500 => {
            Fault::Unclear(format!("{} {}", problem.status, problem.message))
        }
        Some(problem) => Fault::Refused(Box::new(problem)),
        None => Fault::Unclear("an answer of another shape".to_owned()),
    }
}

/// An error with what it comes from.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// Google's answer that says no.
fn problem(body: &Value, headers: &Headers) -> Option<Problem> {
    let error = body.get("error")?;
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str).unwrap_or_default();
        text.chars().take(WORDS_MAX).collect::<String>()
    };
    let details = error.get("details").and_then(Value::as_array);
    let info = details.into_iter().flatten().find(|detail| {
        let kind = detail.get("@type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.ends_with("google.rpc.ErrorInfo"))
    });
    let older = error.get("errors").and_then(Value::as_array);
    let older = older.and_then(|older| older.first());
    let metadata = info.and_then(|info| info.get("metadata"));
    let quota = metadata.and_then(|metadata| {
        let value = text(metadata, "quota_limit_value").parse().ok()?;
        Some((text(metadata, "quota_limit"), value))
    });
    Some(Problem {
        status: u16::try_from(error.get("code")?.as_u64()?).ok()?,
        word: text(error, "status"),
        reason: info
            .or(older)
            .map_or_else(String::new, |info| text(info, "reason")),
        message: text(error, "message"),
        quota,
        after: headers.after,
    })
}
